//! How a session's task waits for others of its thread, without a lock or an allocation: it is at the heart of every command's wait.

use std::{
    cell::Cell,
    future::poll_fn,
    task::{Poll, Waker},
};

/// Rung by others, heard by the one task that waits. All that this task waits for at once may share it: whoever rings has it look again at
/// everything.
#[derive(Default)]
pub(super) struct Bell(Cell<Option<Waker>>);

impl Bell {
    /// Has the task look again.
    pub(super) fn ring(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    /// Waits until `look` finds something; it looks at once, and whenever the task is woken.
    pub(super) async fn wait_for<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            let known = self.0.take();
            let known = known.filter(|waker| waker.will_wake(context.waker()));
            self.0
                .set(Some(known.unwrap_or_else(|| context.waker().clone())));
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_ring_has_all_that_wait_look_again() {
        let bell = Bell::default();
        let (first, second) = (Cell::new(None), Cell::new(None));
        let heard = async {
            tokio::join!(
                bell.wait_for(|| first.take()),
                bell.wait_for(|| second.take())
            )
        };
        let rung = async {
            for (cell, value) in [(&first, 1), (&second, 2)] {
                cell.set(Some(value));
                bell.ring();
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(tokio::join!(heard, rung).0, (1, 2));
    }

    #[tokio::test]
    async fn what_is_there_already_needs_no_ring() {
        assert_eq!(Bell::default().wait_for(|| Some(7)).await, 7);
    }
}
