//! Values of every type and size arrive as the server sent them.

use crate::case::Case;
use anyhow::{Context as _, Result, ensure};
use sluice_tests::{
    client,
    pattern::Random,
    python,
    server::{Kind, PASSWORD, USER},
    stage::Stage,
    wire::{Connection, Login, PACKET_BYTES_MAX, Response, capability, command},
};
use std::net::SocketAddr;

pub(crate) const CASES: &[Case] = &[
    Case::new("types", types).with(&Kind::ALL),
    Case::new("types_pymysql", types_pymysql).with(&Kind::ALL),
    Case::new("small_sizes", small_sizes).with(&Kind::ALL),
    Case::new("packet_boundaries", packet_boundaries),
    Case::new("forty_megabytes", forty_megabytes),
    Case::new("many_rows_of_all_sizes", many_rows_of_all_sizes),
    Case::new("mariadb_client", mariadb_client),
];

const COLUMNS: &str = "id INT PRIMARY KEY, c1 TINYINT, c2 SMALLINT UNSIGNED, c3 MEDIUMINT, c4 BIGINT, c5 BIGINT UNSIGNED, c6 FLOAT, \
    c7 DOUBLE, c8 DECIMAL(30,10), c9 DATE, c10 DATETIME(6), c11 TIMESTAMP(3) NULL, c12 TIME(6), c13 YEAR, c14 CHAR(10), \
    c15 VARCHAR(300) CHARACTER SET utf8mb4, c16 BINARY(4), c17 VARBINARY(300), c18 TINYBLOB, c19 BLOB, c20 MEDIUMTEXT, \
    c21 LONGTEXT, c22 ENUM('a','b'), c23 SET('x','y','z'), c24 BIT(17), c25 JSON";

const ROWS: [&str; 4] = [
    "1, -128, 65535, -8388608, -9223372036854775808, 18446744073709551615, 1.5e30, -2.2250738585072014e-308, \
     -12345678901234567890.0123456789, '1000-01-01', '9999-12-31 23:59:59.999999', '2038-01-01 00:00:00.123', '-838:59:59.000000', \
     1901, 'char', 'gr\u{fc}\u{df}e \u{65e5}\u{672c} \u{1f980}', X'00FF00FE', X'000102', X'FF', REPEAT(X'FB', 300), 'text', \
     REPEAT('long', 20000), 'b', 'x,z', b'10000000000000001', '{\"a\": [1, null]}'",
    "2, 127, 0, 8388607, 9223372036854775807, 0, 0, 0, 0, '2024-02-29', '2024-02-29 00:00:00', '2024-02-29 12:00:00', '00:00:00.000001', \
     2155, '', '', X'00000000', '', '', '', '', '', 'a', '', b'0', '[]'",
    "3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
     NULL, NULL, NULL, NULL",
    "4, 0, 1, -1, 1, 2, -1, 1.7976931348623157e308, 0.0000000001, '1970-01-01', '1970-01-01 00:00:00.5', '1971-01-01 00:00:00', \
     '12:34:56', 2000, '\u{e9}', REPEAT('\u{1f980}', 300), 'abcd', REPEAT(X'00', 300), REPEAT('q', 255), REPEAT('r', 65535), \
     REPEAT('s', 70000), '', NULL, 'y', b'11111111111111111', '\"text\"'",
];

/// All rows, by text and by binary protocol, with and without EOF packets.
fn dump(flags: &[u32], address: SocketAddr, table: &str) -> Result<Vec<Vec<Vec<u8>>>> {
    let select = format!("SELECT * FROM {table} ORDER BY id");
    let mut dumps = Vec::new();
    for flags in flags {
        let mut connection = Connection::open(address, &Login::new(USER, PASSWORD).with(*flags))?;
        connection.run("SET NAMES utf8mb4")?;
        dumps.push(connection.run(&select)?.packets);
        let statement = connection.prepare(&select)?;
        // The statement's id is the server session's own.
        dumps.push(statement.packets.iter().skip(1).cloned().collect());
        dumps.push(connection.execute(&statement, &[])?.packets);
    }
    Ok(dumps)
}

fn types(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let table = format!("{database}.every_type");
    let mut connection = stage.open()?;
    connection.run("SET NAMES utf8mb4")?;
    connection.run("SET time_zone = '+00:00'")?;
    connection.run(&format!("CREATE TABLE {table} ({COLUMNS})"))?;
    for row in ROWS {
        connection.run(&format!("INSERT INTO {table} VALUES ({row})"))?;
    }
    assert_eq!(
        connection
            .run(&format!("SELECT COUNT(*) FROM {table}"))?
            .text()?,
        "4"
    );
    // What the server itself offers, the proxy must offer too.
    let offered = stage.open_direct()?.greeting().capabilities & capability::DEPRECATE_EOF;
    let flags = if offered == 0 {
        vec![0]
    } else {
        vec![0, offered]
    };
    let (through, direct) = (
        dump(&flags, stage.address(), &table)?,
        dump(&flags, stage.node(), &table)?,
    );
    assert_eq!(
        (through.len(), direct.len()),
        (flags.len() * 3, flags.len() * 3)
    );
    for (index, (ours, theirs)) in through.iter().zip(&direct).enumerate() {
        ensure!(!ours.is_empty(), "dump {index} has {} packets", ours.len());
        ensure!(
            ours == theirs,
            "dump {index} differs: {ours:?} is not {theirs:?}"
        );
    }
    Ok(())
}

