//! The words that decide, and their states: a word that is met again behind another beginning shares its states, so that as many
//! words as possible fit.
#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::large_stack_arrays,
    reason = "evaluated at compile time only"
)]

use crate::table::builder::{Builder, UNCLEAR};
use crate::table::class::{self, COLUMNS, UNDERSCORE};

/// Words that a parenthesis may follow, also behind white space. Each is reserved in MySQL 5.7 to 9, MariaDB and OceanBase:
/// none can be the unquoted name of a stored function (MariaDB lets a word that is not reserved name one).
pub(super) const KEYWORDS: [&[u8]; 21] = [
    b"IN",
    b"AND",
    b"OR",
    b"NOT",
    b"EXISTS",
    b"ALL",
    b"ON",
    b"USING",
    b"AS",
    b"FROM",
    b"JOIN",
    b"WHERE",
    b"SELECT",
    b"UNION",
    b"WHEN",
    b"THEN",
    b"ELSE",
    b"BY",
    b"HAVING",
    b"DISTINCT",
    b"LIKE",
];

/// The same behind a `)`: all that begin with an O. OVER is not reserved in MySQL 5.7, but no call can stand there.
pub(super) const CLOSED: [&[u8]; 3] = [b"ON", b"OR", b"OVER"];

/// Functions native to all of them, which give the same on every node, and types of a cast. Only right before the parenthesis:
/// with white space between, some of these names (`COUNT (x)`) mean a stored function.
pub(super) const FUNCTIONS: [&[u8]; 43] = [
    b"COUNT",
    b"SUM",
    b"AVG",
    b"MIN",
    b"MAX",
    b"COALESCE",
    b"IFNULL",
    b"NULLIF",
    b"IF",
    b"CONCAT",
    b"LOWER",
    b"UPPER",
    b"LENGTH",
    b"TRIM",
    b"REPLACE",
    b"LEFT",
    b"RIGHT",
    b"ROUND",
    b"MOD",
    b"CAST",
    b"DATE",
    b"YEAR",
    b"MONTH",
    b"DAY",
    b"NOW",
    b"DATE_FORMAT",
    b"CHAR",
    b"LCASE",
    b"UCASE",
    b"SUBSTRING",
    b"SUBSTR",
    b"HEX",
    b"RAND",
    b"GROUP_CONCAT",
    b"JSON_EXTRACT",
    b"JSON_UNQUOTE",
    b"EXTRACT",
    b"DATE_ADD",
    b"DATE_SUB",
    b"STD",
    b"SQRT",
    b"LOG",
    b"LN",
];

/// What asks about the statement before.
pub(super) const LAST: [&[u8]; 2] = [b"FOUND_ROWS", b"ROW_COUNT"];

/// Words that mean the writer without a parenthesis. FOR: locks rows, or takes a number of a sequence (`NEXT VALUE FOR s`).
/// `mysql` and `sys` are schemas whose tables tell of one server.
pub(super) const EXACT: [&[u8]; 4] = [b"FOR", b"INTO", b"MYSQL", b"SYS"];

/// The same for all words that begin so: `SQL_CALC_FOUND_ROWS`.
pub(super) const BEGINNINGS: [&[u8]; 1] = [b"SQL_C"];

/// Tables of `information_schema` that tell of one server or session, and `NEXTVAL`, `CURRVAL` of a sequence (`s.NEXTVAL`): words that
/// begin so mean the writer behind a dot, too.
pub(super) const BEHIND_DOT: [&[u8]; 5] = [b"PROCESSL", b"PROFILI", b"OPTIMIZ", b"NEXTV", b"CURRV"];

/// How `performance_schema` begins, but for a middle part that the automaton leaps over.
pub(super) const PERFORMANCE: [&[u8]; 1] = [b"PERF"];

/// Words that mean the writer in backticks if nothing else is in them.
pub(super) const QUOTED: [&[u8]; 2] = [b"MYSQL", b"SYS"];

/// The same for all names in backticks that begin so.
pub(super) const QUOTED_BEGINNINGS: [&[u8]; 3] = [b"PROCESSL", b"PROFILI", b"OPTIMIZ"];

/// Room for the nodes of all words, and for a 0 that is none.
const NODES: usize = 512;
/// Letters and `_`.
const EDGES: usize = UNDERSCORE as usize + 1;

/// Words as a tree; a node's children have higher numbers than it.
pub(super) struct Tree {
    child: [[u16; EDGES]; NODES],
    /// The state that a node's own one behaves like but for its children; `UNCLEAR` of a root, and of a node that is this state.
    like: [u8; NODES],
    len: usize,
}

impl Tree {
    /// No words.
    pub(super) const fn new() -> Self {
        Self {
            child: [[0; EDGES]; NODES],
            like: [UNCLEAR; NODES],
            len: 1,
        }
    }

    /// A root: where words may begin.
    pub(super) const fn root(&mut self) -> u16 {
        self.node(UNCLEAR)
    }

    const fn node(&mut self, like: u8) -> u16 {
        assert!(self.len < NODES, "more nodes than there is room for");
        self.like[self.len] = like;
        self.len += 1;
        (self.len - 1) as u16
    }

    /// Adds words whose end behaves like the state `end`, and what only begins like them like `other`.
    pub(super) const fn words(&mut self, root: u16, words: &[&[u8]], other: u8, end: u8) {
        let mut i = 0;
        while i < words.len() {
            let mut node = root as usize;
            let mut at = 0;
            while at < words[i].len() {
                let edge = class::of(words[i][at]) as usize;
                if self.child[node][edge] == 0 {
                    self.child[node][edge] = self.node(other);
                }
                node = self.child[node][edge] as usize;
                assert!(self.like[node] != UNCLEAR, "the begin of a word says all");
                at += 1;
            }
            assert!(self.like[node] == other, "a word twice");
            self.like[node] = end;
            i += 1;
        }
    }

    /// Makes states of all nodes, the last first: two that behave the same in all become one. `first` is the first state that
    /// may stand for a node.
    pub(super) const fn states(&self, b: &mut Builder, first: u8) -> [u8; NODES] {
        let mut states = [UNCLEAR; NODES];
        let mut node = self.len - 1;
        while node > 0 {
            let like = self.like[node];
            if like != UNCLEAR {
                let state = b.like(like);
                self.edges(b, &states, node, state);
                let mut known = first;
                while !same(b, known, state) {
                    known += 1;
                }
                if known < state {
                    b.drop_last();
                }
                states[node] = known;
            }
            node -= 1;
        }
        states
    }

    /// The bytes that begin a word lead from `state` to the states of the words.
    pub(super) const fn begin(&self, b: &mut Builder, states: &[u8; NODES], root: u16, state: u8) {
        self.edges(b, states, root as usize, state);
    }

    const fn edges(&self, b: &mut Builder, states: &[u8; NODES], node: usize, state: u8) {
        let mut edge = 0;
        while edge < EDGES {
            let child = self.child[node][edge] as usize;
            if child != 0 {
                b.on(state, edge as u8, states[child]);
            }
            edge += 1;
        }
    }
}

const fn same(b: &Builder, one: u8, other: u8) -> bool {
    if b.code[one as usize] != b.code[other as usize] {
        return false;
    }
    let mut column = 0;
    while column < COLUMNS {
        if b.next(one, column as u8) != b.next(other, column as u8) {
            return false;
        }
        column += 1;
    }
    true
}
