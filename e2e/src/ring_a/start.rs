//! The ring: an API server with our definitions and rules, and our programs beside it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
};

use super::{DataPlane, Operator};
use crate::{
    Error, Result,
    breakwater::{binary, root},
    cluster::{ControlPlane, run_dir::RunDir},
    command,
    error::Context,
    kubectl::Kubectl,
    process::Process,
};

/// Where the operator's Lease and ServiceAccount are.
pub const SYSTEM_NAMESPACE: &str = "breakwater-system";

/// An API server that holds our definitions, and the operator's access to it.
#[derive(Debug)]
pub struct RingA {
    control_plane: ControlPlane,
    kubeconfig: PathBuf,
}

impl RingA {
    /// Starts an API server of its own, also where the user has a cluster: tests stop it and
    /// change its definitions. Applies `crds/yaml` and the chart's rules for the operator.
    ///
    /// # Errors
    /// When something does not start or is refused.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// As [`Self::start`], with chart `values` such as `operator.watchNamespace=shop`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(values: &[&str]) -> Result<Self> {
        binary()?;
        let control_plane = ControlPlane::start().await?;
        let kubectl = control_plane.kubectl();
        let definitions = root().join("crds/yaml").display().to_string();
        kubectl
            .run_exact(&["apply", "--server-side", "-f", &definitions])
            .await?;
        kubectl
            .run("wait --for=condition=Established --timeout=60s crd --all")
            .await?;
        let kubeconfig = operator_access(&control_plane, values).await?;
        Ok(Self {
            control_plane,
            kubeconfig,
        })
    }

    /// The API server.
    pub fn control_plane(&mut self) -> &mut ControlPlane {
        &mut self.control_plane
    }

    /// kubectl as the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        self.control_plane.kubectl()
    }

    /// The text of a file of the checkout, such as `examples/kubernetes/shop.yaml`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(root().join(path)).context(|| format!("read {path}"))
    }

    /// The address of what nodes see of operators: replica `index`, or the front at 0.
    ///
    /// # Errors
    /// None while the ring runs.
    pub fn operator_address(&self, index: u8) -> Result<SocketAddr> {
        Ok(SocketAddr::from((self.address(1, index)?, 8600)))
    }

    /// Starts operator `index`, from 1 on, with further `arguments`. It may not be ready yet.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn operator(&self, index: u8, arguments: &[&str]) -> Result<Operator> {
        let listen = self.operator_address(index)?;
        let admin = SocketAddr::new(listen.ip(), 8601);
        let mut command = Command::new(binary()?);
        command.env("KUBECONFIG", &self.kubeconfig).arg("operator");
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.args([
            "--namespace",
            SYSTEM_NAMESPACE,
            "--identity",
            &format!("operator-{index}"),
        ]);
        command.args(arguments);
        let process = self.spawn(&format!("operator-{index}"), command)?;
        Ok(Operator::new(process, listen, admin))
    }

    /// Starts data plane `index`, from 1 on, whose node is `node-INDEX` and which follows the
    /// operator at `operator`. It may not be ready yet. Its last good copy outlives it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn data_plane(&self, index: u8, operator: SocketAddr) -> Result<DataPlane> {
        self.data_plane_with(index, operator, &[])
    }

    /// As [`Self::data_plane`], with a port where other nodes ask it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn data_plane_asked_by_others(&self, index: u8, operator: SocketAddr) -> Result<DataPlane> {
        let peer = SocketAddr::from((self.address(2, index)?, 8602)).to_string();
        self.data_plane_with(index, operator, &["--peer", &peer])
    }

    /// As [`RingA::data_plane`], with further arguments.
    ///
    /// # Errors
    /// The same.
    pub fn data_plane_with(&self, index: u8, operator: SocketAddr, arguments: &[&str]) -> Result<DataPlane> {
        let address = self.address(2, index)?;
        let node = format!("node-{index}");
        let (listen, admin) = (SocketAddr::from((address, 8080)), SocketAddr::from((address, 9090)));
        let mut command = Command::new(binary()?);
        command.args(["dataplane", "--operator", &format!("http://{operator}")]);
        command.args(["--node", &node, "--workers", "1", "--memory", "16Mi", "--drain", "5"]);
        let listen_tls = SocketAddr::from((address, 8443));
        command.args(["--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.args(["--listen-tls", &listen_tls.to_string()]);
        command.arg("--state-dir").arg(self.state_directory(index)?);
        let secrets = self.run()?.make_directory(format!("{node}-secrets"))?;
        command.arg("--secrets-dir").arg(secrets).args(arguments);
        let process = self.spawn(&node, command)?;
        Ok(DataPlane::new(process, listen, listen_tls, admin))
    }

    /// Where data plane `index` keeps its last good copy.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn state_directory(&self, index: u8) -> Result<PathBuf> {
        self.run()?.make_directory(format!("node-{index}"))
    }

    /// Asks the API server how often it knew somebody not, or allowed something not, since its
    /// start: one line for each sort.
    ///
    /// # Errors
    /// When it does not answer, or does not count that.
    pub async fn refused(&self) -> Result<Vec<String>> {
        // Requests without permission do not come as far as `apiserver_request_total`.
        const COUNTERS: [(&str, &str); 2] = [
            ("authentication_attempts{", "success"),
            ("authorization_attempts_total{", "allowed"),
        ];
        let metrics = self.kubectl().run("get --raw /metrics").await?;
        let mut refused = Vec::new();
        for (counter, good) in COUNTERS {
            let good = format!("result=\"{good}\"");
            let lines = metrics.lines().filter(|line| line.starts_with(counter));
            let (good, bad): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains(&good));
            if good.is_empty() {
                return Err(Error::Invalid(format!("the API server has no counter {counter}")));
            }
            refused.extend(bad.into_iter().map(str::to_owned));
        }
        Ok(refused)
    }

    fn spawn(&self, name: &str, command: Command) -> Result<Process> {
        let run = self.run()?;
        let log = (1..)
            .map(|start| run.join(format!("{name}-{start}.log")))
            .find(|log| !log.exists());
        let log = log.unwrap_or_else(|| run.join(format!("{name}.log")));
        let process = Process::spawn(name, command, &log)?;
        run.record(name, process.id())?;
        Ok(process)
    }

    fn run(&self) -> Result<&RunDir> {
        self.control_plane
            .run_dir()
            .ok_or_else(|| Error::Invalid("the control plane has no run directory".to_owned()))
    }

    fn address(&self, group: u8, index: u8) -> Result<Ipv4Addr> {
        Ok(Ipv4Addr::new(127, self.run()?.number(), group, index + 1))
    }
}

