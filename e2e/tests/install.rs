//! The main job on three nodes: `helm install`, `kubectl apply -f examples/kubernetes`; then a
//! client outside the pod network is served, refused, limited and relayed by every node, through a
//! change, a purge, the death of the leader and an update, until `helm uninstall`.
//!
//! One test, for one cluster and one installation: its steps are in the order a user takes them.

use std::{path::Path, time::Duration};

use breakwater_e2e::{
    Result,
    cluster::{Cluster, MAX_NODES, image},
    command,
    edge::Edge,
    http::Response,
    installed::{self, CHAT, DEADLINE, EXAMPLES, Installed, NAMESPACE, SHOP, Steps, all_of, text},
    load::{Load, Ready, Target, tcp},
    product, requirements,
};

/// Connections of each kind during an update: HTTP/1.1 and HTTP/2.
const CLIENTS: usize = 12;

/// Between two requests of one of them: slow enough that a busy machine sheds no load.
const PACE: Duration = Duration::from_millis(400);

/// How often the load balancer looks who is ready: well within `dataPlane.drainDelaySeconds`.
const LOOK: Duration = Duration::from_millis(300);

/// The WebSocket client that runs in a client's namespace.
const ECHO: &str = env!("CARGO_BIN_EXE_websocket-echo");

#[tokio::test]
async fn charts_and_examples_serve_filter_relay_and_purge_on_every_node() -> Result<()> {
    if requirements::skipped_by_runner("install") {
        return Ok(());
    }
    let archive = product::archive()?;
    let mut steps = Steps::start();
    let cluster = Cluster::from_env(MAX_NODES).await?;
    steps.done("the cluster is up");
    // A cluster of the user's has the images already, or pulls them.
    if cluster.run_dir().is_some() {
        cluster.import(&archive).await?;
        cluster.import_own("origin").await?;
    }
    let size = std::fs::metadata(&archive).map_or(0, |meta| meta.len() / 1024);
    steps.done(&format!("the image of {size} KiB is on every node"));

    let test = Installed::new(cluster).await?;
    test.charts_are_in_order().await?;
    test.install(&[]).await?;
    test.wait_ready().await?;
    steps.done("helm install to every pod ready");

    origin(&test).await?;
    steps.done("the origin serves");
    examples_are_programmed(&test).await?;
    steps.done("kubectl apply to Programmed and Complete");

    test.on_every_node(async |edge| {
        a_page_is_missed_once_then_hit(&test, &edge.get(SHOP, "/page").await?, &edge.get(SHOP, "/page").await?)?;
        let stored = edge.get(SHOP, "/static/app.css").await?;
        let hit = edge.get(SHOP, "/static/app.css").await?;
        a_page_is_missed_once_then_hit(&test, &stored, &hit)?;
        assert!(ttl(&hit) > 60, "the rule's hour, not the origin's minute: {hit:?}");
        for _ in 0..2 {
            let private = edge.get(SHOP, "/account").await?;
            assert!(private.status == 200 && !is_hit(&private), "{private:?}");
        }
        refused_by_path_and_by_rate(&edge).await?;
        web_sockets_are_relayed(&edge).await
    })
    .await?;
    steps.done("MISS, HIT, 403, 429 and WebSocket echo on every node");

    edits_are_enforced_everywhere(&test).await?;
    steps.done("two edits of the WafPolicy enforced on every node");
    a_purge_is_counted_and_true(&test, &mut steps).await?;
    kubectl_shows_how_far_it_is(&test).await?;
    metrics_show_it(&test).await?;
    a_second_claim_on_the_host_is_told_and_changes_nothing(&test).await?;
    test.operators_were_forbidden_nothing().await?;
    steps.done("columns, metrics and logs");

    the_leader_dies_and_an_edit_still_flows(&test).await?;
    steps.done("the leader killed to an edit enforced on every node");
    an_update_of_the_data_plane_under_load_fails_no_request(&test).await?;
    steps.done("rollout restart of the DaemonSet");
    test.operators_were_forbidden_nothing().await?;
    test.uninstall().await?;
    steps.done("helm uninstall, kinds deleted");
    Ok(())
}

async fn origin(test: &Installed) -> Result<()> {
    let kubectl = test.kubectl();
    kubectl.run(&format!("create namespace {EXAMPLES}")).await?;
    kubectl.apply(&installed::origin(&image::own_name("origin"))).await?;
    kubectl.wait_rollout(EXAMPLES, "deployment/origin", DEADLINE).await
}

