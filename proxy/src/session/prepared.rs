//! The texts of a session's prepared statements, so that an execution can be shown as its statement.

use std::collections::BTreeMap;

use sluice_ebpf::classify::LAST_PREPARED;

use super::activity::Head;

/// Statements of one session that are remembered.
const STATEMENTS_MAX: usize = 1024;

/// Fronts of texts by statement id. A session that prepares more than 1,024 has its oldest forgotten, which are those with the
/// lowest ids: servers count them up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prepared {
    texts: BTreeMap<u32, Box<Head>>,
    last: u32,
    has_forgotten: bool,
}

impl Prepared {
    /// The node has prepared a statement.
    pub fn remember(&mut self, id: u32, text: Head) {
        self.last = id;
        self.texts.insert(id, Box::new(text));
        if self.texts.len() > STATEMENTS_MAX {
            self.texts.pop_first();
            self.has_forgotten = true;
        }
    }

    /// Whether a statement may be open. Surely not if it says no.
    pub fn has_open(&self) -> bool {
        self.has_forgotten || !self.texts.is_empty()
    }

    /// Whether no others than these can be open.
    pub fn are_all(&self, closed: impl Iterator<Item = u32>) -> bool {
        let known = closed.filter(|id| self.texts.contains_key(id)).count();
        !self.has_forgotten && known == self.texts.len()
    }

    /// The statement is closed.
    pub fn forget(&mut self, id: u32) {
        self.texts.remove(&id);
    }

    /// Every statement is gone (`COM_CHANGE_USER`, `COM_RESET_CONNECTION`).
    pub fn forget_all(&mut self) {
        *self = Self::default();
    }

    /// The front of a statement's text, if it is remembered. [`LAST_PREPARED`] is the one prepared last.
    pub fn text(&self, id: u32) -> Option<&Head> {
        let id = if id == LAST_PREPARED { self.last } else { id };
        self.texts.get(&id).map(Box::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_known_until_they_are_closed() {
        let mut prepared = Prepared::default();
        prepared.remember(1, Head::new(b"one"));
        prepared.remember(2, Head::new(b"two"));
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
    fn the_oldest_are_forgotten() {
        let mut prepared = Prepared::default();
        let count = u32::try_from(STATEMENTS_MAX).unwrap() + 5;
        for id in 1..=count {
            prepared.remember(id, Head::new(b"x"));
        }
        assert_eq!(prepared.texts.len(), STATEMENTS_MAX);
        assert!(prepared.text(5).is_none() && prepared.text(6).is_some());
        for id in 1..=count {
            prepared.forget(id);
        }
        assert!(prepared.has_open(), "those that were forgotten");
    }
}
