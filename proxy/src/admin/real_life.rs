//! What clients really say: none of it may be taken for a statement of ours, and after a session of it the proxy must know what it has
//! changed, and that it is tied to nothing.

use super::{hidden, parse, prepared::Template};
use crate::session::sticky::{StickyReason, Ties, knots};
use crate::session::trace::{Statements, Trace};
use crate::sql::assigned::Assigned;

/// A client's statements, a line each, and the names that they leave changed.
struct Client {
    name: &'static str,
    changed: &'static str,
    says: &'static str,
}

const CLIENTS: &[Client] = &[
    Client {
        name: "a dump file of mysqldump",
        changed: "character_set_client character_set_results character_set_connection collation_connection time_zone unique_checks \
                  foreign_key_checks sql_mode sql_notes @OLD_CHARACTER_SET_CLIENT @OLD_CHARACTER_SET_RESULTS @OLD_COLLATION_CONNECTION \
                  @OLD_TIME_ZONE @OLD_UNIQUE_CHECKS @OLD_FOREIGN_KEY_CHECKS @OLD_SQL_MODE @OLD_SQL_NOTES @saved_cs_client",
        says: r#"
            /*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
            /*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
            /*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
            /*!50503 SET NAMES utf8mb4 */
            /*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */
            /*!40103 SET TIME_ZONE='+00:00' */
            /*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */
            /*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */
            /*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */
            /*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */
            CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 */
            USE `shop`
            DROP TABLE IF EXISTS `orders`
            /*!40101 SET @saved_cs_client     = @@character_set_client */
            /*!50503 SET character_set_client = utf8mb4 */
            CREATE TABLE `orders` (`id` int NOT NULL AUTO_INCREMENT, `call` varchar(9) DEFAULT 'it''s; kill', PRIMARY KEY (`id`)) ENGINE=InnoDB
            /*!40101 SET character_set_client = @saved_cs_client */
            LOCK TABLES `orders` WRITE
            /*!40000 ALTER TABLE `orders` DISABLE KEYS */
            INSERT INTO `orders` VALUES (1,'O\'Brien; role \"x\" @a'),(2,'a\\'),(3,'it''s\n')
            /*!40000 ALTER TABLE `orders` ENABLE KEYS */
            UNLOCK TABLES
            /*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */
            /*!40101 SET SQL_MODE=@OLD_SQL_MODE */
            /*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */
            /*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */
            /*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */
            /*M!999999\- enable the sandbox mode */"#,
    },
    Client {
        name: "mysqldump --single-transaction --master-data",
        changed: "sql_mode time_zone sql_quote_show_create transaction_isolation character_set_results net_read_timeout \
                  net_write_timeout wait_timeout",
        says: r"
            /*!40100 SET @@SQL_MODE='' */
            /*!40103 SET TIME_ZONE='+00:00' */
            SET SESSION NET_READ_TIMEOUT= 86400, SESSION NET_WRITE_TIMEOUT= 86400
            SHOW VARIABLES LIKE 'gtid\_mode'
            FLUSH /*!40101 LOCAL */ TABLES
            FLUSH TABLES WITH READ LOCK
            SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ
            START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */
            SHOW MASTER STATUS
            UNLOCK TABLES
            SELECT LOGFILE_GROUP_NAME, FILE_NAME FROM INFORMATION_SCHEMA.FILES WHERE FILE_TYPE = 'UNDO LOG'
            SHOW DATABASES
            SHOW CREATE DATABASE IF NOT EXISTS `shop`
            SAVEPOINT sp
            show table status like 'orders'
            SET SQL_QUOTE_SHOW_CREATE=1
            SET SESSION character_set_results = 'binary'
            show create table `orders`
            SELECT /*!40001 SQL_NO_CACHE */ * FROM `orders`
            SET SESSION character_set_results = 'utf8mb4'
            SHOW TRIGGERS LIKE 'orders'
            ROLLBACK TO SAVEPOINT sp
            RELEASE SAVEPOINT sp
            SET wait_timeout=DEFAULT",
    },
    Client {
        name: "Connector/J",
        changed: "character_set_results autocommit sql_mode transaction_isolation transaction_read_only net_write_timeout",
        says: r"
            /* mysql-connector-j-8.3.0 (Revision: abc) */SELECT  @@session.auto_increment_increment AS auto_increment_increment, @@character_set_client AS character_set_client, @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout
            /* mysql-connector-java-5.1.49 */SHOW VARIABLES WHERE Variable_name ='language' OR Variable_name = 'net_write_timeout' OR Variable_name = 'sql_mode'
            SHOW WARNINGS
            /* mysql-connector-java-5.1.49 */SELECT @@session.auto_increment_increment
            SHOW COLLATION
            SET character_set_results = NULL
            SET autocommit=1
            SET sql_mode='STRICT_TRANS_TABLES'
            set session transaction isolation level read committed
            SET SESSION TRANSACTION READ ONLY
            set session transaction read write
            select @@session.transaction_read_only
            SELECT @@session.tx_isolation
            /* ping */ SELECT 1
            SET net_write_timeout=600
            SHOW FULL COLUMNS FROM `orders` FROM `shop` LIKE '%'
            SHOW KEYS FROM `orders` FROM `shop`
            SELECT CASE WHEN TABLE_TYPE='BASE TABLE' THEN 'TABLE' ELSE TABLE_TYPE END AS TABLE_TYPE FROM INFORMATION_SCHEMA.TABLES
            rollback
            commit",
    },
    Client {
        name: "MariaDB Connector/J",
        changed: "autocommit sql_mode session_track_schema session_track_system_variables tx_isolation character_set_client \
                  character_set_results character_set_connection collation_connection",
        says: r#"
            set autocommit=1, session_track_schema=1, sql_mode = concat(@@sql_mode,',STRICT_TRANS_TABLES')
            set session_track_system_variables = CONCAT(@@session_track_system_variables,',tx_isolation')
            SELECT @@max_allowed_packet, @@wait_timeout
            SET SESSION tx_isolation='REPEATABLE-READ'
            SET NAMES utf8mb4 COLLATE utf8mb4_general_ci
            SELECT @@tx_isolation
            KILL USER app
            KILL QUERY ID 7
            SELECT "it\"s"#,
    },
    Client {
        name: "PDO, mysqli and WordPress",
        changed: "character_set_client character_set_results character_set_connection collation_connection autocommit sql_mode",
        says: r#"
            SET NAMES utf8mb4
            SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_520_ci'
            SELECT @@SESSION.sql_mode
            SET SESSION sql_mode='NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO'
            SELECT option_name, option_value FROM wp_options WHERE autoload = 'yes'
            UPDATE `wp_options` SET `option_value` = 'a:1:{s:4:\"role\";s:6:\"call()\";s:1:\"@\";}' WHERE `option_name` = 'wp_user_roles'
            INSERT INTO `wp_options` (`option_name`, `option_value`) VALUES ('_transient_x', 'O\'Reilly <a@b.c>; lock tables') ON DUPLICATE KEY UPDATE `option_value` = VALUES(`option_value`)
            SELECT SQL_CALC_FOUND_ROWS  wp_posts.ID FROM wp_posts WHERE 1=1  ORDER BY wp_posts.post_date DESC LIMIT 0, 10
            SELECT FOUND_ROWS()
            DESCRIBE `wp_users`
            SHOW FULL COLUMNS FROM `wp_posts`
            SHOW TABLES LIKE 'wp\\_users'
            INSERT INTO wp_usermeta (meta_key, meta_value) VALUES ('capabilities', 'a:1:{s:13:\"administrator\";b:1;}')
            SET autocommit = 0
            SET AUTOCOMMIT=1
            SELECT LAST_INSERT_ID()
            DELETE a, b FROM wp_options a, wp_options b WHERE a.option_name LIKE '\\_transient\\_%' AND b.option_value < 1700000000"#,
    },
    Client {
        name: "Laravel and Doctrine",
        changed: "character_set_client character_set_results character_set_connection collation_connection time_zone sql_mode \
                  transaction_isolation foreign_key_checks",
        says: r#"
            use `shop`;
            set names 'utf8mb4' collate 'utf8mb4_unicode_ci'
            set time_zone="+00:00"
            set session sql_mode='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE'
            SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
            select * from `jobs` where `queue` = 'default' and `reserved_at` is null limit 1 FOR UPDATE SKIP LOCKED
            SET FOREIGN_KEY_CHECKS=0;
            SET FOREIGN_KEY_CHECKS=1;
            select `migration` from `migrations` order by `batch` asc
            SELECT DATABASE()
            SHOW INDEX FROM orders
            SHOW CREATE TABLE orders
            START TRANSACTION
            SAVEPOINT DOCTRINE_2
            RELEASE SAVEPOINT DOCTRINE_2
            COMMIT"#,
    },
    Client {
        name: "Django, SQLAlchemy and PyMySQL",
        changed: "sql_auto_is_null transaction_isolation autocommit character_set_client character_set_results character_set_connection \
                  collation_connection",
        says: r"
            SET SQL_AUTO_IS_NULL = 0
            SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
            SET AUTOCOMMIT = 0
            SET AUTOCOMMIT = 1
            SET NAMES utf8mb4
            SELECT VERSION(), @@sql_mode, @@default_storage_engine, @@sql_auto_is_null, @@lower_case_table_names, CONVERT_TZ('2001-01-01 01:00:00', 'UTC', 'UTC') IS NOT NULL
            SHOW VARIABLES LIKE 'sql_mode'
            SELECT @@transaction_isolation
            SELECT CAST('test plain returns' AS CHAR(60)) AS anon_1
            SELECT CAST('test collated returns' AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS anon_1
            SHOW CREATE TABLE `django_migrations`
            INSERT INTO `auth_user` (`email`) VALUES ('o\'brien@example.com')
            ROLLBACK
            BEGIN",
    },
    Client {
        name: "ActiveRecord, Sequelize, TypeORM, Prisma and knex",
        changed: "character_set_client character_set_results character_set_connection collation_connection sql_auto_is_null sql_mode \
                  wait_timeout time_zone group_concat_max_len transaction_isolation",
        says: r"
            SET NAMES utf8mb4,  @@SESSION.sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'),  @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483
            SELECT @@FOREIGN_KEY_CHECKS
            SHOW FULL FIELDS FROM `posts`
            SELECT table_comment FROM information_schema.tables WHERE table_schema = (SELECT DATABASE()) AND table_name = 'posts'
            SET time_zone = '+00:00'
            SELECT VERSION() as `version`
            SET SESSION group_concat_max_len = 10000
            SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
            START TRANSACTION;
            COMMIT;
            SELECT COUNT(*) FROM `INFORMATION_SCHEMA`.`COLUMNS` WHERE `TABLE_SCHEMA` = 'shop'
            INSERT INTO `_prisma_migrations` (`id`, `logs`) VALUES ('x', '-- CreateTable\nCREATE TABLE `t` (\n\'a\');')
            SHOW TABLES
            SELECT 1+1 AS result",
    },
    Client {
        name: "Go, Rust, .NET and R2DBC",
        changed: "autocommit sql_mode character_set_client character_set_results character_set_connection collation_connection time_zone \
                  transaction_isolation max_execution_time",
        says: r"
            SET autocommit=true
            SET NAMES utf8mb4
            SET sql_mode=(SELECT CONCAT(@@sql_mode, ',PIPES_AS_CONCAT,NO_ENGINE_SUBSTITUTION')),time_zone='+00:00',NAMES utf8mb4 COLLATE utf8mb4_unicode_ci
            SELECT @@max_allowed_packet,@@wait_timeout,@@socket
            SELECT @@socket
            SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
            START TRANSACTION READ ONLY
            COMMIT
            set session transaction isolation level repeatable read
            SELECT @@version_comment limit 1
            SET max_execution_time=5000
            SELECT CONNECTION_ID()
            SELECT IFNULL(@@session.transaction_isolation, 'x')
            START TRANSACTION WITH CONSISTENT SNAPSHOT
            ROLLBACK",
    },
    Client {
        name: "phpMyAdmin",
        changed: "character_set_client character_set_results character_set_connection collation_connection lc_messages",
        says: r"
            SELECT @@version, @@version_comment
            SET NAMES 'utf8mb4' COLLATE 'utf8mb4_general_ci';
            SET collation_connection = 'utf8mb4_unicode_ci';
            SET lc_messages = 'de_DE';
            SELECT CURRENT_USER();
            SHOW SESSION VARIABLES LIKE 'collation_connection'
            SELECT `SCHEMA_NAME` FROM `INFORMATION_SCHEMA`.`SCHEMATA`, (SELECT DB_first_level FROM (SELECT DISTINCT SUBSTRING_INDEX(SCHEMA_NAME, '_', 1) DB_first_level FROM INFORMATION_SCHEMA.SCHEMATA WHERE TRUE) t ORDER BY DB_first_level ASC LIMIT 0, 100) t2 WHERE TRUE
            SHOW TABLES FROM `shop`;
            SHOW FULL TABLES FROM `shop` LIKE 'it\'s'
            SHOW TABLE STATUS FROM `shop` WHERE `Name` LIKE 'orders%'
            SHOW CREATE TABLE `shop`.`orders`
            SHOW INDEXES FROM `orders` FROM `shop`
            SHOW GLOBAL STATUS
            SHOW ENGINES
            SHOW PLUGINS
            SHOW PRIVILEGES
            SHOW GRANTS
            SHOW SLAVE STATUS
            SHOW PROCEDURE STATUS
            SHOW WARNINGS
            EXPLAIN SELECT * FROM `orders`
            ANALYZE TABLE `orders`",
    },
    Client {
        name: "DBeaver, Workbench and the stock client",
        changed: "sql_safe_updates sql_select_limit max_join_size character_set_client character_set_results character_set_connection \
                  collation_connection autocommit profiling transaction_isolation transaction_read_only",
        says: r"
            /* ApplicationName=DBeaver 24.0.0 - Main */ SET autocommit=1
            /* ApplicationName=DBeaver 24.0.0 - Metadata */ SELECT DATABASE()
            /* ApplicationName=DBeaver 24.0.0 - Metadata */ SHOW PROCEDURE STATUS WHERE Db='shop'
            SELECT * FROM information_schema.PROCESSLIST
            SELECT @@GLOBAL.character_set_server,@@GLOBAL.collation_server
            SHOW PLUGINS
            SET NAMES utf8
            SET SESSION TRANSACTION READ WRITE, ISOLATION LEVEL REPEATABLE READ
            SET CHARACTER SET utf8
            SET SQL_SAFE_UPDATES=1
            SET SQL_SAFE_UPDATES=1,SQL_SELECT_LIMIT=1000,MAX_JOIN_SIZE=1000000
            SHOW SESSION STATUS LIKE 'Ssl_cipher'
            set autocommit=1
            SHOW GLOBAL VARIABLES
            SET profiling = 1
            SHOW PROFILES
            select @@version_comment limit 1
            select USER()
            show databases
            show tables
            help 'SHOW PROXYSESSION'
            EXPLAIN FORMAT=JSON SELECT 1
            CHECKSUM TABLE orders
            SHOW OPEN TABLES
            SHOW ENGINE INNODB STATUS",
    },
    Client {
        name: "migrations and applications",
        changed: "lock_wait_timeout innodb_lock_wait_timeout @row_number @total @old sql_log_bin",
        says: r#"
            SELECT GET_LOCK('rails_migration', 0) AS t0_r0
            CREATE TABLE IF NOT EXISTS `schema_migrations` (`version` varchar(255) NOT NULL)
            SELECT RELEASE_LOCK('rails_migration')
            SET SESSION lock_wait_timeout = 5, innodb_lock_wait_timeout = 5
            ALTER TABLE `orders` ADD COLUMN `role` VARCHAR(20) DEFAULT 'kill', ALGORITHM=INPLACE, LOCK=NONE
            CREATE INDEX `call` ON `orders` (`role`)
            CREATE TEMPORARY TABLE tmp_ids (id BIGINT PRIMARY KEY) AS SELECT id FROM orders
            DROP TEMPORARY TABLE IF EXISTS tmp_ids
            SET @row_number = 0
            SELECT (@row_number:=@row_number + 1) AS num, name FROM orders
            SELECT COUNT(*) INTO @total FROM orders
            UPDATE counters SET n = LAST_INSERT_ID(n + 1), note = 'don\'t; SET @x := 1'
            UPDATE orders SET n = (@old := n) WHERE id = 1
            LOAD DATA LOCAL INFILE '/tmp/x.csv' INTO TABLE orders FIELDS TERMINATED BY ',' ENCLOSED BY '\"' LINES TERMINATED BY '\n'
            TRUNCATE TABLE orders
            OPTIMIZE TABLE orders
            GRANT SELECT ON `shop`.* TO 'app'@'%'
            SET sql_log_bin = 0
            DO SLEEP(0)
            WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT * FROM c
            VALUES ROW(1, 'a'), ROW(2, "b\"c")
            REPLACE INTO sessions (id, data) VALUES ('x', '{\"user\":\"a@b.c\",\"execute\":\"xa \"}')
            SELECT JSON_EXTRACT(doc, '$.a') FROM t WHERE doc->>'$.b' = 'O\'x@y' /* trace=00-4bf9-01 */
            /*trace_id='a',db_driver='x'*/ SELECT `kill` FROM `proxysession` WHERE a = 'SHOW PROXYSESSION'
            SELECT PROXY_VERSION FROM nodes
            SHOW PROCESSLIST LIKE 'x'"#,
    },
];

fn packet(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len() + 1).unwrap().to_le_bytes();
    [&length[..3], &[0, 3], text.as_bytes()].concat()
}

