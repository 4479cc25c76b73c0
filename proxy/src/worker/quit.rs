//! `COM_QUIT`: the nodes close first. Who does so has the connection in TIME-WAIT for a minute and its port with it, of which the daemon has fewer towards
//! a node than clients may come and go meanwhile.

use std::time::Duration;

use tokio::time::timeout;

use super::{close::End, serve::Serving, switch::QUIT};
use crate::protocol::packet;

/// How long nodes may take to close, once told.
const PATIENCE: Duration = Duration::from_secs(1);

impl Serving<'_> {
    /// The client's command.
    pub(super) fn quit(&mut self) -> Result<(), End> {
        let length = packet::HEADER_LEN + 1;
        let bytes = self
            .client_rest
            .split_to(length.min(self.client_rest.len()));
        // The node may have closed already, or be so far behind that it has no room for this.
        let _ = self.node.write_now(&bytes);
        Err(End::Quit)
    }

    /// Waits until the nodes have closed, of a session that ends so.
    pub(super) async fn nodes_closed(&self, end: End) {
        if end != End::Quit {
            return;
        }
        let aside = self.reading.aside.as_ref().map(|aside| &aside.leg);
        if let Some(aside) = aside {
            let _ = aside.write_now(&QUIT);
        }
        let closed = async {
            for leg in [Some(&self.node), aside].into_iter().flatten() {
                // Broken is closed, too.
                let _ = leg.read_closed().await;
            }
        };
        let _ = timeout(PATIENCE, closed).await;
    }
}
