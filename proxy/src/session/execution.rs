//! Executions of prepared statements, where the daemon knows all of a statement's: which of a session's nodes one is for, and what each node lacks.
//!
//! A driver may name its parameters' types with the first execution only, and again where they change. So each node must have been told those that were
//! named last, whichever node that execution went to.

use sluice_ebpf::{
    notes::{self, Note},
    record::{NODES, Seat},
    statement::{PARAMETERS_MAX, followed, reading},
};

use super::{aim::Place, writer_ids::NO_STATEMENT};
use crate::protocol::statement::Front;

/// A statement of which the daemon knows what its executions have said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tracked {
    /// Which node its text is for.
    place: Place,
    parameters: u16,
    /// The types that were named last, two bytes for each parameter.
    types: Option<Box<[u8]>>,
    /// The writer may have been told others.
    may_have_other_types: bool,
    /// By [`Seat`]: the node has been told them.
    is_typed: [bool; NODES],
    reader: AtReader,
    spliced: Spliced,
    /// `COM_STMT_SEND_LONG_DATA` has brought the writer something for the next execution.
    has_long_data: bool,
    /// An execution has opened a cursor, which may be open yet.
    may_have_cursor: bool,
}

/// What the kernel is told of a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its [word](sluice_ebpf::statement).
    pub word: u64,
    /// The types of its parameters, where it surely reads: 16 bits each, the first one's in the lowest.
    pub types: u64,
    /// The reader's id of it, where that can execute it; else [`NO_STATEMENT`].
    pub reader_id: u32,
}

impl From<u64> for Told {
    /// Of a statement that is the writer's alone its word says all.
    fn from(word: u64) -> Self {
        Self {
            word,
            types: 0,
            reader_id: NO_STATEMENT,
        }
    }
}

/// Which of a statement's executions the kernel may splice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Spliced {
    /// None.
    Never,
    /// Those of which it can tell whose they are, with the types that it knows.
    AsReads,
    /// To the writer all that it can note.
    Noted,
}

/// What a reader that is parked knows of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AtParked {
    reader: AtReader,
    /// The types that it was told last, where these were the statement's.
    types: Option<Box<[u8]>>,
}

impl AtParked {
    /// The statement's id there.
    pub const fn id(&self) -> Option<u32> {
        self.reader.id()
    }

    /// Whether that one was asked for it at all.
    pub fn is_of_use(&self) -> bool {
        self.reader != AtReader::Unknown
    }
}

/// What a statement is at the reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AtReader {
    /// It has not been asked.
    Unknown,
    /// Prepared, under this id.
    Prepared(u32),
    /// It cannot be had there.
    Refused,
}

impl AtReader {
    const fn id(self) -> Option<u32> {
        match self {
            Self::Prepared(id) => Some(id),
            Self::Unknown | Self::Refused => None,
        }
    }
}

impl Tracked {
    /// A statement that the writer has just prepared: `place` is what its text is for.
    pub const fn new(place: Place, parameters: u16) -> Self {
        Self {
            place,
            parameters,
            types: None,
            may_have_other_types: false,
            is_typed: [false; NODES],
            reader: AtReader::Unknown,
            spliced: Spliced::Never,
            has_long_data: false,
            may_have_cursor: false,
        }
    }

    /// The same of one whose executions the kernel may splice, in a session with a reader or one without: where it could say nothing of them to the daemon,
    /// none are tracked.
    pub fn spliced(place: Place, parameters: u16, has_reader: bool) -> Option<Self> {
        let count = u32::from(parameters);
        let (place, spliced) = match place {
            Place::Reader if has_reader && count <= PARAMETERS_MAX => (place, Spliced::AsReads),
            Place::Reader | Place::Writer if has_reader => (Place::Writer, Spliced::Noted),
            // A hint, or the statement before: the daemon says it each time.
            _ if has_reader => (place, Spliced::Never),
            _ => (place, Spliced::Noted),
        };
        let is_known = spliced != Spliced::Noted || count <= notes::PARAMETERS_MAX;
        is_known.then(|| Self {
            spliced,
            ..Self::new(place, parameters)
        })
    }

