//! Live tests of the two paths: one session made of this process's own sockets on loopback, spliced by the real programs. `auto` believes
//! the kernel only after them; `sluice doctor` prints how they went. The wire's is in `wire.rs`.

mod wire;

pub use wire::test as test_wire;

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

use sluice_ebpf::record::{Offsets, Role};

use super::{
    Kernel, KernelError,
    capture::Bindings,
    record::{Offer, Slot},
};
use crate::{
    gate::{Gate, Left, Standing},
    net::path::limit_segments,
    privilege,
};

/// No real session has this number.
const SESSION: u64 = u64::MAX;
/// How long one step may take; loopback needs microseconds.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of the one row of the large response: more than a socket's send buffer, less than the limit below.
const ROW_BYTES: usize = 600_000;
/// The same of a response that must spill: more than the limit below and all that is on its way then.
const LONG_ROW_BYTES: usize = 4_000_000;
/// Bytes outstanding at which a response spills, in the test.
const OUTSTANDING_BYTES_MAX: u32 = 1 << 20;

/// Why a path is not used on this host.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// Each path's programs take all of [`privilege::NEEDED`]: those of `local` read sockets and those of `wire` read headers through pointers as
    /// only `CAP_PERFMON` allows.
    #[error("missing capabilities: {0}")]
    Capabilities(String),
    /// The programs cannot be loaded.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A socket of the test failed.
    #[error("{step}: {source}")]
    Socket {
        /// The step.
        step: &'static str,
        /// What the socket said.
        source: io::Error,
    },
    /// Bytes did not come through.
    #[error("{0}: nothing came for {seconds} seconds", seconds = STEP_TIMEOUT.as_secs())]
    Silence(&'static str),
    /// The bytes or counters were wrong.
    #[error("{step}: {found}")]
    Wrong {
        /// The step.
        step: &'static str,
        /// What was seen.
        found: String,
    },
}

/// What was found of a kernel that splices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// `FIONREAD` on a client's socket counts bytes that came over TCP. (It always counts spliced ones.) Wrong since "Fix FIONREAD for
    /// sockmap" of 6.12.75 and 6.18.14, repaired in 6.12.114. A verdict program that passes everything would cure it; with one attached
    /// 6.18.44 garbled about one in a hundred relayed commands of 16 MB, so there is none.
    pub counts_unread_bytes: bool,
}

/// Loads the programs; [`Kernel::load`] says what the arguments are.
///
/// # Errors
/// What is missing.
pub fn load(sessions: u32, own_namespace_only: bool) -> Result<Kernel, SelfTestError> {
    let missing = privilege::missing();
    if !missing.is_empty() {
        return Err(SelfTestError::Capabilities(privilege::names(missing)));
    }
    Ok(Kernel::load(sessions, own_namespace_only)?)
}

/// Proves the local path. The sockets of the test die before it returns. Where it fails no client's socket is captured from then on.
///
/// # Errors
/// The first step that failed.
pub fn test_local(kernel: &mut Kernel) -> Result<Found, SelfTestError> {
    let tested = TestSession::with(kernel, None, TestSession::prove);
    if tested.is_err() {
        kernel.capture_clients(false);
    }
    tested
}

/// An error with all its causes.
pub fn explain(error: &SelfTestError) -> String {
    super::chain(error)
}

/// The four sockets of a session on one host.
struct TestSession {
    client: TcpStream,
    proxy_to_client: TcpStream,
    proxy_to_node: TcpStream,
    node: TcpStream,
    slot: Slot,
    bindings: Bindings,
    tuples: [(SocketAddr, SocketAddr); 2],
}