/// Applies what the chart renders for the operator's ServiceAccount and writes a kubeconfig that
/// holds its token and no other.
async fn operator_access(control_plane: &ControlPlane, values: &[&str]) -> Result<PathBuf> {
    let kubectl = control_plane.kubectl();
    let chart = root().join("charts/breakwater").display().to_string();
    let mut arguments = vec!["template", "breakwater", &chart, "--namespace", SYSTEM_NAMESPACE];
    for part in ["templates/operator/rbac.yaml", "templates/operator/serviceaccount.yaml"] {
        arguments.extend(["--show-only", part]);
    }
    for value in values {
        arguments.extend(["--set", value]);
    }
    // Without a cluster to ask, Helm assumes a version of its own.
    let version = kubectl.run("version -o json").await?;
    let version: serde_json::Value = serde_json::from_str(&version)
        .map_err(|error| Error::Invalid(format!("`kubectl version` printed no JSON: {error}")))?;
    let version = version["serverVersion"]["gitVersion"].as_str().unwrap_or_default();
    arguments.extend(["--kube-version", version]);
    let rules = control_plane.helm().run(&arguments).await?;
    kubectl.run(&format!("create namespace {SYSTEM_NAMESPACE}")).await?;
    kubectl.apply(&rules).await?;
    let accounts = kubectl
        .run(&format!(
            "-n {SYSTEM_NAMESPACE} get serviceaccounts -o name -l app.kubernetes.io/component=operator"
        ))
        .await?;
    let account = accounts
        .trim()
        .strip_prefix("serviceaccount/")
        .ok_or_else(|| Error::Invalid(format!("the chart renders no ServiceAccount for the operator: {rules}")))?;
    let token = kubectl
        .run(&format!("-n {SYSTEM_NAMESPACE} create token {account}"))
        .await?;

    let run = control_plane
        .run_dir()
        .ok_or_else(|| Error::Invalid("the control plane has no run directory".to_owned()))?;
    let admin = std::fs::read_to_string(kubectl.kubeconfig()).context(|| "read the kubeconfig".to_owned())?;
    let path = run.write("operator.kubeconfig", &admin)?;
    // The administrator's token goes: what remains is the server and the account.
    for arguments in [
        vec!["config", "delete-user", "me"],
        vec!["config", "set-credentials", "operator", "--token", token.trim()],
        vec!["config", "set-context", "--current", "--user=operator"],
    ] {
        let mut command = kubectl.command(arguments);
        command.env("KUBECONFIG", &path);
        command::run(command).await?;
    }
    Ok(path)
}
