//! From a listener to a session: admission, the binding of the client's socket, login, and the end of it all.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::BytesMut;
use sluice_ebpf::{reason::RelayReason, record::Seat};
use tokio::net::{TcpListener, TcpStream};

use super::{
    Process, SharedWorker, Worker, accounts,
    admin_session::AdminSession,
    admission::{Admitted, Shortage},
    bound::{Bound, Capture},
    clock,
    close::{self, End},
    greeting,
    login::{self, Arrival, Candidate, Destination, LoggedIn, LoginEnd, ProxyDoor, ProxyLogin},
    nodes::{self, Front},
    quota,
    registry::{Entry, Place, has_a_name},
    sender::{self, version},
    serve::Serving,
    stop,
    way::{self, Connections},
};
use crate::{
    admin::ConnectionKind,
    config::{Cluster, ClusterKind, Node, Settings},
    net::{Leg, facts::Facts},
    pause::pause,
    protocol::{error::MysqlError, handshake::Greeting, packet, reply::encode_error},
    route,
    session::{
        Accepted, ClientState, ConnectionId, Login, ProxySessionId, ServerSession, ServerState,
        Session, charset,
        credential::Proof,
        login_end::LoginReason,
        login_name::{LoginName, Rules, SEPARATORS},
        proxy_login::is_of_proxy,
    },
};

/// How long to leave clients in the backlog where no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever; each connection is a task of its own.
pub(super) async fn accept(worker: SharedWorker, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(worker = worker.index, %error, "a worker cannot listen");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                // Boxed first, so that it is not moved, all of it, on its way to its task.
                let connection = Box::pin(connection(Rc::clone(&worker), stream, client));
                tokio::task::spawn_local(connection);
            }
            Err(error) => {
                // Out of descriptors, mostly: sessions that end make room, and connections wait in the backlog meanwhile.
                tracing::warn!(worker = worker.index, %error, "cannot accept");
                pause(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, from accept to its closing line.
async fn connection(worker: SharedWorker, stream: TcpStream, client: SocketAddr) {
    let Ok(leg) = Leg::accepted(stream, client) else {
        return;
    };
    let Admitted { cs_id, shortage } = match worker.process.admit() {
        Ok(admitted) => admitted,
        Err(error) => {
            refuse(&leg, &error).await;
            return;
        }
    };
    let session = Session::new(Accepted {
        cs_id,
        client,
        worker_tid: worker.tid,
        pid: worker.process.host.pid,
        opened_at_ms: worker.process.now_ms(),
        opened_at_ns: clock::now_ns(),
    });
    let entry = Entry::new(&worker, session, Place::open(&worker));
    entry.watch(ConnectionKind::Accepted(cs_id), &leg);
    let (end, detail) = match sender::hear(&worker.process.settings(), &entry, &leg).await {
        Ok(rest) => {
            // Not before a header has been read: what the kernel counts on the wire begins behind it.
            let _bound = Bound::client(&worker, &entry, &leg);
            live(&worker, &entry, leg, rest, shortage).await
        }
        Err(end) => end,
    };
    let session = entry.current();
    if end.may_leave_node_at_work() {
        stop::connection(&entry, &session, &worker);
    }
    close::log(&entry, &session, &worker, end, &detail);
    if has_a_name(&session) {
        worker.closed.borrow_mut().add_session(&session);
    }
}

/// Login and service.
async fn live(
    worker: &SharedWorker,
    entry: &Rc<Entry>,
    client: Leg,
    client_rest: BytesMut,
    shortage: Option<Shortage>,
) -> (End, String) {
    let process = &worker.process;
    let settings = process.settings();
    let mut greeted = Box::pin(front(worker, &settings));
    let front = match entry.unless_ended(greeted.as_mut()).await {
        Ok(Ok(front)) => front,
        Err(end) => return (end, String::new()),
        Ok(Err(error)) => {
            refuse(&client, &error).await;
            return (End::Login(LoginReason::NodeUnreachable), error.message);
        }
    };
    drop(greeted);
    let tls = tls(process, &settings);
    let greeting = match &front {
        Front::Node(node) => greeting::like(node, entry, tls.is_some(), settings.splits_reads()),
        Front::Unknown(_) => greeting::of_proxy(entry, tls.is_some()),
    };
    let Some(greeting) = greeting else {
        return no_random_numbers();
    };
    entry.session.borrow_mut().state = ClientState::ActiveReader;
    entry.session.borrow_mut().proxy_session_id =
        Some(ProxySessionId::from_count(process.nonce, entry.number()));
    let names = names(&settings);
    let terms = login::Terms {
        names,
        login_timeout: settings.login_timeout,
        connect_timeout: settings.connect_timeout,
        cs_id: entry.cs_id.0,
        greeting: &greeting,
        ends: sender::ends(entry.session.borrow().client, &client),
        tls,
        outbox: &worker.outbox,
    };
    let node = Capture::of(worker, entry, &client);
    let address = terms.ends.source.ip().to_canonical();
    let target = async |name: &LoginName, proof: &Proof| {
        Ok(if is_of_proxy(name) {
            Destination::Proxy(ProxyDoor::find(process, name, address).await?)
        } else if let Some(shortage) = shortage {
            return Err(process.turn_away(shortage).into());
        } else {
            process.may_guess(&login_of(name), address)?;
            Destination::Node {
                candidates: candidates(worker, name, &front)?,
                password: password(&settings, name),
                credential: process.unlock(&login_of(name), proof),
            }
        })
    };
    // Boxed, so that a session that lives has no memory for its login.
    let mut logged_in = Box::pin(login::login(client, client_rest, terms, target, &node));
    let outcome = entry.unless_ended(logged_in.as_mut()).await;
    drop(logged_in);
    match outcome {
        Err(end) => (end, String::new()),
        Ok(Err(end)) => failed(worker, entry, *end),
        Ok(Ok(arrival)) => {
            let end = serve(worker, entry, arrival, &greeting, node.client).await;
            (end, String::new())
        }
    }
}

/// How user names are read.
fn names(settings: &Settings) -> Rules<'_> {
    Rules {
        tenant: &settings.default_tenant,
        cluster: &settings.default_cluster,
        separators: SEPARATORS,
    }
}

/// The password of an account, if the configuration gives it.
fn password(settings: &Settings, name: &LoginName) -> Option<String> {
    let user = String::from_utf8_lossy(&name.user);
    let password = settings.password_of(&user, &name.tenant)?;
    Some(password.expose().to_owned())
}

/// TLS towards clients, if it is offered.
fn tls<'a>(process: &'a Process, settings: &Settings) -> Option<login::Tls<'a>> {
    Some(login::Tls {
        certificate: process.certificate.as_ref()?,
        require: settings.tls.as_ref().is_some_and(|tls| tls.require),
    })
}

