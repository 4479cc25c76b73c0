//! The host's half of the gate: when to offer the kernel a regime, and what to make of what it did with it. Pure: the record's fields
//! come in as a [`Progress`], what follows from them goes out as a [`Standing`].
//!
//! The daemon offers generation `g` at a command boundary, with the four stream offsets at which it may begin. From then on it only
//! reads its two sockets. Whatever arrives there is what the kernel did not splice, so the first byte is the moment to ask where the
//! regime stands: never begun (the command was one to trap), or over, perhaps in mid-response.

use sluice_ebpf::{
    reason::TrapReason,
    record::{HEAD_BYTES, Seat, TRAPS},
    response::{Expect, Response, Status},
};

/// What the programs have written into a session's record, copied field by field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// The client's app socket is captured.
    pub client_captured: bool,
    /// The regime that began last.
    pub begun: u64,
    /// The node that the last command of `begun` went to.
    pub seat: Seat,
    /// The regime that a trap, or the first message behind a stop, ended last.
    pub ended: u64,
    /// The regime that a spill ended last.
    pub spilled: u64,
    /// The regime whose unfinished response was handed over last.
    pub handed_over: u64,
    /// Commands spliced that have a response.
    pub commands: u64,
    /// Commands spliced that have none.
    pub silent_commands: u64,
    /// Of `commands`, those whose response has begun: until the last one's has, `response` is an earlier one's.
    pub started: u64,
    /// Of `commands`, those whose response is complete or handed over.
    pub answered: u64,
    /// Bytes spliced towards the node.
    pub bytes_to_node: u64,
    /// Bytes spliced towards the client.
    pub bytes_to_client: u64,
    /// Packets spliced towards the client.
    pub packets_to_client: u64,
    /// Transactions that ended in the kernel.
    pub transactions: u64,
    /// Times that a response was spilled.
    pub spills: u32,
    /// Why the last command was handed up.
    pub trap: Option<TrapReason>,
    /// Commands handed up, by reason.
    pub traps: [u32; TRAPS],
    /// Bytes still to come of the command that was under way when the last regime ended.
    pub remaining: u32,
    /// The last spliced response.
    pub response: Response,
    /// The regime that it belongs to.
    pub regime: u64,
    /// The response that was handed over, as it stood before the first byte that came to the daemon.
    pub handed: Response,
}

impl Progress {
    /// What the responses of the regime that began last tell of the session; none where it had none.
    pub fn status(&self) -> Option<Status> {
        (self.regime == self.begun && self.begun != 0).then(|| self.response.status())
    }

    /// Whether one command has no response yet, not even a part of it.
    pub const fn is_awaited(&self) -> bool {
        let has_come = self.started == self.commands && self.response.has_come();
        self.commands == self.answered + 1 && !has_come
    }
}

/// The command that the kernel spliced last. Times are nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SplicedCommand {
    /// The front of its payload, `head_length` bytes of it.
    pub head: [u8; HEAD_BYTES],
    /// See `head`.
    pub head_length: u32,
    /// Bytes of its packet, header included.
    pub bytes: u32,
    /// Bytes of it that are still to come.
    pub remaining: u32,
    /// When it began.
    pub began_at_ns: u64,
    /// When the last response was complete: this command's, or that of one before it.
    pub answered_at_ns: u64,
}

impl SplicedCommand {
    /// The front of its payload: the command's byte, then its text or a statement's id.
    pub fn payload(&self) -> &[u8] {
        self.head
            .get(..self.head_length as usize)
            .unwrap_or_default()
    }

    /// When it ended. None: it runs, or its response was handed over to the daemon.
    pub fn ended_at_ns(&self) -> Option<u64> {
        let byte = self.payload().first().copied().unwrap_or_default();
        if Expect::of(byte) == Expect::Nothing {
            return (self.remaining == 0).then_some(self.began_at_ns);
        }
        (self.answered_at_ns >= self.began_at_ns).then_some(self.answered_at_ns)
    }
}

/// Where the last offer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing was offered, or the offer has not begun: nothing was spliced since.
    Closed,
    /// The kernel splices.
    Open,
    /// A trap or a spill ended it, or a stop: the programs say so with the next message, and only then no command of it can be missed.
    Ended {
        /// Bytes of the last command that the client still owes.
        command_remaining: u32,
        /// The response that the kernel leaves behind.
        left: Left,
    },
}

/// What an ended regime leaves of its last response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// Nothing: every response is complete.
    Nothing,
    /// The rest of this response comes to the daemon.
    Response(Response),
    /// Not known yet: either the program finishes it (it may be running on another CPU at this very moment), or the node's next
    /// message is handed over. Ask again when the node's bytes arrive, or soon.
    Undecided,
}

/// The offers made to one session's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gate {
    generation: u64,
    /// The regime that was counted last.
    counted: u64,
    regimes: u64,
}