fn types_pymysql(stage: &Stage) -> Result<()> {
    let database = stage.database()?;
    let printed = python::run(
        include_str!("python/types.py"),
        stage.address(),
        &[USER, PASSWORD, &database],
    )?;
    assert_eq!(printed, "12 columns equal");
    Ok(())
}

/// Sends a value and has it sent back.
fn echo(connection: &mut Connection, value: &[u8]) -> Result<()> {
    let response = connection.command(&command::query(&[b"SELECT '", value, b"'"].concat()))?;
    // An assertion that prints 40 MB helps nobody.
    ensure!(
        response.cell()? == value,
        "{} bytes came back as others",
        value.len()
    );
    Ok(())
}

fn echo_binary(connection: &mut Connection, value: &[u8]) -> Result<()> {
    let statement = connection.prepare("SELECT ?")?;
    let response: Response = connection.execute(&statement, &[Some(value)])?;
    response.outcome.ok()?;
    let row = response
        .rows
        .first()
        .and_then(|rows| response.packets.get(rows.start))
        .context("a row")?;
    let length = u64::try_from(value.len())?.to_le_bytes();
    let prefix: &[u8] = match value.len() {
        0..=250 => &[&[0, 0], &length[..1]].concat(),
        251..=0xFFFF => &[&[0, 0, 0xFC], &length[..2]].concat(),
        0x1_0000..=0xFF_FFFF => &[&[0, 0, 0xFD], &length[..3]].concat(),
        _ => &[&[0, 0, 0xFE], &length[..]].concat(),
    };
    ensure!(
        row.strip_prefix(prefix) == Some(value),
        "{} bytes came back as others",
        value.len()
    );
    connection.send_command(&command::close(statement.id))
}

fn small_sizes(stage: &Stage) -> Result<()> {
    let mut random = Random::new(11);
    let mut connection = stage.open()?;
    for size in [
        0, 1, 2, 250, 251, 252, 1400, 4096, 16_383, 16_384, 65_535, 65_536, 300_000, 1_000_000,
    ] {
        let value = random.letters(size);
        echo(&mut connection, &value).with_context(|| format!("text, {size}"))?;
        echo_binary(&mut connection, &value).with_context(|| format!("binary, {size}"))?;
    }
    Ok(())
}

fn packet_boundaries(stage: &Stage) -> Result<()> {
    let mut random = Random::new(12);
    let mut connection = stage.open()?;
    // The command is the value and 10 bytes, the row is the value and its length (4 bytes).
    for around in [10, 4] {
        for offset in 0..=2 {
            let value = random.letters(PACKET_BYTES_MAX - 1 + offset - around);
            echo(&mut connection, &value).with_context(|| format!("{} bytes", value.len()))?;
        }
    }
    let value = random.letters(2 * PACKET_BYTES_MAX - 10);
    echo(&mut connection, &value).context("two full packets and an empty one")?;
    echo_binary(&mut connection, &random.letters(PACKET_BYTES_MAX)).context("binary")?;
    echo(&mut connection, b"small")
}

fn forty_megabytes(stage: &Stage) -> Result<()> {
    let mut random = Random::new(13);
    let mut connection = stage.open()?;
    let value = random.letters(40 << 20);
    echo(&mut connection, &value)?;
    echo_binary(&mut connection, &value)?;
    echo(&mut connection, b"small")
}

fn many_rows_of_all_sizes(stage: &Stage) -> Result<()> {
    let select = "SELECT seq, REPEAT(CHAR(97 + seq % 26), seq * 7) FROM mysql.seq_1_to_3000";
    let rows = stage.open()?.run(select)?.table()?;
    assert_eq!(rows.len(), 3000);
    for (row, number) in rows.iter().zip(1_usize..) {
        let letter = b'a' + u8::try_from(number % 26)?;
        let wanted = [
            Some(number.to_string().into_bytes()),
            Some(vec![letter; number * 7]),
        ];
        ensure!(row.as_slice() == wanted, "row {number} differs");
    }
    assert_eq!(
        stage.open()?.run(select)?,
        stage.open_direct()?.run(select)?
    );
    Ok(())
}

fn mariadb_client(stage: &Stage) -> Result<()> {
    let sql = "SELECT REPEAT('m', 5000000); SELECT 1, NULL, 'x'; SELECT MD5(REPEAT('n', 1000));";
    let [ours, theirs] = [stage.address(), stage.node()].map(|address| {
        client::mariadb_prints(address, USER, PASSWORD, &["--max-allowed-packet=64M"], sql)
    });
    let ours = ours?;
    ensure!(ours.len() > 5_000_000, "{} bytes", ours.len());
    ensure!(ours == theirs?, "it prints something else than directly");
    Ok(())
}
