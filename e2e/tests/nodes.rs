//! Ring b: three nodes run pods that clients reach from outside, and leave nothing behind.

use std::{fs, path::Path, time::Duration};

use breakwater_e2e::{
    Result,
    cluster::{Cluster, MAX_NODES},
    requirements, wait,
};

const SOON: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_client_outside_reaches_a_pod_on_each_nodes_port_and_all_is_gone_after() -> Result<()> {
    if requirements::skipped_by_runner("nodes") {
        return Ok(());
    }
    let mut cluster = Cluster::start(MAX_NODES).await?;
    let number = run_number(&cluster);
    assert_ne!(
        traces(&number),
        Vec::<String>::new(),
        "the search for traces finds a running cluster"
    );
    assert_eq!(cluster.nodes().len(), usize::from(MAX_NODES));

    let image = cluster.import_own("whoami").await?;
    cluster.kubectl().apply(&workload(&image)).await?;
    cluster
        .kubectl()
        .wait_rollout("default", "daemonset/whoami", SOON)
        .await?;

    host_ports_show_the_clients_address(&cluster).await?;
    names_resolve_and_services_balance(&cluster).await?;
    logs_and_exec_work(&cluster).await?;
    cluster.check_running()?;

    drop(cluster);
    assert_eq!(traces(&number), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_cluster_has_one_to_three_nodes() {
    for nodes in [0, MAX_NODES + 1] {
        assert!(Cluster::start(nodes).await.is_err(), "{nodes}");
    }
}

async fn host_ports_show_the_clients_address(cluster: &Cluster) -> Result<()> {
    let clients = [cluster.client().await?, cluster.client().await?];
    assert_ne!(clients[0].address(), clients[1].address());
    for node in cluster.nodes() {
        for client in &clients {
            let url = format!("http://{}:8000/", node.address());
            // The port is mapped some moments before the packet filter lets it through.
            let answer = wait::until(&url, SOON, async || {
                client
                    .curl(&format!("--fail {url}"))
                    .await
                    .map_err(|error| error.to_string())
            })
            .await?;
            let address = client.address().expect("the cluster is ours");
            assert!(
                answer.contains(&format!("node={} remote={address}:", node.name())),
                "{answer}"
            );
        }
    }
    Ok(())
}

async fn names_resolve_and_services_balance(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl();
    let service = kubectl.json("service/whoami").await?;
    let address = service["spec"]["clusterIP"].as_str().expect("it has one").to_owned();
    let pods = kubectl.json("pods -l app=whoami").await?;
    let pods: Vec<&str> = pods["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(name)
        .collect();
    assert_eq!(pods.len(), cluster.nodes().len());

    for pod in pods {
        for name in ["whoami", "whoami.default.svc.cluster.local"] {
            let found = kubectl.run(&format!("exec {pod} -- /program lookup {name}")).await?;
            assert_eq!(found, address, "{name} in {pod}");
        }
        // From each pod to every pod, its own node's too.
        wait::until(&format!("{pod} to reach a pod on every node"), SOON, async || {
            let mut seen = Vec::new();
            for _ in 0..20 {
                let get = format!("exec {pod} -- /program get http://whoami:80/");
                let answer = kubectl.run(&get).await.map_err(|error| error.to_string())?;
                seen.extend(
                    answer
                        .split(' ')
                        .find(|word| word.starts_with("node="))
                        .map(str::to_owned),
                );
                seen.sort();
                seen.dedup();
                if seen.len() == cluster.nodes().len() {
                    return Ok(());
                }
            }
            Err(format!("{seen:?}"))
        })
        .await?;
    }
    Ok(())
}

async fn logs_and_exec_work(cluster: &Cluster) -> Result<()> {
    let logs = cluster.kubectl().run("logs daemonset/whoami").await?;
    assert!(logs.contains("whoami listens"), "{logs}");
    Ok(())
}

fn workload(image: &str) -> String {
    format!(
        r#"apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: whoami, namespace: default}}
spec:
  selector: {{matchLabels: {{app: whoami}}}}
  template:
    metadata: {{labels: {{app: whoami}}}}
    spec:
      containers:
      - name: whoami
        image: {image}
        imagePullPolicy: Never
        env: [{{name: NODE_NAME, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}]
        ports: [{{containerPort: 8080, hostPort: 8000}}]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
        securityContext:
          allowPrivilegeEscalation: false
          capabilities: {{drop: [ALL]}}
          readOnlyRootFilesystem: true
          runAsNonRoot: true
          runAsUser: 65532
          seccompProfile: {{type: RuntimeDefault}}
---
apiVersion: v1
kind: Service
metadata: {{name: whoami, namespace: default}}
spec:
  selector: {{app: whoami}}
  ports: [{{port: 80, targetPort: 8080}}]
"#
    )
}

fn name(object: &serde_json::Value) -> Option<&str> {
    object["metadata"]["name"].as_str()
}

fn run_number(cluster: &Cluster) -> String {
    let path = cluster.run_dir().expect("the cluster is ours").path();
    let name = path.file_name().and_then(|name| name.to_str()).expect("it has a name");
    name.rsplit('-').next().expect("it ends in a number").to_owned()
}

/// What the run with this number has on the machine: directory, interfaces, cgroups, mounts,
/// network namespaces and processes.
fn traces(number: &str) -> Vec<String> {
    let mut found = Vec::new();
    let run = format!("breakwater-e2e-{number}");
    let name = format!("bw{number}");
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect()
    };
    let cgroups = Path::new("/sys/fs/cgroup");
    let places = ["/sys/class/net", "/sys/fs/cgroup"]
        .map(Path::new)
        .into_iter()
        .map(Path::to_owned);
    for place in places.chain(names(cgroups).into_iter().map(Into::into)) {
        found.extend(names(&place).into_iter().filter(|path| {
            path.rsplit('/').next().is_some_and(|last| {
                last.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with(['h', 'n']))
            })
        }));
    }
    found.extend(
        names(&std::env::temp_dir())
            .into_iter()
            .filter(|path| path.ends_with(&run)),
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("every process has one");
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&format!("{run}/")))
            .map(str::to_owned),
    );
    for process in names(Path::new("/proc")) {
        let command = fs::read(format!("{process}/cmdline")).unwrap_or_default();
        let mounts = fs::read_to_string(format!("{process}/mountinfo")).unwrap_or_default();
        if String::from_utf8_lossy(&command).contains(&format!("{run}/")) || mounts.contains(&format!("{run}/")) {
            found.push(process);
        }
    }
    found
}
