//! The servers under the same load: what each is called, what it speaks, and how it is started.
//!
//! Invariant: each runs in the foreground with one worker or thread for requests, without an access log, and with a
//! cache that holds every object of the run in memory (nginx: in files, which the kernel keeps in memory and `sendfile`
//! sends). What a server does not offer is said, never left out.
//! Left to others: processes ([`crate::server`]); each peer's own room has its configuration.

mod ats;
mod breakwater;
mod haproxy;
mod nginx;
mod varnish;

pub(crate) use nginx::TICK as NGINX_TICK;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::certificate::Certificate;
use crate::{Error, machine};

/// How a client speaks to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1 in clear text.
    Http1,
    /// HTTP/2 in clear text, by prior knowledge.
    Http2,
    /// HTTP/1.1 over TLS 1.3.
    Tls,
}

/// What the bench knows how to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The bare epoll loop ([`crate::floor`]); the program is the bench itself.
    Floor(PathBuf),
    /// nginx, `proxy_cache`, with Debian's settings.
    Nginx,
    /// nginx with what helps the rows over HTTP/1.1 most.
    NginxTuned,
    /// HAProxy, `cache`.
    Haproxy,
    /// Varnish, malloc storage.
    Varnish,
    /// Apache Traffic Server, RAM cache.
    Ats,
    /// Breakwater, at this path.
    Breakwater(PathBuf),
}

/// The addresses a server listens on; one that speaks several protocols on one port uses that port for all.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// HTTP/1.1 in clear text.
    pub http1: SocketAddr,
    /// HTTP/2 in clear text.
    pub http2: SocketAddr,
    /// TLS.
    pub tls: SocketAddr,
    /// Breakwater's metrics and health.
    pub admin: SocketAddr,
}

/// What a cache may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// MiB of memory.
    pub memory: u64,
    /// MiB of disk behind it; without, everything lies in memory.
    pub disk: Option<u64>,
}

/// What a server is started with.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Where its files go.
    pub directory: &'a Path,
    /// Where it listens.
    pub ports: Ports,
    /// What stands behind it.
    pub origin: SocketAddr,
    /// What it shows.
    pub certificate: &'a Certificate,
    /// The objects of the run, for the floor.
    pub sizes: &'a [usize],
    /// Where files of its cache go: in memory, if [`Room::disk`] is none.
    pub cache: PathBuf,
    /// What its cache may take.
    pub room: Option<Room>,
}

impl Setup<'_> {
    /// A path in the server's directory.
    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Writes a file into the server's directory, making directories on the way, and returns its path.
    fn write(&self, name: &str, text: &str) -> Result<String, Error> {
        let file = self.directory.join(name);
        let parent = file.parent().unwrap_or(self.directory);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&file, text))
            .map_err(Error::io(format!("writing {}", file.display())))?;
        Ok(file.display().to_string())
    }

    fn make_directory(&self, name: &str) -> Result<String, Error> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).map_err(Error::io(format!("making {}", path.display())))?;
        Ok(path.display().to_string())
    }
}

