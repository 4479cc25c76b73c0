//! Admin statements of a session that is being served: answers, carries out orders.

use bytes::BytesMut;
use sluice_ebpf::response::Status;

use super::{
    close::End,
    configure::configure,
    fleet,
    form::{Form, ask},
    serve::{Serving, payload_length},
};
use crate::{
    admin::{AdminError, Answer, Order, Privileges, Statement},
    protocol::{packet::HEADER_LEN, result_set::Protocol},
    session::{AnsweredBy, command::Effect},
};

impl Serving<'_> {
    /// Answers a command that asks for what this statement of Sluice's says.
    pub(super) async fn answer_by(&mut self, statement: Statement) -> Result<(), End> {
        Box::pin(self.answer_own(Ok(statement), Effect::None)).await
    }

    /// Answers a statement of the admin surface, the command at the front of `client_rest`. Should the node answer it instead, it has
    /// this effect.
    pub(super) async fn answer(
        &mut self,
        statement: &Statement,
        effect: Effect,
    ) -> Result<(), End> {
        self.answer_in(self.form(), statement, Some(effect)).await
    }

    /// The same in any form. Without an effect the node cannot answer: it does not have the statement, which is a prepared one of ours.
    pub(super) async fn answer_in(
        &mut self,
        form: Form,
        statement: &Statement,
        effect: Option<Effect>,
    ) -> Result<(), End> {
        self.begin_command(AnsweredBy::Proxy);
        if statement.shows_variables() && self.lost.is_none() {
            self.read_variables(true).await?;
        }
        let mut out = BytesMut::new();
        let mut end = None;
        match self.decide(statement).await? {
            Answer::Rows { columns, rows } => form.put_rows(&mut out, &columns, &rows),
            Answer::Ok { info } => form.put_ok(&mut out, info),
            Answer::Error(error) => form.put_error(&mut out, error),
            Answer::Orders(orders) if orders.contains(&Order::Forward) => {
                if let Some(effect) = effect {
                    return self.forward(effect).await;
                }
                let error = AdminError::unsupported_when_prepared();
                return self.refuse(&error).await;
            }
            Answer::Orders(orders) => {
                for order in orders {
                    end = end.or(self.carry_out(order, form, &mut out).await?);
                }
                if out.is_empty() {
                    form.put_ok(&mut out, String::new());
                }
            }
        }
        self.reply(&out, end.is_some()).await?;
        end.map_or(Ok(()), Err)
    }

    /// Carries out one order. What the client is to be told goes into `out`, nothing for OK; the end of the caller's own session, if it comes.
    async fn carry_out(
        &mut self,
        order: Order,
        form: Form,
        out: &mut BytesMut,
    ) -> Result<Option<End>, End> {
        let done = match order {
            Order::Kill { own: true, .. } => {
                form.put_error(out, AdminError::interrupted());
                return Ok(Some(End::KilledItself));
            }
            Order::Kill {
                cs_id,
                own: false,
                running,
            } => return self.end_other(cs_id, running.as_ref()).await,
            Order::KillAt { peer, cs_id } => fleet::kill(&self.worker.process, peer, cs_id).await,
            Order::KillQuery(running) => self.kill_query(&running).await?,
            Order::Configure { key, value } => {
                let told = configure(&self.worker.process, key, value).await;
                told.map(|told| form.put_ok(out, told))
            }
            Order::WaitForMyWrites(wanted) => {
                self.want_own_writes(wanted).await?;
                Ok(())
            }
            Order::ReadConsistency(wanted) => {
                self.want_consistency(wanted).await?;
                Ok(())
            }
            Order::EndServer {
                cs_id,
                ss_id,
                own,
                is_forced,
            } => match self.end_server(cs_id, ss_id, own).await? {
                Err(_) if is_forced && own => {
                    form.put_error(out, AdminError::interrupted());
                    return Ok(Some(End::KilledItself));
                }
                Err(_) if is_forced => return self.end_other(cs_id, None).await,
                done => done,
            },
            // Done before: nothing asks for it twice. What goes to the node is not carried out here.
            Order::LearnPrivileges | Order::AskFleet | Order::Forward => Ok(()),
        };
        if let Err(error) = done {
            form.put_error(out, error);
        }
        Ok(None)
    }

    /// The answer to a statement. The node is asked for the caller's privileges where it depends on them.
    async fn decide(&mut self, statement: &Statement) -> Result<Answer, End> {
        let has_tenant = self.has_tenant();
        let answer = ask(self.worker, self.entry, has_tenant, None, statement).await;
        match &answer {
            Answer::Orders(orders) if orders.contains(&Order::LearnPrivileges) => {
                let privileges = match self.lost {
                    None => self.learn_privileges().await?,
                    Some(_) => Privileges::default(),
                };
                let privileges = Some(privileges);
                Ok(ask(self.worker, self.entry, has_tenant, privileges, statement).await)
            }
            _ => Ok(answer),
        }
    }

    /// Whether the node has checked the caller's tenant, or he is its `root`.
    pub(super) fn has_tenant(&self) -> bool {
        self.target.with_tenant || self.entry.session.borrow().login.user == "root"
    }

    /// How answers to texts are written.
    pub(super) fn form(&self) -> Form {
        // Of a transaction that went with its node the client is told by an error.
        let is_told = self.lost.as_ref().is_none_or(|lost| !lost.transaction);
        let untold = if is_told { 0 } else { Status::IN_TRANSACTION };
        Form {
            sequence: 1,
            capabilities: self.capabilities,
            status: self.status.lasting_flags() | untold,
            protocol: Protocol::Text,
            reads_odp_errors: self.entry.session.borrow().reads_odp_errors,
        }
    }

    /// Answers a statement that is ours but not well formed.
    pub(super) async fn refuse(&mut self, error: &AdminError) -> Result<(), End> {
        self.begin_command(AnsweredBy::Proxy);
        let mut out = BytesMut::new();
        self.form().put_error(&mut out, error.clone());
        self.reply(&out, false).await
    }

    /// Takes the command off the stream and writes its answer; the next one may be the kernel's, unless this was the `last`.
    pub(super) async fn reply(&mut self, out: &[u8], last: bool) -> Result<(), End> {
        self.take_command();
        self.say(out, last).await
    }

    /// Takes the command off the front of the stream, where all of it is.
    pub(super) fn take_command(&mut self) {
        let length = HEADER_LEN + payload_length(&self.client_rest);
        let command = self
            .client_rest
            .split_to(length.min(self.client_rest.len()));
        let mut session = self.entry.session.borrow_mut();
        session.command.bytes = command.len() as u64;
        let traffic = &mut session.traffic;
        traffic.relayed_commands += 1;
        traffic.answered_commands += 1;
        traffic.answered_bytes_from_client += command.len() as u64;
    }

    /// Writes the answer to a command that is off the stream.
    pub(super) async fn say(&mut self, out: &[u8], last: bool) -> Result<(), End> {
        {
            let traffic = &mut self.entry.session.borrow_mut().traffic;
            traffic.answered_bytes_to_client += out.len() as u64;
            traffic.relayed_bytes_to_client += out.len() as u64;
        }
        self.barrier().await?;
        if self.client_rest.is_empty() && !last {
            self.offer(out.len());
        }
        self.entry.end_command();
        self.write_client(out).await
    }
}
