//! Two levels of `up`: an edge with another edge before its origin, and machines with labels.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use breakwater_e2e::{
    Result,
    breakwater::{self, Site},
    http::Response,
    origin::{self, Reply},
};

fn manifest(origin: SocketAddr, tiering: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: shop}}\nspec:\n  hostnames: [shop.test]\n  origin: {{urls: ['http://{origin}']}}\n  tiering: {tiering}\n"
    )
}

async fn counting() -> Result<(SocketAddr, Arc<AtomicUsize>)> {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let origin = origin::start(move |_, target| {
        counter.fetch_add(1, Ordering::SeqCst);
        Reply::text("max-age=60", target)
    })
    .await?;
    Ok((origin, asked))
}

fn statuses(answer: &Response) -> Vec<&str> {
    let fields = answer.headers.iter().filter(|(name, _)| name == "cache-status");
    fields.map(|(_, value)| value.as_str()).collect()
}

/// An address where nobody listens, for now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has one")
}

#[tokio::test]
async fn an_edge_asks_the_edge_before_its_origin_and_the_origin_when_that_is_gone() -> Result<()> {
    let (origin, asked) = counting().await?;
    let above = Site::new(&[("shop.yaml", &manifest(origin, "{mode: Local}"))])?;
    let mut parent = above.up::<&str>([]).await?;
    let tiering = format!("{{mode: Parent, parent: {{urls: ['http://{}']}}}}", parent.front);
    let below = Site::new(&[("shop.yaml", &manifest(origin, &tiering))])?;
    let mut one = below.up::<&str>([]).await?;
    let mut two = below.up::<&str>([]).await?;
    let miss = one.get("shop.test", "/a", "").await?;
    assert_eq!((miss.status, miss.body.as_str()), (200, "/a"));
    assert_eq!(statuses(&miss), ["breakwater; fwd=miss; stored"; 2]);
    let hit = two.get("shop.test", "/a", "").await?;
    let said = statuses(&hit);
    assert!(
        said[0].starts_with("breakwater; hit; ttl=") && said[1] == "breakwater; fwd=miss; stored",
        "{said:?}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    let manifests = below.manifests().display().to_string();
    let explained = breakwater::run(["explain", "-f", &manifests, "http://shop.test/a"]).await?;
    let words = format!(
        "asked of another edge, {}; of the servers when there is no answer",
        parent.front
    );
    assert!(explained.stdout.contains(&words), "{}", explained.stdout);

    parent.stop().await?;
    let alone = one.get("shop.test", "/b", "").await?;
    assert_eq!((alone.status, alone.body.as_str()), (200, "/b"));
    assert_eq!(statuses(&alone), ["breakwater; fwd=miss; stored"]);
    let series = "breakwater_parent_requests_total{resource=\"EdgeCache/default/shop\",result=\"failed\"}";
    one.wait_metric(series, |failed| failed == 1.0).await?;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    one.stop().await?;
    two.stop().await?;
    Ok(())
}

#[tokio::test]
async fn machines_with_the_label_ask_the_origin_and_the_others_ask_them() -> Result<()> {
    let (origin, asked) = counting().await?;
    let tiering = "{mode: Parent, parent: {nodes: {matchLabels: {tier: first}}, fallback: None}}";
    let site = Site::new(&[("shop.yaml", &manifest(origin, tiering))])?;
    let key = site.path("peer.key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").expect("it is ours to write");
    let key = key.display().to_string();
    let (first_at, second_at) = (free().to_string(), free().to_string());
    let (to_first, to_second) = (format!("first={first_at},tier=first"), format!("second={second_at}"));
    let mut first = site
        .up([
            "--node",
            "first",
            "--peer",
            &first_at,
            "--peer-of",
            &to_second,
            "--peer-key-file",
            &key,
            "--node-label",
            "tier=first",
        ])
        .await?;
    let mut second = site
        .up([
            "--node",
            "second",
            "--peer",
            &second_at,
            "--peer-of",
            &to_first,
            "--peer-key-file",
            &key,
        ])
        .await?;
    let miss = second.get("shop.test", "/a", "").await?;
    assert_eq!((miss.status, miss.body.as_str()), (200, "/a"));
    assert!(
        statuses(&miss)[0].starts_with("breakwater-parent; fwd=miss"),
        "{miss:?}"
    );
    let hit = first.get("shop.test", "/a", "").await?;
    assert!(statuses(&hit)[0].starts_with("breakwater; hit"), "{hit:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    first.stop().await?;
    // Nobody of the first level is left, and nobody else may ask.
    assert_eq!(second.get("shop.test", "/b", "").await?.status, 502);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    second.stop().await?;
    Ok(())
}
