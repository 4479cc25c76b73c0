use super::*;
use crate::config::{Overrides, settings};

fn cluster(nodes: &str) -> Cluster {
    let text = format!("[[cluster]]\nname = \"c\"\nkind = \"mysql\"\nnodes = [{nodes}]");
    let mut settings = settings(&text, Overrides::default()).unwrap();
    settings.clusters.remove(0)
}

fn three() -> (Book, Cluster, [NodeAddress; 3]) {
    let cluster = cluster("\"a:1\", \"b:1\", \"c:1\"");
    let addresses = ["a:1", "b:1", "c:1"].map(|node| node.parse().unwrap());
    (Book::default(), cluster, addresses)
}

const WRITES: Probe = says(false);
const READS: Probe = says(true);

const fn says(is_read_only: bool) -> Probe {
    Probe {
        is_read_only,
        unfit: None,
        lag: None,
        is_replication_stopped: false,
        replication: Replication {
            server_id: None,
            sources: Vec::new(),
            is_galera: false,
        },
    }
}

fn order(book: &Book, cluster: &Cluster) -> String {
    let nodes = book.order(cluster);
    let hosts: Vec<_> = nodes.iter().map(|node| &*node.address.host).collect();
    hosts.concat()
}

#[test]
fn who_does_not_let_the_account_in_stays_what_it_was() {
    let (mut book, cluster, [a, b, _]) = three();
    let follows = Probe {
        lag: Some(Duration::from_secs(1)),
        ..READS
    };
    assert!(book.probed(&a, WRITES, None, 10) && book.probed(&b, follows, None, 10));
    for now_ms in 20..30 {
        assert!(!book.probe_denied(&a, "error 1045: no", now_ms));
    }
    assert!(!book.is_misplaced(&cluster, &a));
    assert_eq!(order(&book, &cluster), "acb");
    let health = book.get(&a);
    assert!(!health.is_listed() && book.role(&cluster, &cluster.nodes[0]) == Role::Primary);
    assert_eq!(
        (health.probes.failures, health.probes.failed_at_ms),
        (10, Some(29))
    );
    // How old a replica's data is, nobody says any more.
    let max = Some(Duration::from_secs(5));
    assert!(book.get(&b).has_caught_up(max));
    assert!(book.probe_denied(&b, "error 1045: no", 40));
    assert!(!book.get(&b).has_caught_up(max));
    // One that was dead lives.
    assert!(book.probe_failed(&a, "refused", 50, 1) && book.is_misplaced(&cluster, &a));
    assert!(book.probe_denied(&a, "error 1045: no", 60));
    assert!(!book.is_misplaced(&cluster, &a));
}

#[test]
fn the_primary_comes_first_and_the_dead_last() {
    let (mut book, cluster, [a, b, c]) = three();
    assert_eq!(order(&book, &cluster), "abc");
    assert!(book.probed(&a, READS, None, 10));
    assert!(book.probed(&b, WRITES, None, 10));
    assert_eq!(order(&book, &cluster), "bca", "c is unknown");
    assert!(book.is_misplaced(&cluster, &a) && !book.is_misplaced(&cluster, &b));
    assert!(book.probed(&c, READS, None, 10) && !book.probed(&c, READS, None, 20));
    assert!(!book.probe_failed(&b, "refused", 30, 2));
    assert!(!book.is_misplaced(&cluster, &b), "once is not enough");
    assert!(book.probe_failed(&b, "refused", 40, 2) && !book.probe_failed(&b, "refused", 50, 2));
    assert_eq!(order(&book, &cluster), "acb");
    assert_eq!(book.get(&b).probes.listed_at_ms, Some(40));
    assert_eq!(book.get(&b).cause.as_deref(), Some("refused"));
    // It was promoted.
    assert!(book.probed(&c, WRITES, None, 60));
    assert_eq!(order(&book, &cluster), "cab");
    // The old primary is back, and one success is enough.
    assert!(book.probed(&b, WRITES, None, 70));
    assert_eq!(order(&book, &cluster), "bca");
    assert!(
        !book.is_misplaced(&cluster, &c),
        "equally fit: nobody moves"
    );
}

#[test]
fn a_node_that_says_that_it_does_not_serve_is_avoided() {
    let (mut book, cluster, [a, ..]) = three();
    let offline = Probe {
        unfit: Some(Unfit::Offline),
        ..WRITES
    };
    assert!(book.probed(&a, offline.clone(), None, 10));
    assert!(!book.probed(&a, offline, None, 20));
    assert_eq!(book.get(&a).unfit, Some((Unfit::Offline, 10)));
    assert_eq!(order(&book, &cluster), "bca");
    assert!(book.probed(&a, WRITES, None, 30));
    assert_eq!(order(&book, &cluster), "abc");
}

#[test]
fn the_configuration_names_roles_and_drains() {
    let cluster = cluster(
        "{ address = \"a:1\", role = \"standby\" }, { address = \"b:1\", role = \"replica\" }, \
         { address = \"c:1\", role = \"primary\", drain = true }",
    );
    let mut book = Book::default();
    let a: NodeAddress = "a:1".parse().unwrap();
    assert!(book.probed(&a, WRITES, None, 1));
    assert_eq!(order(&book, &cluster), "bac");
    assert!(book.is_misplaced(&cluster, &"c:1".parse().unwrap()));
    assert!(book.is_misplaced(&cluster, &"gone:1".parse().unwrap()));
}

