//! Breakwater installed by Helm on a cluster, as `tests/install.rs` uses it: the release, its pods,
//! the objects of `examples/kubernetes`, and every node as a client outside sees it.
//!
//! Invariant: the chart's default values, so that what is tested is what a user gets.

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use crate::{Error, Result, client::Client, cluster::Cluster, edge::Edge, kubectl::Kubectl};

mod release;

/// The release's namespace.
pub const NAMESPACE: &str = "breakwater-system";
/// The release's name, and the first part of its objects' names.
pub const RELEASE: &str = "breakwater";
/// The namespace of the examples and the origin.
pub const EXAMPLES: &str = "shop";
/// The host of the EdgeCache in `examples/kubernetes`.
pub const SHOP: &str = "shop.example.com";
/// The host of the WsRoute in `examples/kubernetes`.
pub const CHAT: &str = "chat.example.com";
/// For each step; reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A cluster that Breakwater is, was or will be installed on, and a client of its nodes.
#[derive(Debug)]
pub struct Installed {
    /// Before the cluster, which it is attached to.
    client: Client,
    cluster: Cluster,
}

impl Installed {
    /// Takes the cluster, on which nothing is installed yet.
    ///
    /// # Errors
    /// When a client's namespace cannot be made.
    pub async fn new(cluster: Cluster) -> Result<Self> {
        let client = cluster.client().await?;
        Ok(Self { client, cluster })
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.cluster.nodes().len()
    }

    /// The address the nodes see; unknown in a cluster of the user's.
    pub fn client_address(&self) -> Option<std::net::Ipv4Addr> {
        self.client.address()
    }

    /// A client with another address.
    ///
    /// # Errors
    /// When its namespace cannot be made.
    pub async fn another_client(&self) -> Result<Client> {
        self.cluster.client().await
    }

    /// Every node, as `client` sees it.
    pub fn edges<'a>(&'a self, client: &'a Client) -> impl Iterator<Item = Edge<'a>> {
        self.cluster.nodes().iter().map(|node| Edge::new(client, node))
    }

    /// Does `check` with each node in turn.
    ///
    /// # Errors
    /// The first of `check`.
    pub async fn on_every_node(&self, check: impl AsyncFn(Edge<'_>) -> Result<()>) -> Result<()> {
        for edge in self.edges(&self.client) {
            check(edge).await?;
        }
        Ok(())
    }

    /// Applies a JSON patch, given without its brackets, to the WafPolicy of the examples, and
    /// waits until every node enforces it.
    ///
    /// # Errors
    /// When it is refused, or not Programmed in time.
    pub async fn edit_policy(&self, patch: &str) -> Result<()> {
        let patch = format!("[{patch}]");
        let line = ["-n", EXAMPLES, "patch", "wafpolicy/shop", "--type=json", "-p", &patch];
        self.kubectl().run_exact(&line).await?;
        let name = format!("-n {EXAMPLES} wafpolicy/shop");
        let edited = self
            .kubectl()
            .wait_condition(&name, "Programmed", "True", DEADLINE)
            .await?;
        let nodes = &edited["status"]["nodes"];
        if nodes["summary"] == all_of(self.nodes()) {
            return Ok(());
        }
        Err(Error::Invalid(format!("Programmed, but on these nodes: {nodes}")))
    }

    /// Where a load balancer sends new connections: port 80 of each node whose data plane is ready and was not told to
    /// leave, as the kubelet finds by `/readyz` and the API server tells.
    ///
    /// # Errors
    /// When kubectl fails, or a node has no such address.
    pub async fn ready_nodes(&self) -> Result<Vec<SocketAddr>> {
        let names = self.ready_pods("data-plane", "/spec/nodeName").await?;
        let nodes = self.cluster.nodes().iter();
        let ready = nodes.filter(|node| names.iter().any(|name| name == node.name()));
        ready
            .map(|node| {
                let address = format!("{}:80", node.address());
                address
                    .parse()
                    .map_err(|_| Error::Invalid(format!("{address} is no address")))
            })
            .collect()
    }
}

/// `3/3` for three nodes.
pub fn all_of(nodes: usize) -> String {
    format!("{nodes}/{nodes}")
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The steps of a test, each told with the time it took, on standard error: what the test measures
/// beside what it asserts.
#[derive(Debug)]
pub struct Steps {
    first: Instant,
    last: Instant,
}

impl Steps {
    /// The first step starts now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { first: now, last: now }
    }

    /// The step is done, the next starts.
    pub fn done(&mut self, step: &str) {
        let now = Instant::now();
        let (took, all) = (now - self.last, now - self.first);
        self.last = now;
        // Lost only if standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "{:6.1} s  {step} (after {:.1} s)",
            took.as_secs_f64(),
            all.as_secs_f64()
        );
    }
}

/// The origin of the examples: the Services `shop` and `chat` in front of the image `origin`.
pub fn origin(image: &str) -> String {
    let service = |name: &str| {
        format!(
            r"---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {EXAMPLES}}}
spec:
  selector: {{app: origin}}
  ports: [{{port: 8080}}]
"
        )
    };
    let workload = format!(
        r"apiVersion: apps/v1
kind: Deployment
metadata: {{name: origin, namespace: {EXAMPLES}}}
spec:
  selector: {{matchLabels: {{app: origin}}}}
  template:
    metadata: {{labels: {{app: origin}}}}
    spec:
      automountServiceAccountToken: false
      containers:
      - name: origin
        image: {image}
        imagePullPolicy: IfNotPresent
        ports: [{{containerPort: 8080}}]
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {{drop: [ALL]}}
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          runAsUser: 65532
          seccompProfile: {{type: RuntimeDefault}}
"
    );
    workload + &service("shop") + &service("chat")
}
