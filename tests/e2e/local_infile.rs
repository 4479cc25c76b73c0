//! LOAD DATA LOCAL: the client's file, through the proxy, into the server.

use crate::case::Case;
use anyhow::Result;
use sluice_tests::{
    client, place,
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::{Connection, Login, capability, command},
};
use std::{fmt::Write as _, fs};

pub(crate) const CASES: &[Case] = &[
    Case::new("sizes", sizes).with(&[Kind::MariaDb, Kind::MySql]),
    Case::new("mariadb_client", mariadb_client),
    Case::new("refused", refused),
];

fn lines(count: usize) -> String {
    let mut text = String::new();
    for id in 0..count {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{id}\t{}", "line ".repeat(id % 9));
    }
    text
}

fn sizes(stage: &Stage) -> Result<()> {
    let table = format!("{}.loaded", stage.database()?);
    let mut connection = Connection::open(
        stage.address(),
        &Login::new(USER, PASSWORD).with(capability::LOCAL_FILES),
    )?;
    connection.run(&format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY, filler TEXT)"
    ))?;
    for count in [0, 1, 1000, 200_000] {
        let text = lines(count);
        connection.send_command(&command::query(
            format!("LOAD DATA LOCAL INFILE 'e2e' INTO TABLE {table}").as_bytes(),
        ))?;
        let response = connection.read_response(text.as_bytes())?;
        response.outcome.ok()?;
        assert_eq!(
            response.packets.first().map(Vec::as_slice),
            Some(&b"\xFBe2e"[..]),
            "the server asks for the file"
        );
        let sums = connection.run(&format!(
            "SELECT CONCAT_WS(' ', COUNT(*), SUM(id), SUM(LENGTH(filler))) FROM {table}"
        ))?;
        let filler: usize = (0..count).map(|id| 5 * (id % 9)).sum();
        let wanted = if count == 0 {
            "0".to_owned()
        } else {
            format!("{count} {} {filler}", count * (count - 1) / 2)
        };
        assert_eq!(sums.text()?, wanted);
        connection.run(&format!("TRUNCATE {table}"))?;
    }
    Ok(())
}

fn mariadb_client(stage: &Stage) -> Result<()> {
    let table = format!("{}.loaded", stage.database()?);
    let file = place::fresh("infile")?.join("file");
    fs::write(&file, lines(5000))?;
    let sql = format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY, filler TEXT); LOAD DATA LOCAL INFILE '{}' INTO TABLE {table}; \
         SELECT COUNT(*), MAX(id) FROM {table}",
        file.display()
    );
    let printed =
        client::mariadb_prints(stage.address(), USER, PASSWORD, &["--local-infile=1"], &sql)?;
    assert_eq!(printed, "5000\t4999");
    Ok(())
}

/// A client that has no such file sends nothing; a server that has no such table asks for none.
fn refused(stage: &Stage) -> Result<()> {
    let table = format!("{}.loaded", stage.database()?);
    let login = Login::new(USER, PASSWORD).with(capability::LOCAL_FILES);
    let mut connection = Connection::open(stage.address(), &login)?;
    let load = format!("LOAD DATA LOCAL INFILE '/no/such/file' INTO TABLE {table}");
    assert_eq!(connection.query(&load)?.outcome.code(), 1146);
    connection.run(&format!("CREATE TABLE {table} (id INT PRIMARY KEY)"))?;
    connection.send_command(&command::query(load.as_bytes()))?;
    connection.read_response(&[])?.outcome.ok()?;
    assert_eq!(
        connection
            .run(&format!("SELECT COUNT(*) FROM {table}"))?
            .text()?,
        "0"
    );
    Ok(())
}