    /// What the kernel is to know of it, as the client calls it `id`. None where the daemon must see its next execution.
    pub fn in_kernel(&self, id: u32) -> Option<Told> {
        let at_writer = self.parameters == 0 || self.is_typed(Seat::Writer);
        match self.spliced {
            _ if self.has_long_data => None,
            Spliced::Never => None,
            Spliced::Noted => {
                let is_told = at_writer || self.types.is_none();
                let word = followed(id, self.parameters.into(), self.may_have_cursor);
                is_told.then_some(word.into())
            }
            Spliced::AsReads => {
                let is_told = self.parameters == 0 || self.is_typed(Seat::Reader);
                let at_reader = self.at_reader();
                let at_reader = at_reader.filter(|id| is_told && *id != NO_STATEMENT);
                let parameters = self.parameters.into();
                let word = reading(id, parameters, at_writer, at_reader.is_some());
                let types = self.types.as_deref().unwrap_or_default();
                let types = types
                    .iter()
                    .rev()
                    .fold(0, |all, byte| all << 8 | u64::from(*byte));
                Some(Told {
                    word,
                    types,
                    reader_id: at_reader.unwrap_or(NO_STATEMENT),
                })
            }
        }
    }

    /// Whether the kernel splices its executions.
    pub fn is_spliced(&self) -> bool {
        self.spliced != Spliced::Never
    }

    /// Whether it splices them to either node.
    pub fn is_of_both(&self) -> bool {
        self.spliced == Spliced::AsReads
    }

    /// What the kernel has noted of its executions, which were the writer's.
    pub fn noted(&mut self, note: Note) {
        self.has_long_data = note.has_long_data();
        if let Some(types) = note.types(self.parameters) {
            self.name(Seat::Writer, &types.collect::<Box<[u8]>>());
        }
    }

    /// These types are named to this node.
    fn name(&mut self, seat: Seat, types: &[u8]) {
        if self.types.as_deref() != Some(types) {
            self.types = Some(types.into());
            self.is_typed = [false; NODES];
        }
        self.may_have_other_types = false;
        self.set_typed(seat, true);
    }

    /// The writer may have been told types that nobody else knows.
    pub fn lose_types(&mut self) {
        self.types = None;
        self.is_typed = [false; NODES];
        self.may_have_other_types = true;
    }

    /// How many parameters it has.
    pub const fn parameters(&self) -> u16 {
        self.parameters
    }

    /// Its id at the reader, where that has it.
    pub const fn at_reader(&self) -> Option<u32> {
        self.reader.id()
    }

    /// The reader was asked to prepare it, and gave it this id, or did not.
    pub fn prepared_at_reader(&mut self, id: Option<u32>) {
        self.reader = id.map_or(AtReader::Refused, AtReader::Prepared);
        self.set_typed(Seat::Reader, false);
    }

    /// The session has another reader, or none.
    pub const fn reader_is_new(&mut self) {
        self.reader = AtReader::Unknown;
        self.set_typed(Seat::Reader, false);
    }

    /// The reader is parked. What it knows of the statement, which no reader does for now.
    pub fn park_reader(&mut self) -> AtParked {
        let types = self.types.clone().filter(|_| self.is_typed(Seat::Reader));
        let reader = self.reader;
        self.reader_is_new();
        AtParked { reader, types }
    }

    /// A reader that was parked is the session's again, and knows this of the statement.
    pub fn reader_is_back(&mut self, known: &AtParked) {
        self.reader = known.reader;
        let is_typed = known.types.is_some() && known.types == self.types;
        self.set_typed(Seat::Reader, is_typed);
    }

    /// The session has another writer, which has prepared the statement.
    pub const fn writer_is_new(&mut self) {
        self.may_have_other_types = false;
        self.has_long_data = false;
        self.may_have_cursor = false;
        self.set_typed(Seat::Writer, false);
    }

    /// `COM_STMT_SEND_LONG_DATA` goes to the writer.
    pub const fn brings_long_data(&mut self) {
        self.has_long_data = true;
    }

    /// `COM_STMT_RESET` goes to the writer.
    pub const fn is_reset(&mut self) {
        self.has_long_data = false;
        self.may_have_cursor = false;
    }

    /// The last row of a cursor has come, with which the server closes it.
    pub const fn cursor_has_ended(&mut self) {
        self.may_have_cursor = false;
    }

