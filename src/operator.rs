//! `breakwater operator`: watches, compiles, publishes, reports status.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use breakwater_operator::lease::LeaseConfig;
use breakwater_operator::{Operator, Options};
use clap::{ArgAction, Args};

use crate::crs::{catalog, read_crs};
use crate::exit::Failure;
use crate::stop::Stop;

/// Arguments of `breakwater operator`. The API server is found through KUBECONFIG or the pod's ServiceAccount.
#[derive(Args, Debug)]
pub(crate) struct OperatorArgs {
    /// Address for nodes and the other replicas
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8600")]
    listen: SocketAddr,
    /// Address for metrics and health
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8601")]
    admin: SocketAddr,
    /// Namespace of the operator itself, where its Lease is, and lists of addresses that it fetched
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAMESPACE",
        default_value = "breakwater-system"
    )]
    namespace: String,
    /// The only namespace to watch [default: all]
    #[arg(long, value_name = "NAME")]
    watch_namespace: Option<String>,
    /// Directory of the OWASP Core Rule Set, to warn of exclusions that have no effect: the one that nodes have [default:
    /// as for `dataplane`, so that of the image]
    #[arg(long, value_name = "DIR")]
    crs_dir: Option<PathBuf>,
    /// Fetch lists of addresses from the operator's own machine too, such as a container beside it in its pod
    #[arg(long)]
    lists_from_loopback: bool,
    /// This replica's name, unique among the replicas
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "breakwater-operator")]
    identity: String,
    /// All replicas: the name and port of a headless Service
    #[arg(long, value_name = "HOST:PORT")]
    peers: Option<String>,
    /// Whether to hold a Lease before writing status; false only where there is a single replica
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    leader_election: bool,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: OperatorArgs) -> Result<ExitCode, Failure> {
    // Streams and compiles side by side; the second thread keeps heartbeats going while the first is busy.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("the runtime cannot start: {error}"), ""))?;
    runtime.block_on(operate(args))
}

async fn operate(args: OperatorArgs) -> Result<ExitCode, Failure> {
    let mut stop = Stop::new()?;
    let mut options = Options::new(args.listen, args.admin, args.identity.clone());
    options.namespace.clone_from(&args.namespace);
    options.crs = catalog(read_crs(args.crs_dir)?);
    options.lists_from_loopback = args.lists_from_loopback;
    options.watch_namespace = args.watch_namespace;
    options.peers = args.peers;
    options.lease = args
        .leader_election
        .then(|| LeaseConfig::new(args.namespace, args.identity));
    let client = breakwater_operator::client().await.map_err(failure)?;
    let operator = Operator::bind(options, client).await.map_err(failure)?;
    operator.run(async move { stop.told().await }).await.map_err(failure)?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn failure(error: breakwater_operator::OperatorError) -> Failure {
    // The message says what to do already.
    Failure::environment(error.to_string(), "")
}
