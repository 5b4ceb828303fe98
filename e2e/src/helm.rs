//! Helm with one kubeconfig.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Result, command};

/// Helm bound to one cluster. Its configuration, cache and data stay beside the kubeconfig, so that
/// neither the user's settings nor another test's reach it.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Helm {
    /// Binds `program` to the cluster of `kubeconfig`.
    pub fn new(program: &Path, kubeconfig: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// Runs `helm ARGUMENTS` and returns its standard output.
    ///
    /// # Errors
    /// When Helm fails; the error holds what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let home = self.kubeconfig.with_extension("helm");
        let mut command = Command::new(&self.program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_DATA_HOME", home.join("data"))
            .args(arguments);
        command::run(command).await
    }
}
