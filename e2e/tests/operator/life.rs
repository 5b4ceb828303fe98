//! The life of objects with one operator and one node: applied, enforced, edited, broken, mended.

use breakwater_e2e::{
    Result, requirements,
    ring_a::{DataPlane, Operator, RingA, origin::Origin},
    wait as condition,
};
use serde_json::{Value, json};

use super::{DEADLINE, SHOP, apply_shop, edit, edit_and_see, nothing_was_refused, reason, wait, wait_nodes};

struct Edge {
    node: DataPlane,
    operator: Operator,
    origin: Origin,
    ring: RingA,
}

async fn edge() -> Result<Edge> {
    let ring = RingA::start().await?;
    let origin = Origin::start().await?;
    let mut operator = ring.operator(1, &[])?;
    let mut node = ring.data_plane(1, operator.address())?;
    operator.ready().await?;
    node.ready().await?;
    Ok(Edge {
        node,
        operator,
        origin,
        ring,
    })
}

#[tokio::test]
async fn the_examples_are_served_and_an_edit_is_enforced() -> Result<()> {
    if requirements::skipped_by_runner("examples") {
        return Ok(());
    }
    let Edge {
        node,
        mut operator,
        origin,
        ring,
    } = edge().await?;
    apply_shop(&ring, &origin).await?;
    for file in ["protect", "chat"] {
        let manifest = ring.file(&format!("examples/kubernetes/{file}.yaml"))?;
        ring.kubectl().apply(&manifest).await?;
    }
    for object in ["edgecache/shop", "wafpolicy/shop", "wsroute/chat"] {
        for condition in ["Accepted", "ResolvedRefs", "Programmed"] {
            wait(&ring, object, condition).await?;
        }
        wait_nodes(&ring, object, "1/1", DEADLINE).await?;
    }

    let first = node.get(SHOP, "/static/a?utm_source=x").await?;
    assert_eq!((first.status, first.body.as_str()), (200, "/static/a for the 1. time"));
    assert!(first.header("cache-status").contains("fwd="), "{first:?}");
    let again = node.get(SHOP, "/static/a").await?;
    assert!(again.header("cache-status").starts_with("breakwater; hit"), "{again:?}");
    assert_eq!((again.body, origin.asked("/static/a")), (first.body, 1));
    assert_eq!(node.get(SHOP, "/admin").await?.status, 403);

    let mut statuses = Vec::new();
    for _ in 0..16 {
        statuses.push(node.get(SHOP, "/login").await?.status);
    }
    // 10 a minute with a burst of 5: the first 5 in any case, the 16th in none.
    assert!(
        statuses[..5].iter().all(|status| *status == 200) && statuses[15] == 429,
        "{statuses:?}"
    );

    let policy = "wafpolicy/shop";
    let before = ring.kubectl().json(policy).await?;
    let deny = r#"{"spec": {"uris": {"deny": [{"type": "Prefix", "value": "/static"}]}}}"#;
    edit_and_see(&ring, (policy, deny), &node, ("/static/a", 403)).await?;
    edit_and_see(&ring, (policy, deny), &node, ("/admin", 200)).await?;
    let deny = r#"{"spec": {"uris": {"deny": []}, "addresses": {"deny": ["127.0.0.0/8"]}}}"#;
    edit_and_see(&ring, (policy, deny), &node, ("/other", 403)).await?;
    let observe = r#"{"spec": {"mode": "DetectOnly"}}"#;
    edit_and_see(&ring, (policy, observe), &node, ("/other", 200)).await?;
    wait(&ring, policy, "Programmed").await?;
    let generation = |object: &Value| object["metadata"]["generation"].as_i64().unwrap_or_default();
    let after = ring
        .kubectl()
        .wait_for(policy, DEADLINE, |object| {
            object["status"]["observedGeneration"] == object["metadata"]["generation"]
        })
        .await?;
    assert_eq!(generation(&after), generation(&before) + 3);

    ring.kubectl().run("delete wafpolicy/shop").await?;
    edit_and_see(
        &ring,
        ("edgecache/shop", r#"{"spec": {"paths": [{"value": "/static"}]}}"#),
        &node,
        ("/other", 404),
    )
    .await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await
}

#[tokio::test]
async fn a_broken_object_is_refused_alone_and_its_last_good_version_stays() -> Result<()> {
    if requirements::skipped_by_runner("broken object") {
        return Ok(());
    }
    let Edge {
        node,
        mut operator,
        origin,
        ring,
    } = edge().await?;
    apply_shop(&ring, &origin).await?;
    ring.kubectl()
        .apply(&ring.file("examples/kubernetes/protect.yaml")?)
        .await?;
    let policy = "wafpolicy/shop";
    node.wait_answer(SHOP, "/admin", DEADLINE, |answer| answer.status == 403)
        .await?;

    // A definition of another version, which lets the address through to the operator.
    let definition = "wafpolicies.breakwater.dev";
    let strict = ring.kubectl().json(&format!("crd/{definition}")).await?;
    let mut lax = strict.clone();
    let addresses =
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/addresses/properties/deny/items";
    let items = lax.pointer_mut(addresses).and_then(Value::as_object_mut);
    let rules = items.and_then(|items| items.remove("x-kubernetes-validations"));
    assert!(rules.is_some(), "the definition has its rule at {addresses}");
    replace_definition(&ring, &lax).await?;
    let broken = r#"{"spec": {"addresses": {"deny": ["203.0.113.0/24", "203.0.113.0/33"]}, "uris": {"deny": []}}}"#;
    condition::until("the lax definition is in force", DEADLINE, async || {
        edit(&ring, policy, broken).await.map_err(|error| error.to_string())
    })
    .await?;
    let message = reason(&ring, policy, "Accepted", "False", "Invalid").await?;
    assert!(
        message.contains("spec.addresses.deny[1]") && message.contains("203.0.113.0/33"),
        "{message}"
    );
    reason(&ring, policy, "Programmed", "False", "Invalid").await?;
    assert_eq!(
        node.get(SHOP, "/admin").await?.status,
        403,
        "the last good version stays"
    );

    // Others change meanwhile.
    let paths = r#"{"spec": {"paths": [{"value": "/static"}, {"value": "/admin"}]}}"#;
    edit_and_see(&ring, ("edgecache/shop", paths), &node, ("/other", 404)).await?;
    wait(&ring, "edgecache/shop", "Programmed").await?;
    assert_eq!(
        node.get(SHOP, "/admin").await?.status,
        403,
        "the last good version stays"
    );

    let mended = r#"{"spec": {"addresses": {"deny": ["203.0.113.0/24"]}}}"#;
    edit_and_see(&ring, (policy, mended), &node, ("/admin", 200)).await?;
    for condition in ["Accepted", "Programmed"] {
        wait(&ring, policy, condition).await?;
    }

    // An expression is nothing the API server can judge.
    replace_definition(&ring, &strict).await?;
    let broken = r#"{"spec": {"uris": {"deny": [{"type": "Regex", "value": "/a("}]}}}"#;
    edit(&ring, policy, broken).await?;
    let message = reason(&ring, policy, "Accepted", "False", "Invalid").await?;
    assert!(message.contains("spec.uris.deny[0].value"), "{message}");
    let mended = r#"{"spec": {"uris": {"deny": [{"type": "Regex", "value": "/sta.*"}]}}}"#;
    edit_and_see(&ring, (policy, mended), &node, ("/static/a", 403)).await?;
    wait(&ring, policy, "Accepted").await?;
    nothing_was_refused(&ring, &mut [&mut operator]).await
}

#[tokio::test]
async fn conflicts_and_missing_references_are_told_and_heal() -> Result<()> {
    if requirements::skipped_by_runner("references") {
        return Ok(());
    }
    let Edge {
        node,
        mut operator,
        origin,
        ring,
    } = edge().await?;
    let kubectl = ring.kubectl();

    // Before its Service: 503, and why.
    kubectl.apply(&ring.file("examples/kubernetes/shop.yaml")?).await?;
    let message = reason(&ring, "edgecache/shop", "ResolvedRefs", "False", "BackendNotFound").await?;
    assert!(message.contains("Service default/shop"), "{message}");
    wait(&ring, "edgecache/shop", "Programmed").await?;
    assert_eq!(node.get(SHOP, "/a").await?.status, 503);
    kubectl.apply(&origin.service("shop", 8080)).await?;
    node.wait_answer(SHOP, "/a", DEADLINE, |answer| answer.status == 200)
        .await?;
    wait(&ring, "edgecache/shop", "ResolvedRefs").await?;
    kubectl.run("delete endpointslice/shop-1").await?;
    node.wait_answer(SHOP, "/b", DEADLINE, |answer| answer.status == 503)
        .await?;
    kubectl.apply(&origin.service("shop", 8080)).await?;
    node.wait_answer(SHOP, "/b", DEADLINE, |answer| answer.status == 200)
        .await?;

    // The oldest keeps what two claim. Creation is told in seconds: the younger one must be of a later one.
    let created = kubectl.json("edgecache/shop").await?["metadata"]["creationTimestamp"].clone();
    let rival = |name: &str| {
        json!({
            "apiVersion": "breakwater.dev/v1alpha1", "kind": "EdgeCache", "metadata": {"name": name},
            "spec": {"hostnames": [SHOP], "origin": {"urls": ["http://127.0.0.1:1"]}}
        })
        .to_string()
    };
    condition::until("a later second", DEADLINE, async || {
        kubectl
            .run("delete edgecache/rival --ignore-not-found")
            .await
            .map_err(|error| error.to_string())?;
        kubectl
            .apply(&rival("rival"))
            .await
            .map_err(|error| error.to_string())?;
        let object = kubectl
            .json("edgecache/rival")
            .await
            .map_err(|error| error.to_string())?;
        if object["metadata"]["creationTimestamp"] == created {
            return Err("the same second".to_owned());
        }
        Ok(())
    })
    .await?;
    let message = reason(&ring, "edgecache/rival", "Accepted", "False", "Conflicted").await?;
    assert!(
        message.contains("EdgeCache/default/shop") && message.contains(SHOP),
        "{message}"
    );
    wait(&ring, "edgecache/shop", "Accepted").await?;
    assert_eq!(node.get(SHOP, "/c").await?.status, 200);
    kubectl.run("delete edgecache/shop").await?;
    wait(&ring, "edgecache/rival", "Accepted").await?;
    node.wait_answer(SHOP, "/c", DEADLINE, |answer| answer.status == 502)
        .await?;

    // A policy for nothing, until there is something.
    let policy = ring.file("examples/kubernetes/protect.yaml")?;
    kubectl.apply(&policy).await?;
    let message = reason(&ring, "wafpolicy/shop", "Accepted", "False", "TargetNotFound").await?;
    assert!(message.contains("EdgeCache default/shop"), "{message}");
    kubectl.run("delete edgecache/rival").await?;
    kubectl.apply(&ring.file("examples/kubernetes/shop.yaml")?).await?;
    wait(&ring, "wafpolicy/shop", "Accepted").await?;
    reason(&ring, "wafpolicy/shop", "ResolvedRefs", "False", "TargetNotFound").await?;
    node.wait_answer(SHOP, "/admin", DEADLINE, |answer| answer.status == 403)
        .await?;

    // What went wrong is in the events of the object, once.
    let events = kubectl
        .wait_for("events --field-selector involvedObject.name=rival", DEADLINE, |list| {
            list["items"].as_array().is_some_and(|items| !items.is_empty())
        })
        .await?;
    assert_eq!(events["items"][0]["reason"], "Conflicted", "{events}");
    nothing_was_refused(&ring, &mut [&mut operator]).await
}

/// As an upgrade or downgrade of the chart with the definitions does.
async fn replace_definition(ring: &RingA, definition: &Value) -> Result<()> {
    let name = definition["metadata"]["name"].as_str().unwrap_or_default();
    let patch = json!({"spec": definition["spec"]}).to_string();
    edit(ring, &format!("crd/{name}"), &patch).await
}
