//! Helm with one kubeconfig.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{Result, command};

/// `helm --wait` waits five minutes unless told otherwise, and then says for what.
const DEADLINE: Duration = Duration::from_secs(6 * 60);

/// Helm bound to one cluster. Its configuration, cache and data are its own, so that neither the
/// user's settings nor another test's reach it.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Helm {
    /// Binds `program` to the cluster of `kubeconfig`, with all it stores locally below `state`.
    pub fn new(program: &Path, kubeconfig: &Path, state: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: state.join("helm"),
        }
    }

    /// Runs `helm ARGUMENTS` and returns its standard output.
    ///
    /// # Errors
    /// When Helm fails; the error holds what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let home = &self.home;
        let mut command = Command::new(&self.program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_DATA_HOME", home.join("data"))
            .args(arguments);
        command::run_within(command, "", DEADLINE).await
    }
}
