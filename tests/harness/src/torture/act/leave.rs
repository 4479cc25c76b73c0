//! Connections that are left: at any moment, in any way, and many short ones from few ports.

use crate::{
    port::bound,
    topology::Topology,
    torture::{
        client::Client,
        operation::{Leave, Moment, Short},
        plan, tally, text,
        verdict::{self, Fault},
    },
    wait,
    wire::{Connection, Outcome, command as payload, frame},
};
use anyhow::{Context as _, Result, bail, ensure};
use socket2::{SockRef, Socket};
use std::{
    fmt,
    io::{ErrorKind, Read as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// As much of an answer has been read as was to be.
#[derive(Debug)]
struct Enough;

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("enough was read")
    }
}

impl std::error::Error for Enough {}

/// Within which a connection must be closed whose client has shut down its half.
const CLOSED: Duration = Duration::from_secs(30);

/// Leaves a connection that nobody reads any more.
pub(super) fn leave(mut connection: Connection, leave: Leave) -> Result<()> {
    match leave {
        Leave::Quit => connection.send_command(&[0x01]),
        Leave::Fin => Ok(()),
        Leave::Reset => {
            SockRef::from(connection.stream()).set_linger(Some(Duration::ZERO))?;
            Ok(())
        }
        Leave::Half => {
            connection.stream().shutdown(Shutdown::Write)?;
            read_to_end(connection.stream())
        }
    }
}

/// Reads what still comes until the other end closes.
fn read_to_end(mut stream: &TcpStream) -> Result<()> {
    let start = Instant::now();
    let mut chunk = vec![0; 64 << 10];
    stream.set_read_timeout(Some(CLOSED))?;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // See `Connection::fill`.
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < CLOSED => {}
            Err(error) => return Err(error).context("a half-closed connection is still open"),
        }
    }
}

