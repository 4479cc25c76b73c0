use super::*;
use crate::automaton::{self, TextVerdict};
use crate::reason::TrapReason;
use proptest::prelude::*;

fn sets(text: &str) -> bool {
    scan(START, text.as_bytes())
}

#[test]
fn what_drivers_send() {
    let texts = [
        // Connector/J, MariaDB's connectors in C, Java and Node, PHP's mysqlnd.
        "SET autocommit=0",
        "SET autocommit=1",
        "set autocommit=1",
        // PyMySQL and mysqlclient, so Django and SQLAlchemy.
        "SET AUTOCOMMIT = 0",
        // mysql-connector-python.
        "SET @@session.autocommit = OFF",
        "SET @@session.autocommit = ON",
        "SET SESSION autocommit = TRUE;",
        "set @@autocommit = false ; ",
        "SET LOCAL autocommit=0",
        "SET @@LOCAL.autocommit=0",
        "/* ApplicationName=DBeaver 24.0.0 - Main */ SET autocommit=1",
        "\n/* a *//* b **/\tSET\nautocommit\r\n=\t1\n;\n",
    ];
    for text in texts {
        assert!(sets(text), "{text:?}");
        let expected = TextVerdict::Trap(TrapReason::Verb);
        assert_eq!(automaton::scan(automaton::START, text.as_bytes()), expected);
    }
}

#[test]
fn what_the_daemon_must_see() {
    let texts = [
        "",
        "SET",
        "SET autocommit",
        "SET autocommit=",
        "SET autocommit=0,sql_mode=''",
        "SET autocommit=0;SET @a=1",
        "SET autocommit=0; x",
        "SET autocommit=10",
        "SET autocommit=0x1",
        "SET autocommit=-1",
        "SET autocommit=@a",
        "SET autocommit='0'",
        "SET autocommit=DEFAULT",
        "SET autocommit=ONE",
        "SET autocommit:=0",
        "SET autocommit<=0",
        "SET autocommit==0",
        "SET autocommit_x=0",
        "SETautocommit=0",
        "SET @autocommit=0",
        "SET `autocommit`=0",
        "SET GLOBAL autocommit=0",
        "SET @@GLOBAL.autocommit=0",
        "SET PERSIST autocommit=0",
        "SET SESSION @@autocommit=0",
        "SET SESSIONautocommit=0",
        "SET @@SESSION.x.autocommit=0",
        "SET @@ autocommit=0",
        "SET STATEMENT autocommit=0 FOR SELECT 1",
        "SET autocommit=0 -- x",
        "SET autocommit=0/**/",
        "SET/**/autocommit=0",
        "/*!SET autocommit=0*/",
        "/*! */SET autocommit=0",
        "/*M! */SET autocommit=0",
        "/*+ x */SET autocommit=0",
        "/* SET autocommit=0",
        "/*/SET autocommit=0",
        "SELECT 1",
        "SET autocommit=0\0",
        "SET autocommit\u{a0}=0",
    ];
    for text in texts {
        assert!(!sets(text), "{text:?}");
    }
    let long = |blanks: usize| format!("{}SET autocommit=0", " ".repeat(blanks));
    assert!(sets(&long(TEXT_BYTES_MAX - 16)));
    assert!(!sets(&long(TEXT_BYTES_MAX - 15)));
}

#[test]
fn query_attributes() {
    assert!(scan(START_WITH_ATTRIBUTES, b"\0\x01SET autocommit=0"));
    assert!(!scan(START_WITH_ATTRIBUTES, b"SET autocommit=0"));
    assert!(!scan(START_WITH_ATTRIBUTES, b"\x01\x01SET autocommit=0"));
    assert!(!scan(START, b"\0\x01SET autocommit=0"));
}

/// What may stand before the equals sign.
const NAMES: [&str; 9] = [
    "set autocommit",
    "set session autocommit",
    "set local autocommit",
    "set @@autocommit",
    "set @@session.autocommit",
    "set @@local.autocommit",
    "set@@autocommit",
    "set@@session.autocommit",
    "set@@local.autocommit",
];

/// The same by another way: what is left of the text when its parts are taken off its ends.
fn reference(text: &str) -> bool {
    const SPACES: [char; 6] = [' ', '\t', '\n', '\r', '\x0b', '\x0c'];
    let lower = text.to_ascii_lowercase();
    let mut front = lower.trim_start_matches(SPACES);
    while let Some(rest) = front.strip_prefix("/*") {
        let Some((comment, rest)) = rest.split_once("*/") else {
            return false;
        };
        let is_executed = ["!", "m!", "+"]
            .iter()
            .any(|mark| comment.starts_with(mark));
        if is_executed || comment.contains('\0') {
            return false;
        }
        front = rest.trim_start_matches(SPACES);
    }
    let back = front.trim_end_matches(SPACES);
    let back = back
        .strip_suffix(';')
        .unwrap_or(back)
        .trim_end_matches(SPACES);
    let Some((name, value)) = back.split_once('=') else {
        return false;
    };
    let value = value.trim_start_matches(SPACES);
    let is_digit = value.len() == 1 && value.as_bytes()[0].is_ascii_digit();
    if !is_digit && !["on", "off", "true", "false"].contains(&value) {
        return false;
    }
    let words: Vec<&str> = name.split(SPACES).filter(|word| !word.is_empty()).collect();
    NAMES.contains(&words.join(" ").as_str())
}

/// Parts of texts, those of the form among them often enough to be put together right.
const PARTS: [&str; 40] = [
    "SET",
    "set",
    " ",
    " ",
    "\t",
    "\n",
    "@@",
    "@",
    "SESSION",
    "session",
    "LOCAL",
    "GLOBAL",
    ".",
    "autocommit",
    "AUTOCOMMIT",
    "autocommit",
    "=",
    "=",
    " = ",
    ":=",
    "0",
    "1",
    "7",
    "ON",
    "off",
    "true",
    "FALSE",
    ";",
    ";",
    "/*",
    "*/",
    "/**/",
    "/* x */",
    "/*!",
    "+",
    "-",
    "x",
    "\0",
    ",",
    "'",
];
/// Right texts, of which parts are changed.
const WHOLE: [&[&str]; 4] = [
    &["SET", " ", "autocommit", "=", "0"],
    &[
        "/*",
        " x ",
        "*/",
        " ",
        "SET",
        " ",
        "SESSION",
        " ",
        "autocommit",
        " ",
        "=",
        " ",
        "ON",
        ";",
    ],
    &[
        "set",
        "@@",
        "session",
        ".",
        "autocommit",
        "=",
        "off",
        " ",
        ";",
        "\n",
    ],
    &["SET", " ", "@@", "autocommit", "=", "1"],
];

/// A right text of which some parts are left out, replaced or doubled.
fn changed(whole: usize, changes: &[(usize, usize, u8)]) -> String {
    let mut parts = WHOLE[whole].to_vec();
    for &(at, part, how) in changes {
        let (at, part) = (at % parts.len(), PARTS[part]);
        match how {
            0 => parts.insert(at, part),
            1 => parts[at] = part,
            _ => drop(parts.remove(at)),
        }
    }
    parts.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_texts(
        whole in 0..WHOLE.len(),
        changes in prop::collection::vec((0..20_usize, 0..PARTS.len(), 0..3_u8), 0..3),
    ) {
        let text = changed(whole, &changes);
        prop_assert_eq!(sets(&text), reference(&text), "{:?}", text);
    }
}
