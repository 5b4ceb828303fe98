//! The directory of one run, and its removal with everything that was started from it.
//!
//! Invariant: what a run leaves on the machine outside its directory can be found from the
//! directory alone: process ids are recorded in it, and the run's number (the end of the
//! directory's name) names its interface, cgroups and addresses. So a run whose owner was killed
//! is removed like one whose guard was dropped.

use std::{
    fs,
    io::Write,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{build, cgroup, network};
use crate::{Error, Result, command, error::Context};

const PREFIX: &str = "breakwater-e2e-";

/// Numbers a run may have: the second part of its addresses, `10.NUMBER.0.0/16`. The low ones are
/// what people use by hand.
const NUMBERS: std::ops::RangeInclusive<u8> = 64..=250;

/// Set to keep the logs of every run; those of a test that panics are kept in any case.
const KEEP_LOGS: &str = "BREAKWATER_KEEP_LOGS";

/// The end of the names of recorded processes whose child is a namespace's first process.
pub(super) const PARENT: &str = "-parent";

/// How long such a parent may take to reap that child.
const ORPHANED: Duration = Duration::from_secs(2);

/// How long killed processes and their namespaces may take to be gone.
const GONE: Duration = Duration::from_secs(20);

/// A claimed run directory. Dropping it removes the run.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    number: u8,
}

impl RunDir {
    /// Removes runs whose owner is dead, then claims a free number by making its directory.
    ///
    /// # Errors
    /// When no number is free or the directory cannot be made.
    pub fn claim() -> Result<Self> {
        let parent = parent()?;
        for stale in abandoned(&parent) {
            // What cannot be removed keeps its number; the next is taken.
            let _ = remove(&stale);
        }
        for number in NUMBERS {
            let path = parent.join(format!("{PREFIX}{number}"));
            if network::is_taken(number) {
                continue;
            }
            // Tokens and keys are in it: for the owner only.
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {
                    let run = Self { path, number };
                    run.record("owner", std::process::id())?;
                    return Ok(run);
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).context(|| format!("create {}", path.display())),
            }
        }
        Err(Error::Invalid(format!(
            "no free run number: all of 10.{}.0.0/16 to 10.{}.0.0/16 are in use; see `cluster down`",
            NUMBERS.start(),
            NUMBERS.end()
        )))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number that no other run on this machine has.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory in it, with its parents.
    pub(crate) fn make_directory(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.join(name);
        fs::create_dir_all(&path).context(|| format!("create {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file in it and returns its path.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: &str) -> Result<PathBuf> {
        let path = self.join(name);
        fs::write(&path, content).context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Copies the logs to where a failed test's reader finds them after the run is removed.
    fn keep_logs(&self) {
        let directory = build::root().join("logs").join(self.number.to_string());
        let entries = fs::read_dir(&self.path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        // The test has failed already: a log that cannot be copied must not hide why.
        let _ = fs::remove_dir_all(&directory);
        let _ = fs::create_dir_all(&directory);
        for log in entries.filter(|path| path.extension().is_some_and(|kind| kind == "log")) {
            let _ = fs::copy(&log, directory.join(log.file_name().unwrap_or_default()));
        }
        let _ = writeln!(std::io::stderr(), "logs of the cluster: {}", directory.display());
    }

    /// Notes a process that is to be killed when the run is removed.
    pub(crate) fn record(&self, name: &str, pid: u32) -> Result<()> {
        let started = start_time(pid).ok_or_else(|| Error::Invalid(format!("{name} (process {pid}) ended at once")))?;
        self.make_directory("pids")?;
        self.write(format!("pids/{name}"), &format!("{pid} {started}\n"))
            .map(drop)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os(KEEP_LOGS).is_some() {
            self.keep_logs();
        }
        if let Err(error) = remove(&self.path) {
            // A guard cannot return an error, and must not panic during a panic.
            let _ = writeln!(std::io::stderr(), "{}: {error}", self.path.display());
        }
    }
}

/// The run directories on this machine, with whether their owner still lives.
///
/// # Errors
/// When the directory for temporary files cannot be found.
pub fn list() -> Result<Vec<(PathBuf, bool)>> {
    let runs = runs(&parent()?);
    Ok(runs
        .into_iter()
        .map(|run| {
            let alive = owner_lives(&run);
            (run, alive)
        })
        .collect())
}

/// Stops everything started from `path` and removes it: processes, interface, cgroups, mounts, and
/// the directory itself.
///
/// # Errors
/// When `path` is no run directory, or something of it cannot be removed; the rest is.
pub fn remove(path: &Path) -> Result<()> {
    let number = number(path).ok_or_else(|| {
        Error::Invalid(format!(
            "{} is no run directory: its name is not {PREFIX}NUMBER",
            path.display()
        ))
    })?;
    if !is_mine(path) {
        return Err(Error::Invalid(format!(
            "{} is not there, or belongs to another user",
            path.display()
        )));
    }
    let mut problems = Vec::new();
    let mut note = |result: Result<()>| problems.extend(result.err().map(|error| error.to_string()));
    let deadline = Instant::now() + GONE;

    note(kill_all(path, deadline));
    note(network::remove(number));
    note(cgroup::remove(number, deadline));
    note(unmount_below(path));
    note(fs::remove_dir_all(path).context(|| format!("remove {}", path.display())));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(problems.join("; ")))
    }
}

/// Kills every recorded process that still is the one recorded, and awaits their ends.
///
/// Parents of a namespace's first process come last: they end by themselves once they have reaped
/// it, and only a parent without its child needs killing.
fn kill_all(path: &Path, deadline: Instant) -> Result<()> {
    let alive = recorded(path).into_iter().filter(|(name, _)| name != "owner");
    let (parents, others): (Vec<_>, Vec<_>) = alive.partition(|(name, _)| name.ends_with(PARENT));
    // A file descriptor of a process cannot come to mean another one.
    let open = |list: Vec<(String, Pid)>| -> Vec<(String, OwnedFd)> {
        let open = |(name, pid): (String, Pid)| Some((name, pidfd_open(pid, PidfdFlags::empty()).ok()?));
        list.into_iter().filter_map(open).collect()
    };
    let (parents, others) = (open(parents), open(others));
    for (_, descriptor) in &others {
        // Fails for one that has ended meanwhile.
        let _ = pidfd_send_signal(descriptor, Signal::KILL);
    }
    for (name, descriptor) in &others {
        if !ends(descriptor, deadline)? {
            return Err(Error::Invalid(format!("{name} does not end, though killed")));
        }
    }
    for (name, descriptor) in &parents {
        if !ends(descriptor, Instant::now() + ORPHANED)? {
            let _ = pidfd_send_signal(descriptor, Signal::KILL);
            if !ends(descriptor, deadline)? {
                return Err(Error::Invalid(format!("{name} does not end, though killed")));
            }
        }
    }
    Ok(())
}

/// Awaits the end of a process; false when `deadline` is first.
fn ends(descriptor: &OwnedFd, deadline: Instant) -> Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    let ready = poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&timeout));
    ready
        .map(|ready| ready > 0)
        .context(|| "await the end of a process".to_owned())
}

