//! The daemon's view of session records: the map's memory itself, without a system call. All `unsafe` of the shared memory is here.
#![expect(unsafe_code, reason = "memory shared with the kernel's programs")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering, fence},
    },
};

use sluice_ebpf::{
    latency::Histogram,
    notes::{self, Note},
    reason::{TrapReason, WaitReason},
    record::{
        Aside, HEAD_BYTES, Joint, Offsets, STATEMENTS, Seat, Session, TRAPS, Tuple, path, takes,
    },
    response::{Status, format},
    statement,
    wire::Wire,
};

use crate::{
    gate::{Progress, SplicedCommand},
    session::{InsertId, execution::Told},
};

/// The mapped records of all sessions.
#[derive(Debug)]
pub struct Records {
    base: NonNull<Session>,
    count: u32,
    bytes: usize,
}

// SAFETY: plain shared memory; every access goes through atomics or volatile copies.
unsafe impl Send for Records {}
// SAFETY: as above.
unsafe impl Sync for Records {}

impl Records {
    /// Maps the array of `count` records behind `fd` (made with `BPF_F_MMAPABLE`).
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn map(fd: BorrowedFd<'_>, count: u32) -> io::Result<Self> {
        // The kernel rounds the array up to whole pages (`array_map_mmap`).
        let bytes = (count as usize * size_of::<Session>()).next_multiple_of(4096);
        // SAFETY: a new shared mapping of a map's memory; the kernel checks size and rights.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self { base, count, bytes })
    }

    /// Records in the map.
    pub const fn count(&self) -> u32 {
        self.count
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `map` made; nobody holds a reference into it, slots hold the `Arc`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A 64-bit field of a slot's record.
macro_rules! word {
    ($slot:expr, $($field:tt)+) => {
        // SAFETY: an aligned integer inside the record, which is mapped as long as the slot lives; everybody uses atomic accesses.
        unsafe { AtomicU64::from_ptr(&raw mut (*$slot.at()).$($field)+) }
    };
}

/// A 32-bit field of a slot's record.
macro_rules! half_word {
    ($slot:expr, $($field:tt)+) => {
        // SAFETY: as for `word`.
        unsafe { AtomicU32::from_ptr(&raw mut (*$slot.at()).$($field)+) }
    };
}

/// The same, read.
macro_rules! half {
    ($slot:expr, $($field:tt)+) => {
        half_word!($slot, $($field)+).load(Ordering::Acquire)
    };
}

mod reader;
mod way;

pub use reader::ReadersLeg;
pub use way::WayOut;

/// What the kernel is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The one moment at which the regime may begin.
    pub offsets: Offsets,
    /// The node of the regime.
    pub seat: Seat,
    /// Which statements it takes: one of [`takes`].
    pub takes: u32,
    /// The other node.
    pub aside: Aside,
    /// What is known of the session.
    pub status: Status,
    /// Backslashes in strings are known to escape.
    pub escapes: bool,
}

impl Offer {
    /// To splice to a session's only node whatever may be spliced.
    pub const fn at(offsets: Offsets) -> Self {
        Self {
            offsets,
            seat: Seat::Writer,
            takes: takes::ALL,
            aside: Aside::NONE,
            status: Status::of(0),
            escapes: false,
        }
    }
}

/// How often a command's head is read before it is given up.
const COMMAND_READS_MAX: usize = 1000;

const _: () = assert!(
    std::mem::offset_of!(Session, client.head).is_multiple_of(8) && HEAD_BYTES.is_multiple_of(8),
    "the head is read in words"
);

/// One session's record.
#[derive(Clone, Debug)]
pub struct Slot {
    records: Arc<Records>,
    index: u32,
}

impl Slot {
    /// The record with this index; none where the map ends before it.
    pub fn new(records: &Arc<Records>, index: u32) -> Option<Self> {
        (index < records.count).then(|| Self {
            records: Arc::clone(records),
            index,
        })
    }

    /// Its place in the map.
    pub const fn index(&self) -> u32 {
        self.index
    }