    /// Whether the next execution uses what `COM_STMT_SEND_LONG_DATA` has brought.
    pub const fn has_long_data(&self) -> bool {
        self.has_long_data
    }

    /// Whether the types of its parameters are known, or it needs none.
    pub const fn has_types(&self) -> bool {
        self.parameters == 0 || self.types.is_some()
    }

    /// Whether nothing of it is lost with the writer's connection, but for the statement itself.
    pub const fn is_all_known(&self) -> bool {
        !self.has_long_data && !self.may_have_cursor && !self.may_have_other_types
    }

    /// The node that an execution is for. One that opens a cursor, or uses what is at the writer already, is the writer's.
    pub fn place_of(&self, front: &Front) -> Place {
        let is_bound = self.has_long_data
            || front.opens_cursor()
            || (front.types.is_none() && !self.has_types());
        match (&self.place, self.reader) {
            _ if is_bound => Place::Writer,
            (Place::Reader | Place::AnyReader | Place::Named(_), AtReader::Refused) => {
                Place::Writer
            }
            (place, _) => place.clone(),
        }
    }

    /// Whether an execution of it surely changes nothing, and says all that there is to it with what the daemon knows.
    pub fn is_repeatable(&self, front: &Front) -> bool {
        let reads = matches!(
            self.place,
            Place::Reader | Place::AnyReader | Place::Named(_)
        );
        let is_whole = !self.has_long_data && !front.opens_cursor();
        reads && is_whole && (front.types.is_some() || self.has_types())
    }

    /// An execution goes to this node. Returns the types that it must name, where it does not and the node has not been told them.
    pub fn executed(&mut self, seat: Seat, front: &Front) -> Option<&[u8]> {
        self.has_long_data = false;
        if seat == Seat::Writer {
            // It closes an earlier one.
            self.may_have_cursor = front.opens_cursor();
        }
        if let Some(types) = &front.types {
            self.name(seat, types);
            return None;
        }
        if self.is_typed(seat) || self.types.is_none() {
            return None;
        }
        self.set_typed(seat, true);
        self.types.as_deref()
    }

    fn is_typed(&self, seat: Seat) -> bool {
        self.is_typed
            .get(seat as usize)
            .copied()
            .unwrap_or_default()
    }

