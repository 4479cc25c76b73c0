//! Admin statements: gathers the snapshot, answers, carries out orders.

use bytes::BytesMut;

use super::{close::End, mailbox, serve::Serving};
use crate::{
    admin::{
        AdminError, Answer, Caller, Column, ColumnKind, Order, Scope, Snapshot, Statement, Value,
    },
    protocol::{
        packet::{self, HEADER_LEN},
        reply::{ErrPacket, OkPacket},
        result_set::{self, ColumnType},
    },
    session::command::Effect,
};

impl Serving<'_> {
    /// Answers a statement of the admin surface, the command at the front of `client_rest`.
    pub(super) async fn answer(
        &mut self,
        statement: &Statement,
        effect: Effect,
    ) -> Result<(), End> {
        let sessions = match statement.spec().scope {
            Scope::Own => vec![self.entry.current()],
            Scope::AllWorkers => mailbox::snapshot(&self.worker.process).await,
        };
        let login = self.entry.session.borrow().login.clone();
        let has_tenant = self.target.with_tenant || login.user == "root";
        let caller = Caller {
            cs_id: self.entry.cs_id,
            login: &login,
            has_tenant,
            has_super: false,
        };
        let mut out = BytesMut::new();
        let mut end = None;
        match statement.answer(&Snapshot {
            sessions: &sessions,
            caller,
        }) {
            Answer::Rows { columns, rows } => self.put_rows(&mut out, &columns, rows),
            Answer::Ok => self.put_ok(&mut out),
            Answer::Error(error) => put_error(&mut out, error),
            Answer::Orders(orders) => {
                for order in orders {
                    match order {
                        Order::Forward => return self.forward(effect).await,
                        Order::Kill { own: true, .. } => {
                            put_error(&mut out, AdminError::interrupted());
                            end = Some(End::KilledItself);
                        }
                        Order::Kill { cs_id, own: false } => {
                            mailbox::kill(&self.worker.process, cs_id);
                        }
                    }
                }
                if end.is_none() {
                    self.put_ok(&mut out);
                }
            }
        }
        self.reply(&out, end.is_some()).await?;
        end.map_or(Ok(()), Err)
    }

    /// Answers a statement that is ours but not well formed.
    pub(super) async fn refuse(&mut self, error: &AdminError) -> Result<(), End> {
        let mut out = BytesMut::new();
        put_error(&mut out, error.clone());
        self.reply(&out, false).await
    }

    /// Takes the command off the stream and writes its answer; the next one may be the kernel's, unless this was the `last`.
    async fn reply(&mut self, out: &[u8], last: bool) -> Result<(), End> {
        let length = match self.client_rest.first_chunk::<3>() {
            Some(&[a, b, c]) => {
                HEADER_LEN + usize::from(a) + (usize::from(b) << 8) + (usize::from(c) << 16)
            }
            None => 0,
        };
        let _ = self
            .client_rest
            .split_to(length.min(self.client_rest.len()));
        {
            let mut session = self.entry.session.borrow_mut();
            session.traffic.relayed_commands += 1;
            session.traffic.relayed_bytes_to_client += out.len() as u64;
        }
        self.barrier().await?;
        if self.client_rest.is_empty() && !last {
            self.offer(out.len());
        }
        self.write_client(out).await
    }

    fn put_ok(&self, out: &mut BytesMut) {
        let ok = OkPacket {
            status: self.status,
            ..OkPacket::default()
        };
        packet::put(out, 1, &ok.encode(self.capabilities));
    }

    fn put_rows(&self, out: &mut BytesMut, columns: &[Column], rows: Vec<Vec<Value>>) {
        let columns: Vec<_> = columns
            .iter()
            .map(|column| result_set::Column {
                name: &column.name,
                column_type: column_type(column.kind),
            })
            .collect();
        let rows: Vec<Vec<_>> = rows
            .into_iter()
            .map(|row| row.into_iter().map(text).collect())
            .collect();
        result_set::put(
            out,
            1,
            self.capabilities,
            self.status,
            &columns,
            rows.iter().map(Vec::as_slice),
        );
    }
}

/// A column's type on the wire.
const fn column_type(kind: ColumnKind) -> ColumnType {
    match kind {
        ColumnKind::Long => ColumnType::Long,
        ColumnKind::LongLong => ColumnType::LongLong,
        ColumnKind::Varchar | ColumnKind::Binary => ColumnType::Varchar,
    }
}

/// A value as the text protocol sends it.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Integer(number) => Some(number.to_string()),
        Value::Unsigned(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Null => None,
    }
}

fn put_error(out: &mut BytesMut, error: AdminError) {
    let error = ErrPacket {
        number: error.code,
        state: Some(error.sqlstate),
        message: error.text.into(),
    };
    packet::put(out, 1, &error.encode());
}
