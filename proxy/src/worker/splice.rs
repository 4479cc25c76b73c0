//! Offers the gate to the kernel at a command boundary, and takes stock of what it has done when something reaches the daemon.

use std::time::Duration;

use sluice_ebpf::{
    packet::Position,
    record::Offsets,
    response::{Doubt, Outcome, Response, Status},
    wire::Side,
};

use super::{beside::low, close::End, execution::statement_fetched, kill::Turn, serve::Serving};
use crate::{
    gate::{Left, Progress, Standing},
    kernel::{quiesce::quiesce, record::Offer},
    session::{Mode, Path},
};

/// How soon to ask again about a response of which the kernel has not yet said whether it finished it.
const UNDECIDED_POLL: Duration = Duration::from_millis(1);
/// How seldom, where it turns out to be a long one.
const UNDECIDED_POLL_MAX: Duration = Duration::from_millis(50);

/// Where a session stands once the kernel has stopped splicing, towards a node that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reclaimed {
    /// At a command boundary, as far as the kernel knows.
    Boundary,
    /// A command has begun, and nothing of its response has come.
    Outstanding,
    /// In the middle of something.
    Midway,
}

impl Serving<'_> {
    /// Offers the kernel to splice from the next command on. `pending` bytes are about to be written to the client: the offer is made
    /// before them, so that the client's next command meets it.
    pub(super) fn offer(&mut self, pending: usize) {
        let Some(slot) = self.entry.slot() else {
            return;
        };
        let takes = self.takes();
        let waits = self.reading.is_changing || self.reading.is_due;
        if !self.may_splice() || self.is_held() || waits {
            if self.offered.is_some() {
                slot.withdraw();
                if self.entry.gate.get().standing(&slot.progress()) == Standing::Closed {
                    self.offered = None;
                }
            }
            return;
        }
        // The sockets' own counts have the header in front; what the wire has seen begins behind it.
        let unseen = match self.entry.session.borrow().way {
            Path::Wire => self.entry.header_bytes.get(),
            _ => 0,
        };
        let offsets = Offsets {
            read_from_client: low(self.client.read_bytes()).wrapping_sub(unseen),
            written_to_client: low(self.client.written_bytes()).wrapping_add(low(pending as u64)),
            read_from_node: low(self.node.read_bytes()),
            written_to_node: low(self.node.written_bytes()),
        };
        let (aside, escapes) = self.beside(takes);
        let mut gate = self.entry.gate.get();
        if let Some(standing) = self.offered {
            // The same offer is not withdrawn and made again: the client's command may come right in between. Another one takes the place
            // only of an offer that has not begun, and never will: counts of moved bytes do not go back.
            if standing == (offsets, aside) || gate.standing(&slot.progress()) != Standing::Closed {
                return;
            }
        }
        gate.count(slot.begun());
        let generation = gate.offer();
        self.entry.gate.set(gate);
        slot.arm(
            generation,
            Offer {
                offsets,
                seat: self.reading.seat,
                takes,
                aside,
                status: self.status,
                escapes,
            },
        );
        self.entry.session.borrow_mut().mode = Mode::Armed;
        self.offered = Some((offsets, aside));
    }

    /// Something has reached the daemon: where does the kernel's regime stand? Finishes what an ended one leaves behind.
    pub(super) async fn take_stock(&mut self) -> Result<(), End> {
        if self.offered.is_none() {
            return Ok(());
        }
        let Some(slot) = self.entry.slot() else {
            return Ok(());
        };
        let progress = slot.progress();
        match self.entry.gate.get().standing(&progress) {
            // Not begun, or the node spoke unasked: the offer stands or is made anew.
            Standing::Closed | Standing::Open => Ok(()),
            Standing::Ended {
                command_remaining,
                left,
            } => {
                self.follow_kernel();
                self.offered = None;
                self.take_spliced();
                self.entry.session.borrow_mut().mode = Mode::Relayed;
                self.command = Position::rest(command_remaining);
                let is_ours = matches!(left, Left::Response(_));
                self.response = match left {
                    Left::Nothing => {
                        self.keep_spliced(&progress);
                        self.after_splice = true;
                        Response::DONE
                    }
                    Left::Response(response) => {
                        self.entry.take_over_command();
                        response
                    }
                    Left::Undecided => {
                        self.entry.take_over_command();
                        Box::pin(self.settle(command_remaining)).await?;
                        self.entry.end_command();
                        return Ok(());
                    }
                };
                if is_ours {
                    self.expect_handed_over();
                }
                self.exchange().await?;
                self.turn = Turn::Nobody;
                if is_ours {
                    self.entry.end_response(&self.response);
                } else {
                    self.entry.end_command();
                }
                Ok(())
            }
        }
    }

    /// The answer to a spliced command is the daemon's from here on: if none of it has come, the client can still be told something else.
    fn expect_handed_over(&mut self) {
        if self.command.is_done() && !self.response.has_come() {
            self.turn = Turn::Node {
                written: self.client.written_bytes(),
                sequence: 1,
            };
        }
    }

    /// Has the kernel stop splicing, and returns whether the session stands at a command boundary then. Where it does not, what the kernel has
    /// begun is finished as after a trap.
    pub(super) async fn reclaim(&mut self) -> Result<bool, End> {
        let Some(slot) = self.entry.slot().filter(|_| self.offered.is_some()) else {
            return Ok(true);
        };
        slot.withdraw();
        slot.stop(self.entry.gate.get().generation());
        let is_quiet = is_quiet().await;
        self.follow_kernel();
        if !is_quiet {
            return Ok(false);
        }
        let progress = slot.progress();
        match self.entry.gate.get().standing(&progress) {
            Standing::Closed => {}
            // Over, though no program has had a message to say it at.
            Standing::Open if progress.commands == progress.answered && progress.remaining == 0 => {
                self.keep_spliced(&progress);
                self.after_splice = true;
            }
            Standing::Ended {
                command_remaining: 0,
                left: Left::Nothing,
            } => {
                // Nothing is under way: whose turn it was, it still is.
                let turn = self.turn;
                self.take_stock().await?;
                self.turn = turn;
            }
            Standing::Open | Standing::Ended { .. } => return Ok(false),
        }
        self.offered = None;
        self.take_spliced();
        self.entry.session.borrow_mut().mode = Mode::Relayed;
        Ok(true)
    }

    /// [`Serving::reclaim`] for a session whose node is gone, and will finish nothing; also behind a regime that has ended, where the kernel may
    /// finish a response yet ([`Turn::Kernel`]).
    pub(super) async fn reclaim_from_dead(&mut self) -> Result<Reclaimed, End> {
        if self.turn == Turn::Kernel {
            if !is_quiet().await {
                return Ok(Reclaimed::Midway);
            }
        } else if self.reclaim().await? {
            return Ok(Reclaimed::Boundary);
        }
        let Some(slot) = self.entry.slot() else {
            return Ok(Reclaimed::Midway);
        };
        let progress = slot.progress();
        let is_awaited = match self.entry.gate.get().standing(&progress) {
            // The wire's program hands over what it has when the node's FIN ends the regime.
            Standing::Ended {
                left: Left::Response(response),
                ..
            } => !response.has_come(),
            Standing::Open
            | Standing::Ended {
                left: Left::Undecided,
                ..
            } => progress.is_awaited(),
            Standing::Ended {
                left: Left::Nothing,
                ..
            } if self.turn == Turn::Kernel => {
                self.keep_spliced(&progress);
                return Ok(Reclaimed::Boundary);
            }
            Standing::Ended { .. } | Standing::Closed => false,
        };
        // On the wire the client sends again what the node has not acknowledged, and only the node could.
        let side = Side::Node(self.reading.seat);
        let is_taken = !slot.is_joined() || slot.wire().leg(side).unacknowledged() == 0;
        if !is_awaited || !is_taken {
            return Ok(Reclaimed::Midway);
        }
        self.take_spliced();
        if self.turn != Turn::Kernel {
            // What is still to come of the command comes to the daemon.
            self.command = Position::rest(progress.remaining);
        }
        // What was known of the session before it.
        self.keep_spliced(&progress);
        self.offered = None;
        self.entry.session.borrow_mut().mode = Mode::Relayed;
        Ok(Reclaimed::Outstanding)
    }

    /// The kernel was inside a response when its regime ended: waits until it says that it has finished it or handed it over.
    async fn settle(&mut self, command_remaining: u32) -> Result<(), End> {
        self.command = Position::rest(command_remaining);
        // The rest of the command first: the node may be waiting for it.
        self.response = Response::DONE;
        self.turn = Turn::Kernel;
        while !self.command.is_done() {
            self.exchange_command().await?;
        }
        let mut poll = UNDECIDED_POLL;
        let mut left_at = None;
        loop {
            let Some(slot) = self.entry.slot() else {
                return Err(End::Account);
            };
            let progress = slot.progress();
            match self.entry.gate.get().standing(&progress) {
                Standing::Ended {
                    left: Left::Response(response),
                    ..
                } => {
                    self.response = response;
                    self.turn = Turn::Nobody;
                    self.expect_handed_over();
                    self.exchange().await?;
                    self.turn = Turn::Nobody;
                    self.entry.end_response(&self.response);
                    return Ok(());
                }
                Standing::Ended {
                    left: Left::Nothing,
                    ..
                } => {
                    self.turn = Turn::Nobody;
                    self.keep_spliced(&progress);
                    self.after_splice = true;
                    return Ok(());
                }
                Standing::Ended {
                    left: Left::Undecided,
                    ..
                } => {
                    // Node bytes end the wait at once; that the kernel finishes on its own is only seen by looking.
                    let readable = tokio::select! {
                        biased;
                        readable = tokio::time::timeout(poll, self.node.readable()) => readable,
                        () = self.node_dead() => return Err(End::NodeHung),
                    };
                    if let Ok(ready) = readable {
                        ready.map_err(End::of_node)?;
                        if self.node.has_ended().map_err(End::of_node)? {
                            return Err(End::NodeClosed);
                        }
                    }
                    self.look_for_client(&mut left_at).await?;
                    poll = (poll * 2).min(UNDECIDED_POLL_MAX);
                }
                Standing::Closed | Standing::Open => return Err(End::Account),
            }
        }
    }

    /// Keeps what the ended regime's responses tell of the session.
    fn keep_spliced(&mut self, progress: &Progress) {
        if let Some(status) = progress.status() {
            self.entry.session.borrow_mut().note_autocommit(status);
            self.note_status(status);
            // The last command is copied only where it matters.
            let has_ended = status.flags & Status::LAST_ROW_SENT != 0;
            if has_ended && progress.response.outcome() == Outcome::Ok {
                let last = self.entry.slot().and_then(|slot| slot.command());
                let fetched = last.and_then(|command| statement_fetched(command.payload()));
                self.note_fetched(fetched, status);
            }
        }
    }

    /// The response under way is complete, and about to go to the client: keeps what it tells of the session, for the next offer.
    pub(super) fn keep_status(&mut self) {
        let mut status = self.response.status();
        if self.response.outcome() == Outcome::Error && self.tracking.may_stop_midway() {
            status.doubt = Doubt::All;
        }
        self.note_status(status);
        let fetched = self.followed.take_fetched();
        if self.response.outcome() == Outcome::Ok {
            self.note_fetched(fetched, status);
        }
    }

    /// This is known of the session by now.
    pub(super) fn note_status(&mut self, status: Status) {
        if status.flags & Status::NO_BACKSLASH_ESCAPES != 0 {
            self.tracking.escapes.denied();
        }
        self.status = status;
        self.entry.session.borrow_mut().note_status(status);
    }
}

/// Waits for programs that had looked before they were told to stop, and may still be about to say what they have done. Whether it could.
async fn is_quiet() -> bool {
    let quiet = tokio::task::spawn_blocking(quiesce).await;
    matches!(quiet, Ok(Ok(())))
}
