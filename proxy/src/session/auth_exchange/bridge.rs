//! `caching_sha2_password` where one leg has TLS and the other has not.
//!
//! A server that does not remember a password's hash asks for the password itself (`0x01 0x04`). Over TLS it gets the text and a NUL; over a
//! plain connection the client asks for the server's RSA key (`0x02`) and sends the text, mixed with the scramble, encrypted with that. So
//! what fits one leg does not fit the other. (MySQL's `sha2_password.cc`.)

use bytes::Bytes;
use mysql_common::{
    crypto::rsa::{GetRandom, Pkcs1OaepPadding, PublicKey},
    scramble::scramble_sha256,
};
use num_bigint::BigUint;
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use x509_cert::{
    der::{Decode as _, Reader as _, SliceReader, asn1::UintRef},
    spki::SubjectPublicKeyInfoRef,
};

use super::{super::credential::Proof, Scramble};
use crate::protocol::auth::MORE_DATA;

/// The plugin's name.
pub(super) const CACHING_SHA2: &[u8] = b"caching_sha2_password";
/// "The fast path was enough": asks for no answer.
pub(super) const FAST_AUTH_SUCCESS: [u8; 2] = [MORE_DATA, 0x03];
/// "I want the password itself."
pub const FULL_AUTH: [u8; 2] = [MORE_DATA, 0x04];
/// "Give me your RSA key."
pub(super) const KEY_REQUEST: &[u8] = &[0x02];
/// Bytes of an RSA key's modulus: 1,024 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 128..=1024;
/// What OAEP with SHA-1 takes of a block: two hashes and two bytes.
const OAEP_BYTES: usize = 2 * 20 + 2;
/// Plugins whose client sends the password itself over TLS, or always.
const SENDS_PASSWORD: [&[u8]; 3] = [b"mysql_clear_password", b"sha256_password", b"dialog"];

/// Which legs nobody can listen to: those with TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Secrecy {
    /// The client's.
    pub client: bool,
    /// The node's.
    pub node: bool,
}

impl Secrecy {
    /// Whether what the client answers to this plugin may go to the node as it is.
    pub(super) fn suits(self, plugin: &[u8]) -> Result<(), Mismatch> {
        match (self.client, self.node) {
            (true, false) if SENDS_PASSWORD.contains(&plugin) => Err(Mismatch::PlainNode),
            // The client asks for a key, which the node takes for the password.
            (false, true) if plugin == b"sha256_password" => Err(Mismatch::PlainClient),
            _ => Ok(()),
        }
    }
}

/// Why an answer of the client's cannot be handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Mismatch {
    /// The password itself would be needed, and the client will not send it without TLS.
    #[error(
        "Authentication requires secure connection: the server asks for the password itself; connect to the proxy with TLS, or give the proxy the account in [[user]]"
    )]
    PlainClient,
    /// The password itself would go to the node over a plain connection.
    #[error(
        "Authentication requires secure connection: the proxy does not send passwords to the server without TLS; set the cluster's tls"
    )]
    PlainNode,
}

/// Whether a client that has answered like this knows this password.
pub(super) fn proves(proof: Option<&Proof>, asked: &Scramble, password: &str) -> bool {
    let answer = scramble_sha256(&asked.scramble, password.as_bytes());
    let answer = answer.map(|answer| Proof::new(asked, Bytes::copy_from_slice(&answer)));
    proof.is_some() && proof == answer.as_ref()
}

/// A password as a server with TLS takes it.
pub fn with_nul(password: &str) -> Bytes {
    [password.as_bytes(), b"\0"].concat().into()
}

/// The text and its NUL as a server without TLS takes them, encrypted with the key that it has sent (PEM); none where the key is none or too
/// short for the text.
pub(super) fn seal(text: &[u8], scramble: &[u8], pem: &[u8]) -> Option<Bytes> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    let key = SubjectPublicKeyInfoRef::from_der(&key).ok()?;
    let (modulus, exponent) = numbers(key.subject_public_key.raw_bytes())?;
    let room = modulus.len().checked_sub(OAEP_BYTES)?;
    let is_odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    if !MODULUS_BYTES.contains(&modulus.len()) || !is_odd || text.len() > room {
        return None;
    }
    if scramble.is_empty() {
        return None;
    }
    let mixed: Vec<_> = text
        .iter()
        .zip(scramble.iter().cycle())
        .map(|(byte, with)| byte ^ with)
        .collect();
    let key = PublicKey::new(
        BigUint::from_bytes_be(&modulus),
        BigUint::from_bytes_be(&exponent),
    );
    // The key's length is what it says of itself.
    (key.num_octets() == modulus.len()).then(|| {
        key.encrypt_block(mixed, Pkcs1OaepPadding::new(GetRandom))
            .into()
    })
}

/// Modulus and exponent of an RSA key (RFC 8017, A.1.1).
fn numbers(key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut reader = SliceReader::new(key).ok()?;
    let numbers = reader.sequence(|reader| {
        let modulus = UintRef::decode(reader)?;
        let exponent = UintRef::decode(reader)?;
        Ok((modulus.as_bytes().to_vec(), exponent.as_bytes().to_vec()))
    });
    numbers.ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key of 2,048 bits, made by `openssl genrsa | openssl rsa -pubout`.
    const KEY: &[u8] = include_bytes!("key.pem");

    #[test]
    fn a_password_is_sealed_differently_each_time_and_only_if_it_fits() {
        let seal_twice = || seal(b"secret\0", &[7; 20], KEY).unwrap();
        let (first, second) = (seal_twice(), seal_twice());
        assert_eq!((first.len(), second.len()), (256, 256));
        assert_ne!(first, second);
        assert_eq!(seal(&[b'x'; 214], &[7; 20], KEY).unwrap().len(), 256);
        assert_eq!(seal(&[b'x'; 215], &[7; 20], KEY), None);
        assert_eq!(seal(b"secret\0", b"", KEY), None);
    }

    proptest! {
        #[test]
        fn no_key_of_a_node_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..450, byte: u8) {
            let _ = seal(b"secret\0", &[7; 20], &bytes);
            let mut key = KEY.to_vec();
            if let Some(old) = key.get_mut(at) {
                *old = byte;
            }
            let _ = seal(b"secret\0", &[7; 20], &key);
            let _ = numbers(&bytes);
        }
    }

    #[test]
    fn a_right_answer_proves_a_password() {
        let asked = Scramble {
            plugin: Bytes::from_static(CACHING_SHA2),
            scramble: Bytes::from_static(b"nnnnnnnnnnnnnnnnnnnn"),
        };
        let answer = scramble_sha256(&asked.scramble, b"secret").unwrap();
        let proof = Proof::new(&asked, Bytes::copy_from_slice(&answer));
        assert!(proves(Some(&proof), &asked, "secret"));
        assert!(!proves(Some(&proof), &asked, "Secret"));
        assert!(!proves(None, &asked, "secret"));
        assert!(!proves(None, &asked, ""));
    }

    #[test]
    fn passwords_stay_off_plain_legs() {
        let secrecy = |client, node| Secrecy { client, node };
        let clear = b"mysql_clear_password";
        assert_eq!(secrecy(true, false).suits(clear), Err(Mismatch::PlainNode));
        assert_eq!(secrecy(true, true).suits(clear), Ok(()));
        assert_eq!(secrecy(true, false).suits(CACHING_SHA2), Ok(()));
        let sha256 = b"sha256_password";
        assert_eq!(
            secrecy(false, true).suits(sha256),
            Err(Mismatch::PlainClient)
        );
        assert_eq!(secrecy(false, false).suits(sha256), Ok(()));
    }
}
