//! What frameworks and drivers say when they open a connection pins no session, and is followed by a spliced one (users.md, 1.1).

use crate::{attribute, case::Case};
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    server::{Kind, PASSWORD, USER, USER_ROOT},
    stage::Stage,
    wire::{Connection, Login, capability},
};

pub(crate) const CASES: &[Case] = &[Case::new("nobody_is_pinned", nobody_is_pinned)
    .with(&[Kind::MariaDb, Kind::MySql])
    .daemon()];

/// One that opens connections: where its statements stand, and they, in their order.
struct Framework {
    name: &'static str,
    source: &'static str,
    says: &'static [&'static str],
}

/// `DB` stands for the test's database; a statement behind `MariaDB: ` or `MySQL: ` is said to that server only.
const FRAMEWORKS: &[Framework] = &[
    Framework {
        name: "Rails, mysql2 and trilogy",
        source: "activerecord, abstract_mysql_adapter.rb, configure_connection; mysql2's and trilogy's adapters",
        says: &[
            "SET NAMES utf8mb4,  @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'),  \
             @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483",
            "SELECT @@version",
            "SHOW VARIABLES LIKE 'lower_case_table_names'",
        ],
    },
    Framework {
        name: "Laravel, PDO",
        source: "laravel/framework, Illuminate/Database/Connectors/MySqlConnector.php, configureConnection",
        says: &[
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;",
            "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci', time_zone='+00:00', SESSION \
             sql_mode='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION';",
        ],
    },
    Framework {
        name: "Laravel before 11, PDO",
        source: "the same file, configureEncoding, configureTimezone, setModes",
        says: &[
            "use `DB`;",
            "set names 'utf8mb4' collate 'utf8mb4_unicode_ci'",
            "set time_zone=\"+00:00\"",
            "set session sql_mode='NO_ENGINE_SUBSTITUTION'",
        ],
    },
    Framework {
        name: "Connector/J 8",
        source: "mysql-connector-j, NativeSession.loadServerVariables, ConnectionImpl.initializePropsFromServer",
        says: &[
            "MySQL: /* mysql-connector-j-8.3.0 (Revision: 0) */SELECT  @@session.auto_increment_increment AS auto_increment_increment, \
             @@character_set_client AS character_set_client, @@character_set_connection AS character_set_connection, \
             @@character_set_results AS character_set_results, @@init_connect AS init_connect, @@license AS license, \
             @@sql_mode AS sql_mode, @@time_zone AS time_zone, @@transaction_isolation AS transaction_isolation, \
             @@wait_timeout AS wait_timeout",
            "MariaDB: /* mysql-connector-java-5.1.49 */SHOW VARIABLES WHERE Variable_name ='language' OR Variable_name = 'sql_mode'",
            "SHOW WARNINGS",
            "SET character_set_results = NULL",
            "SET autocommit=1",
            "SET sql_mode='STRICT_TRANS_TABLES'",
        ],
    },
    Framework {
        name: "Hibernate and HikariCP over Connector/J",
        source: "ConnectionImpl.setTransactionIsolation, setReadOnly, setAutoCommit; HikariCP, PoolBase.setupConnection",
        says: &[
            "SET character_set_results = NULL",
            "SET autocommit=1",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "set session transaction read write",
            "SELECT DATABASE()",
            "SET autocommit=0",
            "SELECT 1",
            "commit",
            "SET autocommit=1",
        ],
    },
    Framework {
        name: "go-sql-driver",
        source: "go-sql-driver/mysql, connector.go (Connect), connection.go (handleParams, getSystemVar, BeginTx)",
        says: &[
            "SELECT @@max_allowed_packet",
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci",
            "SET autocommit = 1, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'",
            // With an isolation level: it ties the session until that transaction's end.
            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "START TRANSACTION",
            "SELECT 1",
            "COMMIT",
        ],
    },
    Framework {
        name: "Django, mysqlclient and PyMySQL",
        source: "django/db/backends/mysql/base.py (init_connection_state, mysql_server_data), pymysql/connections.py (connect)",
        says: &[
            "SET NAMES utf8mb4",
            "SET AUTOCOMMIT = 0",
            "SELECT VERSION(), @@sql_mode, @@default_storage_engine, @@sql_auto_is_null, @@lower_case_table_names, \
             CONVERT_TZ('2001-01-01 01:00:00', 'UTC', 'UTC') IS NOT NULL",
            "SET SQL_AUTO_IS_NULL = 0; SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SET AUTOCOMMIT = 1",
        ],
    },
    Framework {
        name: "SQLAlchemy",
        source: "sqlalchemy/dialects/mysql/base.py (initialize, get_isolation_level, _detect_casing, _setup_parser)",
        says: &[
            "SET AUTOCOMMIT = 0",
            "SELECT VERSION()",
            "MySQL: SELECT @@transaction_isolation",
            "MariaDB: SELECT @@tx_isolation",
            "SELECT DATABASE()",
            "SELECT @@sql_mode",
            "SELECT @@lower_case_table_names",
            "ROLLBACK",
        ],
    },
    Framework {
        name: "mysql2 for Node, with Sequelize and TypeORM",
        source: "mysql2 itself says nothing; sequelize/lib/dialects/mysql/connection-manager.js, typeorm/driver/mysql/MysqlDriver.js",
        says: &[
            "SET time_zone = '+00:00'",
            "SELECT VERSION() as `version`",
            "SELECT VERSION() AS `version`",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;",
            "START TRANSACTION;",
            "COMMIT;",
        ],
    },
];

