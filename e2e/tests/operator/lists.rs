//! A list of addresses behind a URL: refused where it must not be fetched, fetched once for all nodes, kept over a restart of the
//! operator while its server is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use breakwater_e2e::{
    Result,
    origin::{self, Reply},
    requirements,
    ring_a::SYSTEM_NAMESPACE,
    wait,
};
use rustix::process::Signal;

use super::{DEADLINE, SHOP, TwoNodes, nothing_was_refused, reason, two_nodes, wait as wait_condition, wait_nodes};

fn policy(url: &str) -> String {
    format!(
        "
apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {{name: lists}}
spec:
  targetRefs: [{{group: breakwater.dev, kind: EdgeCache, name: shop}}]
  addresses: {{denyFrom: [{{url: \"{url}\", refresh: 2h}}]}}
"
    )
}

#[tokio::test]
async fn a_list_is_fetched_once_for_all_nodes_and_outlives_operator_and_server() -> Result<()> {
    if requirements::skipped_by_runner("lists behind URLs") {
        return Ok(());
    }
    let (away, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (is_away, counts) = (Arc::clone(&away), Arc::clone(&asked));
    let server = origin::start(move |_, target| {
        counts.fetch_add(1, Ordering::SeqCst);
        match (is_away.load(Ordering::SeqCst), target) {
            (false, "/drop.txt?token=hunter2") => Reply::text("no-store", "# everybody here\n127.0.0.0/8\n"),
            _ => Reply::Bytes(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec()),
        }
    })
    .await?;
    let TwoNodes {
        ring,
        origin: _origin,
        mut operator,
        mut nodes,
    } = two_nodes(&[]).await?;

    // The operator's own machine is not asked unless that is allowed.
    ring.kubectl()
        .apply(&policy(&format!("http://{server}/refused.txt")))
        .await?;
    let refused = |policy: &serde_json::Value| policy.to_string().contains("from which nothing is fetched");
    ring.kubectl().wait_for("wafpolicy/lists", DEADLINE, refused).await?;
    let message = reason(&ring, "wafpolicy/lists", "Accepted", "False", "Invalid").await?;
    assert!(message.contains("was never fetched"), "{message}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    operator.process().signal(Signal::TERM)?;
    assert!(operator.process().wait_end(DEADLINE).await?.success());

    let mut operator = ring.operator(1, &["--lists-from-loopback"])?;
    operator.ready().await?;
    ring.kubectl()
        .apply(&policy(&format!("http://{server}/drop.txt?token=hunter2")))
        .await?;
    wait_condition(&ring, "wafpolicy/lists", "Programmed").await?;
    wait_nodes(&ring, "wafpolicy/lists", "2/2", DEADLINE).await?;
    for node in &nodes {
        assert_eq!(node.get(SHOP, "/").await?.status, 403);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let kept = ring
        .kubectl()
        .run(&format!(
            "-n {SYSTEM_NAMESPACE} get configmaps -l breakwater.dev/address-list -o yaml"
        ))
        .await?;
    assert!(kept.contains("binaryData") && !kept.contains("hunter2"), "{kept}");

    // What somebody deleted is fetched anew, by an operator that cannot remember it.
    operator.process().signal(Signal::TERM)?;
    assert!(operator.process().wait_end(DEADLINE).await?.success());
    ring.kubectl()
        .run(&format!(
            "-n {SYSTEM_NAMESPACE} delete configmaps -l breakwater.dev/address-list=part"
        ))
        .await?;
    let mut operator = ring.operator(1, &["--lists-from-loopback"])?;
    operator.ready().await?;
    wait::until("the list to be fetched anew", DEADLINE, async || {
        match asked.load(Ordering::SeqCst) {
            2 => Ok(()),
            times => Err(times.to_string()),
        }
    })
    .await?;
    let parts = format!("-n {SYSTEM_NAMESPACE} configmaps -l breakwater.dev/address-list=part");
    let one = |found: &serde_json::Value| found["items"].as_array().is_some_and(|items| items.len() == 1);
    ring.kubectl().wait_for(&parts, DEADLINE, one).await?;
    wait_condition(&ring, "wafpolicy/lists", "Programmed").await?;

    // An operator that begins anew, and a node that has nothing, while the list cannot be fetched.
    away.store(true, Ordering::SeqCst);
    operator.process().signal(Signal::TERM)?;
    assert!(operator.process().wait_end(DEADLINE).await?.success());
    let mut operator = ring.operator(1, &["--lists-from-loopback"])?;
    operator.ready().await?;
    nodes[1].process().signal(Signal::TERM)?;
    assert!(nodes[1].process().wait_end(DEADLINE).await?.success());
    let mut fresh = ring.data_plane(3, operator.address())?;
    fresh.ready().await?;
    for node in [&nodes[0], &fresh] {
        assert_eq!(node.get(SHOP, "/").await?.status, 403);
    }
    wait::until("the entries of the list", DEADLINE, async || {
        let metrics = operator.metrics().await.map_err(|error| error.to_string())?;
        match metrics.sum("breakwater_operator_address_list_entries{") {
            1.0 => Ok(()),
            entries => Err(entries.to_string()),
        }
    })
    .await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await
}
