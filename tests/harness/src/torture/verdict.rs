//! What an operation's error means.

use crate::wire::Outcome;
use std::io::{self, ErrorKind};

/// How an operation went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A connection ended, could not be made, or the server said that it ends: right where something ended it.
    Lost,
    /// Nothing came for too long.
    Stuck,
    /// Bytes are others than they should be, or an error came that nothing explains.
    Wrong,
}

/// What servers and the proxy say of an end that is not the client's fault: the node cannot be reached, shuts down, has ended the session or the
/// command, or the proxy has lost it.
const ENDS: [u16; 9] = [1053, 1105, 1129, 1317, 1927, 2003, 2006, 2013, 1040];

/// What this error means.
pub fn of(error: &anyhow::Error) -> Fault {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Stuck,
                _ => Fault::Lost,
            };
        }
        if let Some(outcome) = cause.downcast_ref::<Outcome>()
            && ENDS.contains(&outcome.code())
        {
            return Fault::Lost;
        }
    }
    // An error in a context's place is not in the chain as a type of its own (anyhow::Error::context).
    match error.downcast_ref::<Outcome>() {
        Some(outcome) if ENDS.contains(&outcome.code()) => Fault::Lost,
        _ => Fault::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, Error, anyhow};

    #[test]
    fn faults_are_told_apart() {
        let refused = |code| Outcome::Error {
            code,
            state: String::new(),
            message: String::new(),
        };
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
            (Error::new(refused(2003)), Fault::Lost),
            (Error::new(refused(1064)), Fault::Wrong),
            (anyhow!("3 bytes differ"), Fault::Wrong),
        ] {
            let error = Err::<(), _>(error)
                .context("what it was about")
                .context("and why");
            assert_eq!(of(&error.unwrap_err()), fault);
        }
    }
}
