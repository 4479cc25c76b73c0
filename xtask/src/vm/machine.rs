//! A machine of qemu's, emulated in software: its processors are the host's `tcg`, it has no network and no disk.

use super::{initramfs, kernels::Unpacked};
use anyhow::{Context as _, Result};
use sluice_tests::{place::fresh, process, wait};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const GUEST: &str = include_str!("guest.sh");
/// The emulator.
pub(super) const QEMU: &str = "qemu-system-x86_64";

/// What a machine has.
pub(super) struct Size {
    /// Megabytes of memory; all that is written there stays in it.
    pub(super) memory: u32,
    /// Virtual processors.
    pub(super) processors: u32,
}

/// What a machine does, in this order.
#[derive(Default)]
pub(super) struct Work {
    environment: String,
    steps: String,
}

impl Work {
    /// A variable for all steps.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.environment, "export {name}='{value}'");
    }

    /// A command, by words without quotes in them.
    pub(super) fn step(&mut self, name: &str, words: &[&str]) {
        let _ = writeln!(self.steps, "step {name} '{}'", words.join("' '"));
    }
}

/// What a machine has left in the folder that it shares with this host.
pub(super) struct Done {
    folder: PathBuf,
}

impl Done {
    /// All that a step has said, and how it ended; none if it did not.
    pub(super) fn step(&self, name: &str) -> (String, Option<i32>) {
        let read = |end: &str| fs::read(self.folder.join(format!("{name}.{end}")));
        let text = read("out").unwrap_or_default();
        let code = read("code").unwrap_or_default();
        let code = String::from_utf8_lossy(&code).trim().parse().ok();
        (String::from_utf8_lossy(&text).into_owned(), code)
    }

    /// The last lines of the machine's console, or of its kernel's log.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read(self.folder.join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let rest = lines.split_at(lines.len().saturating_sub(12)).1;
        rest.join("\n")
    }

    /// Lines in which the kernel complains of itself.
    pub(super) fn complaints(&self) -> Vec<String> {
        let (log, _) = self.step("dmesg");
        let is_one = |line: &&str| {
            [
                "BUG:",
                "WARNING:",
                "Oops",
                "general protection",
                "Call Trace",
            ]
            .iter()
            .any(|word| line.contains(word))
        };
        log.lines().filter(is_one).map(str::to_owned).collect()
    }
}

/// Boots a kernel, has it work, and waits for its end, for `patience` at most.
///
/// # Errors
/// No emulator, or no end in time. What was done by then is told on standard output.
pub(super) fn run(kernel: &Unpacked, size: &Size, work: &Work, patience: Duration) -> Result<Done> {
    let folder = fresh("vm")?;
    let shared = folder.join("shared");
    fs::create_dir_all(&shared)?;
    let image = folder.join("initramfs");
    fs::write(&image, initramfs::make(kernel)?)?;
    let modules = kernel.root.join("lib/modules");
    fs::write(shared.join("modules"), format!("{}\n", modules.display()))?;
    let here = std::env::current_dir()?;
    fs::write(shared.join("folder"), here.display().to_string())?;
    fs::write(shared.join("environment"), &work.environment)?;
    fs::write(shared.join("steps"), &work.steps)?;
    fs::write(shared.join("guest.sh"), GUEST)?;
    let mut command = command(kernel, size, &image, &shared);
    let console = fs::File::create(shared.join("console"))?;
    command
        .stdin(Stdio::null())
        .stderr(console.try_clone()?)
        .stdout(console);
    let mut machine = process::spawn(QEMU, command)?;
    let done = Done { folder: shared };
    let status = wait::until("the machine has ended", patience, || machine.ended());
    let status = status.with_context(|| done.last_words())?;
    anyhow::ensure!(status.success(), "{QEMU}: {status}: {}", done.last_words());
    Ok(done)
}

fn command(kernel: &Unpacked, size: &Size, initramfs: &Path, shared: &Path) -> Command {
    let mut command = Command::new(QEMU);
    command.args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]);
    command.args(["-machine", "q35,accel=tcg", "-cpu", "max,la57=off"]);
    command.args(["-m", &size.memory.to_string()]);
    command.args(["-smp", &size.processors.to_string()]);
    command.arg("-kernel").arg(&kernel.image);
    command.arg("-initrd").arg(initramfs);
    // A kernel that panics ends the machine. What guards real processors against each other's guests only costs time here.
    command.args([
        "-append",
        "console=ttyS0 panic=-1 quiet mitigations=off no_timer_check",
        "-serial",
        "stdio",
        "-monitor",
        "none",
    ]);
    let root = ("host", Path::new("/"), ",readonly=on,multidevs=remap");
    for (name, path, options) in [root, ("shared", shared, "")] {
        command.arg("-fsdev").arg(format!(
            "local,id={name},path={},security_model=none{options}",
            path.display()
        ));
        command
            .arg("-device")
            .arg(format!("virtio-9p-pci,fsdev={name},mount_tag={name}"));
    }
    command.args(["-device", "virtio-rng-pci"]);
    command
}