    fn at(&self) -> *mut Session {
        // SAFETY: `new` has checked the index; the mapping lives as long as `records`.
        unsafe { self.records.base.as_ptr().add(self.index as usize) }
    }

    /// Gives the record to a session: clears it, then writes the session's number, which makes the programs believe it.
    /// The number must be new: a stale leg of an earlier session never has it.
    pub fn open(&self, session: u64, outstanding_bytes_max: u32) {
        self.close();
        let at = self.at();
        // SAFETY: with `host.session` 0 no program writes to the record; the bytes of all fields may be zero.
        unsafe {
            std::ptr::write_bytes(&raw mut (*at).client, 0, 1);
            std::ptr::write_bytes(&raw mut (*at).node, 0, 1);
            std::ptr::write_bytes(&raw mut (*at).ends, 0, 1);
            std::ptr::write_bytes(&raw mut (*at).wire, 0, 1);
            std::ptr::write_bytes(&raw mut (*at).hops, 0, 1);
            std::ptr::write_bytes(&raw mut (*at).host, 0, 1);
            (&raw mut (*at).host.outstanding_bytes_max).write_volatile(outstanding_bytes_max);
        }
        word!(self, host.session).store(session, Ordering::SeqCst);
    }

    /// Whether the app socket of this node is captured.
    pub fn is_captured(&self, seat: Seat) -> bool {
        word!(self, ends[seat as usize].cookie).load(Ordering::Acquire) != 0
    }

    /// Sets the session's [`format`](mod@sluice_ebpf::response::format) bits; before the first [`Slot::arm`].
    pub fn set_format(&self, format: u8) {
        // SAFETY: aligned, in the mapping; the programs read it only in a regime.
        unsafe { (&raw mut (*self.at()).host.format).write_volatile(u32::from(format)) };
    }

    /// Lets the session be spliced below the sockets, between its client and the node at this place. `client` and `node` are the two connections
    /// as those peers see them; before the first [`Slot::arm`].
    pub fn join(&self, seat: Seat, joint: Joint, client: Tuple, node: Tuple) {
        let at = self.at();
        let place = seat as usize;
        // SAFETY: aligned, in the mapping, and there are as many as seats; the programs read them only once `path` says so.
        unsafe {
            let joints = (&raw mut (*at).host.joint).cast::<Joint>();
            let node_ends = (&raw mut (*at).host.node_end).cast::<Tuple>();
            joints.add(place).write_volatile(joint);
            (&raw mut (*at).host.client_end).write_volatile(client);
            node_ends.add(place).write_volatile(node);
            fence(Ordering::Release);
        }
        self.turn_path(path::LOCAL, path::WIRE);
    }

    /// Whether the session may be spliced below the sockets, now or later.
    pub fn is_joined(&self) -> bool {
        half!(self, host.path) != path::LOCAL
    }

    /// What the `tc` programs know of the session's connections. Torn where they write meanwhile: each number is one that was true.
    pub fn wire(&self) -> Wire {
        // SAFETY: in the mapping and aligned; every bit pattern is a value.
        unsafe { (&raw const (*self.at()).wire).read_volatile() }
    }

    /// What the `tc` programs wait for to begin what was offered.
    pub fn waits_for(&self) -> WaitReason {
        if self.is_paused() {
            return WaitReason::Way;
        }
        // SAFETY: in the mapping and aligned; only the daemon writes it.
        let offsets = unsafe { (&raw const (*self.at()).host.offsets).read_volatile() };
        self.wire().waits_for(half!(self, host.seat), &offsets)
    }

    /// Takes over what is known of the client's connection from the record that the session had, where no regime is live and nothing that
    /// bypassed is outstanding. What the programs learn meanwhile heals with the next segment: numbers only grow.
    pub fn inherit(&self, earlier: &Self) {
        let client = earlier.wire().client.settled();
        // SAFETY: aligned, in the mapping; no program knows this record for the client's connection yet.
        unsafe { (&raw mut (*self.at()).wire.client).write_volatile(client) };
    }

