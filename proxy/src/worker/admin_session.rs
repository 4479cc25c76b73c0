//! A session of the proxy's own: `root@proxysys` and `inspector@proxysys`. It has no server session, and needs no node to be there.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::{
    Worker,
    close::End,
    configure::configure,
    fleet,
    form::{Form, ask},
    login::ProxyLogin,
    mailbox,
    registry::Entry,
};
use crate::{
    admin::{
        self, AdminError, Answer, Order, Privileges, Statement, courtesy,
        prepared::{Command, Statements, Template},
    },
    net::Leg,
    protocol::{
        capability::Capabilities, command, error::MysqlError, packet, result_set::Protocol,
        statement,
    },
    session::{AnsweredBy, proxy_login::ProxyUser},
};

/// The longest command that is read, in bytes.
const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// `SERVER_STATUS_AUTOCOMMIT`: there is nothing here that a transaction could be about.
const STATUS: u16 = 0x0002;
/// The statement behind `COM_PROCESS_INFO`.
const PROCESS_LIST: &[u8] = b"SHOW PROCESSLIST";

/// What these users may do is decided by who they are.
const ALL: Privileges = Privileges {
    ends_others: true,
    sees_others: true,
};

/// One such session being served.
pub(super) struct AdminSession<'a> {
    worker: &'a Worker,
    entry: &'a Rc<Entry>,
    client: Leg,
    /// The login's last packet, for the client.
    welcome: BytesMut,
    /// Read from the client, not yet looked at.
    rest: BytesMut,
    capabilities: Capabilities,
    user: ProxyUser,
    /// The version in the greeting.
    version: String,
    statements: Statements,
}

/// What a command comes to.
enum Said {
    /// This is the answer; of some commands there is none.
    Answer(BytesMut),
    /// This, and then it is over.
    Last(BytesMut, End),
}

impl<'a> AdminSession<'a> {
    /// Takes over from the login, in which the client was shown this version.
    pub(super) fn new(
        worker: &'a Worker,
        entry: &'a Rc<Entry>,
        from: ProxyLogin,
        version: &Bytes,
    ) -> Self {
        Self {
            welcome: from.welcome,
            worker,
            entry,
            client: from.client,
            rest: from.client_rest,
            capabilities: from.capabilities,
            user: from.user,
            version: String::from_utf8_lossy(version).into_owned(),
            statements: Statements::default(),
        }
    }

    /// Lets the client in and serves it until it leaves.
    pub(super) async fn serve(mut self) -> End {
        let mut said = Said::Answer(std::mem::take(&mut self.welcome));
        loop {
            let (out, end) = match said {
                Said::Answer(out) => (out, None),
                Said::Last(out, end) => (out, Some(end)),
            };
            self.count_answer(out.len());
            if let Err(error) = self.client.write_all(&out).await {
                return End::of_client(error);
            }
            if let Some(end) = end {
                return end;
            }
            said = match self.next().await {
                Ok(said) => said,
                Err(end) => return end,
            };
        }
    }

    fn count_answer(&self, bytes: usize) {
        let traffic = &mut self.entry.session.borrow_mut().traffic;
        traffic.answered_bytes_to_client += bytes as u64;
        traffic.relayed_bytes_to_client += bytes as u64;
    }

    /// Waits for a command and answers it.
    async fn next(&mut self) -> Result<Said, End> {
        let packet = loop {
            match packet::take_payload(&mut self.rest, COMMAND_BYTES_MAX) {
                Ok(Some(packet)) => break packet,
                Ok(None) => {}
                Err(_too_long) => {
                    let mut out = BytesMut::new();
                    let error = (&MysqlError::packet_too_large()).into();
                    self.form(0).put_error(&mut out, error);
                    return Ok(Said::Last(out, End::CommandTooLong));
                }
            }
            match self.client.fill(&mut self.rest).await {
                Ok(0) => return Err(End::ClientClosed),
                Ok(_) => {}
                Err(error) => return Err(End::of_client(error)),
            }
        };
        {
            let session = &mut self.entry.session.borrow_mut();
            session.traffic.relayed_commands += 1;
            session.traffic.answered_commands += 1;
            session.traffic.answered_bytes_from_client +=
                (packet::HEADER_LEN + packet.payload.len()) as u64;
        }
        self.entry.begin_command(&packet.payload, AnsweredBy::Proxy);
        let said = self.answer(&packet.payload, packet.sequence).await;
        self.entry.end_command();
        said
    }

