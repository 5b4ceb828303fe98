//! What the tests of takeovers share: a site with a route that is stored and one that is not, and the processes that
//! follow each other on it.

use std::{net::SocketAddr, path::Path, process::Command, time::Duration};

use crate::{
    Result,
    breakwater::{self, Site, Up},
    load::Target,
    origin::{self, Reply},
};

/// The time between a connection's requests. Slow enough that a debug build on a busy machine has no reason to shed load,
/// which it would do with 503.
pub const PACE: Duration = Duration::from_millis(200);

/// An origin whose `/stored` may be stored, and nothing else.
///
/// # Errors
/// When it cannot listen.
pub async fn origin() -> Result<SocketAddr> {
    origin::start(|_, target| match target {
        "/stored" => Reply::text("max-age=600", "stored"),
        _ => Reply::text("no-store", "passed"),
    })
    .await
}

/// What is asked for of `site.test`: what is stored, and what is not.
pub fn targets() -> [Target; 2] {
    ["stored", "passed"].map(|body| Target {
        host: "site.test".to_owned(),
        path: format!("/{body}"),
        body: body.to_owned(),
        open_ended: false,
    })
}

/// Starts the `number`th process of a site, all with the same state directory, each with a log of its own; `manager` is the
/// socket of a service manager.
///
/// # Errors
/// When it ends instead.
pub async fn start(site: &Site, number: usize, more: &[&str], manager: Option<&Path>) -> Result<Up> {
    let mut command = Command::new(breakwater::binary()?);
    command.arg("up").arg("-f").arg(site.manifests());
    command.args(["--audit-log", "/dev/null", "--state-dir"]);
    command.arg(site.path("state")).args(more);
    if let Some(manager) = manager {
        command.env("NOTIFY_SOCKET", manager);
    }
    Up::start(command, &site.path(&format!("breakwater-{number}.log"))).await
}
