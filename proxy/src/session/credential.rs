//! What a proxy that never learns a password can log in with in a client's place: from the client's own login, which a node has
//! accepted, and the hash that the node's account table holds.
//!
//! `mysql_native_password` ("Native Authentication", Client/Server Protocol): the server keeps `SHA1(SHA1(password))`, the client answers
//! `SHA1(password) XOR SHA1(scramble + SHA1(SHA1(password)))`. Who has an accepted answer, its scramble and the stored hash has
//! `SHA1(password)`, which answers every other scramble.

use std::fmt;

use bytes::Bytes;
use mysql_common::scramble::{scramble_native, scramble_sha256};
use sha1::{Digest, Sha1};

use super::auth_exchange::Scramble;

/// Bytes of a SHA-1.
const HASH_LEN: usize = 20;
/// The plugin that this module knows the arithmetic of.
const NATIVE: &[u8] = b"mysql_native_password";
/// The plugin of MySQL 8 and later.
const CACHING_SHA2: &[u8] = b"caching_sha2_password";

/// A client's answer to a scramble.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    plugin: Bytes,
    scramble: Bytes,
    answer: Bytes,
}

impl Proof {
    /// The answer to this request.
    pub fn new(asked: &Scramble, answer: Bytes) -> Self {
        Self {
            plugin: asked.plugin.clone(),
            scramble: asked.scramble.clone(),
            answer,
        }
    }

    /// What the answer alone gives: an empty one means an empty password.
    pub fn credential(&self) -> Option<Credential> {
        let is_empty = matches!(&*self.answer, [] | [0]);
        (is_empty && [NATIVE, CACHING_SHA2].contains(&&*self.plugin)).then_some(Credential::Empty)
    }

    /// Whether [`Self::unlock`] can succeed with the right hash.
    pub fn is_native(&self) -> bool {
        self.plugin == NATIVE
    }

    /// What the answer and a stored hash give together; none where the hash is another password's.
    pub fn unlock(&self, stored: &Stored) -> Option<Credential> {
        let answer: [u8; HASH_LEN] = (*self.answer).try_into().ok()?;
        if !self.is_native() {
            return None;
        }
        let once = xor(answer, mask(&self.scramble, stored.0));
        (sha1(&[&once]) == stored.0).then_some(Credential::Native(once))
    }
}

/// `SHA1(SHA1(password))`, as a node's account table holds it: enough to check an answer, not to make one. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored([u8; HASH_LEN]);

impl Stored {
    /// Reads it as `mysql.user` has it: `*` and 40 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = str::from_utf8(text.strip_prefix(b"*")?).ok()?;
        if digits.len() != 2 * HASH_LEN || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; HASH_LEN];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// That of a password.
    pub fn of(password: &str) -> Self {
        Self(sha1(&[&sha1(&[password.as_bytes()])]))
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored(secret)")
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proof({})", String::from_utf8_lossy(&self.plugin))
    }
}

/// What answers scrambles in a client's place. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// The account has no password.
    Empty,
    /// `SHA1(password)`: enough for `mysql_native_password`.
    Native([u8; HASH_LEN]),
    /// The password itself, from the configuration.
    Password(String),
}

impl Credential {
    /// The answer to a request; none where this credential cannot answer its plugin.
    pub fn answer(&self, asked: &Scramble) -> Option<Bytes> {
        let is_native = asked.plugin == NATIVE;
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Native(once) if is_native => {
                let answer = xor(*once, mask(&asked.scramble, sha1(&[once])));
                Some(Bytes::copy_from_slice(&answer))
            }
            Self::Password(password) if is_native => {
                let answer = scramble_native(&asked.scramble, password.as_bytes());
                Some(answer.map_or_else(Bytes::new, |answer| Bytes::copy_from_slice(&answer)))
            }
            Self::Password(password) if asked.plugin == CACHING_SHA2 => {
                let answer = scramble_sha256(&asked.scramble, password.as_bytes());
                Some(answer.map_or_else(Bytes::new, |answer| Bytes::copy_from_slice(&answer)))
            }
            Self::Native(_) | Self::Password(_) => None,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Native(_) => "Native(secret)",
            Self::Password(_) => "Password(secret)",
        })
    }
}

