use super::*;
use crate::{
    net::Leg,
    node::LoginLeg,
    protocol::{
        auth::AuthSwitchRequest,
        capability::Capabilities,
        error::MysqlError,
        handshake::{Greeting, LoginPacket},
        reply::encode_error,
    },
};
use bytes::{Bytes, BytesMut};
use mysql_common::scramble::create_response_for_ed25519;
use std::{
    cell::{Cell, RefCell},
    net::TcpListener,
};

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

/// What may hit something else by the time that its turn comes is asked about then, and only then.
#[tokio::test]
async fn an_order_that_nobody_wants_any_more_is_not_sent() {
    let monitor = Monitor::start().unwrap();
    let node = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = node.local_addr().unwrap();
    let cluster = cluster(&[address], true);
    let let_in = RefCell::default();
    let heard = RefCell::default();
    let orders = async {
        for is_wanted in [false, true, false] {
            let order = monitor.kill_query_if(&cluster, address, ConnectionId(7));
            let asked = Cell::new(0);
            let result = order.result_if(|| {
                asked.set(asked.get() + 1);
                is_wanted
            });
            let wanted = is_wanted.then(Rows::new).ok_or(MonitorError::Unwanted);
            assert_eq!((result.await, asked.get()), (wanted, 1));
        }
        // Who gave it is gone.
        drop(monitor.kill_query_if(&cluster, address, ConnectionId(8)));
        let last = monitor.kill_query(&cluster, address, ConnectionId(9));
        assert_eq!(last.result().await, Ok(Rows::new()));
    };
    tokio::select! {
        () = orders => {}
        () = ed25519_node(node, &[[7; 32], [7; 32]], &let_in, &heard) => panic!("no logins are left"),
    }
    assert_eq!(heard.take(), ["KILL QUERY 7", "KILL QUERY 9"]);
}

/// A node that lets the monitor in as MariaDB does with `ed25519`, with these scrambles one after another, and answers statements with OK.
/// `let_in` grows by what it made of each login, `heard` by each statement.
async fn ed25519_node(
    node: tokio::net::TcpListener,
    scrambles: &[[u8; 32]],
    let_in: &RefCell<Vec<bool>>,
    heard: &RefCell<Vec<String>>,
) {
    const OK: &[u8] = b"\x00\x00\x00\x02\x00\x00\x00";
    let greeting = Greeting {
        version: Bytes::from_static(b"10.11.14-MariaDB"),
        thread_id: 7,
        scramble: Bytes::from_static(b"gggggggggggggggggggg"),
        capabilities: Capabilities::from_wire(0x81FF_F7FE, 0x1D).without(Capabilities::COMPRESS),
        charset: 45,
        status: 2,
        plugin: Bytes::from_static(b"mysql_native_password"),
    };
    for scramble in scrambles {
        let request = AuthSwitchRequest {
            plugin: Bytes::from_static(b"client_ed25519"),
            data: Bytes::copy_from_slice(scramble),
        };
        let leg = Leg::new(node.accept().await.unwrap().0).unwrap();
        let mut leg = LoginLeg::new(&leg, BytesMut::new(), 0);
        leg.write(&greeting.encode()).await.unwrap();
        let login = LoginPacket::parse(&leg.read().await.unwrap()).unwrap();
        assert_eq!(login.user, "m");
        leg.write(&request.encode()).await.unwrap();
        let signed = create_response_for_ed25519(b"hunter2", scramble);
        let is_right = leg.read().await.unwrap() == signed[..];
        let_in.borrow_mut().push(is_right);
        if !is_right {
            let denied = MysqlError::access_denied("m", "localhost", true);
            leg.write(&encode_error(&denied)).await.unwrap();
            continue;
        }
        leg.write(OK).await.unwrap();
        leg.restart();
        while let Ok(command) = leg.read().await {
            let text = command.get(1..).unwrap_or_default();
            let text = String::from_utf8_lossy(text).into_owned();
            heard.borrow_mut().push(text);
            leg.write(OK).await.unwrap();
            leg.restart();
        }
    }
}

#[tokio::test]
async fn a_scramble_of_ed25519_may_end_in_a_zero() {
    let node = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = node.local_addr().unwrap();
    let monitor = Monitor::start().unwrap();
    let mut ends_in_a_zero = [7; 32];
    ends_in_a_zero[31] = 0;
    let (let_in, heard) = (RefCell::default(), RefCell::default());
    let cluster = cluster(&[address], true);
    let killed = monitor.kill_connection(&cluster, address, ConnectionId(7));
    let scrambles = [ends_in_a_zero, [7; 32]];
    let killed = tokio::select! {
        killed = killed.result() => killed,
        () = ed25519_node(node, &scrambles, &let_in, &heard) => Err(MonitorError::Timeout),
    };
    assert_eq!(killed, Ok(Rows::new()));
    let what = "where the driver gets the first right, nothing need be tried twice";
    assert_eq!(let_in.take(), [false, true], "{what}");
}
