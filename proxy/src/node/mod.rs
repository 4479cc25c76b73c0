//! Connections to database nodes: dialling, the node's greeting, and packets in sequence until the login is done.

mod connect;
mod greeting;
mod health;
mod login;
mod login_leg;
mod monitor;
mod secure;

pub use connect::{Announce, ConnectError, Dialled, connect};
pub use greeting::{GreetError, Greeted, Remembered, greeting_probe, meet};
pub use health::Health;
pub use login::{LoginError, log_in};
pub use login_leg::{LOGIN_PACKET_MAX, LegError, LoginLeg};
pub use monitor::{Conditional, Monitor, MonitorError, Pending, Rows};
pub use secure::{SecureError, secure};
