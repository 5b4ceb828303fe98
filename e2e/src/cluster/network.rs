//! Addresses of a run and its network: a bridge in a namespace of its own, to which the host, the
//! nodes and the clients are attached.
//!
//! The bridge is not on the host, so that the host's packet filter (another container engine's,
//! for one) has no say in traffic between nodes; on the host there is one interface, `bwNUMBERh`.
//! A namespace lives as long as the process that holds it: no names are left in `/run/netns`.

use std::{fs, net::Ipv4Addr, path::Path, process::Command};

use rustix::process::{Pid, Signal, kill_process};

use super::run_dir::{PARENT, RunDir};
use crate::{Error, Result, command, error::Context, process::Process, wait};

/// How long a namespace may take to come up.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// The host's address on the bridge, where the API server listens.
pub(super) fn host_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, number, 0, 1)
}

/// The address of node `index`, counted from 1.
pub(super) fn node_address(number: u8, index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, number, 0, 10 + index)
}

/// The address of client `index`, counted from 0.
///
/// # Errors
/// When the network has no address left for it.
pub(crate) fn client_address(number: u8, index: u8) -> Result<Ipv4Addr> {
    let last = 100_u8.checked_add(index).filter(|last| *last < 255);
    let last = last.ok_or_else(|| Error::Invalid(format!("client {index}: the network has no address left")))?;
    Ok(Ipv4Addr::new(10, number, 0, last))
}

/// The addresses of the pods on node `index`.
pub(super) fn pod_range(number: u8, index: u8) -> String {
    format!("10.{number}.{}.0/24", 64 + index)
}

/// The addresses of all pods, and of nothing else.
pub(super) fn all_pods(number: u8) -> String {
    format!("10.{number}.64.0/18")
}

/// The addresses of Services. The first is the API server's.
pub(super) fn service_range(number: u8) -> String {
    format!("10.{number}.128.0/20")
}

/// The address of the cluster's DNS Service.
pub(super) fn dns_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, number, 128, 10)
}

fn host_interface(number: u8) -> String {
    format!("bw{number}h")
}

/// True when an address of run `number` is in use, by a run or by anything else.
pub(super) fn is_taken(number: u8) -> bool {
    let prefix = format!("10.{number}.");
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let listed = table.split_whitespace().any(|word| word.starts_with(&prefix));
    listed || Path::new("/sys/class/net").join(host_interface(number)).exists()
}

/// Deletes the host's interface; the rest goes with the namespaces.
pub(super) fn remove(number: u8) -> Result<()> {
    let name = host_interface(number);
    if !Path::new("/sys/class/net").join(&name).exists() {
        return Ok(());
    }
    match command::run_now(command::words(&format!("ip link delete {name}"))) {
        // The other end was in a namespace that the kernel is removing, and it was first.
        Err(_) if !Path::new("/sys/class/net").join(&name).exists() => Ok(()),
        result => result.map(drop),
    }
}

/// A process that holds namespaces open. Killing it ends everything in its PID namespace.
#[derive(Debug)]
pub(crate) struct Holder {
    /// `unshare`, which reaps the namespace's first process and then ends. Its own death would be
    /// passed on to that process by the kernel.
    unshare: Process,
    first: u32,
}

impl Drop for Holder {
    fn drop(&mut self) {
        // While its parent lives the id is not reused: it is reaped by that parent alone.
        if self.unshare.is_running()
            && let Some(first) = Pid::from_raw(self.first.cast_signed())
            && kill_process(first, Signal::KILL).is_ok()
        {
            self.unshare.reap();
        }
    }
}

impl Holder {
    /// Starts `command` as the first process of new namespaces: `options` are those of `unshare`.
    pub(super) async fn start(run: &RunDir, name: &str, options: &str, command: &Command) -> Result<Self> {
        let mut unshare = command::words(&format!("unshare --fork --kill-child --pid {options}"));
        unshare.arg("--").arg(command.get_program()).args(command.get_args());
        let log = run.join(format!("{name}.log"));
        let mut process = Process::spawn(name, unshare, &log)?;
        run.record(&format!("{name}{PARENT}"), process.id())?;
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let first = wait::until(&format!("the namespaces of {name}"), DEADLINE, async || {
            process.check_running().map_err(|error| error.to_string())?;
            let text = fs::read_to_string(&children).map_err(|error| error.to_string())?;
            text.trim()
                .parse::<u32>()
                .map_err(|_| "unshare has no child yet".to_owned())
        })
        .await?;
        run.record(name, first)?;
        Ok(Self {
            unshare: process,
            first,
        })
    }

