//! Looks into a segment's payload before the session's lock is taken: classifies a client's command, walks a node's response.

use aya_ebpf::bindings::__sk_buff;
use sluice_ebpf::{
    aim::{self, Aim},
    autocommit,
    automaton::{self, Backslash},
    classify::{self, CommandClass, SCAN_BYTES_MAX, StatementCommand},
    notes,
    reason::TrapReason,
    record::{self, NODES, STATEMENTS, Seat, Session, takes},
    response::{Expect, Response, Window},
    statement,
    wire::{Commands, Content, Offer, Segment, Side, phase},
};

use super::skb;
use crate::{
    client::{self, COMMAND_BYTES, HEADER_BYTES, STATEMENT_BYTES},
    maps::{Scratch, TEXT_BYTES, WINDOW_BYTES},
    node,
    sys::{self, context, publish, shared},
};

/// Bytes of text that one call of the kernel's loop scans.
const CHUNK: u32 = 64;
/// Bytes of a segment's front that are looked at: a header, a command's byte and the longest text.
const FRONT_BYTES: u32 = COMMAND_BYTES + SCAN_BYTES_MAX as u32;
/// Chunks of the longest text.
const CHUNKS_MAX: u32 = (SCAN_BYTES_MAX as u32).div_ceil(CHUNK);
/// Commands without a response at a segment's front that are looked at; behind more of them a segment is relayed.
const SILENT_MAX: u32 = 15;
/// Steps of the response tracker in one segment; of one with more packets than that the rest is relayed.
const STEPS_MAX: u32 = 8192;

/// What the payload is.
#[inline(always)]
pub(super) fn content(
    skb: *mut __sk_buff,
    scratch: &mut Scratch,
    record: &Session,
    side: Side,
) -> Content {
    let limit = match side {
        Side::Client => segment_to_nodes(record),
        Side::Node(seat) => {
            shared!(record.host.joint[seat as usize & (NODES - 1)].segment_to_client)
        }
    };
    let limit = scratch.packet.framed(limit);
    let pieces = context!((*skb).gso_size);
    let largest = if pieces == 0 {
        scratch.packet.length
    } else {
        pieces
    };
    match side {
        // If it came in pieces it may be sent again from any of them on, where nobody could tell what it is.
        Side::Client if largest > limit || scratch.packet.length > largest => {
            Content::Trap(TrapReason::Segment)
        }
        Side::Node(_) if largest > limit => Content::Unknown,
        Side::Client => match commands(skb, scratch, record) {
            Ok(bytes) => Content::Command(bytes),
            Err(reason) => Content::Trap(reason),
        },
        Side::Node(seat) => walk(skb, scratch, record, seat),
    }
}

/// Payload bytes that a segment may have on the ways to all of the session's nodes: which of them it meets is known under the lock only.
#[inline(always)]
fn segment_to_nodes(record: &Session) -> u32 {
    let writer = shared!(record.host.joint[0].segment_to_node);
    let reader = shared!(record.host.joint[1].segment_to_node);
    if reader != 0 && reader < writer {
        reader
    } else {
        writer
    }
}

/// What a client's segment with so many bytes of commands is: for the node of the regime that it meets, or the regime goes on with its other node. Asked under
/// the session's lock: the regime may be with another node by now than when the segment was looked at.
#[inline(always)]
pub(super) fn placed(
    scratch: &Scratch,
    record: &mut Session,
    segment: &Segment,
    bytes: u32,
    offer: &Offer,
    outstanding: bool,
) -> Content {
    let aim = Aim::from_code(shared!(scratch.aim) as u8);
    let status = node::status(record);
    let mut aside = shared!(record.host.aside);
    // It may have been replaced while it was read.
    if shared!(record.host.armed) != offer.armed {
        aside.takes = takes::NOTHING;
    }
    let commands = Commands { bytes, aim };
    record
        .wire
        .placed(segment, commands, offer, &aside, status, outstanding)
}

