//! Every rule, by example. That nothing else is spliced is shown by `tests/proof.rs`.

use super::*;
use Kind::{Read, Transaction, Write};

fn check(cases: &[(&str, TextVerdict)]) {
    for (text, expected) in cases {
        assert_eq!(scan(START, text.as_bytes()), *expected, "{text:?}");
    }
}

fn splices(kind: Kind, texts: &[&str]) {
    for text in texts {
        check(&[(text, TextVerdict::Splice(kind))]);
    }
}

fn traps(reason: TrapReason, texts: &[&str]) {
    for text in texts {
        check(&[(text, TextVerdict::Trap(reason))]);
    }
}

#[test]
fn reads() {
    splices(
        Read,
        &[
            "SELECT 1",
            "select\t1",
            " \r\n\x0b\x0c(SELECT 1) UNION (SELECT 2)",
            "/* app:x */ SELECT 1",
            "-- it's\n# @a\nSELECT 1",
            "SELECT 1 -- @a; x",
            "SELECT 1 # @a",
            "SELECT 1 --",
            "SELECT /*MyApp*/ 1 /* don't; @a */",
            "SELECT /*+ NO_MERGE(@qb1) MAX_EXECUTION_TIME(10) */ 1",
            "SELECT/**/1",
            "SELECT*FROM t",
            "SELECT-1",
            "SELECT 5--3",
            "SELECT 2*/*x*/3, 1 */ 2",
            "SELECT 'a@b.c; x', \"@;\", `@;`",
            "SELECT 'it''s', 'say \\\"hi\\\"', '\\n', '\\\\', \"it\\'s\"",
            "SELECT N'a', _utf8'b', x'00', b'1', 'a' 'b'",
            "SELECT 1;",
            "SELECT 1 ; \n",
            "SELECT into_x, intox, a.b, 1.5e3, .5, t1, sleep(1), last_insert_id()",
            "SELECT 1 AS 名称 FROM 表 WHERE 名=1",
            "SELECT a FROM t WHERE b IN ('x', ?) AND c <=> 1 OR NOT a != 2 ^ 3 | ~4 & 5 % 6",
            "VALUES (1), (2)",
            "TABLE t ORDER BY a",
            "WITH c AS (SELECT 1) SELECT * FROM c",
            "SELECT `t`.*, `a` FROM `db`.`t` /*c*/ WHERE `a` IN (1)",
            "SELECT CONNECTION_ID(), update_time, deleted FROM t",
            "SELECT 'x\0y'",
        ],
    );
}

#[test]
fn writes() {
    splices(
        Write,
        &[
            "INSERT INTO t VALUES (1)",
            "INSERT INTO `t` (`a`) VALUES ('x')",
            "INSERT INTO `d` . `t`(`a`) VALUES ('x')",
            "INSERT `t` (`a`) VALUES (1)",
            "INSERT t SET a=1",
            "insert /* x */ ignore /*+ y */ into t values (1)",
            "INSERT LOW_PRIORITY t VALUES (1)",
            "INSERT INTO t SELECT a FROM u ON DUPLICATE KEY UPDATE a = 1",
            "REPLACE INTO t VALUES (1)",
            "UPDATE t SET a = 1 WHERE b = 'x'",
            "DELETE FROM t WHERE a = 1;",
            "SELECT 1 FROM t FOR UPDATE",
            "SELECT 1 FROM t FOR SHARE SKIP LOCKED",
            "SELECT 1 FROM t LOCK IN SHARE MODE",
            "WITH c AS (SELECT 1) UPDATE t, c SET a = 1",
            "WITH c AS (SELECT 1) DELETE FROM t",
        ],
    );
}

#[test]
fn transactions() {
    splices(
        Transaction,
        &[
            "BEGIN",
            "begin work ;",
            "START TRANSACTION",
            "START  TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT",
            "COMMIT",
            "COMMIT WORK AND NO CHAIN NO RELEASE",
            "ROLLBACK",
            "ROLLBACK TO SAVEPOINT `s 1`",
            "ROLLBACK TO s1",
            "SAVEPOINT `s139_x1`",
            "savepoint sa_savepoint_1;",
            "RELEASE SAVEPOINT `s139_x1`",
            "release  savepoint s1",
        ],
    );
    traps(
        TrapReason::Verb,
        &[
            "BEGIN NOT ATOMIC SELECT 1",
            "START SLAVE",
            "START",
            "START TRANSACTIONS",
            "COMMITS",
            "COMMIT (1)",
            "BEGIN WORK x",
            "SAVEPOINTS",
            "RELEASE",
            "RELEASE LOCK",
            "RELEASE SAVEPOINTS",
            "RELEASESAVEPOINT x",
            "savepoint: BEGIN NOT ATOMIC SELECT 1",
        ],
    );
}

#[test]
fn verbs() {
    traps(
        TrapReason::Verb,
        &[
            "",
            " ",
            "-- x",
            "SET a = 1",
            "USE d",
            "EXPLAIN SELECT 1",
            "DESC t",
            "SHOW TABLES",
            "CALL p()",
            "SELECTS 1",
            "SELECT1",
            "é",
            "SELECT\u{a0}1",
            "SE",
            "1",
            "- SELECT 1",
            "'x'",
            "LOAD DATA INFILE 'x' INTO TABLE t",
            "XA COMMIT 'x'",
            "SELECT_ 1",
        ],
    );
}

