//! `COM_CHANGE_USER` at a command boundary: the same dialogue as a login, on legs that exist already.

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, timeout_at};

use super::auth::{Broken, converse, part_from_node};
use crate::net::Leg;
use crate::node::LoginLeg;
use crate::protocol::auth::ChangeUser;
use crate::protocol::capability::Capabilities;
use crate::protocol::error::MysqlError;
use crate::protocol::handshake::Greeting;
use crate::protocol::reply::{ErrPacket, OkPacket, encode_error};
use crate::session::auth_exchange::{Exchange, Scramble, Style, append_attributes};
use crate::session::login_end::LoginReason;
use crate::session::login_name::{LoginName, Rules};

/// One leg of the session, and what was read from it and belongs to nothing yet.
#[derive(Debug)]
pub struct Side<'a> {
    /// The leg.
    pub leg: &'a Leg,
    /// Bytes read from it. Afterwards, those beyond the dialogue.
    pub rest: &'a mut BytesMut,
}

/// What the session knows.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What holds on both legs.
    pub capabilities: Capabilities,
    /// The session's collation, for clients whose packet names none.
    pub collation: u16,
    /// The node's greeting at the login.
    pub node_greeting: &'a Greeting,
    /// How user names are read.
    pub names: Rules<'a>,
    /// What the proxy adds to the connection attributes.
    pub attributes: &'a [(&'a str, &'a str)],
    /// Until when the node must have said OK or ERR.
    pub deadline: Instant,
}

/// How it ended, with the client told and both legs usable.
#[derive(Debug)]
pub enum Change {
    /// The session has another user. Everything else that it had is gone.
    Done {
        /// The new user.
        name: LoginName,
        /// The new database.
        database: Option<String>,
        /// The new collation.
        collation: u16,
        /// The node's OK.
        ok: OkPacket,
    },
    /// The node said no. `MariaDB` goes on with the old user, `MySQL` closes the connection.
    Refused(ErrPacket),
    /// The proxy said no; the node knows nothing of it.
    NotAllowed(MysqlError),
}

/// It broke: both legs are to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.text())]
pub struct ChangeBroken(pub LoginReason);

/// Carries out `payload`, a `COM_CHANGE_USER` with sequence number 0. `allow` gives the user name for the node, or refuses: the new
/// user may belong to a tenant that this node does not serve.
///
/// # Errors
/// [`ChangeBroken`].
pub async fn change_user(
    client: Side<'_>,
    node: Side<'_>,
    payload: &[u8],
    terms: Terms<'_>,
    allow: impl FnOnce(&LoginName) -> Result<Bytes, MysqlError>,
) -> Result<Change, ChangeBroken> {
    let mut client_leg = LoginLeg::new(client.leg, std::mem::take(client.rest), 1);
    let mut node_leg = LoginLeg::new(node.leg, std::mem::take(node.rest), 0);
    let change = attempt(&mut client_leg, &mut node_leg, payload, terms, allow).await;
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
    let to_node = terms
        .capabilities
        .towards_node(terms.node_greeting.capabilities);
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
        auth: Bytes::new(),
        collation: Some(collation),
        attributes,
        ..command
    };
    let greeting = terms.node_greeting;
    let scramble = Scramble {
        plugin: greeting.plugin.clone(),
        scramble: greeting.scramble.clone(),
    };
    let (mut exchange, first) =
        Exchange::change_user(command, to_node, &scramble, Style::of(&greeting.version));
    let talk = converse(client, node, &mut exchange, first, terms.capabilities);
    let reason = match timeout_at(terms.deadline, talk).await {
        Ok(Ok(ok)) => {
            return Ok(Change::Done {
                name,
                database,
                collation,
                ok,
            });
        }
        Ok(Err(Broken::Refused(err))) => return Ok(Change::Refused(err)),
        Ok(Err(broken)) => broken.reason(),
        Err(_elapsed) if exchange.client_owes() => LoginReason::ClientTimeout,
        Err(_elapsed) => LoginReason::NodeTimeout,
    };
    part_from_node(node, exchange.farewell()).await;
    Err(ChangeBroken(reason))
}

async fn not_allowed(client: &mut LoginLeg<'_>, error: MysqlError) -> Result<Change, ChangeBroken> {
    match client.write(&encode_error(&error)).await {
        Ok(()) => Ok(Change::NotAllowed(error)),
        Err(_gone) => Err(ChangeBroken(LoginReason::ClientClosed)),
    }
}
