//! One node: network, mount and PID namespaces with a containerd, kubelet and kube-proxy of their
//! own.
//!
//! Invariant: a node writes to the machine only below its directory in the run, and to its cgroup.
//! `/run`, `/var/lib` and `/var/log` are its own, so that the programs keep their usual paths and
//! nodes do not meet there. Everything in a node is in its PID namespace, containers too: the end
//! of the namespace's first process ends them all.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    build::Built,
    cgroup,
    control_plane::spawn,
    image,
    kubeconfig::{Access, Identity},
    network::{self, Bridge, Holder},
    run_dir::RunDir,
};
use crate::{Error, Result, command, error::Context, process::Process, requirements, wait};

mod config;

const DEADLINE: Duration = Duration::from_secs(60);

/// Makes the node's own directories, then waits as the namespace's first process.
const INIT: &str = r#"set -e
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
echo 1 > /proc/sys/net/ipv4/ip_forward
touch "$1/ready"
exec "$2"
"#;

/// A node of a cluster, ours or the user's.
#[derive(Debug)]
pub struct Node {
    name: String,
    address: String,
    local: Option<Local>,
}

#[derive(Debug)]
struct Local {
    index: u8,
    /// containerd, kubelet, kube-proxy.
    processes: Vec<Process>,
    holder: Holder,
    directory: PathBuf,
}

impl Node {
    /// The node's name in Kubernetes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address at which its host ports are reached.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A node of a cluster that is not ours.
    pub(super) fn existing(name: String, address: String) -> Self {
        Self {
            name,
            address,
            local: None,
        }
    }

    /// Makes the namespaces, attaches them to the bridge, starts containerd and imports the images
    /// every node needs. No API server is needed yet.
    pub(super) async fn prepare(run: &RunDir, built: &Built, bridge: &Bridge, index: u8) -> Result<Self> {
        let number = run.number();
        let name = format!("node-{index}");
        for part in ["lib", "log", "cni"] {
            run.make_directory(format!("{name}/{part}"))?;
        }
        let directory = run.join(&name);
        cgroup::create(&cgroup::name(number, index))?;

        let mut init = Command::new("sh");
        init.args(["-c", INIT, "init"])
            .arg(&directory)
            .arg(built.program("pause"));
        let options = "--net --mount --mount-proc --propagation private";
        let holder = Holder::start(run, &name, options, &init).await?;
        wait::until(&format!("{name} to mount its directories"), DEADLINE, async || {
            let log = || fs::read_to_string(run.join(format!("{name}.log"))).unwrap_or_default();
            directory.join("ready").exists().then_some(()).ok_or_else(log)
        })
        .await?;
        let address = network::node_address(number, index);
        bridge.attach(&name, &holder, address)?;
        bridge.route_from_host(&network::pod_range(number, index), address)?;

        let local = Local {
            index,
            processes: Vec::new(),
            holder,
            directory,
        };
        let mut node = Self {
            name,
            address: address.to_string(),
            local: Some(local),
        };
        node.start_containerd(run).await?;
        node.import(&built.image("pause")).await?;
        Ok(node)
    }

    /// Starts the kubelet and kube-proxy.
    pub(super) fn join(&mut self, run: &RunDir, built: &Built, access: &Access) -> Result<()> {
        let number = run.number();
        let name = self.name.clone();
        let local = self.local_mut()?;
        let directory = local.directory.clone();
        let file = |name: &str| directory.join(name);
        let node = access.write(run, &format!("{name}/kubelet.kubeconfig"), &Identity::node(&name))?;
        let proxy = access.write(run, &format!("{name}/kube-proxy.kubeconfig"), &Identity::proxy())?;
        // Pods that ask for the node's resolver get none: there is no network beyond this one.
        write(&file("resolv.conf"), "")?;
        let config = config::kubelet(
            &cgroup::name(number, local.index),
            network::dns_address(number),
            &file("resolv.conf"),
        );
        write(&file("kubelet.yaml"), &config)?;
        write(
            &file("kube-proxy.yaml"),
            &config::kube_proxy(&proxy, &name, &network::all_pods(number)),
        )?;

        let address = network::node_address(number, local.index);
        local.start(
            run,
            &name,
            &built.program("kubelet"),
            &[
                format!("--config={}", file("kubelet.yaml").display()),
                format!("--kubeconfig={}", node.display()),
                format!("--hostname-override={name}"),
                format!("--node-ip={address}"),
            ],
        )?;
        let config = format!("--config={}", file("kube-proxy.yaml").display());
        local.start(run, &name, &built.program("kube-proxy"), &[config])
    }

