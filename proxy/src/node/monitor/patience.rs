//! Time for somebody else to answer, of which only what this process could use counts.

use std::{pin::pin, time::Duration};

/// Into so many steps a time is cut.
const STEPS: u32 = 8;

/// What comes of `asked` within `span`, or `None`.
///
/// Time in which the process does not run (SIGSTOP, a frozen cgroup, a machine that is moved) counts as one step of [`STEPS`] at
/// most: nobody was late while there was no one to hear him, and a node must not be taken for dead because of it.
pub(super) async fn within<F: Future>(span: Duration, asked: F) -> Option<F::Output> {
    let mut asked = pin!(asked);
    for _ in 0..STEPS {
        if let Ok(answer) = tokio::time::timeout(span / STEPS, &mut asked).await {
            return Some(answer);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, advance, sleep};

    use super::*;

    const SPAN: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "the clock stands still")]
    async fn time_away_is_no_silence() {
        let answers = async {
            for _ in 0..3 {
                sleep(SPAN / 10).await;
                // The clock jumps: nothing ran in between.
                advance(SPAN * 30).await;
            }
            sleep(SPAN / 10).await;
            "answer"
        };
        assert_eq!(within(SPAN, answers).await, Some("answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_lasts_the_whole_time() {
        let start = Instant::now();
        assert_eq!(within(SPAN, pending::<()>()).await, None);
        assert_eq!(start.elapsed(), SPAN);
    }
}
