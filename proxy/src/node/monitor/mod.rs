//! What the proxy does on nodes on its own account, the cluster's `monitor`: it ends queries and connections there, and asks nodes
//! something. A thread of its own does the work, so that no worker ever waits for a node because of it.

mod connection;
mod denials;
mod discover;
mod patience;
mod watch;

use std::{collections::HashMap, io, net::SocketAddr, rc::Rc, sync::Arc, thread, time::Duration};

use tokio::{
    runtime,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

use self::{
    connection::Node, denials::Denials, discover::Discoveries, patience::within, watch::Watches,
};
use super::Health;
use crate::{
    config::{Account, Cluster, NodeAddress, Settings},
    session::ConnectionId,
};

/// Orders under way at once. One more is answered [`MonitorError::Busy`].
const ORDERS_MAX: usize = 1024;
/// The most rows that a node's answer may have.
const ROWS_MAX: usize = 10_000;
/// The most rows that the answer of a proxy of the fleet may have: a row for each of its sessions.
const PEER_ROWS_MAX: usize = 1 << 18;
/// The most bytes that the values of an answer may have.
const BYTES_MAX: usize = 4 << 20;
/// The same for a proxy of the fleet.
const PEER_BYTES_MAX: usize = 64 << 20;
/// From an order to its result, whatever happens.
const ORDER_TIME: Duration = Duration::from_secs(5);
/// How often connections that nobody needs any more are looked for.
const SWEEP: Duration = Duration::from_mins(1);
/// `ER_NO_SUCH_THREAD`.
const NO_SUCH_THREAD: u16 = 1094;

/// The rows of a node's answer as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// Why an order was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MonitorError {
    /// The configuration gives the cluster no monitor account.
    #[error("the cluster has no monitor account")]
    NoAccount,
    /// 1,024 orders are under way.
    #[error("too many orders to nodes are under way")]
    Busy,
    /// No node could be connected to, or none let the account in.
    #[error("{0}")]
    Unreachable(String),
    /// The last node that could be connected to has no place for the account now: it answers, so it lives.
    #[error("{0}")]
    Denied(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// The node's answer has more than 10,000 rows or 4 MiB of values, or that of a proxy of the fleet more than 262,144 rows or 64 MiB.
    #[error("the answer is too large")]
    TooLarge,
    /// Who gave the order wanted it no more when its turn came.
    #[error("the order was withdrawn")]
    Unwanted,
    /// Nothing came in five seconds.
    #[error("no answer in time")]
    Timeout,
    /// The node's own error.
    #[error("error {number}: {text}")]
    Refused {
        /// Its number.
        number: u16,
        /// Its SQLSTATE.
        state: String,
        /// Its text.
        text: String,
    },
}

/// A handle to the monitor's thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Monitor {
    words: mpsc::UnboundedSender<Word>,
    /// What bounds the channel.
    room: Arc<Semaphore>,
}

/// Where an order's result will be. The order is carried out whether or not anybody asks for it.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Rows, MonitorError>>);

/// The same for an order that is carried out only if it is still wanted when its turn comes, which may be long after it was given.
#[derive(Debug)]
pub struct Conditional {
    pending: Pending,
    questions: mpsc::UnboundedReceiver<oneshot::Sender<bool>>,
}

impl Conditional {
    /// Waits for the result, five seconds at most. `is_wanted` is asked right before the statement is sent.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub async fn result_if(self, is_wanted: impl Fn() -> bool) -> Result<Rows, MonitorError> {
        let Self {
            pending,
            mut questions,
        } = self;
        let answers = async {
            while let Some(question) = questions.recv().await {
                // The order's time may be up.
                let _ = question.send(is_wanted());
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            result = pending.result() => result,
            never = answers => never,
        }
    }
}

/// The other end: what is asked before an order is carried out.
#[derive(Debug)]
struct Condition(mpsc::UnboundedSender<oneshot::Sender<bool>>);

