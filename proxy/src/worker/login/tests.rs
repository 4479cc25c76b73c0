//! Logins over loopback sockets, between a client and a node that are both made of this crate's own encoders.

use super::*;
use crate::net;
use crate::protocol::auth::AuthSwitchRequest;
use crate::protocol::packet;
use crate::protocol::reply::ErrPacket;
use crate::session::credential::Stored;

const NODE: Capabilities = Capabilities::from_wire(0x81FF_F7FE, 0x1D);
const OK: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00";
/// The password of whoever knows it.
const SECRET: &str = "secret";
const SWITCH: &[u8] = b"\xFEmysql_native_password\x00nnnnnnnnnnnnnnnnnnnn\x00";

fn node_greeting(capabilities: Capabilities) -> Greeting {
    Greeting {
        version: Bytes::from_static(b"10.11.0-MariaDB"),
        thread_id: 77,
        scramble: Bytes::from_static(b"nnnnnnnnnnnnnnnnnnnn"),
        capabilities,
        charset: 45,
        status: 2,
        plugin: Bytes::from_static(b"mysql_native_password"),
    }
}

fn nowhere() -> Ends {
    let end = SocketAddr::from(([127, 0, 0, 1], 9));
    Ends {
        source: end,
        destination: end,
    }
}

fn login_packet(flags: u32) -> BytesMut {
    LoginPacket {
        capabilities: Capabilities::from_wire(flags, 0x1C),
        max_packet: 1 << 24,
        charset: 0,
        filler: {
            let mut filler = [0; 23];
            filler[0] = 9;
            filler
        },
        user: Bytes::from_static(b"app@t1#c1"),
        auth: Bytes::from_static(b"useless"),
        database: Some(Bytes::from_static(b"shop")),
        plugin: Some(Bytes::from_static(b"mysql_native_password")),
        attributes: Some(Bytes::new()),
        zstd_level: None,
    }
    .encode()
}

const MODERN: u32 = 0x0118_8208;

/// A listener and a way to its next connection.
struct Door(tokio::net::TcpListener);

