//! One key changed while the daemon runs: the file's new text, in which comments and order survive, and the settings that then hold.

use toml_edit::{DocumentMut, Item, TableLike, Value, value};

use super::key::{Change, Key};
use super::{ConfigError, Overrides, Settings, settings};

/// What a change comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alteration {
    /// The file's text with the change.
    pub text: String,
    /// What holds once it is made: `live` but for the key, and `live` itself where a change needs a restart.
    pub settings: Settings,
}

/// Changes one key of the file whose text is `text`, for a daemon in which `live` holds. The value is read as the file's values are.
///
/// # Errors
/// What is wrong with the value, or with the file as it is.
pub fn alter(
    text: &str,
    line: &Overrides,
    live: &Settings,
    key: &Key,
    new: &str,
) -> Result<Alteration, ConfigError> {
    // Only what a file may lack: all else on the command line would hide the file's own values.
    let needed = Overrides {
        server: line.server.clone().filter(|_| key.name != "server"),
        ..Overrides::default()
    };
    settings(text, needed.clone())
        .map_err(|error| whole(format!("the file is wrong as it is: {error}")))?;
    let text = written(text, key, new)?;
    let file = settings(&text, needed).map_err(|error| whole(error.message))?;
    let mut altered = live.clone();
    if let Change::Live { take, .. } = key.change {
        take(&mut altered, &file);
        // The file's clusters may be others by now than those that the daemon knows.
        if altered.cluster(&altered.default_cluster).is_none() {
            return Err(whole(format!(
                "{} = \"{new}\": the daemon does not know this cluster before it reads the whole file again (SIGHUP)",
                key.name
            )));
        }
    }
    Ok(Alteration {
        text,
        settings: altered,
    })
}

/// An error that has no line: the change was never written.
const fn whole(message: String) -> ConfigError {
    ConfigError {
        line: None,
        message,
    }
}

/// The text with the key's new value.
fn written(text: &str, key: &Key, new: &str) -> Result<String, ConfigError> {
    let mut document: DocumentMut = text.parse().map_err(|_where| {
        whole("the file uses a form of TOML that Sluice cannot edit".to_owned())
    })?;
    let root = document.as_table_mut();
    let value = as_value(key, new);
    match key.name.split_once('.') {
        None => put(root, key.name, value),
        Some((table, name)) => {
            let table = root
                .entry(table)
                .or_insert_with(toml_edit::table)
                .as_table_like_mut()
                .ok_or_else(|| whole(format!("{table} is no table in the file")))?;
            put(table, name, value);
        }
    }
    Ok(document.to_string())
}

/// A number where the key takes one and it is written as one, else text.
fn as_value(key: &Key, new: &str) -> Value {
    match new.parse::<i64>() {
        Ok(number) if key.is_number() && number.to_string() == new => number.into(),
        _ => new.into(),
    }
}

