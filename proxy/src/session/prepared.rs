//! The texts of a session's prepared statements, so that an execution can be shown as its statement, and the statement be prepared at another node.

use std::collections::BTreeMap;

use sluice_ebpf::classify::LAST_PREPARED;

use super::{
    SsId, Versions,
    activity::Head,
    execution::{AtParked, Tracked},
    writer_ids::WriterIds,
};

/// Statements of one session that are remembered.
const STATEMENTS_MAX: usize = 1024;
/// Bytes of one session's whole texts that are kept.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What it takes to prepare a statement again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole {
    /// Its text, as the node was given it.
    pub text: Box<[u8]>,
    /// Its executions may be spliced.
    pub spliceable: bool,
    /// The session's versions as it was prepared: database and variables decide what a text means.
    pub versions: Versions,
}

impl Whole {
    /// Whether the text means the same in a session with these `versions`.
    fn means_the_same(&self, versions: Versions) -> bool {
        let then = self.versions;
        then.sys_var == versions.sys_var && then.db_name == versions.db_name
    }
}

/// What is known of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Known {
    head: Box<Head>,
    whole: Option<Whole>,
    /// What its executions have said, where the daemon knows of them all.
    tracked: Option<Box<Tracked>>,
    /// The node does not know it.
    is_own: bool,
}

/// Statements by their ids, those of the node's and those of Sluice's own. A session that prepares more than 1,024 has its oldest forgotten, which are
/// those with the lowest ids: servers count them up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prepared {
    known: BTreeMap<u32, Known>,
    text_bytes: usize,
    last: u32,
    has_forgotten: bool,
    /// Statements of the reader's, by its ids, that are closed, and it does not know.
    closing: Vec<u32>,
    /// What the writer calls them. It does not forget.
    at_writer: WriterIds,
    /// Readers that are parked.
    parked: Vec<Parked>,
}

/// What a reader that is parked knows of the session's statements.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Parked {
    ss_id: SsId,
    /// By the client's ids.
    known: BTreeMap<u32, AtParked>,
    /// Statements of its own, by its ids, that are closed, and it does not know.
    closing: Vec<u32>,
}

impl Prepared {
    /// The node has prepared a statement; `whole`: what it takes to have another node do so.
    pub fn remember(&mut self, id: u32, head: Head, whole: Option<Whole>) {
        let bytes = whole.as_ref().map_or(0, |whole| whole.text.len());
        let has_room = self.text_bytes + bytes <= TEXT_BYTES_MAX;
        self.enter(
            id,
            Known {
                head: Box::new(head),
                whole: whole.filter(|_| has_room),
                tracked: None,
                is_own: false,
            },
        );
    }

    /// Sluice itself has prepared a statement.
    pub fn remember_own(&mut self, id: u32, head: Head) {
        self.enter(
            id,
            Known {
                head: Box::new(head),
                whole: None,
                tracked: None,
                is_own: true,
            },
        );
    }

    fn enter(&mut self, id: u32, known: Known) {
        self.drop_known(id);
        self.last = id;
        self.text_bytes += bytes_of(&known);
        self.known.insert(id, known);
        if self.known.len() > STATEMENTS_MAX {
            if let Some((id, oldest)) = self.known.pop_first() {
                self.take_out(id, &oldest);
            }
            self.has_forgotten = true;
        }
    }

    /// Whether a statement may be open. Surely not if it says no.
    pub fn has_open(&self) -> bool {
        self.has_forgotten || !self.known.is_empty()
    }

    /// Whether no others than these can be open.
    pub fn are_all(&self, closed: impl Iterator<Item = u32>) -> bool {
        let known = closed.filter(|id| self.known.contains_key(id)).count();
        !self.has_forgotten && known == self.known.len()
    }

    /// The statement is closed.
    pub fn forget(&mut self, id: u32) {
        self.drop_known(id);
        self.at_writer.close(id);
    }

    fn drop_known(&mut self, id: u32) {
        if let Some(known) = self.known.remove(&id) {
            self.take_out(id, &known);
        }
    }