/// Classifies a client's segment: as many commands without a response as there are at its front, and one more of any kind. Returns the bytes of those
/// that may be spliced, headers included. Of a segment that comes again only what stood in it before is looked at
/// ([`Leg::again`](sluice_ebpf::wire::Leg::again)).
#[inline(always)]
fn commands(
    skb: *mut __sk_buff,
    scratch: &mut Scratch,
    record: &Session,
) -> Result<u32, TrapReason> {
    let segment = scratch.packet.segment();
    let phase = shared!(record.wire.phase);
    publish!(
        scratch.end,
        record.wire.client.again(phase == phase::SPLICED, &segment)
    );
    // Read back: one number for the verifier, however it was found.
    let bytes = shared!(scratch.end);
    publish!(scratch.position, 0);
    publish!(scratch.silent, 0);
    publish!(scratch.closes, 0);
    publish!(scratch.noting, STATEMENTS as u32);
    // Prepared statements are the writer's, mostly.
    publish!(scratch.aim, Aim::Writer as u32);
    let mut front = Front {
        skb,
        scratch: &raw mut *scratch,
        record: core::ptr::from_ref(record),
    };
    sys::repeat(SILENT_MAX, silent, &mut front);
    let at = shared!(scratch.position);
    match command(skb, scratch, record, at, bytes.wrapping_sub(at)) {
        Ok(length) => Ok(at + length),
        Err(_) if at != 0 => Ok(at),
        Err(reason) => Err(reason),
    }
}

/// The way over commands without a response.
struct Front {
    skb: *mut __sk_buff,
    scratch: *mut Scratch,
    record: *const Session,
}

/// One command without a response, behind which another one stands; called by the kernel's loop.
extern "C" fn silent(_index: u32, front: &mut Front) -> i64 {
    // SAFETY: this CPU's scratch memory and the session's record, which the verifier follows through the loop's context.
    let (scratch, record) = unsafe { (&mut *front.scratch, &*front.record) };
    let at = shared!(scratch.position);
    let start = scratch.packet.payload + at;
    let left = shared!(scratch.end) - at;
    let head = scratch.text.as_mut_ptr();
    if left <= STATEMENT_BYTES || !skb::load_bytes(front.skb, start, head, STATEMENT_BYTES) {
        return 1;
    }
    let text = &scratch.text;
    let length = u32::from_le_bytes([text[0], text[1], text[2], 0]);
    let is_silent = matches!(Expect::of(text[4]), Expect::Nothing);
    if !is_silent || text[3] != 0 || length + HEADER_BYTES >= left {
        return 1;
    }
    match known_statement(record, scratch, length) {
        Ok(bit) => {
            let (closes, silent) = (shared!(scratch.closes), shared!(scratch.silent));
            publish!(scratch.closes, closes | bit);
            publish!(scratch.silent, silent + 1);
            publish!(scratch.position, at + HEADER_BYTES + length);
            0
        }
        Err(_) => 1,
    }
}

/// The bit of the statement that the command closes whose front lies in the scratch memory, 0 if it is another one of those that name a statement and may be
/// spliced. All but an execution is noted.
#[inline(always)]
fn known_statement(
    record: &Session,
    scratch: &mut Scratch,
    length: u32,
) -> Result<u64, TrapReason> {
    let text = &scratch.text;
    let CommandClass::Statement(command) = classify::command_class(text[4]) else {
        return Err(TrapReason::Command);
    };
    if !command.may_have(length) {
        return Err(TrapReason::Framing);
    }
    let id = u32::from_le_bytes([text[5], text[6], text[7], text[8]]);
    let place = id as usize & (STATEMENTS - 1);
    let word = shared!(record.host.statements[place]);
    if !statement::is_of(word, id) || !statement::may_be_silent(word, command) {
        return Err(TrapReason::UnknownStatement);
    }
    if statement::is_followed(word) && !matches!(command, StatementCommand::Execute) {
        // Of its front only the beginning may be there.
        let change = statement::change(word, command, &Text(text), HEADER_BYTES, length, false)
            .ok_or(TrapReason::UnknownStatement)?;
        note_change(scratch, place as u32, change)?;
    }
    Ok(match command {
        StatementCommand::Close => record::closed_bit(id),
        _ => 0,
    })
}