impl Door {
    fn open() -> Self {
        let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        Self(tokio::net::TcpListener::from_std(listener).unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    async fn accept(&self) -> Leg {
        Leg::new(self.0.accept().await.unwrap().0).unwrap()
    }

    /// Both ends of a new connection: the one that dialled, the one that accepted.
    async fn pair(&self) -> (Leg, Leg) {
        let (near, far) = tokio::join!(
            tokio::net::TcpStream::connect(self.address()),
            self.accept()
        );
        (Leg::new(near.unwrap()).unwrap(), far)
    }
}

/// Long enough for a machine under load; tests that wait for the end of a timeout have a [`SHORT`] one.
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(500);

/// Runs a login to `node` against what `script` does with the client's end.
async fn run<T>(
    node: SocketAddr,
    timeout: Duration,
    script: impl AsyncFnOnce(Leg) -> T,
) -> (Result<LoggedIn, Box<LoginEnd>>, T) {
    run_to(&[node], timeout, script).await
}

/// The same with several nodes that may take it.
async fn run_to<T>(
    nodes: &[SocketAddr],
    timeout: Duration,
    script: impl AsyncFnOnce(Leg) -> T,
) -> (Result<LoggedIn, Box<LoginEnd>>, T) {
    let candidates = nodes.iter().map(|node| Candidate {
        node: Arc::new(NodeAddress::from(*node)),
        with_tenant: false,
        encryption: None,
        proxy_header: None,
    });
    let candidates: Vec<_> = candidates.collect();
    let greeting = Greeting {
        thread_id: 1 << 18,
        scramble: Bytes::from_static(b"pppppppppppppppppppp"),
        capabilities: Capabilities::advertise(NODE),
        ..node_greeting(NODE)
    };
    let outbox = Outbox::default();
    let terms = Terms {
        greeting: &greeting,
        names: Rules::default(),
        login_timeout: timeout,
        connect_timeout: timeout.min(Duration::from_secs(2)),
        cs_id: 1 << 18,
        ends: nowhere(),
        tls: None,
        outbox: &outbox,
    };
    let route = async |name: &LoginName, proof: &Proof| match name.tenant.as_str() {
        "t1" => Ok(Destination::Node {
            candidates: candidates.clone(),
            password: None,
            credential: proof.unlock(&Stored::of(SECRET)),
        }),
        _ => Err(MysqlError::tenant_not_found().into()),
    };
    let (client, proxy) = Door::open().pair().await;
    let proxy = async {
        let login = login(proxy, BytesMut::new(), terms, route, &()).await;
        let login = login.map(|arrival| match arrival {
            Arrival::Node(logged_in) => *logged_in,
            Arrival::Proxy(_) => panic!("logged in to the proxy"),
        });
        // As whoever gets it does.
        match &login {
            Ok(logged_in) => logged_in
                .client
                .write_all(&logged_in.welcome)
                .await
                .unwrap(),
            Err(end) => {
                let _ = end.client.shutdown_write();
            }
        }
        login
    };
    tokio::join!(proxy, script(client))
}

/// Greets, logs in with these flags, and returns the leg for what follows.
async fn say_login(client: &Leg, flags: u32) -> LoginLeg<'_> {
    let mut leg = LoginLeg::new(client, BytesMut::new(), 0);
    let greeting = Greeting::parse(&leg.read().await.unwrap()).unwrap();
    assert_eq!(
        (greeting.thread_id, &greeting.scramble[..]),
        (1 << 18, &[b'p'; 20][..])
    );
    leg.write(&login_packet(flags)).await.unwrap();
    leg
}

/// Logs in and reads one packet, which is an ERR, and the end of the stream.
async fn read_error(client: Leg) -> ErrPacket {
    let mut leg = say_login(&client, MODERN).await;
    let err = ErrPacket::parse(&leg.read().await.unwrap()).unwrap();
    assert!(matches!(leg.read().await, Err(LegError::Closed)));
    err
}

/// A node that greets and reads the login packet.
async fn greet_client(node: &Leg) -> (LoginLeg<'_>, LoginPacket) {
    let mut leg = LoginLeg::new(node, BytesMut::new(), 0);
    leg.write(&node_greeting(NODE).encode()).await.unwrap();
    let packet = LoginPacket::parse(&leg.read().await.unwrap()).unwrap();
    (leg, packet)
}

/// Answers a scramble with `secret`.
fn native(scramble: &[u8]) -> Bytes {
    let asked = Scramble {
        plugin: Bytes::from_static(b"mysql_native_password"),
        scramble: Bytes::copy_from_slice(scramble),
    };
    let password = Credential::Password(SECRET.to_owned());
    password.answer(&asked).unwrap()
}

/// A client with the right answer to the proxy's greeting; `script` reads what comes of it.
async fn say_secret(client: &Leg) -> LoginLeg<'_> {
    let mut leg = LoginLeg::new(client, BytesMut::new(), 0);
    leg.read().await.unwrap();
    let packet = LoginPacket {
        auth: native(&[b'p'; 20]),
        ..LoginPacket::parse(&login_packet(MODERN)).unwrap()
    };
    leg.write(&packet.encode()).await.unwrap();
    leg
}

#[tokio::test]
async fn who_has_answered_the_proxy_is_not_asked_again() {
    let door = Door::open();
    let node = async {
        let leg = door.accept().await;
        let (mut talk, packet) = greet_client(&leg).await;
        assert_eq!(
            packet.plugin.as_deref(),
            Some(&b"mysql_native_password"[..])
        );
        assert_eq!(packet.auth, native(&[b'n'; 20]));
        talk.write(OK).await.unwrap();
        leg
    };
    let client = async |leg: Leg| {
        assert_eq!(say_secret(&leg).await.read().await.unwrap()[..], *OK);
        leg
    };
    let ((login, _client), _node) = tokio::join!(run(door.address(), LONG, client), node);
    let proof = login.unwrap().identity.proof.unwrap();
    assert!(proof.unlock(&Stored::of(SECRET)).is_some());
}

#[tokio::test]
async fn a_node_may_ask_for_another_plugin_all_the_same() {
    let door = Door::open();
    let node = async {
        let leg = door.accept().await;
        let (mut talk, _packet) = greet_client(&leg).await;
        talk.write(b"\xFEclient_ed25519\0nonce").await.unwrap();
        assert_eq!(talk.read().await.unwrap()[..], *b"signature");
        talk.write(OK).await.unwrap();
        leg
    };
    let client = async |leg: Leg| {
        let mut talk = say_secret(&leg).await;
        let request = AuthSwitchRequest::parse(&talk.read().await.unwrap()).unwrap();
        assert_eq!(request.plugin[..], *b"client_ed25519");
        talk.write(b"signature").await.unwrap();
        assert_eq!(talk.read().await.unwrap()[..], *OK);
        drop(talk);
        leg
    };
    let ((login, _client), _node) = tokio::join!(run(door.address(), LONG, client), node);
    assert!(!login.unwrap().identity.proof.unwrap().is_native());
}

