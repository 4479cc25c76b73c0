//! The classifier against the world: statements as real programs send them, and a real parser's opinion of generated ones.

mod parser;

use parser::parser_approves;
use proptest::prelude::*;
use sluice_ebpf::aim::{self, Aim};
use sluice_ebpf::automaton::{self, Backslash, Kind, START, TextVerdict};
use sluice_ebpf::classify::{self, CommandClass, SCAN_BYTES_MAX, Verdict};
use sluice_ebpf::reason::TrapReason;

const READ: TextVerdict = TextVerdict::Splice(Kind::Read);
const WRITE: TextVerdict = TextVerdict::Splice(Kind::Write);
const TRANSACTION: TextVerdict = TextVerdict::Splice(Kind::Transaction);
const VERB: TextVerdict = TextVerdict::Trap(TrapReason::Verb);
const VARIABLE: TextVerdict = TextVerdict::Trap(TrapReason::Variable);
const EXECUTABLE: TextVerdict = TextVerdict::Trap(TrapReason::ExecutableComment);
const INTO: TextVerdict = TextVerdict::Trap(TrapReason::Into);
const BACKSLASH: TextVerdict = TextVerdict::Trap(TrapReason::Backslash);

/// As logged from the programs named, with their own white space.
const REAL: &[(TextVerdict, &str)] = &[
    // sysbench
    (READ, "SELECT c FROM sbtest1 WHERE id=5012"),
    (
        READ,
        "SELECT c FROM sbtest1 WHERE id BETWEEN ? AND ? ORDER BY c",
    ),
    (
        READ,
        "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 4 AND 103 ORDER BY c",
    ),
    (
        READ,
        "SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN 1 AND 100",
    ),
    (WRITE, "UPDATE sbtest1 SET k=k+1 WHERE id=17"),
    (WRITE, "DELETE FROM sbtest1 WHERE id=17"),
    (
        WRITE,
        "INSERT INTO sbtest1 (id, k, c, pad) VALUES (17, 500, '83868641912-28773972837', '67847967377')",
    ),
    (TRANSACTION, "BEGIN"),
    (TRANSACTION, "COMMIT"),
    // Hibernate
    (
        READ,
        "select u1_0.id,u1_0.email from users u1_0 where u1_0.id=?",
    ),
    (
        WRITE,
        "select o1_0.id,o1_0.total from orders o1_0 where o1_0.id=? for update",
    ),
    (
        WRITE,
        "insert into orders (customer_id,total,id) values (?,?,?)",
    ),
    (
        READ,
        "/* load com.example.User */ select u1_0.id from users u1_0 where u1_0.id=?",
    ),
    (
        WRITE,
        "update hibernate_sequence set next_val= ? where next_val=?",
    ),
    (VERB, "SET autocommit=0"),
    (EXECUTABLE, "/*!40101 SET NAMES utf8 */"),
    (VERB, "SHOW WARNINGS"),
    // Connector/J
    (
        VARIABLE,
        "/* mysql-connector-java-8.0.33 */SELECT  @@session.auto_increment_increment AS auto_increment_increment, @@time_zone",
    ),
    (READ, "/* ping */ SELECT 1"),
    (VARIABLE, "SELECT @@session.transaction_read_only"),
    // Django
    (
        READ,
        "SELECT `auth_user`.`id`, `auth_user`.`password` FROM `auth_user` WHERE `auth_user`.`username` = 'admin' LIMIT 21",
    ),
    (
        READ,
        "SELECT COUNT(*) AS `__count` FROM `blog_post` INNER JOIN `blog_tag` ON (`blog_post`.`id` = `blog_tag`.`post_id`)",
    ),
    (
        WRITE,
        "INSERT INTO `blog_post` (`title`, `body`, `created`) VALUES ('it is', 'a@b.c; x', '2024-01-01 00:00:00.000000')",
    ),
    (
        BACKSLASH,
        "INSERT INTO `blog_post` (`title`) VALUES ('it\\'s')",
    ),
    (
        WRITE,
        "INSERT INTO `blog_post` (`title`) VALUES ('it''s {\\\"a\\\": 1}\\n')",
    ),
    (
        WRITE,
        "UPDATE `blog_post` SET `views` = (`blog_post`.`views` + 1) WHERE `blog_post`.`id` IN (1, 2)",
    ),
    (
        WRITE,
        "SELECT `a`.`id` FROM `a` WHERE `a`.`id` = 1 FOR UPDATE SKIP LOCKED",
    ),
    (TRANSACTION, "SAVEPOINT `s139_x1`"),
    (TRANSACTION, "ROLLBACK TO SAVEPOINT `s139_x1`"),
    (TRANSACTION, "RELEASE SAVEPOINT `s139_x1`"),
    (
        VERB,
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ),
    // Rails
    (
        READ,
        "SELECT `users`.* FROM `users` WHERE `users`.`id` = 1 LIMIT 1 /*application='Shop',action='show'*/",
    ),
    (READ, "SELECT 1 AS one FROM `users` /*app:x*/"),
    (
        WRITE,
        "INSERT INTO `users` (`name`, `created_at`) VALUES ('x', '2024-01-01') RETURNING `id`",
    ),
    (TRANSACTION, "ROLLBACK"),
    (VERB, "SHOW FULL FIELDS FROM `users`"),
    (
        VERB,
        "SET  @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    ),
    (
        READ,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_type = 'BASE TABLE'",
    ),
    // Laravel
    (READ, "select * from `sessions` where `id` = ? limit 1"),
    (
        READ,
        "select exists(select * from `users` where `email` = ?) as `exists`",
    ),
    (
        WRITE,
        "insert into `cache` (`key`, `value`) values (?, ?) on duplicate key update `value` = values(`value`)",
    ),
    (WRITE, "insert ignore into `jobs` (`queue`) values (?)"),
    (WRITE, "delete from `sessions` where `last_activity` <= ?"),
    (
        WRITE,
        "select * from `jobs` where `queue` = ? order by `id` asc limit 1 FOR UPDATE SKIP LOCKED",
    ),
    (VERB, "use `laravel`;"),
    (TRANSACTION, "START TRANSACTION"),
    // SQLAlchemy
    (
        READ,
        "SELECT users.id AS users_id, users.name AS users_name \nFROM users \nWHERE users.id = %s",
    ),
    (
        READ,
        "SELECT CAST('test collated returns' AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS anon_1",
    ),
    (VARIABLE, "SELECT @@sql_mode"),
    (READ, "SELECT DATABASE()"),
    (
        READ,
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT n FROM c",
    ),
    (
        WRITE,
        "WITH c AS (SELECT id FROM t) DELETE t FROM t JOIN c USING (id)",
    ),
    // WordPress
    (
        READ,
        "SELECT option_name, option_value FROM wp_options WHERE autoload IN ( 'yes', 'on', 'auto-on', 'auto' )",
    ),
    (
        READ,
        "SELECT SQL_CALC_FOUND_ROWS  wp_posts.ID\n\t\t\t\t\t FROM wp_posts  WHERE 1=1  AND ((wp_posts.post_type = 'post'))",
    ),
    (READ, "SELECT FOUND_ROWS()"),
    (
        WRITE,
        "INSERT INTO `wp_options` (`option_name`, `option_value`, `autoload`) VALUES ('_transient_x', 'a:1:{s:1:\\\"a\\\";}', 'off') ON DUPLICATE KEY UPDATE `option_name` = VALUES(`option_name`)",
    ),
    (
        WRITE,
        "UPDATE `wp_posts` SET `post_title` = 'a # b -- c /* d */' WHERE `ID` = 3",
    ),
    (VERB, "SHOW VARIABLES LIKE 'sql_mode'"),
    // MediaWiki
    (
        READ,
        "SELECT /* LinkCache::fetchPageRow  */ page_id,page_len FROM `page` WHERE page_namespace = 10 LIMIT 1  ",
    ),
    (
        WRITE,
        "INSERT /* Revision::insert */ IGNORE INTO `revision` (rev_id) VALUES (1)",
    ),
    // mysqldump, clients
    (READ, "SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t"),
    (EXECUTABLE, "SELECT /*!40001 SQL_NO_CACHE */ * FROM `t`"),
    (INTO, "SELECT * INTO OUTFILE '/tmp/x' FROM t"),
    (INTO, "select id into @a from t"),
    (VERB, "DESCRIBE t"),
    (VERB, "EXPLAIN SELECT 1"),
    (VERB, "KILL 5"),
    (VERB, "XA START 'x'"),
    (VERB, "LOCK TABLES t WRITE"),
    (VERB, "CREATE TEMPORARY TABLE t (a INT)"),
    (VERB, "LOAD DATA LOCAL INFILE 'x' INTO TABLE t"),
    (
        TextVerdict::Trap(TrapReason::MultiStatement),
        "SELECT 1; SELECT 2",
    ),
    (READ, "SELECT 名称 FROM 表 WHERE 名称 = '中文'"),
    (READ, "SELECT\r\n  a -- the first\n FROM t"),
];

#[test]
fn real_statements() {
    for (expected, text) in REAL {
        assert_eq!(automaton::scan(START, text.as_bytes()), *expected, "{text}");
        // What is known of backslashes splices more, and nothing else.
        let known = automaton::scan_with(Backslash::ESCAPES, START, text.as_bytes());
        let is_escaped = *expected == TextVerdict::Trap(TrapReason::Backslash);
        assert_eq!(known == *expected, !is_escaped, "{text}");
        assert!(
            !is_escaped || matches!(known, TextVerdict::Splice(_)),
            "{text}"
        );
    }
}

/// What real programs read goes to a replica, but for functions and column lists that the automaton does not know.
#[test]
fn real_reads_are_a_replicas() {
    let writers = ["DATABASE()", "database()", "c(n) AS", "SQL_CALC_FOUND_ROWS"];
    let reads = REAL.iter().filter(|(verdict, _)| *verdict == READ);
    for (_, text) in reads {
        let expected = if text.contains("/*+") {
            Aim::Hinted
        } else if writers.iter().any(|word| text.contains(word)) {
            Aim::Writer
        } else if text.contains("FOUND_ROWS()") {
            Aim::Last
        } else {
            Aim::Reader
        };
        assert_eq!(aim::scan(aim::START, text.as_bytes()), expected, "{text}");
    }
}

/// Pieces of statements, the harmless and the harmful in turn.
const PIECES: &[&str] = &[
    "SELECT ",
    "select",
    "INSERT ",
    "INSERT INTO t ",
    "REPLACE INTO ",
    "UPDATE ",
    "UPDATE t SET ",
    "DELETE FROM t ",
    "WITH c AS (",
    "VALUES ",
    "(1, 2)",
    "BEGIN",
    "BEGIN WORK",
    "COMMIT",
    "ROLLBACK",
    "START TRANSACTION",
    "START ",
    "SET ",
    "SHOW TABLES",
    "USE d",
    "CALL p()",
    "EXPLAIN ",
    "KILL 1",
    "CREATE TABLE t (a INT)",
    " FROM t",
    " FROM `t` ",
    " WHERE ",
    " INTO ",
    " into",
    "INTO OUTFILE 'x'",
    " FOR UPDATE",
    " LIMIT 1",
    " UNION ",
    " AS ",
    "a",
    "t.a",
    "`a`",
    "`;`",
    "`@a`",
    "1",
    "1.5",
    "1e5",
    ".5",
    "'x'",
    "'@a; x'",
    "'it''s'",
    "'\\\\'",
    "'\\'",
    "'it\\'s'",
    "DATE '\\'",
    "\"x\"",
    "\"@\"",
    "@a",
    "@@a",
    "@a := 1",
    "; ",
    ";",
    "/* x */",
    "/*",
    "*/",
    "/*! x */",
    "/*M! x */",
    "/*+ x */",
    "-- x\n",
    "--x",
    "-- ",
    "#",
    "# x\n",
    "\n",
    " ",
    "\t",
    ",",
    "(",
    ")",
    "*",
    "=",
    "+",
    "-",
    "/",
    "\\",
    "'",
    "\"",
    "`",
    "GET_LOCK('a', 1)",
    "PROXY_VERSION()",
    "é",
    "名",
    "x",
    "a = 1",
    "SLEEP(1)",
    " AND ",
    "{",
    "$$",
    "IGNORE ",
    "LOW_PRIORITY ",
    " WORK",
    " AND CHAIN",
    " TO SAVEPOINT s",
    "SAVEPOINT s",
    "RELEASE SAVEPOINT s",
];

/// Whole statements, so that many of the generated ones can be parsed, with a place (`~`) to put a piece in.
const FRAMES: &[&str] = &[
    "SELECT a~ FROM t",
    "SELECT a, ~ FROM t WHERE b = 'x'",
    "~SELECT 1",
    "SELECT 1~",
    "SELECT 1 ~",
    "SELECT ~",
    "INSERT INTO t VALUES (~)",
    "INSERT ~ INTO t VALUES (1)",
    "INSERT INTO t SELECT a ~ FROM u",
    "UPDATE t SET a = ~",
    "UPDATE t SET a = 1 ~",
    "DELETE FROM t WHERE a = ~",
    "WITH c AS (SELECT 1~) SELECT 2",
    "~",
    "BEGIN~",
    "COMMIT ~",
    "START TRANSACTION~",
    "SELECT 'a~b' FROM t",
    "SELECT \"~\"",
    "SELECT /* ~ */ 1",
    "SELECT a FROM t WHERE b = 'x' ~ AND c = `d`",
];

fn statements() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..5);
    (prop::sample::select(FRAMES), pieces)
        .prop_map(|(frame, pieces)| frame.replace('~', &pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_parser_forbids_traps(text in statements()) {
        // The parser takes every backslash for an escape.
        for backslash in [Backslash::UNKNOWN, Backslash::ESCAPES] {
            let verdict = automaton::scan_with(backslash, START, text.as_bytes());
            if let TextVerdict::Splice(kind) = verdict {
                prop_assert_ne!(parser_approves(&text), Some(false), "{:?} {:?} {:?}", backslash, kind, text);
            }
        }
    }

    #[test]
    fn any_bytes_in_any_portions(payload in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        check_portions(&payload, at.index(payload.len() + 1))?;
    }

    #[test]
    fn any_text_in_any_portions(text in statements(), at in any::<prop::sample::Index>()) {
        let payload = [b"\x03", text.as_bytes()].concat();
        check_portions(&payload, at.index(payload.len() + 1))?;
    }
}

/// Steps over a command in two portions, as the kernel sees it in messages, and compares with the whole.
fn check_portions(payload: &[u8], at: usize) -> Result<(), TestCaseError> {
    let whole = classify::classify(payload, |id| (id % 2 == 0).then_some(Kind::Read));
    let Some((&byte, text)) = payload.split_first() else {
        prop_assert_eq!(whole, Verdict::Trap(TrapReason::Framing));
        return Ok(());
    };
    if classify::command_class(byte) == CommandClass::Text {
        let (first, second) = text.split_at(at.min(text.len()));
        let between = first
            .iter()
            .fold(START, |state, &byte| automaton::step(state, byte));
        let state = second
            .iter()
            .fold(between, |state, &byte| automaton::step(state, byte));
        prop_assert!(!automaton::is_final(between) || state == between);
        let expected = match TextVerdict::from_code(automaton::code(state)) {
            TextVerdict::Trap(reason) => Verdict::Trap(reason),
            TextVerdict::Splice(kind) => Verdict::Text(kind),
        };
        prop_assert_eq!(whole, expected);
    }
    Ok(())
}

/// The generated statements are worth something: the parser knows many of them, and forbids some.
#[test]
fn the_generated_statements_reach_both_sides() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut approved, mut forbidden, mut spliced) = (0, 0, 0);
    for _ in 0..5_000 {
        let text = statements().new_tree(&mut runner).unwrap().current();
        let splices = matches!(
            automaton::scan(START, text.as_bytes()),
            TextVerdict::Splice(_)
        );
        match parser_approves(&text) {
            Some(true) => {
                approved += 1;
                spliced += usize::from(splices);
            }
            Some(false) => forbidden += 1,
            None => {}
        }
    }
    println!("5000 texts: {approved} approved ({spliced} of them spliced), {forbidden} forbidden");
    assert!(spliced > 250 && forbidden > 150);
}

#[test]
fn the_scan_limit() {
    let mut text = b"SELECT '".to_vec();
    text.resize(SCAN_BYTES_MAX - 1, b'x');
    text.push(b'\'');
    assert_eq!(classify::classify_text(START, &text), READ);
    text.push(b' ');
    assert_eq!(
        classify::classify_text(START, &text),
        TextVerdict::Trap(TrapReason::TooLong)
    );
}
