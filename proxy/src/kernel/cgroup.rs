//! Whose `sock_ops` programs share our hook: those on the root of cgroup v2, and those on any cgroup below it, which run before.
#![expect(
    unsafe_code,
    reason = "BPF_PROG_QUERY for this hook, which aya does not offer"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use aya::programs::loaded_programs;

/// `BPF_PROG_QUERY`, `BPF_CGROUP_SOCK_OPS` and `BPF_F_ALLOW_MULTI` of `linux/bpf.h`.
const PROG_QUERY: libc::c_long = 16;
const CGROUP_SOCK_OPS: u32 = 3;
const ALLOW_MULTI: u32 = 2;
/// The most that one cgroup may have (`BPF_CGROUP_MAX_PROGS` of `kernel/bpf/cgroup.c`).
const PROGRAMS_MAX: usize = 64;
/// So many cgroups are looked at; a host with more is told of these.
const CGROUPS_MAX: usize = 20_000;

/// The front of `union bpf_attr` for a query.
#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    reserved: u32,
}

/// What tells a program from others: its number, and what is the same for all that were loaded from the same object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The kernel's number.
    pub id: u32,
    /// A digest of its instructions.
    pub tag: u64,
}

/// A `sock_ops` program that is not Sluice's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// The kernel's number.
    pub id: u32,
    /// Its name; only who has `CAP_SYS_ADMIN` is told.
    pub name: Option<String>,
    /// Where it is attached.
    pub cgroup: PathBuf,
    /// It was attached so that there can be no other on that cgroup, nor on one above.
    pub is_exclusive: bool,
}

/// All of them below `root`. `own` is the program of this process; those with its instructions are other daemons of Sluice's.
///
/// # Errors
/// That of the query: without `CAP_NET_ADMIN` nobody is told.
pub fn foreign_programs(root: &Path, own: Option<Identity>) -> io::Result<Vec<Foreign>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    let mut looked_at = 0;
    while let Some(cgroup) = folders.pop() {
        looked_at += 1;
        match attached(&cgroup) {
            Ok((ids, flags)) => found.extend(ids.into_iter().map(|id| Foreign {
                id,
                name: None,
                cgroup: cgroup.clone(),
                is_exclusive: flags & ALLOW_MULTI == 0,
            })),
            // It went while we looked.
            Err(_gone) if cgroup != root => continue,
            Err(error) => return Err(error),
        }
        if looked_at + folders.len() < CGROUPS_MAX {
            folders.extend(below(&cgroup));
        }
    }
    let loaded = loaded();
    found.retain_mut(|foreign| {
        let known = loaded.get(&foreign.id);
        foreign.name = known.and_then(|(name, _)| name.clone());
        let is_own =
            |own: Identity| foreign.id == own.id || known.is_some_and(|(_, tag)| *tag == own.tag);
        !own.is_some_and(is_own)
    });
    Ok(found)
}

/// The cgroups in this one.
fn below(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

/// Name and tag of every program that is loaded, as far as this process may know.
fn loaded() -> BTreeMap<u32, (Option<String>, u64)> {
    let programs = loaded_programs().filter_map(Result::ok);
    let told = programs.map(|program| {
        let name = program.name_as_str().filter(|name| !name.is_empty());
        (program.id(), (name.map(str::to_owned), program.tag()))
    });
    told.collect()
}

/// Numbers of the programs on a cgroup itself, and how they were attached.
fn attached(cgroup: &Path) -> io::Result<(Vec<u32>, u32)> {
    let cgroup = File::open(cgroup)?;
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut query = Query {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_SOCK_OPS,
        flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: u32::try_from(PROGRAMS_MAX).unwrap_or_default(),
        reserved: 0,
    };
    // SAFETY: the kernel reads and writes `query`, whose length it is told, and writes at most `prog_cnt` numbers to `ids`; both live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_QUERY,
            &raw mut query,
            size_of::<Query>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(query.prog_cnt).unwrap_or(PROGRAMS_MAX);
    Ok((ids.into_iter().take(count).collect(), query.attach_flags))
}
