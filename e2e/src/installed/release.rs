//! The Helm release: lint, install, what runs, what it logs and measures, uninstall and what is left.

use serde_json::Value;

use super::{DEADLINE, EXAMPLES, Installed, NAMESPACE, RELEASE, text};
use crate::{Error, Result, breakwater::Metrics, product, wait};

/// The kinds' definitions, which stay when the release goes.
const DEFINITIONS: [&str; 4] = [
    "customresourcedefinition.apiextensions.k8s.io/cachepurges.breakwater.dev",
    "customresourcedefinition.apiextensions.k8s.io/edgecaches.breakwater.dev",
    "customresourcedefinition.apiextensions.k8s.io/wafpolicies.breakwater.dev",
    "customresourcedefinition.apiextensions.k8s.io/wsroutes.breakwater.dev",
];

impl Installed {
    /// `helm lint` of both charts.
    ///
    /// # Errors
    /// When it finds an error.
    pub async fn charts_are_in_order(&self) -> Result<()> {
        for chart in ["charts/breakwater", "charts/breakwater-crds"] {
            let chart = text(&product::file(chart));
            self.cluster.helm().run(&["lint", "--strict", &chart]).await?;
        }
        Ok(())
    }

    /// `helm install` as the chart's README says it, with nothing set; returns what Helm printed.
    ///
    /// # Errors
    /// When Helm or the API server refuses it.
    pub async fn install(&self, more: &[&str]) -> Result<String> {
        let chart = text(&product::file("charts/breakwater"));
        let mut line = vec![
            "install",
            RELEASE,
            &chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
        ];
        line.extend(more);
        self.cluster.helm().run(&line).await
    }

