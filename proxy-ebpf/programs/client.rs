//! The client's half: begins a regime, classifies each command, ends the regime with a trap.

use aya_ebpf::bindings::sk_msg_md;
use sluice_ebpf::{
    aim::{self, Aim},
    autocommit,
    automaton::{self, Backslash},
    classify::{self, CommandClass, SCAN_BYTES_MAX, StatementCommand},
    notes,
    reason::TrapReason,
    record::{self, HEAD_BYTES, Leg, NODES, NodeEnd, STATEMENTS, Seat, Session, TRAPS, takes},
    response::{Expect, Status, Window, format},
    statement,
};

use crate::{
    msg::{self, Data},
    node,
    sys::{self, Streams, context, publish, shared},
};

/// A packet's header.
pub(crate) const HEADER_BYTES: u32 = 4;
/// Header and command byte.
pub(crate) const COMMAND_BYTES: u32 = 5;
/// Bytes of text that one call of the kernel's loop scans.
const CHUNK: u32 = 64;
/// Chunks of the longest text.
const CHUNKS_MAX: u32 = (SCAN_BYTES_MAX as u32).div_ceil(CHUNK);
/// Where in a message the id is of the statement that it names.
pub(crate) const ID_AT: u32 = COMMAND_BYTES;
/// Header, command byte and statement id.
pub(crate) const STATEMENT_BYTES: u32 = 9;

/// A message of the client program.
#[inline(always)]
pub(crate) fn message(msg: *mut sk_msg_md, leg: &mut Leg, record: &mut Session, streams: &Streams) {
    let size = context!((*msg).size);
    let begun = shared!(record.client.begun);
    let stopped = shared!(record.host.stopped);
    let live = Session::is_live(
        begun,
        shared!(record.client.ended),
        shared!(record.node.spilled),
        stopped,
    );
    if live && record.client.remaining != 0 {
        go_on(msg, leg, record, begun, size);
        return;
    }
    let regime = if live {
        Regime {
            generation: begun,
            seat: record.client.seat,
        }
    } else {
        let Some(armed) = may_begin(leg, record, streams, begun, stopped) else {
            // The daemon has stopped the regime: said here, where every command of it has been counted, it is final.
            if stopped >= begun && shared!(record.client.ended) < begun {
                publish!(record.client.ended, begun);
            }
            return;
        };
        armed
    };
    match command(msg, record, size, begun, &regime) {
        Ok(said) => {
            leg.said = said;
            name_statement(msg, record);
        }
        Err(reason) => trap(record, begun, reason),
    }
}

/// Has an execution that has just passed to the reader name its statement as that one does: the daemon does not get the message any more.
#[inline(always)]
fn name_statement(msg: *mut sk_msg_md, record: &Session) {
    let id = shared!(record.client.reader_id);
    if id != 0 && shared!(record.client.seat) == Seat::Reader as u32 {
        Data::of(msg).name_statement(id);
    }
}

/// What a command is spliced by.
struct Regime {
    generation: u64,
    /// Its node, a `record::Seat` as its number.
    seat: u32,
}

/// The end of this node of the session's.
#[inline(always)]
fn node_end(record: &Session, seat: u32) -> &NodeEnd {
    &record.ends[seat as usize & (NODES - 1)]
}

/// The regime that may begin with this very message, if it is the moment at which the daemon's offer holds: nothing under way or unread
/// in any direction.
#[inline(always)]
fn may_begin(
    leg: &Leg,
    record: &Session,
    streams: &Streams,
    begun: u64,
    stopped: u64,
) -> Option<Regime> {
    let armed = shared!(record.host.armed);
    if armed <= begun || armed <= stopped {
        return None;
    }
    let seat = shared!(record.host.seat);
    let end = node_end(record, seat);
    let (received, sent) = msg::moved(leg, streams);
    let holds = shared!(record.host.offsets.read_from_client) == sent
        && shared!(record.host.offsets.written_to_client) == received
        && shared!(record.host.offsets.read_from_node) == shared!(end.passed)
        && shared!(record.host.offsets.written_to_node) == shared!(end.consumed);
    // The offer may have been replaced between these reads.
    (holds && shared!(record.host.armed) == armed).then_some(Regime {
        generation: armed,
        seat,
    })
}