    fn form(&self, sequence: u8) -> Form {
        Form {
            sequence: sequence.wrapping_add(1),
            capabilities: self.capabilities,
            status: STATUS,
            protocol: Protocol::Text,
            reads_odp_errors: self.entry.session.borrow().reads_odp_errors,
        }
    }

    async fn answer(&mut self, payload: &[u8], sequence: u8) -> Result<Said, End> {
        let form = self.form(sequence);
        if let Some(command) = self.statements.command_in(payload) {
            return Ok(self.prepared(form, command, payload).await);
        }
        let id = || {
            let id = payload.get(1..).and_then(|rest| rest.first_chunk());
            id.map_or(0, |id| u32::from_le_bytes(*id))
        };
        Ok(match payload.first().copied().unwrap_or_default() {
            command::QUIT => return Err(End::Quit),
            command::PING | command::INIT_DB => ok(form),
            command::RESET_CONNECTION => {
                self.statements.clear();
                self.entry.prepared.borrow_mut().forget_all();
                ok(form)
            }
            command::QUERY => match statement::query_text(payload, self.capabilities) {
                Ok(text) => self.query(form, text).await,
                Err(_malformed) => refuse(form, AdminError::bad_command()),
            },
            command::PROCESS_INFO => self.query(form, PROCESS_LIST).await,
            command::PROCESS_KILL => self.statement(form, &Statement::kill(id())).await,
            command::STMT_PREPARE => self.prepare(form, payload.get(1..).unwrap_or_default()),
            command::STMT_EXECUTE => unknown(form, id(), "mysqld_stmt_execute"),
            command::STMT_RESET => unknown(form, id(), "mysqld_stmt_reset"),
            command::STMT_FETCH => unknown(form, id(), "mysqld_stmt_fetch"),
            // These have no answer, whatever they are about.
            command::STMT_CLOSE | command::STMT_SEND_LONG_DATA => Said::Answer(BytesMut::new()),
            _ => refuse(form, (&MysqlError::unknown_command()).into()),
        })
    }

    async fn query(&self, form: Form, text: &[u8]) -> Said {
        match admin::parse(text) {
            Some(Ok(statement)) => self.statement(form, &statement).await,
            Some(Err(error)) => refuse(form, error),
            None => {
                let user = format!("root@{}", self.client.peer_addr().ip().to_canonical());
                let facts = courtesy::Facts {
                    version: &self.version,
                    connection_id: self.entry.cs_id.0,
                    user: &user,
                    packet_bytes_max: COMMAND_BYTES_MAX,
                };
                match courtesy::answer(text, &facts) {
                    Some(answer) if self.user == ProxyUser::Root => say(form, answer),
                    _ => refuse(form, AdminError::bad_command()),
                }
            }
        }
    }

    /// What this user may not use does not exist for him.
    fn may(&self, words: &[&str]) -> bool {
        match self.user {
            ProxyUser::Root => true,
            ProxyUser::Inspector => words == ["PING", "PROXY"],
        }
    }

