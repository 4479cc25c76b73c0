//! Prepared statements: those of the node, of which the daemon knows which are open and may be spliced; and those of the admin surface, which it
//! keeps and answers, and the node never hears of.

use bytes::{Bytes, BytesMut};
use sluice_ebpf::response::Outcome;

use super::{
    close::End,
    follow::AnswerFront,
    form::Form,
    reader::Wish,
    serve::{Serving, payload_length},
};
use crate::{
    admin::{
        AdminError, Caller,
        prepared::{Command, PAYLOAD_BYTES_MAX, Template},
    },
    protocol::{
        packet::{HEADER_LEN, PAYLOAD_MAX},
        reply::OK,
        result_set::Protocol,
        statement::{TYPES_MAX, put_prepared},
    },
    session::{AnsweredBy, aim::Place, command::Effect, execution::Tracked, prepared::Whole},
};

/// Where the statement's id is in the payload of the answer to `COM_STMT_PREPARE`.
const STATEMENT_AT: usize = 1;

/// The statement that the command under way prepares.
pub(super) struct Preparing {
    /// Its executions may be spliced.
    spliceable: bool,
    /// What it takes to prepare it elsewhere.
    whole: Option<Whole>,
    /// Where its executions may go.
    place: Place,
    /// The writer may give it an id by which the client knows another one: its answer waits until it is named.
    waits_for_name: bool,
    answer: AnswerFront,
}

impl Preparing {
    /// The next bytes of the response.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.answer.hear(bytes);
    }

    /// Whether the client may not be told the answer yet.
    pub(super) const fn waits_for_name(&self) -> bool {
        self.waits_for_name
    }
}

