//! A session's places among those that its tenant and its user may have. It holds them from the node's word that it may log in until its end.

use std::{
    rc::Rc,
    sync::{Arc, MutexGuard, PoisonError},
};

use bytes::BytesMut;
use sluice_ebpf::record::Seat;

use super::{Process, Worker, auth::dismiss, bound::Bound, login::LoggedIn, registry::Entry};
use crate::{
    node::LoginLeg,
    protocol::{command, error::MysqlError, packet, reply::encode_error},
    route::occupancy::{Group, Occupancy},
    session::Login,
};

/// The places of one session; they are given back when it is dropped.
#[derive(Clone)]
pub(super) struct Quota([Rc<Place>; 2]);

/// One place in one group.
struct Place {
    process: Arc<Process>,
    group: Group,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.process.occupancy().leave(&self.group);
    }
}

impl Process {
    /// How many sessions tenants and users have.
    pub(super) fn occupancy(&self) -> MutexGuard<'_, Occupancy> {
        self.occupancy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a place for a login that nobody has verified yet: it gets none, but a node is not asked in vain.
    ///
    /// # Errors
    /// Error 1040 or 1203, for the client.
    pub(super) fn has_room(&self, login: &Login) -> Result<(), MysqlError> {
        let settings = self.settings();
        let groups = Group::of(login, &settings);
        let mut occupancy = self.occupancy();
        match occupancy.full(&groups, &settings) {
            None => Ok(()),
            Some(full) => {
                occupancy.refused(full);
                Err(no_place(full, login))
            }
        }
    }
}

/// Places for a login. Where the session has places already, as another user of the same tenant, it keeps those that stay its own.
///
/// # Errors
/// Error 1040 or 1203, for the client.
pub(super) fn take(
    process: &Arc<Process>,
    login: &Login,
    own: Option<&Quota>,
) -> Result<Quota, MysqlError> {
    let settings = process.settings();
    let groups = Group::of(login, &settings);
    let kept = |group: &Group| {
        let places = own.map_or(&[][..], |quota| &quota.0);
        places.iter().find(|place| place.group == *group).cloned()
    };
    let mut occupancy = process.occupancy();
    let new: Vec<_> = groups
        .iter()
        .filter(|group| kept(group).is_none())
        .cloned()
        .collect();
    if let Some(full) = occupancy.full(&new, &settings) {
        occupancy.refused(full);
        return Err(no_place(full, login));
    }
    occupancy.enter(&new);
    drop(occupancy);
    Ok(Quota(groups.map(|group| {
        kept(&group).unwrap_or_else(|| {
            Rc::new(Place {
                process: Arc::clone(process),
                group,
            })
        })
    })))
}

fn no_place(full: &Group, login: &Login) -> MysqlError {
    match full {
        Group::Tenant { .. } => MysqlError::too_many_of_tenant(&login.tenant),
        Group::User { .. } => MysqlError::too_many_of_user(&login.user),
    }
}

/// Turns a client away whom the node has let in: it is told so instead of OK.
pub(super) async fn turn_away(
    worker: &Worker,
    entry: &Rc<Entry>,
    logged_in: LoggedIn,
    error: &MysqlError,
) {
    let LoggedIn {
        client,
        client_rest,
        welcome,
        node,
        ..
    } = logged_in;
    // Dropped before the node's leg: no stale entry meets a reused port.
    let bound = Bound::node(worker, entry.place(), Seat::Writer, &node);
    // The node may be gone; its connection is closed in any case.
    let _ = LoginLeg::new(&node, BytesMut::new(), 0)
        .write(&[command::QUIT])
        .await;
    drop(bound);
    drop(node);
    let sequence = welcome.get(packet::HEADER_LEN - 1).copied();
    let mut client = LoginLeg::new(&client, client_rest, sequence.unwrap_or_default());
    dismiss(&mut client, Some(&encode_error(error))).await;
}
