//! Readers that are ended while they live: an operator wants it, or the client has sent nothing for long. The session gets another one with its next read.

use std::{future::pending, time::Duration};

use sluice_ebpf::record::Seat;

use super::{close::End, serve::Serving};
use crate::{pause::pause, session::SsId};

impl Serving<'_> {
    /// Whether this is the reader's id, or that of one which is parked; if so it is ended, and another opened when one is needed.
    ///
    /// # Errors
    /// As [`Serving::turn`].
    pub(super) async fn end_reader(&mut self, ss_id: SsId) -> Result<bool, End> {
        if self.end_parked(ss_id) {
            return Ok(true);
        }
        let id = match self.reading.seat {
            Seat::Reader => self.entry.session.borrow().bound,
            Seat::Writer => self.reading.aside.as_ref().map(|aside| aside.ss_id),
        };
        if id != Some(ss_id) || !self.reclaim().await? {
            return Ok(false);
        }
        self.turn_to_writer().await?;
        self.drop_reader();
        Ok(true)
    }

    /// Waits until the session has had a reader for nothing for as long as its cluster lets it.
    pub(super) async fn reader_idle(&self) {
        if self.reading.aside.is_none() {
            return pending().await;
        }
        // Boxed, as most sessions have no reader.
        Box::pin(async {
            loop {
                let before = self.commands_in_kernel();
                // The kernel tells nobody that it has spliced a command.
                pause(self.reader_idle_timeout()).await;
                if self.commands_in_kernel() == before {
                    return;
                }
            }
        })
        .await;
    }

    fn commands_in_kernel(&self) -> u64 {
        let slot = self.entry.slot();
        slot.map_or(0, |slot| {
            let progress = slot.progress();
            progress.commands + progress.silent_commands
        })
    }

    pub(super) fn reader_idle_timeout(&self) -> Duration {
        let settings = self.worker.process.settings();
        let session = self.entry.session.borrow();
        let cluster = settings.cluster(&session.login.cluster);
        cluster.map_or(Duration::MAX, |cluster| cluster.reader_idle_timeout)
    }

    /// Ends the server session of the reader, if the session stands at a command boundary.
    ///
    /// # Errors
    /// As [`Serving::turn`].
    pub(super) async fn part_from_idle_reader(&mut self) -> Result<(), End> {
        if self.reclaim().await? {
            self.turn_to_writer().await?;
            self.part_from_dead_reader().await?;
            self.drop_reader();
        }
        Ok(())
    }
}