impl Gate {
    /// The next generation to offer.
    pub fn offer(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// The last generation offered; 0: none.
    pub const fn generation(self) -> u64 {
        self.generation
    }

    /// How many of the offers have begun: those that were counted, and the last one, if `begun` is it.
    pub const fn regimes(self, begun: u64) -> u64 {
        self.regimes + self.has_begun(begun) as u64
    }

    /// The regime that a record says has begun last (0: none) is counted. To be called before another offer is made, and before the record is left.
    pub const fn count(&mut self, begun: u64) {
        self.regimes = self.regimes(begun);
        if self.has_begun(begun) {
            self.counted = begun;
        }
    }

    /// Whether an offer has begun since the last regime was counted: the last one, or the one that it took the place of, where a program had believed that
    /// one before.
    pub const fn has_begun(self, begun: u64) -> bool {
        begun > self.counted
    }

    /// Where the last offer stands.
    pub fn standing(self, progress: &Progress) -> Standing {
        let begun = progress.begun;
        if !self.has_begun(begun) {
            return Standing::Closed;
        }
        if progress.ended < begun && progress.spilled < begun {
            return Standing::Open;
        }
        let left = if progress.handed_over == begun {
            Left::Response(progress.handed)
        } else if progress.answered == progress.commands {
            Left::Nothing
        } else {
            Left::Undecided
        };
        Standing::Ended {
            command_remaining: progress.remaining,
            left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(change: impl FnOnce(&mut Progress)) -> Standing {
        let mut gate = Gate::default();
        assert_eq!(gate.offer(), 1);
        gate.count(1);
        assert_eq!(gate.offer(), 2);
        let mut progress = Progress {
            begun: 2,
            commands: 7,
            answered: 7,
            ..Progress::default()
        };
        change(&mut progress);
        gate.standing(&progress)
    }

    fn ended(left: Left) -> Standing {
        Standing::Ended {
            command_remaining: 0,
            left,
        }
    }

    #[test]
    fn a_regime_is_counted_once() {
        let mut gate = Gate::default();
        assert_eq!(gate.regimes(0), 0);
        gate.offer();
        assert_eq!((gate.regimes(1), gate.regimes(1)), (1, 1));
        gate.count(1);
        gate.count(1);
        // The second offer does not begin, the third does; then the session has another record.
        gate.offer();
        gate.count(1);
        gate.offer();
        gate.count(3);
        gate.count(0);
        assert_eq!((gate.regimes(0), gate.regimes(3)), (2, 2));
        gate.offer();
        assert_eq!((gate.generation(), gate.regimes(4)), (4, 3));
    }

    #[test]
    fn an_offer_stands_as_the_record_says() {
        assert_eq!(
            Gate::default().standing(&Progress::default()),
            Standing::Closed
        );
        assert_eq!(standing(|_| {}), Standing::Open);
        assert_eq!(standing(|progress| progress.begun = 1), Standing::Closed);
        assert_eq!(standing(|progress| progress.ended = 1), Standing::Open);
        assert_eq!(
            standing(|progress| progress.ended = 2),
            ended(Left::Nothing)
        );
        assert_eq!(
            standing(|progress| progress.spilled = 2),
            ended(Left::Nothing)
        );
    }

    #[test]
    fn an_offer_may_begin_as_another_takes_its_place() {
        let mut gate = Gate::default();
        gate.offer();
        gate.count(0);
        gate.offer();
        let mut progress = Progress {
            begun: 1,
            ..Progress::default()
        };
        assert_eq!(gate.standing(&progress), Standing::Open);
        progress.ended = 1;
        assert_eq!(gate.standing(&progress), ended(Left::Nothing));
        gate.count(1);
        assert_eq!(gate.standing(&progress), Standing::Closed);
    }

    #[test]
    fn a_response_that_the_kernel_leaves_is_handed_over_or_undecided() {
        let mut handed = Response::DONE;
        handed.begin(1, 0);
        let with = |handed_over| {
            standing(|progress| {
                progress.ended = 2;
                progress.answered = 6;
                progress.handed = handed;
                progress.handed_over = handed_over;
            })
        };
        assert_eq!(with(1), ended(Left::Undecided));
        assert_eq!(with(2), ended(Left::Response(handed)));
    }

    #[test]
    fn a_regime_without_responses_tells_nothing_of_the_session() {
        let of = |regime| Progress {
            begun: 5,
            regime,
            ..Progress::default()
        };
        assert_eq!(of(4).status(), None);
        assert_eq!(of(5).status(), Some(Status::default()));
        assert_eq!(Progress::default().status(), None);
    }

    #[test]
    fn an_earlier_response_is_nothing_of_the_one_that_is_awaited() {
        let mut response = Response::DONE;
        response.begin(Expect::Generic as u8, 0);
        let begun = Progress {
            commands: 8,
            started: 8,
            answered: 7,
            response,
            ..Progress::default()
        };
        assert!(begun.is_awaited());
        response.feed(b"\x07\0\0\x01\0\0\0\x02\0\0\0");
        assert!(response.is_done());
        let answered = Progress { response, ..begun };
        assert!(!answered.is_awaited());
        let before = Progress {
            started: 7,
            ..answered
        };
        assert!(before.is_awaited());
        let none = Progress {
            answered: 8,
            ..before
        };
        assert!(!none.is_awaited());
    }

    #[test]
    fn a_command_runs_until_a_response_ends_after_it_began() {
        let mut command = SplicedCommand {
            head: [0x03; HEAD_BYTES],
            head_length: 2,
            bytes: 6,
            remaining: 0,
            began_at_ns: 100,
            answered_at_ns: 90,
        };
        assert_eq!(
            (command.payload(), command.ended_at_ns()),
            (&[3, 3][..], None)
        );
        command.answered_at_ns = 100;
        assert_eq!(command.ended_at_ns(), Some(100));
        // COM_STMT_SEND_LONG_DATA is never answered.
        command.head[0] = 0x18;
        command.answered_at_ns = 90;
        assert_eq!(command.ended_at_ns(), Some(100));
        command.remaining = 1;
        assert_eq!(command.ended_at_ns(), None);
    }

    #[test]
    fn an_unfinished_command_is_owed() {
        let standing = standing(|progress| {
            progress.ended = 2;
            progress.remaining = 9;
            progress.answered = 6;
        });
        assert_eq!(
            standing,
            Standing::Ended {
                command_remaining: 9,
                left: Left::Undecided
            }
        );
    }
}
