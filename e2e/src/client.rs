//! A client: a machine on the nodes' network, outside the pod network. It sees nodes at their own
//! addresses, and they see its.

use std::{net::Ipv4Addr, path::Path, process::Command, sync::Arc};

use crate::{
    Result,
    cluster::{Bridge, Holder, client_address, run_dir::RunDir},
    command,
};

/// A network namespace on the bridge, or this machine where the cluster is the user's.
#[derive(Debug)]
pub struct Client {
    namespace: Option<Namespace>,
}

#[derive(Debug)]
struct Namespace {
    holder: Holder,
    address: Ipv4Addr,
    _run: Arc<RunDir>,
}

impl Client {
    pub(crate) fn this_machine() -> Self {
        Self { namespace: None }
    }

    pub(crate) async fn attach(run: &Arc<RunDir>, bridge: &Bridge, pause: &Path, index: u8) -> Result<Self> {
        let name = format!("client-{index}");
        let address = client_address(run.number(), index)?;
        let holder = Holder::network(run, &name, pause).await?;
        bridge.attach(&name, &holder, address)?;
        Ok(Self {
            namespace: Some(Namespace {
                holder,
                address,
                _run: Arc::clone(run),
            }),
        })
    }

    /// The address that servers see; none where the client is this machine.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.namespace.as_ref().map(|namespace| namespace.address)
    }

    /// A command that runs `program` at the client: same files, its network.
    pub fn command(&self, program: &str) -> Command {
        match &self.namespace {
            Some(namespace) => namespace.holder.in_network(program),
            None => Command::new(program),
        }
    }

    /// Runs `curl ARGUMENTS`, split at white space, quietly and with a time limit of ten seconds,
    /// and returns what it prints.
    ///
    /// # Errors
    /// When curl fails; the error holds what it said. An HTTP status is no failure unless
    /// `--fail` is among the arguments.
    pub async fn curl(&self, arguments: &str) -> Result<String> {
        let mut curl = self.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10"])
            .args(arguments.split_whitespace());
        command::run(curl).await
    }
}
