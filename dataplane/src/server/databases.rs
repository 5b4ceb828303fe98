//! The databases of places, kept current: files are looked at, read anew when they change, and handed to the workers.

use std::sync::Arc;
use std::time::Duration;

use super::DataPlane;

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(10);

impl DataPlane {
    /// Takes databases of countries and autonomous systems anew when their files change. Never returns.
    pub async fn watch_databases(self: &Arc<Self>) {
        if self.databases.lock().is_empty() {
            return std::future::pending().await;
        }
        let mut often = tokio::time::interval(EVERY);
        often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            often.tick().await;
            self.check_databases().await;
        }
    }

    /// Looks whether these files changed, and takes what they hold now if it can be used. Returns when every worker has it.
    pub async fn check_databases(self: &Arc<Self>) {
        let this = Arc::clone(self);
        // A file may be large, or on a disk that is slow: neither the control thread nor a worker waits for it.
        let read = tokio::task::spawn_blocking(move || {
            let mut databases = this.databases.lock();
            let locations = databases.refresh();
            this.metrics.set_databases(databases.states());
            locations
        });
        let Ok(Some(locations)) = read.await else { return };
        let mut version = 0;
        self.control.send_modify(|control| {
            control.locations = locations;
            // Versions count from the first configuration: before it there is nothing to be told.
            control.version += u64::from(control.version > 0);
            version = control.version;
        });
        self.wait_for(version).await;
    }
}
