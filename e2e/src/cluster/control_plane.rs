//! Ring a: etcd and kube-apiserver. Serves every test of the operator; objects are stored,
//! validated and watched, but nothing acts on them: there are no controllers, so no namespace is
//! ever finally deleted and no pod runs.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use super::{
    build::{self, Built},
    kubeconfig::{self, Access, Identity},
    network::free_port,
    run_dir::RunDir,
};
use crate::{
    Result, command,
    helm::Helm,
    kubectl::Kubectl,
    process::Process,
    requirements::{self, Ring},
    wait,
};

/// A start takes three seconds on an idle machine.
const DEADLINE: Duration = Duration::from_secs(120);

const API_SERVER_LOG: &str = "kube-apiserver.log";

/// A running API server, ours or the one of the user's `KUBECONFIG`.
#[derive(Debug)]
pub struct ControlPlane {
    kubectl: Kubectl,
    helm: Helm,
    /// Dropped in this order: the run last, which removes the directory the others write to.
    local: Option<Local>,
}

#[derive(Debug)]
pub(super) struct Local {
    pub(super) processes: Vec<Process>,
    /// The API server's arguments.
    api_server: Vec<String>,
    pub(super) access: Access,
    pub(super) built: Built,
    pub(super) run: Arc<RunDir>,
}

impl ControlPlane {
    /// The cluster of the environment variable `KUBECONFIG` if set, else a new one.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn from_env() -> Result<Self> {
        match user_kubeconfig() {
            Some(kubeconfig) => Ok(Self::existing(&kubeconfig)),
            None => Self::start().await,
        }
    }

    /// Starts etcd and kube-apiserver on the loopback interface and waits until it is ready.
    ///
    /// # Errors
    /// When this machine lacks something, or a program does not come up; the error holds the end
    /// of its log.
    pub async fn start() -> Result<Self> {
        requirements::require(Ring::ControlPlane)?;
        let built = build::ensure(Ring::ControlPlane).await?;
        let local = Local::start(Arc::new(RunDir::claim()?), built, Ipv4Addr::LOCALHOST, &[]).await?;
        Ok(Self::own(local))
    }

    pub(super) fn existing(kubeconfig: &Path) -> Self {
        // The user's own programs first; ours where `cluster build` has made them.
        let program = |name: &str| command::find(name).unwrap_or_else(|| build::root().join("bin").join(name));
        let state = build::root().join("user-cluster");
        let kubectl = Kubectl::new(&program("kubectl"), kubeconfig, &state);
        Self {
            kubectl,
            helm: Helm::new(&program("helm"), kubeconfig, &state),
            local: None,
        }
    }

    pub(super) fn own(local: Local) -> Self {
        let kubectl = local.kubectl();
        let helm = Helm::new(&local.built.helm(), kubectl.kubeconfig(), local.run.path());
        Self {
            kubectl,
            helm,
            local: Some(local),
        }
    }

    /// kubectl as its administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Helm as its administrator.
    pub fn helm(&self) -> &Helm {
        &self.helm
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        self.kubectl.kubeconfig()
    }

    /// The directory everything of it lives in; none for a cluster of the user's.
    pub fn run_dir(&self) -> Option<&RunDir> {
        self.local.as_ref().map(|local| &*local.run)
    }

    pub(super) fn local(&self) -> Option<&Local> {
        self.local.as_ref()
    }

    /// Succeeds while its programs run.
    ///
    /// # Errors
    /// [`crate::Error::Ended`] with the end of the log of one that has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.local.as_mut().map_or(Ok(()), Local::check_running)
    }

    pub(super) fn is_running(&self) -> bool {
        let mut processes = self.local.iter().flat_map(|local| &local.processes);
        processes.all(Process::is_running)
    }

    /// Stops the API server as a crash would, for tests of what goes on without it. No effect on a
    /// cluster of the user's.
    pub fn kill_api_server(&mut self) {
        if let Some(local) = &mut self.local {
            // Dropping it kills it.
            local
                .processes
                .retain(|process| !process.log().ends_with(API_SERVER_LOG));
        }
    }

    /// Starts the API server again after [`Self::kill_api_server`], at the same address and with
    /// the same objects, and waits until it is ready. No effect while it runs.
    ///
    /// # Errors
    /// When it does not come up; the error holds the end of its log.
    pub async fn restart_api_server(&mut self) -> Result<()> {
        let Some(local) = &mut self.local else { return Ok(()) };
        if local
            .processes
            .iter()
            .any(|process| process.log().ends_with(API_SERVER_LOG))
        {
            return Ok(());
        }
        local.start_api_server().await
    }
}

