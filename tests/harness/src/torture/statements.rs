//! Statements and payloads that operations choose from by a number.

/// Short payloads: commands without arguments, or with too little of them.
const TINY: [&[u8]; 9] = [
    b"\x0E",
    b"\x03",
    b"\x03;",
    b"\x03 ",
    b"\x03S",
    b"\x16",
    b"\x1A\xFF\xFF\xFF\x0F",
    b"\x02",
    b"\x02%",
];

/// Statements whose answers depend on nothing in the session.
const COMPARED: [&str; 16] = [
    "SELECT 1",
    "SELECT NULL, 1.5, 'text', 1e10, DATE'2026-11-29', TIME'10:11:12', x'00ff'",
    "SELECT 1 WHERE 0",
    "SELECT seq, NULL FROM mysql.seq_1_to_1000",
    "SELECT CAST('no number' AS SIGNED)",
    "SHOW VARIABLES LIKE 'version%'",
    "SHOW DATABASES LIKE 'm%'",
    "SHOW ENGINES",
    "SHOW CHARACTER SET",
    "SHOW COLLATION",
    "DESCRIBE mysql.db",
    "EXPLAIN SELECT seq FROM mysql.seq_1_to_10 WHERE seq > 3",
    "SELECT * FROM information_schema.plugins ORDER BY plugin_name",
    "SELECT REPEAT('x', 1000000) UNION ALL SELECT REPEAT('y', 250)",
    "SHOW CREATE TABLE mysql.global_priv",
    "DO 1",
];

/// Statements that fail, with the number of the error.
const FAILING: [(&str, u16); 6] = [
    ("SELECT no_such_column", 1054),
    ("SELECT * FROM mysql.no_such_table", 1146),
    ("this is no SQL", 1064),
    ("SELECT 'an open text", 1064),
    ("SELECT NO_SUCH_FUNCTION()", 1305),
    ("INSERT INTO mysql.no_such_table VALUES (1)", 1146),
];

/// Statements of the proxy's own about the session that asks; each answer has the session's id in it.
const ASKED: [&str; 4] = [
    "SHOW PROXYSESSION",
    "SHOW PROXYSESSION ATTRIBUTE",
    "SHOW FULL PROCESSLIST",
    "SHOW PROXYSESSION SERVER",
];

fn of<T: Copy>(list: &[T], number: usize) -> Option<T> {
    list.get(number.checked_rem(list.len())?).copied()
}

/// A payload of a few bytes.
pub fn tiny(number: usize) -> &'static [u8] {
    of(&TINY, number).unwrap_or_default()
}

/// A statement to be compared.
pub fn compared(number: usize) -> &'static str {
    of(&COMPARED, number).unwrap_or_default()
}

/// A statement that fails, with its error.
pub fn failing(number: usize) -> (&'static str, u16) {
    of(&FAILING, number).unwrap_or_default()
}

/// A statement for the proxy.
pub fn asked(number: usize) -> &'static str {
    of(&ASKED, number).unwrap_or_default()
}
