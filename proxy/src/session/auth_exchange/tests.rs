use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Exchange, ExchangeError, Mismatch, Outcome, ROUNDS_MAX, Request, Scramble, Secrecy, Send,
    Style, append_attributes,
};
use crate::protocol::auth::{ASK_PLUGIN, AuthSwitchRequest, ChangeUser};
use crate::protocol::capability::Capabilities;
use crate::protocol::handshake::{ATTRIBUTES_MAX, LoginPacket, attribute_pairs};
use crate::session::login_name::Rules;

const NODE: Capabilities = Capabilities::from_wire(0x81FF_F7FE, 0x1D);
const OK: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00";
const DENIED: &[u8] = b"\xFF\x15\x04#28000Access denied";

fn scramble() -> Scramble {
    let plugin = Bytes::from_static(b"mysql_native_password");
    Scramble {
        plugin,
        scramble: Bytes::from_static(b"abcdefghijklmnopqrst"),
    }
}

fn client_packet(flags: u32) -> LoginPacket {
    let capabilities = Capabilities::from_wire(flags, 0);
    LoginPacket {
        capabilities,
        max_packet: 1 << 24,
        charset: 45,
        filler: [0; 23],
        user: Bytes::from_static(b"app@t1#c1"),
        auth: Bytes::from_static(b"for the proxy's scramble"),
        database: capabilities
            .contains(Capabilities::CONNECT_WITH_DB)
            .then(|| Bytes::from_static(b"shop")),
        plugin: Some(Bytes::from_static(b"client_ed25519")),
        attributes: capabilities
            .contains(Capabilities::CONNECT_ATTRS)
            .then(|| Bytes::from_static(b"\x01a\x01b")),
        zstd_level: None,
    }
}

fn request(flags: u32) -> Request {
    let advertised = Capabilities::advertise(NODE);
    Request::read(&client_packet(flags).encode(), advertised, Rules::default()).unwrap()
}

fn exchange(style: Style) -> (Exchange, Send) {
    let request = request(0x0018_8208);
    let packet = request.towards_node(NODE, request.name.user.clone(), &[("proxy_name", "sluice")]);
    Exchange::login(packet, &scramble(), style, Secrecy::default())
}

fn to_node(send: &Send) -> LoginPacket {
    let Send::Node(payload) = send else {
        panic!("not for the node: {send:?}")
    };
    LoginPacket::parse(payload).unwrap()
}

#[test]
fn the_node_is_asked_for_its_request_under_the_bare_name() {
    let (exchange, send) = exchange(Style::Ask);
    let packet = to_node(&send);
    assert_eq!(&packet.user[..], b"app");
    assert_eq!(
        (packet.plugin.as_deref(), packet.auth.len()),
        (Some(ASK_PLUGIN.as_bytes()), 0)
    );
    assert_eq!(packet.database.as_deref(), Some(&b"shop"[..]));
    let attributes = packet.attributes.unwrap();
    let pairs: Vec<_> = attribute_pairs(&attributes).collect();
    assert_eq!(pairs, [(&b"a"[..], &b"b"[..]), (b"proxy_name", b"sluice")]);
    assert!(!exchange.client_owes());
    assert_eq!(exchange.farewell(), None);
}

#[test]
fn a_request_is_handed_on_and_its_answer_back() {
    let (mut exchange, _) = exchange(Style::Ask);
    let switch = Bytes::from_static(b"\xFEclient_ed25519\x00nonce");
    assert_eq!(
        exchange.node_packet(switch.clone(), NODE),
        Ok((switch, Outcome::Open))
    );
    assert_eq!(exchange.farewell(), Some(Bytes::new()));
    assert_eq!(
        exchange.client_packet(Bytes::from_static(b"signature")),
        Ok(Bytes::from_static(b"signature"))
    );
    assert_eq!(exchange.farewell(), None);
    let (payload, outcome) = exchange.node_packet(Bytes::from_static(OK), NODE).unwrap();
    assert_eq!(&payload[..], OK);
    assert!(matches!(outcome, Outcome::Accepted(ok) if ok.status == 2));
}

