//! Legs with TLS over loopback sockets, and certificates that change.

use std::{fs, io, time::Duration};

use bytes::BytesMut;
use rustls::Connection;
use tokio::time::timeout;

use super::{Certificate, fixture::Files};
use crate::net::{Leg, pair};

/// Two legs of one connection that have shaken hands: a client's and the proxy's.
async fn tls_pair(files: &Files) -> (Leg, Leg) {
    let (client, proxy) = pair().await;
    let (near, far) = tokio::join!(
        client.start_tls(files.client(), b""),
        proxy.start_tls(files.server(), b"")
    );
    near.unwrap();
    far.unwrap();
    assert!(client.is_tls() && proxy.is_tls());
    (client, proxy)
}

fn pattern(length: usize) -> Vec<u8> {
    let byte = |at: usize| u8::try_from((at * 7 + at / 251) % 256).unwrap();
    (0..length).map(byte).collect()
}

#[tokio::test]
async fn plain_bytes_are_carried_and_counted() {
    let files = Files::new("carried");
    let (client, proxy) = tls_pair(&files).await;
    assert!(proxy.tls_text().unwrap().starts_with("TLSv1_3 TLS13_"));
    let sent = pattern(3 << 20);
    for (from, to) in [(&client, &proxy), (&proxy, &client)] {
        let reader = async {
            let mut got = BytesMut::new();
            while got.len() < sent.len() {
                assert!(to.fill(&mut got).await.unwrap() > 0);
            }
            got
        };
        let (written, got) = tokio::join!(from.write_all(&sent), reader);
        written.unwrap();
        assert!(got == sent);
        let length = sent.len() as u64;
        assert_eq!((from.written_bytes(), to.read_bytes()), (length, length));
    }
}

#[tokio::test]
async fn what_is_decrypted_already_makes_a_leg_readable() {
    let files = Files::new("readable");
    let (client, proxy) = tls_pair(&files).await;
    client.write_all(b"abc").await.unwrap();
    proxy.readable().await.unwrap();
    let mut buf = [0; 2];
    let mut first = proxy.try_read(&mut buf);
    while first.as_ref().is_err_and(crate::net::is_transient) {
        proxy.readable().await.unwrap();
        first = proxy.try_read(&mut buf);
    }
    assert_eq!((first.unwrap(), buf), (2, *b"ab"));
    // Nothing is left in the socket: the third byte is inside.
    timeout(Duration::from_secs(20), proxy.readable())
        .await
        .unwrap()
        .unwrap();
    assert!(!proxy.has_ended().unwrap());
    assert_eq!(proxy.try_read(&mut buf).unwrap(), 1);
    let nothing = proxy.read_now(&mut buf).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_reader_that_stops_loses_nothing() {
    let files = Files::new("stops");
    let (client, proxy) = tls_pair(&files).await;
    let sent = pattern(24 << 20);
    let mut told = 0;
    let mut blocked = 0;
    let mut got = BytesMut::new();
    while told < sent.len() {
        match proxy.write_now(&sent[told..]) {
            Ok(length) => told += length,
            Err(error) if crate::net::is_transient(&error) => {
                blocked += 1;
                // What is encrypted is counted, though its writer has not been told: no more than one write of it.
                let ahead = proxy.written_bytes() - told as u64;
                assert!(ahead <= 64 << 10, "{ahead}");
                for _ in 0..64 {
                    client.fill(&mut got).await.unwrap();
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(blocked > 1, "never full");
    assert_eq!(proxy.written_bytes(), sent.len() as u64);
    drop(proxy);
    while client.fill(&mut got).await.unwrap() > 0 {}
    assert!(got == sent);
}

#[tokio::test]
async fn an_end_is_said_and_seen() {
    let files = Files::new("end");
    let (client, proxy) = tls_pair(&files).await;
    client.write_all(b"last").await.unwrap();
    client.shutdown_write().unwrap();
    proxy.read_closed().await.unwrap();
    let mut got = BytesMut::new();
    while proxy.fill(&mut got).await.unwrap() > 0 {}
    assert_eq!(&got[..], b"last");
    assert!(proxy.has_ended().unwrap());
    // The other direction goes on.
    proxy.write_all(b"late").await.unwrap();
    drop(proxy);
    let mut got = BytesMut::new();
    while client.fill(&mut got).await.unwrap() > 0 {}
    assert_eq!(&got[..], b"late");
}

/// What the client says first, in one piece.
async fn hello(files: &Files) -> (Leg, Leg, Box<Connection>, Vec<u8>) {
    let (client, proxy) = pair().await;
    let mut connection = files.client();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    (client, proxy, connection, hello)
}

#[tokio::test]
async fn a_handshake_may_have_begun_in_the_segment_before_it() {
    let files = Files::new("begun");
    for at in [0, 1, 5, 100, usize::MAX] {
        let (client, proxy, connection, hello) = hello(&files).await;
        let (heard, rest) = hello.split_at(at.min(hello.len()));
        client.write_all(rest).await.unwrap();
        let (near, far) = tokio::join!(
            client.start_tls(connection, b""),
            proxy.start_tls(files.server(), heard)
        );
        near.unwrap();
        far.unwrap();
    }
}

#[tokio::test]
async fn plain_text_in_the_handshakes_place_is_refused() {
    let files = Files::new("plain");
    // A whole login packet, in the clear.
    let login = b"\x20\x00\x00\x02\x0d\xa6\x03\x00\x00\x00\x00\x01root\x00";
    let (_client, proxy) = pair().await;
    let error = proxy.start_tls(files.server(), login).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(!proxy.is_tls());
    // And behind a good beginning.
    let (_client, proxy, _connection, hello) = hello(&files).await;
    let both = [&hello[..], login].concat();
    let error = proxy.start_tls(files.server(), &both).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_client_that_leaves_in_its_handshake_is_no_other_error() {
    let files = Files::new("leaves");
    let (client, proxy, _connection, hello) = hello(&files).await;
    client.write_all(&hello[..7]).await.unwrap();
    drop(client);
    let error = proxy.start_tls(files.server(), b"").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_bad_pair_leaves_the_old_one_in_place() {
    let files = Files::new("pair");
    let certificate = Certificate::load(&files.tls).unwrap();
    let first = certificate.current();
    assert!(std::sync::Arc::ptr_eq(&first, &certificate.current()));
    let years = |certificate: &Certificate| certificate.expires_in() / (365 * 24 * 60 * 60);
    assert!(
        (60..=80).contains(&years(&certificate)),
        "{}",
        years(&certificate)
    );
    // A key of another pair.
    let other = Files::new("other");
    let own = fs::read(&files.tls.key).unwrap();
    fs::copy(&other.tls.key, &files.tls.key).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &certificate.current()));
    assert!(Certificate::load(&files.tls).is_err());
    fs::remove_file(&files.tls.key).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &certificate.current()));
    fs::write(&files.tls.key, own).unwrap();
    certificate.current();
    files.renew(2200);
    certificate.current();
    assert!(years(&certificate) > 150, "{}", years(&certificate));
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let files = Files::new("wrong");
    let error = |tls| Certificate::load(&tls).unwrap_err().to_string();
    fs::write(&files.tls.cert, "no certificate").unwrap();
    assert!(error(files.tls.clone()).ends_with("cert.pem: no certificate in it"));
    fs::remove_file(&files.tls.cert).unwrap();
    assert!(error(files.tls.clone()).contains("No such file"));
    files.renew(2100);
    fs::write(&files.tls.key, "no key").unwrap();
    assert!(error(files.tls.clone()).contains("key.pem: no private key"));
}