impl TestSession {
    /// Connects client, proxy and node as the daemon does, has `test` use them, and closes them. `segments`: payload bytes of the client's and the node's
    /// segments at most.
    fn with<T>(
        kernel: &mut Kernel,
        segments: Option<u32>,
        test: impl FnOnce(&Self) -> Result<T, SelfTestError>,
    ) -> Result<T, SelfTestError> {
        let slot = Slot::new(kernel.records(), 0)
            .ok_or_else(|| wrong("record", "the map has no record"))?;
        slot.open(SESSION, OUTSTANDING_BYTES_MAX);
        let bindings = kernel.bindings()?;
        let captures = kernel.captures_clients();
        let (front, back) = (bound("listen")?, bound("listen")?);
        limit_segments(&front, segments).map_err(socket("TCP_MAXSEG"))?;
        let node_address = back.local_addr().map_err(socket("listen"))?;
        kernel.watch_port(node_address.port())?;
        let listener = front.local_addr().map_err(socket("listen"))?;
        kernel.listen(listener)?;
        let tested = Self::connect(slot, bindings, captures, segments, [front, back])
            .and_then(|session| test(&session));
        kernel.unlisten(listener);
        tested
    }

    fn connect(
        slot: Slot,
        mut bindings: Bindings,
        captures: bool,
        segments: Option<u32>,
        [front, back]: [TcpListener; 2],
    ) -> Result<Self, SelfTestError> {
        let node_address = back.local_addr().map_err(socket("listen"))?;
        let client = TcpStream::connect(front.local_addr().map_err(socket("listen"))?)
            .map_err(socket("connect"))?;
        let (proxy_to_client, client_address) = front.accept().map_err(socket("accept"))?;
        let front_tuple = (
            client_address,
            proxy_to_client.local_addr().map_err(socket("accept"))?,
        );
        bindings.accepted(
            captures.then(|| proxy_to_client.as_fd()),
            front_tuple.0,
            front_tuple.1,
            SESSION,
            slot.index(),
        )?;
        let proxy_to_node = dial(node_address, |dialling| {
            limit_segments(&dialling, segments).map_err(socket("TCP_MAXSEG"))?;
            Ok(bindings.dialling(dialling, SESSION, slot.index(), Role::Node)?)
        })?;
        let (node, proxy_address) = back.accept().map_err(socket("accept"))?;
        let back_tuple = (node_address, proxy_address);
        for stream in [&client, &proxy_to_client, &proxy_to_node, &node] {
            stream
                .set_read_timeout(Some(STEP_TIMEOUT))
                .map_err(socket("timeout"))?;
            stream
                .set_write_timeout(Some(STEP_TIMEOUT))
                .map_err(socket("timeout"))?;
            stream.set_nodelay(true).map_err(socket("TCP_NODELAY"))?;
        }
        Ok(Self {
            client,
            proxy_to_client,
            proxy_to_node,
            node,
            slot,
            bindings,
            tuples: [front_tuple, back_tuple],
        })
    }

    /// That bytes are spliced, and a response that nobody reads is not spliced for ever; and what else is to be known.
    fn prove(&self) -> Result<Found, SelfTestError> {
        self.run()?;
        self.spills()?;
        Ok(Found {
            counts_unread_bytes: self.counts_unread_bytes()?,
        })
    }

    /// Login bytes over TCP, an arm, a spliced command with a large response, a trap, and the next arm.
    fn run(&self) -> Result<(), SelfTestError> {
        self.log_in()?;
        let mut gate = Gate::default();
        self.slot.arm(gate.offer(), Offer::at(AFTER_LOGIN));
        self.splice(gate, ROW_BYTES)?;
        self.trap(gate)?;
        self.slot.arm(gate.offer(), Offer::at(AFTER_TRAP));
        self.splice(gate, ROW_BYTES)
    }

    /// What a login is here, through the daemon's half.
    fn log_in(&self) -> Result<(), SelfTestError> {
        pass(
            &self.client,
            &self.proxy_to_client,
            b"login",
            "relay to the daemon",
        )?;
        pass(
            &self.proxy_to_node,
            &self.node,
            b"login",
            "relay to the node",
        )?;
        pass(
            &self.node,
            &self.proxy_to_node,
            b"ok",
            "relay from the node",
        )?;
        pass(
            &self.proxy_to_client,
            &self.client,
            b"ok",
            "relay to the client",
        )
    }