/// The rest of a command that was larger than one message.
#[inline(always)]
fn go_on(msg: *mut sk_msg_md, leg: &mut Leg, record: &mut Session, begun: u64, size: u32) {
    let remaining = record.client.remaining;
    let bytes = if size < remaining { size } else { remaining };
    if let Err(reason) = send(msg, record, record.client.seat) {
        trap(record, begun, reason);
        return;
    }
    leg.said = Leg::MARKED;
    if bytes < size {
        sys::apply_bytes(msg, bytes);
        leg.said |= Leg::CUT;
    }
    publish!(record.client.remaining, remaining - bytes);
    publish!(record.client.bytes, record.client.bytes + u64::from(bytes));
}

/// A message that begins a command of `regime`, which begins with it unless it is `begun`: splices it if it may be. Returns what has been said of
/// the message ([`Leg::said`]).
#[inline(always)]
fn command(
    msg: *mut sk_msg_md,
    record: &mut Session,
    size: u32,
    begun: u64,
    regime: &Regime,
) -> Result<u32, TrapReason> {
    let begins = regime.generation != begun;
    if !begins {
        has_ended_last(record, begun)?;
    }
    let takes = shared!(record.host.takes);
    publish!(record.client.noting, STATEMENTS as u32);
    publish!(record.client.reader_id, 0);
    let mut data = Data::of(msg);
    let head = data.head(0).ok_or(TrapReason::Framing)?;
    let length = (head & 0x00ff_ffff) as u32;
    let sequence = (head >> 24) as u8;
    let byte = (head >> 32) as u8;
    if sequence != 0 || length == 0 || length == 0x00ff_ffff {
        return Err(TrapReason::Framing);
    }
    // How much of the payload has been looked at, and thus lies in the window; and which node it is for.
    let (seen, aim) = match classify::command_class(byte) {
        CommandClass::Trap(reason) => return Err(reason),
        CommandClass::Simple(_) if length == 1 => (1, Aim::Last),
        CommandClass::Simple(_) => return Err(TrapReason::Framing),
        CommandClass::Statement(command) => {
            let aim = statement(&data, record, command, length)?;
            (STATEMENT_BYTES - HEADER_BYTES, aim)
        }
        CommandClass::Text => (
            length,
            statement_text(msg, &mut data, record, size, length)?,
        ),
    };
    let status = if begins {
        Status::from_word(shared!(record.host.status))
    } else {
        node::status(record)
    };
    if !record::is_taken(takes, status, aim) {
        return Err(TrapReason::OtherNode);
    }
    let expect = Expect::of(byte);
    let mut bytes = size;
    let mut said = Leg::MARKED;
    if size > length + HEADER_BYTES {
        if expect != Expect::Nothing {
            return Err(TrapReason::Framing);
        }
        // What follows is looked at by itself: the program runs again.
        bytes = length + HEADER_BYTES;
        sys::apply_bytes(msg, bytes);
        said |= Leg::CUT;
    }
    if let Err(reason) = send(msg, record, regime.seat) {
        sys::apply_bytes(msg, 0);
        return Err(reason);
    }
    note(record, data.at(HEADER_BYTES), sys::now(), length, seen);
    publish!(record.client.remaining, length + HEADER_BYTES - bytes);
    publish!(record.client.bytes, record.client.bytes + u64::from(bytes));
    publish!(record.client.expect, expect as u32);
    if begins {
        publish!(record.client.seat, regime.seat);
        publish!(record.client.begun, regime.generation);
    }
    has_passed(record, expect);
    Ok(said)
}