/// One more command of the segment changes the note of the statement in this place, which must be the only one that is changed.
#[inline(always)]
fn note_change(scratch: &mut Scratch, place: u32, change: u64) -> Result<(), TrapReason> {
    let (noting, before) = (shared!(scratch.noting), shared!(scratch.change));
    match noting {
        _ if change == notes::NOTHING => {}
        _ if noting == place => publish!(scratch.change, notes::then(before, change)),
        _ if noting == STATEMENTS as u32 => {
            publish!(scratch.noting, place);
            publish!(scratch.change, change);
        }
        _ => return Err(TrapReason::UnknownStatement),
    }
    Ok(())
}

/// The front of a command, as it lies in the scratch memory.
struct Text<'a>(&'a [u8; TEXT_BYTES]);

impl Window for Text<'_> {
    #[inline(always)]
    fn byte(&self, offset: u32) -> Option<u8> {
        Some(self.0[offset as usize & (TEXT_BYTES - 1)])
    }

    #[inline(always)]
    fn head(&self, _offset: u32) -> Option<u64> {
        None
    }
}

/// Which node the execution is for whose front lies in the scratch memory, an [`Aim`] as its number.
#[inline(always)]
fn execution(record: &Session, scratch: &mut Scratch, length: u32) -> Result<u32, TrapReason> {
    let text = &scratch.text;
    let id = u32::from_le_bytes([text[5], text[6], text[7], text[8]]);
    let place = id as usize & (STATEMENTS - 1);
    let word = shared!(record.host.statements[place]);
    let attributes = client::has_attributes(record);
    let (command, text) = (StatementCommand::Execute, Text(text));
    if statement::is_followed(word) {
        let change = statement::change(word, command, &text, HEADER_BYTES, length, attributes)
            .ok_or(TrapReason::UnknownStatement)?;
        note_change(scratch, place as u32, change)?;
        return Ok(Aim::Writer as u32);
    }
    let types = shared!(record.host.types[place]);
    let reader_id = shared!(record.host.reader_ids[place]);
    publish!(scratch.reader_id, reader_id);
    let at = HEADER_BYTES;
    statement::aim(word, types, command, &text, at, length, attributes)
        .map(|aim| aim as u32)
        .ok_or(TrapReason::UnknownStatement)
}

