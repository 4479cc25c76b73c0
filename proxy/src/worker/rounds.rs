//! A worker's thread runs its tasks in rounds, and behind each it sends what they have written.

use std::{cell::Cell, future::poll_fn, pin::pin, task::Poll};

use tokio::task::LocalSet;

use crate::net::outbox::Outbox;

/// How many rounds run before the kernel is asked for new events, as long as they write.
const ROUNDS: usize = 4;

/// Runs the set's tasks until `last` has ended. Those that waited for their writes go on before the kernel is asked for new events, and before
/// `last` looks at what has come from other threads: who has read an answer finds its command ended.
pub(super) async fn run<T>(outbox: &Outbox, tasks: &LocalSet, last: impl Future<Output = T>) -> T {
    let mut last = pin!(last);
    let has_looked = Cell::new(false);
    // Within the set, so that tasks that are woken are in its queue already.
    let mut round = pin!(tasks.run_until(poll_fn(|context| {
        if outbox.is_empty() {
            has_looked.set(true);
            return last.as_mut().poll(context);
        }
        outbox.flush();
        Poll::Pending
    })));
    poll_fn(|context| {
        // What has woken us may be meant for it.
        has_looked.set(false);
        for _ in 0..ROUNDS {
            if let Poll::Ready(ended) = round.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            if outbox.is_empty() && has_looked.get() {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, task::Waker};

    use super::*;
    use crate::net;

    #[tokio::test]
    async fn who_has_read_an_answer_finds_its_command_ended() {
        let outbox = Rc::new(Outbox::new().expect("io_uring"));
        let (near, far) = net::pair().await;
        let is_running = Rc::new(Cell::new(true));
        let tasks = LocalSet::new();
        tasks.spawn_local({
            let (outbox, is_running) = (Rc::clone(&outbox), Rc::clone(&is_running));
            async move {
                assert!(near.post(&outbox, b"answer").await.unwrap().is_empty());
                is_running.set(false);
                std::future::pending::<()>().await;
            }
        });
        let mut answer = [0; 16];
        let reader = poll_fn(|context| {
            // What another thread does as soon as it has read the answer.
            if far.read_now(&mut answer).is_ok() {
                return Poll::Ready(is_running.get());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        assert!(!run(&outbox, &tasks, reader).await);
    }

    #[tokio::test]
    async fn mail_that_comes_in_the_midst_of_many_rounds_is_read() {
        let outbox = Rc::new(Outbox::new().expect("io_uring"));
        let (near, far) = net::pair().await;
        let mailbox: Rc<Cell<Option<Waker>>> = Rc::default();
        let tasks = LocalSet::new();
        tasks.spawn_local({
            let (outbox, mailbox) = (Rc::clone(&outbox), Rc::clone(&mailbox));
            async move {
                for number in 0..=ROUNDS {
                    if number == 1 {
                        mailbox.take().expect("somebody who waits for mail").wake();
                    }
                    assert!(near.post(&outbox, b"answer").await.unwrap().is_empty());
                }
                std::future::pending::<()>().await;
            }
        });
        let mut looks = 0;
        let reader = poll_fn(|context| {
            looks += 1;
            if looks == 2 {
                return Poll::Ready(());
            }
            mailbox.set(Some(context.waker().clone()));
            Poll::Pending
        });
        run(&outbox, &tasks, reader).await;
        drop(far);
    }
}