/// Keeps what a command leaves behind that has just passed, and counts it.
#[inline(always)]
fn has_passed(record: &mut Session, expect: Expect) {
    let (noting, change) = (shared!(record.client.noting), shared!(record.client.change));
    keep_note(record, noting, change);
    if expect == Expect::Nothing {
        note_closed(record, closed_bit(&record.client.head));
        publish!(
            record.client.silent_commands,
            record.client.silent_commands + 1
        );
    } else {
        publish!(record.client.commands, record.client.commands + 1);
    }
}

/// The last command of the regime has its whole response.
#[inline(always)]
fn has_ended_last(record: &Session, begun: u64) -> Result<(), TrapReason> {
    if record.client.commands != shared!(record.node.answered) {
        return Err(TrapReason::Pipelined);
    }
    // The other program says that it has spilled before it says that the response is answered for.
    if shared!(record.node.spilled) >= begun {
        return Err(TrapReason::Outstanding);
    }
    Ok(())
}

/// Says that the statements with these bits are closed.
#[inline(always)]
pub(crate) fn note_closed(record: &mut Session, bits: u64) {
    let seen = shared!(record.host.closed_seen);
    publish!(
        record.client.closed,
        record::close(record.client.closed, seen, bits)
    );
}

/// Keeps what a command changes that has just passed in the note of the statement in this place, if it is one.
#[inline(always)]
pub(crate) fn keep_note(record: &mut Session, place: u32, change: u64) {
    if place < STATEMENTS as u32 {
        let place = place as usize & (STATEMENTS - 1);
        let told = shared!(record.host.types[place]);
        let note = shared!(record.client.notes[place]);
        publish!(record.client.notes[place], notes::noted(note, told, change));
    }
}

/// The bit of the statement that the command with this payload closes; 0: it closes none.
#[inline(always)]
fn closed_bit(head: &[u8; HEAD_BYTES]) -> u64 {
    if shared!(head[0]) != StatementCommand::Close as u8 {
        return 0;
    }
    // Its place is all that matters of the id.
    record::closed_bit(u32::from(shared!(head[1])))
}

/// A command of a prepared statement, and which node it is for: the daemon must have classed it.
#[inline(always)]
fn statement(
    data: &Data,
    record: &mut Session,
    command: StatementCommand,
    length: u32,
) -> Result<Aim, TrapReason> {
    if !command.may_have(length) {
        return Err(TrapReason::Framing);
    }
    // The command byte, then the id's four bytes.
    let id = (data.head(COMMAND_BYTES - 1).ok_or(TrapReason::Framing)? >> 8) as u32;
    let place = id as usize & (STATEMENTS - 1);
    let word = shared!(record.host.statements[place]);
    if !statement::is_of(word, id) {
        return Err(TrapReason::UnknownStatement);
    }
    let attributes = has_attributes(record);
    if statement::is_followed(word) {
        let change = statement::change(word, command, data, HEADER_BYTES, length, attributes)
            .ok_or(TrapReason::UnknownStatement)?;
        publish!(record.client.noting, place as u32);
        publish!(record.client.change, change);
        return Ok(Aim::Writer);
    }
    let types = shared!(record.host.types[place]);
    let reader_id = shared!(record.host.reader_ids[place]);
    publish!(record.client.reader_id, reader_id);
    statement::aim(word, types, command, data, HEADER_BYTES, length, attributes)
        .ok_or(TrapReason::UnknownStatement)
}

/// Whether a statement's text has its attributes in front.
#[inline(always)]
pub(crate) fn has_attributes(record: &Session) -> bool {
    shared!(record.host.format) & u32::from(format::QUERY_ATTRIBUTES) != 0
}

/// An automaton's first state: that for texts with their attributes in front, where the session's have them.
#[inline(always)]
pub(crate) fn first(record: &Session, start: u8, start_with_attributes: u8) -> u8 {
    if has_attributes(record) {
        start_with_attributes
    } else {
        start
    }
}