/// Puts the value where the old one stood, with the comments around it.
fn put(table: &mut dyn TableLike, name: &str, mut new: Value) {
    match table.get_mut(name) {
        Some(Item::Value(old)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        _ => {
            table.insert(name, value(new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogLevel, Splice};
    use std::time::Duration;

    const FILE: &str = "\
# The shop's proxy.
max_connections = 500   # as many as the node takes
connect_timeout = \"2s\"

[log]                   # stderr
level = 'info'

[[cluster]]
name = \"east\"
kind = \"mysql\"
nodes = [\"a:1\",
         \"b:2\"]         # two
monitor = { user = \"m\", password = \"hunter2\" }
";

    #[track_caller]
    fn change(text: &str, name: &str, new: &str) -> Result<Alteration, String> {
        let live = settings(text, Overrides::default()).unwrap();
        let key = Key::find(name).unwrap();
        alter(text, &Overrides::default(), &live, key, new).map_err(|error| error.to_string())
    }

    #[test]
    fn comments_and_order_survive() {
        for (name, new, old_line, new_line) in [
            (
                "max_connections",
                "900",
                "max_connections = 500   # as many as the node takes",
                "max_connections = 900   # as many as the node takes",
            ),
            ("log.level", "debug", "level = 'info'", "level = \"debug\""),
            (
                "connect_timeout",
                "300ms",
                "connect_timeout = \"2s\"",
                "connect_timeout = \"300ms\"",
            ),
            (
                "splice_limit",
                "65536",
                "connect_timeout = \"2s\"",
                "connect_timeout = \"2s\"\nsplice_limit = 65536",
            ),
        ] {
            let expected = FILE.replace(old_line, new_line);
            assert_eq!(change(FILE, name, new).unwrap().text, expected);
        }
        let text = change("server = \"a:1\"\n", "log_level", "warn")
            .unwrap()
            .text;
        assert_eq!(text, "server = \"a:1\"\n\n[log]\nlevel = \"warn\"\n");
        let inline = "server = \"a:1\"\nlog = { level = \"info\" } # here\n";
        let text = change(inline, "log.level", "warn").unwrap().text;
        assert_eq!(text, inline.replace("info", "warn"));
        let dotted = "log.level = \"info\"\nserver = \"a:1\"\n";
        let text = change(dotted, "log.format", "json").unwrap().text;
        assert_eq!(
            settings(&text, Overrides::default())
                .unwrap()
                .log
                .format
                .text(),
            "json"
        );
        let text = change("server = \"a:1\"\n", "default_tenant", "007")
            .unwrap()
            .text;
        assert!(text.ends_with("default_tenant = \"007\"\n"), "{text}");
    }

    #[test]
    fn only_the_key_changes_what_holds() {
        let before = settings(FILE, Overrides::default()).unwrap();
        let after = |name: &str, new: &str| change(FILE, name, new).unwrap().settings;
        let mut expected = before.clone();
        expected.log.level = LogLevel::Trace;
        assert_eq!(after("log.level", "trace"), expected);
        let mut expected = before.clone();
        expected.connect_timeout = Duration::from_millis(20);
        assert_eq!(after("connect_timeout", "20ms"), expected);
        assert_eq!(after("splice", "off").splice, Splice::Off);
        assert_eq!(after("listen", "0.0.0.0:1"), before, "needs a restart");
        // Of a file that was changed meanwhile only this key is taken over.
        let file = FILE.replace("\"2s\"", "\"9s\"");
        let key = Key::find("max_connections").unwrap();
        let altered = alter(&file, &Overrides::default(), &before, key, "7").unwrap();
        assert_eq!(altered.settings.connect_timeout, Duration::from_secs(2));
        assert!(altered.text.contains("\"9s\""));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, new, expected) in [
            (
                "max_connections",
                "0",
                "max_connections: \"0\" is no integer from 1 to 262143",
            ),
            (
                "login_timeout",
                "10",
                "login_timeout: \"10\" is no time from 1ms to 1h; write 10s or 500ms",
            ),
            (
                "max_memory",
                "1MiB",
                "max_memory: \"1MiB\" is no size from 16MiB to 1TiB, and not 0; write 2GiB",
            ),
            (
                "log.level",
                "loud",
                "log.level: \"loud\" is none of error, warn, info, debug, trace",
            ),
            (
                "default_cluster",
                "west",
                "default_cluster = \"west\": no such cluster; there is east",
            ),
            (
                "server",
                "a:1",
                "server: stands beside [[cluster]]; make it one of that cluster's nodes",
            ),
        ] {
            assert_eq!(change(FILE, name, new).unwrap_err(), expected);
        }
        let live = settings(FILE, Overrides::default()).unwrap();
        let key = Key::find("default_cluster").unwrap();
        let more =
            format!("{FILE}[[cluster]]\nname = \"west\"\nkind = \"mysql\"\nnodes = [\"c:1\"]");
        let error = alter(&more, &Overrides::default(), &live, key, "west").unwrap_err();
        assert_eq!(
            error.message,
            "default_cluster = \"west\": the daemon does not know this cluster before it reads the whole file again (SIGHUP)"
        );
        let broken = format!("no_such = 1\n{FILE}");
        let error = alter(&broken, &Overrides::default(), &live, key, "east").unwrap_err();
        assert!(
            error
                .message
                .starts_with("the file is wrong as it is: line 1: "),
            "{error}"
        );
    }

    #[test]
    fn a_server_of_the_command_line_stands_in_for_the_files() {
        let line = Overrides {
            server: Some("a:1".parse().unwrap()),
            max_connections: Some("3".parse().unwrap()),
            ..Overrides::default()
        };
        let live = settings("", line.clone()).unwrap();
        let key = Key::find("max_connections").unwrap();
        let altered = alter("", &line, &live, key, "5").unwrap();
        assert_eq!(altered.text, "max_connections = 5\n");
        assert_eq!(altered.settings.max_connections, 5);
        assert!(key.is_given(&line));
    }
}
