//! Two operators: one writes, both serve nodes, and the other takes over.

use breakwater_e2e::{
    Result, requirements,
    ring_a::{Operator, RingA, SYSTEM_NAMESPACE, front::Front, origin::Origin},
    wait as condition,
};
use serde_json::Value;

use super::{DEADLINE, SHOP, apply_shop, edit, nothing_was_refused, wait, wait_nodes};

#[tokio::test]
async fn one_of_two_replicas_writes_and_the_other_takes_over_when_it_dies() -> Result<()> {
    if requirements::skipped_by_runner("replicas") {
        return Ok(());
    }
    let ring = RingA::start().await?;
    let origin = Origin::start().await?;
    let addresses = [ring.operator_address(1)?, ring.operator_address(2)?];
    // In a cluster one name has the addresses of all; here each is told the other's.
    let mut first = ring.operator(1, &["--peers", &addresses[1].to_string()])?;
    first.ready().await?;
    wait_holder(&ring, "operator-1").await?;
    let mut second = ring.operator(2, &["--peers", &addresses[0].to_string()])?;
    second.ready().await?;

    // Each node at another replica: the leader hears of one of them only through its peer.
    let front = Front::start(ring.operator_address(0)?, addresses.to_vec()).await?;
    let mut nodes = [ring.data_plane(1, addresses[0])?, ring.data_plane(2, addresses[1])?];
    for node in &mut nodes {
        node.ready().await?;
    }
    apply_shop(&ring, &origin).await?;
    wait(&ring, "edgecache/shop", "Programmed").await?;
    wait_nodes(&ring, "edgecache/shop", "2/2", DEADLINE).await?;
    assert!(writes(&first).await? > 0.0);
    assert_eq!(writes(&second).await?, 0.0, "only the leader writes");

    // The same through a Service: nodes then have their streams and acknowledgements at any replica.
    for (index, node) in (1..).zip(&mut nodes) {
        node.process().kill();
        *node = ring.data_plane(index, front.address())?;
        node.ready().await?;
    }
    wait_nodes(&ring, "edgecache/shop", "2/2", DEADLINE).await?;

    first.process().kill();
    let before = first.process().output()?;
    edit(
        &ring,
        "edgecache/shop",
        r#"{"spec": {"paths": [{"value": "/static"}]}}"#,
    )
    .await?;
    // Configuration needs no leader.
    for node in &nodes {
        node.wait_answer(SHOP, "/other", DEADLINE, |answer| answer.status == 404)
            .await?;
    }
    wait_holder(&ring, "operator-2").await?;
    let taken = ring
        .kubectl()
        .wait_condition("edgecache/shop", "Programmed", "True", DEADLINE)
        .await?;
    assert_eq!(taken["status"]["nodes"]["summary"], "2/2", "{}", taken["status"]);
    assert!(writes(&second).await? > 0.0);

    // One that is told to go releases the Lease, and the next takes it.
    first = ring.operator(1, &["--peers", &addresses[1].to_string()])?;
    first.ready().await?;
    second.process().signal(rustix::process::Signal::TERM)?;
    assert!(second.process().wait_end(DEADLINE).await?.success());
    wait_holder(&ring, "operator-1").await?;
    second
        .process()
        .output()
        .map(|log| assert!(log.contains("the lease is released"), "{log}"))?;
    edit(&ring, "edgecache/shop", r#"{"spec": {"paths": [{"value": "/"}]}}"#).await?;
    wait_nodes(&ring, "edgecache/shop", "2/2", DEADLINE).await?;
    ring.kubectl()
        .wait_condition("edgecache/shop", "Programmed", "True", DEADLINE)
        .await?;
    assert!(!before.contains("forbidden"), "{before}");
    nothing_was_refused(&ring, &mut [&mut first, &mut second]).await
}

async fn wait_holder(ring: &RingA, holder: &str) -> Result<()> {
    let lease = format!("-n {SYSTEM_NAMESPACE} lease/breakwater-operator");
    let accept = |lease: &Value| lease["spec"]["holderIdentity"] == holder;
    ring.kubectl().wait_for(&lease, DEADLINE, accept).await.map(drop)
}

/// How many statuses a replica has written.
async fn writes(operator: &Operator) -> Result<f64> {
    let sum = condition::until("the operator's metrics", DEADLINE, async || {
        operator.metrics().await.map_err(|error| error.to_string())
    });
    Ok(sum.await?.sum("breakwater_operator_status_writes_total{"))
}