/// As the README says it: apply the directory, wait for the conditions.
async fn examples_are_programmed(test: &Installed) -> Result<()> {
    let (kubectl, examples) = (test.kubectl(), product::file("examples/kubernetes"));
    let directory = text(&examples);
    kubectl.run_exact(&["-n", EXAMPLES, "apply", "-f", &directory]).await?;
    let wait = format!("-n {EXAMPLES} wait --timeout={}s --for=condition", DEADLINE.as_secs());
    let programmed = format!("{wait}=Programmed edgecache/shop wafpolicy/shop wsroute/chat");
    command::run_within(kubectl.command(programmed.split(' ')), "", 2 * DEADLINE).await?;
    let complete = format!("{wait}=Complete cachepurge/shop-everything");
    command::run_within(kubectl.command(complete.split(' ')), "", 2 * DEADLINE).await?;

    for object in ["edgecache/shop", "wafpolicy/shop", "wsroute/chat"] {
        let status = &kubectl.json(&format!("-n {EXAMPLES} {object}")).await?["status"];
        assert_eq!(status["nodes"]["summary"], all_of(test.nodes()), "{object}: {status}");
    }
    Ok(())
}

/// `first` came from the origin and was stored, `second` from the store.
fn a_page_is_missed_once_then_hit(test: &Installed, first: &Response, second: &Response) -> Result<()> {
    let status = first.header("cache-status");
    assert!(
        first.status == 200 && status.contains("fwd=") && status.contains("stored"),
        "{first:?}"
    );
    assert!(second.status == 200 && is_hit(second), "{second:?}");
    assert_eq!(first.body, second.body);
    if let Some(address) = test.client_address() {
        let forwarded = format!("forwarded={address}");
        assert!(
            first.body.trim_end().ends_with(&forwarded),
            "the origin is told the client's own address: {first:?}"
        );
    }
    Ok(())
}

async fn refused_by_path_and_by_rate(edge: &Edge<'_>) -> Result<()> {
    let denied = edge.get(SHOP, "/admin/users").await?;
    assert_eq!(denied.status, 403, "{denied:?}");
    assert_ne!(denied.header("x-request-id"), "", "{denied:?}");
    let unknown = edge.get("elsewhere.example.com", "/").await?;
    assert_eq!(unknown.status, 404, "{unknown:?}");

    let mut taken = 0;
    let limited = loop {
        let answer = edge.get(SHOP, "/login").await?;
        if answer.status != 200 || taken > 100 {
            break answer;
        }
        taken += 1;
    };
    assert_eq!(limited.status, 429, "after {taken}: {limited:?}");
    assert!(taken >= 5, "{} took {taken} requests, the burst is 5", edge.name());
    assert_ne!(limited.header("retry-after"), "", "{limited:?}");
    let elsewhere = edge.get(SHOP, "/page").await?;
    assert_eq!(elsewhere.status, 200, "the limit is /login's alone");
    Ok(())
}

async fn web_sockets_are_relayed(edge: &Edge<'_>) -> Result<()> {
    let program = Path::new(ECHO);
    let ours = "https://chat.example.com";
    let said = edge.web_socket(program, CHAT, "/ws", ours, &["one", "and two"]).await?;
    assert_eq!(said, "one\nand two", "{}", edge.name());
    let theirs = "https://elsewhere.example.com";
    let refused = edge.web_socket(program, CHAT, "/ws", theirs, &["one"]).await?;
    assert_eq!(refused, "refused 403", "{}", edge.name());
    Ok(())
}