#[test]
fn forwarding_makes_the_request_from_the_greeting() {
    let (mut exchange, send) = exchange(Style::Forward);
    let Send::Client(payload) = send else {
        panic!("not for the client")
    };
    let request = AuthSwitchRequest::parse(&payload).unwrap();
    assert_eq!(
        (&request.plugin[..], &request.data[..]),
        (
            &b"mysql_native_password"[..],
            &b"abcdefghijklmnopqrst\0"[..]
        )
    );
    // The node waits for a login packet all the while, and must get one: it counts an empty answer to its greeting.
    let farewell = to_node(&Send::Node(exchange.farewell().unwrap()));
    assert_eq!((&farewell.user[..], farewell.auth.len()), (&b"app"[..], 0));
    let packet = to_node(&Send::Node(
        exchange
            .client_packet(Bytes::from_static(b"answer"))
            .unwrap(),
    ));
    assert_eq!(
        (packet.plugin.as_deref(), &packet.auth[..]),
        (Some(&b"mysql_native_password"[..]), &b"answer"[..])
    );
    let (payload, outcome) = exchange
        .node_packet(Bytes::from_static(DENIED), NODE)
        .unwrap();
    assert_eq!(&payload[..], DENIED);
    assert!(matches!(outcome, Outcome::Refused(err) if err.number == 1045));
}

#[test]
fn fast_authentication_asks_for_no_answer_but_the_key_request_does() {
    let (mut exchange, _) = exchange(Style::Ask);
    let node = |exchange: &mut Exchange, payload: &'static [u8]| {
        exchange
            .node_packet(Bytes::from_static(payload), NODE)
            .unwrap();
        exchange.client_owes()
    };
    assert!(node(
        &mut exchange,
        b"\xFEcaching_sha2_password\x00abcdefghijklmnopqrst\x00"
    ));
    exchange
        .client_packet(Bytes::from_static(&[7; 32]))
        .unwrap();
    assert!(!node(&mut exchange, b"\x01\x03"));
    assert_eq!(
        exchange.client_packet(Bytes::new()),
        Err(ExchangeError::Unexpected)
    );
    assert!(node(&mut exchange, b"\x01\x04"));
    exchange.client_packet(Bytes::from_static(b"\x02")).unwrap();
    assert!(node(&mut exchange, b"\x01-----BEGIN PUBLIC KEY-----"));
    exchange
        .client_packet(Bytes::from_static(&[9; 256]))
        .unwrap();
    assert!(!node(&mut exchange, OK));
}

#[test]
fn an_early_error_gets_its_sqlstate() {
    let (mut exchange, _) = exchange(Style::Forward);
    let (payload, _) = exchange
        .node_packet(
            Bytes::from_static(b"\xFF\x10\x04Too many connections"),
            NODE,
        )
        .unwrap();
    assert_eq!(&payload[..], b"\xFF\x10\x04#08004Too many connections");
}

#[test]
fn endless_dialogues_end() {
    let (mut exchange, _) = exchange(Style::Ask);
    for _ in 0..ROUNDS_MAX {
        exchange
            .node_packet(Bytes::from_static(b"\x01more"), NODE)
            .unwrap();
        exchange.client_packet(Bytes::from_static(b"more")).unwrap();
    }
    let end = exchange.node_packet(Bytes::from_static(b"\x01more"), NODE);
    assert_eq!(end, Err(ExchangeError::TooManyRounds));
}

#[test]
fn what_cannot_be_served_is_refused_by_number() {
    let check = |payload: &[u8], number: u16| {
        let error =
            Request::read(payload, Capabilities::advertise(NODE), Rules::default()).unwrap_err();
        assert_eq!(error.code.number, number);
    };
    check(&client_packet(0x8200).encode(), 1251);
    check(&client_packet(0x0008_8A00).encode(), 1043);
    check(&client_packet(0x0008_8000).encode(), 1043);
    check(b"", 1043);
    check(b"GET / HTTP/1.1\r\n", 1043);
}