    /// The session has ended; the record goes on to translate what its connections still say.
    pub fn part(&self) {
        self.withdraw();
        self.stop(u64::MAX);
    }

    /// Takes the record from its session: whatever its app sockets send from now on passes.
    pub fn close(&self) {
        word!(self, host.session).store(0, Ordering::SeqCst);
    }

    /// Offers a regime.
    pub fn arm(&self, generation: u64, offer: Offer) {
        // An offer that is half new must not be believed: the old one is withdrawn first.
        word!(self, host.armed).store(0, Ordering::SeqCst);
        let at = self.at();
        // SAFETY: aligned, in the mapping; the programs read them only while `armed` is not 0.
        unsafe {
            (&raw mut (*at).host.offsets).write_volatile(offer.offsets);
            (&raw mut (*at).host.seat).write_volatile(offer.seat as u32);
            (&raw mut (*at).host.takes).write_volatile(offer.takes);
            (&raw mut (*at).host.aside).write_volatile(offer.aside);
            (&raw mut (*at).host.status).write_volatile(offer.status.to_word());
            let bits = &raw mut (*at).host.format;
            let known = u32::from(format::BACKSLASH_ESCAPES);
            let others = bits.read_volatile() & !known;
            bits.write_volatile(others | if offer.escapes { known } else { 0 });
        }
        word!(self, host.armed).store(generation, Ordering::SeqCst);
    }

    /// Withdraws what was offered; a regime that has begun goes on.
    pub fn withdraw(&self) {
        word!(self, host.armed).store(0, Ordering::SeqCst);
    }

    /// Ends every regime up to this one.
    pub fn stop(&self, generation: u64) {
        word!(self, host.stopped).store(generation, Ordering::SeqCst);
    }

    /// Lets the kernel splice executions of this prepared statement. Another one with the same place in the table is forgotten: it
    /// traps, which is slower and never wrong. Only where all closes are taken.
    pub fn allow_statement(&self, id: u32) {
        self.set_statement(id, statement::plain(id).into());
    }

    /// The same of one of which more is to be told. What was noted of one in its place must be taken.
    pub fn set_statement(&self, id: u32, told: Told) {
        let Told {
            word,
            types,
            reader_id,
        } = told;
        let place = id as usize & (STATEMENTS - 1);
        // Nothing in between is said of other types.
        self.statement(id).store(0, Ordering::Release);
        let types = if statement::is_followed(word) {
            notes::fresh(word!(self, client.notes[place]).load(Ordering::Acquire))
        } else {
            types
        };
        word!(self, host.types[place]).store(types, Ordering::Release);
        half_word!(self, host.reader_ids[place]).store(reader_id, Ordering::Release);
        self.statement(id).store(word, Ordering::Release);
    }

    /// Whether a statement with this id would take no other one's place.
    pub fn has_room_for(&self, id: u32) -> bool {
        let known = self.statement(id).load(Ordering::Acquire);
        known == 0 || statement::is_of(known, id)
    }

    /// What was spliced of the statements that are followed, by their ids.
    pub fn notes(&self) -> impl Iterator<Item = (u32, Note)> {
        let places = (0..STATEMENTS).zip(0..);
        places.filter_map(|(place, id)| {
            let word = self.statement(id).load(Ordering::Acquire);
            let told = word!(self, host.types[place]).load(Ordering::Acquire);
            let note = word!(self, client.notes[place]).load(Ordering::Acquire);
            let id = u32::try_from(word & u64::from(u32::MAX)).unwrap_or_default();
            let note = Note::read(note, told).filter(|_| statement::is_followed(word));
            note.map(|note| (id, note))
        })
    }

    /// The statement is not spliceable.
    pub fn forget_statement(&self, id: u32) {
        let known = self.statement(id);
        if statement::is_of(known.load(Ordering::Acquire), id) {
            known.store(0, Ordering::Release);
        }
    }

    /// The place of a statement with this id is free.
    pub fn clear_place(&self, id: u32) {
        self.statement(id).store(0, Ordering::Release);
    }