/// Which node a text is for that reads.
#[inline(always)]
fn aim_of(data: &Data, record: &mut Session, length: u32) -> Aim {
    let start = first(record, aim::START, aim::START_WITH_ATTRIBUTES);
    aim::verdict(scan(data, record, length, start, aim_chunk))
}

/// Whether a text that the daemon must see by its verb only sets autocommit.
#[inline(always)]
fn sets_autocommit(data: &Data, record: &mut Session, length: u32) -> bool {
    if length > autocommit::TEXT_BYTES_MAX as u32 + 1 {
        return false;
    }
    let start = first(record, autocommit::START, autocommit::START_WITH_ATTRIBUTES);
    autocommit::is_set(scan(data, record, length, start, autocommit_chunk))
}

/// The state of another automaton than the first behind a text that is the payload's, from its first state.
#[inline(always)]
fn scan(
    data: &Data,
    record: &mut Session,
    length: u32,
    start: u8,
    chunk: extern "C" fn(u32, &mut Scan) -> i64,
) -> u8 {
    publish!(record.client.scanned, 0);
    publish!(record.client.scan_state, u32::from(start));
    let mut scan = Scan {
        data: Data::clone(data),
        format: &raw const record.host.format,
        scanned: &raw mut record.client.scanned,
        state: &raw mut record.client.scan_state,
        length: length - 1,
    };
    sys::repeat(CHUNKS_MAX, chunk, &mut scan);
    shared!(record.client.scan_state) as u8
}

/// Another automaton's way over a text. What a loop changes lies in the record: a number on the stack is one that the verifier follows
/// through every step.
struct Scan {
    data: Data,
    format: *const u32,
    scanned: *mut u32,
    state: *mut u32,
    /// Bytes of the text.
    length: u32,
}

/// One chunk of the second automaton's; called by the kernel's loop, so that the verifier looks at it once.
extern "C" fn aim_chunk(_index: u32, scan: &mut Scan) -> i64 {
    // SAFETY: it points into the session's record, which the verifier follows through the loop's context.
    let format = unsafe { &*scan.format };
    let backslash = Backslash::of_format(shared!(*format));
    walk(scan, |state, byte| aim::step_with(backslash, state, byte))
}

/// The same of the third one's.
extern "C" fn autocommit_chunk(_index: u32, scan: &mut Scan) -> i64 {
    walk(scan, autocommit::step)
}

/// One chunk.
#[inline(always)]
fn walk(scan: &mut Scan, step: impl Fn(u8, u8) -> u8) -> i64 {
    // SAFETY: both point into the session's record, which the verifier follows through the loop's context.
    let (scanned, scan_state) = unsafe { (&mut *scan.scanned, &mut *scan.state) };
    let start = shared!(*scanned);
    let mut state = shared!(*scan_state) as u8;
    for at in start..start + CHUNK {
        if at >= scan.length {
            break;
        }
        // What cannot be read is nobody's but the writer's, and no SET.
        let byte = scan.data.byte(COMMAND_BYTES + at).unwrap_or(0);
        state = step(state, byte);
    }
    publish!(*scan_state, u32::from(state));
    publish!(*scanned, start + CHUNK);
    i64::from(start + CHUNK >= scan.length)
}

/// A command that is a text: which node it is for, if it may be spliced.
#[inline(always)]
fn statement_text(
    msg: *mut sk_msg_md,
    data: &mut Data,
    record: &mut Session,
    size: u32,
    length: u32,
) -> Result<Aim, TrapReason> {
    if size != length + HEADER_BYTES {
        return Err(TrapReason::Framing);
    }
    if length > SCAN_BYTES_MAX as u32 {
        return Err(TrapReason::TooLong);
    }
    if data.byte(size - 1).is_none() {
        if !sys::pull(msg, size) {
            return Err(TrapReason::Framing);
        }
        *data = Data::of(msg);
    }
    let kind = match text(data, record, length) {
        Err(TrapReason::Verb) if sets_autocommit(data, record, length) => {
            automaton::code::TRANSACTION
        }
        kind => kind?,
    };
    if shared!(record.host.takes) != takes::ALL && kind == automaton::code::READ {
        Ok(aim_of(data, record, length))
    } else {
        Ok(Aim::Writer)
    }
}

