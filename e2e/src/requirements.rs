//! What this machine must have, and what of it is missing. A test that cannot run says so in
//! these words and fails; only the runner may turn that into a skip that it counts.

use std::{fmt, io::Write, path::Path};

use crate::{Error, Result, cluster::build, command};

/// Set by a runner that counts and reports the skip: cluster tests then return at once.
pub const SKIP_VARIABLE: &str = "BREAKWATER_SKIP_CLUSTER";

/// How much of a cluster is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ring {
    /// etcd and kube-apiserver: ring a.
    ControlPlane,
    /// The same with nodes that run pods: ring b.
    Nodes,
}

/// One thing this machine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The program, right or kernel feature.
    pub what: String,
    /// How to get it: a Debian package or an action.
    pub remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}: {}", self.what, self.remedy)
    }
}

/// Programs on the `PATH` and the Debian packages that hold them.
const CONTROL_PLANE_PROGRAMS: &[(&str, &str)] = &[("etcd", "etcd-server"), ("openssl", "openssl")];
const NODE_PROGRAMS: &[(&str, &str)] = &[
    ("buildah", "buildah"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("runc", "runc"),
    ("unshare", "util-linux"),
];
const CNI_PLUGINS: &[&str] = &["host-local", "loopback", "portmap", "ptp"];
/// Where Debian and the upstream release put CNI plugins.
const CNI_DIRECTORIES: &[&str] = &["/usr/lib/cni", "/opt/cni/bin"];
const CGROUP_CONTROLLERS: &[&str] = &["cpu", "cpuset", "memory", "pids"];

/// Everything that keeps `ring` from running here; empty when it can run.
pub fn missing(ring: Ring) -> Vec<Missing> {
    let mut list = Vec::new();
    let mut lack = |what: &str, remedy: &str| {
        list.push(Missing {
            what: what.to_owned(),
            remedy: remedy.to_owned(),
        });
    };
    let programs = |list: &[(&str, &str)], lack: &mut dyn FnMut(&str, &str)| {
        for (program, package) in list.iter().filter(|(program, _)| command::find(program).is_none()) {
            lack(program, &format!("Debian package {package}"));
        }
    };

    if command::find("go").is_none() && !build::is_current(ring) {
        lack("go", "Go 1.26 or newer, to build the Kubernetes programs");
    }
    programs(CONTROL_PLANE_PROGRAMS, &mut lack);
    if ring == Ring::Nodes {
        programs(NODE_PROGRAMS, &mut lack);
        if cni_directory().is_none() {
            let plugins = CNI_PLUGINS.join(", ");
            lack(
                &format!("CNI plugins {plugins}"),
                "Debian package containernetworking-plugins",
            );
        }
        if !rustix::process::geteuid().is_root() {
            lack("root", "run as root: nodes are network, mount and PID namespaces");
        }
        for controller in CGROUP_CONTROLLERS.iter().filter(|name| !has_controller(name)) {
            let remedy = "mount it under /sys/fs/cgroup (containers: run with the host's cgroups)";
            lack(&format!("cgroup controller {controller}"), remedy);
        }
        if !Path::new("/dev/kmsg").exists() {
            lack("/dev/kmsg", "the kubelet reads it: pass the device into the container");
        }
    }
    list
}

/// Fails with the whole list when anything is missing.
///
/// # Errors
/// [`Error::Missing`].
pub fn require(ring: Ring) -> Result<()> {
    let missing = missing(ring);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = missing.iter().map(Missing::to_string).collect();
    Err(Error::Missing(lines.join("\n")))
}

/// True when the runner has said, by the environment variable [`SKIP_VARIABLE`], that it counts
/// cluster tests as skipped. A test returns at once then; in every other case it runs or fails.
pub fn skipped_by_runner(test: &str) -> bool {
    let reason = std::env::var(SKIP_VARIABLE).unwrap_or_default();
    if !reason.is_empty() {
        // Lost only if standard error is closed; the runner reports the skip by itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {SKIP_VARIABLE}={reason}");
    }
    !reason.is_empty()
}

/// The directory with all the CNI plugins.
pub(crate) fn cni_directory() -> Option<&'static str> {
    let complete = |directory: &&&str| {
        CNI_PLUGINS
            .iter()
            .all(|plugin| Path::new(directory).join(plugin).exists())
    };
    CNI_DIRECTORIES.iter().find(complete).copied()
}

/// Version 1 has a directory for each controller, version 2 a list in one file.
fn has_controller(name: &str) -> bool {
    let unified = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    unified.split_whitespace().any(|listed| listed == name)
        || Path::new("/sys/fs/cgroup").join(name).join("cgroup.procs").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_thing_is_shown_with_its_remedy() {
        let missing = Missing {
            what: "runc".to_owned(),
            remedy: "Debian package runc".to_owned(),
        };
        assert_eq!(missing.to_string(), "  runc: Debian package runc");
    }
}