/// Statements of the steady state that are looked at.
const STEADY: u64 = 20;

fn nobody_is_pinned(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let mut operator = Connection::open(
        stage.address(),
        &Login::new(&format!("{USER_ROOT}@sys"), ""),
    )?;
    for framework in FRAMEWORKS {
        start(stage, framework, &database, &mut operator)
            .with_context(|| format!("{} ({})", framework.name, framework.source))?;
    }
    Ok(())
}

fn start(
    stage: &Stage,
    framework: &Framework,
    database: &str,
    operator: &mut Connection,
) -> Result<()> {
    let login = Login::new(USER, PASSWORD).with(capability::MULTI_STATEMENTS);
    let mut connection = Connection::open(stage.address(), &login)?;
    let own = match stage.kind() {
        Kind::MySql => "MySQL: ",
        Kind::MariaDb | Kind::SeekDb => "MariaDB: ",
    };
    for statement in framework.says {
        let sql = match statement.split_once(": ") {
            Some(("MySQL" | "MariaDB", sql)) if statement.starts_with(own) => sql,
            Some(("MySQL" | "MariaDB", _)) => continue,
            _ => statement,
        };
        let outcome = connection.query(&sql.replace("DB", database))?.outcome;
        outcome.ok().with_context(|| (*statement).to_owned())?;
    }
    // Before the first of these the server is asked what the session has changed.
    for _round in 0..2 {
        connection.run("SELECT 1")?;
    }
    let id = connection.greeting().thread_id;
    let before = attribute::splice_of(operator, id)?;
    assert_eq!(before.text("sticky_reason")?, "", "{before:?}");
    assert_eq!(before.text("variables_stale")?, "0", "{before:?}");
    for number in 0..STEADY {
        connection.run(&format!("SELECT {number}"))?;
    }
    let after = attribute::splice_of(operator, id)?;
    assert_eq!(after.text("sticky_reason")?, "", "{after:?}");
    if stage.path().splices() {
        let spliced = after.grown(&before, "spliced_commands")?;
        let relayed = after.grown(&before, "relayed_commands")?;
        ensure!(
            (spliced, relayed) == (STEADY, 0),
            "{spliced} spliced, {relayed} relayed: {after:?}"
        );
    }
    Ok(())
}
