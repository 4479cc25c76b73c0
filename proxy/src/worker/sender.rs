//! The PROXY header that a load balancer on the list sends before everything else.

use std::{net::SocketAddr, pin::pin};

use bytes::{Buf as _, BytesMut};
use tokio::time::timeout;

use super::{close::End, registry::Entry};
use crate::{
    config::{HeaderVersion, Settings},
    net::Leg,
    protocol::proxy_header::{Ends, Version, parse},
    session::login_end::LoginReason,
};

/// Reads the header, where the peer is one that must send it; the session's client is the one that it names from then on. Returns what was read
/// behind it.
///
/// # Errors
/// How the session ends, and why.
pub(super) async fn hear(
    settings: &Settings,
    entry: &Entry,
    client: &Leg,
) -> Result<BytesMut, (End, String)> {
    let mut rest = BytesMut::new();
    if !settings
        .proxy_protocol_from
        .contain(client.peer_addr().ip())
    {
        return Ok(rest);
    }
    let heard = {
        let heard = pin!(timeout(settings.login_timeout, read(client, &mut rest)));
        entry.unless_ended(heard).await
    };
    let heard = heard.map_err(|end| (end, String::new()))?;
    let ends = heard.unwrap_or(Err((
        LoginReason::ClientTimeout,
        "no PROXY header".to_owned(),
    )));
    let ends = ends.map_err(|(reason, detail)| (End::Login(reason), detail))?;
    if let Some(ends) = ends {
        entry.session.borrow_mut().client = ends.source;
    }
    let length = client.read_bytes().saturating_sub(rest.len() as u64);
    entry
        .header_bytes
        .set(u32::try_from(length).unwrap_or(u32::MAX));
    Ok(rest)
}

async fn read(client: &Leg, rest: &mut BytesMut) -> Result<Option<Ends>, (LoginReason, String)> {
    loop {
        let filled = client.fill(rest).await;
        match filled {
            Ok(0) | Err(_) if client.read_bytes() == 0 => {
                return Err((LoginReason::Probe, String::new()));
            }
            Ok(0) => return Err((LoginReason::ClientClosed, "in its PROXY header".to_owned())),
            Err(error) => return Err((LoginReason::ClientClosed, error.to_string())),
            Ok(_) => {}
        }
        match parse(rest) {
            Ok(Some(header)) => {
                rest.advance(header.length);
                return Ok(header.ends);
            }
            // Less than a header's longest form, which the parser knows.
            Ok(None) => {}
            Err(error) => return Err((LoginReason::ClientProtocol, error.to_string())),
        }
    }
}

/// What a node is told of the client's connection.
pub(super) fn ends(client: SocketAddr, leg: &Leg) -> Ends {
    Ends {
        source: client,
        destination: leg.local_addr(),
    }
}

/// The form of the header that the default cluster's nodes expect.
pub(super) fn of_default_cluster(settings: &Settings) -> Option<Version> {
    let cluster = settings.cluster(&settings.default_cluster)?;
    cluster.proxy_protocol.map(version)
}

/// The header's form, as the protocol's code names it.
pub(super) const fn version(version: HeaderVersion) -> Version {
    match version {
        HeaderVersion::One => Version::One,
        HeaderVersion::Two => Version::Two,
    }
}
