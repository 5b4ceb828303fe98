//! Ring a: real operators and data planes on a real API server, with kubectl as the client.
//!
//! Each test has an API server of its own, because some stop it or change its definitions. The
//! operator always has the chart's ServiceAccount, and every test ends by asking the API server
//! whether it refused anything.

#[path = "operator/failover.rs"]
mod failover;
#[path = "operator/life.rs"]
mod life;
#[path = "operator/lists.rs"]
mod lists;
#[path = "operator/namespace.rs"]
mod namespace;
#[path = "operator/nodes.rs"]
mod nodes;
#[path = "operator/outages.rs"]
mod outages;
#[path = "operator/prefetch.rs"]
mod prefetch;
#[path = "operator/rules.rs"]
mod rules;
#[path = "operator/schemas.rs"]
mod schemas;
#[path = "operator/secrets.rs"]
mod secrets;
#[path = "operator/tiers.rs"]
mod tiers;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use breakwater_e2e::{
    Result,
    ring_a::{DataPlane, Operator, RingA, origin::Origin},
};
use serde_json::Value;

/// How long anything may take that should be done at once. Reached only when a test fails.
const DEADLINE: Duration = breakwater_e2e::breakwater::DEADLINE;

const SHOP: &str = "shop.example.com";

/// The Services of the examples, both with `origin` behind them, and an EdgeCache in front of one.
async fn apply_shop(ring: &RingA, origin: &Origin) -> Result<()> {
    let manifests = [
        origin.service("shop", 8080),
        origin.service("chat", 8080),
        ring.file("examples/kubernetes/shop.yaml")?,
    ];
    ring.kubectl().apply(&manifests.join("\n---\n")).await?;
    Ok(())
}

/// The shop of the examples on two nodes, which run it.
struct TwoNodes {
    ring: RingA,
    origin: Origin,
    operator: Operator,
    nodes: [DataPlane; 2],
}

/// Two nodes that run the shop; `arguments` are those of the nodes.
async fn two_nodes(arguments: &[&str]) -> Result<TwoNodes> {
    let ring = RingA::start().await?;
    let origin = Origin::start().await?;
    let mut operator = ring.operator(1, &[])?;
    let mut nodes = [
        ring.data_plane_with(1, operator.address(), arguments)?,
        ring.data_plane_with(2, operator.address(), arguments)?,
    ];
    operator.ready().await?;
    for node in &mut nodes {
        node.ready().await?;
    }
    apply_shop(&ring, &origin).await?;
    wait(&ring, "edgecache/shop", "Programmed").await?;
    wait_nodes(&ring, "edgecache/shop", "2/2", DEADLINE).await?;
    Ok(TwoNodes {
        ring,
        origin,
        operator,
        nodes,
    })
}

/// `kubectl wait`, as people write it.
async fn wait(ring: &RingA, object: &str, condition: &str) -> Result<()> {
    let seconds = DEADLINE.as_secs();
    let line = format!("wait {object} --for=condition={condition} --timeout={seconds}s");
    ring.kubectl().run(&line).await.map(drop)
}

/// Waits until the object's condition has this status and reason, and returns its message.
async fn reason(ring: &RingA, object: &str, condition: &str, status: &str, reason: &str) -> Result<String> {
    let found = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array()?;
        let generation = &object["metadata"]["generation"];
        let found = conditions.iter().find(|found| {
            found["type"] == condition
                && found["status"] == status
                && found["reason"] == reason
                && found["observedGeneration"] == *generation
        })?;
        found["message"].as_str().map(str::to_owned)
    };
    let object = ring
        .kubectl()
        .wait_for(object, DEADLINE, |object| found(object).is_some())
        .await?;
    Ok(found(&object).unwrap_or_default())
}

/// Waits until the object's nodes, as kubectl prints them, are `summary` (programmed/desired).
async fn wait_nodes(ring: &RingA, object: &str, summary: &str, deadline: Duration) -> Result<()> {
    let accept = |object: &Value| object["status"]["nodes"]["summary"] == summary;
    ring.kubectl().wait_for(object, deadline, accept).await.map(drop)
}

/// A merge patch, as `kubectl edit` and most tools write.
async fn edit(ring: &RingA, object: &str, patch: &str) -> Result<()> {
    ring.kubectl()
        .run_exact(&["patch", object, "--type=merge", "-p", patch])
        .await
        .map(drop)
}

/// Applies an edit and waits until a node answers accordingly; tells on standard error how long
/// that took from the moment kubectl was done.
async fn edit_and_see(
    ring: &RingA,
    (object, patch): (&str, &str),
    node: &DataPlane,
    (target, status): (&str, u16),
) -> Result<()> {
    edit(ring, object, patch).await?;
    let begun = Instant::now();
    node.wait_answer(SHOP, target, DEADLINE, |answer| answer.status == status)
        .await?;
    // Lost only if standard error is closed.
    let _ = writeln!(
        std::io::stderr(),
        "{object} edited: {target} is {status} {:?} after kubectl's end",
        begun.elapsed()
    );
    Ok(())
}

/// Fails if the operator lacked a permission.
async fn nothing_was_refused(ring: &RingA, operators: &mut [&mut Operator]) -> Result<()> {
    assert_eq!(ring.refused().await?, Vec::<String>::new());
    for operator in operators {
        let log = operator.process().output()?;
        assert!(!log.to_lowercase().contains("forbidden"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    Ok(())
}