    /// Waits until the operator's replicas and a data plane on every node are ready, of the present
    /// revision alone.
    ///
    /// # Errors
    /// When they are not in time, or fewer than there should be.
    pub async fn wait_ready(&self) -> Result<()> {
        let kubectl = self.kubectl();
        for workload in ["deployment/breakwater-operator", "daemonset/breakwater-data-plane"] {
            kubectl.wait_rollout(NAMESPACE, workload, DEADLINE).await?;
        }
        let (operators, nodes) = (self.pods("operator").await?, self.pods("data-plane").await?);
        if operators.len() == 2 && nodes.len() == self.nodes() {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "wanted two operators and a data plane on each node, not {operators:?} and {nodes:?}"
        )))
    }

    /// The names of the ready pods of a component: `operator` or `data-plane`.
    ///
    /// # Errors
    /// When kubectl fails.
    pub async fn pods(&self, component: &str) -> Result<Vec<String>> {
        self.ready_pods(component, "/metadata/name").await
    }

    /// The texts at `pointer` of the ready pods of a component.
    pub(super) async fn ready_pods(&self, component: &str, pointer: &str) -> Result<Vec<String>> {
        let selector = format!("-l app.kubernetes.io/component={component}");
        let list = self.kubectl().json(&format!("-n {NAMESPACE} pods {selector}")).await?;
        let pods = list["items"].as_array().into_iter().flatten();
        let ready = pods.filter(|pod| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        let text = |pod: &Value| pod.pointer(pointer)?.as_str().map(str::to_owned);
        Ok(ready.filter_map(text).collect())
    }

    /// Which operator holds the Lease.
    ///
    /// # Errors
    /// When nobody ever held it.
    pub async fn leader(&self) -> Result<String> {
        let lease = self
            .kubectl()
            .json(&format!("-n {NAMESPACE} lease/breakwater-operator"))
            .await?;
        let holder = lease["spec"]["holderIdentity"].as_str().map(str::to_owned);
        holder.ok_or_else(|| Error::Invalid(format!("the Lease has no holder: {lease}")))
    }

    /// `/metrics` of a data-plane pod, through the API server.
    ///
    /// # Errors
    /// When the API server does not reach it.
    pub async fn metrics(&self, pod: &str) -> Result<Metrics> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:9090/proxy/metrics");
        self.kubectl().run(&format!("get --raw {path}")).await.map(Metrics)
    }

    /// Succeeds when no operator was refused anything by the API server: its role is wide enough.
    ///
    /// # Errors
    /// The lines of its log that say so.
    pub async fn operators_were_forbidden_nothing(&self) -> Result<()> {
        for pod in self.pods("operator").await? {
            let log = self.kubectl().run(&format!("-n {NAMESPACE} logs {pod}")).await?;
            if log.is_empty() {
                return Err(Error::Invalid(format!("{pod} has logged nothing at all")));
            }
            let refusals: Vec<&str> = log
                .lines()
                .filter(|line| line.to_ascii_lowercase().contains("forbidden"))
                .collect();
            if !refusals.is_empty() {
                return Err(Error::Invalid(format!("{pod} was refused:\n{}", refusals.join("\n"))));
            }
        }
        Ok(())
    }

    /// `helm uninstall`, then what a user who wants nothing left does: delete the definitions and
    /// the namespaces. At each point exactly what the charts' READMEs say is left.
    ///
    /// # Errors
    /// When something more, or less, is left.
    pub async fn uninstall(&self) -> Result<()> {
        let (kubectl, helm) = (self.kubectl(), self.cluster.helm());
        helm.run(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"])
            .await?;
        let lease = "lease.coordination.k8s.io/breakwater-operator".to_owned();
        self.wait_left(NAMESPACE, &[lease]).await?;
        self.definitions_are_left(&DEFINITIONS).await?;
        for object in [
            "edgecache/shop",
            "wafpolicy/shop",
            "wsroute/chat",
            "cachepurge/shop-everything",
        ] {
            kubectl.json(&format!("-n {EXAMPLES} {object}")).await?;
        }
        self.nodes_serve_nothing().await?;

        // What was left is taken up by the same release, and by the definitions' own chart.
        self.install(&["--dry-run=server"]).await?;
        let chart = text(&product::file("charts/breakwater-crds"));
        helm.run(&["install", "breakwater-crds", &chart, "--take-ownership"])
            .await?;
        helm.run(&["uninstall", "breakwater-crds", "--wait"]).await?;
        self.definitions_are_left(&DEFINITIONS).await?;

        // No operator is there to let go of anything, and none is needed.
        let delete = format!("delete --timeout={}s", DEADLINE.as_secs());
        kubectl.run(&format!("{delete} {}", DEFINITIONS.join(" "))).await?;
        self.definitions_are_left(&[]).await?;
        kubectl
            .run(&format!("{delete} namespace {NAMESPACE} {EXAMPLES}"))
            .await
            .map(drop)
    }

    /// Waits until exactly `wanted` is in a namespace, beside what Kubernetes itself puts there.
    async fn wait_left(&self, namespace: &str, wanted: &[String]) -> Result<()> {
        let kinds = self
            .kubectl()
            .run("api-resources --verbs=list --namespaced -o name")
            .await?;
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        let list = format!("-n {namespace} get {} -o name --ignore-not-found", kinds.join(","));
        wait::until(&format!("only {wanted:?} in {namespace}"), DEADLINE, async || {
            let all = self.kubectl().run(&list).await.map_err(|error| error.to_string())?;
            let left: Vec<&str> = all
                .lines()
                .filter(|name| !["configmap/kube-root-ca.crt", "serviceaccount/default"].contains(name))
                .collect();
            if left == wanted {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        })
        .await
    }

    /// Fails unless exactly `wanted` is left of what the charts put beside namespaces.
    async fn definitions_are_left(&self, wanted: &[&str]) -> Result<()> {
        let kinds = "customresourcedefinitions,clusterroles,clusterrolebindings";
        let all = self.kubectl().run(&format!("get {kinds} -o name")).await?;
        let left: Vec<&str> = all.lines().filter(|name| name.contains("breakwater")).collect();
        if left == wanted {
            return Ok(());
        }
        Err(Error::Invalid(format!("left of the charts: {left:?}, not {wanted:?}")))
    }

    async fn nodes_serve_nothing(&self) -> Result<()> {
        for edge in self.edges(&self.client) {
            wait::until(
                &format!("{} to serve nothing", edge.name()),
                DEADLINE,
                async || match edge.get(super::SHOP, "/page").await {
                    Ok(response) => Err(format!("{response:?}")),
                    Err(_) => Ok(()),
                },
            )
            .await?;
        }
        Ok(())
    }
}
