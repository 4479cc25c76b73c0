use proptest::prelude::*;

use super::*;

const NAMES: &str =
    "character_set_client character_set_results character_set_connection collation_connection";

/// Texts, and what they may change.
const CASES: &[(&str, &str)] = &[
    // Nothing.
    ("SELECT 1", ""),
    ("SELECT @a, @@autocommit = 1", ""),
    ("INSERT INTO t VALUES (@a)", ""),
    ("SELECT * INTO OUTFILE '/x' FROM t", ""),
    ("GRANT ALL ON *.* TO 'u'@'h'", ""),
    ("SELECT 'SET @a := 1'", ""),
    ("/* SET @a = 1 */ SELECT 1 -- SET @b = 2", ""),
    ("", ""),
    // Lists and scopes.
    ("SET autocommit=0", "autocommit"),
    (
        "set SQL_MODE := '', @x = 1, @@session.time_zone = 'UTC';",
        "sql_mode time_zone @x",
    ),
    (
        "SET SESSION a=1, b=2, @@local.c=3, LOCAL d = 4, @@e = 5",
        "a b c d e",
    ),
    (
        "SET GLOBAL a=1, b=2, SESSION c=3, @@global.d=4, @@persist.e=5",
        "c",
    ),
    ("SET PERSIST a = 1, PERSIST_ONLY b = 2", ""),
    ("SET @@global.a = 1, b = 2", "b"),
    ("SET `a` = 1, @@session.`b` = 2", "a b"),
    ("SET a = a + 1, b = CONCAT(@@b, ',c=d', f(1, 2))", "a b"),
    ("SET a.b = 1", "a.b"),
    ("SET a=1,a=2,A=3", "a"),
    (
        "SET insert_id = 5, rand_seed1 = 1, timestamp = 7",
        "timestamp",
    ),
    ("SET session = 1", "?"),
    ("SET ", ""),
    ("SET = 1", "?"),
    ("SET a", "?"),
    // Special forms.
    ("SET NAMES utf8mb4", NAMES),
    (
        "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin', @a = 1",
        "character_set_client character_set_results character_set_connection collation_connection @a",
    ),
    ("SET CHARACTER SET latin1", NAMES),
    ("SET CHARSET latin1", NAMES),
    ("SET NAMES DEFAULT", NAMES),
    ("SET CHARACTER SET DEFAULT", NAMES),
    ("SET names = 1", "names"),
    ("SET PASSWORD = 'x', @a = 1", "@a"),
    ("SET PASSWORD FOR u@h = PASSWORD('x')", ""),
    ("SET ROLE NONE", ""),
    ("SET ROLE a, b", ""),
    ("SET DEFAULT ROLE a TO u", ""),
    ("SET RESOURCE GROUP r", ""),
    ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", ""),
    (
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
        "transaction_isolation transaction_read_only",
    ),
    ("SET LOCAL TRANSACTION READ WRITE", "transaction_read_only"),
    ("SET GLOBAL TRANSACTION READ WRITE", ""),
    (
        "SET STATEMENT max_statement_time=1, a = f(1) FOR SELECT 1",
        "",
    ),
    ("SET STATEMENT a=1 FOR SET @b = 2, c = 3", "c @b"),
    // User variables.
    (
        "SET @a = 1, @`b c` := 2, @'d''e' = 3, @A = 4",
        "@a @b c @d'e",
    ),
    ("SET @a = @b := 3", "@a @b"),
    ("SET @a = (SELECT @b := 1, 2), @c = 1", "@a @b @c"),
    ("SELECT @a := id, (@b := @b + 1) FROM t", "@a @b"),
    ("UPDATE t SET x = (@old := x)", "@old"),
    ("SELECT 1, 2 INTO @a, @b", "@a @b"),
    ("SELECT a INTO @x FROM t LIMIT 1", "@x"),
    ("CALL p(@out, 1, @`o 2`)", "@out @o 2 ?"),
    (
        "GET DIAGNOSTICS CONDITION 1 @s = RETURNED_SQLSTATE, @m = MESSAGE_TEXT",
        "@s @m",
    ),
    (
        "LOAD DATA INFILE 'x' INTO TABLE t (a, @v) SET b = @v + 1",
        "@v",
    ),
    // Statements within statements.
    ("PREPARE s FROM 'SET @a = ?'", "s(@a)"),
    ("PREPARE S FROM @text", "s(?)"),
    ("EXECUTE s USING @x", "@x !s"),
    (
        "EXECUTE IMMEDIATE 'SET @a = 1, sql_mode = \"\"'",
        "sql_mode @a",
    ),
    ("EXECUTE IMMEDIATE CONCAT('SET ', @x)", "?"),
    // Executable comments.
    (
        "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;",
        "sql_mode @OLD_SQL_MODE",
    ),
    (
        "/*!40014 SET */ /*!40014 UNIQUE_CHECKS=0 */",
        "unique_checks",
    ),
    ("/*M!100616 SET NOTE_VERBOSITY=0 */", "note_verbosity"),
    ("SELECT 1 /*! INTO @a */", "@a"),
    // Batches and bodies.
    ("SELECT 1; SET a = 1; ; SET @b = 2", "a @b"),
    ("CREATE PROCEDURE p() SET @a = 1", ""),
    (
        "CREATE DEFINER=`u`@`h` TRIGGER t BEFORE INSERT ON x FOR EACH ROW BEGIN SET @a = 1; END",
        "?",
    ),
    ("CREATE TABLE t (a INT); SET @b = 1", "@b"),
    ("BEGIN; SET a = 1", "a"),
    ("BEGIN NOT ATOMIC SET @a = 1; END", "?"),
    ("IF 1 THEN SET @a = 1; END IF", "?"),
    // What can be read in two ways.
    (r"SET @a = 'x\', @b = 'y'", "@a @b"),
    (r"SET @a = 'x\', @b = \'y'", "@a ?"),
    (r"SET @a = 'it\'s'", "@a"),
    (r"SET @a = 'x\\', @b = 'y'", "@a @b"),
    (
        r"INSERT INTO t VALUES ('O\'Brien', 'a@b.c; SET @x := 1')",
        "",
    ),
    (r"SET @a = 'é\'', @b = 1", "@a @b ?"),
    (r"SET @a = 'x\n', @b = 'y'", "@a @b"),
    ("SET @a = 'x", "@a ?"),
];