#[test]
fn a_database_flag_without_database_is_cleared() {
    let bytes = client_packet(0x0008_8200).encode();
    let mut payload = bytes.to_vec();
    payload[0] |= 8;
    // Only user and authentication data are left.
    payload.truncate(32 + 10 + 25);
    let request = Request::read(&payload, Capabilities::advertise(NODE), Rules::default()).unwrap();
    let packet = request.towards_node(NODE, request.name.user.clone(), &[]);
    assert!(!packet.capabilities.contains(Capabilities::CONNECT_WITH_DB));
    assert_eq!(request.database(), None);
}

#[test]
fn a_node_that_offers_less_does_not_fit() {
    let request = request(0x0118_8208);
    assert!(request.fits(NODE));
    assert!(request.fits(NODE.without(Capabilities::CONNECT_ATTRS)));
    assert!(!request.fits(NODE.without(Capabilities::DEPRECATE_EOF)));
}

#[test]
fn attributes_stay_within_what_servers_take() {
    let own = Bytes::from(vec![1; ATTRIBUTES_MAX - 3]);
    assert_eq!(append_attributes(Some(&own), &[("a", "b")]), own);
    assert_eq!(
        append_attributes(None, &[("a", "b")]),
        Bytes::from_static(b"\x01a\x01b")
    );
}

#[test]
fn a_change_of_user_asks_too() {
    let command = ChangeUser {
        user: Bytes::from_static(b"app"),
        auth: Bytes::from_static(b"old"),
        database: Bytes::new(),
        collation: Some(45),
        plugin: None,
        attributes: None,
    };
    let (_, send) = Exchange::change_user(command, NODE, Secrecy::default());
    let Send::Node(payload) = send else {
        panic!("not for the node")
    };
    let sent = ChangeUser::parse(&payload, NODE).unwrap();
    assert_eq!(
        (sent.plugin.as_deref(), sent.auth.len()),
        (Some(ASK_PLUGIN.as_bytes()), 0)
    );
}

proptest! {
    #[test]
    fn no_packets_make_it_panic(
        packets in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..40),
        forward: bool,
    ) {
        let (mut exchange, _) = exchange(if forward { Style::Forward } else { Style::Ask });
        for (from_client, payload) in packets {
            if from_client {
                let _ = exchange.client_packet(Bytes::from(payload));
            } else {
                let _ = exchange.node_packet(Bytes::from(payload), NODE);
            }
        }
    }
}

#[test]
fn mariadbs_c_library_does_not_read_odps_errors() {
    let mut request = request(0x0018_8208);
    for (attributes, reads) in [
        (&b"\x0c_client_name\x0alibmariadb"[..], false),
        (b"\x0c_client_name\x08libmysql", true),
        (b"\x01a\x0alibmariadb", true),
        (b"", true),
    ] {
        request.packet.attributes = Some(Bytes::from_static(attributes));
        assert_eq!(request.reads_odp_errors(), reads, "{attributes:?}");
    }
    request.packet.attributes = None;
    assert!(request.reads_odp_errors());
}

/// A login at a node that remembers no hash of the password, up to its question for the password itself.
fn cold(
    secrecy: Secrecy,
    password: Option<&str>,
) -> (Exchange, Result<(Bytes, Outcome), ExchangeError>) {
    let request = request(0x0018_8208);
    let packet = request.towards_node(NODE, request.name.user.clone(), &[]);
    let (mut exchange, _) = Exchange::login(packet, &scramble(), Style::Ask, secrecy);
    exchange.know(password.map(str::to_owned));
    let switch = Bytes::from_static(b"\xFEcaching_sha2_password\0nnnnnnnnnnnnnnnnnnnn\0");
    exchange.node_packet(switch, NODE).unwrap();
    let answer =
        mysql_common::scramble::scramble_sha256(b"nnnnnnnnnnnnnnnnnnnn", b"secret").unwrap();
    exchange
        .client_packet(Bytes::copy_from_slice(&answer))
        .unwrap();
    let asked = exchange.node_packet(Bytes::from_static(b"\x01\x04"), NODE);
    (exchange, asked)
}

