//! Statements whose hint names the node that is to answer them (`ROUTE(…)`).

use sluice_ebpf::record::Seat;

use super::{close::End, serve::Serving};
use crate::{config::NodeAddress, route::reader::is_reader};

impl Serving<'_> {
    /// Turns to the node of this name, where it is the session's writer or a replica that may take its reads: the session's reader from now on.
    /// Else to the reader, or, unless `is_weak`, to the writer.
    ///
    /// # Errors
    /// The session has ended, or the node that it has used has.
    pub(super) async fn turn_to_named(&mut self, name: &str, is_weak: bool) -> Result<(), End> {
        if self.writer().node.is_named(name) {
            return self.turn_to_writer().await;
        }
        let is_reader = self.reader().is_some_and(|reader| reader.is_named(name));
        let other = self.replica(name).filter(|_| !is_reader);
        if !is_reader && other.is_none() && !is_weak {
            return self.turn_to_writer().await;
        }
        if other.is_some() {
            self.turn_to_writer().await?;
            self.park_reader().await?;
            self.reading.named = other;
        }
        self.turn_to_reader().await
    }

    /// The node that takes the session's reads, if another one than the writer does.
    pub(super) fn reader(&self) -> Option<&NodeAddress> {
        match self.reading.seat {
            Seat::Reader => Some(&self.target.node),
            Seat::Writer => self.reading.aside_node(),
        }
    }

    /// A replica of this name that may take the session's reads.
    fn replica(&self, name: &str) -> Option<NodeAddress> {
        let process = &self.worker.process;
        let settings = process.settings();
        let session = self.entry.session.borrow();
        let cluster = settings.cluster_of(&session.login.cluster, &session.login.tenant)?;
        let book = process.health.book();
        let mut addresses = cluster.addresses();
        let found = addresses.find(|address| address.is_named(name))?;
        is_reader(&book, cluster, found).then(|| found.clone())
    }
}
