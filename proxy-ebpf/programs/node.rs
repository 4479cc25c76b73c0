//! The node's half: walks the response and redirects it, spills where the client reads slowly, hands over to the daemon.

use aya_ebpf::bindings::sk_msg_md;
use sluice_ebpf::{
    latency,
    record::{Leg, NODES, NodeEnd, Role, Session},
    response::{Response, Status},
};

use crate::{
    msg::{self, Data},
    sys::{self, Streams, context, publish, shared},
};

/// Steps of the response tracker in one run; the program runs again on what is left of a message.
const STEPS_MAX: u32 = 8192;

/// A message of the database server.
#[inline(always)]
pub(crate) fn message(msg: *mut sk_msg_md, leg: &mut Leg, record: &mut Session, streams: &Streams) {
    let size = context!((*msg).size);
    let (consumed, sent) = msg::moved(leg, streams);
    let seat = Role::seat_of(leg.binding.role);
    // Another server session has taken this one's place in the record: what this one still says is for the daemon.
    if shared!(end(record, seat).cookie) != leg.cookie {
        return;
    }
    publish!(end(record, seat).consumed, consumed);
    let commands = shared!(record.client.commands);
    // The session's other node has nothing to say either: what it says is for the daemon, and the response under way not its.
    if commands == shared!(record.node.answered) || seat != shared!(record.client.seat) {
        publish!(end(record, seat).passed, sent.wrapping_add(size));
        return;
    }
    if commands != record.node.started {
        resume(record);
        record.node.response.begin(
            shared!(record.client.expect) as u8,
            shared!(record.host.format) as u8,
        );
        publish!(record.node.started, commands);
    }
    keep(record);
    if let Some(bytes) = splice(msg, record, size) {
        leg.said = Leg::MARKED;
        if bytes < size {
            sys::apply_bytes(msg, bytes);
            leg.said |= Leg::CUT;
        }
        publish!(record.node.bytes, record.node.bytes + u64::from(bytes));
        let packets = record.node.response.packets_since(&record.node.handed);
        publish!(
            record.node.packets,
            record.node.packets + u64::from(packets)
        );
        if record.node.response.wants_infile() {
            // The client speaks next, and not in commands.
            keep(record);
            hand_over(record, commands);
        } else if record.node.response.is_done() {
            answered(record, commands, sys::now());
        }
    } else {
        publish!(end(record, seat).passed, sent.wrapping_add(size));
        hand_over(record, commands);
    }
}

/// The first response of a regime begins: the daemon says what is known of the session.
#[inline(always)]
pub(crate) fn resume(record: &mut Session) {
    let begun = shared!(record.client.begun);
    if record.node.regime != begun {
        record.node.response.resume(shared!(record.host.status));
        publish!(record.node.regime, begun);
    }
}

/// What is known of the session by the responses of the regime that began last, or by the daemon where it has had none.
#[inline(always)]
pub(crate) fn status(record: &Session) -> Status {
    if shared!(record.node.regime) == shared!(record.client.begun) {
        record.node.response.status()
    } else {
        Status::from_word(shared!(record.host.status))
    }
}

/// What the program writes of the socket of this node of the session's.
#[inline(always)]
fn end(record: &mut Session, seat: u32) -> &mut NodeEnd {
    &mut record.ends[seat as usize & (NODES - 1)]
}

/// The response is complete. No helper is called here: on the wire the session's lock is held.
#[inline(always)]
pub(crate) fn answered(record: &mut Session, commands: u64, now: u64) {
    if record.node.response.ends_transaction() {
        publish!(record.node.transactions, record.node.transactions + 1);
    }
    let insert_id = record.node.response.last_insert_id();
    if insert_id != 0 {
        publish!(record.node.insert_id, insert_id);
        publish!(record.node.insert_id_at, now);
    }
    let bucket = latency::bucket(now.saturating_sub(shared!(record.client.began_at)));
    let count = &mut record.node.latency[bucket];
    publish!(*count, *count + 1);
    publish!(record.node.answered_at, now);
    publish!(record.node.answered, commands);
}

/// Words of a [`Response`].
const RESPONSE_WORDS: usize = size_of::<Response>() / 8;

/// Keeps where the response stands. Word by word: LLVM 22 crashes over a copy of 64 bytes at once ("Post-RA pseudo instruction expansion").
#[inline(always)]
fn keep(record: &mut Session) {
    let from = (&raw const record.node.response).cast::<u64>();
    let to = (&raw mut record.node.handed).cast::<u64>();
    for word in 0..RESPONSE_WORDS {
        // SAFETY: both are aligned to 8 bytes and as long as that, inside the record; integers have no invalid value.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

/// The daemon finishes the response as `handed` says; whatever the reason, the regime is over.
#[inline(always)]
fn hand_over(record: &mut Session, commands: u64) {
    let begun = shared!(record.client.begun);
    publish!(record.node.spilled, begun);
    publish!(record.node.handed_over, begun);
    publish!(record.node.answered, commands);
}

/// Redirects the message, or as much of it as belongs to this response and could be looked at. None: it must pass.
#[inline(always)]
fn splice(msg: *mut sk_msg_md, record: &mut Session, size: u32) -> Option<u32> {
    let begun = shared!(record.client.begun);
    if !Session::is_live(
        begun,
        shared!(record.client.ended),
        record.node.spilled,
        shared!(record.host.stopped),
    ) {
        return None;
    }
    if sys::outstanding(shared!(record.client.sock))? > shared!(record.host.outstanding_bytes_max) {
        publish!(record.node.spills, record.node.spills + 1);
        return None;
    }
    let offset = walk(msg, record, size);
    if offset == 0 {
        return None;
    }
    sys::redirect(msg, shared!(record.client.cookie)).then_some(offset)
}

/// The tracker's way through a message. The position is kept in the record: a number on the stack is one that the verifier follows
/// through every step.
struct Walk {
    response: *mut Response,
    position: *mut u32,
    data: Data,
    size: u32,
}

/// Takes the tracker over the message as far as its window reaches. Returns how far it got.
#[inline(always)]
fn walk(msg: *mut sk_msg_md, record: &mut Session, size: u32) -> u32 {
    publish!(record.node.position, 0);
    let mut walk = Walk {
        response: &raw mut record.node.response,
        position: &raw mut record.node.position,
        data: Data::of(msg),
        size,
    };
    sys::repeat(STEPS_MAX, step, &mut walk);
    shared!(record.node.position)
}

/// One step; called by the kernel's loop, so that the verifier looks at it once and not `STEPS_MAX` times.
extern "C" fn step(_index: u32, walk: &mut Walk) -> i64 {
    // SAFETY: both point into the session's record, which the verifier follows through the loop's context.
    let (response, position) = unsafe { (&mut *walk.response, &mut *walk.position) };
    let before = shared!(*position);
    let after = response.step(&walk.data, before, walk.size);
    publish!(*position, after);
    i64::from(after == before || after >= walk.size)
}
