//! Whether backslashes escape at a session's nodes: each of its server sessions is asked by itself ([`Escapes`]).

use sluice_ebpf::record::Seat;

use super::{close::End, serve::Serving};
use crate::{
    protocol::capability::Capabilities,
    session::{
        command::query_text,
        escapes::{self, Escapes},
        trace::Trace,
    },
};

impl Serving<'_> {
    /// The command at the front of `client_rest` may have trapped for its backslashes alone: then the server is asked whether they escape, where
    /// nobody can tell that it was asked. So it is where the session's other server has said that they do: the kernel is to know it of both.
    pub(super) async fn look_at_backslashes(&mut self, trace: &Trace) -> Result<(), End> {
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        let Some(text) = query_text(&self.client_rest, attributes) else {
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
        if self.reader_escapes() != Some(Escapes::Off) {
            self.turn_to_reader().await?;
            let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
            let text = query_text(&self.client_rest, attributes);
            if self.reading.seat == Seat::Reader
                && text.is_some_and(|text| self.tracking.escapes.trapped(text))
            {
                self.ask_for_escapes().await?;
            }
        }
        if self.reading.seat == Seat::Reader && self.tracking.escapes.is_known() {
            return Ok(());
        }
        self.turn_to_writer().await
    }

    /// Whether backslashes escape at the reader.
    fn reader_escapes(&self) -> Option<Escapes> {
        match self.reading.seat {
            Seat::Reader => Some(self.tracking.escapes),
            Seat::Writer => self.escapes_aside(),
        }
    }

    /// Whether they do at the server session that stands aside.
    fn escapes_aside(&self) -> Option<Escapes> {
        self.reading.aside.as_ref().map(|aside| aside.escapes)
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
