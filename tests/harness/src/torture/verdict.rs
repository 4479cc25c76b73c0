//! What an operation's error means.

use super::trouble::{Befallen, Loss};
use crate::wire::Outcome;
use std::{
    fmt,
    io::{self, ErrorKind},
};

/// How an operation went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A connection ended or could not be made: right where something ended it.
    Lost,
    /// An error of this number came: right where what it tells of has happened.
    Said(u16),
    /// A killer was told this number.
    Refused(u16),
    /// Nothing came for too long.
    Stuck,
    /// What was written is not there: right where the primary is gone, and the session at a replica that has not got it.
    Behind,
    /// Bytes are others than they should be.
    Wrong,
}

/// What a session that has another node when the primary is gone reads of what it has written is not what it has written.
#[derive(Debug)]
pub struct Behind;

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what was written is not there")
    }
}

/// What a killer was told instead of OK.
#[derive(Debug)]
pub struct Refused(pub Outcome);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the killer was told {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// `ER_CON_COUNT_ERROR`: sessions of a daemon that is gone are still there at the node.
const TOO_MANY: u16 = 1040;
/// `ER_LOCK_DEADLOCK`: a transaction has gone with its node, and the session goes on at another one.
const DEADLOCK: u16 = 1213;
/// `ER_OPTION_PREVENTS_STATEMENT`: the primary is gone, and what is left is read-only.
const READ_ONLY: u16 = 1290;
/// `ER_SERVER_SHUTDOWN`: what a server that ends says instead of an answer.
const SHUTDOWN: u16 = 1053;
/// `ER_NO_SUCH_THREAD`: who is to be killed went with its server.
const NO_SUCH_THREAD: u16 = 1094;
/// `ER_UNKNOWN_ERROR`: the proxy's, of what it has asked of a node.
pub const UNKNOWN: u16 = 1105;
/// `ER_HOST_IS_BLOCKED`: many logins were left in the middle.
const BLOCKED: u16 = 1129;
/// `ER_QUERY_INTERRUPTED`, said to the victim of a KILL, and to a command that is under way when a server ends.
pub const INTERRUPTED: u16 = 1317;
/// `ER_CONNECTION_KILLED`, said to the victim of a KILL, and to an idle session when a server ends.
pub const KILLED: u16 = 1927;
/// `ER_SQL_DISCOVER_ERROR`: `MariaDB` makes the tables `seq_1_to_…` by a statement of its own, and says only that it failed, not that somebody
/// has killed it.
pub const NOT_DISCOVERED: u16 = 1939;
/// `CR_CONN_HOST_ERROR`: the proxy's, of a node that cannot be reached.
const CANNOT_CONNECT: u16 = 2003;
/// `CR_SERVER_LOST`: the proxy's, of a node that is gone in the middle of a command.
pub const SERVER_LOST: u16 = 2013;
/// `OB_ERR_UNEXPECTED_RESULT`: the proxy's, to a killer, of a node that could not be asked to end a query.
const UNKNOWN_RESULT: u16 = 4081;

/// What this error means.
pub fn of(error: &anyhow::Error) -> Fault {
    if error.downcast_ref::<Behind>().is_some() {
        return Fault::Behind;
    }
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Stuck,
                _ => Fault::Lost,
            };
        }
        if let Some(outcome) = cause.downcast_ref::<Outcome>() {
            return Fault::Said(outcome.code());
        }
        if let Some(Refused(outcome)) = cause.downcast_ref::<Refused>() {
            return Fault::Refused(outcome.code());
        }
    }
    // An error in a context's place is not in the chain as a type of its own (anyhow::Error::context).
    match error.downcast_ref::<Outcome>() {
        Some(outcome) => Fault::Said(outcome.code()),
        None => Fault::Wrong,
    }
}

impl Fault {
    /// Whether what has happened explains it.
    pub fn is_explained(self, befallen: &Befallen) -> bool {
        match self {
            Self::Lost | Self::Refused(NO_SUCH_THREAD) => befallen.is_anything(),
            Self::Said(code) | Self::Refused(code) => {
                losses(code).iter().any(|loss| befallen.has(*loss))
            }
            Self::Behind => befallen.has(Loss::NodeEnded) || befallen.has(Loss::NodeKilled),
            Self::Stuck | Self::Wrong => false,
        }
    }
}

