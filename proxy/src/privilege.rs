//! What the daemon's threads may do. On Linux capabilities are a thread's own, and a thread begins with those of the one that starts it: once
//! the programs stand, the first thread gives its own up, and no thread that starts later ever has one.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// What loading the programs takes.
pub const NEEDED: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::PERFMON);

/// What this thread may do now.
///
/// # Errors
/// What the kernel says.
pub fn held() -> io::Result<CapabilitySet> {
    Ok(capabilities(None)?.effective)
}

/// Those of [`NEEDED`] that this thread lacks.
pub fn missing() -> CapabilitySet {
    // A kernel that does not tell has none to give.
    let held = held().unwrap_or(CapabilitySet::empty());
    NEEDED.difference(implied(held))
}

/// With `CAP_SYS_ADMIN` the kernel asks for neither of the two that were once part of it.
const fn implied(held: CapabilitySet) -> CapabilitySet {
    if held.contains(CapabilitySet::SYS_ADMIN) {
        held.union(CapabilitySet::BPF).union(CapabilitySet::PERFMON)
    } else {
        held
    }
}

/// Leaves this thread, and those that it starts, at most `kept` of its capabilities, for good: no program that it executes gets more either.
///
/// # Errors
/// What the kernel says; a filter of system calls may forbid it.
pub fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    // A kernel without ambient capabilities (before 4.3) has none to clear.
    let _ = clear_ambient_capability_set();
    let held = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: held.permitted.intersection(kept),
            permitted: held.permitted.intersection(kept),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// The names of capabilities, as in `linux/capability.h`.
pub fn names(set: CapabilitySet) -> String {
    let names: Vec<_> = set
        .iter_names()
        .map(|(name, _)| format!("CAP_{name}"))
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// On a thread of its own: what is given up does not come back.
    fn apart(test: impl FnOnce() + Send) {
        thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    #[test]
    fn what_is_given_up_is_gone_for_this_thread_and_its_own_only() {
        let before = held().unwrap();
        apart(|| {
            keep_only(CapabilitySet::NET_ADMIN).unwrap();
            let kept = before.intersection(CapabilitySet::NET_ADMIN);
            assert_eq!(held().unwrap(), kept);
            apart(|| assert_eq!(held().unwrap(), kept));
            keep_only(CapabilitySet::all()).unwrap();
            assert_eq!(held().unwrap(), kept);
            keep_only(CapabilitySet::empty()).unwrap();
            assert_eq!(
                capabilities(None).unwrap().permitted,
                CapabilitySet::empty()
            );
        });
        assert_eq!(held().unwrap(), before);
    }

    #[test]
    fn one_that_stands_for_others_is_as_good_as_they() {
        let admin = CapabilitySet::SYS_ADMIN.union(CapabilitySet::NET_ADMIN);
        assert!(implied(admin).contains(NEEDED));
        assert!(!implied(CapabilitySet::SYS_ADMIN).contains(NEEDED));
        assert!(!implied(CapabilitySet::BPF).contains(CapabilitySet::PERFMON));
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(names(NEEDED), "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF");
        assert_eq!(names(CapabilitySet::empty()), "none");
    }
}