/// Classifies the command at this place in a client's payload, of which `bytes` are there from it on. Returns its own, header included. Its front lies
/// in the scratch memory then.
#[inline(always)]
fn command(
    skb: *mut __sk_buff,
    scratch: &mut Scratch,
    record: &Session,
    at: u32,
    bytes: u32,
) -> Result<u32, TrapReason> {
    let start = scratch.packet.payload + at;
    let mut wanted = bytes;
    if wanted < COMMAND_BYTES {
        return Err(TrapReason::Framing);
    }
    if wanted > FRONT_BYTES {
        wanted = FRONT_BYTES;
    }
    if !skb::load_bytes(skb, start, scratch.text.as_mut_ptr(), wanted) {
        return Err(TrapReason::Framing);
    }
    let text = &scratch.text;
    let length = u32::from_le_bytes([text[0], text[1], text[2], 0]);
    if text[3] != 0 || length == 0 || length == 0x00ff_ffff || length + HEADER_BYTES > bytes {
        return Err(TrapReason::Framing);
    }
    match classify::command_class(text[4]) {
        CommandClass::Trap(reason) => return Err(reason),
        CommandClass::Simple(_) if length != 1 => return Err(TrapReason::Framing),
        CommandClass::Simple(_) if at == 0 => publish!(scratch.aim, Aim::Last as u32),
        CommandClass::Simple(_) => {}
        CommandClass::Statement(command) => {
            let bit = known_statement(record, scratch, length)?;
            let closes = shared!(scratch.closes);
            publish!(scratch.closes, closes | bit);
            if matches!(command, StatementCommand::Execute) {
                let aim = execution(record, scratch, length)?;
                if at != 0 && aim != Aim::Writer as u32 {
                    publish!(scratch.reader_id, 0);
                    return Err(TrapReason::UnknownStatement);
                }
                publish!(scratch.aim, aim);
            }
        }
        CommandClass::Text => {
            if length > SCAN_BYTES_MAX as u32 {
                return Err(TrapReason::TooLong);
            }
            let kind = match scan(record, scratch, length) {
                Err(TrapReason::Verb) if sets_autocommit(record, scratch, length) => {
                    automaton::code::TRANSACTION
                }
                kind => kind?,
            };
            let is_split = shared!(record.host.takes) | shared!(record.wire.takes) != takes::ALL;
            if kind == automaton::code::READ && is_split && at == 0 {
                find_aim(record, scratch);
            }
        }
    }
    Ok(length + HEADER_BYTES)
}

/// The automaton's way over a text. What a loop changes lies in the scratch memory: a number on the stack is one that the verifier follows
/// through every step.
struct Scan {
    scratch: *mut Scratch,
    record: *const Session,
}

/// Runs the automaton over the text of a command of `length` bytes. Returns what it does, a number of [`automaton::code`].
#[inline(always)]
fn scan(record: &Session, scratch: &mut Scratch, length: u32) -> Result<u8, TrapReason> {
    let start = client::first(record, automaton::START, automaton::START_WITH_ATTRIBUTES);
    publish!(scratch.end, length + HEADER_BYTES);
    match automaton::code(run(record, scratch, start, chunk)) {
        kind @ automaton::code::SPLICE.. => Ok(kind),
        reason => Err(TrapReason::from_u32(u32::from(reason)).unwrap_or(TrapReason::Unclear)),
    }
}

/// Whose the text is that [`scan`] has been over, which reads.
#[inline(always)]
fn find_aim(record: &Session, scratch: &mut Scratch) {
    let start = client::first(record, aim::START, aim::START_WITH_ATTRIBUTES);
    let code = aim::code(run(record, scratch, start, aim_chunk));
    publish!(scratch.aim, u32::from(code));
}

/// Whether the text of `length` bytes with its command that [`scan`] has been over, which the daemon must see by its verb, only sets autocommit.
#[inline(always)]
fn sets_autocommit(record: &Session, scratch: &mut Scratch, length: u32) -> bool {
    if length > autocommit::TEXT_BYTES_MAX as u32 + 1 {
        return false;
    }
    let start = client::first(record, autocommit::START, autocommit::START_WITH_ATTRIBUTES);
    autocommit::is_set(run(record, scratch, start, autocommit_chunk))
}

/// The state of an automaton behind the text that ends at `scratch.end`, from its first state.
#[inline(always)]
fn run(
    record: &Session,
    scratch: &mut Scratch,
    start: u8,
    chunk: extern "C" fn(u32, &mut Scan) -> i64,
) -> u8 {
    publish!(scratch.position, COMMAND_BYTES);
    publish!(scratch.found, u32::from(start));
    let mut scan = Scan {
        scratch: &raw mut *scratch,
        record: core::ptr::from_ref(record),
    };
    sys::repeat(CHUNKS_MAX, chunk, &mut scan);
    shared!(scratch.found) as u8
}

/// What the daemon knows of backslashes.
#[inline(always)]
fn backslash(scan: &Scan) -> Backslash {
    // SAFETY: the session's record, which the verifier follows through the loop's context.
    let record = unsafe { &*scan.record };
    Backslash::of_format(shared!(record.host.format))
}

