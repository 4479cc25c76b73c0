//! The monitor's connections to one node: one that is kept, more while orders overlap.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use mysql_async::{Conn, DriverError, OptsBuilder, SslOpts, Value, prelude::Queryable as _};
use rustls::pki_types::CertificateDer;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Kind, MonitorError, NO_SUCH_THREAD, Order, PEER_BYTES_MAX, Rows,
    denials::{Denials, is_about_account, is_denial},
    patience::within,
};
use crate::{
    config::{Account, KEEPALIVE_IDLE_DEFAULT, NodeAddress, NodeTls, TlsMode},
    net::tls::system_certificates,
    node::connect::reason,
};

/// For one node to be connected to and to let the account in: less than an order's time, so that another node may be tried.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long a connection is kept that nobody uses.
const IDLE_TIME: Duration = Duration::from_mins(5);
/// The same cause is logged again after this time.
const REPEAT_TIME: Duration = Duration::from_mins(10);
/// Causes that are remembered; one more, and all are forgotten.
const CAUSES_MAX: usize = 16;
/// KILLs under way at one node.
const KILLS_MAX: usize = 4;
/// `ER_ACCESS_DENIED_ERROR`.
const ACCESS_DENIED: u16 = 1045;
/// Questions under way at one node.
const QUERIES_MAX: usize = 1;

/// A node as the monitor knows it.
pub(super) struct Node {
    address: NodeAddress,
    idle: RefCell<Option<Idle>>,
    kills: Semaphore,
    queries: Semaphore,
    /// What was logged of it, and when.
    causes: RefCell<HashMap<String, Instant>>,
    used: Cell<Instant>,
    denials: Rc<Denials>,
}

/// A connection between two orders.
struct Idle {
    connection: Conn,
    account: Account,
}

impl Node {
    pub(super) fn new(address: NodeAddress, denials: &Rc<Denials>) -> Self {
        Self {
            address,
            idle: RefCell::default(),
            kills: Semaphore::new(KILLS_MAX),
            queries: Semaphore::new(QUERIES_MAX),
            causes: RefCell::default(),
            used: Cell::new(Instant::now()),
            denials: Rc::clone(denials),
        }
    }

    /// Runs one statement. Failures are logged, each cause once in a while.
    pub(super) async fn run(&self, order: &Order) -> Result<Rows, MonitorError> {
        let kind = order.kind;
        let turns = match kind {
            Kind::Kill => &self.kills,
            Kind::Query | Kind::Account | Kind::Peer => &self.queries,
        };
        // Never closed; and without a turn things would only be slower.
        let _turn = turns.acquire().await;
        self.used.set(Instant::now());
        let result = self.try_run(order).await;
        self.used.set(Instant::now());
        match &result {
            Ok(_)
            | Err(
                MonitorError::Unwanted
                | MonitorError::Refused {
                    number: NO_SUCH_THREAD,
                    ..
                },
            ) => {}
            // It need not have the right.
            Err(MonitorError::Refused { .. }) if kind == Kind::Account => {}
            Err(error) => self.complain(&error.to_string(), kind),
        }
        result
    }

    async fn try_run(&self, order: &Order) -> Result<Rows, MonitorError> {
        let account = &order.account;
        let kept = self.idle.take();
        if let Some(Idle { connection, .. }) = kept.filter(|idle| idle.account == *account) {
            match self.ask(connection, order).await {
                // The node may have closed it long ago.
                Err(MonitorError::Broken(_)) => {}
                result => return result,
            }
        }
        let connection = log_in_to(&self.address, account, &self.denials).await?;
        self.ask(connection, order).await
    }

    /// Sends the statement, if it is still wanted; a connection that is still good is kept, in another's place.
    async fn ask(&self, mut connection: Conn, order: &Order) -> Result<Rows, MonitorError> {
        let is_wanted = match &order.condition {
            Some(condition) => condition.holds().await,
            None => true,
        };
        let result = if is_wanted {
            rows(&mut connection, &order.sql, order.kind.bounds()).await
        } else {
            Err(MonitorError::Unwanted)
        };
        if matches!(
            result,
            Ok(_) | Err(MonitorError::Refused { .. } | MonitorError::Unwanted)
        ) {
            let account = order.account.clone();
            *self.idle.borrow_mut() = Some(Idle {
                connection,
                account,
            });
        }
        result
    }

    /// Closes the kept connection if nobody has used it for long.
    pub(super) fn close_idle(&self) {
        if self.used.get().elapsed() > IDLE_TIME {
            self.idle.take();
        }
    }

    /// Whether nothing of it needs to be kept.
    pub(super) fn is_forgotten(&self) -> bool {
        self.used.get().elapsed() > REPEAT_TIME
    }

    fn complain(&self, cause: &str, kind: Kind) {
        let mut causes = self.causes.borrow_mut();
        if causes
            .get(cause)
            .is_some_and(|logged| logged.elapsed() < REPEAT_TIME)
        {
            return;
        }
        if causes.len() >= CAUSES_MAX {
            causes.clear();
        }
        causes.insert(cause.to_owned(), Instant::now());
        match kind {
            Kind::Kill | Kind::Query | Kind::Account => {
                tracing::warn!(node = %self.address, cause, "the monitor account failed");
            }
            Kind::Peer => {
                tracing::warn!(peer = %self.address, cause, "a proxy of the fleet does not answer");
            }
        }
    }
}

