//! What goes on without the operator, without the API server, and with neither.

use std::{net::SocketAddr, time::Duration};

use breakwater_e2e::{
    Result,
    load::{Load, Target},
    origin as echo, requirements,
    ring_a::{RingA, origin::Origin},
    wait as condition,
};

use super::{DEADLINE, SHOP, apply_shop, edit, edit_and_see, nothing_was_refused, wait, wait_nodes};

/// Between two requests of each connection of the load.
const PACE: Duration = Duration::from_millis(20);

#[tokio::test]
async fn traffic_goes_on_without_operator_or_api_server_and_changes_flow_once_they_are_back() -> Result<()> {
    if requirements::skipped_by_runner("outages") {
        return Ok(());
    }
    let mut ring = RingA::start().await?;
    let origin = Origin::start().await?;
    let mut operator = ring.operator(1, &[])?;
    let mut node = ring.data_plane(1, operator.address())?;
    let mut steady = ring.data_plane(4, operator.address())?;
    operator.ready().await?;
    node.ready().await?;
    steady.ready().await?;
    apply_shop(&ring, &origin).await?;
    let protect = ring.file("examples/kubernetes/protect.yaml")?;
    ring.kubectl().apply(&protect).await?;
    wait(&ring, "edgecache/shop", "Programmed").await?;
    wait(&ring, "wafpolicy/shop", "Programmed").await?;
    let policy = "wafpolicy/shop";
    let mut load = start_load(&ring, steady.address()).await?;

    // Asked now: an API server that starts refuses everybody until it has read its own rules.
    nothing_was_refused(&ring, &mut [&mut operator]).await?;

    // Without the operator.
    operator.process().kill();
    goes_on(&mut load).await?;
    for path in ["/static/a", "/b"] {
        assert_eq!(node.get(SHOP, path).await?.status, 200);
    }
    assert_eq!(node.get(SHOP, "/admin").await?.status, 403);
    assert_eq!(node.admin("/readyz").await?.status, 200);

    // A restart of the node serves what it last had; a node without a past has nothing to serve.
    node.process().kill();
    node = ring.data_plane(1, operator.address())?;
    node.ready().await?;
    assert_eq!(node.get(SHOP, "/b").await?.status, 200);
    assert_eq!(node.get(SHOP, "/admin").await?.status, 403);
    let mut fresh = ring.data_plane(2, operator.address())?;
    let answer = condition::until("the new node's admin port", DEADLINE, async || {
        fresh.admin("/readyz").await.map_err(|error| error.to_string())
    })
    .await?;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(fresh.get(SHOP, "/b").await?.status, 503);

    // What changes meanwhile is enforced once it is back, on both.
    let deny = r#"{"spec": {"uris": {"deny": [{"value": "/b"}]}}}"#;
    edit(&ring, policy, deny).await?;
    assert_eq!(node.get(SHOP, "/b").await?.status, 200, "nobody told the node");
    operator = ring.operator(1, &[])?;
    for node in [&node, &steady, &fresh] {
        node.wait_answer(SHOP, "/b", DEADLINE, |answer| answer.status == 403)
            .await?;
    }
    fresh.ready().await?;
    wait_nodes(&ring, policy, "3/3", DEADLINE).await?;

    // Without the API server: the operator stays with what it knows.
    ring.control_plane().kill_api_server();
    goes_on(&mut load).await?;
    assert_eq!(node.get(SHOP, "/static/a").await?.status, 200);
    assert_eq!(node.get(SHOP, "/b").await?.status, 403);
    // A node that comes meanwhile is served by the operator alone.
    let mut third = ring.data_plane(3, operator.address())?;
    third.ready().await?;
    assert_eq!(third.get(SHOP, "/b").await?.status, 403);
    ring.control_plane().restart_api_server().await?;
    operator.process().check_running()?;
    let deny = r#"{"spec": {"uris": {"deny": [{"value": "/c"}]}}}"#;
    edit_and_see(&ring, (policy, deny), &node, ("/c", 403)).await?;
    wait_nodes(&ring, policy, "4/4", DEADLINE).await?;

    // An operator that starts before the API server waits for it and tells nobody that all is gone.
    operator.process().kill();
    ring.control_plane().kill_api_server();
    operator = ring.operator(1, &[])?;
    operator.process().wait_line("tried again", DEADLINE).await?;
    goes_on(&mut load).await?;
    assert_eq!(node.get(SHOP, "/c").await?.status, 403);
    assert_eq!(node.get(SHOP, "/b").await?.status, 200);
    ring.control_plane().restart_api_server().await?;
    operator.ready().await?;
    let deny = r#"{"spec": {"uris": {"deny": [{"value": "/d"}]}}}"#;
    edit_and_see(&ring, (policy, deny), &node, ("/d", 403)).await?;
    wait(&ring, policy, "Programmed").await?;
    operator.process().check_running()?;
    // Not one request failed, and no WebSocket was dropped, through all of it.
    load.stop().await.map(drop)
}

/// Steady use of a node: responses that are stored, responses that are not, and WebSockets.
async fn start_load(ring: &RingA, node: SocketAddr) -> Result<Load> {
    let server = echo::start_echo().await?;
    let manifest = format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: WsRoute\nmetadata: {{name: echo}}\n\
         spec: {{hostnames: [echo.example.com], backend: {{urls: ['http://{server}']}}}}\n"
    );
    ring.kubectl().apply(&manifest).await?;
    wait(ring, "wsroute/echo", "Programmed").await?;
    let target = |path: &str, body: &str| Target {
        host: SHOP.to_owned(),
        path: path.to_owned(),
        body: body.to_owned(),
        open_ended: false,
    };
    let targets = [
        target("/static/s", "/static/s for the 1. time"),
        target("/same", "/same"),
    ];
    let mut load = Load::new();
    load.connections(1, node, &targets, PACE).await?;
    // The first has stored it: from here on all are answered with that one.
    condition::until("the first answers", DEADLINE, async || match load.done().requests {
        0..4 => Err("none yet".to_owned()),
        _ => Ok(()),
    })
    .await?;
    load.connections(15, node, &targets, PACE).await?;
    load.web_sockets(4, node, "echo.example.com", "/", PACE).await?;
    Ok(load)
}

/// Waits until the load has done a good deal more, without a failure.
async fn goes_on(load: &mut Load) -> Result<()> {
    let before = load.check()?;
    condition::until("the load goes on", DEADLINE, async || {
        let done = load.check().map_err(|error| error.to_string())?;
        if done.requests >= before.requests + 200 && done.messages >= before.messages + 20 {
            Ok(())
        } else {
            Err(format!("{done:?} after {before:?}"))
        }
    })
    .await
}