const _: () = assert!(SCAN_BYTES_MAX.is_power_of_two());

/// Runs the automaton over a statement's text: all of the payload, which has at most [`SCAN_BYTES_MAX`] bytes, but its first byte. Returns what it does, a
/// number of [`automaton::code`].
#[inline(always)]
fn text(data: &Data, record: &Session, length: u32) -> Result<u8, TrapReason> {
    let backslash = Backslash::of_format(shared!(record.host.format));
    let mut state = first(record, automaton::START, automaton::START_WITH_ATTRIBUTES);
    // Read back, and bounded by a mask: the verifiers of kernels before 6.8 know no bounds of a length that lay on the stack when it was compared, so that
    // the loop would have no end for them (Debian's 6.1: "the sequence of 8193 jumps is too complex").
    // SAFETY: a local value.
    let bytes = unsafe { (&raw const length).read_volatile() }.wrapping_sub(1);
    for at in 0..bytes & (SCAN_BYTES_MAX as u32 - 1) {
        let byte = data.byte(COMMAND_BYTES + at).ok_or(TrapReason::Framing)?;
        state = automaton::step_with(backslash, state, byte);
    }
    match automaton::code(state) {
        kind @ automaton::code::SPLICE.. => Ok(kind),
        reason => Err(TrapReason::from_u32(u32::from(reason)).unwrap_or(TrapReason::Unclear)),
    }
}

/// Keeps what the command is, for who asks what the session does: `seen` bytes of its payload, which lies at `from`. The stores below are seen in their order, as on x86 all are.
#[inline(always)]
pub(crate) fn note(record: &mut Session, from: usize, now: u64, length: u32, seen: u32) {
    let sequence = record.client.head_sequence;
    publish!(record.client.head_sequence, sequence.wrapping_add(1));
    publish!(record.client.began_at, now);
    publish!(record.client.command_bytes, length + HEADER_BYTES);
    publish!(record.client.head_length, seen);
    // Read back: the compiler must not trade the comparison for one that the verifier cannot follow.
    let mut kept = shared!(record.client.head_length);
    if kept > HEAD_BYTES as u32 {
        kept = HEAD_BYTES as u32;
    }
    publish!(record.client.head_length, kept);
    sys::copy_head(&mut record.client.head, from, kept);
    publish!(record.client.head_sequence, sequence.wrapping_add(2));
}

/// Marks the message for this node's app socket, if that reads what it gets.
#[inline(always)]
fn send(msg: *mut sk_msg_md, record: &Session, seat: u32) -> Result<(), TrapReason> {
    let end = node_end(record, seat);
    let outstanding = sys::outstanding(shared!(end.sock)).ok_or(TrapReason::PeerGone)?;
    if outstanding > shared!(record.host.outstanding_bytes_max) {
        return Err(TrapReason::Outstanding);
    }
    if sys::redirect(msg, shared!(end.cookie)) {
        Ok(())
    } else {
        Err(TrapReason::PeerGone)
    }
}

/// The daemon must see this message: the regime is over.
#[inline(always)]
fn trap(record: &mut Session, begun: u64, reason: TrapReason) {
    publish!(record.client.trap, reason as u32);
    // Read back: of a number that the compiler knows it would drop the mask, and with it the verifier's bound.
    let index = shared!(record.client.trap) as usize & (TRAPS - 1);
    let count = &mut record.client.traps[index];
    publish!(*count, *count + 1);
    publish!(record.client.ended, begun);
}
