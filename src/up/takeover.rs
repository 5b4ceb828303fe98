//! `up --takeover`: this process in the place of the one that runs, and the next in the place of this one.
//!
//! The sockets and the protocol are `breakwater_dataplane::takeover`; here is when it happens and what is said.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use breakwater_dataplane::DataPlane;
use breakwater_dataplane::takeover::{Claim, Door, Sockets};
use tokio::task::JoinHandle;

use crate::exit::{Failure, complain};
use crate::stop::DrainArgs;

/// Between two processes that ask, when the first came to nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// A takeover that has begun. Dropped before its end, it says that the old process goes on.
pub(super) struct Takeover {
    claim: Option<Claim>,
    old: String,
}

impl Takeover {
    /// Takes the sockets of the process that keeps its state in `dir`.
    pub(super) async fn begin(dir: &Path) -> Result<(Self, Sockets), Failure> {
        let (claim, sockets) = Claim::make(dir)
            .await
            .map_err(|error| Failure::environment(error.to_string(), ""))?;
        let old = process(claim.pid());
        let claim = Some(claim);
        Ok((Self { claim, old }, sockets))
    }

    /// Accepts, and sends the old process away.
    pub(super) async fn finish(mut self, data_plane: &DataPlane, drain: &DrainArgs) -> Result<(), Failure> {
        let failed = match data_plane.accept().await {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        let failed = match (failed, self.claim.take()) {
            (None, Some(claim)) => match claim.ready().await {
                Ok(true) => {
                    complain(format!("breakwater: took over from {}, which drains", self.old));
                    return Ok(());
                }
                Ok(false) => {
                    complain(format!(
                        "breakwater: {} does not answer; serving in its place",
                        self.old
                    ));
                    return Ok(());
                }
                Err(error) => error.to_string(),
            },
            (failed, claim) => {
                self.claim = claim;
                failed.unwrap_or_default()
            }
        };
        // Some connections may have come here already.
        drain.drain(data_plane).await;
        Err(Failure::environment(failed, ""))
    }
}

impl Drop for Takeover {
    fn drop(&mut self) {
        if self.claim.take().is_some() {
            complain(format!("breakwater: no takeover; {} serves on", self.old));
        }
    }
}

/// Lets other processes take over from `dir` on. The task ends when one has, and this one must drain; without a
/// directory it never does.
pub(super) fn offer(dir: Option<&Path>, data_plane: &Arc<DataPlane>) -> JoinHandle<()> {
    let door = dir.and_then(|dir| match Door::open(dir) {
        Ok(door) => Some(door),
        Err(error) => {
            let dir = dir.display();
            complain(format!(
                "breakwater: no other process can take over from {dir}: {error}; serving all the same"
            ));
            None
        }
    });
    let data_plane = Arc::clone(data_plane);
    tokio::spawn(async move {
        let Some(mut door) = door else {
            return std::future::pending().await;
        };
        loop {
            match door.hand_over(&data_plane).await {
                Ok(pid) => return complain(format!("breakwater: {} has taken over", process(pid))),
                Err(error) => complain(format!("breakwater: a takeover came to nothing: {error}; serving on")),
            }
            tokio::time::sleep(PAUSE).await;
        }
    })
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