/// One chunk of the first automaton's; called by the kernel's loop, so that the verifier looks at it once.
extern "C" fn chunk(_index: u32, scan: &mut Scan) -> i64 {
    let backslash = backslash(scan);
    walk_text(scan, |state, byte| {
        automaton::step_with(backslash, state, byte)
    })
}

/// The same of the second one's.
extern "C" fn aim_chunk(_index: u32, scan: &mut Scan) -> i64 {
    let backslash = backslash(scan);
    walk_text(scan, |state, byte| aim::step_with(backslash, state, byte))
}

/// The same of the third one's.
extern "C" fn autocommit_chunk(_index: u32, scan: &mut Scan) -> i64 {
    walk_text(scan, autocommit::step)
}

/// One chunk.
#[inline(always)]
fn walk_text(scan: &mut Scan, step: impl Fn(u8, u8) -> u8) -> i64 {
    // SAFETY: this CPU's scratch memory, which the verifier follows through the loop's context.
    let scratch = unsafe { &mut *scan.scratch };
    let mut state = shared!(scratch.found) as u8;
    let (start, end) = (shared!(scratch.position), shared!(scratch.end));
    for offset in 0..CHUNK {
        let at = start + offset;
        if at >= end {
            break;
        }
        state = step(state, scratch.text[at as usize & (TEXT_BYTES - 1)]);
    }
    publish!(scratch.found, u32::from(state));
    publish!(scratch.position, start + CHUNK);
    i64::from(start + CHUNK >= end)
}

/// A window over a packet's payload, which moves along.
struct Payload {
    skb: *mut __sk_buff,
    scratch: *mut Scratch,
    /// Offset of the payload's first byte in the packet.
    start: u32,
    /// Bytes of it.
    length: u32,
}

impl Payload {
    /// The place in the window of `bytes` at `offset`, after moving it there if need be. None: the payload ends before.
    #[inline(always)]
    fn seek(&self, offset: u32, bytes: u32) -> Option<u32> {
        // SAFETY: this CPU's scratch memory, which the verifier follows through the loop's context.
        let scratch = unsafe { &mut *self.scratch };
        let place = offset.wrapping_sub(shared!(scratch.window_at));
        let length = shared!(scratch.window_length);
        if place < length && bytes <= length - place {
            return Some(place);
        }
        if offset > self.length || bytes > self.length - offset {
            return None;
        }
        let mut length = self.length - offset;
        if length > WINDOW_BYTES as u32 {
            length = WINDOW_BYTES as u32;
        }
        // Read back: of a number that the compiler has bounded it would drop the comparison, which the verifier needs. Less one, and added again:
        // that it is not 0 the verifiers of kernels before 6.8 do not see by a comparison with 0.
        publish!(scratch.found, length.wrapping_sub(1));
        let last = shared!(scratch.found);
        if last >= WINDOW_BYTES as u32 {
            return None;
        }
        length = last + 1;
        let window = scratch.window.as_mut_ptr();
        if !skb::load_bytes(self.skb, self.start + offset, window, length) {
            publish!(scratch.window_length, 0);
            return None;
        }
        publish!(scratch.window_length, length);
        publish!(scratch.window_at, offset);
        Some(0)
    }

    /// The byte at this place in the window.
    #[inline(always)]
    fn at(&self, place: u32) -> u8 {
        // SAFETY: as in `seek`.
        let scratch = unsafe { &*self.scratch };
        scratch.window[place as usize & (WINDOW_BYTES - 1)]
    }
}

impl Window for Payload {
    #[inline(always)]
    fn byte(&self, offset: u32) -> Option<u8> {
        let place = self.seek(offset, 1)?;
        Some(self.at(place))
    }

