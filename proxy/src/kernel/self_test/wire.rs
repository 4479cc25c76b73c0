//! The live test of the wire: the local path's session, joined below the sockets at lo.

use std::{
    fs,
    io::Read as _,
    net::{Shutdown, TcpStream},
    time::Instant,
};

use super::{AFTER_LOGIN, AFTER_TRAP, STEP_TIMEOUT, SelfTestError, TestSession, socket, wrong};
use sluice_ebpf::record::Seat;

use crate::{
    gate::Gate,
    kernel::{
        Kernel,
        capture::tuple,
        interfaces::{LOOPBACK, State},
        record::Offer,
    },
    net::facts::{Facts, joint},
};

/// A write to it has the sockets of this network namespace look up their routes anew, and changes nothing else.
const ROUTES_FLUSH: &str = "/proc/sys/net/ipv4/route/flush";
/// Payload bytes of a segment: those of Ethernet, as with a remote end. Segments of lo's own size may differ between the two connections.
const SEGMENT_BYTES: u32 = 1_460;
/// Bytes of a response's row: less than a connection sends at once in its first window (RFC 6928), so that they are one packet on lo. Of several one
/// may overtake another on a busy host, which ends a regime.
const ROW_BYTES: usize = 12_000;
/// A host that stands still for a moment has TCP send again, which may end a regime too. That is no failure of the wire's.
const ATTEMPTS: usize = 4;

/// Proves the wire's programs, once [`Kernel::cover`] has put them on lo. `can_loop`: sessions with an end on this host are to use
/// them, and go on when a route has changed.
///
/// # Errors
/// The first step that failed.
pub fn test(kernel: &mut Kernel, can_loop: bool) -> Result<(), SelfTestError> {
    match kernel
        .coverage()
        .and_then(|coverage| coverage.state(LOOPBACK))
    {
        Some(State::Covered(..)) => {}
        Some(state) => return Err(wrong("lo", state.text())),
        None => return Err(wrong("lo", "not covered")),
    }
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        last = TestSession::with(kernel, Some(SEGMENT_BYTES), |session| {
            session.run_on_wire(can_loop)
        });
        if last.is_ok() {
            break;
        }
    }
    last
}

impl TestSession {
    /// As on the local path; in between the routes are lost, and at the end both connections are closed in order.
    fn run_on_wire(&self, can_loop: bool) -> Result<(), SelfTestError> {
        self.log_in()?;
        self.join()?;
        let mut gate = Gate::default();
        self.slot.arm(gate.offer(), Offer::at(AFTER_LOGIN));
        self.splice(gate, ROW_BYTES)?;
        if can_loop {
            // Where it may not be written there is nothing to be seen.
            let _ = fs::write(ROUTES_FLUSH, "1");
            self.splice(gate, ROW_BYTES)?;
        }
        self.trap(gate)?;
        self.slot.arm(gate.offer(), Offer::at(AFTER_TRAP));
        self.splice(gate, ROW_BYTES)?;
        self.close()
    }

    /// Both connections are one for the programs from here on.
    fn join(&self) -> Result<(), SelfTestError> {
        let facts = |stream: &TcpStream| Facts::of(stream).map_err(socket("TCP_INFO"));
        let (client, node) = (facts(&self.proxy_to_client)?, facts(&self.proxy_to_node)?);
        let joint = joint(&client, &node).map_err(|error| wrong("join", error.to_string()))?;
        let [(client, front), (node, back)] = self.tuples;
        self.slot
            .join(Seat::Writer, joint, tuple(client, front), tuple(node, back));
        Ok(())
    }

    /// The client closes, then the proxy, then the node; the programs see both connections to their ends.
    fn close(&self) -> Result<(), SelfTestError> {
        end(&self.client, &self.proxy_to_client, "close by the client")?;
        self.slot.part();
        end(&self.proxy_to_node, &self.node, "close to the node")?;
        end(&self.node, &self.proxy_to_node, "close by the node")?;
        end(&self.proxy_to_client, &self.client, "close to the client")?;
        let deadline = Instant::now() + STEP_TIMEOUT;
        while !self.slot.wire().is_over() {
            if Instant::now() > deadline {
                return Err(wrong("close", "a connection is not over"));
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}

/// One end says that it is done, and the other hears it with nothing before it.
fn end(from: &TcpStream, mut to: &TcpStream, step: &'static str) -> Result<(), SelfTestError> {
    from.shutdown(Shutdown::Write).map_err(socket(step))?;
    match to.read(&mut [0]).map_err(socket(step))? {
        0 => Ok(()),
        _ => Err(wrong(step, "bytes where there are none")),
    }
}
