//! The decisions of a login: what a login packet asks for, what the node is told instead, and whose turn it is until OK or ERR.
//!
//! The proxy knows no passwords. The client answers *the node's* scramble, which reaches it in an `AuthSwitchRequest`; everything
//! after that is handed on as it is. `COM_CHANGE_USER` is the same dialogue with another first packet.

mod bridge;
mod request;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::protocol::Malformed;
use crate::protocol::auth::{ASK_PLUGIN, AuthSwitchRequest, ChangeUser, MORE_DATA, SWITCH};
use crate::protocol::capability::Capabilities;
use crate::protocol::handshake::LoginPacket;
use crate::protocol::reply::{ERR, ErrPacket, OK, OkPacket};
use crate::session::credential::Proof;

use bridge::{CACHING_SHA2, FAST_AUTH_SUCCESS, KEY_REQUEST};
pub use bridge::{FULL_AUTH, Mismatch, Secrecy, with_nul};
pub use request::{Request, append_attributes};

/// A side that sends more packets than this before OK or ERR is cut off. The longest dialogue of a known plugin (PAM with
/// several questions after two switches) stays well below.
pub const ROUNDS_MAX: u8 = 16;
/// How the node's scramble reaches the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// The node is logged in to with a plugin that no account uses, and itself asks for the account's own. One request reaches
    /// the client, with the right plugin at once: most client libraries follow one request only.
    Ask,
    /// The proxy makes the request from the node's greeting, and the answer becomes the node's login packet. For nodes that
    /// have one plugin only, as `OceanBase`: asked, one of version 4.3.5 makes no request for an account without password, and
    /// so accepts any password for it, which directly it refuses.
    Forward,
}

/// The plugin and scramble of a node's greeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scramble {
    /// The plugin's name.
    pub plugin: Bytes,
    /// The scramble, without a closing NUL.
    pub scramble: Bytes,
}

impl From<AuthSwitchRequest> for Scramble {
    fn from(request: AuthSwitchRequest) -> Self {
        let mut scramble = request.data;
        if scramble.last() == Some(&0) {
            scramble.truncate(scramble.len() - 1);
        }
        Self {
            plugin: request.plugin,
            scramble,
        }
    }
}

/// A payload and the side that it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Send {
    /// To the client.
    Client(Bytes),
    /// To the node.
    Node(Bytes),
}

/// What a node's packet means for the login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It goes on.
    Open,
    /// It goes on, and the node is answered by the proxy: with this. The client is told what the packet is, if that is anything.
    Answered(Bytes),
    /// The node's OK.
    Accepted(OkPacket),
    /// The node's ERR.
    Refused(ErrPacket),
}

/// Why a dialogue cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExchangeError {
    /// More than [`ROUNDS_MAX`] packets from one side.
    #[error("more than {ROUNDS_MAX} rounds of authentication")]
    TooManyRounds,
    /// The node said something that has no place here.
    #[error("unexpected packet of the node")]
    Unexpected,
    /// What the node asks for cannot be carried from one leg to the other.
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
    /// The node's last word cannot be read.
    #[error("the node's answer: {0}")]
    Malformed(#[from] Malformed),
}

#[derive(Debug)]
enum State {
    /// The client has the proxy's request; its answer completes the node's first packet.
    Answer {
        packet: Box<LoginPacket>,
        asked: Scramble,
    },
    /// Packets are handed on. `client_owes`: the node asked something that the client has not answered yet.
    Dialogue {
        asked: Option<Scramble>,
        client_owes: bool,
    },
    /// The client is asked for the password itself, over TLS, and the node is to get it sealed.
    Password { asked: Scramble },
    /// The node is asked for its key, to seal this for it.
    Key { asked: Scramble, text: Bytes },
    /// OK or ERR has been seen.
    Done,
}

/// One dialogue, from the node's greeting (or the client's `COM_CHANGE_USER`) to OK or ERR.
#[derive(Debug)]
pub struct Exchange {
    state: State,
    client_packets: u8,
    node_packets: u8,
    /// The client's answer to the last request.
    proof: Option<Proof>,
    secrecy: Secrecy,
    /// The account's password, where the configuration gives it.
    password: Option<String>,
}

