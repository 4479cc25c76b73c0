//! Sessions on the wire of which the way to a peer leads over an interface that is not covered. Pure: from what was found of the ways to what is to be done.
//!
//! What a local socket sends has the peer's numbers only behind the programs. So no regime begins where they are not: a session of which nothing has bypassed
//! the sockets goes on as a relayed one. Of one that has nothing may leave or arrive there: the guard stops it, it waits for a way, and not for ever.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Such a session, as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stray {
    /// Its record.
    pub(super) slot: u32,
    /// Its number.
    pub(super) session: u64,
    /// Bytes have bypassed the sockets of the connection whose way it is.
    pub(super) is_used: bool,
    /// There is no way just now: one that is a stray stays one until its way is known to be covered.
    pub(super) is_lost: bool,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Steps {
    /// No regime is to begin in these records.
    pub(super) pause: Vec<u32>,
    /// In these again.
    pub(super) resume: Vec<u32>,
    /// These sessions have waited for long enough.
    pub(super) end: Vec<u64>,
    /// So many sessions have come to wait, of which bytes have bypassed the sockets,
    pub(super) held: usize,
    /// and so many that are only not spliced.
    pub(super) paused: usize,
}

/// Since when each of them is one.
#[derive(Debug, Default)]
pub(super) struct Strays(BTreeMap<(u32, u64), Since>);

#[derive(Clone, Copy, Debug)]
struct Since {
    at: Instant,
    is_used: bool,
    is_looked_at: bool,
}

impl Strays {
    /// What becomes of them, where these are all that there are now. They may wait for `limit`.
    pub(super) fn look(
        &mut self,
        found: impl IntoIterator<Item = Stray>,
        now: Instant,
        limit: Duration,
    ) -> Steps {
        let mut steps = Steps::default();
        let mut known: BTreeMap<(u32, u64), Since> = BTreeMap::new();
        for stray in found {
            let key = (stray.slot, stray.session);
            let before = self.0.get(&key);
            if stray.is_lost && before.is_none() {
                continue;
            }
            let is_used = if stray.is_lost {
                before.is_some_and(|since| since.is_used)
            } else {
                stray.is_used
            };
            // A session has several ways.
            let is_used = is_used || known.get(&key).is_some_and(|since| since.is_used);
            let at = before.map_or(now, |since| since.at);
            let is_looked_at = now.duration_since(at) >= limit;
            known.insert(
                key,
                Since {
                    at,
                    is_used,
                    is_looked_at,
                },
            );
        }
        for (key, since) in &known {
            let (slot, session) = *key;
            let before = self.0.get(key);
            if before.is_none() {
                steps.pause.push(slot);
            }
            if since.is_used && before.is_none_or(|before| !before.is_used) {
                steps.held += 1;
            } else if before.is_none() {
                steps.paused += 1;
            }
            if since.is_used && since.is_looked_at {
                steps.end.push(session);
            }
        }
        let gone = self.0.keys().filter(|key| !known.contains_key(key));
        steps.resume = gone.map(|(slot, _)| *slot).collect();
        self.0 = known;
        steps
    }

