//! The first file system of a machine: busybox, the few modules that it takes to mount this host's file system, and `init.sh`.

use super::kernels::Unpacked;
use crate::place;
use crate::run;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const INIT: &str = include_str!("init.sh");
/// What the host's file system comes by, what its changes are kept in, and what tests make tunnels of.
const MODULES: [&str; 7] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "virtio_rng",
    "tun",
    "ipip",
];
/// Folders that `init.sh` mounts something on.
const FOLDERS: [&str; 7] = ["bin", "modules", "proc", "sys", "dev", "host", "changes"];
const ROOT: &str = "root";

/// Makes one for a kernel.
///
/// # Errors
/// No busybox, kmod or xz here, or a module that cannot be read.
pub(super) fn make(kernel: &Unpacked) -> Result<Vec<u8>> {
    let busybox = place::find_program("busybox").context("no busybox")?;
    let mut archive = Cpio::default();
    for folder in FOLDERS.into_iter().chain([ROOT]) {
        archive.folder(folder);
    }
    archive.file("bin/busybox", &fs::read(busybox)?);
    archive.file("init", INIT.as_bytes());
    let mut names = String::new();
    for module in modules(kernel)? {
        let file = module.file_stem().unwrap_or_default().to_string_lossy();
        let name = file.trim_end_matches(".ko").to_owned() + ".ko";
        archive.file(&format!("modules/{name}"), &read(&module)?);
        names = names + &name + "\n";
    }
    archive.file("modules/order", names.as_bytes());
    Ok(archive.finish())
}

/// The files of all modules, each behind those that it needs. What the kernel has built in has none.
fn modules(kernel: &Unpacked) -> Result<Vec<PathBuf>> {
    let modprobe = place::find_program("modprobe").context("no modprobe")?;
    let (mut files, mut seen) = (Vec::new(), BTreeSet::new());
    for name in MODULES {
        let mut command = Command::new(&modprobe);
        command.arg("-d").arg(&kernel.root);
        command.args(["-S", &kernel.release, "--show-depends", name]);
        for line in run::capture(&mut command)?.lines() {
            if let Some(file) = line.strip_prefix("insmod ") {
                let file = PathBuf::from(file.trim_end());
                if seen.insert(file.clone()) {
                    files.push(file);
                }
            }
        }
    }
    Ok(files)
}

/// A module as the kernel takes it.
fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return Ok(fs::read(file)?);
    }
    let output = Command::new("xz").arg("-dc").arg(file).output()?;
    anyhow::ensure!(output.status.success(), "xz -dc {}", file.display());
    Ok(output.stdout)
}

/// An archive in the format that the kernel unpacks: `newc`, of `Documentation/driver-api/early-userspace/buffer-format.rst`.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    count: usize,
}

impl Cpio {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, 0o100_755, content);
    }

    fn entry(&mut self, name: &str, mode: usize, content: &[u8]) {
        self.count += 1;
        self.bytes.extend(b"070701");
        // Number, mode, owner, group, links, time, size, device (twice two numbers), bytes of the name with its zero, checksum.
        let fields = [
            self.count,
            mode,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_header_name_and_content_each_to_a_multiple_of_four() {
        let mut archive = Cpio::default();
        archive.file("ab", b"hello");
        let bytes = archive.finish();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000003");
        assert_eq!(&bytes[110..116], b"ab\0\0\0\0");
        // 110 + 3 is 113: the content begins at 116, the next header at 124.
        assert_eq!(&bytes[116..124], b"hello\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }
}