#[test]
fn what_changes_the_session() {
    traps(
        TrapReason::Variable,
        &[
            "SELECT @a",
            "SELECT '' @a",
            "SELECT @@sql_mode",
            "SELECT 1 INTO_ @a",
            "SELECT*@a",
            "@a",
        ],
    );
    traps(
        TrapReason::MultiStatement,
        &[
            "SELECT 1; SET a = 1",
            "SELECT 1;;",
            ";SELECT 1",
            "COMMIT; x",
            "SELECT 1; /*! x */",
        ],
    );
    traps(
        TrapReason::ExecutableComment,
        &[
            "/*!SELECT 1 */",
            "SELECT /*!50000 1 */",
            "SELECT 1/*M!100 , 2*/",
            "INSERT /*! x */ INTO t",
            "/*+ x */ SELECT 1",
        ],
    );
    traps(
        TrapReason::Into,
        &[
            "SELECT 1 INTO OUTFILE 'x'",
            "SELECT 1 into",
            "SELECT 'a'INTO b",
            "SELECT 1INTO x",
            "SELECT 1e5INTO x",
            "SELECT 1.INTO x",
            "SELECT 1 INTO\u{a0}x",
            "SELECT \u{a0}INTO x",
            "SELECT 1/**/INTO/**/x",
            "INSERT t SELECT 1 INTO x",
            "INSERT INTO t SELECT 1 INTO x",
            "INSERT INTO INTO t",
            "INSERT LOW_PRIORITY INTO t VALUES (1)",
            "INSERT DELAYED INTO t VALUES (1)",
            "UPDATE t SET a = 1 INTO x",
        ],
    );
    traps(
        TrapReason::Function,
        &[
            "SELECT GET_LOCK('a', 1)",
            "SELECT release_lock ('a')",
            "SELECT RELEASE_ALL_LOCKS()",
            "SELECT PROXY_VERSION()",
            "SELECT proxy_status()",
            "SELECT `get_lock`('a', 1)",
            "SELECT `get_lock` /**/ ('a', 1)",
            "SELECT \"get_lock\"('a', 1)",
            "INSERT INTO `t` VALUES (`get_lock`('a', 1))",
        ],
    );
}

#[test]
fn what_is_read_differently() {
    traps(
        TrapReason::Backslash,
        &[
            "SELECT 'a\\'",
            "SELECT 'a\\\\\\'b'",
            "SELECT \"a\\\"",
            "SELECT 'it\\'s'",
        ],
    );
    traps(
        TrapReason::Unterminated,
        &[
            "SELECT 'a",
            "SELECT \"a",
            "SELECT `a",
            "SELECT 1 /* a",
            "SELECT 1 /*/",
            "SELECT 'a\\",
            "SELECT /*+ x",
        ],
    );
    traps(
        TrapReason::Unclear,
        &[
            "SELECT {d '2020-01-01'}",
            "SELECT \\N",
            "SELECT [a]",
            "SELECT $$a$$",
            "SELECT \0",
            "SELECT \x01",
            "SELECT `a\0`",
            "SELECT \"a\0\"",
            "SELECT 1 # a\0",
            "SELECT 1 /* a\0 */",
            "SELECT 1 --\n",
            "SELECT 1 --\u{a0}x",
            "SELECT 1 --\x01x",
            "SELECT 1 # a\rb",
            "SELECT Date-- 'x",
            "SELECT 'a'-- b'",
            "SELECT 'a'# b'",
            "SELECT /*+ SET_VAR(a='*/') */ 1",
            "SELECT é`a`",
        ],
    );
}

#[test]
fn final_states_stay() {
    for state in 0..=u8::MAX {
        let stays = (0..=u8::MAX).all(|byte| step(state, byte) == state);
        assert_eq!(
            stays && state as usize <= STATES,
            is_final(state),
            "{state}"
        );
    }
}

#[test]
fn known_escapes() {
    use TrapReason::{Backslash as Escape, MultiStatement, Unterminated, Variable};
    let known = |text: &str| scan_with(Backslash::ESCAPES, START, text.as_bytes());
    for text in [
        "SELECT 'it\\'s'",
        "SELECT '\\'', 1",
        "SELECT 'a\\\\', 'b'",
        "SELECT LIKE 'a\\'; x'",
        "SELECT 'a''\\'b' FROM t",
        "SELECT '\\\0'",
    ] {
        assert_eq!(known(text), TextVerdict::Splice(Read), "{text}");
    }
    assert_eq!(
        known("INSERT INTO t VALUES ('a\\'b', 'it\\'s \\\"x\\\"')"),
        TextVerdict::Splice(Write)
    );
    for (text, reason) in [
        ("SELECT 'a\\'", Unterminated),
        ("SELECT 'a\\\\'@", Variable),
        ("SELECT 'it\\'s'; x", MultiStatement),
        // In double quotes it depends on ANSI_QUOTES, too.
        ("SELECT \"a\\\"b\"", Escape),
        // OceanBase reads `DATE '\'` as a whole token.
        ("SELECT DATE'\\'", Escape),
        ("SELECT time \t'a\\'b'", Escape),
        ("SELECT TIMESTAMP\n'\\n'", Escape),
        ("SELECT a.date '\\'b'", Escape),
    ] {
        assert_eq!(known(text), TextVerdict::Trap(reason), "{text}");
    }
}