/// Serves whoever has logged in after this greeting. `client` is what the client's connection has agreed on, where that is known.
async fn serve(
    worker: &Worker,
    entry: &Rc<Entry>,
    arrival: Arrival,
    greeting: &Greeting,
    client: Option<Facts>,
) -> End {
    match arrival {
        Arrival::Node(logged_in) => {
            let (target, greeting) = (&logged_in.target, &logged_in.node_greeting);
            worker
                .nodes
                .saw(&target.node, target.address, greeting)
                .await;
            let login = login_of(&logged_in.identity.request.name);
            let address = entry.session.borrow().client.ip().to_canonical();
            worker.process.note_success(&login, address);
            match quota::take(&worker.process, &login, None) {
                Ok(quota) => drop(entry.quota.replace(Some(quota))),
                Err(error) => {
                    entry.session.borrow_mut().login = login;
                    entry.remark(error.to_string());
                    quota::turn_away(worker, entry, *logged_in, &error).await;
                    return End::Login(LoginReason::ProxyRefused);
                }
            }
            accounts::remember(worker, &login, logged_in.identity.proof.as_ref());
            enter(worker, entry, &logged_in, client);
            let mut serving = Serving::new(worker, entry, *logged_in);
            serving.serve().await
        }
        Arrival::Proxy(login) => {
            enter_proxy(entry, &login);
            let session = AdminSession::new(worker, entry, *login, &greeting.version);
            let mut serving = Box::pin(session.serve());
            match entry.unless_ended(serving.as_mut()).await {
                Ok(end) | Err(end) => end,
            }
        }
    }
}

/// The system has none to give: no login is safe.
fn no_random_numbers() -> (End, String) {
    let detail = "no random numbers".to_owned();
    (End::Login(LoginReason::ProxyRefused), detail)
}

/// What the client is to be greeted with. A proxy that has users of its own greets in any case: they need no node.
///
/// # Errors
/// Error 2003: no node, and nobody else to log in to.
async fn front(worker: &SharedWorker, settings: &Settings) -> Result<Front, MysqlError> {
    let timeout = settings.connect_timeout;
    let cluster = settings.cluster(&settings.default_cluster);
    let nodes = cluster.map_or_else(Vec::new, |cluster| {
        let book = worker.process.health.book();
        let nodes = book.order(cluster).into_iter();
        nodes.map(|node| node.address.clone()).collect()
    });
    if settings.admin.is_some() {
        Ok(nodes::front(worker, nodes, timeout).await)
    } else {
        nodes::ask_all(Rc::clone(worker), nodes, timeout)
            .await
            .map(Front::Node)
    }
}

/// Writes what the login has brought into a session of the proxy's own.
fn enter_proxy(entry: &Entry, login: &ProxyLogin) {
    let mut session = entry.session.borrow_mut();
    session.login = login_of(&login.name);
    session.using_ssl = login.client.is_tls();
    session.reads_odp_errors = login.reads_odp_errors;
    session.proxy_session_id = None;
    session.relay_reason = Some(RelayReason::OwnSession);
    let cs_id = session.cs_id.0;
    tracing::info!(
        cs_id,
        client = %session.client,
        user = session.login.user,
        "administrator logged in"
    );
}

