//! The cgroups of a run's nodes: `/bwNUMBERnINDEX` in every hierarchy. Several kubelets on one
//! kernel need a root of their own each, made before they start.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{Error, Result, error::Context};

const ROOT: &str = "/sys/fs/cgroup";

/// The kernel frees a cgroup some moments after its last process.
const RETRY: Duration = Duration::from_millis(20);

/// The name of a node's cgroup.
pub(super) fn name(number: u8, node: u8) -> String {
    format!("bw{number}n{node}")
}

/// Makes the cgroup `name` in every hierarchy.
pub(super) fn create(name: &str) -> Result<()> {
    let hierarchies = hierarchies()?;
    if hierarchies.is_empty() {
        return Err(Error::Invalid(format!("no cgroup hierarchy is mounted under {ROOT}")));
    }
    for hierarchy in hierarchies {
        let path = hierarchy.join(name);
        if !path.exists() {
            fs::create_dir(&path).context(|| format!("create the cgroup {}", path.display()))?;
        }
        // Version 1: a new cpuset is empty and takes no process until both are set.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.join("cgroup.clone_children").exists() && hierarchy.join(file).exists() {
                let value = fs::read_to_string(hierarchy.join(file)).context(|| format!("read {file}"))?;
                fs::write(path.join(file), value.trim()).context(|| format!("write {file} of {name}"))?;
            }
        }
        // Version 2: children get the controllers their parent passes on.
        if let Ok(controllers) = fs::read_to_string(hierarchy.join("cgroup.controllers")) {
            for parent in [&hierarchy, &path] {
                for controller in controllers.split_whitespace() {
                    // A controller the kernel does not let down is missed by the kubelet, which names it.
                    let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
                }
            }
        }
    }
    Ok(())
}

/// Removes the cgroups of all nodes of run `number`, from the leaves up. Their processes are gone
/// or about to be.
pub(super) fn remove(number: u8, deadline: Instant) -> Result<()> {
    let prefix = format!("bw{number}n");
    for hierarchy in hierarchies()? {
        for entry in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
            let ours = entry
                .file_name()
                .to_str()
                .and_then(|name| name.strip_prefix(&prefix))
                .is_some_and(|index| index.len() == 1 && index.bytes().all(|byte| byte.is_ascii_digit()));
            if ours {
                remove_tree(&entry.path(), deadline)?;
            }
        }
    }
    Ok(())
}

fn remove_tree(path: &Path, deadline: Instant) -> Result<()> {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "runs in drop, where no runtime is; between attempts"
                )]
                std::thread::sleep(RETRY);
            }
            Err(error) => return Err(error).context(|| format!("remove the cgroup {}", path.display())),
        }
    }
}

/// Where the hierarchies are mounted: one for version 2, one for each controller of version 1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context(|| "read the mount table".to_owned())?;
    Ok(table.lines().filter_map(hierarchy).collect())
}

fn hierarchy(line: &str) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    let point = Path::new(mount.split(' ').nth(4)?);
    (kind.starts_with("cgroup") && point.starts_with(ROOT)).then(|| point.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cgroup_mounts_are_hierarchies() {
        let v1 = "33 29 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        assert_eq!(hierarchy(v1), Some(PathBuf::from("/sys/fs/cgroup/memory")));
        let v2 = "33 29 0:30 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw";
        assert_eq!(hierarchy(v2), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(
            hierarchy("29 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755"),
            None
        );
    }
}
