//! Logs: lines on stderr, as text or as JSON. A line holds fields (`cs_id`, `node`, `reason`), never statement text or credentials.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogLevel, LogSettings};

/// Changes what is logged while the daemon runs.
pub struct LogHandle(Box<dyn Fn(LogLevel) -> Result<(), reload::Error> + Send + Sync>);

impl LogHandle {
    /// Logs from this level on.
    ///
    /// # Errors
    /// The logger is gone.
    pub fn set_level(&self, level: LogLevel) -> Result<(), reload::Error> {
        (self.0)(level)
    }
}

/// Sends the process's log lines to stderr. Stderr is not buffered: a line is out when its call returns.
///
/// # Errors
/// The process already has a logger.
pub fn init(settings: LogSettings) -> Result<LogHandle, TryInitError> {
    let (subscriber, handle) = subscriber(settings, io::stderr().is_terminal(), io::stderr);
    subscriber.try_init()?;
    Ok(handle)
}

/// What `init` installs, with any writer.
fn subscriber<W>(
    settings: LogSettings,
    color: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, LogHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(settings.level))
        .with_writer(writer)
        .with_ansi(color);
    match settings.format {
        LogFormat::Text => {
            let builder = builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let handle = LogHandle(Box::new(move |level| handle.reload(filter(level))));
            (Box::new(builder.finish()), handle)
        }
        LogFormat::Json => {
            let builder = builder.json().with_span_list(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let handle = LogHandle(Box::new(move |level| handle.reload(filter(level))));
            (Box::new(builder.finish()), handle)
        }
    }
}

/// The level is for our own lines; libraries speak up only about trouble.
fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("warn,sluice={}", level.text()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _) =
            subscriber(LogSettings { format, level }, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(addr = %"127.0.0.1:2883", "listening");
            tracing::debug!("details");
            tracing::info!(target: "aya", "chatter");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
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
            let lines = Lines::default();
            let writer = lines.clone();
            let level = LogLevel::Error;
            let (subscriber, handle) =
                subscriber(LogSettings { format, level }, false, move || writer.clone());
            tracing::subscriber::with_default(subscriber, || {
                let event = || tracing::debug!("changing");
                event();
                handle.set_level(LogLevel::Debug).unwrap();
                event();
                handle.set_level(LogLevel::Info).unwrap();
                event();
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert_eq!(text.matches("changing").count(), 1, "{text}");
        }
    }

    #[test]
    fn levels_are_kept() {
        assert_eq!(logged(LogFormat::Text, LogLevel::Warn), "");
    }
}