    /// Every statement is gone (`COM_CHANGE_USER`, `COM_RESET_CONNECTION`).
    pub fn forget_statements(&self) {
        for id in 0..u32::try_from(STATEMENTS).unwrap_or(0) {
            self.clear_place(id);
        }
    }

    /// The node that the kernel's last command went to.
    pub fn seat(&self) -> Seat {
        if half!(self, client.seat) == Seat::Reader as u32 {
            Seat::Reader
        } else {
            Seat::Writer
        }
    }

    /// The statements of which a close was spliced since [`Slot::take_closed`].
    pub fn closed(&self) -> impl Iterator<Item = u32> {
        self.closed_since().0
    }

    /// The same, and they are not told of again.
    pub fn take_closed(&self) -> impl Iterator<Item = u32> {
        let (ids, closed) = self.closed_since();
        word!(self, host.closed_seen).store(closed, Ordering::Release);
        ids
    }

    /// The statements that were closed, and the field that says so.
    fn closed_since(&self) -> (impl Iterator<Item = u32>, u64) {
        let closed = word!(self, client.closed).load(Ordering::Acquire);
        let new = closed ^ word!(self, host.closed_seen).load(Ordering::Acquire);
        let slot = self.clone();
        let places = (0..u64::BITS).filter(move |place| new >> place & 1 != 0);
        let ids = places.filter_map(move |place| {
            let known = slot.statement(place).load(Ordering::Acquire);
            (known != 0).then_some(u32::try_from(known & u64::from(u32::MAX)).unwrap_or_default())
        });
        (ids, closed)
    }

    fn statement(&self, id: u32) -> &AtomicU64 {
        let place = id as usize & (STATEMENTS - 1);
        word!(self, host.statements[place])
    }

    /// The command that the program spliced last; none where there was none, or none could be read whole: the program writes for some 50 ns
    /// of each command's many microseconds.
    pub fn command(&self) -> Option<SplicedCommand> {
        (0..COMMAND_READS_MAX).find_map(|_| {
            let sequence = half!(self, client.head_sequence);
            if sequence == 0 {
                return None;
            }
            let command = self.read_command();
            // What was read stays before the second look.
            fence(Ordering::Acquire);
            let whole = sequence % 2 == 0 && half!(self, client.head_sequence) == sequence;
            if !whole {
                std::hint::spin_loop();
            }
            whole.then_some(command)
        })
    }

    /// What [`Slot::command`] wants, torn if the program writes meanwhile.
    fn read_command(&self) -> SplicedCommand {
        let mut head = [0; HEAD_BYTES];
        for (at, word) in head.chunks_exact_mut(size_of::<u64>()).enumerate() {
            #[expect(clippy::cast_ptr_alignment, reason = "asserted above")]
            // SAFETY: inside the field, which begins at a multiple of 8 and is one long.
            let from = unsafe {
                let head = (&raw mut (*self.at()).client.head).cast::<u64>();
                AtomicU64::from_ptr(head.add(at))
            };
            word.copy_from_slice(&from.load(Ordering::Relaxed).to_ne_bytes());
        }
        SplicedCommand {
            head,
            head_length: half!(self, client.head_length),
            bytes: half!(self, client.command_bytes),
            remaining: half!(self, client.remaining),
            began_at_ns: word!(self, client.began_at).load(Ordering::Acquire),
            answered_at_ns: word!(self, node.answered_at).load(Ordering::Acquire),
        }
    }

    /// The spliced commands' times.
    pub fn latency(&self) -> Histogram {
        std::array::from_fn(|bucket| word!(self, node.latency[bucket]).load(Ordering::Relaxed))
    }

    /// The insert id that a spliced response has named last. The time is read first: the program writes it last.
    pub fn insert_id(&self) -> InsertId {
        let at_ns = word!(self, node.insert_id_at).load(Ordering::Acquire);
        InsertId {
            value: word!(self, node.insert_id).load(Ordering::Acquire),
            at_ns,
        }
    }

    /// The regime that began last; 0: none.
    pub fn begun(&self) -> u64 {
        word!(self, client.begun).load(Ordering::Acquire)
    }

