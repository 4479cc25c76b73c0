//! The configuration file read anew while the daemon runs: what holds then, and what waits for the next start.

use super::key::{Change, KEYS};
use super::{ConfigError, Overrides, Settings, settings};

/// What a file that was read anew comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reload {
    /// What holds from now on.
    pub settings: Settings,
    /// Keys of which the file has another value that only the next start takes over.
    pub waiting: Vec<&'static str>,
}

/// The settings of a daemon in which `live` holds, once the file's text is `text`. The command line wins, as at the start.
///
/// # Errors
/// What is wrong with the file; nothing is taken over.
pub fn reload(text: &str, line: &Overrides, live: &Settings) -> Result<Reload, ConfigError> {
    let file = settings(text, line.clone())?;
    let mut altered = live.clone();
    let mut waiting = Vec::new();
    for key in KEYS {
        match key.change {
            Change::Live { take, .. } => take(&mut altered, &file),
            Change::Restart if key.value(live) != key.value(&file) => waiting.push(key.name),
            Change::Restart => {}
        }
    }
    altered.clusters = file.clusters;
    altered.users = file.users;
    Ok(Reload {
        settings: altered,
        waiting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BEFORE: &str = r#"
        connect_timeout = "2s"
        [[cluster]]
        name = "east"
        kind = "mysql"
        nodes = ["a:1", "b:2"]
    "#;

    #[test]
    fn clusters_and_users_change_at_once_and_the_rest_waits() {
        let live = settings(BEFORE, Overrides::default()).unwrap();
        let text = r#"
            listen = "127.0.0.1:7"
            connect_timeout = "3s"
            default_cluster = "west"
            [health]
            failures = 1
            [[cluster]]
            name = "west"
            kind = "mysql"
            nodes = [{ address = "c:3", role = "replica", drain = true }]
            monitor = { user = "m" }
            [[user]]
            user = "app"
        "#;
        let Reload { settings, waiting } = reload(text, &Overrides::default(), &live).unwrap();
        assert_eq!(waiting, ["listen"]);
        assert_eq!(settings.listen, live.listen);
        assert_eq!(settings.connect_timeout, Duration::from_secs(3));
        assert_eq!(settings.health.failures, 1);
        assert_eq!(settings.default_cluster, "west");
        assert!(settings.cluster("east").is_none());
        let node = &settings.clusters[0].nodes[0];
        assert_eq!(node.to_string(), "c:3 (replica, drain)");
        assert_eq!(settings.users[0].user, "app");
    }

    #[test]
    fn a_bad_file_changes_nothing_and_the_command_line_wins() {
        let line = Overrides {
            connect_timeout: Some("9s".parse().unwrap()),
            ..Overrides::default()
        };
        let live = settings(BEFORE, line.clone()).unwrap();
        let bad = BEFORE.replace("b:2", "a:1");
        let error = reload(&bad, &line, &live).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3: cluster.nodes: \"a:1\" stands there twice"
        );
        let same = reload(BEFORE, &line, &live).unwrap();
        assert_eq!((same.settings, same.waiting), (live, vec![]));
    }
}
