//! The decisions of a login: what a login packet asks for, what the node is told instead, and whose turn it is until OK or ERR.
//!
//! The proxy knows no passwords. The client answers *the node's* scramble, which reaches it in an `AuthSwitchRequest`; everything
//! after that is handed on as it is. `COM_CHANGE_USER` is the same dialogue with another first packet.

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

pub use request::{Request, append_attributes};

/// A side that sends more packets than this before OK or ERR is cut off. The longest dialogue of a known plugin (PAM with
/// several questions after two switches) stays well below.
pub const ROUNDS_MAX: u8 = 16;
/// The plugin with a packet that asks for no answer: "fast authentication succeeded".
const CACHING_SHA2: &[u8] = b"caching_sha2_password";
const FAST_AUTH_SUCCESS: [u8; 2] = [MORE_DATA, 0x03];

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
}

impl Exchange {
    /// Begins a login with the packet made by [`Request::towards_node`], at a node that has greeted with `scramble`.
    pub fn login(packet: LoginPacket, scramble: &Scramble, style: Style) -> (Self, Send) {
        match style {
            Style::Ask => {
                let packet = LoginPacket {
                    plugin: Some(Bytes::from_static(ASK_PLUGIN.as_bytes())),
                    ..packet
                };
                (
                    Self::new(State::Dialogue {
                        asked: None,
                        client_owes: false,
                    }),
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
                (Self::new(state), Send::Client(request.encode().freeze()))
            }
        }
    }

    /// Begins a change of user; `to_node` are the capabilities of the node's leg. The node is asked in any case: `OceanBase` (4.3.5)
    /// makes a request here, and refuses the answer to its greeting's scramble.
    pub fn change_user(command: ChangeUser, to_node: Capabilities) -> (Self, Send) {
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
            Self::new(state),
            Send::Node(command.encode(to_node).freeze()),
        )
    }

    const fn new(state: State) -> Self {
        Self {
            state,
            client_packets: 0,
            node_packets: 0,
            proof: None,
        }
    }

    /// How the client has answered the last request: with the node's OK a proof that it knows the password.
    pub fn into_proof(self) -> Option<Proof> {
        self.proof
    }

    /// Whether the next packet is the client's. While it is not, what the client sends is left where it is: it may be a
    /// command, sent before the node's OK.
    pub const fn client_owes(&self) -> bool {
        match self.state {
            State::Answer { .. } => true,
            State::Dialogue { client_owes, .. } => client_owes,
            State::Done => false,
        }
    }

    /// What to answer the node for a client that has left, `None` if the node waits for nothing. A node counts connections
    /// that are given up in the middle of a login, and in the end blocks the address they come from (error 1129). It counts
    /// an empty answer to its greeting too, but not a login that fails, nor an empty answer to its request (`MariaDB` 10.11).
    pub fn farewell(&self) -> Option<Bytes> {
        match &self.state {
            State::Answer { packet, asked } => Some(answered(packet, &asked.plugin, Bytes::new())),
            State::Dialogue {
                client_owes: true, ..
            } => Some(Bytes::new()),
            State::Dialogue {
                client_owes: false, ..
            }
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
            state @ (State::Dialogue {
                client_owes: false, ..
            }
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
        let State::Dialogue { asked, client_owes } = &mut self.state else {
            return Err(ExchangeError::Unexpected);
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
            }
            _ if payload[..] == FAST_AUTH_SUCCESS
                && asked
                    .as_ref()
                    .is_some_and(|asked| asked.plugin == CACHING_SHA2) =>
            {
                *client_owes = false;
            }
            _ => *client_owes = true,
        }
        Ok((payload, Outcome::Open))
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
