//! Ring b: the control plane with its controllers, nodes and DNS.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use super::{
    build::{self, Built},
    control_plane::{self, ControlPlane, Local},
    dns, image,
    kubeconfig::Identity,
    network::{self, Bridge},
    node::Node,
    run_dir::RunDir,
};
use crate::{
    Error, Result,
    client::Client,
    helm::Helm,
    kubectl::Kubectl,
    requirements::{self, Ring},
    wait,
};

/// The most nodes a cluster has: each takes some 200 MB.
pub const MAX_NODES: u8 = 3;

/// A start takes some ten seconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(180);

/// A running Kubernetes, ours or the one of the user's `KUBECONFIG`. Dropping ours removes it.
#[derive(Debug)]
pub struct Cluster {
    /// Dropped in this order: the control plane last, which holds the run.
    nodes: Vec<Node>,
    bridge: Option<Bridge>,
    control_plane: ControlPlane,
    clients: AtomicU8,
}

impl Cluster {
    /// The cluster of the environment variable `KUBECONFIG` if set, else a new one of `nodes`
    /// nodes.
    ///
    /// # Errors
    /// As [`Self::start`]; or when the user's cluster does not answer.
    pub async fn from_env(nodes: u8) -> Result<Self> {
        match control_plane::user_kubeconfig() {
            Some(kubeconfig) => Self::existing(&kubeconfig).await,
            None => Self::start(nodes).await,
        }
    }

    /// Starts a cluster of 1 to [`MAX_NODES`] nodes and waits until every node is Ready and names
    /// resolve.
    ///
    /// # Errors
    /// When this machine lacks something, or a program does not come up; the error holds the end
    /// of its log.
    pub async fn start(nodes: u8) -> Result<Self> {
        if !(1..=MAX_NODES).contains(&nodes) {
            return Err(Error::Invalid(format!(
                "a cluster has 1 to {MAX_NODES} nodes, not {nodes}"
            )));
        }
        requirements::require(Ring::Nodes)?;
        let built = build::ensure(Ring::Nodes).await?;
        let run = Arc::new(RunDir::claim()?);
        let bridge = Bridge::create(&run, &built.program("pause")).await?;

        let number = run.number();
        let address = network::host_address(number);
        let mut others = vec![Identity::scheduler(), Identity::proxy()];
        others.extend((1..=nodes).map(|index| Identity::node(&format!("node-{index}"))));
        let (mut local, mut members) = tokio::try_join!(
            Local::start(Arc::clone(&run), built.clone(), address, &others),
            prepare_nodes(&run, &built, &bridge, nodes),
        )?;
        start_controllers(&mut local)?;
        route_between(&members, number)?;
        for node in &mut members {
            node.join(&run, &built, &local.access)?;
        }

        let control_plane = ControlPlane::own(local);
        let mut cluster = Self {
            nodes: members,
            bridge: Some(bridge),
            control_plane,
            clients: AtomicU8::new(0),
        };
        // A program that has ended says more than the wait for what it should have done.
        let ready = tokio::select! {
            ready = cluster.wait_ready(number) => ready,
            ended = cluster.wait_ended() => ended,
        };
        cluster.check_running()?;
        ready.map(|()| cluster)
    }

    async fn existing(kubeconfig: &Path) -> Result<Self> {
        let control_plane = ControlPlane::existing(kubeconfig);
        let list = control_plane.kubectl().json("nodes").await?;
        let nodes = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(existing_node)
            .collect();
        Ok(Self {
            nodes,
            bridge: None,
            control_plane,
            clients: AtomicU8::new(0),
        })
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    /// Helm as the administrator.
    pub fn helm(&self) -> &Helm {
        self.control_plane.helm()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.control_plane.kubeconfig()
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The API server and what it needs, for tests that stop it.
    pub fn control_plane(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }

    /// The directory everything lives in; none for a cluster of the user's.
    pub fn run_dir(&self) -> Option<&RunDir> {
        self.control_plane.run_dir()
    }

    /// Imports an OCI archive on every node; pods use it with `imagePullPolicy: Never`.
    ///
    /// # Errors
    /// When a containerd refuses it, or the cluster is not ours.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        for node in &self.nodes {
            node.import(archive).await?;
        }
        Ok(())
    }

    /// Imports one of this crate's own images (`whoami`, `origin`) and returns the name pods use.
    ///
    /// # Errors
    /// As [`Self::import`].
    pub async fn import_own(&self, name: &str) -> Result<String> {
        let local = self.control_plane.local();
        let local = local.ok_or_else(|| Error::Invalid("the cluster of KUBECONFIG takes no images".to_owned()))?;
        self.import(&local.built.image(name)).await?;
        Ok(image::own_name(name))
    }