impl Exchange {
    /// Begins a login with the packet made by [`Request::towards_node`], at a node that has greeted with `scramble`.
    pub fn login(
        packet: LoginPacket,
        scramble: &Scramble,
        style: Style,
        secrecy: Secrecy,
    ) -> (Self, Send) {
        match style {
            Style::Ask => {
                let packet = LoginPacket {
                    plugin: Some(Bytes::from_static(ASK_PLUGIN.as_bytes())),
                    ..packet
                };
                (
                    Self::new(
                        State::Dialogue {
                            asked: None,
                            client_owes: false,
                        },
                        secrecy,
                    ),
                    Send::Node(packet.encode().freeze()),
                )
            }
            Style::Forward => {
                let mut data = scramble.scramble.to_vec();
                data.push(0);
                let request = AuthSwitchRequest {
                    plugin: scramble.plugin.clone(),
                    data: data.into(),
                };
                let state = State::Answer {
                    packet: Box::new(packet),
                    asked: scramble.clone(),
                };
                let request = request.encode().freeze();
                (Self::new(state, secrecy), Send::Client(request))
            }
        }
    }

    /// Begins a login whose answer to the node's `scramble` follows from what the client has said already: `proof`, its answer to the proxy's
    /// own. The node checks it as it checks any.
    pub fn answered(
        packet: &LoginPacket,
        scramble: &Scramble,
        answer: Bytes,
        proof: Proof,
        secrecy: Secrecy,
    ) -> (Self, Send) {
        let state = State::Dialogue {
            asked: Some(scramble.clone()),
            client_owes: false,
        };
        let exchange = Self {
            proof: Some(proof),
            ..Self::new(state, secrecy)
        };
        let packet = answered(packet, &scramble.plugin, answer);
        (exchange, Send::Node(packet))
    }

    /// Begins a change of user; `to_node` are the capabilities of the node's leg. The node is asked in any case: `OceanBase` (4.3.5)
    /// makes a request here, and refuses the answer to its greeting's scramble.
    pub fn change_user(
        command: ChangeUser,
        to_node: Capabilities,
        secrecy: Secrecy,
    ) -> (Self, Send) {
        let plugin = Some(Bytes::from_static(ASK_PLUGIN.as_bytes()));
        let command = ChangeUser {
            plugin,
            auth: Bytes::new(),
            ..command
        };
        let state = State::Dialogue {
            asked: None,
            client_owes: false,
        };
        (
            Self::new(state, secrecy),
            Send::Node(command.encode(to_node).freeze()),
        )
    }

    const fn new(state: State, secrecy: Secrecy) -> Self {
        Self {
            state,
            client_packets: 0,
            node_packets: 0,
            proof: None,
            secrecy,
            password: None,
        }
    }

    /// The account's password is known: where the client has proven that it knows it too, it is given to a node with TLS in its place.
    pub fn know(&mut self, password: Option<String>) {
        self.password = password;
    }

    /// How the client has answered the last request: with the node's OK a proof that it knows the password.
    pub fn into_proof(self) -> Option<Proof> {
        self.proof
    }

    /// Whether the next packet is the client's. While it is not, what the client sends is left where it is: it may be a
    /// command, sent before the node's OK.
    pub const fn client_owes(&self) -> bool {
        match self.state {
            State::Answer { .. } | State::Password { .. } => true,
            State::Dialogue { client_owes, .. } => client_owes,
            State::Key { .. } | State::Done => false,
        }
    }

    /// What to answer the node for a client that has left, `None` if the node waits for nothing. A node counts connections
    /// that are given up in the middle of a login, and in the end blocks the address they come from (error 1129). It counts
    /// an empty answer to its greeting too, but not a login that fails, nor an empty answer to its request (`MariaDB` 10.11).
    pub fn farewell(&self) -> Option<Bytes> {
        match &self.state {
            State::Answer { packet, asked } => Some(answered(packet, &asked.plugin, Bytes::new())),
            State::Password { .. }
            | State::Dialogue {
                client_owes: true, ..
            } => Some(Bytes::new()),
            State::Dialogue {
                client_owes: false, ..
            }
            | State::Key { .. }
            | State::Done => None,
        }
    }

    /// Takes the client's answer and returns what the node is sent.
    ///
    /// # Errors
    /// [`ExchangeError::TooManyRounds`]; [`ExchangeError::Unexpected`] where the client owes nothing.
    pub fn client_packet(&mut self, payload: Bytes) -> Result<Bytes, ExchangeError> {
        self.client_packets = count(self.client_packets)?;
        match std::mem::replace(&mut self.state, State::Done) {
            State::Answer { packet, asked } => {
                let answer = answered(&packet, &asked.plugin, payload.clone());
                self.proof = Some(Proof::new(&asked, payload));
                self.state = State::Dialogue {
                    asked: Some(asked),
                    client_owes: false,
                };
                Ok(answer)
            }
            State::Dialogue {
                asked,
                client_owes: true,
            } => {
                // What a plugin says after its first answer proves nothing to others.
                if let (Some(asked), None) = (&asked, &self.proof) {
                    self.proof = Some(Proof::new(asked, payload.clone()));
                }
                self.state = State::Dialogue {
                    asked,
                    client_owes: false,
                };
                Ok(payload)
            }
            State::Password { asked } => {
                let text = payload;
                self.state = State::Key { asked, text };
                Ok(Bytes::from_static(KEY_REQUEST))
            }
            state @ (State::Dialogue {
                client_owes: false, ..
            }
            | State::Key { .. }
            | State::Done) => {
                self.state = state;
                Err(ExchangeError::Unexpected)
            }
        }
    }

