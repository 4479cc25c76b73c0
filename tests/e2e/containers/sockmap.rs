//! Somebody else's `sock_ops` program that takes all sockets of one network into a map of its own, with an `sk_msg` program on it, as service meshes
//! and observers do. A socket's messages go through one such program only, so no other can have it.
#![expect(unsafe_code, reason = "getsockopt(2) of this option has no wrapper")]

use super::program::{MAP_CREATE, SOCK_OPS, bpf, load, on_cgroup, one, opened, words};
use anyhow::{Context as _, Result, ensure};
use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    os::fd::{AsRawFd as _, OwnedFd},
};

/// `enum bpf_cmd`.
const PROG_ATTACH: libc::c_int = 8;
/// `BPF_MAP_TYPE_SOCKHASH`.
const SOCKHASH: u32 = 18;
/// `BPF_PROG_TYPE_SK_MSG`.
const SK_MSG: u32 = 16;
/// `BPF_SK_MSG_VERDICT`.
const SK_MSG_VERDICT: u32 = 7;
/// `SO_NETNS_COOKIE`.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// It is there until this is dropped.
pub(super) struct Mesh {
    _map: OwnedFd,
    _link: OwnedFd,
}

impl Mesh {
    /// Takes the sockets of the caller's network that are established from now on.
    pub(super) fn of_this_network() -> Result<Self> {
        // Type, key size, value size, entries.
        let map = opened("map", MAP_CREATE, &words(&[SOCKHASH, 8, 4, 4096]))?;
        // `return SK_PASS`.
        let pass = [one(0xb7, 0x00, 0, 1), one(0x95, 0, 0, 0)];
        let pass = load(SK_MSG, SK_MSG_VERDICT, &pass, "e2e_messages")?;
        let target = [map.as_raw_fd(), pass.as_raw_fd()].map(i32::cast_unsigned);
        let attributes = words(&[target[0], target[1], SK_MSG_VERDICT, 0]);
        bpf(PROG_ATTACH, &attributes).context("attach")?;
        let code = take(target[0], own_cookie()?);
        let program = load(SOCK_OPS, 0, &code, "e2e_mesh")?;
        Ok(Self {
            _link: on_cgroup(&program)?,
            _map: map,
        })
    }
}

/// Puts each socket that is established in the network of this cookie into the map, by its own cookie.
fn take(map: u32, network: u64) -> Vec<u64> {
    let [low, high] = [network & 0xffff_ffff, network >> 32];
    let low = u32::try_from(low).unwrap_or(0);
    vec![
        one(0xbf, 0x16, 0, 0),            // r6 = r1
        one(0x85, 0, 0, 122),             // r0 = bpf_get_netns_cookie(r1)
        one(0x18, 0x01, 0, low),          // r1 = network
        high << 32,                       // its upper half
        one(0x5d, 0x10, 13, 0),           // if r0 != r1 goto the end
        one(0x61, 0x62, 0, 0),            // r2 = *(u32 *)(r6 + 0): the operation
        one(0x15, 0x02, 1, 4),            // if r2 == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB goto +1
        one(0x55, 0x02, 10, 5), // if r2 != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB goto the end
        one(0xbf, 0x61, 0, 0),  // r1 = r6
        one(0x85, 0, 0, 46),    // r0 = bpf_get_socket_cookie(r1)
        one(0x7b, 0x0a, 0xfff8, 0), // *(u64 *)(r10 - 8) = r0
        one(0xbf, 0x61, 0, 0),  // r1 = r6
        one(0x18, 0x12, 0, map), // r2 = map
        0,                      // its upper half
        one(0xbf, 0xa3, 0, 0),  // r3 = r10
        one(0x07, 0x03, 0, u32::MAX - 7), // r3 += -8
        one(0xb7, 0x04, 0, 0),  // r4 = BPF_ANY
        one(0x85, 0, 0, 70),    // r0 = bpf_sock_hash_update(r1, r2, r3, r4)
        one(0xb7, 0x00, 0, 1),  // r0 = 1
        one(0x95, 0, 0, 0),     // exit
    ]
}

/// The cookie of the caller's network.
fn own_cookie() -> Result<u64> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (mut cookie, mut size) = (0_u64, 8);
    // SAFETY: the option writes 8 bytes to `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut size,
        )
    };
    ensure!(
        result == 0,
        "SO_NETNS_COOKIE: {}",
        io::Error::last_os_error()
    );
    Ok(cookie)
}