#[test]
fn texts_change_these_variables() {
    let mut wrong = Vec::new();
    for (text, expected) in CASES {
        let shown = Assigned::of(text.as_bytes()).shown();
        if shown != *expected {
            wrong.push(format!("{text}\n  expected {expected}\n  got      {shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn batches_are_told_from_single_statements() {
    for (text, expected) in [
        ("SET a=1;", false),
        ("SET a=1", false),
        ("SET a=1; SELECT 1", true),
    ] {
        assert_eq!(Assigned::of(text.as_bytes()).is_batch, expected, "{text}");
    }
}

#[test]
fn long_lists_are_bounded_and_unclear() {
    let list: Vec<_> = (0..1_000).map(|number| format!("@v{number} = 1")).collect();
    let found = Assigned::of(format!("SET {}", list.join(",")).as_bytes());
    assert_eq!((found.user.len(), found.unclear), (NAMES_MAX, true));
    let found = Assigned::of(format!("SET @{} = 1, @b = 2", "x".repeat(65)).as_bytes());
    assert_eq!(found.shown(), "@b");
    let latin1 = Assigned::of(b"SET @\xe9 = 1, @b = 2");
    assert_eq!(latin1.shown(), "@b ?");
    let nested = "SET STATEMENT a=1 FOR ".repeat(5_000);
    assert!(Assigned::of(nested.as_bytes()).unclear);
    assert!(Assigned::of("(".repeat(60_000).as_bytes()).is_none());
}

proptest! {
    #[test]
    fn any_bytes_end(text in any::<Vec<u8>>()) {
        let _ = Assigned::of(&text);
    }

    #[test]
    fn likely_texts_too(
        text in "(SET|GLOBAL|SESSION|@a|@@|NAMES|TRANSACTION|STATEMENT|FOR|CALL|PREPARE|EXECUTE|IMMEDIATE|FROM|CREATE|TRIGGER|[ .,;=:'`\"()]|:=|INTO|/\\*!){0,40}"
    ) {
        let _ = Assigned::of(text.as_bytes());
    }

    #[test]
    fn every_name_of_a_list_is_found(names in prop::collection::vec("[a-z_]{1,20}", 1..20), blank in "[ \n\t]{0,3}") {
        let list: Vec<_> = names.iter().map(|name| format!("{blank}@{name}{blank}={blank}'{name}, @no'")).collect();
        let found = Assigned::of(format!("SET {}", list.join(",")).as_bytes());
        prop_assert!(names.iter().all(|name| found.user.contains(name)));
        prop_assert!(!found.unclear && found.user.iter().all(|name| names.contains(name)));
    }
}
