//! Every rule, by example. That nothing else is a replica's is shown by `tests/aim`.

use super::*;
use Aim::{AtReader, AtWriter, Hinted, Last, Reader, Writer};

fn all(aim: Aim, texts: &[&str]) {
    for text in texts {
        assert_eq!(scan(START, text.as_bytes()), aim, "{text:?}");
        let attributes = [b"\0\x01", text.as_bytes()].concat();
        assert_eq!(scan(START_WITH_ATTRIBUTES, &attributes), aim, "{text:?}");
    }
}

#[test]
fn states() {
    println!("{STATES} states");
    for state in 0..=u8::MAX {
        let step = |byte| step_with(Backslash::UNKNOWN, state, byte);
        let absorbs = (0..=u8::MAX).all(|byte| step(byte) == state);
        let unused = usize::from(state) >= STATES;
        assert_eq!(absorbs || unused, state <= 1 || unused, "{state}");
        assert!(!unused || verdict(state) == Writer, "{state}");
    }
}

#[test]
fn codes() {
    for aim in [Reader, Last, Writer, Hinted, AtReader, AtWriter] {
        assert_eq!(Aim::from_code(aim as u8), aim);
    }
    assert_eq!(Aim::from_code(6), Writer);
    assert_eq!(Aim::default(), Writer);
}

#[test]
fn sysbench() {
    all(
        Reader,
        &[
            "SELECT c FROM sbtest1 WHERE id=5035",
            "SELECT c FROM sbtest1 WHERE id BETWEEN 1 AND 100",
            "SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN 1 AND 100",
            "SELECT c FROM sbtest1 WHERE id BETWEEN 1 AND 100 ORDER BY c",
            "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 1 AND 100 ORDER BY c",
        ],
    );
}

#[test]
fn mappers() {
    all(
        Reader,
        &[
            "SELECT COUNT(*) AS `__count` FROM `shop_order` WHERE `shop_order`.`total` > 10.5",
            "SELECT (1) AS `a` FROM `shop_order` WHERE `shop_order`.`id` IN (1, 2) LIMIT 1",
            "SELECT anon_1.a, count(*) AS count_1 \nFROM (SELECT t.a AS a FROM t) AS anon_1",
            "SELECT EXISTS(SELECT 1 FROM t WHERE NOT (`a` = ? AND (`b` = 'x' OR `c` IS NULL)))",
            "SELECT `User`.`id`, `Orders`.`id` AS `Orders.id` FROM `Users` AS `User` LEFT OUTER JOIN `Orders` AS `Orders` ON (`User`.`id` = `Orders`.`userId`) WHERE (`User`.`deletedAt` IS NULL);",
            "select `t0`.* from `orders` as `t0` inner join (select max(`id`) as m from `orders` group by `user_id`) as `t1` on `t1`.m = `t0`.`id` limit 20 offset 40",
            "SELECT COALESCE(SUM(`a`.`x` * `b`.`y`), 0.0) FROM a, b WHERE DATE(a.at) >= '2020-01-01' AND IF(a.x, 1, 2)",
            "select json_valid, coalesce(lower(trim(`a`)), concat('x', ifnull(b, ''))) from t having (a)",
            "/*traceparent='00-5',app='x'*/ SELECT a FROM t",
            "SELECT a FROM t -- where: f()\nWHERE a = 1",
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd' AND TABLE_NAME = 'mysql'",
        ],
    );
}

