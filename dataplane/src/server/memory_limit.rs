//! The data plane within its memory limit: what is used is looked at, and acted on.
//!
//! What follows from how much is used is [`crate::memory`]'s to say.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::DataPlane;
use crate::memory;
use crate::worker::Pressure;

impl DataPlane {
    /// Keeps the process within its memory limit, if it has one: looks every second, and near the limit makes the cache
    /// smaller, then refuses what would take more. Never returns.
    pub async fn watch_memory(&self) {
        let Some(limit) = self.memory_limit.filter(|limit| *limit > 0) else {
            return std::future::pending().await;
        };
        self.metrics.memory_limit.store(limit, Ordering::Relaxed);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut cache_limit = self.cache_limit;
        loop {
            second.tick().await;
            let Some(used) = memory::used() else { continue };
            self.metrics.memory_used.store(used, Ordering::Relaxed);
            cache_limit = self.keep_within(limit, used, cache_limit);
        }
    }

    /// Acts on the use of memory; returns how much the cache may store now.
    fn keep_within(&self, limit: u64, used: u64, cache_limit: u64) -> u64 {
        let most = self.cache_limit;
        let before = Pressure::from_u8(self.memory_pressure.load(Ordering::Relaxed));
        let verdict = memory::evaluate(used, limit, before > Pressure::None);
        let stored = self.metrics.cache.stats().ram.bytes;
        let next = verdict.cache_limit(most, cache_limit, stored);
        if next != cache_limit {
            self.metrics.cache.set_ram_limit(next);
        }
        if cache_limit == most && next < most {
            tracing::warn!(used, limit, "memory is short; the cache gives some back");
        }
        let pressure = verdict.pressure();
        self.memory_pressure.store(pressure.as_u8(), Ordering::Relaxed);
        match (before > Pressure::None, pressure > Pressure::None) {
            (false, true) => tracing::warn!(
                used,
                limit,
                "memory is nearly used up; new connections and what is not stored are refused"
            ),
            (true, false) => tracing::warn!(used, limit, "there is memory again; nothing is refused"),
            _ => {}
        }
        next
    }
}

#[cfg(feature = "testing")]
impl DataPlane {
    /// Acts as if so much of the memory limit was used.
    pub fn pretend_memory(&self, percent: u64) {
        let cache_limit = self.metrics.cache.stats().ram.limit;
        self.keep_within(100 << 20, percent << 20, cache_limit);
    }
}