impl Kind {
    /// The name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Floor(_) => "floor",
            Self::Nginx => "nginx",
            Self::NginxTuned => "nginx-tuned",
            Self::Haproxy => "haproxy",
            Self::Varnish => "varnish",
            Self::Ats => "ats",
            Self::Breakwater(_) => "breakwater",
        }
    }

    /// Why it cannot be started here, if so.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let (program, package) = match self {
            Self::Floor(_) => return None,
            Self::Breakwater(program) if program.is_file() => return None,
            Self::Breakwater(program) => {
                return Some(format!(
                    "{} is missing; build it with `cargo build --release`",
                    program.display()
                ));
            }
            Self::Nginx | Self::NginxTuned => ("nginx", "nginx-light"),
            Self::Haproxy => ("haproxy", "haproxy"),
            Self::Varnish => ("varnishd", "varnish"),
            Self::Ats => ("traffic_server", "trafficserver"),
        };
        let lacks = machine::find(program).is_none();
        lacks.then(|| format!("{program} is not installed (Debian package {package})"))
    }

    /// The version the program itself states, or why there is none.
    #[must_use]
    pub fn version(&self) -> String {
        match self {
            Self::Floor(_) => "epoll loop of this bench".to_owned(),
            Self::Nginx | Self::NginxTuned => machine::first_line("nginx", &["-v"]),
            Self::Haproxy => machine::first_line("haproxy", &["-v"]),
            Self::Varnish => machine::first_line("varnishd", &["-V"]),
            Self::Ats => machine::first_line("traffic_server", &["--version"]),
            Self::Breakwater(program) => machine::first_line(program, &["--version"]),
        }
    }

    /// The settings that matter, for the report.
    #[must_use]
    pub fn settings(&self) -> &'static str {
        match self {
            Self::Floor(_) => "fixed bytes; no lookup, no log, copies the body into the socket",
            Self::Nginx => nginx::SETTINGS,
            Self::NginxTuned => nginx::TUNED_SETTINGS,
            Self::Haproxy => haproxy::SETTINGS,
            Self::Varnish => varnish::SETTINGS,
            Self::Ats => ats::SETTINGS,
            Self::Breakwater(_) => breakwater::SETTINGS,
        }
    }

    /// The same where its cache has a limit ([`Room`]).
    #[must_use]
    pub fn settings_in_room(&self) -> &'static str {
        match self {
            Self::Nginx => nginx::ROOM_SETTINGS,
            Self::NginxTuned => nginx::TUNED_ROOM_SETTINGS,
            Self::Haproxy => haproxy::ROOM_SETTINGS,
            Self::Varnish => varnish::ROOM_SETTINGS,
            Self::Ats => ats::ROOM_SETTINGS,
            Self::Floor(_) | Self::Breakwater(_) => self.settings(),
        }
    }

    /// Where it speaks `protocol`, or why it does not.
    ///
    /// # Errors
    /// The reason, for the report.
    pub fn address(&self, protocol: Protocol, ports: &Ports) -> Result<SocketAddr, &'static str> {
        match (protocol, self) {
            (Protocol::Http1, _) => Ok(ports.http1),
            (_, Self::Floor(_)) => Err("the floor speaks HTTP/1.1 in clear text only"),
            (_, Self::NginxTuned) => Err("its tuning is for HTTP/1.1 in clear text; see nginx"),
            (Protocol::Tls, Self::Varnish) => Err("it has no TLS"),
            // These two tell HTTP/2 by its preface.
            (Protocol::Http2, Self::Varnish | Self::Ats | Self::Breakwater(_)) => Ok(ports.http1),
            (Protocol::Http2, _) => Ok(ports.http2),
            (Protocol::Tls, _) => Ok(ports.tls),
        }
    }

    /// The header, and how its value starts, by which it says that an answer is a hit.
    #[must_use]
    pub fn hit(&self) -> Option<(&'static str, &'static str)> {
        matches!(self, Self::Breakwater(_)).then_some(("Cache-Status", "breakwater; hit"))
    }

    /// Whether what it stores lies in files, so that without a disk they are put into memory.
    #[must_use]
    pub fn keeps_files(&self) -> bool {
        matches!(self, Self::Nginx | Self::NginxTuned | Self::Ats)
    }

    /// Whether an origin stands behind it.
    #[must_use]
    pub fn caches(&self) -> bool {
        !matches!(self, Self::Floor(_))
    }

    /// Writes its configuration and returns the command line.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn command(&self, setup: &Setup<'_>) -> Result<Vec<String>, Error> {
        match self {
            Self::Floor(program) => {
                let mut command = vec![
                    program.display().to_string(),
                    "floor".to_owned(),
                    setup.ports.http1.to_string(),
                ];
                command.extend(setup.sizes.iter().map(ToString::to_string));
                Ok(command)
            }
            Self::Nginx => nginx::command(setup, false),
            Self::NginxTuned => nginx::command(setup, true),
            Self::Haproxy => haproxy::command(setup),
            Self::Varnish => varnish::command(setup),
            Self::Ats => ats::command(setup),
            Self::Breakwater(program) => breakwater::command(setup, program),
        }
    }
}

/// Words of a command line.
fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_has_a_reason() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let ports = Ports {
            http1: address,
            http2: address,
            tls: address,
            admin: address,
        };
        assert!(Kind::Varnish.address(Protocol::Tls, &ports).is_err());
        assert!(Kind::Floor(PathBuf::new()).address(Protocol::Http2, &ports).is_err());
        assert!(Kind::Nginx.address(Protocol::Tls, &ports).is_ok());
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let kind = Kind::Breakwater(PathBuf::from("no/such/breakwater"));
        assert!(kind.missing().is_some_and(|why| why.contains("no/such/breakwater")));
    }
}
