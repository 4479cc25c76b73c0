//! What is read before anybody has logged in: the greeting of a node, the login packet of a client.

use sluice::protocol::capability::Capabilities;
use sluice::protocol::handshake::{Greeting, LoginPacket, attribute_pairs};
use sluice::session::login_name::{LoginName, Rules, SEPARATORS};

/// What was read, written and read again is the same.
pub fn handshake(data: &[u8]) {
    let Some((&which, payload)) = data.split_first() else {
        return;
    };
    if which & 1 == 0 {
        greeting(payload);
    } else {
        login(payload);
    }
}

fn greeting(payload: &[u8]) {
    let Ok(read) = Greeting::parse(payload) else {
        return;
    };
    if !read.capabilities.contains(Capabilities::SECURE_CONNECTION) {
        // Who offers no more than the scramble's first half has no plugins; Sluice always offers it.
        return;
    }
    let written = read.encode();
    let again = Greeting::parse(&written);
    assert!(
        again.as_ref().is_ok_and(|again| again.encode() == written),
        "{again:?} was {read:?}"
    );
}

fn login(payload: &[u8]) {
    let asks_for_tls = LoginPacket::wants_tls(payload);
    let Ok(read) = LoginPacket::parse(payload) else {
        return;
    };
    assert_eq!(asks_for_tls, read.capabilities.contains(Capabilities::SSL));
    let again = LoginPacket::parse(&read.encode());
    assert_eq!(again.as_ref(), Ok(&read));
    let pairs = attribute_pairs(read.attributes.as_deref().unwrap_or_default());
    let bytes: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= payload.len());
    let rules = Rules {
        tenant: "t",
        cluster: "c",
        separators: SEPARATORS,
    };
    let name = LoginName::parse(&read.user, rules);
    // A byte that is no UTF-8 is shown as one of three.
    assert!(name.user_at_tenant().len() <= 3 * read.user.len() + "@t".len());
}