    /// Routes the pods of another node.
    pub(super) fn route(&self, pods: &str, node: Ipv4Addr) -> Result<()> {
        self.local()?.holder.route(pods, node)
    }

    /// Imports an OCI archive into the node's containerd; pods use it with
    /// `imagePullPolicy: Never`.
    ///
    /// # Errors
    /// When containerd refuses it, or the node is not ours.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        // The node's /var/lib, /var/log and /run are not the host's.
        let archive = archive
            .canonicalize()
            .context(|| format!("find {}", archive.display()))?;
        let mut ctr = self.command("ctr")?;
        ctr.args(["--namespace", "k8s.io", "images", "import", "--snapshotter"]);
        ctr.arg(config::snapshotter(&self.local()?.directory)?).arg(archive);
        command::run(ctr).await.map(drop)
    }

    /// A command that runs `program` in all of the node's namespaces, as on a shell of the node.
    ///
    /// # Errors
    /// When the node is not ours.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        Ok(self.local()?.command(program))
    }

    /// Succeeds while containerd, the kubelet and kube-proxy run.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of the log of one that has ended.
    pub fn check_running(&mut self) -> Result<()> {
        let mut processes = self.local.iter_mut().flat_map(|local| &mut local.processes);
        processes.try_for_each(Process::check_running)
    }

    pub(super) fn is_running(&self) -> bool {
        let mut processes = self.local.iter().flat_map(|local| &local.processes);
        processes.all(Process::is_running)
    }

    async fn start_containerd(&mut self, run: &RunDir) -> Result<()> {
        let name = self.name.clone();
        let local = self.local_mut()?;
        let plugins =
            requirements::cni_directory().ok_or_else(|| Error::Invalid("the CNI plugins are gone".to_owned()))?;
        let pods = network::pod_range(run.number(), local.index);
        let (config, cni) = (local.directory.join("containerd.toml"), local.directory.join("cni"));
        write(&cni.join("10-e2e.conflist"), &config::cni(&pods))?;
        let snapshotter = config::snapshotter(&local.directory)?;
        let pause = image::own_name("pause");
        write(
            &config,
            &config::containerd(&pause, snapshotter, Path::new(plugins), &cni),
        )?;
        let argument = format!("--config={}", config.display());
        local.start(run, &name, Path::new("containerd"), &[argument])?;
        wait::until(&format!("containerd of {name}"), DEADLINE, async || {
            let mut ctr = self.command("ctr").map_err(|error| error.to_string())?;
            ctr.args(["--connect-timeout", "2s", "version"]);
            command::run(ctr).await.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    fn local(&self) -> Result<&Local> {
        self.local.as_ref().ok_or_else(|| not_ours(&self.name))
    }

    fn local_mut(&mut self) -> Result<&mut Local> {
        self.local.as_mut().ok_or_else(|| not_ours(&self.name))
    }
}

impl Local {
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.holder.pid()));
        command.args(["--mount", "--net", "--pid", "--"]).arg(program);
        command
    }

    fn start(&mut self, run: &RunDir, node: &str, program: &Path, arguments: &[String]) -> Result<()> {
        let short = program.file_name().unwrap_or_default().to_string_lossy();
        let mut command = self.command(program);
        command.args(arguments);
        self.processes.push(spawn(run, &format!("{node}-{short}"), command)?);
        Ok(())
    }
}

fn not_ours(name: &str) -> Error {
    Error::Invalid(format!(
        "{name} is a node of the cluster in KUBECONFIG: it cannot be changed from here"
    ))
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).context(|| format!("write {}", path.display()))
}
