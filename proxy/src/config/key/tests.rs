use super::{
    entry::CLUSTER_KEYS,
    list::{size, time},
    *,
};
use crate::config::settings;
use std::time::Duration;

fn one_server() -> Overrides {
    Overrides {
        server: Some("db1:3306".parse().unwrap()),
        ..Overrides::default()
    }
}

#[test]
fn defaults_are_what_nobody_has_set() {
    let settings = settings("", one_server()).unwrap();
    for key in KEYS.iter().filter(|key| key.name != "server") {
        assert!(key.is_default(&settings), "{}", key.name);
        assert!(!key.is_given(&Overrides::default()), "{}", key.name);
        assert!(key.help.ends_with('.'), "{}", key.name);
    }
    assert_eq!(Key::find("server").unwrap().value(&settings), "db1:3306");
    assert_eq!(
        entries(&settings)
            .iter()
            .filter(|entry| !entry.is_default)
            .count(),
        1
    );
}

/// serde's error for an unknown key lists those that there are.
#[test]
fn the_file_has_these_keys_and_no_others() {
    let of = |table: &str| {
        let error = settings(&format!("{table}no_such_key = 1"), one_server())
            .unwrap_err()
            .to_string();
        let (_, list) = error.split_once("expected ").unwrap();
        let mut keys: Vec<_> = list
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        keys.sort_unstable();
        keys
    };
    let sorted = |names: &mut dyn Iterator<Item = &str>| {
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    let top = KEYS
        .iter()
        .map(|key| key.name)
        .filter(|name| !name.contains('.'));
    assert_eq!(
        of(""),
        sorted(&mut top.chain([
            "admin",
            "cluster",
            "fleet",
            "health",
            "log",
            "proxy_protocol",
            "tls",
            "user"
        ]))
    );
    let health = KEYS
        .iter()
        .filter_map(|key| key.name.strip_prefix("health."));
    assert_eq!(of("[health]\n"), sorted(&mut health.into_iter()));
    let log = KEYS.iter().filter_map(|key| key.name.strip_prefix("log."));
    assert_eq!(of("[log]\n"), sorted(&mut log.into_iter()));
    let admin = KEYS
        .iter()
        .filter_map(|key| key.name.strip_prefix("admin."));
    assert_eq!(of("[admin]\n"), sorted(&mut admin.into_iter()));
    let fleet = KEYS
        .iter()
        .filter_map(|key| key.name.strip_prefix("fleet."));
    assert_eq!(of("[fleet]\n"), sorted(&mut fleet.into_iter()));
    assert_eq!(of("[proxy_protocol]\n"), ["from"]);
    let tls = KEYS.iter().filter_map(|key| key.name.strip_prefix("tls."));
    assert_eq!(of("[tls]\n"), sorted(&mut tls.into_iter()));
    let cluster = CLUSTER_KEYS.iter().map(|(key, ..)| *key);
    assert_eq!(of("[[cluster]]\n"), sorted(&mut cluster.chain(["name"])));
}

#[test]
fn readme_lists_every_key() {
    let readme = include_str!("../../../../README.md");
    for key in KEYS {
        let flag = key
            .flag
            .map_or_else(|| "|  | ".to_owned(), |flag| format!("| `{flag} "));
        let change = match key.change {
            Change::Live { .. } => "at once",
            Change::Restart => "restart",
        };
        let row = readme
            .lines()
            .find(|line| line.contains(&format!("| `{}` |", key.name)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", key.name));
        assert!(row.starts_with(&flag), "{row}: the flag is {flag}");
        assert!(row.contains(&format!("| {change} |")), "{row}: {change}");
        assert!(
            key.default.is_empty()
                || row.contains(&format!("| {} |", key.default))
                || row.contains(&format!("| `{}` |", key.default)),
            "{row}: the default is {}",
            key.default
        );
    }
}

#[test]
fn no_secret_is_shown() {
    let text = "[[cluster]]\nname = \"east\"\nkind = \"mysql\"\nnodes = [\"a:1\", \"b:2\"]\nmonitor = { user = \"m\", password = \"hunter2\" }\n[admin]\npassword = \"hunter2\"\n[[user]]\nuser = \"app\"\npassword = \"hunter2\"";
    let shown = entries(&settings(text, Overrides::default()).unwrap());
    assert!(
        shown
            .iter()
            .all(|entry| !format!("{entry:?}").contains("hunter2"))
    );
    let value = |name: &str| {
        let entry = shown.iter().find(|entry| entry.name == name).unwrap();
        (&*entry.value, entry.is_default)
    };
    assert_eq!(value("cluster.east.nodes"), ("a:1, b:2", false));
    assert_eq!(value("cluster.east.monitor"), ("m", false));
    assert_eq!(value("cluster.east.tenants"), ("", true));
    assert_eq!(value("user"), ("app", false));
    assert_eq!(value("default_cluster"), ("east", true));
}

#[test]
fn values_are_written_as_one_would() {
    assert_eq!(
        [1 << 30, 3 << 20, 5 << 10, 4097].map(size),
        ["1GiB", "3MiB", "5KiB", "4097"]
    );
    assert_eq!(time(Duration::from_millis(90_250)), "1m 30s 250ms");
    assert_eq!(Key::find("log_level").unwrap().name, "log.level");
    assert!(Key::find("log").is_none());
}
