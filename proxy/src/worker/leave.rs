//! A session that is to leave its node, which still answers, for a fitter one: it goes right in front of its next command, so that the statement
//! before can be asked about to the end; without one, when nobody asks any more. What ties it to its node is waited for.

use std::time::Duration;

use super::{clock, close::End, serve::Serving, switch::Stuck};
use crate::{
    pause::pause,
    protocol::{capability::Capabilities, command},
    session::{StickyReason, aim::asks_back},
};

/// How soon a session that is to move looks again whether it can.
const MOVE_RETRY: Duration = Duration::from_millis(50);
/// How long after a statement it may still be asked about, if nothing else comes.
const ASKED_ABOUT: Duration = Duration::from_secs(5);
/// What is said of a session as long as that is so.
const MAY_BE_ASKED: &str =
    "its last statement may be asked about (ROW_COUNT, FOUND_ROWS, SHOW WARNINGS)";

/// Whether a session is to move to a fitter node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaving {
    /// It stays.
    No,
    /// As soon as it stands at a boundary outside a transaction: the kernel is offered nothing until then.
    Now,
    /// When what ties it to its node is gone.
    Untied,
}

impl Serving<'_> {
    /// Moves to a fitter node, if the session is to and can, while no command is here. A transaction is waited for.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) async fn try_move(&mut self) -> Result<(), End> {
        if self.leaving == Leaving::Now && self.worker.process.is_retiring() {
            return self.retire().await;
        }
        // What has kept it may be gone.
        if self.leaving == Leaving::Untied && self.entry.current().sticky_reasons().is_empty() {
            self.leaving = Leaving::Now;
        }
        if self.leaving != Leaving::Now || self.lost.is_some() || !self.reclaim().await? {
            return Ok(());
        }
        if self.is_tied() {
            return Ok(());
        }
        if self.asked_about_for().is_zero() {
            return self.leave().await;
        }
        self.entry.session.borrow_mut().stays = Some(MAY_BE_ASKED.to_owned());
        Ok(())
    }

    /// A command has come to a session that is to leave: it is the next node's, unless it asks about the statement before, or says nothing that takes
    /// that one's place.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) async fn leave_first(&mut self) -> Result<(), End> {
        if self.worker.process.is_retiring() || self.asks_back() || self.is_tied() {
            return Ok(());
        }
        self.leave().await
    }

    /// Whether something ties the session to its node, which is noted then.
    fn is_tied(&mut self) -> bool {
        let ties = self.entry.current().sticky_reasons();
        let is_tied = !ties.is_empty();
        if is_tied {
            self.stays(Some(Stuck::Sticky(ties)));
        }
        is_tied
    }

    async fn leave(&mut self) -> Result<(), End> {
        // The kernel may be with the reader while the daemon knows of the writer.
        if self.reading.aside.is_some() {
            self.turn_to_writer().await?;
        }
        let candidates = self.candidates(true);
        let stuck = if candidates.is_empty() {
            None
        } else {
            self.switch(candidates).await?.err()
        };
        self.stays(stuck);
        Ok(())
    }

    /// Whether the session is to leave still, now that this keeps it at its node, or it has none to go to.
    fn stays(&mut self, stuck: Option<Stuck>) {
        self.leaving = match &stuck {
            Some(Stuck::Busy) => Leaving::Now,
            Some(Stuck::Sticky(reasons)) if *reasons == [StickyReason::Transaction] => Leaving::Now,
            Some(Stuck::Sticky(_)) => Leaving::Untied,
            Some(Stuck::Gone | Stuck::Node(_)) | None => Leaving::No,
        };
        let cs_id = self.entry.cs_id.0;
        if let Some(stuck) = stuck.filter(|_| self.leaving != Leaving::Now) {
            tracing::info!(cs_id, node = %self.target.node, reason = %stuck, "session stays at its node");
            self.entry.session.borrow_mut().stays = Some(stuck.to_string());
        }
    }

    /// When to try again to move.
    pub(super) async fn move_due(&self) {
        if self.leaving == Leaving::Now {
            let wait = self.asked_about_for().max(MOVE_RETRY);
            pause(wait).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// How long the session's last command may still be asked about, if no other one comes.
    fn asked_about_for(&self) -> Duration {
        let last = self.entry.current().command;
        let ended_at_ns = last.ended_at_ns;
        let Some(ended_at_ns) = ended_at_ns.filter(|_| last.byte != command::CONNECT) else {
            return Duration::ZERO;
        };
        let since = Duration::from_nanos(clock::now_ns().saturating_sub(ended_at_ns));
        ASKED_ABOUT.saturating_sub(since)
    }

    /// Whether the command at the front of `client_rest` may ask about the statement before.
    fn asks_back(&self) -> bool {
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        let prepared = self.entry.prepared.borrow();
        asks_back(&self.client_rest, attributes, |id| {
            prepared.text(id).map(|head| head.as_bytes().to_vec())
        })
    }
}
