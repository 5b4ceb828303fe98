//! Waits for changes to settle.
//!
//! Invariant: a change is acted on after a quiet while, and at the latest after a longer one, however many follow it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long changes are gathered.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    /// Act when nothing changed for this long.
    pub quiet: Duration,
    /// Act after this long at the latest.
    pub longest: Duration,
}

impl Default for Debounce {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(100),
            longest: Duration::from_secs(2),
        }
    }
}

impl Debounce {
    /// Ready when a change came and settled. False when there will be none any more.
    pub async fn settled(self, changes: &mut watch::Receiver<u64>) -> bool {
        if changes.changed().await.is_err() {
            return false;
        }
        let deadline = Instant::now() + self.longest;
        loop {
            let quiet = Instant::now() + self.quiet;
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(quiet.min(deadline)) => return true,
                changed = changes.changed() => if changed.is_err() { return true },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes every `step` for `count` times; returns when it settled, counted from the first change.
    async fn settles_after(step: u64, count: u32) -> Duration {
        let (sender, mut changes) = watch::channel(0);
        let start = Instant::now();
        let changing = async {
            for _ in 0..count {
                sender.send_modify(|version| *version += 1);
                tokio::time::sleep(Duration::from_millis(step)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = changing => unreachable!(),
            settled = Debounce::default().settled(&mut changes) => assert!(settled),
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn one_change_settles_after_the_quiet_while() {
        assert_eq!(settles_after(1, 1).await, Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_close_together_settle_as_one() {
        assert_eq!(settles_after(50, 5).await, Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_without_end_are_acted_on_after_the_longest_while() {
        assert_eq!(settles_after(50, 1000).await, Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_changes_is_told() {
        let (sender, mut changes) = watch::channel(0);
        drop(sender);
        assert!(!Debounce::default().settled(&mut changes).await);
    }
}