#[test]
fn reads() {
    all(
        Reader,
        &[
            "SELECT 1",
            "SELECT 1;",
            "SELECT 1 ; \n",
            "SELECT (1)",
            "SELECT(1)+(2)-(3)/(4)*(5)",
            "SELECT a/(b), a-(b), a /(b)",
            "SELECT 1.5, .5, 1e5, 1.5e-3, 1e+5, 0x1F, 0b01, x'1F', N'a', _utf8'b'",
            "SELECT 'f(', \"f(\", `f(` /* f( */ -- f(",
            "SELECT 'it''s f(', 'a\\nb', \"say \"\"f(\"\"\"",
            "SELECT * FROM t WHERE a IN\n\t(1)",
            "SELECT a AS \u{540d} FROM \u{8868} WHERE \u{540d} = 1",
            "SELECT system, syst, mysqlx, into_, a.sys_, forx FROM t",
            "SELECT `system`, `sys_user`, `mysqlx`, `next`, `performance`, `performances_total`",
            "SELECT `a`.`b`, a.`b`, a . b, `a`.b FROM d.t",
            "SELECT next, previous, value FROM t",
            "SELECT a.count, a.`count` FROM t",
            "SELECT SUM(a) OVER (PARTITION BY b), COUNT(*)over(ORDER BY (c)) FROM t",
            "SELECT /* + */ 1 /*a+*/",
            "select * from t where json_unquote(json_extract(`a`, '$.\"b\"')) = 'x'",
            "SELECT GROUP_CONCAT(DISTINCT a SEPARATOR ','), EXTRACT(YEAR FROM a) FROM t WHERE a > DATE_SUB(NOW(), INTERVAL 7 DAY)",
            "SELECT 1 FROM (t) JOIN u ON(a) OR (b)",
            "SELECT COUNT(DISTINCT(`User`.`id`)) FROM (t) ON (a)or(b)",
            "SELECT a FROM t WHERE 1. AND (1.)AND(a.1)",
        ],
    );
}

/// Whatever it says: hints are the daemon's to read.
#[test]
fn hints() {
    all(
        Hinted,
        &[
            "SELECT /*+ MAX_EXECUTION_TIME(10) */ 1",
            "SELECT /*+ READ_CONSISTENCY(STRONG) */ a FROM t",
            "SELECT /*+ ROUTE(db2:3306) */ f(1)",
            "SELECT a/*+*/ FROM t",
            "SELECT /*+ x('*/') */ 1",
        ],
    );
}

#[test]
fn calls() {
    all(
        Writer,
        &[
            "SELECT f()",
            "SELECT f ()",
            "SELECT f\n()",
            "SELECT f/**/()",
            "SELECT f/* x */ /* y */ ()",
            "SELECT f -- x\n()",
            "SELECT f # x\n()",
            "SELECT `f`()",
            "SELECT `f` ()",
            "SELECT `count`(1)",
            "SELECT \"count\"(1)",
            "SELECT 'count'(1)",
            "SELECT d.f()",
            "SELECT d.count(1)",
            "SELECT d . count(1)",
            "SELECT d.\ncount(1)",
            "SELECT d./**/count(1)",
            "SELECT d/**/.count(1)",
            "SELECT `d`.count(1)",
            "SELECT `d`.`count`(1)",
            "SELECT d.in(1)",
            "SELECT 1count(1)",
            "SELECT d.1.count(1)",
            "SELECT $f(1)",
            "SELECT count$(1)",
            "SELECT count1(1)",
            "SELECT count (1)",
            "SELECT count/**/(1)",
            "SELECT \u{540d}(1)",
            "SELECT \u{540d} (1)",
            "SELECT \u{540d}count(1)",
            "SELECT count\u{a0}(1)",
            "SELECT counts(1)",
            "SELECT coun(1)",
            "SELECT xcount(1)",
            "SELECT over(1), a",
            "SELECT (1) overs(1)",
            "SELECT 1.f()",
            "SELECT 1.5f()",
            "SELECT 1e5f()",
            "SELECT against('x')",
            "SELECT LAST_INSERT_ID()",
            "SELECT last_insert_id ()",
            "SELECT CONNECTION_ID()",
            "SELECT NEXTVAL(s)",
            "SELECT LASTVAL(s)",
            "SELECT SETVAL(s, 1)",
            "SELECT UUID_SHORT()",
            "SELECT MASTER_POS_WAIT('f', 1)",
            "SELECT IS_FREE_LOCK('a')",
            "SELECT IS_USED_LOCK('a')",
            "SELECT LOAD_FILE('x')",
            "SELECT COUNT(*), f() FROM t",
            "SELECT a FROM t PROCEDURE ANALYSE()",
        ],
    );
}

