//! The modules that the compiler reads: from each target's root file along every `mod`.

use super::Finding;
use super::source::{Source, Token};
use crate::run;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A file, and how the compiler reads it.
pub(super) struct Module {
    pub(super) source: Source,
    /// The whole file is test code.
    pub(super) is_test_file: bool,
}

impl Module {
    /// True for code that only tests run.
    pub(super) fn is_test(&self, token: &Token) -> bool {
        self.is_test_file || token.in_test
    }

    /// A finding in this file.
    pub(super) fn finding(&self, line: usize, what: String) -> Finding {
        Finding {
            path: self.source.path.clone(),
            line,
            what,
        }
    }
}

/// A file still to be read.
struct Pending {
    path: PathBuf,
    is_test_file: bool,
    /// Where the files of its modules are.
    children: PathBuf,
}

/// All modules of all targets of the workspace.
///
/// # Errors
/// `cargo metadata` fails, or a file cannot be read.
pub(super) fn modules(root: &Path) -> Result<Vec<Module>> {
    let mut pending = targets()?;
    let mut modules: Vec<Module> = Vec::new();
    while let Some(file) = pending.pop() {
        let path = file.path.strip_prefix(root)?.to_owned();
        if modules.iter().any(|module| module.source.path == path) {
            continue;
        }
        let text = fs::read_to_string(&file.path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let module = Module {
            source: Source::parse(path, &text)?,
            is_test_file: file.is_test_file,
        };
        pending.extend(declared(&module, &file));
        modules.push(module);
    }
    modules.sort_by(|a, b| a.source.path.cmp(&b.source.path));
    Ok(modules)
}

/// The root files of all targets: libraries, binaries, tests, build scripts.
fn targets() -> Result<Vec<Pending>> {
    let metadata = run::capture(&mut run::cargo(&[
        "metadata",
        "--locked",
        "--no-deps",
        "--format-version",
        "1",
    ]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let list = |value: &serde_json::Value, key: &str| {
        value
            .get(key)
            .and_then(serde_json::Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let targets = list(&metadata, "packages")
        .into_iter()
        .flat_map(|package| list(&package, "targets"));
    targets
        .map(|target| {
            let path = target.get("src_path").and_then(serde_json::Value::as_str);
            let path = PathBuf::from(path.context("a target has no src_path")?);
            let is_test_file = list(&target, "kind").iter().any(|kind| kind == "test");
            let children = path.parent().unwrap_or(&path).to_owned();
            Ok(Pending {
                path,
                is_test_file,
                children,
            })
        })
        .collect()
}

/// The files that a module's `mod name;` and `#[path = "…"] mod name;` name. Modules written in place do not nest files here.
fn declared(module: &Module, file: &Pending) -> Vec<Pending> {
    let tokens = &module.source.tokens;
    let mut found = Vec::new();
    for (number, window) in tokens.windows(3).enumerate() {
        let [keyword, name, end] = window else {
            continue;
        };
        if keyword.text != "mod" || end.text != ";" {
            continue;
        }
        let before: Vec<&str> = tokens
            .iter()
            .take(number)
            .map(|token| token.text.as_str())
            .collect();
        let (path, children) = if let [.., "#", "[", "path", "=", literal, "]"] = before.as_slice()
        {
            let folder = file.path.parent().unwrap_or(&file.path);
            let path = normal(&folder.join(literal.trim_matches('"')));
            let children = path.parent().unwrap_or(&path).to_owned();
            (path, children)
        } else {
            let flat = file.children.join(format!("{}.rs", name.text));
            let nested = file.children.join(&name.text);
            (
                if flat.is_file() {
                    flat
                } else {
                    nested.join("mod.rs")
                },
                nested,
            )
        };
        found.push(Pending {
            path,
            is_test_file: module.is_test(keyword),
            children,
        });
    }
    found
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    path.canonicalize()
        .unwrap_or_else(|_missing| path.to_owned())
}

/// All `.rs` files below a folder, build products aside.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder
            .read_dir()
            .with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
