//! Waiting for a condition with a deadline. There is no other way to wait in this crate: a fixed
//! sleep is either too short on a busy machine or too long on an idle one.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Error, Result};

/// Pause between two attempts.
const INTERVAL: Duration = Duration::from_millis(50);

/// Repeats `attempt` until it yields `Ok`, or until `deadline` has passed since the call.
///
/// The future is not `Send`: join such waits, or spawn them on a `LocalSet`.
///
/// `attempt` says in its `Err` what it saw; the last such text is in the error.
///
/// # Errors
/// [`Error::Timeout`] with `what` and the last state seen.
pub async fn until<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut last = "never looked".to_owned();
    loop {
        // The deadline also cuts short an attempt that hangs.
        match tokio::time::timeout_at(end, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen,
            Err(_) => {}
        }
        if Instant::now() >= end {
            return Err(Error::Timeout {
                what: what.to_owned(),
                seconds: deadline.as_secs_f64(),
                last,
            });
        }
        sleep(INTERVAL.min(end - Instant::now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_returns_what_the_first_good_attempt_yields() {
        let mut attempts = 0;
        let value = until("three attempts", Duration::from_secs(1), async || {
            attempts += 1;
            if attempts == 3 {
                Ok(attempts)
            } else {
                Err("too early".to_owned())
            }
        })
        .await;
        assert_eq!(value.expect("the third attempt succeeds"), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn it_tells_the_last_state_when_time_is_up() {
        let mut attempts = 0;
        let error = until::<()>("a moon landing", Duration::from_secs(1), async || {
            attempts += 1;
            Err(format!("attempt {attempts}"))
        })
        .await
        .expect_err("it never succeeds");
        assert_eq!(
            error.to_string(),
            format!("a moon landing: not within 1.0 s; last state: attempt {attempts}")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_cut_short() {
        let error = until::<()>("an answer", Duration::from_secs(1), async || {
            std::future::pending().await
        })
        .await
        .expect_err("it hangs");
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }
}
