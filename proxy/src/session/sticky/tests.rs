use super::*;
use proptest::prelude::*;

/// The reasons that are left when all these statements have succeeded.
fn after(statements: &[&str]) -> Vec<&'static str> {
    let mut ties = Ties::default();
    for text in statements {
        ties.apply(knots(text.as_bytes()));
    }
    ties.reasons().into_iter().map(StickyReason::text).collect()
}

#[test]
fn statements_tie() {
    for (text, reason) in [
        ("CREATE TEMPORARY TABLE t (a INT)", "temporary table"),
        (
            "create or replace temporary table if not exists `a b`.t (a INT)",
            "temporary table",
        ),
        ("CREATE TEMPORARY SEQUENCE s", "temporary table"),
        ("LOCK TABLES t READ", "table lock"),
        ("FLUSH TABLES WITH READ LOCK", "table lock"),
        ("FLUSH TABLES t FOR EXPORT", "table lock"),
        ("SELECT get_lock('a', 1)", "user lock"),
        ("DO GET_LOCK(@a, 1)", "user lock"),
        ("PREPARE s FROM 'SELECT 1'", "prepared statement"),
        ("HANDLER t OPEN", "handler"),
        ("XA PREPARE 'x'", "XA transaction"),
        ("SET TRANSACTION READ ONLY", "SET TRANSACTION"),
        ("SET ROLE admin", "role"),
        ("CALL p()", "routine"),
        ("EXECUTE IMMEDIATE 'CALL p()'", "routine"),
        ("EXECUTE IMMEDIATE @text", "routine"),
        ("EXECUTE IMMEDIATE 'SELECT ' 'f()'", "routine"),
        (
            "EXECUTE IMMEDIATE 'CREATE TEMPORARY TABLE t (a INT)'",
            "temporary table",
        ),
        (
            "EXECUTE IMMEDIATE 'SELECT GET_LOCK(?, 1)' USING 'a'",
            "user lock",
        ),
        ("EXECUTE s", "routine"),
        (
            "SET STATEMENT max_statement_time = 1 FOR CREATE TEMPORARY TABLE t (a INT)",
            "temporary table",
        ),
        (
            "SET STATEMENT sort_buffer_size = (SELECT a FROM t FOR UPDATE) FOR CALL p()",
            "routine",
        ),
        ("BEGIN NOT ATOMIC SET @a = 1; END", "routine"),
        ("SET @@tx_isolation = 'SERIALIZABLE'", "SET TRANSACTION"),
        (
            "/*!40000 CREATE TEMPORARY TABLE t (a INT) */",
            "temporary table",
        ),
        (
            "CREATE /*!32302 TEMPORARY */ TABLE t (a INT)",
            "temporary table",
        ),
        ("SELECT 'a\\'b', GET_LOCK('x', 1)", "user lock"),
        (
            "SELECT 'a\\', 'b'; CREATE TEMPORARY TABLE t (a INT)",
            "temporary table",
        ),
        (
            "SELECT 1; CREATE TEMPORARY TABLE t (a INT)",
            "temporary table",
        ),
    ] {
        assert_eq!(after(&[text]), [reason], "{text}");
    }
}

#[test]
fn what_common_drivers_say_ties_nobody() {
    for text in [
        "SET NAMES utf8mb4",
        "SET autocommit=0",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
        "SET @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483, @@SESSION.sql_mode = 'A'",
        "SELECT @@session.transaction_isolation, @@version_comment",
        "/* mysql-connector-j */SELECT  @@session.auto_increment_increment AS auto_increment_increment",
        "/*!40101 SET NAMES utf8 */",
        "/*!40000 ALTER TABLE `t` DISABLE KEYS */",
        "SHOW VARIABLES LIKE 'sql_mode'",
        "BEGIN",
        "START TRANSACTION READ ONLY",
        "SAVEPOINT a",
        "INSERT INTO t VALUES ('it\\'s', 'a ''b''; x')",
        "UPDATE users SET role = 'O\\'Brien; call me locally' WHERE handler = \"a\\\"b\"",
        "SET SESSION tx_isolation = @@tx_isolation",
        "CREATE TABLE t (a INT)",
        "DROP TABLE t",
        "USE shop",
        "EXECUTE IMMEDIATE 'SET @a = 1'",
        "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
        "",
    ] {
        assert_eq!(after(&[text]), [""; 0], "{text}");
    }
}