    /// A new client: a machine outside the pod network, with an address of its own. For a cluster
    /// of the user's it is this machine.
    ///
    /// # Errors
    /// When its namespace cannot be made.
    pub async fn client(&self) -> Result<Client> {
        let (Some(bridge), Some(local)) = (&self.bridge, self.control_plane.local()) else {
            return Ok(Client::this_machine());
        };
        let index = self.clients.fetch_add(1, Ordering::Relaxed);
        Client::attach(&local.run, bridge, &local.built.program("pause"), index).await
    }

    /// Succeeds while all of its programs run.
    ///
    /// # Errors
    /// [`Error::Ended`] with the end of the log of one that has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.control_plane.check_running()?;
        self.nodes.iter_mut().try_for_each(Node::check_running)
    }

    async fn wait_ended(&self) -> Result<()> {
        wait::until("the end of a program", 2 * DEADLINE, async || {
            let running = self.control_plane.is_running() && self.nodes.iter().all(Node::is_running);
            if running { Err("all run".to_owned()) } else { Ok(()) }
        })
        .await
    }

    async fn wait_ready(&self, number: u8) -> Result<()> {
        let kubectl = self.kubectl();
        let Some((first, local)) = self.nodes.first().zip(self.control_plane.local()) else {
            return Ok(());
        };
        kubectl
            .apply(&dns::manifests(first.name(), network::dns_address(number)))
            .await?;
        first.import(&local.built.image("coredns")).await?;
        for node in &self.nodes {
            kubectl
                .wait_condition(&format!("node/{}", node.name()), "Ready", "True", DEADLINE)
                .await?;
        }
        kubectl
            .wait_rollout("kube-system", "deployment/coredns", DEADLINE)
            .await?;
        // Pods are refused until the controller has made the account they run under.
        let account = "-n default serviceaccount/default";
        kubectl.wait_for(account, DEADLINE, |_| true).await.map(drop)
    }
}

async fn prepare_nodes(run: &RunDir, built: &Built, bridge: &Bridge, count: u8) -> Result<Vec<Node>> {
    let prepare = async |index| match index <= count {
        true => Node::prepare(run, built, bridge, index).await.map(Some),
        false => Ok(None),
    };
    let (first, second, third) = tokio::try_join!(prepare(1), prepare(2), prepare(MAX_NODES))?;
    Ok([first, second, third].into_iter().flatten().collect())
}

fn start_controllers(local: &mut Local) -> Result<()> {
    let scheduler = local
        .access
        .write(&local.run, "scheduler.kubeconfig", &Identity::scheduler())?;
    let file = |name: &str| local.run.join(name).display().to_string();
    let manager = [
        format!("--kubeconfig={}", file("kubeconfig")),
        format!("--service-account-private-key-file={}", file("service-account.key")),
        // Published in every namespace, for pods to trust the API server.
        format!("--root-ca-file={}", file("ca.crt")),
        // It makes the directory, and its default is not below the run.
        format!("--flex-volume-plugin-dir={}", file("volume-plugins")),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    let scheduler = [
        format!("--kubeconfig={}", scheduler.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    local.spawn("kube-controller-manager", &manager)?;
    local.spawn("kube-scheduler", &scheduler)
}

fn route_between(nodes: &[Node], number: u8) -> Result<()> {
    for (from, node) in (1..).zip(nodes) {
        for to in (1..).zip(nodes).map(|(to, _)| to).filter(|to| *to != from) {
            node.route(&network::pod_range(number, to), network::node_address(number, to))?;
        }
    }
    Ok(())
}

fn existing_node(node: &Value) -> Option<Node> {
    let addresses = node["status"]["addresses"].as_array()?;
    let address = addresses.iter().find(|address| address["type"] == "InternalIP")?;
    let name = node["metadata"]["name"].as_str()?;
    Some(Node::existing(name.to_owned(), address["address"].as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_of_the_users_cluster_is_reached_at_its_internal_address() {
        let node = existing_node(&json!({
            "metadata": { "name": "a" },
            "status": { "addresses": [
                { "type": "Hostname", "address": "a" },
                { "type": "InternalIP", "address": "192.0.2.7" },
            ] },
        }))
        .expect("it has an address");
        assert_eq!((node.name(), node.address()), ("a", "192.0.2.7"));
    }
}