    fn take_out(&mut self, id: u32, known: &Known) {
        self.text_bytes -= bytes_of(known);
        let at_reader = known
            .tracked
            .as_ref()
            .and_then(|tracked| tracked.at_reader());
        self.closing.extend(at_reader);
        for Parked { known, closing, .. } in &mut self.parked {
            closing.extend(known.remove(&id).and_then(|parked| parked.id()));
        }
    }

    /// The daemon knows of all executions of this statement, which has just been prepared.
    pub fn track(&mut self, id: u32, tracked: Tracked) {
        if let Some(known) = self.known.get_mut(&id) {
            known.tracked = Some(Box::new(tracked));
        }
    }

    /// What the executions of a statement have said, if the daemon knows of them all.
    pub fn tracked(&self, id: u32) -> Option<&Tracked> {
        self.known.get(&id)?.tracked.as_deref()
    }

    /// The same, to be changed.
    pub fn tracked_mut(&mut self, id: u32) -> Option<&mut Tracked> {
        self.known.get_mut(&id)?.tracked.as_deref_mut()
    }

    /// The statement that a command names by this id: [`LAST_PREPARED`] is the one prepared last.
    pub const fn named(&self, id: u32) -> u32 {
        if id == LAST_PREPARED { self.last } else { id }
    }

    /// The session has another reader, or none.
    pub fn reader_is_new(&mut self) {
        self.closing.clear();
        for tracked in self.all_tracked() {
            tracked.reader_is_new();
        }
    }

    /// The reader with this id is parked: the session has none for now.
    pub fn park_reader(&mut self, ss_id: SsId) {
        self.forget_parked(ss_id);
        let tracked = self
            .known
            .iter_mut()
            .filter_map(|(id, known)| Some((*id, known.tracked.as_deref_mut()?.park_reader())));
        self.parked.push(Parked {
            ss_id,
            known: tracked.filter(|(_, parked)| parked.is_of_use()).collect(),
            closing: std::mem::take(&mut self.closing),
        });
    }

    /// The reader with this id, which was parked, is the session's again.
    pub fn reader_is_back(&mut self, ss_id: SsId) {
        self.reader_is_new();
        let at = self.parked.iter().position(|parked| parked.ss_id == ss_id);
        let Some(Parked { known, closing, .. }) = at.map(|at| self.parked.swap_remove(at)) else {
            return;
        };
        self.closing = closing;
        for (id, parked) in known {
            if let Some(tracked) = self.tracked_mut(id) {
                tracked.reader_is_back(&parked);
            }
        }
    }

    /// A reader that was parked is gone.
    pub fn forget_parked(&mut self, ss_id: SsId) {
        self.parked.retain(|parked| parked.ss_id != ss_id);
    }

    /// The session has another writer, which was asked to prepare its statements: the client's ids, and what the writer has given each if it has.
    pub fn writer_is_new(&mut self, given: impl Iterator<Item = (u32, Option<u32>)>) {
        self.at_writer = given.collect();
        for tracked in self.all_tracked() {
            tracked.writer_is_new();
        }
    }

    /// The ids by which the writer knows the client's statements.
    pub const fn at_writer(&self) -> &WriterIds {
        &self.at_writer
    }

    /// The writer has given this id to another statement. Returns the client's for it.
    pub fn name(&mut self, given: u32) -> u32 {
        let Self {
            known, at_writer, ..
        } = self;
        at_writer.name(given, |id| known.contains_key(&id))
    }

    /// The statement that was prepared last, as the client knows it.
    pub const fn last(&self) -> u32 {
        self.last
    }

    /// The statements all of whose executions are known.
    pub fn all_tracked_ids(&self) -> Vec<u32> {
        let known = self.known.iter();
        let tracked = known.filter(|(_, known)| known.tracked.is_some());
        tracked.map(|(id, _)| *id).collect()
    }

    fn all_tracked(&mut self) -> impl Iterator<Item = &mut Tracked> {
        self.known
            .values_mut()
            .filter_map(|known| known.tracked.as_deref_mut())
    }

