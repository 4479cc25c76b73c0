//! Random texts: pieces of statements one behind the other, some with a byte changed.

/// What decides, what nearly does, and all that may stand between.
const PIECES: &[&str] = &[
    "SELECT ",
    " OVER ",
    ")OVER (",
    "over(",
    "O",
    "R",
    "SELECT",
    " FROM ",
    " WHERE ",
    " IN",
    "in",
    " AND",
    "or ",
    "NOT",
    "EXISTS",
    " AS ",
    " UNION ",
    " BY ",
    "INTERVAL",
    "BETWEEN ",
    "LIKE",
    "CASE",
    "COUNT",
    "count(",
    "SUM(",
    "max",
    "MIN(a)",
    "COALESCE(",
    "IFNULL",
    "IF(",
    "if",
    "concat",
    "DATE_FORMAT(",
    "NOW()",
    "CAST(a AS CHAR(3))",
    "LEFT(",
    "LEFT JOIN ",
    "SUBSTRING(",
    "LAST_INSERT_ID()",
    "CONNECTION_ID(",
    "f(",
    "f ",
    "g",
    "NEXTVAL",
    "NEXTVAL(s)",
    "CURRVAL",
    "NEXT VALUE FOR s",
    "PREVIOUS VALUE",
    " FOR ",
    "FOR UPDATE",
    "FOR",
    "INTO",
    " INTO ",
    "SQL_CALC_FOUND_ROWS ",
    "FOUND_ROWS",
    "FOUND_ROWS()",
    "SELECT FOUND_ROWS()",
    "ROW_COUNT()",
    "row_count",
    "SLEEP(1)",
    "mysql",
    "mysql.user",
    "SYS",
    "sys.x",
    "performance_schema",
    "PERFORMANCE_SCHEMA.threads",
    "information_schema.",
    "PROCESSLIST",
    "processlist",
    "PROFILING",
    "OPTIMIZER_TRACE",
    "`mysql`",
    "`sys`",
    "`performance_schema`",
    "`PROCESSLIST`",
    "`f`",
    "`count`",
    "`a`",
    "\"f\"",
    "\"mysql\"",
    "\"a\"",
    "'a'",
    "''",
    "''''",
    "'it''s'",
    "'a\\'",
    "'\\\\'",
    "\"\"",
    "\"\\\"",
    "``",
    "'f('",
    "'",
    "\"",
    "`",
    "\\",
    "(",
    "(",
    "(",
    ")",
    ")",
    "()",
    "(1)",
    ".",
    ".",
    " . ",
    ",",
    ", ",
    "=",
    "*",
    "-",
    "/",
    "+",
    " ",
    " ",
    " ",
    "\n",
    "\t",
    "\r",
    "\u{b}",
    "/*",
    "*/",
    "/**/",
    "/* x */",
    "/* ' */",
    "/*! f() */",
    "/*M!",
    "/*+ x */",
    "/*/",
    "-- ",
    "-- x\n",
    "--\t",
    "--",
    "# '\n",
    "#",
    "\n",
    ";",
    "@",
    "@@x",
    "$",
    "$$",
    "_",
    "a",
    "x",
    "e",
    "1",
    "0",
    "1.",
    ".5",
    "1e5",
    "1e",
    "0x1F",
    "0x",
    "1a",
    "N'",
    "\u{e9}",
    "\u{a0}",
    "\u{540d}",
    "\0",
    "\u{1}",
    "{",
    "[",
    "!",
    "%",
    "<=",
    "?",
    ":",
    "t",
    "t ",
    "d.",
    "a.b",
    "a.b ",
];

const CHANGES: &[u8] = b" \n.('`\"\\/*-#_$@;,ax1F\xa0\xff\0";

pub(crate) struct Texts {
    seed: u64,
    text: Vec<u8>,
}

impl Texts {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            text: Vec::new(),
        }
    }

    /// `SplitMix64`, below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        self.text.clear();
        for _ in 0..=self.below(9) {
            let piece = PIECES[self.below(PIECES.len())];
            let swap = self.below(4) == 0;
            for byte in piece.bytes() {
                let other = byte.is_ascii_alphabetic() && swap;
                self.text.push(if other { byte ^ 0x20 } else { byte });
            }
        }
        if self.below(4) == 0 {
            let at = self.below(self.text.len());
            self.text[at] = CHANGES[self.below(CHANGES.len())];
        }
        &self.text
    }
}