    /// When to look again, whether or not anything has changed.
    pub(super) fn next_look(&self, limit: Duration) -> Option<Instant> {
        let waiting = self.0.values().filter(|since| !since.is_looked_at);
        waiting.map(|since| since.at + limit).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn used(slot: u32) -> Stray {
        Stray {
            slot,
            session: u64::from(slot) + 100,
            is_used: true,
            is_lost: false,
        }
    }

    fn unused(slot: u32) -> Stray {
        Stray {
            is_used: false,
            ..used(slot)
        }
    }

    #[test]
    fn what_becomes_of_sessions_as_their_ways_are_found() {
        // Looks, each so many seconds after the first one, at what is found, and: paused, resumed, ended, held, only not spliced.
        type Look = (
            u64,
            &'static [Stray],
            &'static [u32],
            &'static [u32],
            &'static [u64],
            [usize; 2],
        );
        const fn of(slot: u32, is_used: bool) -> Stray {
            Stray {
                slot,
                session: slot as u64 + 100,
                is_used,
                is_lost: false,
            }
        }
        const A: Stray = of(1, true);
        const B: Stray = of(2, false);
        const A_UNUSED: Stray = of(1, false);
        let lives: &[&[Look]] = &[
            // Nobody.
            &[(0, &[], &[], &[], &[], [0, 0])],
            // One waits, and its way is covered.
            &[
                (0, &[A], &[1], &[], &[], [1, 0]),
                (9, &[A], &[], &[], &[], [0, 0]),
                (9, &[], &[], &[1], &[], [0, 0]),
                // Once more: it has all the time again.
                (12, &[A], &[1], &[], &[], [1, 0]),
                (21, &[A], &[], &[], &[], [0, 0]),
                (22, &[A], &[], &[], &[101], [0, 0]),
            ],
            // It waits for too long; told again as long as it is there.
            &[
                (0, &[A], &[1], &[], &[], [1, 0]),
                (10, &[A], &[], &[], &[101], [0, 0]),
                (11, &[A], &[], &[], &[101], [0, 0]),
                (12, &[], &[], &[1], &[], [0, 0]),
            ],
            // Nothing has bypassed: it goes on as long as it likes.
            &[
                (0, &[B], &[2], &[], &[], [0, 1]),
                (99, &[B], &[], &[], &[], [0, 0]),
                (100, &[], &[], &[2], &[], [0, 0]),
            ],
            // Both its ways, of which one is used.
            &[
                (0, &[A_UNUSED, A], &[1], &[], &[], [1, 0]),
                (1, &[A, A_UNUSED], &[], &[], &[], [0, 0]),
                (10, &[A_UNUSED, A], &[], &[], &[101], [0, 0]),
            ],
            // A command has bypassed while it was being paused.
            &[
                (0, &[A_UNUSED], &[1], &[], &[], [0, 1]),
                (10, &[A], &[], &[], &[101], [1, 0]),
            ],
        ];
        for life in lives {
            let (mut strays, start) = (Strays::default(), Instant::now());
            for (seconds, found, pause, resume, end, [held, paused]) in *life {
                let now = start + Duration::from_secs(*seconds);
                let steps = strays.look(found.iter().copied(), now, LIMIT);
                let expected = Steps {
                    pause: pause.to_vec(),
                    resume: resume.to_vec(),
                    end: end.to_vec(),
                    held: *held,
                    paused: *paused,
                };
                assert_eq!(steps, expected, "{seconds} of {life:?}");
            }
        }
    }

    /// A link that goes down takes its routes along, and they come back before it is known whether it is covered.
    #[test]
    fn a_way_that_is_lost_changes_nothing() {
        let lost = |stray| Stray {
            is_lost: true,
            ..stray
        };
        let (mut strays, start) = (Strays::default(), Instant::now());
        assert_eq!(strays.look([lost(used(1))], start, LIMIT), Steps::default());
        let begun = strays.look([used(1), lost(unused(2))], start, LIMIT);
        assert_eq!((begun.pause, begun.held), (vec![1], 1));
        for found in [lost(unused(1)), used(1)] {
            let steps = strays.look([found], start + LIMIT / 2, LIMIT);
            assert_eq!(steps, Steps::default());
        }
        let over = strays.look([lost(used(1))], start + LIMIT, LIMIT);
        assert_eq!((over.end, over.held), (vec![101], 0));
        assert_eq!(strays.look([], start + LIMIT, LIMIT).resume, vec![1]);
    }

    #[test]
    fn another_session_in_the_same_record_is_another_one() {
        let (mut strays, start) = (Strays::default(), Instant::now());
        strays.look([used(1)], start, LIMIT);
        let next = Stray {
            session: 7,
            ..used(1)
        };
        let steps = strays.look([next], start + LIMIT, LIMIT);
        assert_eq!((steps.end, steps.pause), (vec![], vec![1]));
    }

    #[test]
    fn each_is_looked_at_again_once() {
        let (mut strays, start) = (Strays::default(), Instant::now());
        assert_eq!(strays.next_look(LIMIT), None);
        strays.look([used(1)], start, LIMIT);
        let later = start + Duration::from_secs(3);
        strays.look([used(1), unused(2)], later, LIMIT);
        assert_eq!(strays.next_look(LIMIT), Some(start + LIMIT));
        strays.look([used(1), unused(2)], start + LIMIT, LIMIT);
        assert_eq!(strays.next_look(LIMIT), Some(later + LIMIT));
        strays.look([used(1), unused(2)], later + LIMIT, LIMIT);
        assert_eq!(strays.next_look(LIMIT), None);
    }
}