impl Serving<'_> {
    /// The command at the front of `client_rest` is a `COM_STMT_PREPARE` with this effect.
    pub(super) fn preparing(&self, effect: &Effect) -> Preparing {
        let spliceable = matches!(effect, Effect::Prepared { spliceable: true });
        Preparing {
            spliceable,
            whole: self.whole(spliceable),
            place: self.place_of_statement(),
            waits_for_name: !self.entry.prepared.borrow().at_writer().are_the_clients(),
            answer: AnswerFront::default(),
        }
    }

    /// The front of the answer to a `COM_STMT_PREPARE` lies in `node_rest`, as far as it is here: has it name the statement as the client is to know it.
    /// Returns whether it may go on.
    pub(super) fn name_prepared(&mut self) -> bool {
        if self.node_rest.len() < HEADER_LEN {
            return false;
        }
        let Some(preparing) = &mut self.prepares else {
            return true;
        };
        let length = payload_length(&self.node_rest);
        let wanted = length.min(STATEMENT_AT + 4);
        let Some(front) = self.node_rest.get_mut(HEADER_LEN..HEADER_LEN + wanted) else {
            return false;
        };
        if front.first() == Some(&OK)
            && let Some(id) = front
                .get_mut(STATEMENT_AT..)
                .and_then(<[u8]>::first_chunk_mut)
        {
            let given = u32::from_le_bytes(*id);
            *id = self.entry.prepared.borrow_mut().name(given).to_le_bytes();
        }
        preparing.waits_for_name = false;
        true
    }

    /// The response under way is complete, and about to go to the client. If it names a statement, that must be known before the client can name it:
    /// another one may have had its id.
    pub(super) fn prepared(&mut self) {
        let Some(preparing) = self.prepares.take() else {
            return;
        };
        let Preparing {
            spliceable,
            whole,
            place,
            answer,
            ..
        } = preparing;
        if self.response.outcome() != Outcome::Ok {
            return;
        }
        self.take_spliced();
        let id = self.response.statement_id();
        // What was classified while the character set could not be read is not believed later.
        let spliceable = spliceable && self.is_spliceable();
        let parameters = answer
            .parameters()
            .filter(|parameters| whole.is_some() && usize::from(*parameters) <= TYPES_MAX);
        let slot = self.entry.slot();
        let tracked = parameters.and_then(|parameters| match &slot {
            Some(_) if spliceable => {
                Tracked::spliced(place, parameters, self.reading.wish != Wish::None)
            }
            _ => Some(Tracked::new(place, parameters)),
        });
        if let Some(slot) = slot {
            match &tracked {
                // What another one in its place has said is taken.
                Some(tracked) if tracked.is_spliced() => slot.clear_place(id),
                _ => slot.forget_statement(id),
            }
        }
        let is_plain = spliceable && tracked.is_none();
        let text = self.entry.session.borrow().command.text;
        {
            let mut prepared = self.entry.prepared.borrow_mut();
            prepared.remember(id, text, whole);
            if let Some(tracked) = tracked {
                prepared.track(id, tracked);
            }
        }
        if is_plain {
            self.allow_statement(id);
        }
        self.tell_kernel(id);
        self.entry.session.borrow_mut().has_prepared = true;
        self.prepared_anew(id);
    }

    /// Takes notice of what was spliced of prepared statements.
    pub(super) fn take_spliced(&mut self) {
        self.take_notes();
        self.take_closed();
    }

    /// Takes notice of the statements whose closes were spliced.
    fn take_closed(&mut self) {
        if let Some(slot) = self.entry.slot() {
            let tracking = &mut self.tracking;
            let mut count = 0;
            let closed = slot.take_closed().inspect(|id| {
                tracking.close(*id);
                count += 1;
            });
            self.entry.statements_closed(closed);
            self.followed.note_closes(count);
        }
    }

    /// `COM_STMT_PREPARE`, at the front of `client_rest`.
    pub(super) async fn prepare(&mut self, effect: Effect) -> Result<(), End> {
        let length = payload_length(&self.client_rest);
        // A text that is too long for one of ours need not be all here.
        let text = self.client_rest.get(HEADER_LEN + 1..HEADER_LEN + length);
        match text.and_then(Template::read) {
            Some(Ok(template)) if !self.goes_to_node(&template) => {
                self.keep_statement(template).await
            }
            Some(Err(error)) => self.refuse(&error).await,
            Some(Ok(_)) | None => {
                self.statements.node_prepares();
                self.forward(effect).await?;
                self.statements
                    .prepared_by_node(self.response.statement_id());
                Ok(())
            }
        }
    }

    /// Whether the command at the front of `client_rest`, a `COM_STMT_PREPARE`, is answered here.
    pub(super) fn is_own_template(&self) -> bool {
        let length = payload_length(&self.client_rest);
        let text = self.client_rest.get(HEADER_LEN + 1..HEADER_LEN + length);
        match text.and_then(Template::read) {
            Some(Ok(template)) => !self.goes_to_node(&template),
            Some(Err(_)) => true,
            None => false,
        }
    }

    /// Whether a statement is not for this user: his node answers it then.
    fn goes_to_node(&self, template: &Template) -> bool {
        let has_tenant = self.has_tenant();
        let session = self.entry.session.borrow();
        template.goes_to_node(&Caller {
            cs_id: self.entry.cs_id,
            login: &session.login,
            has_tenant,
            privileges: None,
        })
    }

    async fn keep_statement(&mut self, template: Template) -> Result<(), End> {
        let parameters = template.parameters();
        match self.statements.prepare(template) {
            Ok(id) => {
                self.begin_command(AnsweredBy::Proxy);
                let text = self.entry.session.borrow().command.text;
                self.entry.prepared.borrow_mut().remember_own(id, text);
                let mut out = BytesMut::new();
                let status = self.status.lasting_flags();
                put_prepared(&mut out, self.capabilities, status, id, parameters);
                self.reply(&out, false).await
            }
            Err(error) => self.refuse(&error).await,
        }
    }

    /// A command about one of our statements, at the front of `client_rest`.
    pub(super) async fn own_statement(&mut self, command: Command) -> Result<(), End> {
        let length = payload_length(&self.client_rest);
        if length > PAYLOAD_BYTES_MAX {
            return self.pass_over(command).await;
        }
        let Some(payload) = self.client_rest.get(HEADER_LEN..HEADER_LEN + length) else {
            return self.read_client_or_end().await;
        };
        let payload = Bytes::copy_from_slice(payload);
        match command {
            Command::Wait => self.read_client_or_end().await,
            Command::Execute(id) => match self.statements.bind(id, &payload, self.capabilities) {
                Ok(statement) => {
                    let form = Form {
                        protocol: Protocol::Binary,
                        ..self.form()
                    };
                    self.answer_in(form, &statement, None).await
                }
                Err(error) => self.refuse(&error).await,
            },
            Command::LongData(id) => {
                self.statements.long_data(id, Some(&payload));
                self.take_command();
                Ok(())
            }
            Command::Close(id) => {
                self.close_statement(id);
                self.take_command();
                Ok(())
            }
            Command::Reset(id) => {
                self.begin_command(AnsweredBy::Proxy);
                self.statements.reset(id);
                let mut out = BytesMut::new();
                self.form().put_ok(&mut out, String::new());
                self.reply(&out, false).await
            }
            Command::Fetch(id) => {
                let error = AdminError::no_cursor(id);
                self.refuse(&error).await
            }
            Command::Bulk(_) => {
                let error = AdminError::unsupported_when_prepared();
                self.refuse(&error).await
            }
        }
    }

    fn close_statement(&mut self, id: u32) {
        self.statements.close(id);
        self.entry.prepared.borrow_mut().forget(id);
    }

    /// Reads a command to its end that is longer than any about a statement of ours can rightly be, keeps nothing of it, and says so.
    async fn pass_over(&mut self, command: Command) -> Result<(), End> {
        let sequence = self.skip_command().await?;
        match command {
            Command::LongData(id) => {
                self.statements.long_data(id, None);
                return Ok(());
            }
            Command::Close(id) => {
                self.close_statement(id);
                return Ok(());
            }
            Command::Wait
            | Command::Execute(_)
            | Command::Reset(_)
            | Command::Fetch(_)
            | Command::Bulk(_) => {}
        }
        let form = Form {
            sequence: sequence.wrapping_add(1),
            ..self.form()
        };
        let mut out = BytesMut::new();
        form.put_error(&mut out, AdminError::argument_too_long());
        self.say(&out, false).await
    }

    /// Takes a command of any length off the stream; returns the sequence number of its last packet.
    async fn skip_command(&mut self) -> Result<u8, End> {
        loop {
            let Some(&[.., sequence]) = self.client_rest.first_chunk::<HEADER_LEN>() else {
                self.read_client_or_end().await?;
                continue;
            };
            let length = payload_length(&self.client_rest);
            let _ = self.client_rest.split_to(HEADER_LEN);
            self.entry
                .session
                .borrow_mut()
                .traffic
                .answered_bytes_from_client += (HEADER_LEN + length) as u64;
            let mut left = length;
            while left > 0 {
                if self.client_rest.is_empty() {
                    self.read_client_or_end().await?;
                }
                let taken = left.min(self.client_rest.len());
                let _ = self.client_rest.split_to(taken);
                left -= taken;
            }
            if length < PAYLOAD_MAX {
                let traffic = &mut self.entry.session.borrow_mut().traffic;
                traffic.relayed_commands += 1;
                traffic.answered_commands += 1;
                return Ok(sequence);
            }
        }
    }
}
