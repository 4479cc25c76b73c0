//! Every form of statement that changes variables.

use super::{both, check_values, login, names, rows};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::Connection,
};

const SHOW: &str = "SHOW PROXYSESSION VARIABLES";
const CHARACTER_SETS: &str =
    "character_set_client character_set_results character_set_connection collation_connection";

/// Statements, and the names that are known afterwards. `isolation` and `read_only` stand for what the make calls them.
type Script = (&'static [&'static str], &'static str);

const EVERYWHERE: &[Script] = &[
    (&["SELECT 1"], ""),
    (&["SET autocommit=0"], "autocommit"),
    // By a text that the daemon sees.
    (
        &[
            "SET autocommit=0, @x=1",
            "SET autocommit=1, @x=2",
            "SELECT 1",
        ],
        "autocommit @x",
    ),
    (
        &["SET time_zone='+02:00', @x=1, @@session.sql_mode='ANSI'"],
        "time_zone sql_mode @x",
    ),
    (
        &[
            "SET sql_mode='ANSI'",
            "SET sql_mode = concat(@@sql_mode, ',STRICT_ALL_TABLES')",
        ],
        "sql_mode",
    ),
    (&["SET @a = (SELECT 40 + 2)", "SET @b = @a + 1"], "@a @b"),
    (
        &[
            "SET @a = 1",
            "SET @a = @a + 1",
            "SELECT 1",
            "SET @A = @a * 10",
        ],
        "@a",
    ),
    (&["SELECT @c := 5", "SELECT 1"], "@c"),
    (&["SELECT 1, 'x' INTO @d, @e"], "@d @e"),
    (&["SET NAMES utf8mb4"], CHARACTER_SETS),
    (&["SET NAMES utf8mb4 COLLATE utf8mb4_bin"], CHARACTER_SETS),
    (&["SET CHARACTER SET utf8mb4"], CHARACTER_SETS),
    // What fails leaves nothing.
    (&["SET sql_mode='no such mode'"], ""),
    (&["SET no_such_variable = 1"], ""),
    (&["SET @a = no_such_column"], ""),
    (&["SET autocommit = 1, no_such_variable = 1"], ""),
    (&["SET @ok = 1", "SET @ok = no_such_column"], "@ok"),
    // Not the session's, or not for long.
    (&["SET TRANSACTION ISOLATION LEVEL READ COMMITTED"], ""),
    (
        &["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"],
        "isolation",
    ),
    (
        &["/*!40101 SET @old = @@sql_mode, sql_mode = 'ANSI' */"],
        "sql_mode @old",
    ),
    (
        &[
            "PREPARE s FROM 'SET @p = ?'",
            "SET @i = 7",
            "EXECUTE s USING @i",
        ],
        "@i @p",
    ),
    (&["SELECT 1; SET @m = 3; SELECT 2"], "@m"),
];

const MARIADB_AND_MYSQL: &[Script] = &[
    (&["SET SESSION TRANSACTION READ ONLY"], "read_only"),
    (&["SET CHARSET latin1", "SELECT 1"], CHARACTER_SETS),
    (
        &["SET NAMES latin1", "SET @l = 'x'"],
        "character_set_client character_set_results character_set_connection collation_connection @l",
    ),
    (&["SET @m = 1; SELECT no_such_column"], "@m"),
    (
        &[
            "SELECT no_such_column",
            "GET DIAGNOSTICS CONDITION 1 @n = MYSQL_ERRNO",
        ],
        "@n",
    ),
    (
        &[
            "SET SESSION sort_buffer_size = 400000, max_sort_length = 2000",
            "SET sort_buffer_size = sort_buffer_size * 2",
        ],
        "sort_buffer_size max_sort_length",
    ),
    (
        &["SET timestamp = 1700000000, last_insert_id = 9"],
        "timestamp last_insert_id",
    ),
    // As mysqldump writes it, and a client that loads it.
    (
        &[
            "/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */",
            "/*!40101 SET NAMES utf8mb4 */",
            "/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */",
            "/*!40103 SET TIME_ZONE='+00:00' */",
            "/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */",
            "/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */",
            "/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */",
            "/*!99999 SET @never = 1 */",
            "/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */",
            "/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */",
        ],
        "character_set_client character_set_results character_set_connection collation_connection time_zone unique_checks \
         foreign_key_checks sql_notes @OLD_CHARACTER_SET_CLIENT @OLD_TIME_ZONE @OLD_UNIQUE_CHECKS @OLD_FOREIGN_KEY_CHECKS \
         @OLD_SQL_NOTES @never",
    ),
];

