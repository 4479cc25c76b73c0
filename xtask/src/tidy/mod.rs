//! Rules of this tree that no compiler checks: which module may use which, which are pure, no panic on outside bytes, no file that
//! nothing compiles, no file too long to review. ARCHITECTURE.md says why.

mod layers;
mod purity;
mod source;
mod tree;

use crate::place;
use anyhow::{Context as _, Result, bail};
use source::Source;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use tree::Module;

/// A file longer than this holds more than one subject.
const LINES_MAX: usize = 600;

/// Folders with Rust sources.
const MEMBERS: [&str; 4] = ["proxy", "proxy-ebpf", "tests", "xtask"];

/// The daemon's sources.
const DAEMON: &str = "proxy/src";

/// Something that breaks a rule.
struct Finding {
    /// Relative to the workspace.
    path: PathBuf,
    /// Counted from 1.
    line: usize,
    /// What is wrong, and what the rule is.
    what: String,
}

/// Checks the whole workspace.
///
/// # Errors
/// All findings in one text, a line each; or a file that cannot be read.
pub(crate) fn run() -> Result<()> {
    let modules = tree::modules(place::root())?;
    let mut findings = dead_files(&modules)?;
    findings.extend(modules.iter().filter_map(|module| too_long(&module.source)));
    let architecture = place::root().join("ARCHITECTURE.md");
    let text = fs::read_to_string(&architecture)
        .with_context(|| format!("cannot read {}", architecture.display()))?;
    let layers = layers::parse(&text)?;
    for module in &modules {
        findings.extend(purity::check(module));
        if module.source.path.starts_with(DAEMON) {
            findings.extend(layers.check(module, Path::new(DAEMON)));
            findings.extend(may_panic(module));
        }
    }
    report(&findings)
}

fn report(findings: &[Finding]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    for finding in findings {
        writeln!(
            text,
            "{}:{}: {}",
            finding.path.display(),
            finding.line,
            finding.what
        )?;
    }
    bail!("{}", text.trim_end());
}

/// Files that no `mod` leads to: they rot unseen.
fn dead_files(modules: &[Module]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for member in MEMBERS {
        for path in tree::rust_files(&place::root().join(member))? {
            let path = path.strip_prefix(place::root())?;
            if !modules.iter().any(|module| module.source.path == path) {
                findings.push(Finding {
                    path: path.to_owned(),
                    line: 1,
                    what: "no `mod` leads to this file".to_owned(),
                });
            }
        }
    }
    Ok(findings)
}

fn too_long(source: &Source) -> Option<Finding> {
    let what = format!(
        "{} lines; over {LINES_MAX} a file holds more than one subject",
        source.lines
    );
    (source.lines > LINES_MAX).then(|| Finding {
        path: source.path.clone(),
        line: source.lines,
        what,
    })
}

/// `.unwrap()` and `.expect(`: what comes from outside must not be able to end the daemon.
fn may_panic(module: &Module) -> Vec<Finding> {
    let calls = module
        .source
        .tokens
        .windows(3)
        .filter_map(|window| match window {
            [dot, name, open] if dot.text == "." && open.text == "(" && !module.is_test(name) => {
                Some(name)
            }
            _ => None,
        });
    calls
        .filter(|name| name.text == "unwrap" || name.text == "expect")
        .map(|name| {
            module.finding(
                name.line,
                format!("`.{}(` can end the daemon: return an error", name.text),
            )
        })
        .collect()
}
