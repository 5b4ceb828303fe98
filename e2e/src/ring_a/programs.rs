//! The two programs of a cluster, running, and what a test asks of them.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Result,
    breakwater::{DEADLINE, Metrics},
    http::{self, Response},
    process::Process,
    wait,
};

/// An operator process.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Operator {
    pub(super) fn new(process: Process, listen: SocketAddr, admin: SocketAddr) -> Self {
        Self { process, listen, admin }
    }

    /// Where nodes and peers are served.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// The process, to signal it or to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it has published.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        wait_ready(&mut self.process, self.admin).await
    }

    /// Its metrics.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics(http::get(self.admin, "admin", "/metrics", "").await?.body))
    }
}

/// A data-plane process.
#[derive(Debug)]
pub struct DataPlane {
    process: Process,
    listen: SocketAddr,
    listen_tls: SocketAddr,
    admin: SocketAddr,
}

impl DataPlane {
    pub(super) fn new(process: Process, listen: SocketAddr, listen_tls: SocketAddr, admin: SocketAddr) -> Self {
        Self {
            process,
            listen,
            listen_tls,
            admin,
        }
    }

    /// Where clients are served.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where clients are served over TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.listen_tls
    }

    /// The process, to signal it or to read its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it has a configuration.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        wait_ready(&mut self.process, self.admin).await
    }

    /// Asks it for `target` of `host`.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn get(&self, host: &str, target: &str) -> Result<Response> {
        http::get(self.listen, host, target, "").await
    }

    /// Asks its admin port.
    ///
    /// # Errors
    /// When there is no complete answer.
    pub async fn admin(&self, target: &str) -> Result<Response> {
        http::get(self.admin, "admin", target, "").await
    }

    /// Waits until the answer for `target` of `host` is accepted, and returns it.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`] with the last answer.
    pub async fn wait_answer(
        &self,
        host: &str,
        target: &str,
        deadline: Duration,
        accept: impl Fn(&Response) -> bool,
    ) -> Result<Response> {
        let what = format!("{} answers {host}{target} as expected", self.listen);
        wait::until(&what, deadline, async || {
            let response = self.get(host, target).await.map_err(|error| error.to_string())?;
            if accept(&response) {
                Ok(response)
            } else {
                Err(format!("{response:?}"))
            }
        })
        .await
    }
}

async fn wait_ready(process: &mut Process, admin: SocketAddr) -> Result<()> {
    let mut ended = None;
    wait::until(&format!("http://{admin}/readyz"), DEADLINE, async || {
        if let Err(error) = process.check_running() {
            ended = Some(error);
            return Ok(());
        }
        let response = http::get(admin, "admin", "/readyz", "")
            .await
            .map_err(|error| error.to_string())?;
        if response.status == 200 {
            Ok(())
        } else {
            Err(format!("{} {}", response.status, response.body.trim_end()))
        }
    })
    .await?;
    ended.map_or(Ok(()), Err)
}
