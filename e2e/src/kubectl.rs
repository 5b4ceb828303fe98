//! kubectl, the client people use, with one kubeconfig.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;

use crate::{Error, Result, command, wait};

/// What kubectl may take beside the time it is told to wait.
const ITS_OWN: Duration = Duration::from_secs(10);

/// kubectl bound to one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// Binds `program` to the cluster of `kubeconfig`. What kubectl remembers of the cluster's kinds
    /// goes below `state`, so that it never meets another cluster.
    pub fn new(program: &Path, kubeconfig: &Path, state: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            cache: state.join("kubectl"),
        }
    }

    /// The kubeconfig file in use.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The kubectl program in use.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A kubectl command for what the methods here do not cover, such as one that stays.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        command.env("KUBECACHEDIR", &self.cache);
        command.args(arguments);
        command
    }

    /// Runs `kubectl ARGUMENTS`, split at white space, and returns its standard output.
    ///
    /// # Errors
    /// When kubectl fails; the error holds what it said.
    pub async fn run(&self, arguments: &str) -> Result<String> {
        command::run(self.command(arguments.split_whitespace())).await
    }

    /// Runs kubectl with arguments taken as they are (for `exec … -- sh -c 'a b'`, JSON patches).
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_exact(&self, arguments: &[&str]) -> Result<String> {
        command::run(self.command(arguments)).await
    }

    /// `kubectl apply --server-side` of the manifests in `yaml`.
    ///
    /// # Errors
    /// When the API server or kubectl refuses them; the error holds what it said.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        command::run_with_input(self.command(["apply", "--server-side", "-f", "-"]), yaml).await
    }

    /// Deletes the objects in `yaml`, without waiting for them to be gone; absent ones are no error.
    ///
    /// # Errors
    /// When kubectl fails.
    pub async fn delete(&self, yaml: &str) -> Result<String> {
        let arguments = ["delete", "--ignore-not-found", "--wait=false", "-f", "-"];
        command::run_with_input(self.command(arguments), yaml).await
    }

    /// `kubectl get ARGUMENTS -o json`, such as `nodes` or `-n shop edgecache/front`.
    ///
    /// # Errors
    /// When kubectl fails, or what it prints is not JSON.
    pub async fn json(&self, arguments: &str) -> Result<Value> {
        let line = format!("get {arguments} -o json");
        let text = self.run(&line).await?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Invalid(format!("`kubectl {line}` printed no JSON: {error}")))
    }

    /// Waits until `accept` takes the object that `kubectl get ARGUMENTS` yields, and returns it.
    /// The object need not exist yet.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the last object's status, or kubectl's last refusal.
    pub async fn wait_for(
        &self,
        arguments: &str,
        deadline: Duration,
        mut accept: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        wait::until(
            &format!("`kubectl get {arguments}` as expected"),
            deadline,
            async || {
                let object = self.json(arguments).await.map_err(|error| error.to_string())?;
                if accept(&object) {
                    Ok(object)
                } else {
                    Err(object["status"].to_string())
                }
            },
        )
        .await
    }

    /// Waits until the object's condition of type `condition` has the status `status` (`True`,
    /// `False` or `Unknown`) for its present generation, where the condition tells one.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub async fn wait_condition(
        &self,
        arguments: &str,
        condition: &str,
        status: &str,
        deadline: Duration,
    ) -> Result<Value> {
        self.wait_for(arguments, deadline, |object| has_condition(object, condition, status))
            .await
    }

    /// Waits until the rollout of `deployment/NAME`, `daemonset/NAME` or such is complete.
    ///
    /// # Errors
    /// When it is not within `deadline`; the error holds kubectl's last line.
    pub async fn wait_rollout(&self, namespace: &str, workload: &str, deadline: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", deadline.as_secs());
        let command = self.command(["-n", namespace, "rollout", "status", workload, &timeout]);
        // kubectl keeps the deadline by itself and then tells what it waits for.
        command::run_within(command, "", deadline + ITS_OWN).await.map(drop)
    }
}

fn has_condition(object: &Value, kind: &str, status: &str) -> bool {
    let generation = &object["metadata"]["generation"];
    object["status"]["conditions"].as_array().is_some_and(|conditions| {
        conditions.iter().any(|condition| {
            let observed = &condition["observedGeneration"];
            condition["type"] == kind && condition["status"] == status && (observed.is_null() || observed == generation)
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_condition_of_an_older_generation_does_not_count() {
        let object = |observed| {
            json!({
                "metadata": { "generation": 2 },
                "status": { "conditions": [{ "type": "Accepted", "status": "True", "observedGeneration": observed }] }
            })
        };
        assert!(has_condition(&object(2), "Accepted", "True"));
        assert!(!has_condition(&object(1), "Accepted", "True"));
        assert!(!has_condition(&object(2), "Accepted", "False"));
        assert!(!has_condition(&json!({}), "Accepted", "True"));
    }
}