    /// What the programs have written. `answered` is read first: when it says that a response is complete, what follows is at least
    /// as new.
    pub fn progress(&self) -> Progress {
        let load = |field: &AtomicU64| field.load(Ordering::Acquire);
        let answered = load(word!(self, node.answered));
        let started = load(word!(self, node.started));
        // Before `handed`, which the program writes first: an old value only means that the question is asked again.
        let handed_over = load(word!(self, node.handed_over));
        let mut traps = [0; TRAPS];
        for (reason, count) in traps.iter_mut().enumerate() {
            *count = half!(self, client.traps[reason]);
        }
        // SAFETY: in the mapping and aligned; every bit pattern is a value. Torn only while the program is inside a response, when
        // nobody asks for it.
        let (response, handed) = unsafe {
            let at = self.at();
            (
                (&raw const (*at).node.response).read_volatile(),
                (&raw const (*at).node.handed).read_volatile(),
            )
        };
        Progress {
            client_captured: load(word!(self, client.cookie)) != 0,
            begun: self.begun(),
            seat: self.seat(),
            ended: load(word!(self, client.ended)),
            spilled: load(word!(self, node.spilled)),
            handed_over,
            commands: load(word!(self, client.commands)),
            silent_commands: load(word!(self, client.silent_commands)),
            started,
            answered,
            bytes_to_node: load(word!(self, client.bytes)),
            bytes_to_client: load(word!(self, node.bytes)),
            packets_to_client: load(word!(self, node.packets)),
            transactions: load(word!(self, node.transactions)),
            spills: half!(self, node.spills),
            trap: TrapReason::from_u32(half!(self, client.trap)),
            traps,
            remaining: half!(self, client.remaining),
            response,
            regime: load(word!(self, node.regime)),
            handed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    static SLOTS: AtomicU32 = AtomicU32::new(0);

    /// A record in memory of its own.
    pub(super) fn slot() -> Slot {
        let name = format!(
            "sluice-record-{}-{}",
            std::process::id(),
            SLOTS.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        file.set_len(4096).unwrap();
        Slot::new(&Arc::new(Records::map(file.as_fd(), 1).unwrap()), 0).unwrap()
    }

    /// What the program on the client's socket does: the head is full of one letter, and so is the time.
    fn note(slot: &Slot, letter: u8) {
        let at = slot.at();
        // SAFETY: aligned, in the mapping; this thread is the only writer.
        unsafe {
            let sequence = (*at).client.head_sequence;
            (&raw mut (*at).client.head_sequence).write_volatile(sequence + 1);
            (&raw mut (*at).client.began_at).write_volatile(letter.into());
            (&raw mut (*at).client.head_length).write_volatile(u32::try_from(HEAD_BYTES).unwrap());
            (&raw mut (*at).client.head).write_volatile([letter; HEAD_BYTES]);
            (&raw mut (*at).client.head_sequence).write_volatile(sequence + 2);
        }
    }

    #[test]
    fn a_command_is_read_whole_or_not_at_all() {
        let slot = slot();
        assert_eq!(slot.command(), None);
        let writer = slot.clone();
        let writes = std::thread::spawn(move || {
            for round in 0..2_000_000_u32 {
                note(&writer, b'a' + u8::try_from(round % 26).unwrap());
            }
        });
        let mut read = 0_u32;
        while !writes.is_finished() || read == 0 {
            if let Some(command) = slot.command() {
                let letter = u8::try_from(command.began_at_ns).unwrap();
                assert_eq!(command.head, [letter; HEAD_BYTES]);
                read += 1;
            }
        }
        writes.join().unwrap();
        assert_eq!(slot.command().unwrap().payload().len(), HEAD_BYTES);
    }

    #[test]
    fn a_head_under_way_is_not_read() {
        let slot = slot();
        note(&slot, b'a');
        // SAFETY: as above.
        unsafe { (&raw mut (*slot.at()).client.head_sequence).write_volatile(3) };
        assert_eq!(slot.command(), None);
    }
}