fn names(changed: &Assigned) -> String {
    let user = changed.user.iter().map(|name| format!("@{name}"));
    let mut names: Vec<_> = changed.system.iter().cloned().chain(user).collect();
    names.sort_unstable();
    names.join(" ")
}

#[test]
fn real_clients_are_understood() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for client in CLIENTS {
        let mut ties = Ties::default();
        let mut ended = 0;
        let mut changed = Assigned::default();
        for text in client.says.trim().lines().map(str::trim) {
            count += 1;
            let bytes = text.as_bytes();
            if parse(bytes).is_some() || hidden(bytes).is_some() || Template::read(bytes).is_some()
            {
                wrong.push(format!("taken: {text}"));
            }
            ties.apply(knots(bytes));
            ended += u64::from(text.eq_ignore_ascii_case("COMMIT"));
            ties.transactions_ended(ended);
            let trace = Trace::of(&packet(text), false);
            if let Some(changes) = Statements::default().changes(&trace) {
                if changes.unclear {
                    wrong.push(format!("unclear: {text}"));
                }
                changed.add_all(changes);
            }
            if ties.reasons().contains(&StickyReason::Unread) {
                wrong.push(format!("unread: {text}"));
                ties.clear();
            }
        }
        if !ties.reasons().is_empty() {
            wrong.push(format!("{} is tied: {:?}", client.name, ties.reasons()));
        }
        let mut expected: Vec<_> = client.changed.split_whitespace().collect();
        expected.sort_unstable();
        if names(&changed) != expected.join(" ") {
            let expected = expected.join(" ");
            wrong.push(format!(
                "{} changes\n  {}\nnot\n  {expected}",
                client.name,
                names(&changed)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 200, "{count}");
}
