//! Who may see and end which session (odp.md, sections 2.1, 3.3 and 5.3), and what an id means to whom. Statements reach sessions only
//! through here: no answer or error tells of a session that its caller must not know of.

use super::{AdminError, Caller, Snapshot};
use crate::session::{ConnectionId, CsId, PROXY_TENANT, SYS_TENANT, ServerSession, Session};

/// The user who administrates the proxy.
const ROOT: &str = "root";

/// Whether the caller may use the statements that ODP reserves to operators.
pub fn is_operator(caller: &Caller<'_>) -> bool {
    caller.login.user == ROOT && (caller.login.tenant == SYS_TENANT || is_proxy_root(caller))
}

/// Whether the caller is `root` of the proxy itself, who has no node.
pub fn is_proxy_root(caller: &Caller<'_>) -> bool {
    caller.login.user == ROOT && caller.login.tenant == PROXY_TENANT
}

/// The sessions that the caller may see, by id.
pub fn visible<'a>(snapshot: &Snapshot<'a>) -> Vec<&'a Session> {
    let caller = &snapshot.caller;
    let is_sys = caller.has_tenant && caller.login.tenant == SYS_TENANT;
    let sees_all = is_proxy_root(caller) || is_sys;
    let mut sessions: Vec<_> = snapshot
        .sessions
        .iter()
        .filter(|session| sees_all || session.cs_id == caller.cs_id)
        .collect();
    sessions.sort_by_key(|session| session.cs_id);
    sessions
}

/// The sessions that `SHOW PROCESSLIST` shows the caller, by id: besides the visible ones those of his user in his tenant, with the privilege
/// PROCESS all of his tenant. None where it depends on privileges that are not known.
pub fn listed<'a>(snapshot: &Snapshot<'a>) -> Option<Vec<&'a Session>> {
    let visible = visible(snapshot);
    if visible.len() == snapshot.sessions.len() {
        return Some(visible);
    }
    let caller = &snapshot.caller;
    let in_tenant = |session: &&Session| {
        session.cs_id == caller.cs_id
            || session.login.tenant == caller.login.tenant
                && session.login.cluster == caller.login.cluster
    };
    let is_own = |session: &&Session| {
        session.login.user == caller.login.user || session.cs_id == caller.cs_id
    };
    let mut sessions: Vec<_> = snapshot.sessions.iter().filter(in_tenant).collect();
    if !sessions.iter().all(is_own) && !caller.privileges?.sees_others {
        sessions.retain(is_own);
    }
    sessions.sort_by_key(|session| session.cs_id);
    Some(sessions)
}

/// The id that a statement names; ODP takes -1 for a missing one.
pub(super) fn named(id: Option<i64>) -> Option<i64> {
    id.filter(|id| *id != -1)
}

/// The visible session that an id means; the caller's own without an id.
///
/// # Errors
/// [`AdminError::unknown_thread`] and [`AdminError::ambiguous_thread`].
pub fn find_visible<'a>(
    snapshot: &Snapshot<'a>,
    id: Option<i64>,
) -> Result<&'a Session, AdminError> {
    let id = named(id).unwrap_or_else(|| i64::from(snapshot.caller.cs_id.0));
    resolve(id, &visible(snapshot))
}

/// The session that an id means, if the caller may end it.
///
/// # Errors
/// [`AdminError::unknown_thread`], also for a session that the caller must not know of; [`AdminError::not_owner`];
/// [`AdminError::ambiguous_thread`].
pub fn find_to_kill<'a>(snapshot: &Snapshot<'a>, id: i64) -> Result<&'a Session, AdminError> {
    find(snapshot, id, kill_right)
}

/// The session that an id means, if the caller may stop what it is executing: users of tenant `sys` have no more right to that than others
/// (odp.md, section 5.4).
///
/// # Errors
/// As [`find_to_kill`].
pub fn find_to_interrupt<'a>(snapshot: &Snapshot<'a>, id: i64) -> Result<&'a Session, AdminError> {
    find(snapshot, id, |caller, target| {
        if target.cs_id == caller.cs_id {
            KillRight::Granted
        } else {
            right_in_tenant(caller, target)
        }
    })
}

