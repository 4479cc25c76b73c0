use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::super::capability::Capabilities;
use super::{Greeting, LoginPacket, attribute_pairs};

fn greeting(capabilities: Capabilities, version: &'static str, plugin: &'static str) -> Greeting {
    Greeting {
        version: Bytes::from_static(version.as_bytes()),
        thread_id: 0x7FFF_FFFF,
        scramble: Bytes::from_static(b"abcdefghijklmnopqrst"),
        capabilities,
        charset: 255,
        status: 2,
        plugin: Bytes::from_static(plugin.as_bytes()),
    }
}

#[test]
fn greetings_round_trip() {
    let mariadb = Capabilities::from_wire(0x81FF_F7FE, 0x1D);
    let mysql = Capabilities::from_wire(0xDFFF_FFFF, 0);
    for sent in [
        greeting(mariadb, "5.5.5-10.11.6-MariaDB", "mysql_native_password"),
        greeting(mysql, "9.7.0", "caching_sha2_password"),
        greeting(mysql, "", ""),
    ] {
        assert_eq!(Greeting::parse(&sent.encode()).unwrap(), sent);
    }
}

/// A greeting of `MariaDB` 10.11, byte by byte.
#[test]
fn a_real_greeting_is_understood() {
    let mut bytes = BytesMut::from(&b"\x0a5.5.5-10.11.6-MariaDB\x00\x05\x00\x00\x00"[..]);
    bytes.put_slice(
        b"8charact\x00\xfe\xf7\x2d\x02\x00\xff\x81\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00",
    );
    bytes.put_slice(b"ers+twelve!!\x00mysql_native_password\x00");
    let parsed = Greeting::parse(&bytes).unwrap();
    assert_eq!(&parsed.version[..], b"5.5.5-10.11.6-MariaDB");
    assert_eq!(
        (parsed.thread_id, parsed.charset, parsed.status),
        (5, 45, 2)
    );
    assert_eq!(&parsed.scramble[..], b"8characters+twelve!!");
    assert_eq!(
        parsed.capabilities,
        Capabilities::from_wire(0x81FF_F7FE, 0x1D)
    );
    assert_eq!(&parsed.plugin[..], b"mysql_native_password");
    assert_eq!(parsed.encode(), bytes);
}

/// A login packet with everything, in the form that `flags` ask for.
fn login(flags: u32, charset: [u8; 2], auth_len: usize) -> LoginPacket {
    let capabilities = Capabilities::from_wire(flags, 0x1C);
    let has = |flag, value: &'static [u8]| {
        capabilities
            .contains(flag)
            .then(|| Bytes::from_static(value))
    };
    let [low, high] = charset;
    let mut filler = [0; 23];
    filler[0] = high;
    filler[19..].copy_from_slice(&capabilities.mariadb_bits().to_le_bytes());
    LoginPacket {
        capabilities,
        max_packet: 1 << 24,
        charset: low,
        filler,
        user: Bytes::from_static(b"app@t1#c1"),
        auth: vec![b'x'; auth_len].into(),
        database: has(Capabilities::CONNECT_WITH_DB, b"shop"),
        plugin: has(Capabilities::PLUGIN_AUTH, b"client_ed25519"),
        attributes: has(Capabilities::CONNECT_ATTRS, b"\x03_os\x05Linux\x00\x00"),
        zstd_level: capabilities.contains(Capabilities::ZSTD).then_some(3),
    }
}

#[test]
fn login_packets_keep_every_byte() {
    let all = Capabilities::CONNECT_WITH_DB
        .with(Capabilities::PLUGIN_AUTH)
        .with(Capabilities::CONNECT_ATTRS)
        .with(Capabilities::SECURE_CONNECTION)
        .with(Capabilities::PROTOCOL_41);
    let lenenc = all.with(Capabilities::LENENC_AUTH);
    for (flags, charset, auth_len) in [
        (all, [45, 0], 20),
        (all.with(Capabilities::MYSQL), [255, 0], 255),
        (lenenc, [0, 9], 0),
        (lenenc.with(Capabilities::ZSTD), [0, 9], 1_000),
        (all.without(Capabilities::CONNECT_ATTRS), [8, 0], 0),
        (all.without(Capabilities::SECURE_CONNECTION), [8, 0], 8),
        (Capabilities::PROTOCOL_41, [8, 0], 3),
    ] {
        let sent = login(flags.mysql_bits(), charset, auth_len);
        let bytes = sent.encode();
        let parsed = LoginPacket::parse(&bytes).unwrap();
        assert_eq!(parsed, sent);
        assert_eq!(parsed.collation(), u16::from_le_bytes(charset));
        assert_eq!(parsed.encode(), bytes);
    }
}

#[test]
fn fields_left_out_at_the_end_are_absent() {
    let sent = login(0x0008_8200 | 8, [45, 0], 0);
    let bytes = sent.encode();
    let user_end = 32 + b"app@t1#c1\0".len() + 1;
    let parsed = LoginPacket::parse(&bytes[..user_end]).unwrap();
    assert_eq!((parsed.database, parsed.plugin), (None, None));
    // The last NUL may be missing.
    let parsed = LoginPacket::parse(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(parsed.plugin.as_deref(), Some(&b"client_ed25519"[..]));
    assert!(LoginPacket::parse(&bytes[..40]).is_err());
}

#[test]
fn a_tls_request_is_recognised() {
    let mut bytes = login(0x0008_8A00, [45, 0], 0).encode();
    assert!(LoginPacket::wants_tls(&bytes));
    bytes.truncate(32);
    assert!(LoginPacket::wants_tls(&bytes));
    assert!(!LoginPacket::wants_tls(
        &login(0x0008_8200, [45, 0], 0).encode()
    ));
    assert!(!LoginPacket::wants_tls(b"\x00\x08"));
}

#[test]
fn attribute_pairs_end_at_the_first_malformed_one() {
    let pairs: Vec<_> = attribute_pairs(b"\x01a\x01b\x00\x00\x05cut").collect();
    assert_eq!(pairs, [(&b"a"[..], &b"b"[..]), (b"", b"")]);
}

proptest! {
    #[test]
    fn no_bytes_make_the_parsers_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), version: bool) {
        if let Some(first) = bytes.first_mut() && version {
            *first = 10;
        }
        if let Ok(greeting) = Greeting::parse(&bytes) {
            prop_assert!(Greeting::parse(&greeting.encode()).is_ok());
        }
        let _ = LoginPacket::wants_tls(&bytes);
        let _ = attribute_pairs(&bytes).count();
        if let Some(flags) = bytes.get_mut(1) && version {
            *flags |= 0x02;
        }
        if let Ok(login) = LoginPacket::parse(&bytes) {
            prop_assert_eq!(LoginPacket::parse(&login.encode()).unwrap().user, login.user);
        }
    }
}