const MARIADB: &[Script] = &[
    (&["SET STATEMENT max_statement_time=1 FOR SELECT 1"], ""),
    (
        &["SET STATEMENT max_statement_time=1 FOR SET @in = 2"],
        "@in",
    ),
    (&["EXECUTE IMMEDIATE 'SET @im = 3'"], "@im"),
    (&["BEGIN NOT ATOMIC SET @x = 1; END"], ""),
    (&["SET PASSWORD = PASSWORD('secret')", "SET ROLE NONE"], ""),
    (&["/*M!100100 SET @maria = 1 */"], "@maria"),
];

fn scripts(kind: Kind) -> impl Iterator<Item = Script> {
    let more: [&[Script]; 2] = match kind {
        Kind::MariaDb => [MARIADB_AND_MYSQL, MARIADB],
        Kind::MySql => [MARIADB_AND_MYSQL, &[]],
        Kind::SeekDb => [&[], &[]],
    };
    EVERYWHERE.iter().chain(more.into_iter().flatten()).copied()
}

fn expected(kind: Kind, names: &str) -> String {
    let (isolation, read_only) = match kind {
        Kind::MariaDb => ("tx_isolation", "tx_read_only"),
        Kind::MySql | Kind::SeekDb => ("transaction_isolation", "transaction_read_only"),
    };
    names
        .replace("isolation", isolation)
        .replace("read_only", read_only)
}

pub(super) fn statements(stage: &Stage) -> Result<()> {
    for (sqls, expected_names) in scripts(stage.kind()) {
        let check = || -> Result<()> {
            let mut connection = both(stage, sqls)?;
            let shown = rows(&mut connection, SHOW)?;
            assert_eq!(
                names(&shown),
                expected(stage.kind(), expected_names),
                "{sqls:?}"
            );
            check_values(&mut connection, &shown)?;
            // Read before an ordinary statement, or now: the same.
            assert_eq!(rows(&mut connection, SHOW)?, shown, "{sqls:?}");
            Ok(())
        };
        check().with_context(|| format!("{sqls:?}"))?;
    }
    Ok(())
}

/// What common frameworks and drivers send first, as far as all makes know it.
pub(super) fn frameworks(stage: &Stage) -> Result<()> {
    let django: &[&str] = &[
        "SET SQL_AUTO_IS_NULL = 0",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET autocommit=1",
        "SELECT 1",
    ];
    let sqlalchemy: &[&str] = &[
        "SET NAMES utf8mb4",
        "SELECT @@lower_case_table_names",
        "SELECT @@sql_mode",
        "SET autocommit=0",
        "SELECT 'x'",
        "ROLLBACK",
    ];
    let rails: &[&str] = &[
        "SET @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), @@SESSION.wait_timeout = 2147483",
        "SET NAMES utf8mb4, @@SESSION.sql_mode = 'STRICT_ALL_TABLES', @@SESSION.wait_timeout = 2147483",
        "SELECT 1",
    ];
    let laravel: &[&str] = &[
        "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
        "set session sql_mode='STRICT_TRANS_TABLES'",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "select 1",
    ];
    let connector_j: &[&str] = &[
        "/* mysql-connector-java-8.0.33 */SELECT  @@session.auto_increment_increment AS auto_increment_increment, @@character_set_client AS character_set_client",
        "SET NAMES utf8mb4",
        "SET character_set_results = NULL",
        "SET sql_mode='STRICT_TRANS_TABLES'",
        "SET autocommit=1",
        "SELECT 1",
    ];
    let mysql2: &[&str] = &[
        "SET NAMES utf8mb4",
        "SET time_zone='+00:00'",
        "SELECT 1 + 1",
    ];
    let go: &[&str] = &[
        "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
        "SET time_zone = '+00:00',sql_mode = 'ANSI_QUOTES'",
        "START TRANSACTION",
        "SELECT 1",
        "COMMIT",
    ];
    for start_up in [django, sqlalchemy, rails, laravel, connector_j, mysql2, go] {
        let check = || -> Result<()> {
            let mut connection = both(stage, start_up)?;
            let shown = rows(&mut connection, SHOW)?;
            ensure!(!shown.is_empty(), "nothing was seen");
            check_values(&mut connection, &shown)
        };
        check().with_context(|| format!("{start_up:?}"))?;
    }
    Ok(())
}