fn find<'a>(
    snapshot: &Snapshot<'a>,
    id: i64,
    right: impl Fn(&Caller<'_>, &Session) -> KillRight,
) -> Result<&'a Session, AdminError> {
    let right = |session: &Session| right(&snapshot.caller, session);
    let known: Vec<_> = snapshot
        .sessions
        .iter()
        .filter(|session| right(session) != KillRight::Hidden)
        .collect();
    let session = resolve(id, &known)?;
    match right(session) {
        KillRight::Granted => Ok(session),
        KillRight::NotOwner => Err(AdminError::not_owner(id)),
        KillRight::Hidden => Err(AdminError::unknown_thread(id)),
    }
}

/// The server session that an id means, as its `ss_id` or its connection id, if the caller may end it; and whose it is.
///
/// # Errors
/// As [`find_to_kill`].
pub fn find_server_to_kill<'a>(
    snapshot: &Snapshot<'a>,
    id: i64,
) -> Result<(&'a Session, &'a ServerSession), AdminError> {
    let unknown = || AdminError::unknown_thread(id);
    let number = u64::try_from(id).map_err(|_negative| unknown())?;
    let right = |session: &Session| kill_right(&snapshot.caller, session);
    let known: Vec<_> = snapshot
        .sessions
        .iter()
        .filter(|session| right(session) != KillRight::Hidden)
        .flat_map(|session| session.servers.iter().map(move |server| (session, server)))
        .collect();
    let by_ss_id = known.iter().find(|(_, server)| server.ss_id.0 == number);
    let (session, server) = if let Some(found) = by_ss_id {
        *found
    } else {
        let connection = ConnectionId(number);
        let holds = |(_, server): &&(_, &ServerSession)| server.connection_id == connection;
        let holders: Vec<_> = known.iter().filter(holds).collect();
        match *holders {
            [] => return Err(unknown()),
            [found] => *found,
            [..] => {
                let ids: Vec<_> = holders.iter().map(|(_, server)| server.ss_id).collect();
                return Err(AdminError::ambiguous_thread(id, &ids));
            }
        }
    };
    if right(session) == KillRight::Granted {
        Ok((session, server))
    } else {
        Err(AdminError::not_owner(id))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum KillRight {
    Granted,
    NotOwner,
    Hidden,
}

fn kill_right(caller: &Caller<'_>, target: &Session) -> KillRight {
    let (mine, its) = (caller.login, &target.login);
    if target.cs_id == caller.cs_id || is_proxy_root(caller) {
        return KillRight::Granted;
    }
    // Unlike everywhere else ODP compares the tenant's name without case here.
    let is_sys = caller.has_tenant && mine.tenant.eq_ignore_ascii_case(SYS_TENANT);
    if !is_sys {
        return right_in_tenant(caller, target);
    }
    if mine.cluster == its.cluster {
        KillRight::Granted
    } else {
        KillRight::NotOwner
    }
}

/// What a user may do to sessions of his own tenant. Others do not exist for him.
fn right_in_tenant(caller: &Caller<'_>, target: &Session) -> KillRight {
    let (mine, its) = (caller.login, &target.login);
    let ends_others = caller.privileges.is_some_and(|has| has.ends_others);
    if mine.cluster != its.cluster || mine.tenant != its.tenant {
        KillRight::Hidden
    } else if mine.user == its.user || ends_others {
        KillRight::Granted
    } else {
        KillRight::NotOwner
    }
}

/// The session that an id means among `known`: as a client session's id, else as the connection id of a server session.
fn resolve<'a>(id: i64, known: &[&'a Session]) -> Result<&'a Session, AdminError> {
    let unknown = || AdminError::unknown_thread(id);
    let number = u64::try_from(id).map_err(|_negative| unknown())?;
    let cs_id = u32::try_from(number).ok().map(CsId);
    if let Some(session) = known.iter().find(|session| Some(session.cs_id) == cs_id) {
        return Ok(session);
    }
    let holders: Vec<_> = known
        .iter()
        .filter(|session| session.has_connection(ConnectionId(number)))
        .collect();
    match *holders {
        [] => Err(unknown()),
        [holder] => Ok(holder),
        [..] => {
            let mut ids: Vec<_> = holders.iter().map(|session| session.cs_id).collect();
            ids.sort_unstable();
            Err(AdminError::ambiguous_thread(id, &ids))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{
        Privileges,
        fixture::{client, daemon, login, server},
    };

    const SHOP_ROOT: &str = "root@shop#east";

    /// Two clusters, four tenants, users of the same name in several of them.
    fn sessions() -> Vec<Session> {
        vec![
            client(1, "root@sys#east"),
            client(2, SHOP_ROOT),
            client(3, SHOP_ROOT),
            client(4, "app@shop#east"),
            client(5, "root@bank#east"),
            client(6, "root@shop#west"),
            client(7, "root@proxysys#east"),
        ]
    }

    fn with_snapshot<T>(
        sessions: &[Session],
        caller: u32,
        has_super: bool,
        run: impl Fn(&Snapshot<'_>) -> T,
    ) -> T {
        let own = sessions
            .iter()
            .find(|session| session.cs_id.0 == caller)
            .unwrap();
        run(&Snapshot {
            sessions,
            caller: Caller {
                cs_id: CsId(caller),
                login: &own.login,
                has_tenant: true,
                privileges: Some(Privileges {
                    ends_others: has_super,
                    ..Privileges::default()
                }),
            },
            daemon: daemon(),
        })
    }

    #[test]
    fn tenant_sys_and_the_proxys_root_see_all_others_themselves() {
        let sessions = sessions();
        let all = vec![1, 2, 3, 4, 5, 6, 7];
        for (caller, expected) in [(1, all.clone()), (2, vec![2]), (4, vec![4]), (7, all)] {
            let seen = with_snapshot(&sessions, caller, true, |snapshot| {
                visible(snapshot)
                    .iter()
                    .map(|session| session.cs_id.0)
                    .collect::<Vec<_>>()
            });
            assert_eq!(seen, expected, "caller {caller}");
        }
    }

    #[test]
    fn process_lists_show_all_sessions_of_ones_user() {
        let sessions = sessions();
        let all = vec![1, 2, 3, 4, 5, 6, 7];
        for (caller, own, with_process) in [
            (1, all.clone(), all.clone()),
            (2, vec![2, 3], vec![2, 3, 4]),
            (4, vec![4], vec![2, 3, 4]),
            (5, vec![5], vec![5]),
            (6, vec![6], vec![6]),
            (7, all.clone(), all),
        ] {
            let seen = |privileges| {
                with_snapshot(&sessions, caller, true, |snapshot| {
                    let caller = Caller {
                        privileges,
                        ..snapshot.caller
                    };
                    let listed = listed(&Snapshot {
                        caller,
                        ..*snapshot
                    })?;
                    Some(
                        listed
                            .iter()
                            .map(|session| session.cs_id.0)
                            .collect::<Vec<_>>(),
                    )
                })
            };
            let has = |sees_others| {
                Some(Privileges {
                    ends_others: false,
                    sees_others,
                })
            };
            assert_eq!(seen(has(false)).as_ref(), Some(&own), "caller {caller}");
            assert_eq!(
                seen(has(true)).as_ref(),
                Some(&with_process),
                "caller {caller}"
            );
            let unknown = (own == with_process).then_some(own);
            assert_eq!(seen(None), unknown, "caller {caller}");
        }
    }

    #[test]
    fn who_may_kill_whom() {
        let sessions = sessions();
        for (caller, has_super, target, expected) in [
            // Oneself.
            (4, false, 4, Ok(4)),
            // The proxy's root.
            (7, false, 6, Ok(6)),
            (7, false, 1, Ok(1)),
            // Tenant sys: its cluster.
            (1, false, 5, Ok(5)),
            (1, true, 6, Err(1095)),
            // Same tenant.
            (2, false, 3, Ok(3)),
            (2, false, 4, Err(1095)),
            (2, true, 4, Ok(4)),
            (4, false, 2, Err(1095)),
            // Other tenants and clusters do not exist.
            (2, true, 5, Err(1094)),
            (2, true, 6, Err(1094)),
            (2, true, 1, Err(1094)),
            (2, true, 7, Err(1094)),
        ] {
            let found = with_snapshot(&sessions, caller, has_super, |snapshot| {
                find_to_kill(snapshot, target)
                    .map(|session| session.cs_id.0)
                    .map_err(|error| error.code)
            });
            assert_eq!(
                found, expected,
                "{caller} kills {target}, SUPER {has_super}"
            );
        }
    }

    #[test]
    fn a_tenant_that_nobody_has_checked_gives_no_rights() {
        let sessions = [client(1, "app@sys#east"), client(2, SHOP_ROOT)];
        let login = &sessions[0].login;
        let caller = Caller {
            cs_id: CsId(1),
            login,
            has_tenant: false,
            privileges: None,
        };
        let snapshot = Snapshot {
            sessions: &sessions,
            caller,
            daemon: daemon(),
        };
        assert_eq!(visible(&snapshot).len(), 1);
        assert_eq!(find_to_kill(&snapshot, 2).unwrap_err().code, 1094);
    }

    #[test]
    fn only_kill_takes_sys_in_any_case() {
        let sessions = [client(1, "root@SYS#east"), client(2, SHOP_ROOT)];
        with_snapshot(&sessions, 1, false, |snapshot| {
            assert_eq!(find_to_kill(snapshot, 2).unwrap().cs_id, CsId(2));
            assert_eq!(find_visible(snapshot, Some(2)).unwrap_err().code, 1094);
            assert!(!is_operator(&snapshot.caller));
        });
    }

    #[test]
    fn operators_are_root_of_sys_and_proxysys() {
        for (name, expected) in [
            ("root@sys#east", true),
            ("root@proxysys#east", true),
            ("admin@sys#east", false),
            (SHOP_ROOT, false),
        ] {
            let caller = Caller {
                cs_id: CsId(1),
                login: &login(name),
                has_tenant: true,
                privileges: None,
            };
            assert_eq!(is_operator(&caller), expected, "{name}");
        }
    }

    #[test]
    fn ids_are_resolved_as_client_session_first() {
        let mut sessions = sessions();
        sessions[1].bind(server(1, 5));
        sessions[2].bind(server(2, 900));
        sessions[2].bind(server(3, 901));
        with_snapshot(&sessions, 1, false, |snapshot| {
            let found = |id| {
                find_visible(snapshot, id)
                    .map(|session| session.cs_id.0)
                    .map_err(|error| error.code)
            };
            assert_eq!(
                [Some(5), Some(900), Some(901)].map(found),
                [Ok(5), Ok(3), Ok(3)]
            );
            assert_eq!([None, Some(-1)].map(found), [Ok(1), Ok(1)]);
            for unknown in [0, 8, 902, -2, 1 << 32, (1 << 32) + 1, i64::MAX, i64::MIN] {
                assert_eq!(found(Some(unknown)), Err(1094), "{unknown}");
            }
        });
        // Whoever may not know of the client session 5 means his own connection.
        with_snapshot(&sessions, 2, false, |snapshot| {
            assert_eq!(find_to_kill(snapshot, 5).unwrap().cs_id, CsId(2));
        });
    }

    #[test]
    fn a_connection_id_of_two_nodes_is_an_error_to_whoever_knows_both() {
        let mut sessions = sessions();
        sessions[1].bind(server(1, 900));
        sessions[4].bind(server(2, 900));
        let kill = |caller| {
            with_snapshot(&sessions, caller, false, |snapshot| {
                find_to_kill(snapshot, 900)
                    .map(|session| session.cs_id.0)
                    .map_err(|error| error.to_string())
            })
        };
        let text = "1105 (HY000): Connection id 900 is used at more than one node; use one of the ids 2, 5";
        assert_eq!(kill(1), Err(text.to_owned()));
        assert_eq!((kill(2), kill(5)), (Ok(2), Ok(5)));
        // One client that has the same id at two nodes is meant either way.
        let mut twice = [client(1, SHOP_ROOT)];
        twice[0].bind(server(1, 900));
        twice[0].bind(server(2, 900));
        with_snapshot(&twice, 1, false, |snapshot| {
            assert_eq!(find_to_kill(snapshot, 900).unwrap().cs_id, CsId(1));
        });
    }

    #[test]
    fn errors_carry_the_id_as_given() {
        let sessions = sessions();
        with_snapshot(&sessions, 2, false, |snapshot| {
            let error = |id| find_to_kill(snapshot, id).unwrap_err().to_string();
            assert_eq!(error(-3), "1094 (HY000): Unknown thread id: -3");
            assert_eq!(error(5), "1094 (HY000): Unknown thread id: 5");
            assert_eq!(error(4), "1095 (HY000): You are not owner of thread 4");
        });
    }
}
