//! What a figure depends on besides the program: the machine, how busy it was, and the commit.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fmt, fs};

use crate::Error;

/// The machine and the tree that a run was made on.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Machine {
    /// CPU model.
    pub cpu: String,
    /// Number of CPUs the bench may use.
    pub cpus: usize,
    /// Kernel release.
    pub kernel: String,
    /// The one-minute load average before the run started: above 0.5 the figures have company.
    pub load_before: f64,
    /// The commit, with `-dirty` when files differed from it.
    pub commit: String,
    /// The load generators' versions.
    pub generators: String,
}

impl Machine {
    /// Reads all of it. What cannot be read is "unknown", never guessed.
    #[must_use]
    pub fn read() -> Self {
        let unknown = || "unknown".to_owned();
        let file = |path| fs::read_to_string(path).unwrap_or_default();
        let model = file("/proc/cpuinfo").lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        Self {
            cpu: model.unwrap_or_else(unknown),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: file("/proc/loadavg")
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(f64::NAN),
            commit: first_line(
                "git",
                &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            ),
            generators: format!(
                "{}; {}",
                first_line("wrk", &["-v"]),
                first_line("h2load", &["--version"])
            ),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            commit,
            cpu,
            cpus,
            kernel,
            load_before,
            generators: _,
        } = self;
        write!(
            f,
            "commit {commit}; {cpu}, {cpus} CPUs, Linux {kernel}; load average before the run {load_before:.2}"
        )
    }
}

/// Keeps the calling thread on this CPU, where the machine has it.
pub fn pin(cpu: usize) {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    // Without it the figures are noisier, not wrong.
    let _noisier = rustix::thread::sched_setaffinity(None, &cpus);
}

/// The first line a program prints, or why there is none.
#[must_use]
pub fn first_line(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    let text = output(program, arguments);
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

/// What a program prints, to standard output or else to standard error; why it could not be run.
#[must_use]
pub fn output(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    match Command::new(program.as_ref()).args(arguments).output() {
        Ok(output) => {
            let text = if output.stdout.is_empty() {
                output.stderr
            } else {
                output.stdout
            };
            String::from_utf8_lossy(&text).into_owned()
        }
        Err(error) => format!("unknown ({error})"),
    }
}

/// Where a program is, if it is installed.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Fails when a program the run needs is missing.
///
/// # Errors
/// [`Error::Missing`] with the package that brings it.
pub fn require(tool: &'static str, how: &'static str) -> Result<(), Error> {
    match find(tool) {
        Some(_) => Ok(()),
        None => Err(Error::Missing { tool, how }),
    }
}

/// Raises the limit on open files as far as the system allows, for the bench and the servers it starts.
///
/// # Errors
/// When fewer than `need` may be open.
pub fn open_files(need: u64) -> Result<(), Error> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let refused = |source: std::io::Error| Error::Io {
        what: format!("allowing {need} open files"),
        source,
    };
    if limit.maximum.is_some_and(|maximum| maximum < need) {
        return Err(refused(std::io::Error::other(format!(
            "the hard limit is {:?}; raise it or use --idle",
            limit.maximum
        ))));
    }
    let current = limit.maximum.or(Some(need));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current,
            maximum: limit.maximum,
        },
    )
    .map_err(|error| refused(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_the_way_to_get_it() {
        let error = require("no-such-program", "install it").expect_err("missing");
        assert_eq!(error.to_string(), "no-such-program is not on this machine: install it");
        assert!(first_line("no-such-program", &[]).starts_with("unknown"));
    }
}