/// A login that came to nothing: what is known of it goes into the closing line.
fn failed(worker: &Worker, entry: &Entry, end: LoginEnd) -> (End, String) {
    let mut session = entry.session.borrow_mut();
    if let Some(name) = &end.name {
        session.login = login_of(name);
        let address = session.client.ip().to_canonical();
        worker.process.note_failure(&session.login, address, &end);
    }
    drop(end.client);
    if let (Some(node), Some(id)) = (end.node, end.node_connection_id) {
        session.bind(ServerSession::new(
            worker.process.server_session_id(),
            node,
            ConnectionId(id.into()),
        ));
    }
    let told = end
        .told
        .map(|(number, text)| format!("error {number}: {text}"));
    // What the proxy tells of its own refusals is less than it knows.
    let detail = match end.reason {
        LoginReason::ProxyRefused => end.detail.or(told),
        _ => told.or(end.detail),
    };
    (End::Login(end.reason), detail.unwrap_or_default())
}

/// The nodes that a login may go to, the fittest first.
fn candidates(
    worker: &Worker,
    name: &LoginName,
    front: &Front,
) -> Result<Vec<Candidate>, MysqlError> {
    // The client was shown no node's greeting.
    if let Front::Unknown(error) = front {
        return Err(error.clone());
    }
    let process = &worker.process;
    let settings = process.settings();
    let login = login_of(name);
    let cluster = route::route(&settings, &login).map_err(|error| match error {
        route::RouteError::UnknownCluster(cluster) => MysqlError::cluster_not_found(&cluster),
        route::RouteError::UnknownTenant { .. } => MysqlError::tenant_not_found(),
    })?;
    process.has_room(&login)?;
    let now_ms = process.health.now_ms();
    let nodes = process.health.book().order_for_login(cluster, now_ms);
    let candidates = nodes
        .into_iter()
        .map(|node| candidate(process, cluster, node));
    candidates.collect()
}

/// How sessions of a cluster get to this node.
///
/// # Errors
/// Error 2003: what TLS towards it needs cannot be had.
pub(super) fn candidate(
    process: &Process,
    cluster: &Cluster,
    node: &Node,
) -> Result<Candidate, MysqlError> {
    let address = &node.address;
    let encryption = process.trust.encryption(&cluster.tls, &address.host);
    Ok(Candidate {
        node: Arc::new(address.clone()),
        with_tenant: cluster.kind == ClusterKind::OceanBase,
        proxy_header: cluster.proxy_protocol.map(version),
        encryption: encryption.map_err(|error| MysqlError::cannot_connect(address, error))?,
    })
}

/// A login's name as sessions hold it.
pub(super) fn login_of(name: &LoginName) -> Login {
    Login {
        user: String::from_utf8_lossy(&name.user).into_owned(),
        tenant: name.tenant.clone(),
        cluster: name.cluster.clone(),
    }
}

/// Writes what the login has brought into the session, and chooses its path: the one decision, made once.
fn enter(worker: &Worker, entry: &Entry, logged_in: &LoggedIn, client: Option<Facts>) {
    let idle = worker.process.settings().keepalive_idle;
    for leg in [&logged_in.client, &logged_in.node] {
        if let Err(error) = leg.keep_alive(idle) {
            // The default holds on.
            tracing::debug!(cs_id = entry.cs_id.0, %error, "keep-alive");
        }
    }
    let mut session = entry.session.borrow_mut();
    session.login = login_of(&logged_in.identity.request.name);
    session.using_ssl = logged_in.client.is_tls();
    session.db = logged_in.identity.request.database_name();
    session.node = Some(logged_in.target.node.to_string());
    session.reads_odp_errors = logged_in.identity.request.reads_odp_errors();
    let id = ConnectionId(logged_in.node_greeting.thread_id.into());
    let mut server = ServerSession::new(
        worker.process.server_session_id(),
        logged_in.target.address,
        id,
    );
    server.state = ServerState::KeepAliveBound;
    server.opened_at_ns = clock::now_ns();
    server.using_ssl = logged_in.node.is_tls();
    session.bind(server);
    let connections = Connections {
        client: &logged_in.client,
        client_facts: client,
        node: &logged_in.node,
        // Both ends have spoken by now, so their programs have run.
        is_client_captured: entry
            .slot()
            .is_some_and(|slot| slot.progress().client_captured),
    };
    let collation = logged_in.identity.request.packet.collation();
    session.take_way(
        way::choose(worker, &entry.place(), &connections, Seat::Writer),
        charset::is_safe_collation(collation),
    );
    if let Some(slot) = entry.slot() {
        slot.set_format(logged_in.identity.request.agreed.format());
    }
    let cs_id = session.cs_id.0;
    tracing::debug!(
        cs_id,
        path = session.path.text(),
        client_tls = logged_in.client.tls_text(),
        node_tls = logged_in.node.tls_text(),
        reason = session.relay_reason.map(RelayReason::text),
        "logged in"
    );
}

/// Says why there will be no greeting, in words for any client: this one has said nothing of itself yet.
async fn refuse(client: &Leg, error: &MysqlError) {
    let mut out = BytesMut::new();
    packet::put(&mut out, 0, &encode_error(&error.readable()));
    // The client may be gone; nobody else waits for this.
    let _ = client.write_all(&out).await;
}