    async fn statement(&self, form: Form, statement: &Statement) -> Said {
        if !self.may(statement.spec().words) {
            return refuse(form, AdminError::bad_command());
        }
        let orders = match ask(self.worker, self.entry, true, Some(ALL), statement).await {
            Answer::Orders(orders) => orders,
            answer => return say(form, answer),
        };
        for order in orders {
            match order {
                Order::Kill { own: true, .. } => {
                    let mut out = BytesMut::new();
                    form.put_error(&mut out, AdminError::interrupted());
                    return Said::Last(out, End::KilledItself);
                }
                // Its worker stops what a node executes for it.
                Order::Kill {
                    cs_id, own: false, ..
                } => mailbox::kill(&self.worker.process, cs_id).await,
                // It has no server session of its own.
                Order::EndServer {
                    cs_id,
                    ss_id,
                    is_forced,
                    ..
                } => match mailbox::switch(&self.worker.process, cs_id, ss_id).await {
                    Ok(()) => {}
                    Err(_) if is_forced => mailbox::kill(&self.worker.process, cs_id).await,
                    Err(why) => {
                        let why = why.to_string();
                        return refuse(form, AdminError::server_session_kept(ss_id, &why));
                    }
                },
                Order::Configure { key, value } => {
                    return match configure(&self.worker.process, key, value).await {
                        Ok(info) => say(form, Answer::Ok { info }),
                        Err(error) => refuse(form, error),
                    };
                }
                Order::KillAt { peer, cs_id } => {
                    if let Err(error) = fleet::kill(&self.worker.process, peer, cs_id).await {
                        return refuse(form, error);
                    }
                }
                // It reads at no node.
                Order::WaitForMyWrites(_) | Order::ReadConsistency(_) => {}
                // The peers were asked, all privileges are known, and there is no node to ask or to forward to; ODP's root@proxysys has no KILL QUERY either.
                Order::AskFleet | Order::KillQuery(_) | Order::LearnPrivileges | Order::Forward => {
                    return refuse(form, AdminError::bad_command());
                }
            }
        }
        ok(form)
    }

    fn prepare(&mut self, form: Form, text: &[u8]) -> Said {
        let kept = match Template::read(text) {
            Some(Ok(template)) if self.may(template.words()) => {
                let parameters = template.parameters();
                self.statements.prepare(template).map(|id| (id, parameters))
            }
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Err(AdminError::bad_command()),
        };
        match kept {
            Ok((id, parameters)) => {
                let text = self.entry.session.borrow().command.text;
                self.entry.prepared.borrow_mut().remember_own(id, text);
                let mut out = BytesMut::new();
                statement::put_prepared(&mut out, self.capabilities, form.status, id, parameters);
                Said::Answer(out)
            }
            Err(error) => refuse(form, error),
        }
    }

    async fn prepared(&mut self, form: Form, command: Command, payload: &[u8]) -> Said {
        match command {
            Command::Execute(id) => match self.statements.bind(id, payload, self.capabilities) {
                Ok(statement) => {
                    let form = Form {
                        protocol: Protocol::Binary,
                        ..form
                    };
                    self.statement(form, &statement).await
                }
                Err(error) => refuse(form, error),
            },
            Command::LongData(id) => {
                self.statements.long_data(id, Some(payload));
                Said::Answer(BytesMut::new())
            }
            Command::Close(id) => {
                self.statements.close(id);
                self.entry.prepared.borrow_mut().forget(id);
                Said::Answer(BytesMut::new())
            }
            Command::Reset(id) => {
                self.statements.reset(id);
                ok(form)
            }
            Command::Fetch(id) => refuse(form, AdminError::no_cursor(id)),
            // A whole command is never one to wait for.
            Command::Bulk(_) | Command::Wait => {
                refuse(form, AdminError::unsupported_when_prepared())
            }
        }
    }
}

fn ok(form: Form) -> Said {
    say(form, Answer::OK)
}

fn refuse(form: Form, error: AdminError) -> Said {
    say(form, Answer::Error(error))
}

fn unknown(form: Form, id: u32, command: &str) -> Said {
    refuse(form, AdminError::unknown_statement(id, command))
}

/// An answer that asks nothing of the worker.
fn say(form: Form, answer: Answer) -> Said {
    let mut out = BytesMut::new();
    match answer {
        Answer::Rows { columns, rows } => form.put_rows(&mut out, &columns, &rows),
        Answer::Ok { info } => form.put_ok(&mut out, info),
        Answer::Error(error) => form.put_error(&mut out, error),
        Answer::Orders(_) => form.put_error(&mut out, AdminError::bad_command()),
    }
    Said::Answer(out)
}