#[tokio::test]
async fn a_login_connects_two_legs_and_loses_no_byte() {
    let door = Door::open();
    let node = async {
        let leg = door.accept().await;
        let (mut talk, packet) = greet_client(&leg).await;
        assert_eq!(&packet.user[..], b"app");
        assert_eq!((packet.charset, packet.filler[0]), (0, 9));
        talk.write(SWITCH).await.unwrap();
        assert_eq!(&talk.read().await.unwrap()[..], b"answer");
        talk.write(OK).await.unwrap();
        leg
    };
    let client = async |leg: Leg| {
        let mut talk = say_login(&leg, MODERN).await;
        let request = AuthSwitchRequest::parse(&talk.read().await.unwrap()).unwrap();
        assert_eq!(&request.data[..], b"nnnnnnnnnnnnnnnnnnnn\0");
        // The answer and a command at once.
        let mut both = BytesMut::new();
        packet::put(&mut both, 3, b"answer");
        packet::put(&mut both, 0, b"\x03SELECT 1");
        leg.write_all(&both).await.unwrap();
        let mut rest = BytesMut::new();
        while packet::take(&mut rest, 100)
            .unwrap()
            .is_none_or(|packet| packet.payload[..] != *OK)
        {
            leg.fill(&mut rest).await.unwrap();
        }
        leg
    };
    let ((login, client), node) = tokio::join!(run(door.address(), LONG, client), node);
    let session = login.unwrap();
    assert_eq!(&session.client_rest[..], b"\x09\x00\x00\x00\x03SELECT 1");
    assert!(session.node_rest.is_empty());
    assert_eq!(
        (session.client.read_bytes(), session.client.written_bytes()),
        (client.written_bytes(), client.read_bytes())
    );
    assert_eq!(
        (session.node.read_bytes(), session.node.written_bytes()),
        (node.written_bytes(), node.read_bytes())
    );
    assert_eq!(
        session.identity.request.agreed,
        Capabilities::from_wire(MODERN, 0x1C)
    );
    assert_eq!(
        (
            session.identity.request.packet.collation(),
            session.identity.request.database_name().as_deref()
        ),
        (0x900, Some("shop"))
    );
    assert_eq!(
        (session.node_greeting.thread_id, session.ok.status),
        (77, 2)
    );
    assert_eq!(session.identity.request.name.to_string(), "app@t1#c1");
}

#[tokio::test]
async fn a_node_that_is_down_is_named_with_its_reason() {
    let address = Door::open().address();
    let (login, err) = run(address, LONG, read_error).await;
    let end = login.unwrap_err();
    assert_eq!(err.number, 2003);
    let text = format!("Can't connect to MySQL server on '{address}' (connection refused)");
    assert_eq!(err.message_lossy(), text);
    assert_eq!(
        (end.reason, end.told),
        (LoginReason::NodeUnreachable, Some((2003, text)))
    );
}

#[tokio::test]
async fn the_next_node_is_tried_where_one_does_not_greet() {
    let (silent, leaving, door) = (Door::open(), Door::open(), Door::open());
    let nowhere = Door::open().address();
    let leaves = async {
        let leg = leaving.accept().await;
        LoginLeg::new(&leg, BytesMut::new(), 0)
            .write(b"\xFF\x1D\x04Server shutdown in progress")
            .await
            .unwrap();
    };
    let takes = async {
        let leg = door.accept().await;
        let (mut talk, _) = greet_client(&leg).await;
        talk.write(OK).await.unwrap();
        leg
    };
    let client = async |leg: Leg| {
        say_login(&leg, MODERN).await.read().await.unwrap();
    };
    let nodes = [nowhere, silent.address(), leaving.address(), door.address()];
    let ((login, ()), (), _) = tokio::join!(run_to(&nodes, LONG, client), leaves, takes);
    let target = login.unwrap().target;
    assert_eq!(target.address, door.address());
    assert_eq!(*target.node, NodeAddress::from(door.address()));
}

