//! nginx and HAProxy as plain reverse proxies before an origin, each in a directory of its own.
//!
//! Invariant: each is one process, so that killing it leaves none behind. They have their defaults as far as reading goes; what is set is where they listen, that
//! connections to the origin are kept (a request smuggled behind another shows only there), and short client timeouts,
//! so that a peer which waits for more says so soon.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Result, breakwater::DEADLINE, command, error::Context, process::Process, wait};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx, `proxy_pass`.
    Nginx,
    /// HAProxy, `mode http`.
    Haproxy,
}

impl Kind {
    /// The name of the program, and of its package's binary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    /// Where it is installed, if it is.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian puts both where users other than root do not look.
        let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        places.map(|place| place.join(self.name())).find(|file| file.is_file())
    }

    fn configuration(self, directory: &Path, listen: SocketAddr, origin: SocketAddr) -> String {
        let d = directory.display();
        match self {
            Self::Nginx => format!(
                "daemon off;\nmaster_process off;\nuser root;\nworker_processes 1;\npid {d}/pid;\nerror_log stderr warn;\nevents {{}}\nhttp {{\n\
                 access_log off;\nclient_header_timeout 1s;\nclient_body_timeout 1s;\n\
                 client_body_temp_path {d}/body;\nproxy_temp_path {d}/proxy;\nfastcgi_temp_path {d}/fastcgi;\n\
                 uwsgi_temp_path {d}/uwsgi;\nscgi_temp_path {d}/scgi;\n\
                 upstream origin {{ server {origin}; keepalive 8; }}\n\
                 server {{ listen {listen}; location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
                 proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}\n}}\n"
            ),
            Self::Haproxy => format!(
                "global\n  nbthread 1\ndefaults\n  mode http\n  http-reuse always\n  timeout connect 5s\n\
                 \x20 timeout client 1s\n  timeout http-request 1s\n  timeout server 30s\n\
                 frontend front\n  bind {listen}\n  default_backend origin\n\
                 backend origin\n  server origin {origin}\n"
            ),
        }
    }
}

/// A running peer; it ends when this is dropped.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says about its version.
    pub version: String,
    _process: Process,
    _directory: TempDir,
}

impl Peer {
    /// Starts `program` before `origin` and waits until it listens.
    ///
    /// # Errors
    /// When it does not start, with the end of its output.
    pub async fn start(kind: Kind, program: &Path, origin: SocketAddr) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("breakwater-peer-")
            .tempdir()
            .context(|| "make a directory".to_owned())?;
        let address = free()?;
        let file = directory.path().join("configuration");
        std::fs::write(&file, kind.configuration(directory.path(), address, origin))
            .context(|| format!("write {}", file.display()))?;
        let mut start = Command::new(program);
        match kind {
            Kind::Nginx => start.arg("-p").arg(directory.path()).arg("-c").arg(&file),
            Kind::Haproxy => start.arg("-db").arg("-f").arg(&file),
        };
        let mut process = Process::spawn(kind.name(), start, &directory.path().join("log"))?;
        let mut ended = None;
        wait::until(&format!("{} to listen", kind.name()), DEADLINE, async || {
            if let Err(error) = process.check_running() {
                ended = Some(error);
                return Ok(());
            }
            TcpStream::connect(address)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await?;
        ended.map_or(Ok(()), Err)?;
        let mut version = Command::new(program);
        version.arg("-v");
        let said = command::output(version, "", command::DEADLINE).await?;
        let said = if said.stdout.is_empty() {
            said.stderr
        } else {
            said.stdout
        };
        Ok(Self {
            address,
            version: String::from_utf8_lossy(&said)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
            _process: process,
            _directory: directory,
        })
    }
}

/// A port that was free a moment ago.
fn free() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .context(|| "look for a free port".to_owned())
}
