//! Two nodes: purges that count both, and the count of nodes when one goes.

use breakwater_e2e::{Result, requirements, ring_a::DataPlane, wait::until};
use rustix::process::Signal;
use serde_json::Value;

use super::{DEADLINE, SHOP, TwoNodes, edit, nothing_was_refused, reason, two_nodes, wait, wait_nodes};

#[tokio::test]
async fn a_purge_completes_when_both_nodes_have_forgotten_and_a_node_that_leaves_is_not_counted() -> Result<()> {
    if requirements::skipped_by_runner("two nodes") {
        return Ok(());
    }
    let TwoNodes {
        ring,
        origin,
        mut operator,
        mut nodes,
    } = two_nodes(&[]).await?;
    let table = ring.kubectl().run("get ecache/shop --no-headers").await?;
    let row: Vec<&str> = table.split_whitespace().take(4).collect();
    assert_eq!(row, ["shop", "True", "True", "2/2"]);

    for node in &nodes {
        for path in ["/static/a", "/static/b"] {
            assert_eq!(node.get(SHOP, path).await?.status, 200);
            let again = node.get(SHOP, path).await?;
            assert!(is_hit(again.header("cache-status")), "{again:?}");
        }
    }
    assert_eq!((origin.asked("/static/a"), origin.asked("/static/b")), (2, 2));
    // Has it open its logs again, and ends nothing.
    nodes[0].process().signal(Signal::HUP)?;

    ring.kubectl()
        .apply(&purge("one", "urls: ['http://shop.example.com/static/a']"))
        .await?;
    wait(&ring, "cachepurge/one", "Complete").await?;
    let done = ring.kubectl().json("cachepurge/one").await?;
    assert_eq!(counts(&done), (2, 2), "{done}");
    for (node, asked) in nodes.iter().zip([3, 4]) {
        let miss = node.get(SHOP, "/static/a").await?;
        assert!(!is_hit(miss.header("cache-status")), "{miss:?}");
        assert_eq!(origin.asked("/static/a"), asked);
        let hit = node.get(SHOP, "/static/b").await?;
        assert!(is_hit(hit.header("cache-status")), "{hit:?}");
    }

    ring.kubectl()
        .apply(&ring.file("examples/kubernetes/purge.yaml")?)
        .await?;
    wait(&ring, "cachepurge/shop-everything", "Complete").await?;
    for (node, asked) in nodes.iter().zip([3, 4]) {
        let miss = node.get(SHOP, "/static/b").await?;
        assert!(!is_hit(miss.header("cache-status")), "{miss:?}");
        assert_eq!(origin.asked("/static/b"), asked);
    }

    // Made again under its name it is another one, however soon: what was done for the one before does not count.
    for node in &mut nodes {
        node.process().signal(Signal::STOP)?;
    }
    let everything = ring.file("examples/kubernetes/purge.yaml")?;
    ring.kubectl().delete(&everything).await?;
    ring.kubectl().apply(&everything).await?;
    reason(&ring, "cachepurge/shop-everything", "Complete", "False", "InProgress").await?;
    for node in &mut nodes {
        node.process().signal(Signal::CONT)?;
    }
    wait(&ring, "cachepurge/shop-everything", "Complete").await?;
    for (node, asked) in nodes.iter().zip([5, 6]) {
        let miss = node.get(SHOP, "/static/b").await?;
        assert!(!is_hit(miss.header("cache-status")), "{miss:?}");
        assert_eq!(origin.asked("/static/b"), asked);
    }

    // A node that does not move is waited for, and what it lacks is told.
    nodes[1].process().signal(Signal::STOP)?;
    ring.kubectl().apply(&purge("slow", "everything: true")).await?;
    edit(&ring, "edgecache/shop", r#"{"spec": {"cache": {"tagHeader": "Tags"}}}"#).await?;
    reason(&ring, "edgecache/shop", "Programmed", "False", "PartiallyProgrammed").await?;
    reason(&ring, "cachepurge/slow", "Complete", "False", "InProgress").await?;
    assert_eq!(counts(&ring.kubectl().json("cachepurge/slow").await?), (2, 1));
    wait_nodes(&ring, "edgecache/shop", "1/2", DEADLINE).await?;
    nodes[1].process().signal(Signal::CONT)?;
    wait(&ring, "cachepurge/slow", "Complete").await?;
    assert_eq!(counts(&ring.kubectl().json("cachepurge/slow").await?), (2, 2));
    wait_nodes(&ring, "edgecache/shop", "2/2", DEADLINE).await?;

    // A goodbye counts at once; a silent node would be counted for longer.
    nodes[1].process().signal(Signal::TERM)?;
    assert!(nodes[1].process().wait_end(DEADLINE).await?.success());
    wait_nodes(&ring, "edgecache/shop", "1/1", DEADLINE).await?;
    wait(&ring, "edgecache/shop", "Programmed").await?;
    ring.kubectl().apply(&purge("later", "everything: true")).await?;
    wait(&ring, "cachepurge/later", "Complete").await?;
    assert_eq!(counts(&ring.kubectl().json("cachepurge/later").await?), (1, 1));
    assert_eq!(
        counts(&ring.kubectl().json("cachepurge/one").await?),
        (2, 2),
        "what is complete stays as it is"
    );

    // It comes back with the purges behind it, from its copy on disk, and is counted again.
    nodes[1] = ring.data_plane(2, operator.address())?;
    nodes[1].ready().await?;
    wait_nodes(&ring, "edgecache/shop", "2/2", DEADLINE).await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await
}

#[tokio::test]
async fn a_node_that_was_away_with_its_disk_hears_of_a_purge_that_was_deleted_meanwhile_from_an_operator_that_was_not_there()
-> Result<()> {
    if requirements::skipped_by_runner("deleted purges") {
        return Ok(());
    }
    let disk = ["--disk", "32Mi"];
    let TwoNodes {
        ring,
        origin,
        operator,
        mut nodes,
    } = two_nodes(&disk).await?;
    let paths = ["/static/a", "/static/b"];
    for path in paths {
        // The second use takes it to the disk.
        for _ in 0..2 {
            assert_eq!(nodes[1].get(SHOP, path).await?.status, 200);
        }
    }
    wait_for_disk(&nodes[1], 2).await?;
    nodes[1].process().signal(Signal::TERM)?;
    assert!(nodes[1].process().wait_end(DEADLINE).await?.success());
    wait_nodes(&ring, "edgecache/shop", "1/1", DEADLINE).await?;

    let one = purge("one", "urls: ['http://shop.example.com/static/a']");
    ring.kubectl().apply(&one).await?;
    wait(&ring, "cachepurge/one", "Complete").await?;
    let recorded = ring.kubectl().json("edgecache/shop").await?;
    let uid = ring.kubectl().json("cachepurge/one").await?["metadata"]["uid"].clone();
    assert_eq!(
        recorded["status"]["purges"][0]["uid"], uid,
        "before it is complete: {recorded}"
    );
    ring.kubectl().delete(&one).await?;
    drop(operator);
    let mut operator = ring.operator(2, &[])?;
    operator.ready().await?;

    nodes[1] = ring.data_plane_with(2, operator.address(), &disk)?;
    nodes[1].ready().await?;
    for (path, asked) in paths.into_iter().zip([2, 1]) {
        let answer = nodes[1].get(SHOP, path).await?;
        assert_eq!(is_hit(answer.header("cache-status")), asked == 1, "{path}: {answer:?}");
        assert_eq!(origin.asked(path), asked, "{path}");
    }
    nothing_was_refused(&ring, &mut [&mut operator]).await
}

/// Waits until a node has so many responses on its disk.
async fn wait_for_disk(node: &DataPlane, count: u64) -> Result<()> {
    until("responses on the disk", DEADLINE, async || {
        let metrics = node.admin("/metrics").await.map_err(|error| error.to_string())?;
        let series = "breakwater_cache_objects{tier=\"disk\"} ";
        let mut lines = metrics.body.lines();
        let objects = lines.find_map(|line| line.strip_prefix(series)?.parse::<u64>().ok());
        match objects {
            Some(objects) if objects >= count => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn purge(name: &str, what: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: CachePurge\nmetadata: {{name: {name}}}\n\
         spec: {{edgeCacheRef: {{name: shop}}, {what}}}\n"
    )
}

fn counts(purge: &Value) -> (u64, u64) {
    let nodes = &purge["status"]["nodes"];
    let count = |name: &str| nodes[name].as_u64().unwrap_or_default();
    (count("desired"), count("done"))
}

fn is_hit(cache_status: &str) -> bool {
    cache_status.starts_with("breakwater; hit")
}