#[test]
fn the_password_itself_goes_where_nobody_listens() {
    let full = Bytes::from_static(b"\x01\x04");
    let text = Bytes::from_static(b"secret\0");
    for both in [true, false] {
        let secrecy = Secrecy {
            client: both,
            node: both,
        };
        let (mut exchange, asked) = cold(secrecy, None);
        assert_eq!(asked.unwrap(), (full.clone(), Outcome::Open));
        assert_eq!(exchange.client_packet(text.clone()).unwrap(), text);
    }
    // The client's word is sealed with the node's key.
    let secrecy = Secrecy {
        client: true,
        node: false,
    };
    let (mut exchange, asked) = cold(secrecy, None);
    assert_eq!(asked.unwrap(), (full, Outcome::Open));
    assert!(exchange.client_owes());
    assert_eq!(exchange.farewell(), Some(Bytes::new()));
    assert_eq!(&exchange.client_packet(text).unwrap()[..], b"\x02");
    assert!(!exchange.client_owes());
    let key = [b"\x01", &include_bytes!("key.pem")[..]].concat();
    let (told, outcome) = exchange.node_packet(key.into(), NODE).unwrap();
    let Outcome::Answered(sealed) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((told.len(), sealed.len()), (0, 256));
    let (_, outcome) = exchange.node_packet(Bytes::from_static(OK), NODE).unwrap();
    assert!(matches!(outcome, Outcome::Accepted(_)));
}

#[test]
fn a_node_that_sends_no_key_gets_no_password() {
    let secrecy = Secrecy {
        client: true,
        node: false,
    };
    for key in [&b"\x01no key"[..], b"\x01", b"", b"\x02", b"\x01\x04"] {
        let (mut exchange, _) = cold(secrecy, None);
        exchange
            .client_packet(Bytes::from_static(b"secret\0"))
            .unwrap();
        let answer = exchange.node_packet(Bytes::from_static(key), NODE);
        assert_eq!(answer.unwrap_err(), ExchangeError::Unexpected);
    }
}

#[test]
fn who_cannot_give_the_password_is_told_what_to_do() {
    let secrecy = Secrecy {
        client: false,
        node: true,
    };
    for password in [None, Some("Secret")] {
        let (exchange, asked) = cold(secrecy, password);
        assert_eq!(asked.unwrap_err(), Mismatch::PlainClient.into());
        assert_eq!(exchange.farewell(), Some(Bytes::new()));
    }
    // The proxy was told it, and the client has proven that it knows it.
    let (mut exchange, asked) = cold(secrecy, Some("secret"));
    let (told, outcome) = asked.unwrap();
    assert_eq!(&told[..], b"\x01\x03");
    assert_eq!(outcome, Outcome::Answered(Bytes::from_static(b"secret\0")));
    assert!(!exchange.client_owes());
    let (_, outcome) = exchange.node_packet(Bytes::from_static(OK), NODE).unwrap();
    assert!(matches!(outcome, Outcome::Accepted(_)));
}

#[test]
fn a_plugin_that_sends_passwords_is_stopped_before_a_plain_node() {
    let request = request(0x0018_8208);
    let packet = request.towards_node(NODE, request.name.user.clone(), &[]);
    let secrecy = Secrecy {
        client: true,
        node: false,
    };
    let (mut exchange, _) = Exchange::login(packet, &scramble(), Style::Ask, secrecy);
    let switch = Bytes::from_static(b"\xFEmysql_clear_password\0\0");
    let stopped = exchange.node_packet(switch, NODE);
    assert_eq!(stopped.unwrap_err(), Mismatch::PlainNode.into());
    assert_eq!(exchange.farewell(), Some(Bytes::new()));
}
