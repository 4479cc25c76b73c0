//! Logs: lines on stderr, as text or as JSON. A line holds fields (`cs_id`, `node`, `reason`), never statement text or credentials.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

/// Sends the process's log lines to stderr. Stderr is not buffered: a line is out when its call returns.
///
/// # Errors
/// The process already has a logger.
pub fn init(settings: LogSettings) -> Result<(), TryInitError> {
    subscriber(settings, io::stderr().is_terminal(), io::stderr).try_init()
}

/// What `init` installs, with any writer.
fn subscriber<W>(settings: LogSettings, color: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // The level is for our own lines; libraries speak up only about trouble.
    let level = settings.level.text();
    let filter = EnvFilter::new(format!("warn,sluice={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(color);
    match settings.format {
        LogFormat::Text => Box::new(builder.finish()),
        LogFormat::Json => Box::new(builder.json().with_span_list(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogLevel;
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
        let subscriber = subscriber(LogSettings { format, level }, false, move || writer.clone());
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
    fn levels_are_kept() {
        assert_eq!(logged(LogFormat::Text, LogLevel::Warn), "");
    }
}