    #[inline(always)]
    fn head(&self, offset: u32) -> Option<u64> {
        let place = self.seek(offset, 5)?;
        let [a, b, c, d, first] = [0, 1, 2, 3, 4].map(|byte| self.at(place + byte));
        Some(u64::from(u32::from_le_bytes([a, b, c, d])) | u64::from(first) << 32)
    }
}

/// The tracker's way through a segment.
struct Walk {
    scratch: *mut Scratch,
    payload: Payload,
}

/// Takes a copy of the session's response over what is new of a node's segment.
#[inline(always)]
fn walk(skb: *mut __sk_buff, scratch: &mut Scratch, record: &Session, seat: Seat) -> Content {
    let packet = &scratch.packet;
    let from = shared!(record.wire.nodes[seat as usize & (NODES - 1)].rcv_nxt);
    let seen = from.wrapping_sub(packet.segment().seq);
    if seen >= packet.length {
        // All of it was seen before, or something before it is missing.
        return Content::Unknown;
    }
    let start = packet.payload + seen;
    let length = packet.length - seen;
    copy(
        &raw const record.node.response,
        &raw mut scratch.walked_from,
    );
    copy(&raw const scratch.walked_from, &raw mut scratch.response);
    publish!(scratch.position, 0);
    publish!(scratch.window_length, 0);
    let mut walk = Walk {
        scratch: &raw mut *scratch,
        payload: Payload {
            skb,
            scratch: &raw mut *scratch,
            start,
            length,
        },
    };
    sys::repeat(STEPS_MAX, step, &mut walk);
    if shared!(scratch.position) == length {
        Content::Walked(from)
    } else {
        Content::Unknown
    }
}

/// One step; called by the kernel's loop.
extern "C" fn step(_index: u32, walk: &mut Walk) -> i64 {
    // SAFETY: this CPU's scratch memory, which the verifier follows through the loop's context.
    let scratch = unsafe { &mut *walk.scratch };
    let before = shared!(scratch.position);
    let after = scratch
        .response
        .step(&walk.payload, before, walk.payload.length);
    publish!(scratch.position, after);
    i64::from(after == before || after >= walk.payload.length)
}

/// Words of a [`Response`].
const RESPONSE_WORDS: usize = size_of::<Response>() / 8;

/// Whether the response stands where the walk has begun. Asked under the session's lock: the walk began without it, when another CPU may have been in the
/// middle of what the segment before this one has changed.
#[inline(always)]
pub(super) fn still_stands(scratch: &Scratch, record: &Session) -> bool {
    let walked = (&raw const scratch.walked_from).cast::<u64>();
    let stands = (&raw const record.node.response).cast::<u64>();
    let mut differs = 0;
    for word in 0..RESPONSE_WORDS {
        // SAFETY: both are aligned to 8 bytes and as long as that; integers have no invalid value.
        differs |= unsafe { walked.add(word).read_volatile() ^ stands.add(word).read_volatile() };
    }
    differs == 0
}

/// Copies a response. Word by word: LLVM 22 crashes over a copy of 64 bytes at once ("Post-RA pseudo instruction expansion").
#[inline(always)]
pub(super) fn copy(from: *const Response, to: *mut Response) {
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    for word in 0..RESPONSE_WORDS {
        // SAFETY: both are aligned to 8 bytes and as long as that; integers have no invalid value.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

/// Keeps what the command is that has just passed, for who asks what the session does.
#[inline(always)]
pub(super) fn note(record: &mut Session, scratch: &Scratch, now: u64) {
    let text = &scratch.text;
    let length = u32::from_le_bytes([text[0], text[1], text[2], 0]);
    let seen = match classify::command_class(text[4]) {
        CommandClass::Text => length,
        CommandClass::Statement(_) => STATEMENT_BYTES - HEADER_BYTES,
        CommandClass::Simple(_) | CommandClass::Trap(_) => 1,
    };
    let from = core::ptr::from_ref(&text[HEADER_BYTES as usize]) as usize;
    client::note(record, from, now, length, seen);
}