/// Whether it may be an error that a server or the proxy speaks of an end that is not the client's fault.
pub fn tells_of_an_end(outcome: &Outcome) -> bool {
    !losses(outcome.code()).is_empty()
}

/// What an error of this number tells of. Who is killed (SIGKILL) says nothing, so others do.
fn losses(code: u16) -> &'static [Loss] {
    match code {
        SHUTDOWN => &[Loss::NodeEnded, Loss::ReaderEnded, Loss::DaemonEnded],
        INTERRUPTED | KILLED | NOT_DISCOVERED => &[Loss::NodeEnded, Loss::ReaderEnded],
        UNKNOWN | CANNOT_CONNECT | SERVER_LOST | UNKNOWN_RESULT => &[
            Loss::NodeEnded,
            Loss::NodeKilled,
            Loss::ReaderEnded,
            Loss::ReaderKilled,
        ],
        DEADLOCK | READ_ONLY => &[Loss::NodeEnded, Loss::NodeKilled],
        TOO_MANY | BLOCKED => &[Loss::DaemonEnded, Loss::DaemonKilled],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, Error, anyhow};

    fn refused(code: u16) -> Outcome {
        Outcome::Error {
            code,
            state: String::new(),
            message: String::new(),
        }
    }

    #[test]
    fn faults_are_told_apart() {
        for (error, fault) in [
            (
                Error::new(io::Error::from(ErrorKind::ConnectionReset)),
                Fault::Lost,
            ),
            (
                Error::new(io::Error::from(ErrorKind::UnexpectedEof)),
                Fault::Lost,
            ),
            (
                Error::new(io::Error::from(ErrorKind::WouldBlock)),
                Fault::Stuck,
            ),
            (Error::new(refused(2003)), Fault::Said(2003)),
            (Error::new(Refused(refused(1094))), Fault::Refused(1094)),
            (anyhow!("3 bytes differ"), Fault::Wrong),
            (anyhow!("3 bytes differ").context(Behind), Fault::Behind),
        ] {
            let error = Err::<(), _>(error)
                .context("what it was about")
                .context("and why");
            assert_eq!(of(&error.unwrap_err()), fault);
        }
    }

    #[test]
    fn what_has_happened_explains_what_it_may_cause_and_no_more() {
        use Loss::{DaemonEnded, DaemonKilled, NodeEnded, NodeKilled, ReaderEnded, ReaderKilled};
        let all = [
            DaemonEnded,
            DaemonKilled,
            NodeEnded,
            NodeKilled,
            ReaderEnded,
            ReaderKilled,
        ];
        for (fault, causes) in [
            (Fault::Lost, &all[..]),
            (Fault::Refused(1094), &all[..]),
            (Fault::Said(1094), &[]),
            (Fault::Said(1053), &[DaemonEnded, NodeEnded, ReaderEnded]),
            (Fault::Refused(1053), &[DaemonEnded, NodeEnded, ReaderEnded]),
            (Fault::Said(1939), &[NodeEnded, ReaderEnded]),
            (
                Fault::Said(2003),
                &[NodeEnded, NodeKilled, ReaderEnded, ReaderKilled],
            ),
            (
                Fault::Refused(4081),
                &[NodeEnded, NodeKilled, ReaderEnded, ReaderKilled],
            ),
            (Fault::Said(1213), &[NodeEnded, NodeKilled]),
            (Fault::Behind, &[NodeEnded, NodeKilled]),
            (Fault::Said(1064), &[]),
            (Fault::Wrong, &[]),
            (Fault::Stuck, &[]),
        ] {
            assert!(!fault.is_explained(&Befallen::default()), "{fault:?}");
            for loss in all {
                let befallen = Befallen::from_iter([loss]);
                let is_cause = causes.contains(&loss);
                assert_eq!(
                    fault.is_explained(&befallen),
                    is_cause,
                    "{fault:?} {loss:?}"
                );
            }
        }
    }
}