impl Condition {
    /// Whether the order is still wanted.
    async fn holds(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).is_ok() && answered.await.unwrap_or(false)
    }
}

impl Pending {
    /// Waits for the result, five seconds at most.
    ///
    /// # Errors
    /// [`MonitorError`].
    pub async fn result(self) -> Result<Rows, MonitorError> {
        self.0.await.unwrap_or(Err(MonitorError::Timeout))
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Word {
    /// Run a statement.
    Order(Order),
    /// Watch the nodes of these settings from now on.
    Watch(Arc<Settings>, Arc<Health>),
}

/// One statement for the first of some nodes that can be reached.
#[derive(Debug)]
struct Order {
    nodes: Vec<NodeAddress>,
    account: Account,
    sql: String,
    kind: Kind,
    condition: Option<Condition>,
    reply: oneshot::Sender<Result<Rows, MonitorError>>,
    _room: OwnedSemaphorePermit,
}

/// What a statement is for: a KILL does not wait behind queries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Kill,
    Query,
    /// A query whose refusal is nothing to complain of.
    Account,
    /// It is for another proxy of the fleet.
    Peer,
}

impl Kind {
    /// The most rows, and bytes of values, that an answer may have.
    const fn bounds(self) -> (usize, usize) {
        match self {
            Self::Kill | Self::Query | Self::Account => (ROWS_MAX, BYTES_MAX),
            Self::Peer => (PEER_ROWS_MAX, PEER_BYTES_MAX),
        }
    }
}

impl Monitor {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of starting a thread or its runtime.
    pub fn start() -> io::Result<Self> {
        let (words, inbox) = mpsc::unbounded_channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(inbox)))?;
        Ok(Self {
            words,
            room: Arc::new(Semaphore::new(ORDERS_MAX)),
        })
    }

    /// Watches the nodes of these settings from now on, where they give an account, and writes down what comes of it.
    pub fn watch(&self, settings: Arc<Settings>, health: Arc<Health>) {
        // Without the thread nothing is watched.
        let _ = self.words.send(Word::Watch(settings, health));
    }

    /// Reads something from the account tables of the first of these nodes that can be reached; the monitor's account may have no right to.
    pub fn account(&self, cluster: &Cluster, nodes: Vec<NodeAddress>, sql: String) -> Pending {
        self.order(cluster.monitor.as_ref(), nodes, sql, Kind::Account)
    }

    /// Ends what a connection of the node is executing; the connection lives on. That the node no longer knows it is no error.
    pub fn kill_query(&self, cluster: &Cluster, node: SocketAddr, id: ConnectionId) -> Pending {
        let sql = format!("KILL QUERY {}", id.0);
        self.order(cluster.monitor.as_ref(), vec![node.into()], sql, Kind::Kill)
    }

    /// The same, only if it is still wanted when its turn comes: the connection may be executing something else by then.
    pub fn kill_query_if(
        &self,
        cluster: &Cluster,
        node: SocketAddr,
        id: ConnectionId,
    ) -> Conditional {
        let sql = format!("KILL QUERY {}", id.0);
        let (asks, questions) = mpsc::unbounded_channel();
        let (account, nodes) = (cluster.monitor.as_ref(), vec![node.into()]);
        Conditional {
            pending: self.give(account, nodes, sql, Kind::Kill, Some(Condition(asks))),
            questions,
        }
    }

    /// Ends a connection of the node and what it is executing. That the node no longer knows it is no error.
    pub fn kill_connection(
        &self,
        cluster: &Cluster,
        node: SocketAddr,
        id: ConnectionId,
    ) -> Pending {
        let sql = format!("KILL CONNECTION {}", id.0);
        self.order(cluster.monitor.as_ref(), vec![node.into()], sql, Kind::Kill)
    }

    /// Asks the first node of the cluster that can be reached. The statement must be one that may be executed twice: where the
    /// connection turns out to be broken, it is.
    pub fn query(&self, cluster: &Cluster, sql: impl Into<String>) -> Pending {
        self.query_of(cluster, cluster.addresses().cloned().collect(), sql)
    }

    /// The same of these nodes, in this order.
    pub fn query_of(
        &self,
        cluster: &Cluster,
        nodes: Vec<NodeAddress>,
        sql: impl Into<String>,
    ) -> Pending {
        self.order(cluster.monitor.as_ref(), nodes, sql.into(), Kind::Query)
    }

    /// Asks another proxy of the fleet something, by its administrator's account.
    pub fn ask_peer(&self, peer: SocketAddr, account: &Account, sql: impl Into<String>) -> Pending {
        self.order(Some(account), vec![peer.into()], sql.into(), Kind::Peer)
    }

    fn order(
        &self,
        account: Option<&Account>,
        nodes: Vec<NodeAddress>,
        sql: String,
        kind: Kind,
    ) -> Pending {
        self.give(account, nodes, sql, kind, None)
    }

    fn give(
        &self,
        account: Option<&Account>,
        nodes: Vec<NodeAddress>,
        sql: String,
        kind: Kind,
        condition: Option<Condition>,
    ) -> Pending {
        let (reply, pending) = oneshot::channel();
        let room = Arc::clone(&self.room).try_acquire_owned();
        // Who gets no result sees it at once: his end of the channel is there.
        match (account, room) {
            (None, _) => drop(reply.send(Err(MonitorError::NoAccount))),
            (_, Err(_full)) => drop(reply.send(Err(MonitorError::Busy))),
            (Some(account), Ok(room)) => {
                let order = Order {
                    nodes,
                    account: account.clone(),
                    sql,
                    kind,
                    condition,
                    reply,
                    _room: room,
                };
                // Without the thread the order is dropped, and the reply with it.
                let _ = self.words.send(Word::Order(order));
            }
        }
        Pending(pending)
    }
}

