//! `COM_CHANGE_USER` at a command boundary: the same dialogue as a login, on legs that exist already.

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::auth::{Broken, converse, part_from_node, secrecy};
use crate::net::Leg;
use crate::node::LoginLeg;
use crate::protocol::auth::ChangeUser;
use crate::protocol::capability::Capabilities;
use crate::protocol::error::MysqlError;
use crate::protocol::reply::{ErrPacket, OkPacket, encode_error};
use crate::session::auth_exchange::{Exchange, append_attributes};
use crate::session::credential::Proof;
use crate::session::login_end::{LoginReason, Side};
use crate::session::login_name::{LoginName, Rules};

/// One leg of the session, and what was read from it and belongs to nothing yet.
#[derive(Debug)]
pub(super) struct Half<'a> {
    /// The leg.
    pub leg: &'a Leg,
    /// Bytes read from it. Afterwards, those beyond the dialogue.
    pub rest: &'a mut BytesMut,
}

/// What the session knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// What holds on both legs.
    pub capabilities: Capabilities,
    /// The session's collation, for clients whose packet names none.
    pub collation: u16,
    /// What the node's greeting at the login offered.
    pub node_capabilities: Capabilities,
    /// How user names are read.
    pub names: Rules<'a>,
    /// What the proxy adds to the connection attributes.
    pub attributes: &'a [(&'a str, &'a str)],
    /// Until when the node must have said OK or ERR.
    pub deadline: Instant,
}

/// How it ended, with the client told and both legs usable.
#[derive(Debug)]
pub(super) enum Change {
    /// The session has another user. Everything else that it had is gone.
    Done(Box<Changed>),
    /// The node said no. `MariaDB` goes on with the old user, `MySQL` closes the connection.
    Refused(ErrPacket),
    /// The proxy said no; the node knows nothing of it.
    NotAllowed(MysqlError),
}

/// What a session has become.
#[derive(Debug)]
pub(super) struct Changed {
    /// The new user.
    pub name: LoginName,
    /// The new database.
    pub database: Option<String>,
    /// The new collation.
    pub collation: u16,
    /// The node's OK.
    pub ok: OkPacket,
    /// How the client has answered the node.
    pub proof: Option<Proof>,
}

/// It broke: both legs are to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.text())]
pub(super) struct ChangeBroken(pub LoginReason);

/// Carries out `payload`, a `COM_CHANGE_USER` with sequence number 0. `allow` gives the user name for the node, or refuses: the new
/// user may belong to a tenant that this node does not serve.
///
/// # Errors
/// [`ChangeBroken`].
pub(super) async fn change_user(
    client: Half<'_>,
    node: Half<'_>,
    payload: &[u8],
    terms: Terms<'_>,
    allow: impl FnOnce(&LoginName) -> Result<Bytes, MysqlError>,
) -> Result<Change, ChangeBroken> {
    let mut client_leg = LoginLeg::new(client.leg, std::mem::take(client.rest), 1);
    let mut node_leg = LoginLeg::new(node.leg, std::mem::take(node.rest), 0);
    let mut change = attempt(&mut client_leg, &mut node_leg, payload, terms, allow).await;
    let held = client_leg.take_held();
    if client.leg.write_all(&held).await.is_err() {
        change = Err(ChangeBroken(LoginReason::ClientClosed));
    }
    *client.rest = client_leg.into_rest();
    *node.rest = node_leg.into_rest();
    change
}

async fn attempt(
    client: &mut LoginLeg<'_>,
    node: &mut LoginLeg<'_>,
    payload: &[u8],
    terms: Terms<'_>,
    allow: impl FnOnce(&LoginName) -> Result<Bytes, MysqlError>,
) -> Result<Change, ChangeBroken> {
    let to_node = terms.capabilities.towards_node(terms.node_capabilities);
    let command = match ChangeUser::parse(payload, terms.capabilities) {
        Ok(command) => command,
        Err(_malformed) => return not_allowed(client, MysqlError::bad_handshake()).await,
    };
    let name = LoginName::parse(&command.user, terms.names);
    let user = match allow(&name) {
        Ok(user) => user,
        Err(error) => return not_allowed(client, error).await,
    };
    let database = (!command.database.is_empty())
        .then(|| String::from_utf8_lossy(&command.database).into_owned());
    let collation = command.collation.unwrap_or(terms.collation);
    let attributes = Some(append_attributes(
        command.attributes.as_ref(),
        terms.attributes,
    ));
    let command = ChangeUser {
        user,
        collation: Some(collation),
        attributes,
        ..command
    };
    let (mut exchange, first) = Exchange::change_user(command, to_node, secrecy(client, node));
    let talk = converse(client, node, &mut exchange, first, terms.capabilities);
    let reason = match timeout_at(terms.deadline, talk).await {
        Ok(Ok(ok)) => {
            return Ok(Change::Done(Box::new(Changed {
                name,
                database,
                collation,
                ok,
                proof: exchange.into_proof(),
            })));
        }
        Ok(Err(Broken::Refused(err))) => return Ok(Change::Refused(err)),
        Ok(Err(broken)) => broken.reason(),
        Err(_elapsed) if exchange.client_owes() => LoginReason::ClientTimeout,
        Err(_elapsed) => LoginReason::NodeTimeout,
    };
    if reason.side() != Side::Node {
        part_from_node(node, exchange.farewell()).await;
    }
    Err(ChangeBroken(reason))
}

