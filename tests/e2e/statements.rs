//! How admin statements are written, and how their answers look in the stock client (odp.md, sections 1.1 and 1.3).

use crate::case::Case;
use anyhow::{Context as _, Result, bail, ensure};
use sluice_tests::{
    server::{PASSWORD, USER, USER_PLAIN, USER_ROOT},
    stage::Stage,
    wire::{Connection, Outcome},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("numbers", numbers).daemon(),
    Case::new("like_patterns", like_patterns).daemon(),
    Case::new("blanks_and_comments", blanks_and_comments).daemon(),
    Case::new("errors", errors).daemon(),
    Case::new("tables_of_the_stock_client", tables_of_the_stock_client).daemon(),
];

/// What a statement gets: its error as `number (SQLSTATE) text`, or the number of its rows.
fn answer(connection: &mut Connection, sql: &str) -> Result<String> {
    let answer = connection.query(sql)?;
    Ok(match &answer.outcome {
        Outcome::Error {
            code,
            state,
            message,
        } => format!("{code} ({state}) {message}"),
        Outcome::Ok { .. } if answer.rows.is_empty() => "OK".to_owned(),
        Outcome::Ok { .. } => format!("{} rows", answer.table()?.len()),
    })
}

const BAD_COMMAND: &str = "5010 (21000) Unknown operator, bad internal cmd";

/// A sign and up to 17 digits; -1 is as good as no id.
fn numbers(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    let own = connection.greeting().thread_id;
    let unknown = |id: &str| format!("1094 (HY000) Unknown thread id: {id}");
    for (number, expected) in [
        (format!("{own}"), "1 rows".to_owned()),
        (format!("+{own}"), "1 rows".to_owned()),
        (format!("{own:017}"), "1 rows".to_owned()),
        ("-1".to_owned(), "1 rows".to_owned()),
        ("-2".to_owned(), unknown("-2")),
        ("0".to_owned(), unknown("0")),
        ("4294967296".to_owned(), unknown("4294967296")),
        ("99999999999999999".to_owned(), unknown("99999999999999999")),
        (format!("{own:018}"), BAD_COMMAND.to_owned()),
        ("99999999999999999999".to_owned(), BAD_COMMAND.to_owned()),
        (format!("{own}.0"), BAD_COMMAND.to_owned()),
        ("0x7".to_owned(), BAD_COMMAND.to_owned()),
        (format!("'{own}'"), BAD_COMMAND.to_owned()),
        (format!("{own} {own}"), BAD_COMMAND.to_owned()),
    ] {
        let sql = format!("SHOW PROXYSESSION ATTRIBUTE {number} LIKE 'cs_id'");
        assert_eq!(answer(&mut connection, &sql)?, expected, "{sql}");
    }
    Ok(())
}

/// In quotes or bare; case counts, `%` and `_` stand for others, nothing escapes.
fn like_patterns(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for (pattern, expected) in [
        ("'cs_id'", "1 rows"),
        ("\"cs_id\"", "1 rows"),
        ("cs_id", "1 rows"),
        ("'CS_ID'", "0 rows"),
        ("'cs%d'", "1 rows"),
        ("'___id'", "2 rows"),
        ("'%sessid'", "2 rows"),
        ("'no such name'", "0 rows"),
        ("'cs\\_id'", BAD_COMMAND),
        ("'cs''id'", BAD_COMMAND),
        ("", BAD_COMMAND),
    ] {
        let sql = format!("SHOW PROXYSESSION ATTRIBUTE LIKE {pattern}");
        assert_eq!(answer(&mut connection, &sql)?, expected, "{sql}");
    }
    let all = answer(&mut connection, "SHOW PROXYSESSION ATTRIBUTE")?;
    for pattern in ["''", "'%'", "'%%'"] {
        let sql = format!("SHOW PROXYSESSION ATTRIBUTE LIKE {pattern}");
        assert_eq!(answer(&mut connection, &sql)?, all, "{sql}");
    }
    Ok(())
}

fn blanks_and_comments(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for sql in [
        "show proxysession",
        "Show ProxySession;",
        "  SHOW\t\n PROXYSESSION ; ",
        "/* an app's mark */ SHOW PROXYSESSION",
        "SHOW/**/PROXYSESSION # all",
        "-- a line\nSHOW PROXYSESSION",
    ] {
        assert_eq!(answer(&mut connection, sql)?, "1 rows", "{sql}");
    }
    // These are the node's: it takes the words for something else, or for nothing.
    for sql in [
        "SHOWPROXYSESSION",
        "SHOW `PROXYSESSION`",
        "(SHOW PROXYSESSION)",
    ] {
        let answer = answer(&mut connection, sql)?;
        ensure!(answer.starts_with("1064 (42000)"), "{sql}: {answer}");
    }
    assert_eq!(
        answer(&mut connection, "SELECT 'SHOW PROXYSESSION'")?,
        "1 rows"
    );
    Ok(())
}