/// The recorded processes that are alive.
fn recorded(path: &Path) -> Vec<(String, Pid)> {
    let mut list = Vec::new();
    for entry in fs::read_dir(path.join("pids")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let mut words = text.split_whitespace();
        let (Some(pid), Some(started)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(pid) = pid.parse::<u32>() else { continue };
        if start_time(pid).as_deref() == Some(started)
            && let Some(pid) = Pid::from_raw(pid.cast_signed())
        {
            list.push((entry.file_name().to_string_lossy().into_owned(), pid));
        }
    }
    list
}

/// When a process started, in clock ticks since boot: with the id, its identity. None once it has
/// ended, also while it waits to be reaped.
pub(crate) fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if fields.next() == Some("Z") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// Mounts of a node are in its own mount namespace and gone with it; this finds those made by hand.
fn unmount_below(path: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context(|| "read the mount table".to_owned())?;
    let below = |point: &&str| Path::new(point).starts_with(path);
    let mut points: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(below)
        .collect();
    points.reverse();
    for point in points {
        let mut umount = command::words("umount --lazy");
        umount.arg(point);
        command::run_now(umount)?;
    }
    Ok(())
}

fn abandoned(parent: &Path) -> Vec<PathBuf> {
    // Without a record its owner may be just about to write it: leave that to `cluster down`.
    let recorded = |run: &PathBuf| run.join("pids/owner").exists();
    runs(parent)
        .into_iter()
        .filter(recorded)
        .filter(|run| !owner_lives(run))
        .collect()
}

fn owner_lives(run: &Path) -> bool {
    recorded(run).iter().any(|(name, _)| name == "owner")
}

/// Where anyone may make directories, a record is believed only in a directory of this user: it
/// names processes to kill.
fn is_mine(path: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == user)
}

fn runs(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| number(path).is_some() && is_mine(path))
        .collect()
}

fn number(path: &Path) -> Option<u8> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix(PREFIX)?
        .parse()
        .ok()
        .filter(|number| NUMBERS.contains(number))
}

fn parent() -> Result<PathBuf> {
    let path = std::env::temp_dir();
    path.canonicalize().context(|| format!("resolve {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_directory_of_another_name_is_never_removed() {
        for name in [
            "/",
            "/tmp",
            "/tmp/breakwater-e2e-",
            "/tmp/breakwater-e2e-1",
            "/tmp/breakwater-e2e-300",
        ] {
            assert!(remove(Path::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_link_to_a_directory_is_no_run() {
        let run = RunDir::claim().expect("a number is free");
        let elsewhere = std::env::temp_dir().join(format!("breakwater-link-{}", std::process::id()));
        fs::create_dir(&elsewhere).expect("the name is ours");
        let link = elsewhere.join(format!("{PREFIX}64"));
        std::os::unix::fs::symlink(run.path(), &link).expect("the name is ours");
        assert!(remove(&link).is_err());
        assert!(run.path().exists());
        fs::remove_dir_all(&elsewhere).expect("it is ours");
    }

    #[test]
    fn dropping_a_run_kills_what_it_recorded_and_removes_it() {
        let run = RunDir::claim().expect("a number is free");
        let path = run.path().to_owned();
        let mut child = Command::new("sleep").arg("600").spawn().expect("sleep starts");
        run.record("sleeper", child.id()).expect("it runs");
        drop(run);
        assert!(!path.exists());
        assert!(!child.wait().expect("it is our child").success());
    }

    #[test]
    fn an_id_that_now_means_another_process_is_left_alone() {
        let run = RunDir::claim().expect("a number is free");
        let mut child = Command::new("sleep").arg("600").spawn().expect("sleep starts");
        run.write("pids/sleeper", &format!("{} 1\n", child.id()))
            .expect("the directory is ours");
        drop(run);
        assert!(child.try_wait().expect("it is our child").is_none());
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }
}