    /// The statements of the reader's, by its ids, that are closed, and it is to be told now.
    pub fn take_closing(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.closing)
    }

    /// What a reader must be told to prepare this statement; none where that is not known, or would mean something else there: the session has these
    /// `versions` now.
    pub fn whole(&self, id: u32, versions: Versions) -> Option<&Whole> {
        let whole = self.known.get(&id)?.whole.as_ref()?;
        whole.means_the_same(versions).then_some(whole)
    }

    /// Every statement is gone (`COM_CHANGE_USER`, `COM_RESET_CONNECTION`).
    pub fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// The front of a statement's text, if it is remembered. [`LAST_PREPARED`] is the one prepared last.
    pub fn text(&self, id: u32) -> Option<&Head> {
        let known = self.known.get(&self.named(id));
        known.map(|known| known.head.as_ref())
    }

    /// The node's statements in the order of their ids, as another node must be told them; none where one of them is not known whole, or would mean
    /// something else there: the session has these `versions` now.
    pub fn followable(&self, versions: Versions) -> Option<Vec<(u32, &Whole)>> {
        let nodes = self.known.iter().filter(|(_, known)| !known.is_own);
        let statements: Option<Vec<_>> = nodes
            .map(|(id, known)| {
                let whole = known.whole.as_ref()?;
                whole.means_the_same(versions).then_some((*id, whole))
            })
            .collect();
        statements.filter(|_| !self.has_forgotten)
    }

    /// Whether all statements can be had at another node, though the session's own is gone.
    pub fn can_follow(&self, versions: Versions) -> bool {
        let mut known = self.known.values();
        self.followable(versions).is_some()
            && known.all(|known| {
                let tracked = known.tracked.as_ref();
                tracked.is_none_or(|tracked| !tracked.has_long_data())
            })
    }

    /// Whether the node has statements of which the daemon does not know what executions have said.
    pub fn has_untracked(&self) -> bool {
        let mut known = self.known.values();
        self.has_forgotten || known.any(|known| !known.is_own && known.tracked.is_none())
    }

    /// Whether all statements can be had at another node, with all that executions have said of them, though this one still has them.
    pub fn can_move(&self, versions: Versions) -> bool {
        let mut nodes = self.known.values().filter(|known| !known.is_own);
        self.followable(versions).is_some()
            && nodes.all(|known| {
                let tracked = known.tracked.as_ref();
                tracked.is_some_and(|tracked| tracked.is_all_known())
            })
    }
}

