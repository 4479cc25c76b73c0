use super::*;

/// A file in which every key is set.
const FULL: &str = r#"
listen = "0.0.0.0:2883"
splice = "require"
workers = 4
max_connections = 500
login_timeout = "3s"
connect_timeout = "250ms"
keepalive_idle = "20s"
splice_limit = "64KiB"
proxy_id = 8191
namespaces = "own"
default_tenant = "shop"
default_cluster = "east"

[log]
format = "json"
level = "debug"

[[cluster]]
name = "west"
kind = "mysql"
nodes = ["db1:3306"]

[[cluster]]
name = "east"
kind = "oceanbase"
tenants = ["sys", "shop"]
nodes = ["10.0.0.7:2881", "[::1]:2881"]
monitor = { user = "monitor@sys", password = "hunter2" }
"#;

fn node(text: &str) -> NodeAddress {
    text.parse().unwrap()
}

#[test]
fn one_server_is_enough() {
    let line = Overrides {
        server: Some(node("127.0.0.1:3306")),
        ..Overrides::default()
    };
    let settings = settings("", line).unwrap();
    assert_eq!(settings.listen, "127.0.0.1:2883".parse().unwrap());
    assert_eq!(
        (settings.splice, settings.workers, settings.proxy_id),
        (Splice::Auto, None, 1)
    );
    assert_eq!(
        (settings.splice_limit, settings.max_connections),
        (1_048_576, 10_000)
    );
    assert_eq!(
        (
            settings.login_timeout.as_secs(),
            settings.connect_timeout.as_secs(),
            settings.keepalive_idle.as_secs(),
        ),
        (10, 5, 60)
    );
    assert_eq!(
        settings.log,
        LogSettings {
            format: LogFormat::Text,
            level: LogLevel::Info
        }
    );
    assert_eq!(
        (&*settings.default_tenant, &*settings.default_cluster),
        ("sys", "default")
    );
    assert_eq!(
        settings.clusters,
        [Cluster::of_one_node("default", node("127.0.0.1:3306"))]
    );
}

#[test]
fn every_key_of_the_file_is_read() {
    let settings = settings(FULL, Overrides::default()).unwrap();
    assert_eq!(settings.listen, "0.0.0.0:2883".parse().unwrap());
    assert_eq!(
        (settings.splice, settings.workers, settings.proxy_id),
        (Splice::Require, Some(4), 8191)
    );
    assert_eq!(settings.namespaces, Namespaces::Own);
    assert_eq!(
        (settings.splice_limit, settings.max_connections),
        (65_536, 500)
    );
    assert_eq!(
        (
            settings.login_timeout.as_millis(),
            settings.connect_timeout.as_millis(),
            settings.keepalive_idle.as_secs(),
        ),
        (3000, 250, 20)
    );
    assert_eq!(
        settings.log,
        LogSettings {
            format: LogFormat::Json,
            level: LogLevel::Debug
        }
    );
    assert_eq!(
        (&*settings.default_tenant, &*settings.default_cluster),
        ("shop", "east")
    );
    let east = settings.cluster("east").unwrap();
    assert_eq!(
        (east.kind, &*east.tenants),
        (
            ClusterKind::OceanBase,
            &["sys".to_owned(), "shop".to_owned()][..]
        )
    );
    assert_eq!(
        east.nodes,
        [node("10.0.0.7:2881"), node("[::1]:2881")].map(Node::at)
    );
    let monitor = east.monitor.as_ref().unwrap();
    assert_eq!(
        (&*monitor.user, monitor.password.expose()),
        ("monitor@sys", "hunter2")
    );
    assert_eq!(settings.cluster("west").unwrap().kind, ClusterKind::MySql);
    assert_eq!(settings.cluster("north"), None);
}

