//! Somebody else's programs: a `sock_ops` one on the cgroup v2 root, which counts connections that are opened, and one on an interface that counts
//! packets and lets them pass.
#![expect(unsafe_code, reason = "bpf(2) has no wrapper in std")]

use anyhow::{Context as _, Result, bail};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `enum bpf_cmd`.
pub(super) const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// `BPF_PROG_TYPE_SOCK_OPS`.
pub(super) const SOCK_OPS: u32 = 13;
/// `BPF_PROG_TYPE_SCHED_CLS`.
const SCHED_CLS: u32 = 3;
/// `BPF_CGROUP_SOCK_OPS`.
const CGROUP_SOCK_OPS: u32 = 3;
/// `BPF_TCX_INGRESS`.
pub(super) const TCX_INGRESS: u32 = 46;
/// `BPF_TCX_EGRESS`.
pub(super) const TCX_EGRESS: u32 = 47;
/// The name of the one on the cgroup.
pub(super) const NAME: &str = "e2e_established";

/// An attached program; dropping it detaches it.
pub(super) struct Program {
    map: OwnedFd,
    _loaded: OwnedFd,
    _link: OwnedFd,
}

impl Program {
    pub(super) fn attach() -> Result<Self> {
        let map = counter()?;
        let mut code = vec![
            one(0x61, 0x12, 0, 0), // r2 = *(u32 *)(r1 + 0): the operation
            one(0x55, 0x02, 9, 4), // if r2 != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB goto the end
        ];
        code.extend(count(u32::try_from(map.as_raw_fd())?));
        code.extend([one(0xb7, 0x00, 0, 1), one(0x95, 0, 0, 0)]); // return 1
        let program = load(SOCK_OPS, 0, &code, NAME)?;
        let link = on_cgroup(&program)?;
        Ok(Self {
            map,
            _loaded: program,
            _link: link,
        })
    }

    /// Connections that it has seen opened.
    pub(super) fn established(&self) -> Result<u64> {
        counted(&self.map)
    }
}

/// Has a `sock_ops` program run for every socket of this host.
pub(super) fn on_cgroup(program: &OwnedFd) -> Result<OwnedFd> {
    let cgroup = File::open(root()?)?;
    let target = [program.as_raw_fd(), cgroup.as_raw_fd()].map(i32::cast_unsigned);
    let attributes = words(&[target[0], target[1], CGROUP_SOCK_OPS, 0]);
    opened("link", LINK_CREATE, &attributes)
}

/// A program of this name on a hook of an interface, which lets all pass, until it is dropped.
pub(super) struct Watcher {
    map: OwnedFd,
    _link: OwnedFd,
}

impl Watcher {
    /// `None` where the kernel has no TCX.
    pub(super) fn attach(interface: u32, hook: u32, name: &str) -> Result<Option<Self>> {
        let map = counter()?;
        let mut code = count(u32::try_from(map.as_raw_fd())?);
        // `return TCX_NEXT`, which is -1.
        code.extend([one(0xb7, 0x00, 0, u32::MAX), one(0x95, 0, 0, 0)]);
        let program = load(SCHED_CLS, 0, &code, name)?;
        let attributes = words(&[program.as_raw_fd().cast_unsigned(), interface, hook, 0]);
        match opened("link", LINK_CREATE, &attributes) {
            Ok(link) => Ok(Some(Self { map, _link: link })),
            Err(error) => match error.downcast_ref::<io::Error>() {
                Some(refused) if refused.raw_os_error() == Some(libc::EINVAL) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Packets that it has seen.
    pub(super) fn packets(&self) -> Result<u64> {
        counted(&self.map)
    }
}

/// A map of one count.
fn counter() -> Result<OwnedFd> {
    // Type, key size, value size, entries.
    opened("map", MAP_CREATE, &words(&[ARRAY, 4, 8, 1]))
}

fn counted(map: &OwnedFd) -> Result<u64> {
    let (key, mut count) = (0_u32, 0_u64);
    let mut attributes = words(&[u32::try_from(map.as_raw_fd())?, 0]);
    attributes.extend((&raw const key as u64).to_ne_bytes());
    attributes.extend((&raw mut count as u64).to_ne_bytes());
    attributes.extend([0; 8]);
    bpf(MAP_LOOKUP, &attributes).context("lookup")?;
    Ok(count)
}

/// Loads a program of this kind, for this hook (0 where the kind has but one).
pub(super) fn load(kind: u32, hook: u32, code: &[u64], name: &str) -> Result<OwnedFd> {
    let licence = c"GPL";
    let mut attributes = words(&[kind, u32::try_from(code.len())?]);
    attributes.extend((code.as_ptr() as u64).to_ne_bytes());
    attributes.extend((licence.as_ptr() as u64).to_ne_bytes());
    // No log, no kernel version, no flags; then 16 bytes for the name.
    attributes.extend([0; 24]);
    attributes.extend(name.bytes().take(15));
    attributes.resize(68, 0);
    attributes.extend(hook.to_ne_bytes());
    opened("program", PROG_LOAD, &attributes)
}

/// An instruction: opcode, registers, offset, constant.
pub(super) fn one(opcode: u64, registers: u64, offset: u64, constant: u32) -> u64 {
    opcode | registers << 8 | offset << 16 | u64::from(constant) << 32
}

/// `atomic_add(map[0], 1)`, in nine words.
fn count(map: u32) -> Vec<u64> {
    vec![
        one(0x62, 0x0a, 0xfffc, 0),       // *(u32 *)(r10 - 4) = 0
        one(0x18, 0x11, 0, map),          // r1 = map
        0,                                // its upper half
        one(0xbf, 0xa2, 0, 0),            // r2 = r10
        one(0x07, 0x02, 0, u32::MAX - 3), // r2 += -4
        one(0x85, 0, 0, 1),               // r0 = bpf_map_lookup_elem(r1, r2)
        one(0x15, 0x00, 2, 0),            // if r0 == 0 goto +2
        one(0xb7, 0x01, 0, 1),            // r1 = 1
        one(0xdb, 0x10, 0, 0),            // lock *(u64 *)(r0 + 0) += r1
    ]
}

pub(super) fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect()
}

pub(super) fn opened(
    what: &'static str,
    command: libc::c_int,
    attributes: &[u8],
) -> Result<OwnedFd> {
    let fd = bpf(command, attributes).context(what)?;
    // SAFETY: these commands return a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) })
}

pub(super) fn bpf(command: libc::c_int, attributes: &[u8]) -> Result<libc::c_long> {
    // SAFETY: the kernel reads that many bytes; the addresses in them are of values that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            attributes.len(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(result)
}

/// Where the cgroup v2 root is mounted.
fn root() -> Result<String> {
    for line in fs::read_to_string("/proc/mounts")?.lines() {
        if let [_, place, "cgroup2", ..] = line.split(' ').collect::<Vec<_>>().as_slice() {
            return Ok((*place).to_owned());
        }
    }
    bail!("no cgroup v2")
}
