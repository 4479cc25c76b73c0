use std::net::IpAddr;

use super::*;
use crate::config::{Overrides, settings};
use crate::route::health::{Book, Probe};

type Rows = Vec<Vec<Option<Vec<u8>>>>;

/// Rows as a node sends them, from a text: a row a line, columns between bars, `-` for NULL.
fn rows(text: &str) -> Rows {
    let cell = |cell: &str| match cell.trim() {
        "-" => None,
        value => Some(value.as_bytes().to_vec()),
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| line.split('|').map(cell).collect())
        .collect()
}

fn read(servers: &str, tenants: &str, places: &str, seeds: &[Seed]) -> (Found, Refused) {
    let (servers, tenants, places) = (rows(servers), rows(tenants), rows(places));
    let answers = Answers {
        servers: &servers,
        tenants: &tenants,
        places: &places,
    };
    answers.read(seeds)
}

fn seed(address: &str, ip: &str) -> Seed {
    Seed {
        address: address.parse().unwrap(),
        resolved: vec![ip.parse::<IpAddr>().unwrap()],
    }
}

fn cluster(nodes: &str) -> Cluster {
    let text = format!(
        "[[cluster]]\nname = \"c\"\nkind = \"oceanbase\"\nmonitor = {{ user = \"m\" }}\nnodes = [{nodes}]"
    );
    settings(&text, Overrides::default())
        .unwrap()
        .clusters
        .remove(0)
}

/// Version 4.2, three zones, as published transcripts have them.
const SERVERS: &str = "
    10.0.0.1 | 2881 | zone1 | ACTIVE | 1 | 0
    10.0.0.2 | 2881 | zone2 | ACTIVE | 1 | 0
    10.0.0.3 | 2881 | zone3 | ACTIVE | 1 | 0";
const TENANTS: &str = "
    1 | sys | PRIMARY
    1002 | shop | PRIMARY
    1004 | copy | STANDBY";
const PLACES: &str = "
    1 | 10.0.0.1 | 2881 | 1
    1 | 10.0.0.2 | 2881 | 0
    1 | 10.0.0.3 | 2881 | 0
    1002 | 10.0.0.1 | 2881 | 0
    1002 | 10.0.0.2 | 2881 | 1
    1004 | 10.0.0.2 | 2881 | 1
    1004 | 10.0.0.3 | 2881 | 0";

fn shown(cluster: &Cluster) -> Vec<String> {
    let shown = cluster.nodes.iter().map(|node| {
        let listed = node.listing.text().unwrap_or("-");
        let origin = if node.is_discovered { "found" } else { "told" };
        format!("{node} {listed} {origin}")
    });
    shown.collect()
}

fn order(cluster: &Cluster) -> Vec<String> {
    let mut book = Book::default();
    for node in cluster.addresses() {
        // Every server of OceanBase takes writes.
        book.probed(node, Probe::default(), None, 1);
    }
    let order = book.order(cluster).into_iter();
    order.map(|node| node.address.host.clone()).collect()
}

#[test]
fn servers_are_adopted_with_their_zones() {
    let seeds = [seed("db1:2881", "10.0.0.1")];
    let (found, refused) = read(SERVERS, TENANTS, PLACES, &seeds);
    assert_eq!(refused, Refused::default());
    let configured = cluster("\"db1:2881\"");
    let cluster = adopt(&configured, &found);
    assert_eq!(
        shown(&cluster),
        [
            "db1:2881 (zone zone1) ACTIVE told",
            "10.0.0.2:2881 (zone zone2) ACTIVE found",
            "10.0.0.3:2881 (zone zone3) ACTIVE found",
        ]
    );
    // What is adopted again is what it was.
    assert_eq!(adopt(&configured, &found), cluster);
}

#[test]
fn tenants_go_where_they_are_led() {
    let seeds = [seed("db1:2881", "10.0.0.1")];
    let (found, _) = read(SERVERS, TENANTS, PLACES, &seeds);
    let cluster = adopt(&cluster("\"db1:2881\""), &found);
    assert_eq!(order(&cluster), ["db1", "10.0.0.2", "10.0.0.3"]);
    let of = |tenant: &str| cluster.of_tenants.get(tenant).unwrap();
    assert_eq!(order(of("sys")), ["db1", "10.0.0.2", "10.0.0.3"]);
    // The third server has nothing of it.
    assert_eq!(order(of("shop")), ["10.0.0.2", "db1"]);
    assert_eq!(order(of("copy")), ["10.0.0.2", "10.0.0.3"]);
    assert!(
        of("copy")
            .nodes
            .iter()
            .all(|node| node.role == NodeRole::Standby)
    );
    // A tenant of which nobody says where it is may be anywhere.
    let (found, _) = read(SERVERS, "1006 | new | PRIMARY", PLACES, &seeds);
    let cluster = adopt(&self::cluster("\"db1:2881\""), &found);
    assert_eq!(cluster.of_tenants.get("new").unwrap().nodes.len(), 3);
}

#[test]
fn many_tenants_at_many_servers_do_not_fill_the_memory() {
    let server = |at: u32| Server {
        address: format!("10.0.{}.{}:2881", at / 256, at % 256)
            .parse()
            .unwrap(),
        zone: None,
        listing: Listing::Active,
    };
    let tenant = |at: u32| Tenant {
        name: at.to_string(),
        is_standby: true,
        places: BTreeMap::new(),
    };
    let found = Found {
        servers: (0..1000).map(server).collect(),
        tenants: (0..200).map(tenant).collect(),
    };
    let cluster = adopt(&cluster("\"db1:2881\""), &found);
    let views = cluster.of_tenants.values();
    assert!(views.map(|view| view.nodes.len()).sum::<usize>() <= VIEWED_MAX);
    assert_eq!(cluster.of_tenants.len(), 99);
}

