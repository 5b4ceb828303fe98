//! What the kernel charged to a process tree: CPU time and resident memory.
//!
//! Invariant: a server's workers count with their parent, however they were forked. A descendant that ended before
//! it was read is missed; the servers measured here keep their workers for the length of a run.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Sub;

use crate::Error;

/// CPU time in seconds. The kernel reports it in clock ticks (10 ms on Linux), so take differences over a second or more.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// Seconds in user mode.
    pub user: f64,
    /// Seconds in the kernel.
    pub system: f64,
}

impl Cpu {
    /// User and kernel together, in seconds.
    #[must_use]
    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }
}

/// The CPU time of process `root` and its living descendants.
///
/// # Errors
/// When `root` is gone or /proc cannot be read.
pub fn cpu(root: u32) -> Result<Cpu, Error> {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut sum = Cpu::default();
    for (_, stat) in tree(root)? {
        sum.user += stat.user_ticks as f64 / ticks_per_second;
        sum.system += stat.system_ticks as f64 / ticks_per_second;
    }
    Ok(sum)
}

/// The resident memory, in bytes, of process `root` and its living descendants. Shared pages count once for each
/// process, which cancels out in a difference.
///
/// # Errors
/// When `root` is gone or /proc cannot be read.
pub fn resident(root: u32) -> Result<u64, Error> {
    let page = rustix::param::page_size() as u64;
    Ok(tree(root)?.values().map(|stat| stat.resident_pages * page).sum())
}

/// The memory, in bytes, of process `root` and its living descendants, a page that several have mapped divided among them
/// (`Pss` of /proc/PID/smaps_rollup).
///
/// # Errors
/// When `root` is gone or may not be read.
pub fn proportional(root: u32) -> Result<u64, Error> {
    let mut sum = 0;
    for pid in tree(root)?.into_keys() {
        match fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
            Ok(rollup) => sum += kibibytes(&rollup, "Pss:").unwrap_or(0),
            Err(error) if pid == root => return Err(Error::io(format!("reading the memory of process {pid}"))(error)),
            // It has ended since.
            Err(_) => {}
        }
    }
    Ok(sum)
}

/// The most memory that was ever resident in process `pid`, in bytes.
///
/// # Errors
/// When it is gone.
pub fn peak(pid: u32) -> Result<u64, Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(Error::io(format!("reading the memory of process {pid}")))?;
    kibibytes(&status, "VmHWM:").ok_or_else(|| Error::Server {
        server: format!("process {pid}"),
        why: "it is gone".to_owned(),
    })
}

/// A line of /proc/PID/status or smaps_rollup (proc(5)), which are in KiB, in bytes; a process that has ended has none.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The fields of /proc/PID/stat that the bench reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    user_ticks: u64,
    system_ticks: u64,
    resident_pages: u64,
}

fn tree(root: u32) -> Result<BTreeMap<u32, Stat>, Error> {
    let mut all = BTreeMap::new();
    let entries = fs::read_dir("/proc").map_err(Error::io("reading /proc"))?;
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end between the listing and the read: it is then not part of the tree.
        let Ok(line) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if let Some(stat) = parse(&line) {
            all.insert(pid, stat);
        }
    }
    let Some(stat) = all.get(&root) else {
        return Err(Error::Server {
            server: format!("process {root}"),
            why: "it is gone".to_owned(),
        });
    };
    let mut found = BTreeMap::from([(root, *stat)]);
    loop {
        let before = found.len();
        for (pid, stat) in &all {
            if found.contains_key(&stat.parent) {
                found.insert(*pid, *stat);
            }
        }
        if found.len() == before {
            return Ok(found);
        }
    }
}

/// Reads one line of /proc/PID/stat (proc_pid_stat(5)). The second field is the command in parentheses and may itself
/// hold spaces and parentheses, so fields are counted from the last `)`.
fn parse(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `fields[0]` is field 3 (state) of the manual page.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(field(4)?).ok()?,
        user_ticks: field(14)?,
        system_ticks: field(15)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "42 (a) b) S 7 42 42 0 -1 4194560 1 0 0 0 120 30 0 0 20 0 1 0 9 5000000 640 1844 1 1 0 0 0";

    #[test]
    fn a_command_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let want = Stat {
            parent: 7,
            user_ticks: 120,
            system_ticks: 30,
            resident_pages: 640,
        };
        assert_eq!(parse(LINE), Some(want));
    }

    #[test]
    fn a_cut_line_is_no_figure() {
        assert_eq!(parse("42 (nginx) S 7 42"), None);
        assert_eq!(parse(""), None);
        assert_eq!(
            kibibytes("VmPeak:\t  9 kB\nVmHWM:\t     640 kB\n", "VmHWM:"),
            Some(640 << 10)
        );
        assert_eq!(kibibytes("Name:\tx\n", "VmHWM:"), None);
    }

    #[test]
    fn this_process_has_memory_and_its_cpu_time_never_goes_back() {
        let before = cpu(std::process::id()).expect("own CPU time");
        let after = cpu(std::process::id()).expect("own CPU time");
        assert!(after.total() >= before.total());
        let resident = resident(std::process::id()).expect("own memory");
        assert!(resident > 0);
        assert!(proportional(std::process::id()).expect("own memory") > 0);
        assert!(peak(std::process::id()).expect("own memory") >= resident / 2);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().expect("spawn");
        let pid = child.id();
        child.wait().expect("wait");
        assert!(cpu(pid).is_err());
    }
}