fn bytes_of(known: &Known) -> usize {
    known.whole.as_ref().map_or(0, |whole| whole.text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::aim::Place;

    fn whole(length: usize) -> Whole {
        Whole {
            text: vec![b'x'; length].into(),
            spliceable: true,
            versions: Versions::default(),
        }
    }

    fn ids(prepared: &Prepared) -> Option<Vec<u32>> {
        let statements = prepared.followable(Versions::default())?;
        Some(statements.into_iter().map(|(id, _)| id).collect())
    }

    #[test]
    fn statements_are_known_until_they_are_closed() {
        let mut prepared = Prepared::default();
        prepared.remember(1, Head::new(b"one"), None);
        prepared.remember(2, Head::new(b"two"), None);
        let text = |prepared: &Prepared, id| prepared.text(id).map(Head::to_text);
        assert_eq!(text(&prepared, 1).as_deref(), Some("one"));
        assert_eq!(text(&prepared, LAST_PREPARED).as_deref(), Some("two"));
        assert!(!prepared.are_all([1, 3].into_iter()) && prepared.are_all([2, 3, 1].into_iter()));
        prepared.forget(1);
        assert_eq!(text(&prepared, 1), None);
        assert!(prepared.has_open());
        prepared.forget_all();
        assert_eq!(text(&prepared, LAST_PREPARED), None);
        assert!(!prepared.has_open());
    }

    #[test]
    fn a_reader_is_told_what_is_closed() {
        let mut prepared = Prepared::default();
        for id in 1..=3 {
            prepared.remember(id, Head::new(b"x"), Some(whole(1)));
            let mut tracked = Tracked::new(Place::Reader, 0);
            tracked.prepared_at_reader(Some(id + 10));
            prepared.track(id, tracked);
        }
        assert_eq!(prepared.all_tracked_ids(), [1, 2, 3]);
        prepared.forget(2);
        prepared.forget(1);
        assert!(prepared.tracked(1).is_none() && prepared.tracked(3).is_some());
        assert_eq!(prepared.take_closing(), [12, 11]);
        prepared.forget(3);
        prepared.forget_all();
        assert!(prepared.take_closing().is_empty());
    }

    #[test]
    fn a_parked_reader_is_told_what_was_closed_when_it_is_back() {
        let mut prepared = Prepared::default();
        for id in 1..=3 {
            prepared.remember(id, Head::new(b"x"), Some(whole(1)));
            let mut tracked = Tracked::new(Place::Reader, 0);
            tracked.prepared_at_reader((id != 3).then_some(id + 10));
            prepared.track(id, tracked);
        }
        let at_reader = |prepared: &Prepared, id| prepared.tracked(id).unwrap().at_reader();
        prepared.forget(1);
        prepared.park_reader(SsId(5));
        assert_eq!(at_reader(&prepared, 2), None);
        assert!(prepared.take_closing().is_empty());
        let next = |prepared: &mut Prepared, id| {
            let tracked = prepared.tracked_mut(id).unwrap();
            tracked.prepared_at_reader(Some(id + 20));
        };
        next(&mut prepared, 2);
        prepared.park_reader(SsId(6));
        prepared.forget(2);
        // The client's id may be another statement's by now.
        prepared.remember(2, Head::new(b"y"), Some(whole(1)));
        prepared.track(2, Tracked::new(Place::Reader, 0));
        prepared.reader_is_back(SsId(5));
        assert_eq!(prepared.take_closing(), [11, 12]);
        assert_eq!(at_reader(&prepared, 2), None);
        next(&mut prepared, 2);
        prepared.park_reader(SsId(5));
        prepared.reader_is_back(SsId(6));
        assert_eq!(prepared.take_closing(), [22]);
        assert_eq!(at_reader(&prepared, 2), None);
        prepared.forget_parked(SsId(5));
        prepared.reader_is_back(SsId(5));
        assert_eq!(at_reader(&prepared, 2), None);
        assert!(prepared.take_closing().is_empty() && prepared.parked.is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut prepared = Prepared::default();
        let count = u32::try_from(STATEMENTS_MAX).unwrap() + 5;
        for id in 1..=count {
            prepared.remember(id, Head::new(b"x"), Some(whole(1)));
        }
        assert_eq!(prepared.known.len(), STATEMENTS_MAX);
        assert!(prepared.text(5).is_none() && prepared.text(6).is_some());
        assert_eq!(ids(&prepared), None);
        for id in 1..=count {
            prepared.forget(id);
        }
        assert_eq!(prepared.text_bytes, 0);
        assert!(prepared.has_open(), "those that were forgotten");
    }

    #[test]
    fn only_what_is_known_whole_and_means_the_same_follows() {
        let mut prepared = Prepared::default();
        prepared.remember(3, Head::new(b"x"), Some(whole(1)));
        prepared.remember(1, Head::new(b"x"), Some(whole(1)));
        prepared.remember_own(0xf000_0000, Head::new(b"own"));
        assert_eq!(ids(&prepared), Some(vec![1, 3]));
        let other = Versions {
            db_name: 1,
            ..Versions::default()
        };
        assert_eq!(prepared.followable(other), None);
        prepared.remember(4, Head::new(b"x"), Some(whole(TEXT_BYTES_MAX)));
        assert_eq!(ids(&prepared), None);
        prepared.forget(4);
        assert_eq!(ids(&prepared), Some(vec![1, 3]));
        assert!(
            prepared.can_follow(Versions::default()) && !prepared.can_move(Versions::default())
        );
        let mut tracked = Tracked::new(Place::Writer, 1);
        tracked.brings_long_data();
        prepared.track(1, tracked);
        assert!(!prepared.can_follow(Versions::default()));
    }

    #[test]
    fn what_the_writer_calls_a_statement_outlives_what_is_known_of_it() {
        let mut prepared = Prepared::default();
        prepared.remember(1, Head::new(b"x"), Some(whole(1)));
        prepared.writer_is_new([(1, Some(7))].into_iter());
        let last = u32::try_from(STATEMENTS_MAX).unwrap() + 8;
        for given in 8..=last {
            let id = prepared.name(given);
            prepared.remember(id, Head::new(b"x"), None);
        }
        assert!(prepared.text(1).is_none());
        assert_eq!(prepared.at_writer().of(1), 7);
        prepared.forget(1);
        assert!(prepared.at_writer().are_the_clients());
    }
}
