//! What a client can be told to do. An operation holds all that was drawn for it: how it is carried out depends on nothing but it and on the
//! state that the client's session has from the operations before.

use crate::wire::Pace;
use std::time::Duration;

/// Bytes that a seed determines: letters that need no quoting in SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// How many.
    pub bytes: usize,
    /// Which.
    pub seed: u64,
}

/// How a command's bytes are written, and its answer is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manner {
    /// Where the bytes are cut, in thousandths of them; each piece is a write of its own.
    pub cuts: Vec<usize>,
    /// Between two pieces.
    pub pause: Duration,
    /// Before the answer is read.
    pub stall: Duration,
    /// How it is read then.
    pub pace: Option<Pace>,
}

/// A part of a pipeline or of several statements in one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A text that comes back.
    Echo(Text),
    /// A user variable's new value.
    Set(u64),
    /// The variable's value.
    Look,
    /// `DO 1`, answered OK.
    Nothing,
    /// A result set of so many rows, each with a text of eight bytes times the second number.
    Rows(usize, usize),
    /// An error. In one command, what is behind it is not executed.
    Fail,
    /// An execution of the session's prepared `SELECT ?` (in pipelines).
    Execute(Text),
}

/// A statement of a session that turns from one node to the other, if it reads at the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A read that tells which node has answered.
    Node,
    /// The same in a transaction of its own.
    NodeInTransaction,
    /// A text that comes back, from any node.
    Echo(Text),
    /// A text that comes back as only the primary answers it.
    EchoAtPrimary(Text),
    /// A text that comes back, with a hint that leads the session to the replica of this number.
    Lead(usize, Text),
}

/// A parameter of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its value.
    pub text: Text,
    /// In how many pieces it is sent ahead (`COM_STMT_SEND_LONG_DATA`); 0: with the execution.
    pub pieces: usize,
}

/// When a statement is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// After its last answer.
    After,
    /// In one write with its last execution, behind it.
    Behind,
    /// In one write with the first execution of the next, before it.
    BeforeNext,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its rows stay.
    Commit,
    /// Its rows go.
    Rollback,
}

/// Whom another session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// `KILL QUERY`: the command, or nothing.
    Query,
    /// `KILL`: the session.
    Session,
    /// `KILL PROXYSESSION SERVER`: the server session, which the proxy replaces.
    ServerSession,
    /// `KILL` of the server session, said to the node itself.
    AtNode,
}

/// What the session does meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// A result set of so many rows of eight bytes times the second number.
    Rows(usize, usize),
    /// Nothing, for so many milliseconds at the node.
    Sleeps(usize),
    /// So many short commands, one after another.
    Points(usize),
}

/// When a connection is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the greeting has been read.
    Connected,
    /// In the middle of the login packet.
    LoggingIn,
    /// At a command boundary.
    Idle,
    /// In the middle of a command.
    Command,
    /// Behind a command, of whose answer this many bytes are read.
    Answer(usize),
}

/// How a connection is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// `COM_QUIT`.
    Quit,
    /// close(2).
    Fin,
    /// close(2) with nothing to linger for.
    Reset,
    /// shutdown(2) of the sending half; what comes is read.
    Half,
}

/// A short connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Which of the client's local ports it has.
    pub port: usize,
    /// How many commands.
    pub commands: usize,
    /// How it ends.
    pub leave: Leave,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A text, sent in a command whose payload is this long, that comes back.
    Echo(Text, Manner),
    /// A short command whose answer is one cell: of `bytes` bytes, by a repeated text.
    Grow {
        /// What is repeated.
        period: Text,
        /// Of the cell.
        bytes: usize,
        /// How the answer is read.
        manner: Manner,
    },
    /// A payload of a few bytes, whose answer is as the node's own: which.
    Tiny(usize),
    /// A result set of so many rows, each with a text of eight bytes times `width`; perhaps in the binary protocol, perhaps cut by an error.
    Rows {
        /// How many.
        rows: usize,
        /// Of each.
        width: usize,
        /// Whether it is a prepared statement's.
        binary: bool,
        /// The row in whose place an error comes.
        error_at: Option<usize>,
        /// How the answer is read.
        manner: Manner,
    },
    /// A statement of as many parameters, prepared, executed several times and closed.
    Prepared {
        /// For each execution the parameters.
        executions: Vec<Vec<Parameter>>,
        /// When it is closed.
        close: Close,
    },
    /// Statements for this node and for that.
    Turns(Vec<Turn>),
    /// Commands written without a look at their answers.
    Pipeline(Vec<Part>, Manner),
    /// Statements in one command.
    Multi(Vec<Part>, Manner),
    /// `LOAD DATA LOCAL INFILE` of so many lines.
    Infile(usize, u64),
    /// A statement that fails: which.
    Fail(usize),
    /// `SET @v`.
    SetVariable(u64),
    /// `SELECT @v`.
    LookAtVariable,
    /// `SET SESSION` of a system variable to one of its values.
    SetSystem(u64),
    /// The system variable.
    LookAtSystem,
    /// A row inserted and read back.
    Insert(Text),
    /// One of the rows that are there.
    ReadBack(usize),
    /// The table's number of rows and checksums.
    CheckTable,
    /// Rows inserted in a transaction.
    Transaction(Vec<Text>, End),
    /// All rows deleted.
    Empty,
    /// A statement whose answer is as the node's own, packet for packet: which.
    Compare(usize),
    /// A statement that the proxy answers: which.
    Ask(usize),
    /// `COM_RESET_CONNECTION`.
    Reset,
    /// `COM_CHANGE_USER`.
    ChangeUser,
    /// `COM_INIT_DB`, to one database or the other.
    Database(bool),
    /// Another session ends this one, or its command, after so many microseconds.
    Kill(Kill, Victim, u64),
    /// A connection of its own is left.
    Abort(Moment, Leave),
    /// Short connections from few ports.
    Shorts(Vec<Short>),
    /// The session ends, and another begins; with `CLIENT_DEPRECATE_EOF` or without.
    Reconnect(Leave, bool),
}

impl Operation {
    /// Its kind, for counts.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Echo(..) => "echo",
            Self::Grow { .. } => "grow",
            Self::Tiny(_) => "tiny",
            Self::Rows {
                error_at: Some(_), ..
            } => "error in mid-result",
            Self::Rows { binary: true, .. } => "binary rows",
            Self::Rows { .. } => "rows",
            Self::Prepared { .. } => "prepared",
            Self::Turns(_) => "turns",
            Self::Pipeline(..) => "pipeline",
            Self::Multi(..) => "multi",
            Self::Infile(..) => "infile",
            Self::Fail(_) => "error",
            Self::SetVariable(_) | Self::LookAtVariable => "user variable",
            Self::SetSystem(_) | Self::LookAtSystem => "system variable",
            Self::Insert(_) | Self::ReadBack(_) | Self::CheckTable | Self::Empty => "table",
            Self::Transaction(..) => "transaction",
            Self::Compare(_) => "compare",
            Self::Ask(_) => "ask proxy",
            Self::Reset | Self::ChangeUser | Self::Database(_) => "reset",
            Self::Kill(Kill::Query, ..) => "kill query",
            Self::Kill(Kill::Session, ..) => "kill",
            Self::Kill(Kill::ServerSession, ..) => "kill server session",
            Self::Kill(Kill::AtNode, ..) => "kill at node",
            Self::Abort(..) => "abort",
            Self::Shorts(_) => "short connections",
            Self::Reconnect(..) => "reconnect",
        }
    }
}