    const fn set_typed(&mut self, seat: Seat, is_typed: bool) {
        let [writer, reader] = &mut self.is_typed;
        match seat {
            Seat::Writer => *writer = is_typed,
            Seat::Reader => *reader = is_typed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{capability::Capabilities, statement::front};

    /// An execution of a statement with one parameter: with its type, and without.
    fn execution(kind: Option<u8>, flags: u8) -> Front {
        let mut payload = vec![0x17, 1, 0, 0, 0, flags, 1, 0, 0, 0, 0];
        match kind {
            Some(kind) => payload.extend([1, kind, 0]),
            None => payload.push(0),
        }
        payload.push(7);
        front(&payload, Capabilities::default(), 1).unwrap()
    }

    fn read_only() -> Tracked {
        Tracked::new(Place::Reader, 1)
    }

    #[test]
    fn an_execution_is_for_the_node_that_its_text_is_for() {
        let (typed, bare, cursor) = (
            execution(Some(1), 0),
            execution(None, 0),
            execution(Some(1), 1),
        );
        let mut tracked = read_only();
        assert_eq!(tracked.place_of(&typed), Place::Reader);
        assert_eq!(tracked.place_of(&cursor), Place::Writer);
        // What it means nobody but the writer could know.
        assert_eq!(tracked.place_of(&bare), Place::Writer);
        tracked.executed(Seat::Reader, &typed);
        assert_eq!(tracked.place_of(&bare), Place::Reader);
        tracked.brings_long_data();
        assert_eq!(tracked.place_of(&bare), Place::Writer);
        assert!(!tracked.is_repeatable(&bare));
        tracked.executed(Seat::Writer, &bare);
        assert_eq!(tracked.place_of(&bare), Place::Reader);
        assert!(tracked.is_repeatable(&bare) && !tracked.is_repeatable(&cursor));
        assert!(tracked.is_all_known());
        tracked.brings_long_data();
        assert!(!tracked.is_all_known());
        tracked.executed(Seat::Writer, &cursor);
        assert!(!tracked.is_all_known());
        tracked.is_reset();
        assert!(tracked.is_all_known());
        tracked.brings_long_data();
        tracked.writer_is_new();
        tracked.executed(Seat::Writer, &typed);
        assert!(tracked.is_all_known());
        tracked.prepared_at_reader(None);
        assert_eq!(tracked.place_of(&bare), Place::Writer);
        // Another reader may have it.
        tracked.reader_is_new();
        assert_eq!(tracked.place_of(&bare), Place::Reader);
        let writes = Tracked::new(Place::Writer, 1);
        assert_eq!(writes.place_of(&typed), Place::Writer);
        assert!(!writes.is_repeatable(&typed));
    }

    #[test]
    fn a_reader_that_was_parked_knows_what_it_was_told() {
        let (typed, bare) = (execution(Some(1), 0), execution(None, 0));
        let mut tracked = read_only();
        tracked.prepared_at_reader(Some(9));
        tracked.executed(Seat::Reader, &typed);
        let first = tracked.park_reader();
        assert_eq!((first.id(), first.is_of_use()), (Some(9), true));
        assert_eq!(tracked.at_reader(), None);
        // The next one has to be told all.
        tracked.prepared_at_reader(Some(3));
        assert_eq!(tracked.executed(Seat::Reader, &bare), Some(&[1, 0][..]));
        let second = tracked.park_reader();
        tracked.reader_is_back(&first);
        assert_eq!(tracked.at_reader(), Some(9));
        assert_eq!(tracked.executed(Seat::Reader, &bare), None);
        // Types that were named elsewhere meanwhile.
        tracked.park_reader();
        tracked.executed(Seat::Writer, &execution(Some(3), 0));
        tracked.reader_is_back(&second);
        assert_eq!(tracked.at_reader(), Some(3));
        assert_eq!(tracked.executed(Seat::Reader, &bare), Some(&[3, 0][..]));
        tracked.lose_types();
        tracked.reader_is_back(&first);
        assert_eq!(tracked.place_of(&bare), Place::Writer);
        tracked.prepared_at_reader(None);
        let refused = tracked.park_reader();
        assert!(refused.is_of_use() && refused.id().is_none());
        tracked.reader_is_back(&refused);
        assert_eq!(tracked.place_of(&typed), Place::Writer);
        assert!(tracked.park_reader().id().is_none() && !read_only().park_reader().is_of_use());
    }

    #[test]
    fn the_kernel_is_told_which_nodes_can_execute_it() {
        let (typed, bare) = (execution(Some(0xFD), 0), execution(None, 0));
        let mut tracked = Tracked::spliced(Place::Reader, 1, true).unwrap();
        let word = |at_writer, at_reader| reading(7, 1, at_writer, at_reader);
        let told = |word, types, reader_id| {
            Some(Told {
                word,
                types,
                reader_id,
            })
        };
        assert_eq!(tracked.in_kernel(7), told(word(false, false), 0, 0));
        tracked.prepared_at_reader(Some(5));
        assert_eq!(tracked.in_kernel(7), told(word(false, false), 0, 0));
        tracked.executed(Seat::Reader, &typed);
        assert_eq!(tracked.in_kernel(7), told(word(false, true), 0xFD, 5));
        tracked.executed(Seat::Writer, &bare);
        assert_eq!(tracked.in_kernel(7), told(word(true, true), 0xFD, 5));
        tracked.brings_long_data();
        assert_eq!(tracked.in_kernel(7), None);
        tracked.executed(Seat::Writer, &execution(Some(3), 0));
        assert_eq!(tracked.in_kernel(7), told(word(true, false), 3, 0));
        tracked.executed(Seat::Reader, &bare);
        tracked.reader_is_new();
        assert_eq!(tracked.in_kernel(7), told(word(true, false), 3, 0));
        tracked.prepared_at_reader(Some(9));
        tracked.executed(Seat::Reader, &bare);
        assert_eq!(tracked.in_kernel(7), told(word(true, true), 3, 9));
        assert_eq!(Tracked::new(Place::Reader, 1).in_kernel(7), None);
        let plain = Tracked::spliced(Place::Reader, 0, true).unwrap();
        let word = reading(7, 0, true, false);
        assert_eq!(plain.in_kernel(7), told(word, 0, 0));
        let asks = Tracked::spliced(Place::Last, 0, true).unwrap();
        assert_eq!(asks.in_kernel(7), None);
    }

    #[test]
    fn the_kernel_notes_what_goes_to_the_writer() {
        for (place, has_reader, parameters) in [
            (Place::Writer, true, 10),
            (Place::Reader, true, 5),
            (Place::Reader, false, 1),
            (Place::Last, false, 0),
        ] {
            let tracked = Tracked::spliced(place, parameters, has_reader).unwrap();
            let word = followed(7, parameters.into(), false);
            assert_eq!(tracked.in_kernel(7), Some(word.into()));
            assert!(tracked.is_all_known() && tracked.is_spliced());
        }
        for (place, has_reader) in [(Place::Writer, true), (Place::Reader, false)] {
            assert!(Tracked::spliced(place, 11, has_reader).is_none());
        }
    }

    #[test]
    fn what_the_kernel_has_noted_is_known() {
        let note = |change| Note::read(notes::noted(0, notes::fresh(0), change), notes::fresh(0));
        let long = notes::code(3, 0).map(|code| notes::with_type(notes::USED_UP, 0, code));
        let mut tracked = Tracked::spliced(Place::Writer, 1, true).unwrap();
        let word = |cursor| Some(followed(7, 1, cursor).into());
        tracked.noted(note(notes::LONG_DATA).unwrap());
        assert!(!tracked.is_all_known() && tracked.in_kernel(7).is_none());
        tracked.noted(note(long.unwrap()).unwrap());
        assert!(tracked.is_all_known() && tracked.has_types());
        assert_eq!(tracked.in_kernel(7), word(false));
        // Another writer has not been told: the daemon must see the next execution.
        tracked.writer_is_new();
        assert_eq!(tracked.in_kernel(7), None);
        let bare = execution(None, 0);
        assert_eq!(tracked.executed(Seat::Writer, &bare), Some(&[3, 0][..]));
        assert_eq!(tracked.in_kernel(7), word(false));
        tracked.executed(Seat::Writer, &execution(None, 1));
        assert!(!tracked.is_all_known());
        assert_eq!(tracked.in_kernel(7), word(true));
        tracked.executed(Seat::Writer, &bare);
        assert!(tracked.is_all_known());
        // What was named otherwise nobody knows, until types are named again.
        tracked.lose_types();
        assert!(!tracked.is_all_known() && !tracked.has_types());
        assert_eq!(tracked.in_kernel(7), word(false));
        tracked.noted(note(notes::USED_UP).unwrap());
        assert!(!tracked.is_all_known());
        assert_eq!(tracked.executed(Seat::Writer, &bare), None);
        tracked.executed(Seat::Writer, &execution(Some(8), 0));
        assert!(tracked.is_all_known());
    }

    #[test]
    fn each_node_is_told_the_types_that_were_named_last() {
        let bare = execution(None, 0);
        let mut tracked = read_only();
        assert_eq!(tracked.executed(Seat::Writer, &bare), None);
        assert_eq!(tracked.executed(Seat::Reader, &execution(Some(1), 0)), None);
        assert_eq!(tracked.executed(Seat::Reader, &bare), None);
        assert_eq!(tracked.executed(Seat::Writer, &bare), Some(&[1, 0][..]));
        assert_eq!(tracked.executed(Seat::Writer, &bare), None);
        // The same again changes nothing; others do, for the other node.
        assert_eq!(tracked.executed(Seat::Writer, &execution(Some(1), 0)), None);
        assert_eq!(tracked.executed(Seat::Reader, &bare), None);
        assert_eq!(tracked.executed(Seat::Writer, &execution(Some(8), 0)), None);
        assert_eq!(tracked.executed(Seat::Reader, &bare), Some(&[8, 0][..]));
        assert_eq!(tracked.executed(Seat::Writer, &bare), None);
        // Nodes that the session has not had before know nothing.
        tracked.writer_is_new();
        assert_eq!(tracked.executed(Seat::Reader, &bare), None);
        assert_eq!(tracked.executed(Seat::Writer, &bare), Some(&[8, 0][..]));
        tracked.reader_is_new();
        tracked.prepared_at_reader(Some(3));
        assert_eq!(tracked.at_reader(), Some(3));
        assert_eq!(tracked.executed(Seat::Reader, &bare), Some(&[8, 0][..]));
    }
}