#[test]
fn ties_end_with_their_cause() {
    for statements in [
        &[
            "CREATE TEMPORARY TABLE a (i INT)",
            "CREATE TEMPORARY TABLE x.b (i INT)",
            "DROP TABLE IF EXISTS a, `x`.`b`",
        ][..],
        &["LOCK TABLE t WRITE", "UNLOCK TABLES"],
        &["LOCK TABLE t WRITE", "START TRANSACTION"],
        &["SELECT GET_LOCK('a', 1)", "SELECT RELEASE_ALL_LOCKS()"],
        &["SELECT GET_LOCK('a', 1)", "DO RELEASE_LOCK('A')"],
        &["PREPARE S FROM @a", "DEALLOCATE PREPARE s"],
        &["PREPARE s FROM @a", "drop prepare `S`"],
        // What is executed does what its text says.
        &[
            "PREPARE s FROM 'SELECT a FROM t WHERE b = ?'",
            "EXECUTE s USING @a",
            "execute S",
            "DEALLOCATE PREPARE s",
        ],
        &[
            "PREPARE s FROM 'CREATE TEMPORARY TABLE a (i INT)'; EXECUTE s",
            "DROP PREPARE s",
            "DROP TABLE a",
        ],
        &[
            "DO GET_LOCK('a', 1)",
            "DO GET_LOCK('A', 1)",
            "DO RELEASE_LOCK('a')",
            "DO RELEASE_LOCK('a')",
        ],
        &["HANDLER t OPEN", "HANDLER t CLOSE"],
        &["HANDLER t OPEN AS h;", "HANDLER h CLOSE"],
        &["HANDLER shop.t OPEN AS h", "HANDLER h CLOSE"],
        &["HANDLER `shop`.t OPEN", "HANDLER T CLOSE"],
        &["XA PREPARE 'x'", "XA COMMIT 'x'"],
    ] {
        assert_eq!(after(statements), [""; 0], "{statements:?}");
        assert_ne!(after(&statements[..statements.len() - 1]), [""; 0]);
    }
    assert_eq!(
        after(&[
            "DO GET_LOCK('a', 1)",
            "DO GET_LOCK('a', 1)",
            "DO RELEASE_LOCK('a')"
        ]),
        ["user lock"]
    );
    assert_eq!(
        after(&["FLUSH TABLES WITH READ LOCK", "START TRANSACTION"]),
        ["table lock"]
    );
    // Nor is that of one with the same name in another database, or behind another name.
    let made = "CREATE TEMPORARY TABLE a (i INT)";
    for between in ["USE other", "RENAME TABLE a TO b", "ALTER TABLE a RENAME b"] {
        let statements = [made, between, "DROP TABLE IF EXISTS a"];
        assert_eq!(after(&statements), ["temporary table"], "{between}");
    }
    assert_eq!(
        after(&["USE other", "ALTER TABLE a ADD b INT", made, "DROP TABLE a"]),
        [""; 0]
    );
    let mut ties = Ties::default();
    ties.apply(knots(made.as_bytes()));
    ties.apply(knots_of_command(b"\x06\0\0\0\x02other", false).after(true));
    ties.apply(knots(b"DROP TABLE a"));
    assert_eq!(ties.reasons(), [StickyReason::TemporaryTable]);
    // Another table's end is not this one's.
    assert_eq!(
        after(&["CREATE TEMPORARY TABLE a (i INT)", "DROP TABLE b"]),
        ["temporary table"]
    );
}