impl Local {
    /// Starts etcd on the loopback interface and kube-apiserver on `address`, where `others` also
    /// have tokens.
    pub(super) async fn start(run: Arc<RunDir>, built: Built, address: Ipv4Addr, others: &[Identity]) -> Result<Self> {
        let etcd_url = format!("http://127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?);
        let etcd = etcd(&run, &etcd_url)?;

        let port = free_port(address)?;
        let access = Access::new(format!("https://{address}:{port}"), run.join("ca.crt"))?;
        let tokens = [access.token_file(&[Identity::admin()]), access.token_file(others)].concat();
        run.write("tokens.csv", &tokens)?;
        access.write(&run, "kubeconfig", &Identity::admin())?;
        let key = run.join("service-account.key");
        command::run_now(openssl_key(&key))?;

        let mut arguments = api_server(&run, address, port, &etcd_url);
        if address.is_loopback() {
            // A loopback address cannot be the endpoint of a Service.
            arguments.push("--endpoint-reconciler-type=none".to_owned());
        }
        let mut local = Self {
            processes: vec![etcd],
            api_server: arguments,
            access,
            built,
            run,
        };
        local.start_api_server().await?;
        Ok(local)
    }

    async fn start_api_server(&mut self) -> Result<()> {
        let arguments = self.api_server.clone();
        self.spawn("kube-apiserver", &arguments)?;
        self.wait_ready().await
    }

    /// Starts one of the built programs, recorded in the run.
    pub(super) fn spawn(&mut self, program: &str, arguments: &[String]) -> Result<()> {
        let mut command = Command::new(self.built.program(program));
        command.args(arguments);
        self.processes.push(spawn(&self.run, program, command)?);
        Ok(())
    }

    pub(super) fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.built.kubectl(), &self.run.join("kubeconfig"), self.run.path())
    }

    /// # Errors
    /// When one of the programs has ended.
    pub(super) fn check_running(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check_running)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let certificate = self.run.join("pki/apiserver.crt");
        let kubectl = self.kubectl();
        let mut ended = None;
        wait::until("kube-apiserver ready", DEADLINE, async || {
            if let Err(error) = self.check_running() {
                ended = Some(error);
                return Ok(());
            }
            if !self.access.authority.exists() {
                let authority = kubeconfig::authority_of(&certificate).map_err(|error| error.to_string())?;
                self.run
                    .write("ca.crt", &authority)
                    .map_err(|error| error.to_string())?;
            }
            kubectl
                .run("get --raw /readyz")
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await?;
        ended.map_or(Ok(()), Err)
    }
}

/// Starts a program with its log in the run directory, recorded in the run.
pub(super) fn spawn(run: &RunDir, name: &str, command: Command) -> Result<Process> {
    let process = Process::spawn(name, command, &run.join(format!("{name}.log")))?;
    run.record(name, process.id())?;
    Ok(process)
}

/// The user's own cluster, if the environment names one.
pub(super) fn user_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("KUBECONFIG")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn etcd(run: &RunDir, url: &str) -> Result<Process> {
    let peer = format!("http://127.0.0.1:{}", free_port(Ipv4Addr::LOCALHOST)?);
    let mut command = Command::new(command::find("etcd").unwrap_or_else(|| PathBuf::from("etcd")));
    // The data is thrown away with the run: no reason to wait for the disk.
    command.args(["--unsafe-no-fsync", "--name=e2e", "--logger=zap", "--log-level=warn"]);
    command.arg("--data-dir").arg(run.join("etcd"));
    command.args(["--listen-client-urls", url, "--advertise-client-urls", url]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.arg(format!("--initial-cluster=e2e={peer}"));
    spawn(run, "etcd", command)
}

fn api_server(run: &RunDir, address: Ipv4Addr, port: u16, etcd: &str) -> Vec<String> {
    let file = |name: &str| run.join(name).display().to_string();
    vec![
        format!("--etcd-servers={etcd}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={port}"),
        // It makes its own serving certificate there.
        format!("--cert-dir={}", file("pki")),
        format!("--service-account-key-file={}", file("service-account.key")),
        format!("--service-account-signing-key-file={}", file("service-account.key")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--authorization-mode=Node,RBAC".to_owned(),
        format!(
            "--service-cluster-ip-range={}",
            super::network::service_range(run.number())
        ),
        "--allow-privileged=true".to_owned(),
        // The host has no kube-proxy: webhooks and aggregated servers are reached at their pods.
        "--enable-aggregator-routing=true".to_owned(),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
    ]
}

fn openssl_key(path: &Path) -> Command {
    let mut command = command::words("openssl genrsa -out");
    command.arg(path).arg("2048");
    command
}