#[tokio::test]
async fn a_node_that_hangs_is_given_up() {
    let door = Door::open();
    let (login, err) = run(door.address(), SHORT, read_error).await;
    assert_eq!(
        (login.unwrap_err().reason, err.number),
        (LoginReason::NodeTimeout, 2003)
    );
    // It accepts, greets, and then says nothing.
    let node = async {
        // The connection that was given up above.
        let _given_up = door.accept().await;
        let leg = door.accept().await;
        let (mut talk, _) = greet_client(&leg).await;
        assert!(talk.read().await.is_err());
    };
    let ((login, err), ()) = tokio::join!(run(door.address(), SHORT, read_error), node);
    let end = login.unwrap_err();
    assert_eq!(
        (end.reason, err.number, end.node_connection_id),
        (LoginReason::NodeTimeout, 2003, Some(77))
    );
}

#[tokio::test]
async fn a_nodes_early_error_reaches_the_client_with_an_sqlstate() {
    let door = Door::open();
    let node = async {
        let leg = door.accept().await;
        LoginLeg::new(&leg, BytesMut::new(), 0)
            .write(b"\xFF\x10\x04Too many connections")
            .await
            .unwrap();
    };
    let ((login, err), ()) = tokio::join!(run(door.address(), LONG, read_error), node);
    assert_eq!(
        (err.number, err.state, err.message_lossy()),
        (1040, Some(*b"08004"), "Too many connections".to_owned())
    );
    assert_eq!(login.unwrap_err().reason, LoginReason::NodeRefused);
}

#[tokio::test]
async fn a_node_that_offers_less_than_was_shown_is_refused() {
    let door = Door::open();
    let node = async {
        let leg = door.accept().await;
        let mut talk = LoginLeg::new(&leg, BytesMut::new(), 0);
        talk.write(&node_greeting(NODE.without(Capabilities::DEPRECATE_EOF)).encode())
            .await
            .unwrap();
        LoginPacket::parse(&talk.read().await.unwrap()).unwrap();
    };
    let ((login, err), ()) = tokio::join!(run(door.address(), LONG, read_error), node);
    assert_eq!(
        (login.unwrap_err().reason, err.number),
        (LoginReason::NodeChanged, 2003)
    );
}

#[tokio::test]
async fn the_node_is_answered_for_a_client_that_left() {
    let door = Door::open();
    let node = async {
        let leg = door.accept().await;
        let (mut talk, _) = greet_client(&leg).await;
        talk.write(SWITCH).await.unwrap();
        assert!(talk.read().await.unwrap().is_empty());
    };
    let client = async |leg: Leg| {
        say_login(&leg, MODERN).await.read().await.unwrap();
    };
    let ((login, ()), ()) = tokio::join!(run(door.address(), LONG, client), node);
    let end = login.unwrap_err();
    assert_eq!((end.reason, end.told), (LoginReason::ClientClosed, None));
    // One that does not answer in time is no better.
    let node = async {
        let leg = door.accept().await;
        let (mut talk, _) = greet_client(&leg).await;
        talk.write(SWITCH).await.unwrap();
        assert!(talk.read().await.unwrap().is_empty());
    };
    let client = async |leg: Leg| {
        say_login(&leg, MODERN).await.read().await.unwrap();
        leg
    };
    let ((login, _leg), ()) = tokio::join!(run(door.address(), SHORT, client), node);
    assert_eq!(login.unwrap_err().reason, LoginReason::ClientTimeout);
}

/// A client that is answering numbers what it reads next behind its answer, whether anybody still wanted that or not.
#[tokio::test]
async fn the_last_word_is_numbered_behind_the_answer_that_the_client_owes() {
    const GOES: &[u8] = b"\xFF\x1D\x04#08S01Server shutdown in progress";
    let client = async |leg: Leg| {
        let mut talk = say_login(&leg, MODERN).await;
        talk.read().await.unwrap();
        talk.write(b"answer").await.unwrap();
        // It is out of order if it has another number.
        ErrPacket::parse(&talk.read().await.unwrap()).unwrap()
    };
    for (last, number, reason) in [
        (GOES, 1053, LoginReason::NodeRefused),
        (b"".as_slice(), 2003, LoginReason::NodeClosed),
    ] {
        let door = Door::open();
        let node = async {
            let leg = door.accept().await;
            drop(greet_client(&leg).await);
            let mut out = BytesMut::new();
            let next = packet::put(&mut out, 2, SWITCH);
            if !last.is_empty() {
                packet::put(&mut out, next, last);
            }
            leg.write_all(&out).await.unwrap();
        };
        let ((login, err), ()) = tokio::join!(run(door.address(), LONG, client), node);
        assert_eq!((login.unwrap_err().reason, err.number), (reason, number));
    }
}

