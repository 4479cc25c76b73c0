//! Logs: lines on stderr, as text or as JSON. A line holds fields (`cs_id`, `node`, `reason`), never statement text or credentials.

mod lines;

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use self::lines::Gathering;
use self::lines::Lines;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Changes what is logged, and how, while the daemon runs.
pub struct LogHandle {
    change: Box<dyn Fn(LogLevel) -> Result<(), reload::Error> + Send + Sync>,
    lines: Lines,
}

impl LogHandle {
    /// Logs from this level on.
    ///
    /// # Errors
    /// The logger is gone.
    pub fn set_level(&self, level: LogLevel) -> Result<(), reload::Error> {
        (self.change)(level)
    }

    /// Has lines go out together: one may wait ten milliseconds for others, but none that tells of trouble, and none after the value is dropped.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn gather(&self) -> io::Result<Gathering> {
        self.lines.gather()
    }
}

/// Sends the process's log lines to stderr. A line is out when its call returns, until [`LogHandle::gather`].
///
/// # Errors
/// The process already has a logger.
pub fn init(settings: LogSettings) -> Result<LogHandle, TryInitError> {
    let lines = Lines::new(io::stderr());
    let (subscriber, handle) = subscriber(settings, io::stderr().is_terminal(), lines);
    subscriber.try_init()?;
    Ok(handle)
}

/// What `init` installs, with lines that go anywhere.
fn subscriber(
    settings: LogSettings,
    color: bool,
    lines: Lines,
) -> (Box<dyn Subscriber + Send + Sync>, LogHandle) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings.level))
        .with_writer(lines.clone())
        .with_ansi(color);
    match settings.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let change = Box::new(move |level| handle.reload(filter(level)));
            (Box::new(builder.finish()), LogHandle { change, lines })
        }
        LogFormat::Json => {
            let builder = builder.json().with_span_list(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let change = Box::new(move |level| handle.reload(filter(level)));
            (Box::new(builder.finish()), LogHandle { change, lines })
        }
    }
}

/// The level is for our own lines; libraries speak up only about trouble.
fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("warn,sluice={}", level.text()))
}

#[cfg(test)]
mod tests {
    use super::lines::Text;
    use super::*;

    fn logged(format: LogFormat, level: LogLevel) -> String {
        let text = Text::default();
        let lines = Lines::new(text.clone());
        let (subscriber, _) = subscriber(LogSettings { format, level }, false, lines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(addr = %"127.0.0.1:2883", "listening");
            tracing::debug!("details");
            tracing::info!(target: "aya", "chatter");
        });
        text.get()
    }

    #[test]
    fn json_lines_have_the_fields_of_the_contract() {
        let lines = logged(LogFormat::Json, LogLevel::Info);
        assert_eq!(lines.lines().count(), 1, "{lines}");
        let contract = r#""level":"INFO","fields":{"message":"listening","addr":"127.0.0.1:2883"}"#;
        assert!(
            lines.starts_with("{\"timestamp\":\"") && lines.contains(contract),
            "{lines}"
        );
    }

    #[test]
    fn text_lines_hold_the_same() {
        let lines = logged(LogFormat::Text, LogLevel::Debug);
        assert_eq!(lines.lines().count(), 2, "{lines}");
        assert!(
            lines.contains("INFO sluice::log::tests: listening addr=127.0.0.1:2883\n"),
            "{lines}"
        );
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = Text::default();
            let lines = Lines::new(text.clone());
            let level = LogLevel::Error;
            let (subscriber, handle) = subscriber(LogSettings { format, level }, false, lines);
            tracing::subscriber::with_default(subscriber, || {
                let event = || tracing::debug!("changing");
                event();
                handle.set_level(LogLevel::Debug).unwrap();
                event();
                handle.set_level(LogLevel::Info).unwrap();
                event();
            });
            let text = text.get();
            assert_eq!(text.matches("changing").count(), 1, "{text}");
        }
    }

    #[test]
    fn a_line_that_tells_of_trouble_waits_for_nobody() {
        let text = Text::default();
        let lines = Lines::new(text.clone());
        let settings = LogSettings {
            format: LogFormat::Text,
            level: LogLevel::Info,
        };
        let (subscriber, _) = subscriber(settings, false, lines.clone());
        lines.set_gathers(true);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("ordinary");
            assert_eq!(text.get(), "");
            tracing::warn!("trouble");
        });
        let text = text.get();
        assert!(text.find("ordinary") < text.find("trouble"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn levels_are_kept() {
        assert_eq!(logged(LogFormat::Text, LogLevel::Warn), "");
    }
}
