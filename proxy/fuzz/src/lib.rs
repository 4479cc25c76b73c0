//! Fuzz targets: everything that reads bytes which others have chosen, and what must hold of it. A target is a function over bytes that
//! panics where something does not hold.
//!
//! They are run by `cargo xtask fuzz` (with coverage, on stable Rust), by `cargo fuzz run TARGET` in `proxy`, and by `cargo test`, which
//! runs the inputs in `seeds/TARGET`. What a fuzzer finds becomes a unit test beside what it found it in.

#![expect(
    clippy::missing_panics_doc,
    reason = "a target panics where it has found something"
)]

mod admin;
mod assigned;
mod canary;
mod handshake;
mod packets;
mod proxy_header;
mod replies;
mod response;
mod session;
mod statement;
mod tracker;

#[expect(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::struct_excessive_bools,
    clippy::unwrap_used,
    reason = "a test's code, which may fail"
)]
#[path = "../../../proxy-ebpf/tests/wire/model/mod.rs"]
mod model;
#[path = "../../../proxy-ebpf/tests/oracle/parser.rs"]
mod parser;

pub use admin::admin;
pub use assigned::assigned;
pub use canary::canary;
pub use handshake::handshake;
pub use packets::packets;
pub use proxy_header::proxy_header;
pub use replies::replies;
pub use response::response;
pub use session::session;
pub use statement::statement;
pub use tracker::tracker;

/// A target's name, which is that of its program and of the folder of its seeds, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target but `canary`, which fails on purpose.
pub const TARGETS: [Target; 10] = [
    ("admin", admin),
    ("assigned", assigned),
    ("handshake", handshake),
    ("packets", packets),
    ("proxy_header", proxy_header),
    ("replies", replies),
    ("response", response),
    ("session", session),
    ("statement", statement),
    ("tracker", tracker),
];

/// The program of one target: under a fuzzer its entry point, else one that runs the files named on its command line.
#[macro_export]
macro_rules! program {
    ($target:expr) => {
        #[cfg(fuzzing)]
        ::libfuzzer_sys::fuzz_target!(|data: &[u8]| $target(data));

        #[cfg(not(fuzzing))]
        fn main() -> ::std::io::Result<()> {
            for file in ::std::env::args_os().skip(1) {
                $target(&::std::fs::read(file)?);
            }
            Ok(())
        }
    };
}

/// Splits an input: its first byte says how many of the next ones say how large portions are, the rest comes in such portions.
fn portions(data: &[u8]) -> (impl Iterator<Item = usize>, &[u8]) {
    let count = usize::from(data.first().copied().unwrap_or_default() & 7);
    let rest = data.get(1..).unwrap_or_default();
    let (sizes, rest) = rest.split_at_checked(count).unwrap_or((rest, &[]));
    let sizes = sizes.iter().map(|size| 1 + usize::from(*size));
    (sizes.chain([usize::MAX]), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_seed_holds() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        let mut names: Vec<_> = fs::read_dir(&seeds)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            TARGETS.map(|(name, _)| name),
            "a folder of seeds for each target"
        );
        for (name, target) in TARGETS {
            let files = fs::read_dir(seeds.join(name)).unwrap();
            let inputs: Vec<_> = files
                .map(|entry| fs::read(entry.unwrap().path()).unwrap())
                .collect();
            assert!(!inputs.is_empty(), "{name} has no seeds");
            for input in inputs {
                target(&input);
            }
        }
    }

    #[test]
    #[should_panic(expected = "canary")]
    fn the_canary_fails() {
        canary(b"SLUICE");
    }
}