/// What is executed is known as long as nobody else has taken its name, and by name only.
#[test]
fn what_is_executed_may_be_anything() {
    let known = "PREPARE s FROM 'SELECT 1'";
    for between in [
        "PREPARE S FROM @a",
        "PREPARE s FROM CONCAT('a', 'b')",
        "PREPARE s FROM 'a' 'b'",
        "PREPARE s FROM 'EXECUTE s'",
        "PREPARE s FROM 'CALL p()'",
        "/*!50000 PREPARE s FROM 'SELECT 2' */",
        "DEALLOCATE PREPARE s",
    ] {
        let ties = after(&[known, between, "EXECUTE s"]);
        assert!(ties.contains(&"routine"), "{between}: {ties:?}");
    }
    // A batch that has failed may have made another.
    let mut ties = Ties::default();
    ties.apply(knots(known.as_bytes()));
    let batch = b"\x2f\0\0\0\x03PREPARE s FROM 'SELECT 2'; PREPARE t FROM @a; x";
    ties.apply(knots_of_command(batch, false).after(false));
    ties.apply(knots(b"EXECUTE s"));
    assert!(ties.reasons().contains(&StickyReason::Routine));
    // Which names are one, only the server knows.
    let ties = after(&["PREPARE \u{e9} FROM 'SELECT 1'", "EXECUTE \u{e9}"]);
    assert_eq!(ties, ["prepared statement", "routine"]);
}

#[test]
fn of_a_failed_batch_the_ties_hold() {
    let after = |text: &str, is_ok| {
        let command = [&[0, 0, 0, 0, 3], text.as_bytes()].concat();
        let mut command = command;
        command[0] = u8::try_from(text.len() + 1).unwrap();
        let mut ties = Ties::default();
        ties.apply(knots_of_command(&command, false).after(is_ok));
        ties.reasons()
    };
    let one = "CREATE TEMPORARY TABLE t (i INT)";
    assert_eq!(after(one, true), [StickyReason::TemporaryTable]);
    assert_eq!(after(one, false), []);
    let batch = format!("{one}; DROP TABLE t; SELEKT");
    assert_eq!(after(&batch, true), []);
    assert_eq!(after(&batch, false), [StickyReason::TemporaryTable]);
}

#[test]
fn the_next_transaction_uses_up_what_was_said_for_it() {
    let mut ties = Ties::default();
    for ended in [0, 7] {
        ties.transactions_ended(ended);
        ties.apply(knots(b"SET TRANSACTION READ ONLY"));
        ties.transactions_ended(ended);
        assert_eq!(ties.reasons(), [StickyReason::NextTransaction]);
        assert!(ties.waits_for_transaction());
        ties.transactions_ended(ended + 1);
        assert_eq!(ties.reasons(), []);
    }
}

#[test]
fn names_beyond_the_limit_tie_until_a_reset() {
    let mut ties = Ties::default();
    for number in 0..=NAMES_MAX {
        ties.apply(knots(
            format!("CREATE TEMPORARY TABLE t{number} (i INT)").as_bytes(),
        ));
    }
    for number in 0..=NAMES_MAX {
        ties.apply(knots(format!("DROP TABLE t{number}").as_bytes()));
    }
    assert_eq!(ties.reasons(), [StickyReason::TemporaryTable]);
    ties.clear();
    assert_eq!(ties.reasons(), []);
}

proptest! {
    #[test]
    fn words_are_found_wherever_they_stand(before in "[a-z_]{0,9}", after in "[a-z_]{0,9}") {
        let text = format!("{before}_LoCk{after}");
        prop_assert!(mentions(text.as_bytes(), b"_lock"));
        let expected = before.contains("_lock");
        prop_assert_eq!(mentions(before.as_bytes(), b"_lock"), expected);
    }

    #[test]
    fn any_text_is_read_to_an_end(text in any::<Vec<u8>>()) {
        let _ = (knots(&text), knots_of_command(&text, true), knots_of_command(&text, false));
    }
}
