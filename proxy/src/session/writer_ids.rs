//! The ids by which a session's writer knows the client's prepared statements. They are the client's own, but behind another writer whose ids of them could
//! not be made so: what the client calls such a statement the writer may call another one, now or later.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// The ids of statements that the client cannot know by the writer's. Nodes count theirs upwards from 1, and those of Sluice's own statements are above.
const IDS: Range<u32> = 0xE000_0000..0xF000_0000;
/// What no server calls a statement.
pub const NO_STATEMENT: u32 = 0;

/// The writer's ids, by the client's, where they differ. There are as many as statements that have followed the session, and one for each of those at most
/// whose id the writer has given to another one since.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriterIds {
    /// None: the writer does not have the statement, which the client may yet name.
    other: BTreeMap<u32, Option<u32>>,
    /// The writer's of these. It gives none to two statements.
    given: BTreeSet<u32>,
}

impl FromIterator<(u32, Option<u32>)> for WriterIds {
    fn from_iter<T: IntoIterator<Item = (u32, Option<u32>)>>(statements: T) -> Self {
        let other = statements
            .into_iter()
            .filter(|(id, at_writer)| *at_writer != Some(*id));
        let other: BTreeMap<_, _> = other.collect();
        let given = other.values().flatten().copied().collect();
        Self { other, given }
    }
}

impl WriterIds {
    /// Whether all are the client's.
    pub fn are_the_clients(&self) -> bool {
        self.other.is_empty()
    }

    /// What the writer calls the statement that the client calls `id`; [`NO_STATEMENT`] where it has none.
    pub fn of(&self, id: u32) -> u32 {
        match self.other.get(&id) {
            Some(at_writer) => at_writer.unwrap_or(NO_STATEMENT),
            // It is another statement's, which the client knows by another id.
            None if self.given.contains(&id) => NO_STATEMENT,
            None => id,
        }
    }

    /// The writer has given `given` to one more statement. Returns the client's id of it, which is the same if the client has no other statement by it;
    /// `is_known`: whether the client has one by this id.
    pub fn name(&mut self, given: u32, is_known: impl Fn(u32) -> bool) -> u32 {
        if !self.other.contains_key(&given) {
            return given;
        }
        let is_free = |id: &u32| !self.other.contains_key(id) && !is_known(*id);
        let id = IDS.into_iter().find(is_free).unwrap_or(given);
        self.other.insert(id, Some(given));
        self.given.insert(given);
        id
    }

    /// The client has closed the statement that it calls `id`.
    pub fn close(&mut self, id: u32) {
        if let Some(Some(at_writer)) = self.other.remove(&id) {
            self.given.remove(&at_writer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_id: u32) -> bool {
        false
    }

    #[test]
    fn ids_are_the_clients_until_they_cannot_be() {
        let mut ids = WriterIds::default();
        assert!(ids.are_the_clients());
        assert_eq!((ids.of(5), ids.name(6, nobody)), (5, 6));
        ids = [(1, Some(7)), (7, Some(8)), (9, Some(9)), (12, None)]
            .into_iter()
            .collect();
        assert!(!ids.are_the_clients());
        assert_eq!([1, 7, 9, 10].map(|id| ids.of(id)), [7, 8, 9, 10]);
        // One that the client does not know, and one that the writer refused.
        assert_eq!([8, 12].map(|id| ids.of(id)), [NO_STATEMENT; 2]);
        assert_eq!(ids.name(10, nobody), 10);
        assert_eq!(ids.of(10), 10);
        ids.close(1);
        assert_eq!([1, 7].map(|id| ids.of(id)), [1, 8]);
        for id in [7, 9, 12] {
            ids.close(id);
        }
        assert!(ids.are_the_clients());
    }

    #[test]
    fn no_two_statements_of_the_clients_have_one_id() {
        let mut ids: WriterIds = [(5000, Some(1)), (12, None)].into_iter().collect();
        let other = ids.name(5000, |id| id == IDS.start);
        assert_eq!(other, IDS.start + 1);
        let refused = ids.name(12, nobody);
        assert_eq!(refused, IDS.start);
        assert_eq!(
            [5000, other, 12, refused].map(|id| ids.of(id)),
            [1, 5000, NO_STATEMENT, 12]
        );
        ids.close(5000);
        assert_eq!([5000, other].map(|id| ids.of(id)), [NO_STATEMENT, 5000]);
        ids.close(other);
        ids.close(refused);
        ids.close(12);
        assert!(ids.are_the_clients());
    }
}