impl Client<'_> {
    pub(in crate::torture) fn abort(&mut self, moment: Moment, how: Leave) -> Result<()> {
        let mut connection = match moment {
            Moment::Connected => {
                let stream = self.scene.world.connect()?;
                if how == Leave::Reset {
                    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                }
                if how == Leave::Half {
                    stream.shutdown(Shutdown::Write)?;
                    read_to_end(&stream)?;
                }
                return Ok(());
            }
            Moment::LoggingIn => {
                let mut connection = Connection::greet_on(self.scene.world.connect()?)?;
                let packet = connection.login_packet(&self.login())?;
                let (bytes, _) = frame(&packet, 1);
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                connection.send_raw(half)?;
                return leave(connection, how);
            }
            Moment::Idle | Moment::Command | Moment::Answer(_) => self.open()?,
        };
        connection.run("SELECT 1")?;
        match moment {
            Moment::Command => connection.send_raw(&[100, 0, 0, 0, 3, b'S', b'E'])?,
            Moment::Answer(bytes) if how == Leave::Half => return self.half(connection, bytes),
            Moment::Answer(bytes) => self.part_of_an_answer(&mut connection, bytes)?,
            _ => {}
        }
        leave(connection, how)
    }

    /// Reads so many bytes of rows, or some more, and stops in the middle of the answer.
    fn part_of_an_answer(&self, connection: &mut Connection, bytes: usize) -> Result<()> {
        const ROWS: usize = 1000;
        const WIDTH: usize = 500;
        let sql = text::rows_sql(ROWS, WIDTH, None);
        connection.send_command(&payload::query(sql.as_bytes()))?;
        let (mut number, mut left) = (0, bytes);
        let mut wrong = None;
        let read = connection.read_each_row(|row| {
            number += 1;
            let checked = text::same("a row", row, &text::row(number, WIDTH, false, false));
            wrong = checked.err();
            left = left.saturating_sub(row.len());
            ensure!(wrong.is_none() && left > 0 && number < ROWS, Enough);
            Ok(())
        });
        self.compared(number * WIDTH * 8);
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        match read {
            Err(error) if error.downcast_ref::<Enough>().is_some() => Ok(()),
            other => {
                other?.ok()?;
                bail!("{number} rows of {ROWS}, and an OK")
            }
        }
    }

    /// The sending half is closed behind the command: what comes is right, and then the connection ends. It may be cut short.
    fn half(&mut self, mut connection: Connection, bytes: usize) -> Result<()> {
        let (rows, width) = (1 + bytes / 800, 100);
        let sql = text::rows_sql(rows, width, None);
        connection.send_command(&payload::query(sql.as_bytes()))?;
        connection.stream().shutdown(Shutdown::Write)?;
        let (mut number, mut wrong) = (0, None);
        let read = connection.read_each_row(|row| {
            number += 1;
            let checked = text::same("a row", row, &text::row(number, width, false, false));
            wrong = checked.err();
            ensure!(wrong.is_none(), "a wrong row");
            Ok(())
        });
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        match read {
            Ok(Outcome::Ok { .. }) => {
                ensure!(number == rows, "{number} rows of {rows}, and an OK");
            }
            // Its client counts as gone, or its node is.
            Ok(outcome) if verdict::tells_of_an_end(&outcome) => {}
            Err(error) if verdict::of(&error) == Fault::Lost => {}
            other => return other?.ok(),
        }
        self.compared(number * width * 8);
        read_to_end(connection.stream())
    }

    pub(in crate::torture) fn shorts(&mut self, shorts: &[Short]) -> Result<()> {
        for (at, short) in shorts.iter().enumerate() {
            let before = shorts
                .iter()
                .take(at)
                .rfind(|other| other.port == short.port);
            self.short(*short).with_context(|| {
                format!("{short:?}, number {at}; before it the port was {before:?}'s")
            })?;
        }
        Ok(())
    }

    fn short(&mut self, short: Short) -> Result<()> {
        let begin = Instant::now();
        match self.try_short(short) {
            Err(error) if self.is_explained(&error, begin) => {
                // Until logins are answered again.
                wait::throughout(Duration::from_millis(50), || Ok(()))
            }
            other => other,
        }
    }

    fn try_short(&mut self, short: Short) -> Result<()> {
        let stream = self.connect_from(short.port)?;
        let mut connection = Connection::greet_on(stream)?;
        connection.set_patience(self.scene.patience)?;
        connection.log_in(&self.login())?.ok()?;
        for number in 0..short.commands {
            let text = connection.run(&format!("SELECT {number}"))?.text()?;
            ensure!(text == number.to_string(), "SELECT {number} is {text}");
        }
        let tally = self.scene.tally;
        tally::count(&tally.sessions);
        tally::count(&tally.shorts);
        match short.leave {
            // The proxy closes first: the port is free at once.
            Leave::Quit => {
                connection.send_command(&[0x01])?;
                read_to_end(connection.stream())
            }
            how => leave(connection, how),
        }
    }

    /// Connects from one of the client's own ports, or, where it is taken, from any.
    fn connect_from(&mut self, port: usize) -> Result<TcpStream> {
        let world = self.scene.world;
        let topology = match world.topology() {
            Topology::Local => 0,
            Topology::Sidecar => 1,
            Topology::NodeSide => 2,
            Topology::Gateway => 3,
        };
        let number = 20_000 + topology * 2000 + self.number * plan::PORTS + port;
        let from = SocketAddr::new(world.hosts().client.address(), u16::try_from(number)?);
        let timeout = self.scene.patience;
        let connect = |socket: Socket| {
            socket.connect_timeout(&world.address().into(), timeout)?;
            Ok(socket)
        };
        match bound(from).and_then(connect) {
            Ok(socket) => {
                let bit = 1 << port;
                if self.used_ports & bit != 0 {
                    tally::count(&self.scene.tally.reused_ports);
                }
                self.used_ports |= bit;
                socket.set_nonblocking(false)?;
                let stream = socket.into();
                world.make_curious(&stream)?;
                Ok(stream)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable
                ) =>
            {
                world.connect()
            }
            Err(error) => Err(error).context("connect from a port of one's own"),
        }
    }
}
