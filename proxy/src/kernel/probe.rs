//! What this host offers: cgroup v2, its release. Only looks; the self-test is what proves.

use std::{fs, path::PathBuf};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid hosts.
pub fn cgroup_root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_device, path, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    })
}

/// The cgroup of this process, in which its sockets are made; the root where it cannot be seen from here.
pub fn own_cgroup() -> Option<PathBuf> {
    let root = cgroup_root()?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let own = path
        .filter(|path| !path.contains(".."))
        .map(|path| root.join(path))
        .filter(|path| path.is_dir());
    Some(own.unwrap_or(root))
}

/// Whether the kernel knows `bpf_loop`, which walks a response in a program that the verifier can follow. Where that cannot be found out, as for want of
/// a capability, the programs' own refusal says more.
pub fn has_loop() -> bool {
    is_helper_supported(ProgramType::SkMsg, BpfHelper::BPF_FUNC_loop).unwrap_or(true)
}

/// The kernel's release, as `uname -r` prints it.
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}
