use super::*;
use std::net::TcpListener;

fn cluster(nodes: &[SocketAddr], has_account: bool) -> Cluster {
    let account = if has_account {
        "monitor = { user = \"m\", password = \"hunter2\" }"
    } else {
        ""
    };
    let nodes: Vec<_> = nodes.iter().map(|node| format!("\"{node}\"")).collect();
    let nodes = nodes.join(", ");
    let text = format!("[[cluster]]\nname = \"c\"\nkind = \"mysql\"\nnodes = [{nodes}]\n{account}");
    let settings = crate::config::settings(&text, crate::config::Overrides::default());
    settings.unwrap().clusters.remove(0)
}

/// An address at which nobody listens, and one that accepts and says nothing.
fn places() -> (SocketAddr, TcpListener) {
    let refused = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = refused.local_addr().unwrap();
    (refused, TcpListener::bind("127.0.0.1:0").unwrap())
}

#[tokio::test]
async fn what_cannot_be_done_says_so() {
    let monitor = Monitor::start().unwrap();
    let (refused, _) = places();
    let kill = |cluster: &Cluster| {
        monitor
            .kill_query(cluster, refused, ConnectionId(7))
            .result()
    };
    assert_eq!(
        kill(&cluster(&[refused], false)).await,
        Err(MonitorError::NoAccount)
    );
    assert_eq!(
        kill(&cluster(&[refused], true)).await,
        Err(MonitorError::Unreachable("connection refused".to_owned()))
    );
    let all = cluster(&[refused, places().0], true);
    assert_eq!(
        monitor.query(&all, "SELECT 1").result().await,
        Err(MonitorError::Unreachable("connection refused".to_owned()))
    );
}

#[tokio::test]
async fn a_silent_node_takes_no_more_orders_than_there_is_room_for() {
    let monitor = Monitor::start().unwrap();
    let (_, silent) = places();
    let address = silent.local_addr().unwrap();
    let cluster = cluster(&[address], true);
    let kill = || monitor.kill_connection(&cluster, address, ConnectionId(7));
    let mut orders: Vec<_> = (0..ORDERS_MAX).map(|_| kill()).collect();
    assert_eq!(kill().result().await, Err(MonitorError::Busy));
    let last = orders.pop().unwrap();
    assert_eq!(
        orders.remove(0).result().await,
        Err(MonitorError::Unreachable("connect timed out".to_owned()))
    );
    // Behind so many others it does not get its turn.
    assert_eq!(last.result().await, Err(MonitorError::Timeout));
    assert_ne!(kill().result().await, Err(MonitorError::Busy));
}
