//! What a session that has no node at the moment can still do: the proxy's own statements are answered, as a DBA needs them most when no node is left.

use super::{
    close::End,
    form::ask,
    serve::{Serving, payload_length},
};
use crate::{
    admin::{self, AdminError, Answer, Order, Statement, prepared},
    protocol::{capability::Capabilities, command, packet::HEADER_LEN},
    session::command::{Effect, Plan, plan},
};

/// A command that the proxy answers.
pub(super) enum Own {
    /// It executes or closes a prepared statement of the proxy's, or the like.
    Prepared(prepared::Command),
    /// It prepares one.
    Prepare(Effect),
    /// A statement, or what is wrong with it.
    Statement(Box<Result<Statement, AdminError>>, Effect),
}

impl Own {
    fn statement(statement: Result<Statement, AdminError>, effect: Effect) -> Self {
        Self::Statement(Box::new(statement), effect)
    }
}

/// What a node would add to the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// What the caller may see or do of others' sessions. Without it: nothing.
    Privileges,
    /// All of it.
    Answer,
}

impl Serving<'_> {
    /// The command at the front of `client_rest`, all of which is there, if the proxy answers it.
    pub(super) fn own_command(&self) -> Option<Own> {
        if let Some(command) = self.statements.command(&self.client_rest) {
            return Some(Own::Prepared(command));
        }
        let attributes = self.capabilities.contains(Capabilities::QUERY_ATTRIBUTES);
        match plan(&self.client_rest, attributes) {
            Plan::ProcessInfo => Some(Own::statement(Ok(Statement::process_list()), Effect::None)),
            Plan::Kill(id) => Some(Own::statement(Ok(Statement::kill(id)), Effect::None)),
            Plan::Text { text, effect } => admin::parse(&text)
                .or_else(|| admin::hidden(&text).map(Err))
                .map(|statement| Own::statement(statement, effect)),
            Plan::Prepare(effect) => self.is_own_template().then_some(Own::Prepare(effect)),
            _ => None,
        }
    }

    /// What a node would add to the proxy's answer.
    pub(super) async fn need(&self, own: &Own) -> Need {
        let statement = match own {
            Own::Statement(statement, _) => statement.as_ref(),
            // Which statement it is, is known when its parameters are taken, which are taken once.
            Own::Prepared(prepared::Command::Execute(_)) => return Need::Privileges,
            Own::Prepared(_) | Own::Prepare(_) => return Need::Nothing,
        };
        let Ok(statement) = statement else {
            return Need::Nothing;
        };
        match ask(self.worker, self.entry, self.has_tenant(), None, statement).await {
            Answer::Orders(orders) if orders.contains(&Order::Forward) => Need::Answer,
            Answer::Orders(orders) if orders.contains(&Order::LearnPrivileges) => Need::Privileges,
            _ => Need::Nothing,
        }
    }

    /// Answers it.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) async fn answer_alone(&mut self, own: Own) -> Result<(), End> {
        match own {
            Own::Prepared(command) => self.own_statement(command).await,
            Own::Prepare(effect) => self.prepare(effect).await,
            Own::Statement(statement, effect) => self.answer_own(*statement, effect).await,
        }
    }

    /// Takes a `COM_STMT_CLOSE` off the stream, which has no answer: the next node does not hear of the statement. Whether it was one.
    pub(super) fn close_alone(&mut self) -> bool {
        let payload = self.client_rest.get(HEADER_LEN..).unwrap_or_default();
        let Some((&command::STMT_CLOSE, id)) = payload.split_first() else {
            return false;
        };
        let id = id.first_chunk().map(|id| u32::from_le_bytes(*id));
        self.entry.statements_closed(id.into_iter());
        let length = HEADER_LEN + payload_length(&self.client_rest);
        let _ = self.client_rest.split_to(length);
        true
    }
}
