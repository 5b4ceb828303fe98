//! Two levels of nodes: labels of Nodes say which of them ask the origin.

use std::time::Duration;

use breakwater_e2e::{
    Result, requirements,
    ring_a::{RingA, origin::Origin},
    wait::until,
};

use super::{SHOP, apply_shop, edit, nothing_was_refused, wait};

/// An operator that just started sends no list for 20 s, and a node is in it after 5 more.
const LISTED: Duration = Duration::from_secs(90);

#[tokio::test]
async fn nodes_with_the_label_ask_the_origin_and_the_others_ask_them() -> Result<()> {
    if requirements::skipped_by_runner("tiers") {
        return Ok(());
    }
    let ring = RingA::start().await?;
    let origin = Origin::start().await?;
    let mut operator = ring.operator(1, &[])?;
    let mut first = ring.data_plane_asked_by_others(1, operator.address())?;
    let mut second = ring.data_plane_asked_by_others(2, operator.address())?;
    operator.ready().await?;
    first.ready().await?;
    second.ready().await?;
    for (node, labels) in [("node-1", "{tier: first, other: label}"), ("node-2", "{}")] {
        let manifest = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {node}, labels: {labels}}}\n");
        ring.kubectl().apply(&manifest).await?;
    }
    apply_shop(&ring, &origin).await?;
    let tiering = r#"{"spec": {"tiering": {"mode": "Parent", "parent": {"nodes": {"matchLabels": {"tier": "first"}}, "fallback": "None"}}}}"#;
    edit(&ring, "edgecache/shop", tiering).await?;
    wait(&ring, "edgecache/shop", "Programmed").await?;

    // Nobody is known to be of the first level yet, and nobody else may ask the origin.
    let answer = second
        .wait_answer(SHOP, "/static/a", LISTED, |answer| answer.status == 200)
        .await?;
    let said = answer.header("cache-status");
    assert!(said.starts_with("breakwater-parent; fwd=miss"), "{said}");
    let own = first.get(SHOP, "/static/a").await?;
    assert!(own.header("cache-status").starts_with("breakwater; hit"), "{own:?}");
    assert_eq!(origin.asked("/static/a"), 1);

    // The label changes hands, and with it who asks.
    ring.kubectl().run("label node/node-1 tier-").await?;
    ring.kubectl().run("label node/node-2 tier=first").await?;
    let mut paths = (0..).map(|n| format!("/static/b{n}"));
    until("node-1 to ask node-2", LISTED, async || {
        let path = paths.next().unwrap_or_default();
        let answer = first.get(SHOP, &path).await.map_err(|error| error.to_string())?;
        match answer.header("cache-status").starts_with("breakwater-parent;") {
            true => Ok(()),
            false => Err(format!("{answer:?}")),
        }
    })
    .await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await
}
