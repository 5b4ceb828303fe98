//! The two servers: started with the same rules, awaited until these are in force, changed, stopped.
//!
//! Invariant: a started server has refused an attack on each of its sites or routes that has rules. Left to others: how
//! each is configured (`breakwater`, `nginx`).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::client::ask;
use super::requests::Site;
use super::rules::Rules;
use super::{breakwater, nginx};
use crate::server::{pause, ports, spawn, stop, wait_until};
use crate::{Error, machine};

/// How long rules may take until they are in force: libmodsecurity reads them once for each route.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Breakwater, at this path.
    Breakwater(PathBuf),
    /// nginx with libmodsecurity, of Debian.
    Nginx,
}

impl Kind {
    /// The name in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Breakwater(_) => "breakwater",
            Self::Nginx => "nginx",
        }
    }

    /// Why it cannot be started here, if so.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        match self {
            Self::Breakwater(program) if program.is_file() => None,
            Self::Breakwater(program) => Some(format!(
                "{} is missing; build it with `cargo build --release`",
                program.display()
            )),
            Self::Nginx if machine::find("nginx").is_none() => {
                Some("nginx is not installed (Debian package nginx)".to_owned())
            }
            Self::Nginx => (!Path::new(nginx::MODULE).is_file()).then(|| {
                format!(
                    "{} is missing (Debian package libnginx-mod-http-modsecurity)",
                    nginx::MODULE
                )
            }),
        }
    }

    /// The version it states, and that of its rule engine where that is another program's.
    #[must_use]
    pub fn version(&self) -> String {
        match self {
            Self::Breakwater(program) => machine::first_line(program, &["--version"]),
            Self::Nginx => {
                let package = |name| machine::first_line("dpkg-query", &["-W", "-f", "${Package} ${Version}", name]);
                format!(
                    "{}; {}; {}",
                    machine::first_line("nginx", &["-v"]),
                    package("libnginx-mod-http-modsecurity"),
                    package("libmodsecurity3")
                )
            }
        }
    }

    /// The settings that matter, for the report.
    #[must_use]
    pub const fn settings(&self) -> &'static str {
        match self {
            Self::Breakwater(_) => breakwater::SETTINGS,
            Self::Nginx => nginx::SETTINGS,
        }
    }
}

/// What is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sites {
    /// The three hosts of [`Site`].
    Hosts,
    /// So many paths of one host, each with its own policy: the same rules, and one exclusion of its own.
    Routes(usize),
}

/// What both are started with.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// The CPU the server runs on.
    pub cpu: usize,
    /// What stands behind it.
    pub origin: SocketAddr,
    /// The rules.
    pub rules: &'a Rules,
}

/// What a configuration is written from.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    pub(super) directory: &'a Path,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) common: Common<'a>,
    pub(super) sites: Sites,
    /// What the rule of ours refuses: `?generation=` with this number. So a change can be seen from outside.
    pub(super) generation: u32,
}

impl Setup<'_> {
    pub(super) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Puts a file in its place at once: who reads it meanwhile has the old one or the new one.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let (file, new) = (self.directory.join(name), self.directory.join("new"));
        let parent = file.parent().unwrap_or(self.directory);
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &file))
            .map_err(Error::io(format!("writing {}", file.display())))
    }

    /// The rule of ours.
    pub(super) fn own_rule(&self) -> String {
        format!(
            "SecRule ARGS:generation \"@streq {}\" \"id:1000,phase:1,deny,status:403,nolog\"",
            self.generation
        )
    }
}

/// A server with rules in force.
#[derive(Debug)]
pub struct Server<'a> {
    /// What it is.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start until its rules were in force.
    pub started: Duration,
    admin: SocketAddr,
    common: Common<'a>,
    sites: Sites,
    generation: u32,
    child: Child,
    /// Removed with the server.
    directory: TempDir,
}

impl<'a> Server<'a> {
    /// Starts `kind` and returns once it refuses attacks.
    ///
    /// # Errors
    /// When it cannot be configured, ends early, or does not refuse in time.
    pub fn start(kind: &Kind, common: Common<'a>, sites: Sites) -> Result<Self, Error> {
        let directory = tempfile::tempdir().map_err(Error::io("making a directory for a server"))?;
        let ports = ports()?;
        let (address, admin) = (ports.http1, ports.admin);
        let setup = Setup {
            directory: directory.path(),
            address,
            admin,
            common,
            sites,
            generation: 0,
        };
        let arguments = match kind {
            Kind::Breakwater(program) => breakwater::command(&setup, program)?,
            Kind::Nginx => nginx::command(&setup)?,
        };
        let output = directory.path().join("output");
        let begun = Instant::now();
        let mut child = spawn(common.cpu, arguments, &output)?;
        let probes = probes(sites);
        let refuses = || {
            let status = |probe: &String| ask(address, probe.as_bytes()).map(|answer| answer.status);
            probes
                .iter()
                .all(|probe| status(probe).is_ok_and(|status| status == 403))
        };
        wait_until(refuses, kind.name(), &mut child, &output, PATIENCE)?;
        Ok(Self {
            kind: kind.clone(),
            address,
            started: begun.elapsed(),
            admin,
            common,
            sites,
            generation: 0,
            child,
            directory,
        })
    }

    /// The process whose tree is charged.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Changes the rule of ours, has the server read its files again, and returns how long it took until the new rule was
    /// in force.
    ///
    /// # Errors
    /// When it does not get there, or the rule was in force before.
    pub fn reload(&mut self) -> Result<Duration, Error> {
        self.generation += 1;
        let wrong = |why: String| Error::Server {
            server: self.kind.name().to_owned(),
            why,
        };
        let probe = request(Site::Enforce, &format!("/r0/?generation={}", self.generation));
        let status = || ask(self.address, probe.as_bytes()).map(|answer| answer.status);
        let before = status()?;
        if before != 200 {
            return Err(wrong(format!("a change was answered {before} before it was made")));
        }
        let setup = Setup {
            directory: self.directory.path(),
            address: self.address,
            admin: self.admin,
            common: self.common,
            sites: self.sites,
            generation: self.generation,
        };
        match &self.kind {
            Kind::Breakwater(_) => breakwater::write(&setup)?,
            Kind::Nginx => nginx::write(&setup)?,
        }
        let begun = Instant::now();
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.map(|pid| kill_process(pid, Signal::HUP));
        // A worker that is going away may cut a connection: that is no answer.
        while !status().is_ok_and(|status| status == 403) {
            if begun.elapsed() > PATIENCE {
                return Err(wrong(format!(
                    "a change was not in force after {} s",
                    PATIENCE.as_secs()
                )));
            }
            pause();
        }
        Ok(begun.elapsed())
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// A GET of this target.
pub(super) fn request(site: Site, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
        site.host()
    )
}

/// Requests that are refused once all rules are in force, those of the Core Rule Set and ours.
fn probes(sites: Sites) -> Vec<String> {
    let attack = "x=1%27+UNION+SELECT+password+FROM+users--+";
    match sites {
        Sites::Hosts => vec![request(Site::Enforce, &format!("/?{attack}"))],
        Sites::Routes(routes) => (0..routes)
            .map(|route| request(Site::Enforce, &format!("/r{route}/?{attack}")))
            .chain([request(Site::Enforce, "/r0/?generation=0")])
            .collect(),
    }
}