    /// A command that the daemon must see, and its answer.
    fn trap(&self, gate: Gate) -> Result<(), SelfTestError> {
        pass(
            &self.client,
            &self.proxy_to_client,
            b"\x02\0\0\0\x02d",
            "trap",
        )?;
        self.has_ended(gate)?;
        pass(
            &self.proxy_to_node,
            &self.node,
            b"\x02\0\0\0\x02d",
            "relay after the trap",
        )?;
        pass(&self.node, &self.proxy_to_node, OK, "answer after the trap")?;
        pass(
            &self.proxy_to_client,
            &self.client,
            OK,
            "answer to the client after the trap",
        )
    }

    /// The trap has ended the regime, with nothing left behind.
    fn has_ended(&self, gate: Gate) -> Result<(), SelfTestError> {
        match gate.standing(&self.slot.progress()) {
            Standing::Ended {
                command_remaining: 0,
                left: Left::Nothing,
            } => Ok(()),
            standing => Err(wrong("trap", format!("the regime is {standing:?}"))),
        }
    }

    /// `SELECT 1`, answered with one large row, both in the kernel.
    fn splice(&self, gate: Gate, row_bytes: usize) -> Result<(), SelfTestError> {
        let before = self.slot.progress();
        pass(&self.client, &self.node, SELECT, "spliced command")?;
        let response = response(row_bytes);
        let mut node = &self.node;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| node.write_all(&response));
            let mut received = vec![0; response.len()];
            (&self.client)
                .read_exact(&mut received)
                .map_err(socket("spliced response"))?;
            if received != response {
                return Err(wrong("spliced response", "bytes differ"));
            }
            writer
                .join()
                .map_err(|_panic| wrong("spliced response", "writer panicked"))?
                .map_err(socket("spliced response"))
        })?;
        let progress = self.slot.progress();
        let to_client = progress.bytes_to_client - before.bytes_to_client;
        if gate.standing(&progress) != Standing::Open || to_client != response.len() as u64 {
            return Err(wrong(
                "spliced response",
                format!("{to_client} bytes spliced, {:?}", gate.standing(&progress)),
            ));
        }
        Ok(())
    }

    /// Of a response that nobody reads the rest is handed over. Kernels before "`tcp_bpf`: charge rmem on ingress" (6.1.123, 6.12.8) do not count bytes
    /// that were redirected: there nothing would bound the memory that they take.
    fn spills(&self) -> Result<(), SelfTestError> {
        const STEP: &str = "response that nobody reads";
        let before = self.slot.progress();
        pass(&self.client, &self.node, SELECT, STEP)?;
        let response = response(LONG_ROW_BYTES);
        let mut node = &self.node;
        std::thread::scope(|scope| {
            scope.spawn(|| node.write_all(&response));
            let mut first = [0];
            (&self.proxy_to_node)
                .read_exact(&mut first)
                .map_err(|error| {
                    wrong(STEP, format!("it was redirected without a bound ({error})"))
                })?;
            let spliced = self.slot.progress().bytes_to_client - before.bytes_to_client;
            let (mut received, mut rest) = (response.clone(), Vec::new());
            let spliced = usize::try_from(spliced).unwrap_or(usize::MAX);
            received.truncate(spliced);
            rest.resize(response.len().saturating_sub(spliced + 1), 0);
            (&self.proxy_to_node)
                .read_exact(&mut rest)
                .map_err(socket(STEP))?;
            (&self.client)
                .read_exact(&mut received)
                .map_err(socket(STEP))?;
            received.extend(first);
            received.extend(rest);
            if received == response {
                Ok(())
            } else {
                Err(wrong(STEP, "bytes differ"))
            }
        })
    }

    /// Whether `FIONREAD` on the client's socket counts bytes that came over TCP. Waits for them by `poll`.
    fn counts_unread_bytes(&self) -> Result<bool, SelfTestError> {
        (&self.proxy_to_client)
            .write_all(b"unread")
            .map_err(socket("FIONREAD"))?;
        let mut byte = [0];
        self.client.peek(&mut byte).map_err(socket("FIONREAD"))?;
        let deadline = Instant::now() + Duration::from_millis(100);
        loop {
            let count = unread(&self.client).map_err(socket("FIONREAD"))?;
            if count == 6 {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for TestSession {
    fn drop(&mut self) {
        self.slot.close();
        for (local, remote) in self.tuples {
            self.bindings.remove(local, remote);
        }
    }
}

/// Where the streams stand after the login.
const AFTER_LOGIN: Offsets = Offsets {
    read_from_client: 5,
    written_to_client: 2,
    read_from_node: 2,
    written_to_node: 5,
};
/// Where they stand after the trap: spliced bytes are not in them.
const AFTER_TRAP: Offsets = Offsets {
    read_from_client: 11,
    written_to_client: 13,
    read_from_node: 13,
    written_to_node: 11,
};

/// A command that is spliced.
const SELECT: &[u8] = b"\x09\0\0\0\x03SELECT 1";

/// An OK packet with autocommit on, sequence 1.
const OK: &[u8] = b"\x07\0\0\x01\0\0\0\x02\0\0\0";

/// A result set of one column with one row of this many bytes.
fn response(row_bytes: usize) -> Vec<u8> {
    let eof = |sequence| [5, 0, 0, sequence, 0xfe, 0, 0, 2, 0];
    let mut bytes = vec![1, 0, 0, 1, 1];
    bytes.extend(b"\x04\0\0\x02\x03def");
    bytes.extend(eof(3));
    let length = u32::try_from(row_bytes).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend(length.iter().take(3));
    bytes.push(4);
    bytes.extend((0..row_bytes).map(|at| u8::try_from(at % 251).unwrap_or(0)));
    bytes.extend(eof(5));
    bytes
}

/// Writes on one socket and expects exactly these bytes on another.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    bytes: &[u8],
    step: &'static str,
) -> Result<(), SelfTestError> {
    from.write_all(bytes).map_err(socket(step))?;
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).map_err(socket(step))?;
    if received == bytes {
        Ok(())
    } else {
        Err(wrong(step, format!("received {received:02x?}")))
    }
}

/// A listener on a free port of loopback.
fn bound(step: &'static str) -> Result<TcpListener, SelfTestError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(socket(step))
}

/// Connects a socket that `announce` is told of before the SYN goes out.
fn dial(
    to: SocketAddr,
    announce: impl FnOnce(BorrowedFd<'_>) -> Result<(), SelfTestError>,
) -> Result<TcpStream, SelfTestError> {
    let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
        .map_err(socket("socket"))?;
    announce(stream.as_fd())?;
    stream
        .connect_timeout(&to.into(), STEP_TIMEOUT)
        .map_err(socket("connect"))?;
    Ok(stream.into())
}

/// Bytes that wait to be read.
#[expect(unsafe_code, reason = "std has no FIONREAD")]
fn unread(stream: &TcpStream) -> io::Result<libc::c_int> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result == 0 {
        Ok(count)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Names the step that failed.
fn socket(step: &'static str) -> impl Fn(io::Error) -> SelfTestError {
    move |source| match source.kind() {
        // What a read with a timeout says when that is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => SelfTestError::Silence(step),
        _ => SelfTestError::Socket { step, source },
    }
}

/// A step with a wrong result.
fn wrong(step: &'static str, found: impl Into<String>) -> SelfTestError {
    SelfTestError::Wrong {
        step,
        found: found.into(),
    }
}
