//! Who may use whom in the daemon. The list is a block of ARCHITECTURE.md, fenced with three backticks and the word `layers`; a line
//! reads `modules: what they may use`, where the right side is a list of modules, `nothing of ours`, `all pure modules` or
//! `everything above`. `lib.rs`, which only lists the modules, is free.

use super::Finding;
use super::tree::Module;
use anyhow::{Context as _, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What `all pure modules` stands for.
const PURE: [&str; 8] = [
    "sluice_ebpf",
    "protocol",
    "sql",
    "session",
    "gate",
    "route",
    "config",
    "admin",
];

/// Per module, the modules that it may use.
pub(super) struct Layers(BTreeMap<String, BTreeSet<String>>);

/// Reads the list from ARCHITECTURE.md's text.
///
/// # Errors
/// There is no such block, or a line of it names a module on the right that no line has on the left.
pub(super) fn parse(text: &str) -> Result<Layers> {
    let lines = text
        .lines()
        .skip_while(|line| line.trim() != "```layers")
        .skip(1);
    let mut layers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines
        .take_while(|line| line.trim() != "```")
        .filter(|line| !line.trim().is_empty())
    {
        let (modules, may_use) = line
            .split_once(':')
            .with_context(|| format!("layers: no colon in {line:?}"))?;
        let may_use: BTreeSet<String> = match may_use.trim() {
            "nothing of ours" => BTreeSet::new(),
            "all pure modules" => PURE.map(str::to_owned).into(),
            "everything above" => layers.keys().cloned().collect(),
            list => list.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        for module in modules.split(',') {
            layers.insert(module.trim().to_owned(), may_use.clone());
        }
    }
    ensure!(
        !layers.is_empty(),
        "ARCHITECTURE.md has no block that begins with ```layers"
    );
    for name in layers.values().flatten() {
        ensure!(
            layers.contains_key(name),
            "layers: {name} may be used, but has no line of its own"
        );
    }
    Ok(Layers(layers))
}

impl Layers {
    /// Uses of modules that the list does not allow, tests aside. `src` is the folder of `lib.rs`.
    pub(super) fn check(&self, module: &Module, src: &Path) -> Vec<Finding> {
        let Some((name, depth)) = place_of(&module.source.path, src) else {
            return Vec::new();
        };
        let Some(may_use) = self.0.get(&name) else {
            return vec![module.finding(
                1,
                format!("ARCHITECTURE.md's list of layers does not have `{name}`"),
            )];
        };
        let paths = module.source.paths();
        let used = paths.iter().filter(|(_, token)| !module.is_test(token));
        used.filter_map(|(path, token)| Some((top_module(path, depth)?, token.line)))
            .filter(|(used, _)| {
                *used != name && self.0.contains_key(*used) && !may_use.contains(*used)
            })
            .map(|(used, line)| {
                module.finding(
                    line,
                    format!("`{name}` may not use `{used}` (ARCHITECTURE.md, layers)"),
                )
            })
            .collect()
    }
}

/// A file's top-level module and how deep it is below the crate's root; nothing for the root itself.
fn place_of(path: &Path, src: &Path) -> Option<(String, usize)> {
    let names: Vec<String> = path
        .strip_prefix(src)
        .ok()?
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let first = names.first().filter(|first| *first != "lib")?;
    let depth = names.iter().filter(|name| *name != "mod").count();
    Some((first.clone(), depth))
}

/// The top-level module that a path leads to, seen from a module at `depth`.
fn top_module<'a>(path: &[&'a str], depth: usize) -> Option<&'a str> {
    let supers = path.iter().take_while(|name| **name == "super").count();
    match path {
        ["sluice_ebpf", ..] => Some("sluice_ebpf"),
        // The binary sees the library as a crate.
        ["crate" | "sluice", name, ..] => Some(name),
        _ if supers > 0 && supers >= depth => path.get(supers).copied(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::Source;

    const LIST: &str = "text\n```layers\nsluice_ebpf, sql: nothing of ours\nprotocol: sluice_ebpf\nsession: protocol, sql\n\
                        worker: everything above\n```\nsession: worker\n";

    #[test]
    fn only_what_the_list_allows_passes() {
        let layers = parse(LIST).unwrap();
        let cases = [
            (
                "src/session/mod.rs",
                "use crate::{protocol::packet, sql};",
                0,
            ),
            ("src/session/mod.rs", "use crate::worker;", 1),
            ("src/session/set.rs", "fn f() { crate::worker::start() }", 1),
            ("src/session/set.rs", "use super::super::worker::start;", 1),
            ("src/session/set.rs", "use super::worker::start;", 0),
            ("src/session/mod.rs", "use super::worker::start;", 1),
            (
                "src/session/mod.rs",
                "#[cfg(test)] mod tests { use crate::worker; }",
                0,
            ),
            ("src/sql/mod.rs", "use sluice_ebpf::classify;", 1),
            ("src/protocol/mod.rs", "use sluice_ebpf::classify;", 0),
            (
                "src/worker/mod.rs",
                "use crate::{session, sql, protocol}; use sluice_ebpf::gate;",
                0,
            ),
            ("src/stranger.rs", "", 1),
            ("src/lib.rs", "pub use crate::worker;", 0),
        ];
        for (path, text, findings) in cases {
            let source = Source::parse(path.into(), text).unwrap();
            let module = Module {
                source,
                is_test_file: false,
            };
            assert_eq!(
                layers.check(&module, Path::new("src")).len(),
                findings,
                "{path}: {text}"
            );
        }
    }

    #[test]
    fn a_list_that_names_a_stranger_is_refused() {
        assert!(parse("```layers\nsql: nothing\n```").is_err());
        assert!(parse("no list").is_err());
    }
}
