//! The command line. Its help is the manual; its flags win over the configuration file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Args, Parser, Subcommand};

use crate::config::{
    self, ByteCount, ConfigError, LogFormat, LogLevel, MaxConnections, Namespaces, NodeAddress,
    Origin, Overrides, PathChoice, Settings, Splice, Timeout, Workers,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  stopped by SIGTERM or SIGINT, or nothing to complain of
  1  failure at run time
  2  bad command line or configuration
  3  `--splice require` cannot be met on this host
  4  the listening address cannot be bound";

/// A MySQL-protocol proxy whose established sessions move in the kernel.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy in the foreground; logs go to stderr.
    ///
    /// Needs a node to connect to: `--server`, or a configuration file that names one. Clients log in as `user@tenant#cluster`; both
    /// parts behind the user have defaults.
    #[command(after_help = EXIT_CODES)]
    Run(RunArguments),
    /// Read a configuration file, say whether it is good, and end.
    CheckConfig {
        /// The file, in TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say what this host's kernel offers and which sessions will be spliced, and splice some bytes as a test.
    Doctor {
        /// With `require`, the exit code says whether sessions can be spliced.
        #[arg(long, value_name = "auto|off|require", default_value = "auto")]
        splice: Splice,
    },
    /// Print a unit file for systemd that runs the proxy with no more rights than it needs.
    Unit,
}

/// What `sluice unit` prints.
pub const UNIT: &str = include_str!("sluice.service");

/// The flags of `sluice run`.
#[derive(Debug, Default, Args)]
pub struct RunArguments {
    /// Configuration file in TOML. Flags win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:2883]. Port 0 takes a free one, which the log names.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// The node, if there is only one. Takes the place of the file's clusters.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<NodeAddress>,
    /// Whether established sessions move in the kernel [default: auto].
    ///
    /// `auto` splices where the host can and logs one line that says why not where it cannot; `off` relays every byte through the
    /// daemon; `require` ends with exit code 3 on a host that cannot splice.
    #[arg(long, value_name = "auto|off|require")]
    splice: Option<Splice>,
    /// Where on this host clients and servers of spliced sessions may be [default: all].
    ///
    /// `all`: in any network namespace, containers among them, unless addresses are translated in between; `own`: in the proxy's own. What
    /// is spliced passes no firewall and no counter between namespaces.
    #[arg(long, value_name = "all|own")]
    namespaces: Option<Namespaces>,
    /// By which way sessions may be spliced [default: auto].
    ///
    /// `local`: between the sockets of programs on this host; `wire`: below the sockets, by the interfaces; `relay`: by none. `auto`
    /// gives each session the best that it can have.
    #[arg(long, value_name = "auto|local|wire|relay")]
    path: Option<PathChoice>,
    /// Worker threads, 1 to 1024 [default: one per core].
    #[arg(long, value_name = "N")]
    workers: Option<Workers>,
    /// Client sessions that may live at once, 1 to 262143 [default: 10000]. One more is answered error 1203.
    #[arg(long, value_name = "N")]
    max_connections: Option<MaxConnections>,
    /// Time from accept to the end of the login [default: 10s]. A client that takes longer is dropped.
    #[arg(long, value_name = "TIME")]
    login_timeout: Option<Timeout>,
    /// Time for a TCP connection to a node [default: 5s]. Then the client is answered error 2003.
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<Timeout>,
    /// Bytes outstanding towards a slow reader before the rest of a response goes through the daemon, 4KiB to 1GiB [default: 1MiB].
    #[arg(long, value_name = "BYTES")]
    splice_limit: Option<ByteCount>,
    /// Form of log lines: text for people or one JSON object a line [default: text].
    #[arg(long, value_name = "text|json")]
    log_format: Option<LogFormat>,
    /// Least severe level that is logged: error, warn, info, debug or trace [default: info].
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<LogLevel>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The configuration file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file, or what it and the flags make together, is wrong.
    #[error("{}{source}", path.as_ref().map_or_else(String::new, |path| format!("{}: ", path.display())))]
    Config {
        /// The file, if there is one.
        path: Option<PathBuf>,
        /// What is wrong.
        source: ConfigError,
    },
}

impl RunArguments {
    /// The settings of the file, if any, with the flags on top, and where they came from.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong.
    pub fn settings(self) -> Result<(Settings, Origin), SettingsError> {
        let file = self.config.clone();
        let text = file.as_deref().map_or_else(|| Ok(String::new()), read)?;
        let line = self.overrides();
        match config::settings(&text, line.clone()) {
            Ok(settings) => Ok((settings, Origin { file, line })),
            Err(source) => Err(SettingsError::Config { path: file, source }),
        }
    }

    fn overrides(self) -> Overrides {
        Overrides {
            listen: self.listen,
            server: self.server,
            splice: self.splice,
            namespaces: self.namespaces,
            path: self.path,
            workers: self.workers,
            max_connections: self.max_connections,
            login_timeout: self.login_timeout,
            connect_timeout: self.connect_timeout,
            splice_limit: self.splice_limit,
            log_format: self.log_format,
            log_level: self.log_level,
        }
    }
}

/// The settings of a file alone.
///
/// # Errors
/// As [`RunArguments::settings`].
pub fn check_config(path: &Path) -> Result<Settings, SettingsError> {
    let arguments = RunArguments {
        config: Some(path.to_owned()),
        ..RunArguments::default()
    };
    arguments.settings().map(|(settings, _)| settings)
}

fn read(path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::key::KEYS;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn run(line: &str) -> Settings {
        let Command::Run(arguments) = parse(line).unwrap().command else {
            panic!("{line}")
        };
        arguments.settings().unwrap().0
    }

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_the_contract_is_taken() {
        let settings = run(
            "sluice run --listen 127.0.0.1:0 --server db1:3306 --splice require --workers 3 --log-format json \
             --max-connections 9 --login-timeout 3s --connect-timeout 20ms --splice-limit 65536 --log-level debug",
        );
        assert_eq!(
            (settings.listen.port(), settings.splice),
            (0, Splice::Require)
        );
        assert_eq!((settings.workers, settings.max_connections), (Some(3), 9));
        assert_eq!(
            (
                settings.login_timeout.as_secs(),
                settings.connect_timeout.as_millis()
            ),
            (3, 20)
        );
        assert_eq!(
            (settings.splice_limit, settings.log.format),
            (65_536, LogFormat::Json)
        );
        assert_eq!(settings.log.level, LogLevel::Debug);
        assert_eq!(settings.clusters[0].nodes[0].to_string(), "db1:3306");
        assert!(matches!(
            parse("sluice doctor --splice off").unwrap().command,
            Command::Doctor {
                splice: Splice::Off
            }
        ));
        assert!(matches!(
            parse("sluice check-config --config x").unwrap().command,
            Command::CheckConfig { .. }
        ));
    }

    #[test]
    fn flags_are_those_of_the_list_of_keys() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let mut flags: Vec<_> = run
            .get_arguments()
            .filter_map(|flag| Some(format!("--{}", flag.get_long()?)))
            .filter(|flag| !["--config", "--help"].contains(&&**flag))
            .collect();
        let mut keys: Vec<_> = KEYS
            .iter()
            .filter_map(|key| key.flag.map(str::to_owned))
            .collect();
        flags.sort_unstable();
        keys.sort_unstable();
        assert_eq!(flags, keys);
        for key in KEYS {
            let flag = key.flag.map(|flag| flag.trim_start_matches("--"));
            let help = run
                .get_arguments()
                .find(|argument| flag.is_some() && argument.get_long() == flag)
                .and_then(|argument| argument.get_help())
                .map(ToString::to_string);
            let default = format!("[default: {}]", key.default);
            assert!(
                key.default.is_empty() || help.as_ref().is_none_or(|help| help.contains(&default)),
                "{help:?} lacks {default}"
            );
        }
    }

    #[test]
    fn bad_values_are_explained() {
        for (line, expected) in [
            (
                "sluice run --splice maybe",
                "\"maybe\" is none of auto, off, require",
            ),
            (
                "sluice run --workers 0",
                "\"0\" is no integer from 1 to 1024",
            ),
            ("sluice run --login-timeout 10", "write 10s or 500ms"),
            (
                "sluice run --splice-limit 1",
                "write 1MiB, 64KiB or a number of bytes",
            ),
            ("sluice run --server db1", "is no HOST:PORT"),
            ("sluice check-config", "--config <FILE>"),
            ("sluice", "Usage"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let error = check_config(Path::new("/nonexistent/sluice.toml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read /nonexistent/sluice.toml: "),
            "{error}"
        );
        let error = RunArguments::default().settings().unwrap_err().to_string();
        assert!(
            error.starts_with("no node to connect to: give --server"),
            "{error}"
        );
    }
}
