//! All that a statement may look at.

use crate::session::{CsId, Login, Session};

/// The sessions of a statement's scope at one moment, and who asks.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The sessions, in any order. [`super::access`] filters them: statements do not look here themselves.
    pub sessions: &'a [Session],
    /// Who asks.
    pub caller: Caller<'a>,
}

/// Who sent a statement.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// His session.
    pub cs_id: CsId,
    /// Whom he logged in as.
    pub login: &'a Login,
    /// His tenant is more than a word of his: the node has checked it, or he is its `root`. Where nodes have no tenants (`MySQL`), everybody
    /// may write `@sys`.
    pub has_tenant: bool,
    /// The node has said that he has the privilege SUPER. `false` where it is not known.
    pub has_super: bool,
}