#[test]
fn words_without_a_call() {
    all(
        Writer,
        &[
            "SELECT NEXT VALUE FOR s",
            "SELECT PREVIOUS/**/VALUE\nFOR s",
            "SELECT s.NEXTVAL",
            "SELECT s . nextval",
            "SELECT `s`.currval",
            "SELECT a FROM t FOR UPDATE",
            "SELECT a FROM t for share",
            "SELECT a FROM `t`FOR UPDATE",
            "SELECT 1.5FOR UPDATE",
            "SELECT a INTO OUTFILE 'x'",
            "SELECT SQL_CALC_FOUND_ROWS a FROM t",
            "SELECT a FROM mysql.user",
            "SELECT a FROM `mysql`.`user`",
            "SELECT a FROM `mysql` . user",
            "SELECT a FROM sys.processlist",
            "SELECT a FROM `sys`.x",
            "SELECT a FROM performance_schema.threads",
            "SELECT a FROM Performance_Schema . threads",
            "SELECT a FROM `performance_schema`.`threads`",
            "SELECT a FROM information_schema.processlist",
            "SELECT a FROM information_schema.`PROCESSLIST`",
            "SELECT a FROM processlist",
            "SELECT a FROM `processlist`",
            "SELECT a FROM INFORMATION_SCHEMA.PROFILING",
            "SELECT a FROM INFORMATION_SCHEMA.OPTIMIZER_TRACE",
            "SELECT a FROM \"mysql\".\"user\"",
            "SELECT a FROM \"mysql\" . user",
            "SELECT a FROM \"mysql\"/**/.user",
            "SELECT a FROM information_schema.\"PROCESSLIST\"",
            "SELECT @a",
            "SELECT @@hostname",
        ],
    );
}

#[test]
fn the_statement_before() {
    all(
        Last,
        &[
            "SELECT FOUND_ROWS()",
            "select found_rows ( ) as `n`;",
            "SELECT ROW_COUNT() AS n",
            "SELECT COUNT(*), FOUND_ROWS()",
            "SELECT FOUND_ROWS() + 1, n",
        ],
    );
    all(
        Writer,
        &[
            "SELECT ROW_COUNT(), LAST_INSERT_ID()",
            "SELECT LAST_INSERT_ID(), ROW_COUNT()",
            "SELECT FOUND_ROWS(), f()",
            "SELECT FOUND_ROWS(), s.nextval",
            "SELECT FOUND_ROWS(), NEXT VALUE FOR s",
            "SELECT FOUND_ROWS(",
            "SELECT FOUND_ROWS(=",
            "SELECT FOUND_ROWS(); SELECT 1",
            "SELECT d.FOUND_ROWS()",
            "SELECT `FOUND_ROWS`()",
            "SELECT FOUND_ROWS() AS `a",
        ],
    );
}

#[test]
fn what_is_read_differently() {
    all(
        Writer,
        &[
            "SELECT 'a\\'",
            "SELECT 'a\\' , f() , '",
            "SELECT \"a\\\" f() \"",
            "SELECT 'a",
            "SELECT `a",
            "SELECT \"a",
            "SELECT 1 /* a",
            "SELECT /*! f() */ 1",
            "SELECT /*M! f() */ 1",
            "SELECT \\N",
            "SELECT {d '2020-01-01'}",
            "SELECT [a]",
            "SELECT $$a$$",
            "SELECT \0",
            "SELECT 1; SELECT 2",
            "SELECT 1 --\n",
            "SELECT a-- b\n()",
            "SELECT 'a'# b\n()",
        ],
    );
}