#[test]
fn the_command_line_wins() {
    let line = Overrides {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        server: None,
        splice: Some(Splice::Off),
        namespaces: Some(Namespaces::All),
        path: None,
        workers: Some("2".parse().unwrap()),
        max_connections: Some("7".parse().unwrap()),
        login_timeout: Some("1s".parse().unwrap()),
        connect_timeout: Some("2s".parse().unwrap()),
        splice_limit: Some("8192".parse().unwrap()),
        log_format: Some(LogFormat::Text),
        log_level: Some(LogLevel::Warn),
    };
    let both = settings(FULL, line.clone()).unwrap();
    assert_eq!(both.listen.port(), 0);
    assert_eq!(
        (both.splice, both.workers, both.max_connections),
        (Splice::Off, Some(2), 7)
    );
    assert_eq!(both.namespaces, Namespaces::All);
    assert_eq!(
        (both.login_timeout.as_secs(), both.connect_timeout.as_secs()),
        (1, 2)
    );
    assert_eq!(
        (both.splice_limit, both.log.format, both.log.level),
        (8192, LogFormat::Text, LogLevel::Warn)
    );
    assert_eq!(both.clusters.len(), 2);
    // A server on the command line stands in for the clusters of the file, under the default one's name.
    let both = settings(
        FULL,
        Overrides {
            server: Some(node("db9:3306")),
            ..line
        },
    )
    .unwrap();
    assert_eq!(
        both.clusters,
        [Cluster::of_one_node("east", node("db9:3306"))]
    );
    let file = settings(
        "server = \"db1:3306\"\ndefault_cluster = \"x\"",
        Overrides::default(),
    )
    .unwrap();
    assert_eq!(file.clusters, [Cluster::of_one_node("x", node("db1:3306"))]);
}

#[test]
fn one_server_may_have_a_monitor_account() {
    let text = "server = \"db1:3306\"\n[monitor]\nuser = \"proxy\"\npassword = \"hunter2\"";
    let read = |line| settings(text, line).unwrap().clusters;
    let flag = Overrides {
        server: Some(node("db9:3306")),
        ..Overrides::default()
    };
    for (line, host) in [(Overrides::default(), "db1"), (flag, "db9")] {
        let [cluster] = &*read(line) else {
            panic!("one cluster")
        };
        let monitor = cluster.monitor.as_ref().unwrap();
        assert_eq!(
            (&*cluster.nodes[0].address.host, &*monitor.user),
            (host, "proxy")
        );
        assert_eq!(monitor.password.expose(), "hunter2");
    }
}

#[test]
fn one_server_may_have_tls() {
    let text = "server = \"db1:3306\"\nserver_tls = \"verify\"\nserver_tls_ca = \"/ca\"\n[monitor]\nuser = \"m\"";
    let settings = settings(text, Overrides::default()).unwrap();
    let [cluster] = &*settings.clusters else {
        panic!("one cluster")
    };
    assert_eq!(cluster.tls.mode, TlsMode::Verify);
    assert_eq!(cluster.monitor.as_ref().unwrap().tls, cluster.tls);
    check_error(
        "server = \"a:1\"\nserver_tls = \"required\"\nserver_tls_ca = \"/ca\"",
        "line 2: server_tls = \"required\": server_tls_ca and server_tls_server_name need server_tls = \"verify\"",
    );
    check_error(
        "server_tls = \"required\"\n[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [\"a:1\"]",
        "line 1: server_tls: stands beside [[cluster]]; give tls in that cluster",
    );
}

