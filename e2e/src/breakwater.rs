//! The program under test: found or built, and `breakwater up` with a directory of its own.
//!
//! A test says what is in the directory and talks to the addresses that the program says it serves; every port is
//! chosen by the kernel, so tests run beside each other. What is started ends when its [`Up`] is dropped.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    sync::OnceLock,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Error, Result, command,
    error::Context,
    http::{self, Response},
    process::Process,
    wait,
};

/// Names the binary to test; without it, `target/debug/breakwater` is built.
pub const BINARY_VARIABLE: &str = "BREAKWATER_BIN";

/// How long anything may take that should be done at once. Reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
}

/// The program: what [`BINARY_VARIABLE`] names, or the debug build, built once for each test program.
///
/// # Errors
/// When it is not there, or cannot be built.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| find_or_build().map_err(|error| error.to_string()));
    found.as_deref().map_err(|error| Error::Invalid(error.clone()))
}

fn find_or_build() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE).filter(|path| !path.is_empty()) {
        return std::fs::canonicalize(&path).context(|| format!("{BINARY_VARIABLE}={}", path.display()));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root())
        .args(["build", "--quiet", "--bin", "breakwater", "--message-format=json"]);
    let messages = command::run_now(cargo)?;
    // Cargo says where it put it, whatever the target directory is.
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| Error::Invalid("cargo built `breakwater`, but does not say where".to_owned()))
}

/// Runs a command of the program to its end.
///
/// # Errors
/// When it cannot be started or does not end.
pub async fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.args(arguments);
    Ok(Ended::from(command::output(command, "", command::DEADLINE).await?))
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// A directory for one test: manifests, and beside them whatever else it needs. Gone when it is dropped.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
}

impl Site {
    /// A site with these manifest files.
    ///
    /// # Errors
    /// When the directory for temporary files cannot be written.
    pub fn new(files: &[(&str, &str)]) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("breakwater-up-")
            .tempdir()
            .context(|| "make a directory".to_owned())?;
        let site = Self { directory };
        std::fs::create_dir(site.manifests()).context(|| "make the directory of manifests".to_owned())?;
        files.iter().try_for_each(|(name, text)| site.write(name, text))?;
        Ok(site)
    }

    /// The directory of manifests.
    pub fn manifests(&self) -> PathBuf {
        self.path("manifests")
    }

    /// A path beside the manifests.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a manifest file in one step, as editors do.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let (hidden, path) = (self.manifests().join(format!(".{name}")), self.manifests().join(name));
        std::fs::write(&hidden, text)
            .and_then(|()| std::fs::rename(&hidden, &path))
            .context(|| format!("write {}", path.display()))
    }

    /// Removes a manifest file.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.manifests().join(name);
        std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))
    }

    /// Starts `breakwater up -f` this site's manifests, with more arguments, and waits until it serves.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn up<S: AsRef<std::ffi::OsStr>>(&self, more: impl IntoIterator<Item = S>) -> Result<Up> {
        let mut command = Command::new(binary()?);
        command.arg("up").arg("-f").arg(self.manifests()).args(more);
        Up::start(command, &self.path("breakwater.log")).await
    }
}