/// How connections are encrypted, if they are.
fn encryption(tls: &NodeTls) -> Option<SslOpts> {
    let options = SslOpts::default().with_disable_built_in_roots(true);
    match tls.mode {
        TlsMode::Off => None,
        TlsMode::Preferred | TlsMode::Required => Some(
            options
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        TlsMode::Verify => {
            let system = |certificate: CertificateDer<'_>| certificate.as_ref().to_vec().into();
            let roots = match &tls.ca {
                Some(path) => vec![path.clone().into()],
                None => system_certificates().into_iter().map(system).collect(),
            };
            let name = tls.server_name.clone();
            Some(
                options
                    .with_root_certs(roots)
                    .with_danger_tls_hostname_override(name),
            )
        }
    }
}

/// Logs in to a node, in two seconds at most; not at all where it has denied that a short time ago.
pub(super) async fn log_in_to(
    node: &NodeAddress,
    account: &Account,
    denials: &Denials,
) -> Result<Conn, MonitorError> {
    if let Some(why) = denials.waits(node, account, Instant::now()) {
        return Err(MonitorError::Denied(why));
    }
    let password = account.password.expose();
    let options = OptsBuilder::default()
        .ip_or_hostname(node.host.clone())
        .tcp_port(node.port)
        .user(Some(account.user.clone()))
        .pass((!password.is_empty()).then(|| password.to_owned()))
        // The node's socket file may be on another host.
        .prefer_socket(false)
        .tcp_keepalive(Some(KEEPALIVE_IDLE_DEFAULT))
        // The driver would ask for these.
        .max_allowed_packet(Some(PEER_BYTES_MAX))
        .wait_timeout(Some(28_800))
        .connect_attribute("program_name", "sluice monitor");
    let with_tls = options.clone().ssl_opts(encryption(&account.tls));
    let connect = async {
        match log_in(with_tls).await {
            Err(mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer))
                if account.tls.mode == TlsMode::Preferred =>
            {
                log_in(options).await
            }
            result => result,
        }
    };
    match within(CONNECT_TIME, connect).await {
        Some(Ok(connection)) => {
            denials.let_in(node, account);
            Ok(connection)
        }
        Some(Err(error)) => {
            let why = text(&error);
            let mysql_async::Error::Server(error) = error else {
                return Err(MonitorError::Unreachable(why));
            };
            if is_denial(error.code) {
                denials.denied(node, account, &why, Instant::now());
            }
            Err(if is_about_account(error.code) {
                MonitorError::Denied(why)
            } else {
                MonitorError::Unreachable(why)
            })
        }
        None => Err(MonitorError::Unreachable("connect timed out".to_owned())),
    }
}

/// Opens a connection. A login that is denied is tried once more: of the scramble in an authentication switch the driver drops a last byte
/// that is zero (`mysql_common` 0.37.3, `AuthSwitchRequest::plugin_data`), and answers it wrong then. `MariaDB`'s `ed25519` makes
/// scrambles of any 32 bytes, so that is one login in 256.
async fn log_in(options: OptsBuilder) -> mysql_async::Result<Conn> {
    match Conn::new(options.clone()).await {
        Err(mysql_async::Error::Server(error)) if error.code == ACCESS_DENIED => {
            Conn::new(options).await
        }
        result => result,
    }
}

/// Runs a statement and reads its rows, no more than these rows and bytes.
pub(super) async fn rows(
    connection: &mut Conn,
    sql: &str,
    (rows_max, bytes_max): (usize, usize),
) -> Result<Rows, MonitorError> {
    let mut result = connection.query_iter(sql).await.map_err(failed)?;
    let mut rows = Rows::new();
    let mut bytes = 0;
    while let Some(row) = result.next().await.map_err(failed)? {
        let values = row.unwrap_raw().into_iter().map(|value| match value {
            None | Some(Value::NULL) => None,
            Some(Value::Bytes(bytes)) => Some(bytes),
            // Not in the text protocol.
            Some(other) => Some(other.as_sql(true).into_bytes()),
        });
        let values: Vec<_> = values.collect();
        bytes += values.iter().flatten().map(Vec::len).sum::<usize>();
        if rows.len() == rows_max || bytes > bytes_max {
            return Err(MonitorError::TooLarge);
        }
        rows.push(values);
    }
    Ok(rows)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: mysql_async::Error) -> MonitorError {
    match &error {
        mysql_async::Error::Server(error) => MonitorError::Refused {
            number: error.code,
            state: error.state.clone(),
            text: error.message.clone(),
        },
        mysql_async::Error::Driver(DriverError::PacketTooLarge) => MonitorError::TooLarge,
        other => MonitorError::Broken(text(other)),
    }
}

/// An error in a few words; none has a credential in it.
fn text(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Io(mysql_async::IoError::Io(error)) => reason(error),
        mysql_async::Error::Server(error) => format!("error {}: {}", error.code, error.message),
        mysql_async::Error::Driver(error) => error.to_string(),
        other => other.to_string(),
    }
}