    /// Starts one that only holds a network namespace.
    pub(crate) async fn network(run: &RunDir, name: &str, pause: &Path) -> Result<Self> {
        Self::start(run, name, "--net", &Command::new(pause)).await
    }

    /// The id of the namespaces' first process.
    pub(crate) fn pid(&self) -> u32 {
        self.first
    }

    /// A command that runs `program` in the network namespace alone. `ip netns exec` would also
    /// mount a fresh /sys, without cgroups.
    pub(crate) fn in_network(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.first))
            .arg("--")
            .arg(program);
        command
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = self.in_network("ip");
        command.args(arguments.split_whitespace());
        command::run_now(command).map(drop)
    }

    /// Adds a route in the namespace.
    pub(super) fn route(&self, to: &str, via: Ipv4Addr) -> Result<()> {
        self.ip(&format!("route replace {to} via {via}"))
    }
}

/// The bridge and the host's place on it.
#[derive(Debug)]
pub(crate) struct Bridge {
    holder: Holder,
    number: u8,
}

impl Bridge {
    /// Makes the bridge and attaches the host with [`host_address`].
    pub(super) async fn create(run: &RunDir, pause: &Path) -> Result<Self> {
        let number = run.number();
        let holder = Holder::network(run, "bridge", pause).await?;
        holder.ip("link add br0 type bridge")?;
        holder.ip("link set br0 up")?;
        let (pid, host, address) = (holder.pid(), host_interface(number), host_address(number));
        for line in [
            format!("ip link add {host} type veth peer name host netns {pid}"),
            format!("ip address add {address}/24 dev {host}"),
            format!("ip link set {host} up"),
        ] {
            command::run_now(command::words(&line))?;
        }
        holder.ip("link set host master br0 up")?;
        Ok(Self { holder, number })
    }

    /// Attaches a namespace to the bridge: its interface `eth0` gets `address`, and the host is its
    /// default gateway.
    pub(crate) fn attach(&self, port: &str, member: &Holder, address: Ipv4Addr) -> Result<()> {
        let gateway = host_address(self.number);
        self.holder.ip(&format!(
            "link add {port} type veth peer name eth0 netns /proc/{}/ns/net",
            member.pid()
        ))?;
        self.holder.ip(&format!("link set {port} master br0 up"))?;
        member.ip("link set lo up")?;
        member.ip(&format!("address add {address}/24 dev eth0"))?;
        member.ip("link set eth0 up")?;
        member.ip(&format!("route add default via {gateway}"))
    }

    /// Lets the host reach a node's pods, as the API server does for webhooks and `kubectl proxy`.
    pub(super) fn route_from_host(&self, pods: &str, node: Ipv4Addr) -> Result<()> {
        let device = host_interface(self.number);
        command::run_now(command::words(&format!(
            "ip route replace {pods} via {node} dev {device}"
        )))
        .map(drop)
    }
}

/// A TCP port of `address` that was free a moment ago.
pub(super) fn free_port(address: Ipv4Addr) -> Result<u16> {
    let listener = std::net::TcpListener::bind((address, 0)).context(|| format!("bind a port of {address}"))?;
    let bound = listener
        .local_addr()
        .context(|| format!("ask for the port bound on {address}"))?;
    match bound.port() {
        0 => Err(Error::Invalid(format!("{address} yields port 0"))),
        port => Ok(port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_a_run_do_not_overlap() {
        assert_eq!(node_address(77, 3), Ipv4Addr::new(10, 77, 0, 13));
        assert_eq!(client_address(77, 0).ok(), Some(Ipv4Addr::new(10, 77, 0, 100)));
        assert!(client_address(77, 155).is_err());
        // 10.77.64.0/18 ends at 10.77.127.255, below the Services.
        assert_eq!(pod_range(77, 3), "10.77.67.0/24");
        assert_eq!(
            (all_pods(77).as_str(), service_range(77).as_str()),
            ("10.77.64.0/18", "10.77.128.0/20")
        );
    }
}
