//! Ring a: etcd and kube-apiserver answer kubectl and Helm, and leave nothing behind.

use breakwater_e2e::{Result, cluster::ControlPlane, requirements};

#[tokio::test]
async fn an_object_applied_is_read_back_and_a_wrong_one_is_refused() -> Result<()> {
    if requirements::skipped_by_runner("control_plane") {
        return Ok(());
    }
    let control_plane = ControlPlane::from_env().await?;
    let kubectl = control_plane.kubectl();
    let namespace = format!("e2e-control-plane-{}", std::process::id());
    kubectl.run(&format!("create namespace {namespace}")).await?;

    let manifest = config_map(&namespace, r#"{greeting: "hello, world"}"#);
    kubectl.apply(&manifest).await?;
    let object = kubectl.json(&format!("-n {namespace} configmap/probe")).await?;
    assert_eq!(object["data"]["greeting"], "hello, world");

    let refused = kubectl.apply(&config_map(&namespace, "{greeting: {not: text}}")).await;
    let refusal = refused.expect_err("data holds text only").to_string();
    assert!(refusal.contains("ConfigMap"), "{refusal}");

    let releases = control_plane
        .helm()
        .run(&["list", "--all-namespaces", "--short"])
        .await?;
    assert_eq!(releases, "");

    kubectl.delete(&manifest).await?;
    kubectl
        .run(&format!("delete namespace {namespace} --wait=false"))
        .await?;
    Ok(())
}

#[tokio::test]
async fn two_run_beside_each_other_and_dropping_one_leaves_the_other() -> Result<()> {
    if requirements::skipped_by_runner("control_plane") {
        return Ok(());
    }
    let (first, second) = tokio::try_join!(ControlPlane::start(), ControlPlane::start())?;
    let directory = first.run_dir().expect("it is ours").path().to_owned();
    assert!(directory.join("pids/kube-apiserver").exists());

    drop(first);
    assert!(!directory.exists(), "{} is left", directory.display());
    assert_eq!(second.kubectl().run("get --raw /readyz").await?, "ok");
    Ok(())
}

#[tokio::test]
async fn objects_outlive_a_crash_of_the_api_server() -> Result<()> {
    if requirements::skipped_by_runner("control_plane") {
        return Ok(());
    }
    let mut control_plane = ControlPlane::start().await?;
    control_plane
        .kubectl()
        .apply(&config_map("default", "{kept: yes please}"))
        .await?;
    control_plane.kill_api_server();
    assert!(control_plane.kubectl().run("get --raw /readyz").await.is_err());

    control_plane.restart_api_server().await?;
    let object = control_plane.kubectl().json("-n default configmap/probe").await?;
    assert_eq!(object["data"]["kept"], "yes please");
    control_plane.check_running()
}

#[tokio::test]
async fn a_test_that_panics_leaves_nothing() -> Result<()> {
    if requirements::skipped_by_runner("control_plane") {
        return Ok(());
    }
    let (tell, told) = tokio::sync::oneshot::channel();
    let tasks = tokio::task::LocalSet::new();
    let test = tasks.spawn_local(async {
        let control_plane = ControlPlane::start().await.expect("it starts");
        let directory = control_plane.run_dir().expect("it is ours").path().to_owned();
        let process = std::fs::read_to_string(directory.join("pids/kube-apiserver")).expect("it is recorded");
        tell.send((directory, process)).expect("the other end waits");
        panic!("as a failed assertion does");
    });
    tasks.await;
    let (directory, process) = told.await.expect("the control plane starts");
    assert!(test.await.expect_err("it panics").is_panic());
    assert!(!directory.exists(), "{} is left", directory.display());
    let pid = process.split(' ').next().expect("an id and a start time");
    assert!(
        !std::path::Path::new("/proc").join(pid).exists(),
        "the API server is left"
    );
    Ok(())
}

fn config_map(namespace: &str, data: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: probe, namespace: {namespace}}}\ndata: {data}\n")
}
