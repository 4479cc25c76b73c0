//! Has a session's reader wait, before it is used behind the writer, until it has what the session has written.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{close::End, serve::Serving, switch::SWITCH_TIME};
use crate::{
    protocol::rows::Rows,
    session::{
        Consistency,
        own_writes::{self, Mark, Wanted},
    },
};

impl Serving<'_> {
    /// The session has said what it wants.
    ///
    /// # Errors
    /// The session has ended, or the node that it has used has.
    pub(super) async fn want_own_writes(&mut self, wanted: Wanted) -> Result<(), End> {
        self.entry.session.borrow_mut().own_writes = wanted;
        self.look_at_policy();
        self.look_at_own_writes().await
    }

    /// Has the reader looked at anew if the wish is newer than its turn; at a boundary and with no regime live.
    ///
    /// # Errors
    /// As [`Serving::want_own_writes`].
    pub(super) async fn look_at_own_writes(&mut self) -> Result<(), End> {
        if self.reading.own_writes.is_to_be_looked_at() {
            self.turn_to_writer().await?;
            self.reading.own_writes.at_writer();
        }
        Ok(())
    }

    /// The client has reset the session, and with it what it has said; whether its server still knows which writes were its own, nobody does.
    pub(super) fn reset_own_writes(&mut self) {
        self.reading.own_writes.writer_is_new();
        {
            let mut session = self.entry.session.borrow_mut();
            session.own_writes = Wanted::default();
            session.read_consistency = None;
        }
        self.look_at_policy();
    }

    /// The session has said how new what it reads must be.
    ///
    /// # Errors
    /// As [`Serving::want_own_writes`].
    pub(super) async fn want_consistency(
        &mut self,
        wanted: Option<Consistency>,
    ) -> Result<(), End> {
        self.entry.session.borrow_mut().read_consistency = wanted;
        self.turn_to_writer().await
    }

    /// Whether the reader that stands aside has what the session has written, if it wants to read that; the writer is asked how much it is, and
    /// the reader waited for. Only where [`Serving::ask`] may be called. The inner error says why no reader can be used.
    ///
    /// # Errors
    /// As [`Serving::want_own_writes`].
    pub(super) async fn reader_has_own_writes(&mut self) -> Result<Result<bool, String>, End> {
        if !self.reading.own_writes.is_wanted() {
            return Ok(Ok(true));
        }
        self.reading.own_writes.at_writer();
        let is_mariadb = self.is_mariadb_node();
        let answer = self.ask(own_writes::question(is_mariadb)).await?;
        let Some(mark) = answer.ok().and_then(|rows| Mark::of(&rows, is_mariadb)) else {
            let why = "its node does not tell what the session has written (binary log with GTIDs)";
            return Ok(Err(why.to_owned()));
        };
        if !self.reading.own_writes.is_behind(&mark) {
            return Ok(Ok(true));
        }
        let patience = self.reading.own_writes.patience_now();
        let sql = own_writes::wait(&mark, is_mariadb, patience);
        let arrived = self.ask_reader(&sql, patience).await;
        Ok(arrived.inspect(|has_arrived| self.reading.own_writes.waited(mark, *has_arrived)))
    }

    async fn ask_reader(&mut self, sql: &str, patience: Duration) -> Result<bool, String> {
        let capabilities = self.capabilities;
        let deadline = Instant::now() + patience + SWITCH_TIME;
        let Some(mut reader) = self.asked_aside() else {
            return Ok(false);
        };
        let answer = timeout_at(deadline, reader.ask(sql))
            .await
            .map_err(|_elapsed| "the replica does not answer")?
            .map_err(|_end| "the replica has closed the connection")?;
        let rows = answer.map(|bytes| Rows::parse(bytes, capabilities));
        // What it refuses (a statement's time limit, say), the writer answers.
        Ok(matches!(rows, Some(Ok(Ok(rows))) if own_writes::has_arrived(&rows)))
    }
}
