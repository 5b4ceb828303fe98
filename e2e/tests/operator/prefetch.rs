//! Two nodes and a list: both fetch it, and the object's status tells how far they are.

use breakwater_e2e::{Result, requirements};

use super::{DEADLINE, SHOP, TwoNodes, edit, nothing_was_refused, reason, two_nodes, wait};

#[tokio::test]
async fn a_list_is_fetched_by_both_nodes_and_its_failures_are_in_status_and_an_event() -> Result<()> {
    if requirements::skipped_by_runner("prefetch") {
        return Ok(());
    }
    let TwoNodes {
        ring,
        origin,
        mut operator,
        nodes,
    } = two_nodes(&[]).await?;
    let shop = ring.kubectl().json("edgecache/shop").await?;
    assert!(shop["status"]["prefetch"].is_null(), "{shop}");

    let list = r#"{"spec": {"prefetch": {"urls": ["/static/a", "/static/b"], "schedule": "0 0 1 1 *"}}}"#;
    edit(&ring, "edgecache/shop", list).await?;
    wait(&ring, "edgecache/shop", "Prefetched").await?;
    let counts = |shop: &serde_json::Value| {
        let prefetch = &shop["status"]["prefetch"];
        let number = |field: &str| prefetch[field].as_i64().unwrap_or_default();
        (
            (
                prefetch["nodes"]["done"].as_i64(),
                prefetch["nodes"]["desired"].as_i64(),
            ),
            [number("urls"), number("fetched"), number("fresh"), number("failed")],
        )
    };
    let shop = ring.kubectl().json("edgecache/shop").await?;
    assert_eq!(counts(&shop), ((Some(2), Some(2)), [4, 4, 0, 0]), "{shop}");
    assert!(shop["status"]["prefetch"]["lastCompletionTime"].is_string(), "{shop}");
    for node in &nodes {
        for path in ["/static/a", "/static/b"] {
            let hit = node.get(SHOP, path).await?;
            assert!(hit.header("cache-status").starts_with("breakwater; hit"), "{hit:?}");
        }
    }
    assert_eq!((origin.asked("/static/a"), origin.asked("/static/b")), (2, 2));

    // A rule of the example goes past the cache for it.
    let list = r#"{"spec": {"prefetch": {"urls": ["/static/a", "/account/x"]}}}"#;
    edit(&ring, "edgecache/shop", list).await?;
    let message = reason(&ring, "edgecache/shop", "Prefetched", "False", "Failed").await?;
    assert!(
        message.contains("//shop.example.com/account/x: a cache rule goes past the cache"),
        "{message}"
    );
    let accept = |shop: &serde_json::Value| counts(shop) == ((Some(2), Some(2)), [4, 0, 2, 2]);
    ring.kubectl().wait_for("edgecache/shop", DEADLINE, accept).await?;
    assert_eq!((origin.asked("/static/a"), origin.asked("/account/x")), (2, 0));
    let told = |events: &serde_json::Value| events["items"].as_array().is_some_and(|items| !items.is_empty());
    ring.kubectl()
        .wait_for(
            "events --field-selector involvedObject.name=shop,reason=Failed",
            DEADLINE,
            told,
        )
        .await?;

    // What cannot be read is told, and nodes keep what they have.
    let list = r#"{"spec": {"prefetch": {"schedule": "61 * * * *"}}}"#;
    edit(&ring, "edgecache/shop", list).await?;
    let message = reason(&ring, "edgecache/shop", "Accepted", "False", "Invalid").await?;
    assert!(
        message.starts_with("spec.prefetch.schedule: `61` is no minute"),
        "{message}"
    );
    nothing_was_refused(&ring, &mut [&mut operator]).await
}
