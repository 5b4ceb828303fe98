//! The memory ceiling: what this process may use, what it uses, and what follows.
//!
//! The ceiling is the limit of the control group (v2 or v1), or what the operator says. Close to it the cache gives
//! memory back, so that a process that stores too much serves on with less; closer still, what would take more memory is
//! refused: new connections, and requests that need an origin. What is stored is served, and what is in progress goes on.

use std::fs;
use std::path::{Path, PathBuf};

use crate::worker::Pressure;

/// The limit of the control group this process is in, or of one above it; none if there is none.
pub fn cgroup_memory_limit() -> Option<u64> {
    Cgroup::of_this_process(Path::new("/")).limit()
}

/// A number of v1 that means none: the largest multiple of a page.
const V1_NONE: u64 = 1 << 62;

/// Where the control group's files may be, from the process's own group to the root.
#[derive(Debug, Default)]
struct Cgroup {
    v2: Vec<PathBuf>,
    v1: Vec<PathBuf>,
}

impl Cgroup {
    fn of_this_process(root: &Path) -> Self {
        let lines = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mut found = Self::default();
        for line in lines.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            if controllers.is_empty() {
                found.v2 = with_parents(&root.join("sys/fs/cgroup"), path);
            } else if controllers.split(',').any(|controller| controller == "memory") {
                found.v1 = with_parents(&root.join("sys/fs/cgroup/memory"), path);
            }
        }
        found
    }

    fn limit(&self) -> Option<u64> {
        let v2 = self.v2.iter().filter_map(|group| number(&group.join("memory.max")));
        let v1 = self
            .v1
            .iter()
            .filter_map(|group| number(&group.join("memory.limit_in_bytes")));
        v2.chain(v1.filter(|limit| *limit < V1_NONE)).min()
    }
}

/// The group and those above it. In a container the group's path may be of the host, and the root be the group.
fn with_parents(mount: &Path, path: &str) -> Vec<PathBuf> {
    let group = mount.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|at| at.starts_with(mount))
        .map(Path::to_owned)
        .collect()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Bytes of physical memory this process has, its files' pages left out: the kernel takes those back when it must.
pub(crate) fn used() -> Option<u64> {
    used_of(
        &fs::read_to_string("/proc/self/statm").ok()?,
        rustix::param::page_size() as u64,
    )
}

fn used_of(statm: &str, page: u64) -> Option<u64> {
    let mut numbers = statm.split_ascii_whitespace().map(str::parse::<u64>);
    let resident = numbers.nth(1)?.ok()?;
    let shared = numbers.next()?.ok()?;
    resident.saturating_sub(shared).checked_mul(page)
}

/// What the use of memory asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// The cache may have what it was given again.
    Roomy,
    /// The cache gives memory back.
    Shrink,
    /// That, and what takes more memory is refused.
    Refuse,
}

/// Judges the use of memory. `refusing`: whether something is refused now, which ends only when there is some room.
pub(crate) fn evaluate(used: u64, limit: u64, refusing: bool) -> Verdict {
    let percent = |n: u64| limit / 100 * n;
    if used >= percent(95) || refusing && used >= percent(90) {
        Verdict::Refuse
    } else if used >= percent(90) {
        Verdict::Shrink
    } else if used >= percent(80) {
        Verdict::Fine
    } else {
        Verdict::Roomy
    }
}

impl Verdict {
    /// What the cache may store next, of what it was given, `most`, when it may store `now` and stores `stored`.
    pub(crate) fn cache_limit(self, most: u64, now: u64, stored: u64) -> u64 {
        match self {
            Self::Fine => now,
            Self::Roomy => now.saturating_add(most / 8).min(most),
            // A sixteenth is kept: it costs little, and the hottest of all is in it.
            Self::Shrink | Self::Refuse => (stored.min(now) / 8 * 7).max(most / 16).min(now),
        }
    }

    pub(crate) const fn pressure(self) -> Pressure {
        match self {
            Self::Refuse => Pressure::Misses,
            _ => Pressure::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MI: u64 = 1 << 20;

    #[test]
    fn the_closer_the_ceiling_the_more_is_given_up() {
        let verdicts = [0, 79, 80, 89, 90, 94, 95, 200].map(|percent| evaluate(percent * MI, 100 * MI, false));
        use Verdict::{Fine, Refuse, Roomy, Shrink};
        assert_eq!(verdicts, [Roomy, Roomy, Fine, Fine, Shrink, Shrink, Refuse, Refuse]);
    }

    #[test]
    fn refusing_ends_only_with_some_room() {
        assert_eq!(evaluate(92 * MI, 100 * MI, true), Verdict::Refuse);
        assert_eq!(evaluate(89 * MI, 100 * MI, true), Verdict::Fine);
    }

    #[test]
    fn the_cache_shrinks_while_there_is_too_little_and_grows_back_to_what_it_was_given() {
        let mut limit = 80 * MI;
        for _ in 0..3 {
            let next = Verdict::Shrink.cache_limit(80 * MI, limit, limit);
            assert!(next < limit);
            limit = next;
        }
        assert_eq!(Verdict::Fine.cache_limit(80 * MI, limit, 0), limit);
        for _ in 0..8 {
            limit = Verdict::Roomy.cache_limit(80 * MI, limit, 0);
        }
        assert_eq!(limit, 80 * MI);
    }

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn limit(files: &[(&str, &str)]) -> Option<u64> {
        Cgroup::of_this_process(root(files).path()).limit()
    }

    #[test]
    fn the_lowest_limit_of_the_group_and_those_above_it_counts() {
        let group = ("proc/self/cgroup", "0::/pod/box\n");
        assert_eq!(
            limit(&[
                group,
                ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
                ("sys/fs/cgroup/pod/memory.max", "1048576\n"),
            ]),
            Some(MI)
        );
        assert_eq!(limit(&[group, ("sys/fs/cgroup/pod/box/memory.max", "max\n")]), None);
    }

    #[test]
    fn in_a_container_the_root_is_the_group() {
        let files = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "2097152\n"),
        ];
        assert_eq!(limit(&files), Some(2 * MI));
        let files = [
            ("proc/self/cgroup", "4:cpu,memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3145728\n"),
        ];
        assert_eq!(limit(&files), Some(3 * MI));
    }

    #[test]
    fn a_v1_group_without_limit_has_none() {
        let files = [
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(limit(&files), None);
    }

    #[test]
    fn pages_of_files_are_not_counted() {
        assert_eq!(used_of("1000 300 100 5 0 200 0\n", 4096), Some(200 * 4096));
        assert_eq!(used_of("", 4096), None);
        assert!(used().is_some_and(|bytes| bytes > 0));
    }
}