async fn not_allowed(client: &mut LoginLeg<'_>, error: MysqlError) -> Result<Change, ChangeBroken> {
    match client.write(&encode_error(&error)).await {
        Ok(()) => Ok(Change::NotAllowed(error)),
        Err(_gone) => Err(ChangeBroken(LoginReason::ClientClosed)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::pair;

    const AGREED: Capabilities = Capabilities::from_wire(0x0118_8208, 0);
    const COMMAND: &[u8] = b"\x11other@t1\x00\x03abcshop\x00\x2d\x00mysql_native_password\x00\x00";
    const SWITCH: &[u8] = b"\xFEmysql_native_password\x00nnnnnnnnnnnnnnnnnnnn\x00";
    const OK: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00";
    const DENIED: &[u8] = b"\xFF\x15\x04#28000Access denied";

    async fn run<A, B>(
        allow: Result<Bytes, MysqlError>,
        client_script: impl AsyncFnOnce(LoginLeg<'_>) -> A,
        node_script: impl AsyncFnOnce(LoginLeg<'_>) -> B,
    ) -> (Result<Change, ChangeBroken>, A, B) {
        let ((client, client_far), (node, node_far)) = (pair().await, pair().await);
        let terms = Terms {
            capabilities: AGREED,
            collation: 45,
            node_capabilities: Capabilities::from_wire(0x81FF_F7FE, 0),
            names: Rules::default(),
            attributes: &[("proxy_name", "sluice")],
            deadline: Instant::now() + Duration::from_secs(5),
        };
        let (mut client_rest, mut node_rest) = (BytesMut::new(), BytesMut::new());
        let client_side = Half {
            leg: &client_far,
            rest: &mut client_rest,
        };
        let node_side = Half {
            leg: &node,
            rest: &mut node_rest,
        };
        let proxy = change_user(client_side, node_side, COMMAND, terms, |_name| allow);
        let client = client_script(LoginLeg::new(&client, BytesMut::new(), 1));
        let node = node_script(LoginLeg::new(&node_far, BytesMut::new(), 0));
        tokio::join!(proxy, client, node)
    }

    /// A node that asks for its plugin, and then says this.
    async fn answer(mut node: LoginLeg<'_>, last: &[u8]) -> Bytes {
        let command = node.read().await.unwrap();
        node.write(SWITCH).await.unwrap();
        assert_eq!(&node.read().await.unwrap()[..], b"answer");
        node.write(last).await.unwrap();
        command
    }

    /// A client that answers the node's request, and returns what it is told then.
    async fn reply(mut client: LoginLeg<'_>) -> Bytes {
        assert_eq!(&client.read().await.unwrap()[..], SWITCH);
        client.write(b"answer").await.unwrap();
        client.read().await.unwrap()
    }

    #[tokio::test]
    async fn it_is_carried_like_a_login() {
        let allow = Ok(Bytes::from_static(b"other"));
        let (change, told, command) = run(allow, reply, async |node| answer(node, OK).await).await;
        assert!(command.starts_with(b"\x11other\x00\x00shop\x00\x2d\x00sluice_ask\x00"));
        assert_eq!(&told[..], OK);
        let Change::Done(changed) = change.unwrap() else {
            panic!("refused")
        };
        let Changed {
            name,
            database,
            collation,
            ok,
            ..
        } = *changed;
        let state = (
            name.tenant.as_str(),
            database.as_deref(),
            collation,
            ok.status,
        );
        assert_eq!(state, ("t1", Some("shop"), 45, 2));
    }

    #[tokio::test]
    async fn a_refusal_leaves_both_legs_usable() {
        let allow = Ok(Bytes::from_static(b"other"));
        let (change, told, _) = run(allow, reply, async |node| answer(node, DENIED).await).await;
        assert_eq!(&told[..], DENIED);
        assert!(matches!(change.unwrap(), Change::Refused(err) if err.number == 1045));
        let client = async |mut client: LoginLeg<'_>| client.read().await.unwrap();
        let (change, told, ()) = run(
            Err(MysqlError::tenant_not_found()),
            client,
            async |_node| {},
        )
        .await;
        assert_eq!(told, encode_error(&MysqlError::tenant_not_found()));
        assert!(matches!(change.unwrap(), Change::NotAllowed(error) if error.code.number == 4043));
    }

    #[tokio::test]
    async fn a_client_that_leaves_breaks_it_and_the_node_is_answered() {
        let allow = Ok(Bytes::from_static(b"other"));
        let client = async |mut client: LoginLeg<'_>| {
            client.read().await.unwrap();
            assert!(client.drain(0).await.is_ok());
        };
        let node = async |mut node: LoginLeg<'_>| {
            node.read().await.unwrap();
            node.write(SWITCH).await.unwrap();
            assert!(node.read().await.unwrap().is_empty());
            node.write(DENIED).await.unwrap();
        };
        let (change, (), ()) = run(allow, client, node).await;
        assert_eq!(change.unwrap_err(), ChangeBroken(LoginReason::ClientClosed));
    }
}
