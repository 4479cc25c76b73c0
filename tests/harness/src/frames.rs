//! Whole frames of an interface, in and out (packet(7)), as the kernel holds them: a large segment stays one frame, and a checksum that is
//! still to be filled in stays so. Both is in the header of virtio (`struct virtio_net_hdr`, `PACKET_VNET_HDR`) in front of each frame.

use crate::netns::Netns;
use anyhow::{Context as _, Result};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    ffi::CString,
    io::{self, ErrorKind, Read as _, Write as _},
    os::fd::AsRawFd as _,
    time::Duration,
};

/// The length of virtio's header.
pub const HEADER_BYTES: usize = 10;
/// More than any frame with its header: IP's largest packet is 64 KiB.
pub const FRAME_BYTES_MAX: usize = 68 << 10;
/// Room for what arrives while the reader has to wait for a processor, in bytes.
const RECEIVE_BUFFER: libc::c_int = 64 << 20;

/// Frames that arrive at an interface (not those that leave it), and a way to have it send some.
#[derive(Debug)]
pub struct Frames {
    socket: Socket,
}

impl Frames {
    /// Opens an interface of `netns`; needs root.
    ///
    /// # Errors
    ///
    /// When there is no such interface or the kernel refuses.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        netns
            .enter(|| Self::open_here(interface))?
            .with_context(|| format!("the frames of {interface}"))
    }

    fn open_here(interface: &str) -> Result<Self> {
        // Without a protocol it receives nothing before it is bound.
        let frames = Self {
            socket: Socket::new(Domain::PACKET, Type::RAW, None)?,
        };
        frames.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        frames.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        frames.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        frames.socket.bind(&address(interface)?)?;
        Ok(frames)
    }

    /// How long [`Frames::receive`] waits.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn wait_for(&self, span: Duration) -> Result<()> {
        Ok(self.socket.set_read_timeout(Some(span))?)
    }

    /// Reads the next frame with its header into `buffer` ([`FRAME_BYTES_MAX`]); `None` if there is none in time.
    ///
    /// # Errors
    ///
    /// When the interface is gone.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>> {
        match (&self.socket).read(buffer) {
            Ok(length) => Ok(buffer.get(..length)),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends a frame with its header; false if the kernel took it not.
    pub fn send(&self, frame: &[u8]) -> bool {
        (&self.socket).write(frame).is_ok()
    }

    /// How many frames the kernel had no room for since the last time.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn missed(&self) -> Result<u32> {
        // `struct tpacket_stats`: frames, and those of them that were dropped.
        let mut counts = [0_u32; 2];
        let mut length = libc::socklen_t::try_from(size_of_val(&counts))?;
        #[expect(unsafe_code, reason = "PACKET_STATISTICS has no safe wrapper")]
        // SAFETY: the kernel writes at most `length` bytes to `counts`, which is that long.
        let code = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if code != 0 {
            return Err(io::Error::last_os_error()).context("PACKET_STATISTICS");
        }
        let [_, missed] = counts;
        Ok(missed)
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
        #[expect(unsafe_code, reason = "options of packet(7) have no safe wrapper")]
        // SAFETY: the kernel reads one int, which `value` is.
        let code = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                libc::socklen_t::try_from(size_of_val(&value))?,
            )
        };
        if code != 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("option {name}"));
        }
        Ok(())
    }
}

/// All protocols of an interface of the caller's network.
fn address(interface: &str) -> Result<SockAddr> {
    let name = CString::new(interface)?;
    #[expect(unsafe_code, reason = "if_nametoindex(3) has no safe wrapper")]
    // SAFETY: the name is a C string that lives as long as the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error()).context("no such interface");
    }
    let index = libc::c_int::try_from(index)?;
    let protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
    #[expect(unsafe_code, reason = "socket2 has no constructor for packet(7)")]
    // SAFETY: the storage is zeroed and larger than `sockaddr_ll`, whose fields are set; the length is that type's.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = u16::try_from(libc::AF_PACKET).unwrap_or(0);
            (*link).sll_protocol = protocol;
            (*link).sll_ifindex = index;
            *length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
            Ok(())
        })?
    };
    Ok(address)
}
