//! What `sluice doctor` says of other people's programs on the hooks that Sluice uses, and what each means for sessions.

use crate::kernel::{
    Kernel,
    cgroup::{self, Identity},
    interfaces, probe,
};

/// The name of these lines.
const LINE: &str = "other program";

/// One for each program of others; if there are none, one that says so. `kernel` is there if our own programs are.
pub(super) fn lines(kernel: Option<&Kernel>) -> Vec<(&'static str, String)> {
    let mut texts = cgroup_texts(kernel.and_then(Kernel::captures_by));
    let coverage = kernel.and_then(Kernel::coverage);
    for interface in interfaces::interfaces().unwrap_or_default() {
        if coverage.is_some_and(|coverage| coverage.covers(interface.index)) {
            let found = interfaces::foreign_programs(&interface);
            texts.extend(
                found
                    .iter()
                    .map(|foreign| on_interface(&interface.name, foreign)),
            );
        }
    }
    if texts.is_empty() {
        texts.push("none at the cgroups' sock_ops and the covered interfaces' tc hooks".to_owned());
    }
    texts.into_iter().map(|text| (LINE, text)).collect()
}

fn cgroup_texts(own: Option<Identity>) -> Vec<String> {
    let Some(root) = probe::cgroup_root() else {
        return Vec::new();
    };
    match cgroup::foreign_programs(&root, own) {
        Ok(found) => found.iter().map(on_cgroup).collect(),
        Err(error) => vec![format!("those on the cgroups cannot be listed: {error}")],
    }
}

fn on_cgroup(foreign: &cgroup::Foreign) -> String {
    let name = foreign.name.as_deref();
    let name = name.unwrap_or("one whose name takes CAP_SYS_ADMIN");
    let meaning = if foreign.is_exclusive {
        "attached so that no other may be; if this is the root, Sluice cannot splice on the path local"
    } else {
        "runs beside ours; a socket that it puts into a sock map with a program of its own is not spliced on the path local"
    };
    format!(
        "{name} (id {}), sock_ops on {}: {meaning}",
        foreign.id,
        foreign.cgroup.display()
    )
}

/// The loopback interface's name, in every network namespace.
const LOOPBACK: &str = "lo";

fn on_interface(interface: &str, foreign: &interfaces::Foreign) -> String {
    let id = foreign.id.map(|id| format!(" (id {id})"));
    let id = id.unwrap_or_default();
    let (place, meaning) = match (foreign.hook, foreign.is_before) {
        (_, None) => ("", "ours is not there"),
        // What peers on this host send is spliced where it goes out.
        ("ingress", Some(_)) if interface == LOOPBACK => (
            "",
            "sees what is spliced towards this host, and nothing that is spliced from it",
        ),
        ("egress", Some(false)) if interface == LOOPBACK => {
            (" behind ours", "does not see what is spliced")
        }
        ("ingress", Some(true)) => (
            " before ours",
            "sees all that comes in; what it drops or redirects is not spliced",
        ),
        ("ingress", Some(false)) => (" behind ours", "does not see what is spliced"),
        (_, Some(true)) => (
            " before ours",
            "sees segments of the proxy's own sockets with numbers that ours changes behind it",
        ),
        (_, Some(false)) => (" behind ours", "sees all that goes out, as it goes out"),
    };
    format!(
        "{}{id}, {} of {interface}{place}: {meaning}",
        foreign.name, foreign.hook
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_with_what_it_means() {
        let at = |interface, hook, is_before, id| {
            let name = "count".to_owned();
            on_interface(
                interface,
                &interfaces::Foreign {
                    hook,
                    name,
                    id,
                    is_before,
                },
            )
        };
        let on = |hook, is_before, id| at("eth0", hook, is_before, id);
        assert_eq!(
            on("ingress", Some(false), Some(7)),
            "count (id 7), ingress of eth0 behind ours: does not see what is spliced"
        );
        assert_eq!(
            on("egress", Some(false), None),
            "count, egress of eth0 behind ours: sees all that goes out, as it goes out"
        );
        assert_eq!(
            at("lo", "egress", Some(false), None),
            "count, egress of lo behind ours: does not see what is spliced"
        );
        assert_eq!(
            at("lo", "ingress", Some(true), None),
            "count, ingress of lo: sees what is spliced towards this host, and nothing that is spliced from it"
        );
        let mut foreign = cgroup::Foreign {
            id: 12,
            name: Some("cil_sockops".to_owned()),
            cgroup: "/sys/fs/cgroup".into(),
            is_exclusive: false,
        };
        let text = on_cgroup(&foreign);
        assert!(
            text.starts_with("cil_sockops (id 12), sock_ops on /sys/fs/cgroup: runs beside ours")
        );
        foreign.is_exclusive = true;
        assert!(on_cgroup(&foreign).contains("no other may be"));
    }
}