/// A server that was set up alone may know itself by an address that is nowhere else.
#[test]
fn addresses_of_its_own_host_alone_are_no_servers() {
    let servers = "
        127.0.0.1 | 2881 | zone1 | ACTIVE | 1 | 0
        ::1 | 2881 | zone1 | ACTIVE | 1 | 0
        0.0.0.0 | 2881 | zone1 | ACTIVE | 1 | 0
        ::ffff:127.0.0.1 | 2882 | zone1 | ACTIVE | 1 | 0
        224.0.0.1 | 2881 | zone1 | ACTIVE | 1 | 0";
    let (found, refused) = read(servers, "", "", &[seed("db1:2881", "10.0.0.1")]);
    assert_eq!((found.servers.len(), refused.count), (0, 5));
    assert_eq!(
        refused.why[0],
        "127.0.0.1:2881 is nowhere but on its own host"
    );
    let (found, refused) = read(servers, "", "", &[seed("db1:2881", "127.0.0.1")]);
    assert_eq!((found.servers.len(), refused.count), (3, 2));
    assert_eq!(found.servers[0].address.to_string(), "db1:2881");
}

#[test]
fn the_configuration_wins() {
    let seeds = [
        seed("10.0.0.1:2881", "10.0.0.1"),
        seed("10.0.0.2:2881", "10.0.0.2"),
    ];
    let (found, _) = read(SERVERS, TENANTS, PLACES, &seeds);
    let configured = cluster(
        "{ address = \"10.0.0.1:2881\", zone = \"own\", role = \"primary\", weight = 2 }, \
         { address = \"10.0.0.2:2881\", drain = true }",
    );
    let cluster = adopt(&configured, &found);
    assert_eq!(
        shown(&cluster),
        [
            "10.0.0.1:2881 (primary, zone own, weight 2) ACTIVE told",
            "10.0.0.2:2881 (zone zone2, drain) ACTIVE told",
            "10.0.0.3:2881 (zone zone3) ACTIVE found",
        ]
    );
    let shop = cluster.of_tenants.get("shop").unwrap();
    assert_eq!(shop.nodes[0].role, NodeRole::Primary);
}

#[test]
fn servers_that_do_not_serve_are_left() {
    let seeds = [seed("10.0.0.1:2881", "10.0.0.1")];
    let servers = "
        10.0.0.1 | 2881 | zone1 | ACTIVE | 1 | 1
        10.0.0.2 | 2881 | zone2 | INACTIVE | 0 | 0
        10.0.0.3 | 2881 | zone3 | DELETING | 1 | 0
        10.0.0.4 | 2881 | zone1 | ACTIVE | 0 | 0
        10.0.0.5 | 2881 | zone2 | active | 1 | 0";
    let (found, refused) = read(servers, "", "", &seeds);
    assert_eq!(refused, Refused::default());
    let cluster = adopt(&cluster("\"10.0.0.1:2881\", \"gone:2881\""), &found);
    let listed: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| (node.listing, node.is_drained()))
        .collect();
    assert_eq!(
        listed,
        [
            (Listing::Stopped, true),
            (Listing::Absent, true),
            (Listing::Inactive, true),
            (Listing::Deleting, true),
            (Listing::Starting, true),
            (Listing::Active, false),
        ]
    );
    assert_eq!(order(&cluster)[0], "10.0.0.5");
}

#[test]
fn rows_that_cannot_be_read_are_refused_one_by_one() {
    let servers = "
        10.0.0.1 | 2881 | zone1 | ACTIVE | 1 | 0
        10.0.0.1 | 2881 | zone1 | ACTIVE | 1 | 0
        10.0.0.2 | 0 | zone1 | ACTIVE | 1 | 0
        10.0.0.3 | 99999 | zone1 | ACTIVE | 1 | 0
        host | 2881 | zone1 | ACTIVE | 1 | 0
        - | - | - | - | - | -
        10.0.0.4 | 2881 | zone1 | GONE FISHING | 1 | 0
        10.0.0.5 | 2881 | zone1";
    let tenants = "
        1 | sys | PRIMARY
        2 |  | PRIMARY
        3 | odd | EMPEROR
        4";
    let places = "
        1 | 10.0.0.1 | 2881 | 1
        1 | nowhere | 2881 | 1
        - | 10.0.0.1 | 2881 | 1
        1";
    let (found, refused) = read(servers, tenants, places, &[]);
    assert_eq!(found.servers.len(), 1);
    assert_eq!(found.tenants.len(), 1);
    assert_eq!(refused.count, 13);
    assert_eq!(
        refused.why,
        [
            "10.0.0.1:2881 is listed twice",
            "address \"10.0.0.2\", SQL port \"0\"",
            "address \"10.0.0.3\", SQL port \"99999\"",
        ]
    );
    // Bytes of any kind.
    let odd = vec![
        Some(vec![0xff; 300]),
        None,
        Some(vec![0]),
        Some(vec![0xc3]),
        None,
        None,
    ];
    let answers = Answers {
        servers: &[odd],
        tenants: &[],
        places: &[],
    };
    let (found, refused) = answers.read(&[]);
    assert!(found.servers.is_empty() && refused.count == 1);
    assert!(refused.why[0].len() < 400, "{}", refused.why[0]);
}

#[test]
fn ipv6_has_brackets() {
    let (found, _) = read("fd00::1 | 2881 | zone1 | ACTIVE | 1 | 0", "", "", &[]);
    assert_eq!(found.servers[0].address.to_string(), "[fd00::1]:2881");
}
