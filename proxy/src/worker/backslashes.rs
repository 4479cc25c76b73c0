//! Whether backslashes escape at a session's nodes: each of its server sessions is asked by itself ([`Escapes`]).

use super::{close::End, serve::Serving};
use crate::{
    protocol::{capability::Capabilities, command, packet::HEADER_LEN},
    session::{
        command::{Text, text},
        escapes::{self, Escapes},
        trace::Trace,
    },
};

impl Serving<'_> {
    /// The command at the front of `client_rest` may have trapped for its backslashes alone: then the server is asked whether they escape, where
    /// nobody can tell that it was asked. So it is where the session's other server has said that they do: the kernel is to know it of both.
    pub(super) async fn look_at_backslashes(&mut self, trace: &Trace) -> Result<(), End> {
        let Some(text) = query(&self.client_rest, self.capabilities) else {
            return Ok(());
        };
        let is_other_known = self.escapes_aside().is_some_and(Escapes::is_known);
        let escapes = &mut self.tracking.escapes;
        let is_wanted = escapes.trapped(text) || is_other_known && !escapes.is_settled();
        if is_wanted && self.may_splice() && self.tracking.statements.overwrites(trace) {
            Box::pin(self.ask_for_escapes()).await?;
        }
        Ok(())
    }

    /// The command at the front of `client_rest` is a read where backslashes escape, and else the writer's: turns to the reader if they do there.
    /// Which the reader is asked: a read overwrites what the statement before has left there.
    ///
    /// # Errors
    /// As [`Serving::turn`].
    pub(super) async fn turn_where_they_escape(&mut self) -> Result<(), End> {
        let is_off = if self.is_at_reader() {
            self.tracking.escapes == Escapes::Off
        } else {
            self.escapes_aside() == Some(Escapes::Off)
        };
        if !is_off {
            self.turn_to_reader().await?;
            let text = query(&self.client_rest, self.capabilities);
            if self.is_at_reader() && text.is_some_and(|text| self.tracking.escapes.trapped(text)) {
                self.ask_for_escapes().await?;
            }
        }
        if self.is_at_reader() && self.tracking.escapes.is_known() {
            return Ok(());
        }
        self.turn_to_writer().await
    }

    async fn ask_for_escapes(&mut self) -> Result<(), End> {
        let answer = self.ask(escapes::QUESTION).await?.ok();
        let mode = answer
            .as_ref()
            .and_then(|rows| rows.rows.first()?.first()?.as_deref());
        self.tracking.escapes.answered(mode);
        Ok(())
    }
}

/// The text of the query at the front of `bytes`.
fn query(bytes: &[u8], agreed: Capabilities) -> Option<&[u8]> {
    let attributes = agreed.contains(Capabilities::QUERY_ATTRIBUTES);
    let is_query = bytes.get(HEADER_LEN) == Some(&command::QUERY);
    match text(bytes, attributes).filter(|_| is_query)? {
        Text::Whole(text) => Some(text),
        Text::Head(_) => None,
    }
}