    /// Takes a packet of the node and returns what the client is sent, byte for byte but for an ERR without SQLSTATE.
    /// `agreed` are the capabilities of both legs.
    ///
    /// # Errors
    /// [`ExchangeError`], after which both legs are to be closed.
    pub fn node_packet(
        &mut self,
        payload: Bytes,
        agreed: Capabilities,
    ) -> Result<(Bytes, Outcome), ExchangeError> {
        self.node_packets = count(self.node_packets)?;
        if payload.first() == Some(&ERR) {
            self.state = State::Done;
            let err = ErrPacket::parse(&payload)?;
            let payload = if err.state.is_some() {
                payload
            } else {
                err.encode().freeze()
            };
            return Ok((payload, Outcome::Refused(err)));
        }
        if let State::Key { asked, text } = &self.state {
            let sealed = bridge::seal(
                text,
                &asked.scramble,
                payload.strip_prefix(&[MORE_DATA]).unwrap_or_default(),
            );
            let sealed = sealed.ok_or(ExchangeError::Unexpected)?;
            self.state = State::Dialogue {
                asked: None,
                client_owes: false,
            };
            return Ok((Bytes::new(), Outcome::Answered(sealed)));
        }
        let State::Dialogue { asked, client_owes } = &mut self.state else {
            return Err(ExchangeError::Unexpected);
        };
        let is_sha2 = |asked: &Option<Scramble>| {
            asked
                .as_ref()
                .is_some_and(|asked| asked.plugin == CACHING_SHA2)
        };
        match payload.first() {
            Some(&OK) => {
                self.state = State::Done;
                let ok = OkPacket::parse(&payload, agreed)?;
                return Ok((payload, Outcome::Accepted(ok)));
            }
            Some(&SWITCH) => {
                // The request of MySQL 4.0 has no name; a client that does not know it says so itself.
                *asked = AuthSwitchRequest::parse(&payload).ok().map(Scramble::from);
                self.proof = None;
                *client_owes = true;
                if let Some(asked) = asked {
                    self.secrecy.suits(&asked.plugin)?;
                }
            }
            _ if payload[..] == FAST_AUTH_SUCCESS && is_sha2(asked) => *client_owes = false,
            _ if payload[..] == FULL_AUTH && is_sha2(asked) => {
                *client_owes = true;
                return self.full(payload);
            }
            _ => *client_owes = true,
        }
        Ok((payload, Outcome::Open))
    }

    /// The node wants the password itself; so far the client is to answer that.
    fn full(&mut self, payload: Bytes) -> Result<(Bytes, Outcome), ExchangeError> {
        let State::Dialogue {
            asked: Some(asked), ..
        } = &self.state
        else {
            return Err(ExchangeError::Unexpected);
        };
        match (self.secrecy.client, self.secrecy.node) {
            (true, true) | (false, false) => Ok((payload, Outcome::Open)),
            (true, false) => {
                self.state = State::Password {
                    asked: asked.clone(),
                };
                Ok((payload, Outcome::Open))
            }
            (false, true) => {
                let known = self
                    .password
                    .take()
                    .filter(|password| bridge::proves(self.proof.as_ref(), asked, password))
                    .ok_or(Mismatch::PlainClient)?;
                self.state = State::Dialogue {
                    asked: None,
                    client_owes: false,
                };
                let told = Bytes::copy_from_slice(&FAST_AUTH_SUCCESS);
                Ok((told, Outcome::Answered(with_nul(&known))))
            }
        }
    }
}

/// The login packet with what the client answered for this plugin.
fn answered(packet: &LoginPacket, plugin: &Bytes, auth: Bytes) -> Bytes {
    LoginPacket {
        plugin: Some(plugin.clone()),
        auth,
        ..packet.clone()
    }
    .encode()
    .freeze()
}

/// One packet more.
fn count(packets: u8) -> Result<u8, ExchangeError> {
    if packets < ROUNDS_MAX {
        Ok(packets.saturating_add(1))
    } else {
        Err(ExchangeError::TooManyRounds)
    }
}