/// Who may not end a session learns that it is another's, or nothing at all.
fn errors(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let mut victim = front.open(&format!("{USER}@shop#east"), PASSWORD)?;
    let id = victim.greeting().thread_id;
    let node_id = victim.run("SELECT CONNECTION_ID()")?.text()?;
    let neighbour = format!("{USER_PLAIN}@shop#east");
    let stranger = format!("{USER}@bank#east");
    for (user, kill, show) in [
        (
            &neighbour,
            format!("1095 (HY000) You are not owner of thread {id}"),
            format!("1094 (HY000) Unknown thread id: {id}"),
        ),
        (
            &stranger,
            format!("1094 (HY000) Unknown thread id: {id}"),
            format!("1094 (HY000) Unknown thread id: {id}"),
        ),
    ] {
        let mut connection = front.open(user, PASSWORD)?;
        let statements = [
            (format!("KILL {id}"), kill.clone()),
            (format!("KILL CONNECTION {id}"), kill.clone()),
            (
                format!("KILL {node_id}"),
                kill.replace(&id.to_string(), &node_id),
            ),
            (format!("SHOW PROXYSESSION ATTRIBUTE {id}"), show),
        ];
        for (sql, expected) in &statements {
            assert_eq!(&answer(&mut connection, sql)?, expected, "{user}: {sql}");
        }
        let script: Vec<_> = statements.iter().map(|(sql, _)| sql.as_str()).collect();
        let client = front.client(user, PASSWORD).option("--force");
        let printed = client.script(&(script.join(";\n") + ";\n"))?;
        let expected: Vec<_> = statements.into_iter().map(|(_, error)| error).collect();
        assert_eq!(printed.errors()?, expected, "{user}");
    }
    assert_eq!(victim.run("SELECT 'alive'")?.text()?, "alive");
    Ok(())
}

/// A line of `--table` as its cells.
fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

fn tables_of_the_stock_client(stage: &Stage) -> Result<()> {
    let front = stage.private(stage.node(), &[])?;
    let client = front.client(USER_ROOT, "").option("--table");
    let printed = client.execute("SHOW PROXYSESSION")?;
    let lines: Vec<_> = printed.stdout.lines().collect();
    let [top, names, middle, row, bottom] = lines.as_slice() else {
        bail!("{printed:?}")
    };
    ensure!(top == middle && middle == bottom, "{printed:?}");
    let names = cells(names);
    assert_eq!(
        names,
        [
            "proxy_sessid",
            "Id",
            "Cluster",
            "Tenant",
            "User",
            "Host",
            "db",
            "trans_count",
            "svr_session_count",
            "state",
            "tid",
            "pid",
            "using_ssl"
        ]
    );
    // Numbers stand on the right, texts on the left.
    let raw: Vec<_> = row.trim_matches('|').split('|').collect();
    let (servers, host) = (raw.get(8), raw.get(5));
    ensure!(
        servers.is_some_and(|cell| cell.ends_with("1 ") && cell.len() > 3),
        "{row}"
    );
    let from = format!(" {}:", stage.hosts().client.address());
    ensure!(host.is_some_and(|cell| cell.starts_with(&from)), "{row}");
    // No database is a text: in the stock client's XML, NULL would have no text at all.
    assert_eq!(cells(row).get(6), Some(&"NULL"));
    let xml = front.client(USER_ROOT, "").option("--xml");
    let xml = xml.execute("SHOW PROXYSESSION")?.stdout;
    ensure!(xml.contains("<field name=\"db\">NULL</field>"), "{xml}");
    ensure!(!xml.contains("xsi:nil"), "{xml}");
    // One below another, as operators like it.
    let vertical = client.execute("SHOW PROXYSESSION ATTRIBUTE LIKE 'cs_id'\\G")?;
    let text = vertical.stdout;
    ensure!(text.contains("1. row"), "{text}");
    for name in ["attribute_name: cs_id", "value: ", "info: cs common"] {
        ensure!(text.contains(name), "{text}");
    }
    let empty = client.execute("SHOW PROXYSESSION ATTRIBUTE LIKE 'no such name'")?;
    ensure!(empty.success && empty.stdout.is_empty(), "{empty:?}");
    let sql = "SHOW PROXYSESSION ATTRIBUTE; SELECT 'behind'";
    let behind = front
        .client(USER, PASSWORD)
        .option("--batch")
        .execute(sql)?;
    let last = behind.lines()?.pop().context("nothing printed")?;
    assert_eq!(last, ["behind"]);
    Ok(())
}
