//! Pure folders: values in, values out. Time, randomness and identifiers are arguments there, so that every order of events can be
//! tested, and nothing blocks.

use super::Finding;
use super::tree::Module;

const FOLDERS: [&str; 8] = [
    "proxy/src/protocol",
    "proxy/src/sql",
    "proxy/src/session",
    "proxy/src/gate",
    "proxy/src/route",
    "proxy/src/config",
    "proxy/src/admin",
    "proxy-ebpf/src",
];

/// Paths that begin so reach the outside. `std::net` itself is not among them: addresses are values.
const FORBIDDEN: [&[&str]; 23] = [
    &["aya"],
    &["getrandom"],
    &["libc"],
    &["rand"],
    &["socket2"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "hash", "RandomState"],
    &["std", "net", "TcpListener"],
    &["std", "net", "TcpStream"],
    &["std", "net", "ToSocketAddrs"],
    &["std", "net", "UdpSocket"],
    &["std", "os"],
    &["std", "process"],
    &["std", "sync", "Condvar"],
    &["std", "sync", "Mutex"],
    &["std", "sync", "RwLock"],
    &["std", "sync", "mpsc"],
    &["std", "thread"],
    &["std", "time", "SystemTime"],
    &["tokio"],
    &["tracing"],
    &["Instant", "now"],
];

/// Impure names in a pure folder, tests aside.
pub(super) fn check(module: &Module) -> Vec<Finding> {
    if !FOLDERS
        .iter()
        .any(|folder| module.source.path.starts_with(folder))
    {
        return Vec::new();
    }
    let paths = module.source.paths();
    let used = paths
        .into_iter()
        .filter(|(path, token)| !module.is_test(token) && is_forbidden(path));
    used.map(|(path, token)| {
        module.finding(
            token.line,
            format!(
                "`{}` in a pure folder: take it as an argument, or do it in worker",
                path.join("::")
            ),
        )
    })
    .collect()
}

fn is_forbidden(path: &[&str]) -> bool {
    // A mark on plain data, which reaches nothing.
    if path == ["aya", "Pod"] {
        return false;
    }
    FORBIDDEN
        .iter()
        .any(|forbidden| path.starts_with(forbidden))
        || path.ends_with(&["Instant", "now"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::Source;

    #[test]
    fn impure_names_are_found_in_pure_folders_only() {
        let cases = [
            ("proxy/src/sql/mod.rs", "use std::{fmt, thread};", 1),
            (
                "proxy/src/sql/mod.rs",
                "fn f() { let now = std::time::Instant::now(); }",
                1,
            ),
            (
                "proxy/src/sql/mod.rs",
                "use std::time::Instant; fn f(now: Instant) {}",
                0,
            ),
            (
                "proxy/src/sql/mod.rs",
                "use std::net::{IpAddr, SocketAddr};",
                0,
            ),
            (
                "proxy/src/sql/mod.rs",
                "#[cfg(test)] mod tests { use std::thread; }",
                0,
            ),
            ("proxy-ebpf/src/gate.rs", "impl aya::Pod for X {}", 0),
            ("proxy-ebpf/src/gate.rs", "use aya::maps::Array;", 1),
            ("proxy-ebpf/src/gate.rs", "use aya::maps::Array;", 1),
            ("proxy/src/net/mod.rs", "use tokio::net::TcpStream;", 0),
        ];
        for (path, text, findings) in cases {
            let source = Source::parse(path.into(), text).unwrap();
            assert_eq!(
                check(&Module {
                    source,
                    is_test_file: false
                })
                .len(),
                findings,
                "{text}"
            );
        }
    }
}
