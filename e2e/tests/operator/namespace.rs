//! One namespace only: the chart's Role in place of its ClusterRole, and no look beyond.

use breakwater_e2e::{
    Result, requirements,
    ring_a::{RingA, origin::Origin},
};

use super::{SHOP, apply_shop, nothing_was_refused, wait};

#[tokio::test]
async fn an_operator_of_one_namespace_needs_no_rights_in_others_and_leaves_them_alone() -> Result<()> {
    if requirements::skipped_by_runner("one namespace") {
        return Ok(());
    }
    let ring = RingA::start_with(&["operator.watchNamespace=default"]).await?;
    let origin = Origin::start().await?;
    let roles = ring.kubectl().run("get clusterroles -o name").await?;
    assert!(!roles.contains("breakwater"), "{roles}");
    let mut operator = ring.operator(1, &["--watch-namespace", "default"])?;
    let mut node = ring.data_plane(1, operator.address())?;
    operator.ready().await?;
    node.ready().await?;

    // The other namespace's object is older, and would win.
    ring.kubectl().run("create namespace other").await?;
    let other = ring.file("examples/kubernetes/shop.yaml")?;
    let other = other.replace("name: shop\nspec", "name: shop\n  namespace: other\nspec");
    ring.kubectl().apply(&other).await?;
    apply_shop(&ring, &origin).await?;
    wait(&ring, "edgecache/shop", "Accepted").await?;
    wait(&ring, "edgecache/shop", "Programmed").await?;
    assert_eq!(node.get(SHOP, "/a").await?.status, 200);
    let untouched = ring.kubectl().json("-n other edgecache/shop").await?;
    assert!(untouched["status"].is_null(), "{untouched}");

    // A fault is told in an event, which takes a right of its own.
    ring.kubectl().run("delete service/shop").await?;
    let arguments = "events --field-selector reason=BackendNotFound";
    ring.kubectl()
        .wait_for(arguments, super::DEADLINE, |list| {
            list["items"].as_array().is_some_and(|items| !items.is_empty())
        })
        .await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await?;

    // Which would not have been missed.
    let stranger = ring.kubectl().run("get edgecaches --as=stranger").await;
    assert!(stranger.is_err(), "{stranger:?}");
    assert_eq!(ring.refused().await?.len(), 1);
    Ok(())
}
