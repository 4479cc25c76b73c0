//! Logs in to a node in a client's place: the same dialogue as the client's own login, with a credential that answers for it.

use bytes::Bytes;

use super::login_leg::{LegError, LoginLeg};
use crate::protocol::auth::AuthSwitchRequest;
use crate::protocol::capability::Capabilities;
use crate::protocol::handshake::LoginPacket;
use crate::protocol::reply::{ErrPacket, OkPacket};
use crate::session::auth_exchange::{
    Exchange, ExchangeError, FULL_AUTH, Outcome, Scramble, Secrecy, Send, Style, with_nul,
};
use crate::session::credential::Credential;

/// Why a node could not be logged in to.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The node said no.
    #[error("error {}: {}", .0.number, .0.message_lossy())]
    Refused(ErrPacket),
    /// The node asks for something that the credential cannot answer.
    #[error("the node asks for {0}, which needs the password itself")]
    Unanswerable(String),
    /// What the node said.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The connection broke.
    #[error(transparent)]
    Leg(#[from] LegError),
}

/// Logs in with `packet` (made by [`Request::towards_node`](crate::session::auth_exchange::Request::towards_node)) at a node that has greeted
/// with `greeting`. `agreed` are the capabilities of both legs.
///
/// # Errors
/// [`LoginError`]; the leg is then to be closed.
pub async fn log_in(
    node: &mut LoginLeg<'_>,
    packet: LoginPacket,
    greeting: &Scramble,
    style: Style,
    credential: &Credential,
    agreed: Capabilities,
) -> Result<OkPacket, LoginError> {
    // Who answers here sees to it itself that nobody listens.
    let secrecy = Secrecy {
        client: true,
        node: node.is_tls(),
    };
    let (mut exchange, first) = Exchange::login(packet, greeting, style, secrecy);
    let packet = match first {
        Send::Node(packet) => packet,
        Send::Client(request) => exchange.client_packet(answer(&request, credential)?)?,
    };
    node.write(&packet).await.map_err(LegError::Io)?;
    loop {
        let (request, outcome) = exchange.node_packet(node.read().await?, agreed)?;
        match outcome {
            Outcome::Answered(answer) => node.write(&answer).await.map_err(LegError::Io)?,
            Outcome::Accepted(ok) => return Ok(ok),
            Outcome::Refused(err) => return Err(LoginError::Refused(err)),
            Outcome::Open if exchange.client_owes() => {
                let packet = exchange.client_packet(answer(&request, credential)?)?;
                node.write(&packet).await.map_err(LegError::Io)?;
            }
            Outcome::Open => {}
        }
    }
}

/// What the client would have answered.
fn answer(request: &[u8], credential: &Credential) -> Result<Bytes, LoginError> {
    if request == FULL_AUTH
        && let Credential::Password(password) = credential
    {
        return Ok(with_nul(password));
    }
    let asked = AuthSwitchRequest::parse(request)
        .map(Scramble::from)
        .map_err(|_other| LoginError::Unanswerable("full authentication".to_owned()))?;
    credential.answer(&asked).ok_or_else(|| {
        LoginError::Unanswerable(String::from_utf8_lossy(&asked.plugin).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::pair;
    use bytes::BytesMut;

    const AGREED: Capabilities = Capabilities::from_wire(0x0018_8208, 0);
    const OK: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00";

    fn packet() -> LoginPacket {
        LoginPacket {
            capabilities: AGREED,
            max_packet: 1 << 24,
            charset: 45,
            filler: [0; 23],
            user: Bytes::from_static(b"app"),
            auth: Bytes::new(),
            database: None,
            plugin: None,
            attributes: None,
            zstd_level: None,
        }
    }

    fn greeting() -> Scramble {
        Scramble {
            plugin: Bytes::from_static(b"mysql_native_password"),
            scramble: Bytes::from_static(b"gggggggggggggggggggg"),
        }
    }

    fn request(plugin: &str) -> Vec<u8> {
        [b"\xfe", plugin.as_bytes(), b"\0nnnnnnnnnnnnnnnnnnnn\0"].concat()
    }

    /// Logs in with a password to a node that asks for `plugin` and then says OK.
    async fn run(style: Style, plugin: &str) -> (Result<u16, String>, Vec<Bytes>) {
        let (near, far) = pair().await;
        let proxy = async {
            let mut leg = LoginLeg::new(&near, BytesMut::new(), 1);
            let password = Credential::Password("secret".to_owned());
            let logged_in = log_in(&mut leg, packet(), &greeting(), style, &password, AGREED).await;
            drop(leg);
            near.shutdown_write().unwrap();
            logged_in
                .map(|ok| ok.status)
                .map_err(|error| error.to_string())
        };
        let node = async {
            let mut leg = LoginLeg::new(&far, BytesMut::new(), 1);
            let mut heard = vec![leg.read().await.unwrap()];
            if style == Style::Ask {
                leg.write(&request(plugin)).await.unwrap();
                match leg.read().await {
                    Ok(packet) => heard.push(packet),
                    Err(_gone) => return heard,
                }
            }
            leg.write(OK).await.unwrap();
            heard
        };
        tokio::join!(proxy, node)
    }

    #[tokio::test]
    async fn a_credential_answers_in_both_styles() {
        for style in [Style::Ask, Style::Forward] {
            let (status, heard) = run(style, "mysql_native_password").await;
            assert_eq!(status, Ok(2));
            let answer = match style {
                Style::Ask => heard[1].clone(),
                Style::Forward => LoginPacket::parse(&heard[0]).unwrap().auth,
            };
            assert_eq!(answer.len(), 20);
        }
        let (status, heard) = run(Style::Ask, "caching_sha2_password").await;
        assert_eq!((status, heard[1].len()), (Ok(2), 32));
    }

    #[tokio::test]
    async fn a_plugin_that_it_cannot_answer_is_named() {
        let (status, heard) = run(Style::Ask, "client_ed25519").await;
        assert_eq!(heard.len(), 1);
        assert_eq!(
            status.unwrap_err(),
            "the node asks for client_ed25519, which needs the password itself"
        );
    }
}
