//! Giving way: a connection that had its turn goes on after those that became ready meanwhile.
//!
//! A task that wakes itself is in the queue again before the runtime looks at its sockets, which it does when the queue is
//! empty or some sixty polls are over. A few connections with much to do would so keep one that asks for little waiting
//! until all of their work is done.

use std::future::Future;
use std::pin::pin;
use std::task::Context;

/// Wakes the task of `cx` when the sockets of the runtime were looked at, behind the tasks that this woke.
pub(crate) fn give_way(cx: &mut Context<'_>) {
    // Its first poll asks the runtime for just that; the future itself is not needed any more.
    let _pending = pin!(tokio::task::yield_now()).poll(cx);
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::task::Poll;

    use tokio::io::AsyncReadExt;
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn who_gives_way_is_polled_behind_a_socket_that_became_ready() {
        let (mut far, near) = UnixStream::pair().expect("a pair of sockets");
        near.set_nonblocking(true).expect("not blocking");
        let polls = LocalSet::new()
            .run_until(async move {
                let mut near = tokio::net::UnixStream::from_std(near).expect("a socket of the runtime");
                let reader = tokio::task::spawn_local(async move { near.read_u8().await });
                // A task beside the reader's, as connections are.
                let busy = tokio::task::spawn_local(async move {
                    let mut polls = 0;
                    poll_fn(move |cx| {
                        polls += 1;
                        if polls == 2 {
                            far.write_all(b"x").expect("sent");
                        }
                        if reader.is_finished() {
                            return Poll::Ready(polls);
                        }
                        give_way(cx);
                        Poll::Pending
                    })
                    .await
                });
                busy.await.expect("it ends")
            })
            .await;
        assert!(polls <= 4, "polled {polls} times");
    }
}