/// Programmed is a promise: the first request after it meets the new policy, on every node.
async fn edits_are_enforced_everywhere(test: &Installed) -> Result<()> {
    test.edit_policy(r#"{"op":"add","path":"/spec/uris/deny/-","value":{"type":"Exact","value":"/page"}}"#)
        .await?;
    test.on_every_node(async |edge| {
        let denied = edge.get(SHOP, "/page").await?;
        assert_eq!(
            denied.status,
            403,
            "{} has it stored and denies it: {denied:?}",
            edge.name()
        );
        Ok(())
    })
    .await?;

    let other = test.another_client().await?;
    // A cluster of the user's is asked from this machine, whose address is not known here.
    let network = test
        .client_address()
        .map_or_else(|| "0.0.0.0/0".to_owned(), |address| format!("{address}/32"));
    test.edit_policy(&format!(
        r#"{{"op":"replace","path":"/spec/uris/deny","value":[{{"type":"Prefix","value":"/admin"}}]}},
           {{"op":"add","path":"/spec/addresses/deny/-","value":"{network}"}}"#
    ))
    .await?;
    test.on_every_node(async |edge| {
        let denied = edge.get(SHOP, "/page").await?;
        assert_eq!(denied.status, 403, "{}: {denied:?}", edge.name());
        let socket = edge
            .web_socket(Path::new(ECHO), CHAT, "/ws", "https://chat.example.com", &["one"])
            .await?;
        assert_eq!(socket, "refused 403", "the policy is the WsRoute's too");
        Ok(())
    })
    .await?;
    if test.client_address().is_some() {
        for edge in test.edges(&other) {
            let served = edge.get(SHOP, "/page").await?;
            assert_eq!(served.status, 200, "another address is not denied: {served:?}");
        }
    }

    test.edit_policy(r#"{"op":"remove","path":"/spec/addresses"}"#).await?;
    test.on_every_node(async |edge| {
        let served = edge.get(SHOP, "/page").await?;
        assert!(
            served.status == 200 && is_hit(&served),
            "it is still stored: {served:?}"
        );
        Ok(())
    })
    .await
}

async fn a_purge_is_counted_and_true(test: &Installed, steps: &mut Steps) -> Result<()> {
    let (kubectl, file) = (test.kubectl(), product::file("examples/kubernetes/purge.yaml"));
    let file = text(&file);
    // A purge happens once: the same name again is another one.
    kubectl.run_exact(&["-n", EXAMPLES, "delete", "-f", &file]).await?;
    kubectl.run_exact(&["-n", EXAMPLES, "apply", "-f", &file]).await?;
    let name = format!("-n {EXAMPLES} cachepurge/shop-everything");
    let purge = kubectl.wait_condition(&name, "Complete", "True", DEADLINE).await?;
    steps.done("kubectl apply of a CachePurge to Complete");
    let nodes = &purge["status"]["nodes"];
    assert_eq!(
        (&nodes["done"], &nodes["desired"]),
        (&test.nodes().into(), &test.nodes().into())
    );
    test.on_every_node(async |edge| {
        for path in ["/page", "/static/app.css"] {
            a_page_is_missed_once_then_hit(test, &edge.get(SHOP, path).await?, &edge.get(SHOP, path).await?)?;
        }
        Ok(())
    })
    .await
}

async fn kubectl_shows_how_far_it_is(test: &Installed) -> Result<()> {
    let (all, count) = (all_of(test.nodes()), test.nodes().to_string());
    let name = |kind: &str, object: &str| format!("{kind}.breakwater.dev/{object}");
    let wanted: [(&str, String, Vec<&str>); 4] = [
        ("edgecaches", name("edgecache", "shop"), vec!["True", "True", &all]),
        (
            "wafpolicies",
            name("wafpolicy", "shop"),
            vec!["Enforce", "True", "True", &all],
        ),
        ("wsroutes", name("wsroute", "chat"), vec!["True", "True", &all]),
        (
            "cachepurges",
            name("cachepurge", "shop-everything"),
            vec!["shop", "True", &count, &count],
        ),
    ];
    // `edge` is the category of all the kinds.
    let table = test.kubectl().run(&format!("-n {EXAMPLES} get edge")).await?;
    for (kind, object, columns) in &wanted {
        let row = table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(object));
        let row: Vec<&str> = row.unwrap_or_default().split_whitespace().skip(1).collect();
        assert!(row.starts_with(columns), "{object}: wanted {columns:?} in\n{table}");
        let single = test.kubectl().run(&format!("-n {EXAMPLES} get {kind}")).await?;
        assert!(single.starts_with("NAME"), "{single}");
    }
    Ok(())
}

/// Read through the API server, as a person without access to the pod network does.
async fn metrics_show_it(test: &Installed) -> Result<()> {
    for pod in test.pods("data-plane").await? {
        let metrics = test.metrics(&pod).await?;
        for series in [
            "breakwater_requests_total{",
            r#"breakwater_cache_requests_total{resource="EdgeCache/shop/shop",result="hit"}"#,
            r#"breakwater_cache_requests_total{resource="EdgeCache/shop/shop",result="miss"}"#,
            r#"breakwater_waf_events_total{policy="WafPolicy/shop/shop""#,
            r#"breakwater_limit_refusals_total{policy="WafPolicy/shop/shop",limit="login"}"#,
            r#"breakwater_websocket_messages_total{resource="WsRoute/shop/chat""#,
            "breakwater_snapshot_info{",
            "breakwater_build_info{",
        ] {
            assert!(metrics.sum(series) > 0.0, "{pod}: {series} in\n{}", metrics.0);
        }
    }
    Ok(())
}

/// Its author is told by the status and by an event, the only thing the operator creates.
async fn a_second_claim_on_the_host_is_told_and_changes_nothing(test: &Installed) -> Result<()> {
    let kubectl = test.kubectl();
    let second = format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: second, namespace: {EXAMPLES}}}\n\
         spec: {{hostnames: [{SHOP}], origin: {{service: {{name: chat, port: 8080}}}}}}\n"
    );
    kubectl.apply(&second).await?;
    let refused = kubectl
        .wait_condition(
            &format!("-n {EXAMPLES} edgecache/second"),
            "Accepted",
            "False",
            DEADLINE,
        )
        .await?;
    let conditions = refused["status"]["conditions"].to_string();
    assert!(conditions.contains("shop/shop"), "the winner is named: {conditions}");
    let events = format!("-n {EXAMPLES} events --field-selector=involvedObject.name=second,type=Warning");
    kubectl
        .wait_for(&events, DEADLINE, |list| {
            list["items"].as_array().is_some_and(|items| !items.is_empty())
        })
        .await?;
    test.on_every_node(async |edge| {
        let served = edge.get(SHOP, "/page").await?;
        assert!(served.status == 200 && is_hit(&served), "{served:?}");
        Ok(())
    })
    .await?;
    kubectl.delete(&second).await.map(drop)
}