#[test]
fn the_first_cluster_is_the_default() {
    let text = FULL.replace("default_cluster = \"east\"", "");
    assert_eq!(
        settings(&text, Overrides::default())
            .unwrap()
            .default_cluster,
        "west"
    );
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let error = settings(text, Overrides::default()).expect_err(text);
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn errors_name_line_key_value_and_remedy() {
    check_error(
        "",
        "no node to connect to: give --server HOST:PORT, or server or [[cluster]] in the file",
    );
    for (text, expected) in [
        (
            "listen = \"localhost\"",
            "listen: \"localhost\" is no IP:PORT such as 127.0.0.1:2883",
        ),
        (
            "server = \"db1\"",
            "server: \"db1\" is no HOST:PORT such as db1:3306, 10.0.0.7:2881 or [::1]:3306",
        ),
        (
            "splice = \"maybe\"",
            "splice: \"maybe\" is none of auto, off, require",
        ),
        (
            "splice = true",
            "splice: invalid type: boolean `true`, expected text in quotes or an integer",
        ),
        ("workers = 0", "workers: \"0\" is no integer from 1 to 1024"),
        (
            "proxy_id = 8192",
            "proxy_id: \"8192\" is no integer from 0 to 8191",
        ),
        (
            "max_connections = -1",
            "max_connections: \"-1\" is no integer from 1 to 262143",
        ),
        (
            "login_timeout = 10",
            "login_timeout: \"10\" is no time from 1ms to 1h; write 10s or 500ms",
        ),
        (
            "login_timeout = \"2h\"",
            "login_timeout: \"2h\" is no time from 1ms to 1h; write 10s or 500ms",
        ),
        (
            "splice_limit = \"1 MB/s\"",
            "splice_limit: \"1 MB/s\" is no size from 4KiB to 1GiB; write 1MiB, 64KiB or a number of bytes",
        ),
        (
            "default_tenant = \"a@b\"",
            "default_tenant: \"a@b\" is no name: give one letter or more, but no @, # or : nor a blank",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "log.level: \"loud\" is none of error, warn, info, debug, trace",
        ),
    ] {
        let line = text.lines().count() + 1;
        check_error(&format!("\n{text}"), &format!("line {line}: {expected}"));
    }
}

#[test]
fn unknown_keys_are_named_with_the_known_ones() {
    let message = |text: &str| {
        settings(text, Overrides::default())
            .unwrap_err()
            .to_string()
    };
    for (text, expected) in [
        (
            "\n\nlisten_on = 1",
            "line 3: unknown field `listen_on`, expected one of `listen`, `server`",
        ),
        (
            "[log]\nfile = 1",
            "line 2: log: unknown field `file`, expected `format` or `level`",
        ),
        (
            &FULL.replace("tenants", "tenant"),
            "line 27: cluster: unknown field `tenant`, expected one of `name`",
        ),
    ] {
        assert!(message(text).starts_with(expected), "{}", message(text));
    }
    assert!(message("listen = ").starts_with("line 1: "));
    assert!(message("listen = \"a\"\nlisten = \"b\"").starts_with("line 2: "));
}

#[test]
fn statements_are_stopped_by_the_monitor_only() {
    let cluster = "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [\"a:1\"]";
    check_error(
        &format!("query_timeout = \"30s\"\n{cluster}"),
        "line 1: query_timeout = \"30s\": nobody could stop a statement at cluster x; give it a monitor account",
    );
}

#[test]
fn clusters_must_fit_together() {
    let nodes = "nodes = [\"a:1\"]";
    for (text, expected) in [
        (
            format!("server = \"a:1\"\n[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}"),
            "line 1: server: stands beside [[cluster]]; make it one of that cluster's nodes",
        ),
        (
            format!("[[cluster]]\nname = \"x\"\nkind = \"oracle\"\n{nodes}"),
            "line 3: cluster.kind: \"oracle\" is none of oceanbase, mysql",
        ),
        (
            format!(
                "[monitor]\nuser = \"m\"\n[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}"
            ),
            "line 1: monitor: stands beside [[cluster]]; give the account in that cluster",
        ),
        (
            "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = []".to_owned(),
            "line 1: cluster.nodes = []: give at least one \"HOST:PORT\"",
        ),
        (
            "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [\"a:1\", \"b:1\", \"a:1\"]"
                .to_owned(),
            "line 1: cluster.nodes: \"a:1\" stands there twice",
        ),
        (
            format!(
                "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}\n[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}"
            ),
            "line 5: cluster.name = \"x\": a cluster above has this name",
        ),
        (
            format!(
                "default_cluster = \"y\"\n[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}"
            ),
            "line 1: default_cluster = \"y\": no such cluster; there is x",
        ),
        (
            "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [\"a:1\", { address = \"a:1\", role = \"replica\" }]"
                .to_owned(),
            "line 1: cluster.nodes: \"a:1\" stands there twice",
        ),
        (
            "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [\n{ address = \"a:1\", role = \"master\" }]"
                .to_owned(),
            "line 5: cluster.nodes.role: \"master\" is none of auto, primary, replica, standby",
        ),
        (
            "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [{ adress = \"a:1\" }]".to_owned(),
            "line 4: cluster.nodes: unknown field `adress`, expected one of `address`, `role`, `zone`, `weight`, `drain`",
        ),
        (
            "[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [\"a\"]".to_owned(),
            "line 4: cluster.nodes: \"a\" is no HOST:PORT such as db1:3306, 10.0.0.7:2881 or [::1]:3306",
        ),
        (
            format!("[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}\npolicy = \"split\""),
            "line 5: cluster.policy: \"split\" is none of primary, read-write-split",
        ),
        (
            format!("[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}\nmax_lag = \"5s\""),
            "line 1: cluster.max_lag = \"5s\": nobody would ask a replica how far it is behind; give the cluster a monitor account",
        ),
        (
            format!("[[cluster]]\nkind = \"mysql\"\n{nodes}"),
            "line 1: cluster: missing field `name`",
        ),
    ] {
        check_error(&text, expected);
    }
}

#[test]
fn passwords_are_never_printed() {
    let read = settings(FULL, Overrides::default()).unwrap();
    assert!(!format!("{read:?}").contains("hunter2"));
    for monitor in [
        "monitor = { user = \"m\", password = hunter2 }",
        "monitor = { user = \"m\", password = \"hunter2 }",
        "monitor = { user = \"m\", password = [\"hunter2\"] }",
        "monitor = { user = \"m\", password = 77665544 }",
        "monitor = { user = \"m\", pass = \"hunter2\" }",
        "monitor = { password = \"hunter2\" }",
        "monitor = \"m:hunter2\"",
        "monitor = 77665544",
    ] {
        let text =
            format!("[[cluster]]\nname = \"x\"\nkind = \"mysql\"\nnodes = [\"a:1\"]\n{monitor}\n");
        let error = settings(&text, Overrides::default()).expect_err(monitor);
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("77665544"),
            "{shown}"
        );
        assert_eq!(error.line, Some(5), "{monitor}: {shown}");
    }
    for account in [
        "user = \"m\"\npassword = hunter2",
        "user = \"m\"\npass = \"hunter2\"",
        "password = [\"hunter2\"]",
    ] {
        let text = format!("server = \"a:1\"\n[monitor]\n{account}");
        let error = settings(&text, Overrides::default()).expect_err(account);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn users_have_passwords_by_tenant_or_by_name() {
    let text = "server = \"a:1\"\n[[user]]\nuser = \"app\"\npassword = \"one\"\n[[user]]\nuser = \"app@shop\"\npassword = \"two\"";
    let settings = settings(text, Overrides::default()).unwrap();
    let of = |user, tenant| settings.password_of(user, tenant).map(Secret::expose);
    assert_eq!(
        [of("app", "sys"), of("app", "shop"), of("other", "shop")],
        [Some("one"), Some("two"), None]
    );
    let twice = "server = \"a:1\"\n[[user]]\nuser = \"app\"\n[[user]]\nuser = \"app\"";
    check_error(twice, "line 4: user.user = \"app\": stands there twice");
    let error = super::settings(
        "server = \"a:1\"\n[[user]]\nuser = \"app\"\npassword = 77665544",
        Overrides::default(),
    )
    .unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("77665544"),
        "{error}"
    );
}

#[test]
fn node_addresses() {
    for (text, host, port) in [
        ("db-1.x_y:3306", "db-1.x_y", 3306),
        ("10.0.0.7:1", "10.0.0.7", 1),
        ("[::1]:65535", "::1", 65535),
    ] {
        assert_eq!((node(text).host.as_str(), node(text).port), (host, port));
        assert_eq!(node(text).to_string(), text);
    }
    let error = "app:hunter2@db1:3306x".parse::<NodeAddress>().unwrap_err();
    assert!(
        error.starts_with("\"db1:3306x\" is no HOST:PORT"),
        "{error}"
    );
    for text in [
        "",
        ":1",
        "a",
        "a:",
        "a:0",
        "a:65536",
        "a:x",
        "::1:3306",
        "[db]:1",
        "[::1]",
        "a b:1",
        "u@h:1",
        "http://a:1",
    ] {
        assert!(text.parse::<NodeAddress>().is_err(), "{text}");
    }
}

#[test]
fn sizes_and_times_in_other_units() {
    let bytes = |text: &str| text.parse::<ByteCount>().map(ByteCount::get);
    assert_eq!(
        ["4096", "1MiB", "2 MiB", "1GiB"].map(|text| bytes(text).unwrap()),
        [4096, 1 << 20, 2 << 20, 1 << 30]
    );
    assert!(
        bytes("4095").is_err()
            && bytes("-1").is_err()
            && bytes("").is_err()
            && bytes("1025MiB").is_err()
    );
    let millis = |text: &str| text.parse::<Timeout>().map(|limit| limit.get().as_millis());
    assert_eq!(
        ["1ms", "1m", "1m 30s", "1h"].map(|text| millis(text).unwrap()),
        [1, 60_000, 90_000, 3_600_000]
    );
    assert!(
        millis("0s").is_err()
            && millis("1").is_err()
            && millis("").is_err()
            && millis("61m").is_err()
    );
}

#[test]
fn admin_has_one_password() {
    let read = |table: &str| {
        let text = format!("server = \"a:1\"\n[admin]\n{table}");
        settings(&text, Overrides::default())
            .map(|settings| settings.admin)
            .map_err(|error| error.to_string())
    };
    let Ok(Some(AdminPassword::Text(password))) = read("password = \"hunter2\"") else {
        panic!("no password")
    };
    assert_eq!(password.expose(), "hunter2");
    assert_eq!(
        read("password_file = \"/run/secret\""),
        Ok(Some(AdminPassword::File("/run/secret".into())))
    );
    for (table, expected) in [
        ("", "admin: give password or password_file"),
        ("password = \"\"", "admin.password is empty"),
        ("password_file = \"\"", "admin.password_file is empty"),
        ("password = \"hunter2\"\npassword_file = \"f\"", "not both"),
        ("password = hunter2", "line 3"),
        ("password = 77665544", "in quotes"),
        ("password = [\"hunter2\"]", "in quotes"),
        ("pasword = \"hunter2\"", "pasword"),
    ] {
        let error = read(table).expect_err(table);
        assert!(error.contains(expected), "{table}: {error}");
        assert!(
            !error.contains("hunter2") && !error.contains("77665544"),
            "{error}"
        );
    }
}

#[test]
fn nodes_are_named_in_any_form() {
    let node = |text: &str| text.parse::<NodeAddress>().unwrap();
    for (address, name, wanted) in [
        ("db1:3306", "DB1:3306", true),
        ("db1:3306", "db1:3307", false),
        ("db1:3306", "db1", false),
        ("[fd00::1]:3306", "[fd00::1]:3306", true),
        ("[fd00::1]:3306", "[FD00:0:0::1]:3306", true),
        ("[fd00::1]:3306", "fd00::1:3306", false),
        ("[fd00::1]:3306", "[fd00::2]:3306", false),
        ("10.0.0.1:3306", "10.0.0.1:3306", true),
    ] {
        assert_eq!(node(address).is_named(name), wanted, "{address} {name}");
    }
}

#[test]
fn only_oceanbase_is_asked_for_its_servers() {
    let nodes = "nodes = [\"a:1\"]";
    for (text, expected) in [
        (
            format!("[[cluster]]\nname = \"x\"\nkind = \"mysql\"\n{nodes}\ndiscovery = true"),
            "line 1: cluster.discovery = true: only OceanBase lists its servers; leave it out",
        ),
        (
            format!("[[cluster]]\nname = \"x\"\nkind = \"oceanbase\"\n{nodes}\ndiscovery = true"),
            "line 1: cluster.discovery = true: nobody would ask for the servers; give the cluster a monitor account",
        ),
    ] {
        check_error(&text, expected);
    }
    let text = format!(
        "[[cluster]]\nname = \"x\"\nkind = \"oceanbase\"\nmonitor = {{ user = \"m\" }}\n{nodes}"
    );
    let is_asked = |text: &str| settings(text, Overrides::default()).unwrap().clusters[0].discovery;
    assert!(is_asked(&text) && !is_asked(&format!("{text}\ndiscovery = false")));
}
