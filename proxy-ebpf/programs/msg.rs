//! `sk_msg` on captured app sockets: finds the session of a message and asks the half that belongs to the socket's end.

use aya_ebpf::{
    bindings::{sk_action::SK_PASS, sk_msg_md},
    macros::sk_msg,
    programs::SkMsgContext,
};
use sluice_ebpf::{
    record::{Binding, Leg, Role, Session, path},
    response::Window,
};

use crate::{
    client::{self, ID_AT},
    node,
    sys::{self, Streams, context, publish, shared, tuple},
};

/// The verifier bounds offsets from a packet pointer by `MAX_PACKET_OFF` (65,535).
const WINDOW_BYTES_MAX: u32 = 0xf000;

/// The part of a message that lies in one piece of memory, from its first byte on.
#[derive(Clone)]
pub(crate) struct Data {
    start: usize,
    end: usize,
}

impl Data {
    /// The window of a message; to be taken again after [`sys::pull`].
    #[inline(always)]
    pub(crate) fn of(msg: *mut sk_msg_md) -> Self {
        Self {
            start: context!((*msg).__bindgen_anon_1.data) as usize,
            end: context!((*msg).__bindgen_anon_2.data_end) as usize,
        }
    }
}

impl Data {
    /// Where the byte at `offset` lies.
    #[inline(always)]
    pub(crate) const fn at(&self, offset: u32) -> usize {
        self.start + offset as usize
    }

    /// Has the command at the front name the statement with this id; it names one.
    #[inline(always)]
    pub(crate) fn name_statement(&self, id: u32) {
        let at = self.at(ID_AT);
        if at + 4 > self.end {
            return;
        }
        // SAFETY: inside the window; the bytes are a copy of what the sender has written, or would be in no window.
        unsafe { (at as *mut u32).write_unaligned(id.to_le()) };
    }
}

impl Window for Data {
    #[inline(always)]
    fn byte(&self, offset: u32) -> Option<u8> {
        if offset >= WINDOW_BYTES_MAX {
            return None;
        }
        let at = self.start + offset as usize;
        if at + 1 > self.end {
            return None;
        }
        // SAFETY: inside the window, as the comparison shows to the verifier too.
        Some(unsafe { *(at as *const u8) })
    }

    #[inline(always)]
    fn head(&self, offset: u32) -> Option<u64> {
        if offset >= WINDOW_BYTES_MAX {
            return None;
        }
        let at = self.start + offset as usize;
        if at + 5 > self.end {
            return None;
        }
        // SAFETY: inside the window; unaligned loads are allowed here (BPF_F_ANY_ALIGNMENT is the default on x86 and arm64).
        let (length, first) = unsafe {
            (
                (at as *const u32).read_unaligned(),
                *((at + 4) as *const u8),
            )
        };
        Some(u64::from(length) | u64::from(first) << 32)
    }
}

/// Runs in the sender's `sendmsg`. Returns `SK_PASS` always: with a redirect marked the bytes go to the other app socket, without
/// one they take their way over TCP to the daemon.
#[sk_msg]
#[expect(clippy::needless_pass_by_value, reason = "the macro's form")]
pub(crate) fn msg(ctx: SkMsgContext) -> u32 {
    sys::apply_bytes(ctx.msg, 0);
    message(ctx.msg);
    SK_PASS
}

/// Finds leg and record.
#[inline(always)]
fn message(msg: *mut sk_msg_md) -> Option<()> {
    let leg = sys::leg(msg)?;
    // SAFETY: socket storage of the message's own socket, whose lock is held.
    let leg = unsafe { &mut *leg };
    let is_rest = leg.said & Leg::CUT != 0;
    leg.said = 0;
    let judged = judge(msg, leg);
    if is_rest && leg.said & Leg::MARKED == 0 {
        sys::pass_rest(msg, leg.cookie);
    }
    judged
}

/// Has the half judge the message whose socket it is.
#[inline(always)]
fn judge(msg: *mut sk_msg_md, leg: &mut Leg) -> Option<()> {
    if !holds(&leg.binding) {
        let connection = sys::connection(&tuple!(msg))?;
        if !leg.is_end_of(&connection) || !holds(&connection.binding) {
            return None;
        }
        leg.binding = connection.binding;
    }
    let record = sys::session(leg.binding.slot)?;
    // SAFETY: the verifier has bounded the record; fields of other writers are only touched through `shared!`.
    let record = unsafe { &mut *record };
    let is_client = leg.binding.role == Role::Client as u32;
    if is_client {
        bind_client(msg, leg, record);
    }
    if shared!(record.host.path) != path::LOCAL {
        return None;
    }
    let streams = sys::streams(msg)?;
    if is_client {
        client::message(msg, leg, record, &streams);
    } else {
        node::message(msg, leg, record, &streams);
    }
    Some(())
}

/// Whether the record that a binding names is its session's. Not before the daemon has told of the connection, and no more once it has moved the
/// session to another record.
#[inline(always)]
fn holds(binding: &Binding) -> bool {
    let Some(record) = sys::session(binding.slot) else {
        return false;
    };
    // SAFETY: the verifier has bounded the record.
    let record = unsafe { &*record };
    binding.session != 0 && shared!(record.host.session) == binding.session
}

/// Says in the record that the client's app socket is captured. (The node's is known at capture.)
#[inline(always)]
fn bind_client(msg: *mut sk_msg_md, leg: &Leg, record: &mut Session) {
    if shared!(record.client.cookie) != leg.cookie {
        publish!(record.client.sock, sys::address(msg));
        publish!(record.client.cookie, leg.cookie);
    }
}

/// Bytes that the socket's owner has read and written since the connection was established, modulo 2^32.
#[inline(always)]
pub(crate) fn moved(leg: &Leg, streams: &Streams) -> (u32, u32) {
    (
        streams.received.wrapping_sub(leg.received_base),
        streams.sent.wrapping_sub(leg.sent_base),
    )
}