/// What a client that never gets to a login packet ends with; no node is dialled for it.
async fn check_stranger(bytes: &[u8], stays: bool, reason: LoginReason, number: Option<u16>) {
    let nowhere = Door::open();
    let client = async |leg: Leg| {
        leg.write_all(bytes).await.unwrap();
        let mut heard = BytesMut::new();
        let mut packets = Vec::new();
        if !stays {
            leg.shutdown_write().unwrap();
        }
        while leg.fill(&mut heard).await.is_ok_and(|len| len > 0) {
            while let Ok(Some(packet)) = packet::take(&mut heard, 1_000) {
                packets.push(packet);
            }
        }
        packets.get(1).map(|packet| {
            (
                packet.sequence,
                ErrPacket::parse(&packet.payload).unwrap().number,
            )
        })
    };
    let (login, told) = run(nowhere.address(), LONG, client).await;
    let end = login.unwrap_err();
    assert_eq!((end.reason, end.node), (reason, None), "{bytes:?}");
    assert_eq!(told.map(|(_, number)| number), number, "{bytes:?}");
    assert_eq!(end.told.map(|(number, _)| number), number);
}

#[tokio::test]
async fn strangers_are_dropped_or_answered() {
    let packet = |sequence, payload: &[u8]| {
        let mut out = BytesMut::new();
        packet::put(&mut out, sequence, payload);
        out
    };
    check_stranger(b"", false, LoginReason::Probe, None).await;
    check_stranger(b"\x05\x00\x00", false, LoginReason::ClientClosed, None).await;
    check_stranger(
        b"GET / HTTP/1.1\r\n\r\n",
        true,
        LoginReason::ClientProtocol,
        Some(1153),
    )
    .await;
    check_stranger(
        b"\xFF\xFF\xFF\x01",
        true,
        LoginReason::ClientProtocol,
        Some(1153),
    )
    .await;
    check_stranger(
        &packet(1, b"abc"),
        true,
        LoginReason::ClientProtocol,
        Some(1043),
    )
    .await;
    check_stranger(
        &packet(0, &login_packet(MODERN)),
        true,
        LoginReason::ClientProtocol,
        Some(1156),
    )
    .await;
    check_stranger(
        &packet(1, &login_packet(0x8200)),
        true,
        LoginReason::ClientProtocol,
        Some(1251),
    )
    .await;
    check_stranger(
        &packet(1, &login_packet(MODERN | 0x800)),
        true,
        LoginReason::ClientProtocol,
        Some(1043),
    )
    .await;
}

#[tokio::test]
async fn a_slow_client_has_until_the_timeout_for_everything() {
    let client = async |leg: Leg| {
        let started = Instant::now();
        let mut heard = BytesMut::new();
        leg.fill(&mut heard).await.unwrap();
        let _: std::io::Result<()> = leg.write_all(b"\x20\x00\x00\x01slow").await;
        while leg.fill(&mut heard).await.is_ok_and(|len| len > 0) {}
        started.elapsed()
    };
    let greeting = node_greeting(NODE);
    let outbox = Outbox::default();
    let terms = Terms {
        greeting: &greeting,
        names: Rules::default(),
        login_timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_secs(1),
        cs_id: 1,
        ends: nowhere(),
        tls: None,
        outbox: &outbox,
    };
    let (near, far) = Door::open().pair().await;
    let proxy = async {
        login(
            far,
            BytesMut::new(),
            terms,
            async |_: &LoginName, _: &Proof| Err(MysqlError::bad_handshake().into()),
            &(),
        )
        .await
        .map_err(|end| end.reason)
    };
    let (login, elapsed) = tokio::join!(proxy, client(near));
    assert_eq!(login.unwrap_err(), LoginReason::ClientTimeout);
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}