#[test]
fn failed_logins_in_a_row_put_a_node_on_the_alive_list_until_one_succeeds() {
    let (mut book, cluster, [a, ..]) = three();
    let fail = |book: &mut Book, at_ms| book.login_failed(&a, "refused", at_ms, 3);
    assert!(!fail(&mut book, 0) && !fail(&mut book, 1));
    // Too long ago.
    assert!(!fail(&mut book, 200_000) && !fail(&mut book, 200_001));
    assert!(fail(&mut book, 200_002) && !fail(&mut book, 200_003));
    assert_eq!(order(&book, &cluster), "bca");
    let tries = |book: &mut Book, at_ms| {
        let first = book.order_for_login(&cluster, at_ms);
        first.first().is_some_and(|node| node.address == a)
    };
    assert!(!tries(&mut book, 220_002), "too early");
    assert!(tries(&mut book, 220_003), "one login finds out");
    assert!(!tries(&mut book, 220_004), "and only one");
    assert!(tries(&mut book, 240_003));
    assert!(book.login_answered(&a, 240_004) && !book.login_answered(&a, 240_005));
    assert_eq!(order(&book, &cluster), "abc");
    assert_eq!(book.get(&a).logins.failures, 6);
}

#[test]
fn the_monitor_takes_a_node_off_the_alive_list() {
    let (mut book, cluster, [a, ..]) = three();
    for at_ms in 0..3 {
        book.login_failed(&a, "refused", at_ms, 3);
    }
    assert_eq!(order(&book, &cluster), "bca");
    assert!(!book.let_in(&a, false, 20_001), "too early");
    assert_eq!(order(&book, &cluster), "bca");
    assert!(book.let_in(&a, true, 20_001) && !book.let_in(&a, true, 20_001));
    assert_eq!(order(&book, &cluster), "abc");
    for at_ms in 20_002..20_005 {
        book.login_failed(&a, "refused", at_ms, 3);
    }
    assert!(book.let_in(&a, false, 40_004));
    assert_eq!(order(&book, &cluster), "abc");
}

#[test]
fn who_left_the_configuration_is_forgotten() {
    let (mut book, _, [a, b, _]) = three();
    assert!(book.probed(&a, WRITES, None, 1) && book.probed(&b, WRITES, None, 1));
    book.keep(|address| *address == b);
    assert_eq!(book.get(&a), NodeHealth::default());
    assert_ne!(book.get(&b), NodeHealth::default());
}

fn follower(probe: &Probe, of: u64, own: u64) -> Probe {
    Probe {
        replication: Replication {
            server_id: Some(own),
            sources: Vec::from_iter((of > 0).then_some(of)),
            is_galera: false,
        },
        ..probe.clone()
    }
}

fn roles(book: &Book, cluster: &Cluster) -> String {
    let nodes = cluster.nodes.iter();
    let roles: Vec<_> = nodes
        .map(|node| format!("{:?}", book.role(cluster, node)))
        .collect();
    roles.join(" ")
}

#[test]
fn one_node_of_a_set_gets_the_writes() {
    let (mut book, cluster, [a, b, c]) = three();
    let clusters = [cluster];
    let [cluster] = &clusters;
    book.probed(&a, follower(&WRITES, 0, 1), None, 1);
    book.probed(&b, follower(&READS, 1, 2), None, 1);
    book.probed(&c, follower(&READS, 1, 3), None, 1);
    assert!(book.settle(&clusters) && !book.settle(&clusters));
    assert_eq!(roles(&book, cluster), "Primary Replica Replica");
    // It is promoted before anybody has found out that the primary is gone: it is the next to be tried.
    book.probed(&b, follower(&WRITES, 0, 2), None, 2);
    assert!(book.settle(&clusters));
    assert_eq!(roles(&book, cluster), "Primary Promoted Replica");
    assert_eq!(order(&book, cluster), "abc");
    book.probe_failed(&a, "gone", 3, 1);
    assert!(book.settle(&clusters));
    assert_eq!(order(&book, cluster), "bca");
    assert!(!book.is_misplaced(cluster, &b) && book.is_misplaced(cluster, &a));
    // It is back: the last to be tried, and none to read at.
    book.probed(&a, follower(&WRITES, 0, 1), None, 4);
    book.settle(&clusters);
    assert_eq!(roles(&book, cluster), "Rival Primary Replica");
    assert_eq!(order(&book, cluster), "bca");
    assert!(book.is_misplaced(cluster, &a));
    assert_eq!(
        book.aside(cluster, &cluster.nodes[0]),
        Some((Aside::Rival, Some(&b)))
    );
    // Another daemon sees all this at once.
    book.probed(&c, follower(&READS, 2, 3), None, 4);
    let mut another = book.clone();
    another.sets.clear();
    another.settle(&clusters);
    assert_eq!(roles(&another, cluster), "Rival Primary Replica");
    // It follows, and takes writes.
    book.probed(&a, follower(&WRITES, 2, 1), None, 5);
    assert!(book.settle(&clusters));
    assert_eq!(roles(&book, cluster), "Replica Primary Replica");
    assert!(book.settle(&[]) && roles(&book, cluster).starts_with("Primary Primary"));
}

#[test]
fn where_all_take_writes_or_one_is_named_nobody_chooses() {
    let galera = Probe {
        replication: Replication {
            is_galera: true,
            ..Replication::default()
        },
        ..WRITES
    };
    let (mut book, cluster, [a, b, _]) = three();
    book.probed(&a, galera.clone(), None, 1);
    book.probed(&b, galera, None, 1);
    let clusters = [cluster];
    book.settle(&clusters);
    assert_eq!(roles(&book, &clusters[0]), "Primary Primary Unknown");
    let named = [self::cluster(
        "\"a:1\", { address = \"b:1\", role = \"primary\" }",
    )];
    book.probed(&a, WRITES, None, 2);
    book.settle(&named);
    assert_eq!(roles(&book, &named[0]), "Rival Primary");
    assert_eq!(
        book.aside(&named[0], &named[0].nodes[0]),
        Some((Aside::Rival, None))
    );
}
