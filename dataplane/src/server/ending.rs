//! How a data plane ends: it says so first, then finishes what is in progress.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::DataPlane;
use crate::telemetry::LineLog;
use crate::worker::Leave;

/// Longest wait for the logs' writers at the end of a drain.
const FLUSH: Duration = Duration::from_secs(2);

impl DataPlane {
    /// Answers `/readyz` with 503 from now on, and serves as before: load balancers turn away before the drain begins.
    pub fn refuse_readiness(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Finishes what is in progress and takes nothing new; returns when all is done or `deadline` has passed.
    pub async fn drain(&self, deadline: Duration) {
        // The supervisors' copies first: a socket is closed with its last copy, which is that of the worker who takes in
        // what waits there.
        self.sockets.iter().for_each(|listeners| listeners.lock().clear());
        let leave = Leave {
            begun: Instant::now(),
            grace: deadline,
        };
        self.change(|control| control.drain = Some(leave));
        let threads = std::mem::take(&mut *self.threads.lock());
        let finished = async {
            for thread in threads {
                while !thread.is_finished() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        if tokio::time::timeout(deadline, finished).await.is_err() {
            let open: u64 = self
                .heartbeats
                .iter()
                .map(|h| h.connections.load(Ordering::Relaxed))
                .sum();
            tracing::warn!(
                open,
                "the drain deadline has passed; closing the connections that are left"
            );
        }
        if let Some(disk) = &self.disk {
            disk.flushed().await;
        }
        self.flush_logs().await;
    }

    /// Lets the disk store go, for the process that takes this one's place; what is in progress goes on without it.
    pub fn release_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.release();
        }
    }

    /// Waits until the lines of the last requests are written; not for a destination that takes nothing.
    async fn flush_logs(&self) {
        let logs = || self.metrics.access_log.iter().chain([&self.metrics.audit_log]);
        let written = async {
            while !logs().all(LineLog::is_quiet) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(FLUSH, written).await.is_err() {
            tracing::warn!("a log takes no more lines; leaving with some unwritten");
        }
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        if let Some(reads) = &self.reads {
            reads.close();
        }
    }
}