/// The thread's work: a task for each order.
async fn serve(mut inbox: mpsc::UnboundedReceiver<Word>) {
    let denials = Rc::<Denials>::default();
    let mut watches = Watches::new(&denials);
    let mut discoveries = Discoveries::new(&denials);
    let mut nodes = HashMap::<NodeAddress, Rc<Node>>::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            word = inbox.recv() => {
                let order = match word {
                    Some(Word::Order(order)) => order,
                    Some(Word::Watch(settings, health)) => {
                        watches.follow(&settings, &health);
                        discoveries.follow(&settings, &health);
                        continue;
                    }
                    None => return,
                };
                let to = order.nodes.iter().map(|address| {
                    let node = nodes.entry(address.clone());
                    Rc::clone(node.or_insert_with(|| Rc::new(Node::new(address.clone(), &denials))))
                });
                let to = to.collect();
                spawn_local(carry_out(to, order));
            }
            _ = sweep.tick() => {
                nodes.retain(|_, node| {
                    node.close_idle();
                    Rc::strong_count(node) > 1 || !node.is_forgotten()
                });
            }
        }
    }
}

/// Carries out an order in [`ORDER_TIME`].
async fn carry_out(nodes: Vec<Rc<Node>>, order: Order) {
    let ask = async {
        let mut failure = MonitorError::Unreachable("the cluster has no node".to_owned());
        for node in nodes {
            match node.run(&order).await {
                Err(error @ (MonitorError::Unreachable(_) | MonitorError::Denied(_))) => {
                    failure = error;
                }
                Err(MonitorError::Refused {
                    number: NO_SUCH_THREAD,
                    ..
                }) if order.kind == Kind::Kill => return Ok(Rows::new()),
                result => return result,
            }
        }
        Err(failure)
    };
    let result = within(ORDER_TIME, ask).await;
    let result = result.unwrap_or(Err(MonitorError::Timeout));
    // Nobody has to wait for it.
    let _ = order.reply.send(result);
}

#[cfg(test)]
mod tests;