async fn the_leader_dies_and_an_edit_still_flows(test: &Installed) -> Result<()> {
    let kubectl = test.kubectl();
    let before = test.leader().await?;
    let pods = test.pods("operator").await?;
    assert!(
        pods.contains(&before),
        "the Lease names {before}, the replicas are {pods:?}"
    );
    let kill = format!("-n {NAMESPACE} delete pod {before} --grace-period=0 --force");
    kubectl.run(&kill).await?;
    test.edit_policy(r#"{"op":"add","path":"/spec/uris/deny/-","value":{"type":"Exact","value":"/late"}}"#)
        .await?;
    assert_ne!(test.leader().await?, before);
    test.on_every_node(async |edge| {
        assert_eq!(edge.get(SHOP, "/late").await?.status, 403, "{}", edge.name());
        Ok(())
    })
    .await?;
    kubectl
        .wait_rollout(NAMESPACE, "deployment/breakwater-operator", DEADLINE)
        .await
}

/// One node's pod goes at a time. Clients behind a load balancer, which sends new connections to ready nodes only, come
/// to the nodes' ports from outside the pod network all the while.
async fn an_update_of_the_data_plane_under_load_fails_no_request(test: &Installed) -> Result<()> {
    let before = test.pods("data-plane").await?;
    let ready = Ready::new(&test.ready_nodes().await?);
    let [stored, passed] = ["/static/load.css", "/account"].map(|path| Target {
        host: SHOP.to_owned(),
        path: path.to_owned(),
        body: format!("page={path} requests="),
        open_ended: true,
    });
    let mut load = Load::new();
    load.balanced(CLIENTS, &ready, &[stored, passed.clone()], PACE).await?;
    load.balanced_http2_over(CLIENTS, &tcp(&ready), &passed, PACE).await?;

    let restart = format!("-n {NAMESPACE} rollout restart daemonset/breakwater-data-plane");
    test.kubectl().run(&restart).await?;
    let balance = async {
        loop {
            ready.set(&test.ready_nodes().await?);
            load.check()?;
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        updated = test.wait_ready() => updated?,
        failed = balance => return failed,
    }
    ready.set(&test.ready_nodes().await?);
    let done = load.stop().await?;
    eprintln!("rollout restart under load: {done:?}, 0 failed");
    assert!(
        done.reconnected >= 2 * CLIENTS as u64,
        "every connection was told to go elsewhere: {done:?}"
    );

    let after = test.pods("data-plane").await?;
    assert!(
        after.iter().all(|pod| !before.contains(pod)),
        "{before:?}, then {after:?}"
    );
    test.on_every_node(async |edge| {
        // The store went with the pod; the policy is there before the first request.
        assert_eq!(edge.get(SHOP, "/late").await?.status, 403, "{}", edge.name());
        web_sockets_are_relayed(&edge).await?;
        edge.get(SHOP, "/page").await?;
        let hit = edge.get(SHOP, "/page").await?;
        assert!(is_hit(&hit), "{hit:?}");
        Ok(())
    })
    .await
}

fn is_hit(response: &Response) -> bool {
    response.header("cache-status").starts_with("breakwater; hit")
}

fn ttl(response: &Response) -> u64 {
    let status = response.header("cache-status");
    let (_, ttl) = status.split_once("ttl=").unwrap_or_default();
    ttl.split(';')
        .next()
        .and_then(|ttl| ttl.trim().parse().ok())
        .unwrap_or(0)
}