/// Values of all types.
pub(super) fn literals(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let many = [
        ("integer", "-7", "-7"),
        ("unsigned", "18446744073709551615", "18446744073709551615"),
        ("decimal", "1.50", "1.50"),
        ("nothing", "NULL", "NULL"),
        ("empty", "''", "''"),
        ("text", "'it''s é'", "'it''s é'"),
        ("backslash", r"'a\\b\n'", r"'a\\b\n'"),
        ("binary", "UNHEX('00FF')", "_binary X'00FF'"),
        (
            "long",
            "REPEAT('x', 20000)",
            "---value length is large then 128bytes---",
        ),
        ("kept", "REPEAT('x', 2000)", ""),
    ];
    connection.run("SET NAMES utf8mb4")?;
    for (name, expression, _) in many {
        connection.run(&format!("SET @`{name}` = {expression}"))?;
    }
    let latin1 = ("latin1", "CONVERT('é' USING latin1)", "_latin1 X'E9'");
    let mut expected: Vec<_> = many.to_vec();
    if stage.kind() != Kind::SeekDb {
        connection.run("SET @`spaced name` = 1")?;
        expected.push(("spaced name", "1", "1"));
        connection.run("SET @latin1 = CONVERT('é' USING latin1)")?;
        expected.push(latin1);
    }
    let kept = format!("'{}'", "x".repeat(2000));
    let shown: Vec<_> = rows(&mut connection, SHOW)?
        .into_iter()
        .filter(|(_, _, info)| info == "user var")
        .collect();
    for ((name, value, _), (wanted, _, literal)) in shown.iter().zip(&expected) {
        let literal = if *wanted == "kept" { &kept } else { *literal };
        assert_eq!((name.as_str(), value.as_deref()), (*wanted, Some(literal)));
    }
    assert_eq!(shown.len(), expected.len());
    // However the client reads results, the values are the same.
    connection.run("SET character_set_results = NULL")?;
    connection.run("SELECT 1")?;
    let again: Vec<_> = rows(&mut connection, SHOW)?
        .into_iter()
        .filter(|(_, _, info)| info == "user var")
        .collect();
    assert_eq!(again, shown);
    // A SET longer than what the kernel's classifier reads.
    connection.run(&format!("SET @`kept` = '{}'", "y".repeat(9_000)))?;
    let long = rows(&mut connection, "SHOW PROXYSESSION VARIABLES LIKE 'kept'")?;
    assert_eq!(
        long.first().and_then(|row| row.1.clone()),
        Some(format!("'{}'", "y".repeat(9_000)))
    );
    Ok(())
}

/// Executions of prepared statements.
pub(super) fn prepared(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let set = connection.prepare("SET @a = ?")?;
    assert_eq!(
        names(&rows(&mut connection, SHOW)?),
        "",
        "preparing changes nothing"
    );
    for value in ["1", "2", "3"] {
        connection
            .execute(&set, &[Some(value.as_bytes())])?
            .outcome
            .ok()?;
        let shown = rows(&mut connection, SHOW)?;
        assert_eq!(names(&shown), "@a");
        check_values(&mut connection, &shown)?;
    }
    let select = connection.prepare("SELECT ?")?;
    connection.execute(&set, &[Some(b"4")])?.outcome.ok()?;
    connection.execute(&select, &[Some(b"x")])?.outcome.ok()?;
    let shown = rows(&mut connection, SHOW)?;
    check_values(&mut connection, &shown)
}

/// What ends the session's state ends what is known of it.
pub(super) fn reset(stage: &Stage) -> Result<()> {
    let mut connection = Connection::open(stage.address(), &login())?;
    let fill = |connection: &mut Connection| -> Result<()> {
        connection.run("SET @a = 1, sql_mode = ''")?;
        assert_eq!(names(&rows(connection, SHOW)?), "sql_mode @a");
        connection.run("SET @b = 1")?;
        Ok(())
    };
    fill(&mut connection)?;
    if connection.command(&[0x1f])?.outcome.code() == 0 {
        assert_eq!(rows(&mut connection, SHOW)?, []);
        fill(&mut connection)?;
    }
    if stage.kind() == Kind::MariaDb {
        connection.change_user(USER, PASSWORD, "")?.ok()?;
        assert_eq!(rows(&mut connection, SHOW)?, []);
    }
    Ok(())
}