/// The manifests of an EdgeCache for `site.test` over TLS, before `origin`; `data` is that of its Secret, with the name of
/// the field.
pub fn tls_site(origin: SocketAddr, data: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: site}}
spec:
  hostnames: [site.test]
  tls: {{secretName: site}}
  origin: {{urls: [\"http://{origin}\"]}}
---
apiVersion: v1
kind: Secret
metadata: {{name: site}}
type: kubernetes.io/tls
{data}"
    )
}

/// A running `breakwater up`.
#[derive(Debug)]
pub struct Up {
    /// The process; its log is its standard error.
    pub process: Process,
    /// Where clients connect.
    pub front: SocketAddr,
    /// Where clients connect with TLS, if `--listen-tls` was given.
    pub front_tls: Option<SocketAddr>,
    /// Metrics and health.
    pub admin: SocketAddr,
}

impl Up {
    /// Starts this command, an `up` without addresses, on free ports, and waits until it serves.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn start(mut command: Command, log: &Path) -> Result<Self> {
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let mut process = Process::spawn("breakwater up", command, log)?;
        let line = process.wait_line("breakwater: serving ", DEADLINE).await?;
        let address = |before: &str| {
            line.split_once(before)
                .and_then(|(_, rest)| rest.split([' ', ',']).next()?.parse().ok())
                .ok_or_else(|| Error::Invalid(format!("no address in `{line}`")))
        };
        Ok(Self {
            front: address("serving http://")?,
            front_tls: address(" https://").ok(),
            admin: address("admin http://")?,
            process,
        })
    }

    /// GET through the front, on a connection of its own, with more header lines, each ended by CRLF.
    ///
    /// # Errors
    /// When there is no complete response.
    pub async fn get(&self, host: &str, path: &str, lines: &str) -> Result<Response> {
        http::get(self.front, host, path, lines).await
    }

    /// Waits until GET answers with `status`.
    ///
    /// # Errors
    /// When it does not, with the last answer.
    pub async fn wait_status(&self, host: &str, path: &str, lines: &str, status: u16) -> Result<Response> {
        let what = format!("{status} for {host}{path}");
        wait::until(&what, DEADLINE, async || match self.get(host, path, lines).await {
            Ok(response) if response.status == status => Ok(response),
            other => Err(format!("{other:?}")),
        })
        .await
    }

    /// The metrics, as Prometheus reads them.
    ///
    /// # Errors
    /// When the admin port does not answer.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics(http::get(self.admin, "localhost", "/metrics", "").await?.body))
    }

    /// Waits until a metric satisfies `accept`: counters of finished requests follow the last byte.
    ///
    /// # Errors
    /// When it never does.
    pub async fn wait_metric(&self, series: &str, accept: impl Fn(f64) -> bool) -> Result<f64> {
        wait::until(&format!("{series} as expected"), DEADLINE, async || {
            let metrics = self.metrics().await.map_err(|error| error.to_string())?;
            match metrics.value(series) {
                Some(value) if accept(value) => Ok(value),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// The digest of the configuration in force.
    ///
    /// # Errors
    /// When the admin port does not answer.
    pub async fn digest(&self) -> Result<String> {
        Ok(self.snapshot().await?["digest"].as_str().unwrap_or_default().to_owned())
    }

    /// What is loaded, by `/v1/snapshot`.
    ///
    /// # Errors
    /// When the admin port does not answer with JSON.
    pub async fn snapshot(&self) -> Result<Value> {
        let response = http::get(self.admin, "localhost", "/v1/snapshot", "").await?;
        serde_json::from_str(&response.body)
            .map_err(|error| Error::Invalid(format!("/v1/snapshot: {error}: {}", response.body)))
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it does not end within the drain's 30 s and as much again.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_end(DEADLINE * 2).await
    }
}

/// One reading of `/metrics`.
#[derive(Debug, Clone)]
pub struct Metrics(
    /// The text.
    pub String,
);

impl Metrics {
    /// The value of a series, written as it is in the text: `breakwater_requests_total{resource="…",code="200"}`.
    pub fn value(&self, series: &str) -> Option<f64> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// The sum of all series whose name and labels begin with `start`.
    pub fn sum(&self, start: &str) -> f64 {
        let series = self.0.lines().filter(|line| line.starts_with(start));
        series
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_whole_name() {
        let metrics = Metrics("a_total{x=\"1\"} 3\na_total{x=\"10\"} 4\nab 5\n".to_owned());
        assert_eq!(metrics.value("a_total{x=\"1\"}"), Some(3.0));
        assert_eq!(metrics.value("a"), None);
        assert_eq!(metrics.sum("a_total{"), 7.0);
    }
}
