//! Signals that end a long-running command, how it then leaves, and the runtime it runs on.

use std::time::Duration;

use breakwater_dataplane::DataPlane;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// The control thread's runtime. Workers have their own.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("the runtime cannot start: {error}"), ""))
}

/// How a data plane leaves.
#[derive(Args, Debug)]
pub(crate) struct DrainArgs {
    /// Longest time for what is open to end, after SIGTERM and the delay, seconds
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    drain: u64,
    /// After SIGTERM, time in which it is not ready but still serves, so that load balancers notice, seconds
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    drain_delay: u64,
}

impl DrainArgs {
    /// Not ready from now on, and after the delay: [`DrainArgs::drain`].
    pub(crate) async fn leave(&self, data_plane: &DataPlane) {
        data_plane.refuse_readiness();
        tokio::time::sleep(Duration::from_secs(self.drain_delay)).await;
        self.drain(data_plane).await;
    }

    /// Takes nothing new and waits until all is done, or the time is over.
    pub(crate) async fn drain(&self, data_plane: &DataPlane) {
        data_plane.drain(Duration::from_secs(self.drain)).await;
    }
}

/// SIGTERM and SIGINT.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: receive(SignalKind::terminate())?,
            interrupt: receive(SignalKind::interrupt())?,
        })
    }

    /// Resolves at the next of either. Cancel safe.
    pub(crate) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Receives one kind of signal.
pub(crate) fn receive(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::environment(format!("signals cannot be received: {error}"), ""))
}
