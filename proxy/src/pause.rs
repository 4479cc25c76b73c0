//! Waits for what gives no sign when it happens.

use std::time::Duration;

/// Waits for so long, then to be followed by a look.
#[expect(
    clippy::disallowed_methods,
    reason = "for conditions that nobody is told of"
)]
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}
