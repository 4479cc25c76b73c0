//! Answers of several parts.

use crate::case::Case;
use anyhow::{Result, ensure};
use sluice_tests::{
    client,
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::{Connection, Login, Response, capability},
};

pub(crate) const CASES: &[Case] = &[
    Case::new("statements", statements).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("call", call).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("not_negotiated", not_negotiated),
    Case::new("set_option", set_option),
    Case::new("mariadb_client", mariadb_client),
];

fn both(stage: &Stage, capabilities: u32, sqls: &[String]) -> Result<[Vec<Response>; 2]> {
    let login = Login::new(USER, PASSWORD).with(capabilities);
    let answers = |address| -> Result<Vec<_>> {
        let mut connection = Connection::open(address, &login)?;
        sqls.iter().map(|sql| connection.query(sql)).collect()
    };
    Ok([answers(stage.address())?, answers(stage.node())?])
}

fn statements(stage: &Stage) -> Result<()> {
    let table = format!("{}.t", stage.database()?);
    stage
        .open_direct()?
        .run(&format!("CREATE TABLE {table} (id INT)"))?;
    let sqls = [
        "SELECT 1; SELECT 2, 3; SELECT REPEAT('x', 200000); DO 1; SELECT 4".to_owned(),
        format!(
            "INSERT INTO {table} VALUES (1), (2); SELECT COUNT(*) > 0 FROM {table}; DELETE FROM {table}"
        ),
        "SELECT 1; SELECT no_such_column; SELECT 3".to_owned(),
        "SELECT 'plain'".to_owned(),
        "SELECT ';'; SELECT 'a;b' /* ; */; -- ;\n SELECT 5".to_owned(),
    ];
    for flags in [0, capability::DEPRECATE_EOF] {
        let [ours, theirs] = both(stage, capability::MULTI_STATEMENTS | flags, &sqls)?;
        assert_eq!(
            theirs.first().map(|response| response.rows.len()),
            Some(4),
            "result sets"
        );
        assert_eq!(
            theirs.get(2).map(|response| response.outcome.code()),
            Some(1054)
        );
        ensure!(ours == theirs, "{ours:?} is not {theirs:?}");
    }
    Ok(())
}

fn call(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    stage.open_direct()?.run(&format!(
        "CREATE PROCEDURE {database}.p(IN n INT, OUT sum INT) BEGIN SELECT n; SELECT n + 1, REPEAT('p', 70000); SET sum = n + n; END"
    ))?;
    let sqls = [
        format!("CALL {database}.p(20, @sum)"),
        "SELECT @sum".to_owned(),
        format!("CALL {database}.missing()"),
        "SELECT 1".to_owned(),
    ];
    let [ours, theirs] = both(stage, 0, &sqls)?;
    assert_eq!(
        theirs.first().map(|response| response.rows.len()),
        Some(2),
        "result sets"
    );
    assert_eq!(
        theirs.get(1).map(Response::text).transpose()?.as_deref(),
        Some("40")
    );
    ensure!(ours == theirs, "{ours:?} is not {theirs:?}");
    Ok(())
}

fn not_negotiated(stage: &Stage) -> Result<()> {
    let sqls = ["SELECT 1; SELECT 2".to_owned(), "SELECT 3".to_owned()];
    let [ours, theirs] = both(stage, 0, &sqls)?;
    assert_eq!(
        theirs.first().map(|response| response.outcome.code()),
        Some(1064)
    );
    assert_eq!(ours, theirs);
    Ok(())
}

/// `COM_SET_OPTION` switches several statements on and off within a session.
fn set_option(stage: &Stage) -> Result<()> {
    let mut connection = stage.open()?;
    for (option, code) in [(0_u16, 0), (1, 1064), (0, 0)] {
        connection.send_command(&[&[0x1B][..], &option.to_le_bytes()].concat())?;
        // An EOF packet, though no rows came before it.
        let answer = connection.read_packet()?;
        ensure!(answer.first() == Some(&0xFE), "option {option}: {answer:?}");
        assert_eq!(
            connection.query("SELECT 1; SELECT 2")?.outcome.code(),
            code,
            "option {option}"
        );
    }
    Ok(())
}

fn mariadb_client(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let sql = format!(
        "CREATE PROCEDURE {database}.q() BEGIN SELECT 1; SELECT 2; END; CALL {database}.q(); SET @v = 7; SELECT @v; USE {database}; \
         SELECT DATABASE() = '{database}'"
    );
    // The client cuts statements at its delimiter, which must not be the one within the procedure.
    let sql = sql
        .replace("END; ", "END // ")
        .replace("(); ", "() // ")
        .replace("7; ", "7 // ")
        .replace("@v; ", "@v // ");
    let sql = sql.replace("; SELECT DATABASE", " // SELECT DATABASE");
    let printed =
        client::mariadb_prints(stage.address(), USER, PASSWORD, &["--delimiter=//"], &sql)?;
    assert_eq!(printed, "1\n2\n7\n1");
    Ok(())
}
