//! A tunnel between two hosts: interfaces whose packets begin with their IP header (`tun`, networking/tuntap.rst of the kernel), as those of VPNs and of IP in
//! IP do. What one sends, a thread of this process has the other receive; so every packet is seen, and its checksums are verified.

use crate::{
    capture::Arrived,
    frames::{FRAME_BYTES_MAX, HEADER_BYTES},
    netns::Netns,
    packet,
};
use anyhow::{Context as _, Result};
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// How long a thread waits for a packet before it looks whether it is over, in milliseconds.
const PATIENCE: libc::c_int = 100;
/// Packets that wait for their thread at most: more than a test's connections send at once.
const QUEUE: &str = "10000";
/// What may be left to the interface's other side.
const OFFLOAD: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

/// Of `linux/if_tun.h`; libc has no such name.
const TUNSETLINK: libc::c_ulong = 0x4004_54cd;

/// In what form packets go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// No larger than the link takes, with whole checksums.
    Whole,
    /// Large segments too, to be cut by whoever gets them, and checksums that are still to be filled in.
    Large,
}

/// The tunnel. Dropping it takes the interfaces away.
#[derive(Debug)]
pub struct Tunnel {
    is_over: Arc<AtomicBool>,
    seen: Arc<Mutex<Arrived>>,
    ports: Arc<Mutex<BTreeMap<u16, u64>>>,
    threads: Vec<JoinHandle<Result<()>>>,
    left: Arc<File>,
}

impl Tunnel {
    /// Makes the interfaces of these names, both up; needs root.
    ///
    /// # Errors
    ///
    /// When the kernel or `ip` refuse.
    pub fn between(ends: [(&Netns, &str); 2], form: Form) -> Result<Self> {
        let [left, right] = ends.map(|(netns, name)| -> Result<Arc<File>> {
            let device = netns
                .enter(|| open(name, form))?
                .with_context(|| format!("the tunnel {name}"))?;
            netns.ip(&["link", "set", name, "up", "txqueuelen", QUEUE])?;
            Ok(Arc::new(device))
        });
        let (left, right) = (left?, right?);
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Arrived::default()));
        let ports = Arc::new(Mutex::new(BTreeMap::new()));
        let ways = [
            (
                Arc::clone(&left),
                Arc::clone(&right),
                Some(Arc::clone(&ports)),
            ),
            (right, Arc::clone(&left), None),
        ];
        let threads = ways.into_iter().map(|(from, to, ports)| {
            let (is_over, seen) = (Arc::clone(&is_over), Arc::clone(&seen));
            thread::spawn(move || carry(&from, &to, &is_over, &seen, ports.as_deref()))
        });
        Ok(Self {
            threads: threads.collect(),
            is_over,
            seen,
            ports,
            left,
        })
    }

    /// How many segments from or to this port the first end has sent, RSTs aside.
    pub fn segments_of(&self, port: u16) -> u64 {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.get(&port).copied().unwrap_or_default()
    }

    /// Has the first end say that its packets begin with a header of this kind, an `ARPHRD_` number, whatever they begin with; it must be down.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn set_link_layer(&self, number: libc::c_ulong) -> Result<()> {
        #[expect(unsafe_code, reason = "ioctl(2) has no safe wrapper in std")]
        // SAFETY: TUNSETLINK takes a number.
        let code = unsafe { libc::ioctl(self.left.as_raw_fd(), TUNSETLINK, number) };
        if code != 0 {
            return Err(io::Error::last_os_error()).context("TUNSETLINK");
        }
        Ok(())
    }

    /// What has been seen in both directions since it was asked last.
    pub fn seen(&self) -> Arrived {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever needed the tunnel has noticed if it broke.
            drop(thread.join());
        }
    }
}

/// One direction. What it carries is counted by its ports where somebody asks for that.
fn carry(
    from: &File,
    to: &File,
    is_over: &AtomicBool,
    seen: &Mutex<Arrived>,
    ports: Option<&Mutex<BTreeMap<u16, u64>>>,
) -> Result<()> {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while !is_over.load(Ordering::Relaxed) {
        let length = match (&*from).read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait(from)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = buffer.get(..length).context("more than there is")?;
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add_packet(bytes);
        if let Some(ports) = ports {
            let of_packet = bytes.get(HEADER_BYTES..).and_then(packet::ports);
            let mut ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
            for port in of_packet.into_iter().flatten() {
                *ports.entry(port).or_default() += 1;
            }
        }
        // Refused (the other interface is down, or full) is lost, as on any link.
        let _is_sent = (&*to).write(bytes);
    }
    Ok(())
}

/// Waits for a packet, but not for ever.
fn wait(device: &File) -> Result<()> {
    let mut request = libc::pollfd {
        fd: device.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    #[expect(unsafe_code, reason = "poll(2) has no safe wrapper in std")]
    // SAFETY: one request, which lives as long as the call.
    let code = unsafe { libc::poll(&raw mut request, 1, PATIENCE) };
    if code < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Makes an interface of this name in the caller's network, which lives as long as the descriptor. Each packet is behind a header of virtio.
fn open(name: &str, form: Form) -> Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::try_from(from)?;
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let mut request = libc::ifreq {
        ifr_name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(flags)?,
        },
    };
    #[expect(unsafe_code, reason = "ioctl(2) has no safe wrapper in std")]
    // SAFETY: the request lives as long as the call, and is what TUNSETIFF takes.
    let code = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if code != 0 {
        return Err(io::Error::last_os_error()).context("TUNSETIFF");
    }
    if form == Form::Large {
        #[expect(unsafe_code, reason = "ioctl(2) has no safe wrapper in std")]
        // SAFETY: TUNSETOFFLOAD takes a number.
        let code = unsafe {
            libc::ioctl(
                device.as_raw_fd(),
                libc::TUNSETOFFLOAD,
                libc::c_ulong::from(OFFLOAD),
            )
        };
        if code != 0 {
            return Err(io::Error::last_os_error()).context("TUNSETOFFLOAD");
        }
    }
    Ok(device)
}

/// The header in front of each packet is that of [`crate::frames`].
const _: () = assert!(HEADER_BYTES == 10);
