//! Readers that the session has had, and may have again: a statement's hint has named another one. Their server sessions are *parked*: they stay open, one at
//! each node at most, outside the session's record ([`super::seat`]), and take the reader's seat again when a statement is to go to their node, as any
//! reader that was not used for a while. Those that are not end as an idle reader does; their nodes may end them at any time.

use std::{
    future::{Future as _, pending, poll_fn},
    pin::pin,
    task::Poll,
};

use sluice_ebpf::record::Seat;
use tokio::time::{Instant, timeout_at};

use super::{
    Worker,
    close::End,
    reader::Aside,
    reads::Counted,
    relay::{Got, read_into},
    seat::Kept,
    serve::Serving,
};
use crate::{
    config::{Cluster, NodeAddress},
    route::reader::is_reader,
    session::{SsId, escapes::Escapes},
};

/// Server sessions that are parked in a session at once; with one more the one that was used longest ago ends.
const PARKED_MAX: usize = 7;

/// A reader that has left its seat.
pub(super) struct Parked<'a> {
    /// First, so that its connection is over before what is kept of it.
    aside: Box<Aside<'a>>,
    kept: Kept<'a>,
    /// The client has reset the session since.
    pub(super) must_reset: bool,
    since: Instant,
}

impl Parked<'_> {
    /// Whether it is still there; what it says unasked is that it leaves.
    fn is_alive(&mut self, worker: &Worker) -> bool {
        let Aside { rest, leg, .. } = &mut *self.aside;
        matches!(read_into(rest, leg, worker), Ok(Got::Nothing))
    }
}

impl Serving<'_> {
    /// Has the session's reader, which stands aside, make room for another one, and come back if it is wanted.
    ///
    /// # Errors
    /// As [`Serving::turn`].
    pub(super) async fn park_reader(&mut self) -> Result<(), End> {
        if !self.is_reader_alive() {
            self.part_from_dead_reader().await?;
            self.drop_reader();
            return Ok(());
        }
        let Some(mut aside) = self.reading.aside.take() else {
            return Ok(());
        };
        match self.leave_seat(&mut aside).await {
            Ok(kept) => {
                // Nobody follows what it is told meanwhile.
                aside.escapes = Escapes::default();
                self.entry.prepared.borrow_mut().park_reader(aside.ss_id);
                if let Some(server) = self.entry.session.borrow_mut().server_mut(aside.ss_id) {
                    server.seat = None;
                }
                if self.reading.parked.len() >= PARKED_MAX {
                    let oldest = self.reading.parked.remove(0);
                    self.forget_parked(&oldest);
                }
                self.reading.parked.push(Parked {
                    aside,
                    kept,
                    must_reset: self.reading.must_reset,
                    since: Instant::now(),
                });
            }
            Err(reason) => {
                tracing::debug!(cs_id = self.entry.cs_id.0, reason, "a reader is not kept");
            }
        }
        self.drop_reader();
        Ok(())
    }

    /// Has a reader that is parked at this node take the seat, which is [clear](Self::clear_seat), if there is one that lives. Whether there was.
    pub(super) fn take_parked(&mut self, node: &NodeAddress) -> bool {
        let mut parked = self.reading.parked.iter();
        let Some(at) = parked.position(|parked| *parked.aside.target.node == *node) else {
            return false;
        };
        let mut parked = self.reading.parked.remove(at);
        if !parked.is_alive(self.worker) {
            self.forget_parked(&parked);
            return false;
        }
        let Parked {
            mut aside,
            kept,
            must_reset,
            ..
        } = parked;
        let ss_id = aside.ss_id;
        if let Err(reason) = self.take_seat(&mut aside, kept) {
            tracing::debug!(
                cs_id = self.entry.cs_id.0,
                reason,
                "a reader cannot come back"
            );
            self.forget_server(ss_id);
            return false;
        }
        {
            let mut session = self.entry.session.borrow_mut();
            session.reads_at = Some(aside.target.node.to_string());
            if let Some(server) = session.server_mut(ss_id) {
                server.seat = Some(Seat::Reader);
            }
        }
        self.entry.prepared.borrow_mut().reader_is_back(ss_id);
        self.tell_kernel_all();
        self.reading.must_reset = must_reset;
        self.reading.own_writes.reader_is_new();
        self.reading.counted = Some(Counted::new(&self.worker.process, &aside.target.node));
        self.reading.aside = Some(aside);
        true
    }

    /// Ends the parked server session with this id. Whether there is one.
    pub(super) fn end_parked(&mut self, ss_id: SsId) -> bool {
        self.end_parked_if(|parked| parked.aside.ss_id == ss_id)
    }

    /// Ends all of them: they belong to the record that the session leaves, or to another user.
    pub(super) fn drop_parked(&mut self) {
        self.end_parked_if(|_| true);
    }

    /// Ends those at nodes that may not take the session's reads any more.
    pub(super) fn review_parked(&mut self, cluster: Option<&Cluster>) {
        if self.reading.parked.is_empty() {
            return;
        }
        let process = &self.worker.process;
        let book = process.health.book();
        self.end_parked_if(|parked| {
            let node = &parked.aside.target.node;
            !cluster.is_some_and(|cluster| is_reader(&book, cluster, node))
        });
    }

    /// Waits until one of them may have ended, or has been parked for as long as an idle reader is kept.
    pub(super) async fn parked_wants(&self) {
        let Some(oldest) = self.reading.parked.iter().map(|parked| parked.since).min() else {
            return pending().await;
        };
        // Boxed, as most sessions have none.
        Box::pin(async {
            let heard = poll_fn(|context| {
                let mut parked = self.reading.parked.iter();
                let is_heard =
                    parked.any(|parked| pin!(parked.aside.leg.readable()).poll(context).is_ready());
                if is_heard {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            match oldest.checked_add(self.reader_idle_timeout()) {
                // Either is a reason to look.
                Some(due) => drop(timeout_at(due, heard).await),
                None => heard.await,
            }
        })
        .await;
    }

    /// Ends those that their nodes have ended, and those that were not used for long.
    pub(super) fn look_at_parked(&mut self) {
        let (now, patience) = (Instant::now(), self.reader_idle_timeout());
        self.end_parked_if(|parked| {
            let due = parked.since.checked_add(patience);
            !parked.aside.leg.is_silent() || due.is_some_and(|due| due <= now)
        });
    }

    fn end_parked_if(&mut self, is_over: impl Fn(&Parked<'_>) -> bool) -> bool {
        let over: Vec<_> = self
            .reading
            .parked
            .extract_if(.., |parked| is_over(parked))
            .collect();
        for parked in &over {
            self.forget_parked(parked);
        }
        !over.is_empty()
    }

    fn forget_parked(&self, parked: &Parked<'_>) {
        self.forget_server(parked.aside.ss_id);
    }

    fn forget_server(&self, ss_id: SsId) {
        self.entry.prepared.borrow_mut().forget_parked(ss_id);
        self.entry.session.borrow_mut().remove_server(ss_id);
    }

    /// The ids of those that are parked.
    pub(super) fn parked_ids(&self) -> impl Iterator<Item = SsId> {
        let parked = self.reading.parked.iter();
        parked.map(|parked| parked.aside.ss_id)
    }
}