/// `SHA1(scramble + SHA1(SHA1(password)))`.
fn mask(scramble: &[u8], twice: [u8; HASH_LEN]) -> [u8; HASH_LEN] {
    sha1(&[scramble, &twice])
}

fn sha1(parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut hash = Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

fn xor(one: [u8; HASH_LEN], other: [u8; HASH_LEN]) -> [u8; HASH_LEN] {
    let mut both = one;
    for (byte, with) in both.iter_mut().zip(other) {
        *byte ^= with;
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(plugin: &'static [u8], scramble: &[u8]) -> Scramble {
        Scramble {
            plugin: Bytes::from_static(plugin),
            scramble: Bytes::copy_from_slice(scramble),
        }
    }

    fn proof(password: &str, scramble: &[u8]) -> Proof {
        let asked = asked(NATIVE, scramble);
        let answer = Credential::Password(password.to_owned())
            .answer(&asked)
            .unwrap();
        Proof::new(&asked, answer)
    }

    /// `PASSWORD('secret')` of MariaDB 10.11.
    const SECRET: &[u8] = b"*14E65567ABDB5135D0CFD9A70B3032C179A49EE7";

    fn secret() -> Stored {
        Stored::parse(SECRET).unwrap()
    }

    proptest! {
        #[test]
        fn an_accepted_answer_and_the_stored_hash_answer_every_scramble(
            first in any::<[u8; 20]>(),
            second in any::<[u8; 20]>(),
        ) {
            let credential = proof("secret", &first).unlock(&secret()).unwrap();
            let asked = asked(NATIVE, &second);
            let direct = Credential::Password("secret".to_owned()).answer(&asked);
            prop_assert_eq!(credential.answer(&asked), direct);
        }

        #[test]
        fn nothing_unlocks_by_accident(stored: [u8; 20], answer in any::<Vec<u8>>()) {
            let proof = Proof::new(&asked(NATIVE, &[7; 20]), answer.into());
            prop_assert_eq!(proof.unlock(&Stored(stored)), None);
        }
    }

    #[test]
    fn another_passwords_hash_does_not_unlock() {
        assert_eq!(proof("Secret", &[1; 20]).unlock(&secret()), None);
        let multibyte = "*14E65567ABDB5135D0CFD9A70B3032C179A49Eéx";
        for text in [b"*14E65567", &[0xff; 41][..], multibyte.as_bytes()] {
            assert_eq!(Stored::parse(text), None);
        }
        assert_eq!(Stored::of("secret"), secret());
    }

    #[test]
    fn an_empty_answer_is_an_empty_password() {
        let of = |plugin, answer: &'static [u8]| {
            Proof::new(&asked(plugin, &[1; 20]), Bytes::from_static(answer)).credential()
        };
        assert_eq!(of(NATIVE, b""), Some(Credential::Empty));
        assert_eq!(of(CACHING_SHA2, b"\0"), Some(Credential::Empty));
        assert_eq!(of(NATIVE, b"x"), None);
        assert_eq!(of(b"auth_gssapi_client", b""), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!(
            "{:?} {:?} {:?} {:?}",
            Credential::Password("secret".to_owned()),
            Credential::Native([0xab; 20]),
            proof("secret", &[1; 20]),
            secret()
        );
        assert_eq!(
            text,
            "Password(secret) Native(secret) Proof(mysql_native_password) Stored(secret)"
        );
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        let native = proof("secret", &[1; 20]).unlock(&secret()).unwrap();
        assert_eq!(native.answer(&asked(CACHING_SHA2, &[1; 20])), None);
        let password = Credential::Password("secret".to_owned());
        assert_eq!(password.answer(&asked(b"client_ed25519", &[1; 32])), None);
    }
}
