//! Nodes that ask each other before the origin.

use std::sync::Arc;

use breakwater_snapshot::unit::{Coding, Compression, Filters, PurgeSelector, Unit};
use tokio::task::JoinSet;

use crate::support::{Nodes, Origin, Request, answer, edit, id, objects, owner_site, purge, until, waf_policy, within};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// A target that is owned by another node than the first, and the number of its owner. Origins see one request for
/// each that was tried.
async fn foreign(nodes: &Nodes, stem: &str) -> (String, usize) {
    for n in 0.. {
        let target = format!("/{stem}/{n}");
        let owner = nodes.owner(&target).await;
        if owner != 0 {
            return (target, owner);
        }
    }
    unreachable!()
}

#[tokio::test]
async fn five_nodes_with_many_clients_each_make_one_fetch_for_a_cold_object() {
    let (origin, gate) = Origin::gated(|_| answer(200, FRESH, "shared")).await;
    let nodes = Nodes::before(5, owner_site(origin.address)).await;
    let mut asking = JoinSet::new();
    for plane in &nodes.0 {
        for _ in 0..20 {
            let mut client = plane.client().await;
            asking.spawn(async move { client.get("shop.test", "/cold", "").await });
        }
    }
    origin.reached(1).await;
    // Four nodes ask the fifth, which has them wait.
    until("the owner to be asked", async || {
        let mut followers = 0.0;
        for plane in &nodes.0 {
            let text = plane.metrics().await;
            // Of clients and of nodes.
            let active = text
                .lines()
                .filter(|line| line.starts_with("breakwater_connections{") && line.contains("\"active\""));
            let counts = active.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            followers += counts.sum::<f64>();
        }
        (followers == 104.0).then_some(())
    })
    .await;
    gate.add_permits(10);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "shared"));
    }
    assert_eq!(origin.count(), 1);
    assert_eq!(nodes.counted("out", "answered").await, 4.0);
    until("the owner to count", async || {
        (nodes.counted("in", "answered").await == 4.0).then_some(())
    })
    .await;
    // From now on each answers by itself.
    for plane in &nodes.0 {
        let answer = plane.client().await.get("shop.test", "/cold", "").await;
        assert!(answer.count("cache-status") >= 1 && answer.text() == "shared");
    }
    assert_eq!(nodes.counted("out", "answered").await, 4.0);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn the_owner_counts_and_logs_no_client_and_the_origin_sees_the_client_of_the_asker() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let (target, owner) = foreign(&nodes, "a").await;
    let requests =
        |n: usize| nodes.0[n].metric("breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"200\"}");
    let before = requests(owner).await;
    let cold = format!("{target}?cold");
    let (mut asked, mut cold) = (origin.count(), cold);
    // A URL that the other owns: the origin sees the request of its node.
    loop {
        let answer = nodes.0[0].client().await.get("shop.test", &cold, "X-Mine: 1\r\n").await;
        assert_eq!(answer.status, 200);
        if answer.cache_status().starts_with("breakwater-owner;") {
            assert!(answer.cache_status().contains("fwd=miss"), "{}", answer.cache_status());
            break;
        }
        cold.push('1');
        asked = origin.count();
    }
    assert_eq!(origin.count(), asked + 1);
    let seen = origin.last();
    assert_eq!(seen.target(), cold);
    assert_eq!(seen.field("x-mine").as_deref(), Some("1"));
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.field("host").as_deref(), Some("shop.test"));
    assert_eq!(seen.field("via").as_deref(), Some("1.1 breakwater"));
    assert_eq!(seen.field("breakwater-peer"), None);
    assert_eq!(requests(owner).await, before);
    let lines = nodes.0[0].access(1).await;
    let id = lines.last().unwrap()["request_id"].as_str().unwrap().len();
    assert_eq!(id, seen.field("x-request-id").unwrap().len());
}

#[tokio::test]
async fn what_comes_from_the_owner_is_as_old_as_it_is_there() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=600\r\nAge: 100\r\n", "x")).await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let (target, _) = foreign(&nodes, "a").await;
    for _ in 0..2 {
        let answer = nodes.0[0].client().await.get("shop.test", &target, "").await;
        let age: u64 = answer.field("age").unwrap().parse().unwrap();
        assert!((100..130).contains(&age), "{age}");
        assert_eq!(answer.count("age"), 1);
        assert_eq!(answer.count("breakwater-peer"), 0);
        assert_eq!(answer.count("x-request-id"), 1);
    }
}

#[tokio::test]
async fn policies_are_asked_and_fields_edited_where_the_client_is_and_nowhere_else() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let mut site = owner_site(origin.address);
    site.filters = Filters {
        request_fields: edit(&[], &[], &[("X-Request-Edit", "1")]),
        response_fields: edit(&[], &[], &[("X-Response-Edit", "1")]),
        ..Filters::default()
    };
    let nodes = Nodes::before(2, site.clone()).await;
    // The owner denies everyone; the first node nobody.
    let mut deny = waf_policy(id(breakwater_snapshot::Kind::EdgeCache, "site"));
    deny.addresses.deny = vec!["127.0.0.0/8".parse().unwrap()];
    let denied = objects([("site", Unit::EdgeCache(site)), ("deny", Unit::WafPolicy(deny))]);
    nodes.0[1].apply(denied).await;
    let mut found = false;
    for n in 0..64 {
        let answer = nodes.0[0].client().await.get("shop.test", &format!("/{n}"), "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.count("x-response-edit"), 1);
        assert_eq!(origin.last().field("x-request-edit").as_deref(), Some("1"));
        found |= answer.cache_status().contains("breakwater-owner") || answer.count("cache-status") > 1;
        if found {
            break;
        }
    }
    assert!(found, "the other owns one of 64");
    let refused = nodes.0[1].client().await.get("shop.test", "/0", "").await;
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn ranges_and_conditions_are_answered_from_what_the_owner_gave() {
    let origin = Origin::fixed(answer(
        200,
        "Cache-Control: max-age=60\r\nETag: \"1\"\r\n",
        "0123456789",
    ))
    .await;
    let nodes = Nodes::before(3, owner_site(origin.address)).await;
    let (target, _) = foreign(&nodes, "a").await;
    let asked = origin.count();
    let mut client = nodes.0[0].client().await;
    let not_modified = client.get("shop.test", &target, "If-None-Match: \"1\"\r\n").await;
    assert_eq!(not_modified.status, 304);
    let part = client.get("shop.test", &target, "Range: bytes=2-4\r\n").await;
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(origin.count(), asked);
}

#[tokio::test]
async fn a_stale_copy_is_confirmed_by_the_owner_and_the_origin_is_asked_once() {
    let origin = Origin::start(|request: Request| async move {
        match request.field("if-none-match") {
            Some(_) => answer(304, "Cache-Control: max-age=60\r\nETag: \"1\"\r\n", ""),
            None => answer(200, "Cache-Control: max-age=0\r\nETag: \"1\"\r\n", "kept"),
        }
    })
    .await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let mut client = nodes.0[0].client().await;
    let mut other = nodes.0[1].client().await;
    // Both have it, stale, whoever owns it.
    for client in [&mut client, &mut other] {
        assert_eq!(client.get("shop.test", "/a", "").await.text(), "kept");
    }
    let asked = origin.count();
    for client in [&mut client, &mut other] {
        let answer = client.get("shop.test", "/a", "").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "kept"));
    }
    assert!(origin.count() <= asked + 1, "{} after {asked}", origin.count());
}

#[tokio::test]
async fn each_coding_is_made_once_and_shared() {
    let body = "squeeze me ".repeat(400);
    let text = format!("{FRESH}Content-Type: text/plain\r\n");
    let origin = Origin::fixed(answer(200, &text, &body)).await;
    let mut site = owner_site(origin.address);
    site.filters.compression = Some(Compression {
        codings: vec![Coding::Gzip],
        types: vec!["text/*".to_owned()],
        min_size: 256,
    });
    let nodes = Nodes::before(2, site).await;
    for coding in ["gzip", "identity"] {
        let lines = format!("Accept-Encoding: {coding}\r\n");
        for plane in &nodes.0 {
            for _ in 0..2 {
                let answer = plane.client().await.get("shop.test", "/a", &lines).await;
                assert_eq!(answer.status, 200);
                let coded = answer.field("content-encoding");
                assert_eq!(coded, (coding == "gzip").then_some("gzip"));
                if coding == "identity" {
                    assert_eq!(answer.text(), body);
                }
            }
        }
    }
    assert_eq!(origin.count(), 2, "one fetch for each coding");
}

#[tokio::test]
async fn content_flows_through_the_owner_while_it_comes_and_a_slow_client_holds_it_up_nowhere_else() {
    let body: String = "0123456789abcdef".repeat(256 * 1024);
    let origin = Origin::fixed(answer(200, FRESH, &body)).await;
    let mut site = owner_site(origin.address);
    // Not stored, so that what waits is bounded by windows.
    site.cache.max_object_size = 64 * 1024;
    let nodes = Nodes::before(2, site).await;
    for n in 0..4 {
        let target = format!("/large/{n}");
        let mut slow = nodes.0[0].client().await;
        slow.send(format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        let head = within("a head", slow.head()).await.unwrap();
        assert_eq!(head.status, 200);
        // Another client is served meanwhile, to the end.
        let answer = nodes.0[0]
            .client()
            .await
            .get("shop.test", &format!("/other/{n}"), "")
            .await;
        assert_eq!(answer.body.len(), body.len());
        let rest = within("the content", slow.take(body.len())).await.unwrap();
        assert!(rest == body.as_bytes());
    }
    assert!(nodes.counted("out", "answered").await > 0.0);
}

#[tokio::test]
async fn an_owner_that_has_not_heard_of_a_purge_is_not_believed() {
    let origin = Origin::start({
        let served = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        move |request: Request| {
            let n = served.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let target = request.target().to_owned();
            async move {
                answer(
                    200,
                    "Cache-Control: max-age=600\r\nSurrogate-Key: t\r\n",
                    format!("{target} {n}"),
                )
            }
        }
    })
    .await;
    let site = owner_site(origin.address);
    let nodes = Nodes::before(2, site.clone()).await;
    let (target, owner) = foreign(&nodes, "a").await;
    let old = nodes.0[0].client().await.get("shop.test", &target, "").await.text();
    for (uid, selector) in [
        ("1", PurgeSelector::Tags(vec!["t".to_owned()])),
        ("2", PurgeSelector::Urls(vec![format!("http://shop.test{target}")])),
        ("3", PurgeSelector::Everything),
    ] {
        // Only the first hears of it.
        nodes.0[0]
            .apply(objects([
                ("site", Unit::EdgeCache(site.clone())),
                ("purge", purge(uid, selector)),
            ]))
            .await;
        let new = nodes.0[0].client().await.get("shop.test", &target, "").await.text();
        assert_ne!(new, old, "{uid}");
        let again = nodes.0[0].client().await.get("shop.test", &target, "").await.text();
        assert_eq!(again, new, "what came from the origin is stored");
        let still = nodes.0[owner].client().await.get("shop.test", &target, "").await.text();
        assert_eq!(still, old, "the owner still has it");
    }
    assert_eq!(nodes.counted("out", "behind").await, 3.0);
}

#[tokio::test]
async fn after_a_purge_that_all_have_heard_of_the_owner_is_believed_again() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let site = owner_site(origin.address);
    let nodes = Nodes::before(3, site.clone()).await;
    for plane in &nodes.0 {
        plane.client().await.get("shop.test", "/a", "").await;
    }
    assert_eq!(origin.count(), 1);
    let purged = objects([
        ("site", Unit::EdgeCache(site)),
        ("purge", purge("1", PurgeSelector::Everything)),
    ]);
    nodes.apply(&purged).await;
    // Nodes tell each other times to 2 ms: what comes sooner may be taken to be from before.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    for _ in 0..2 {
        for plane in &nodes.0 {
            plane.client().await.get("shop.test", "/a", "").await;
        }
    }
    assert_eq!(origin.count(), 2, "one fetch before the purge and one after");
}

#[tokio::test]
async fn what_an_unsafe_method_made_invalid_here_does_not_come_back_from_the_owner() {
    let origin = Origin::start(|request: Request| async move {
        match request.method() {
            "POST" => answer(200, "", "done"),
            _ => answer(200, FRESH, "x"),
        }
    })
    .await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    let (target, _) = foreign(&nodes, "a").await;
    let mut client = nodes.0[0].client().await;
    client.get("shop.test", &target, "").await;
    let asked = origin.count();
    client
        .ask("POST", "shop.test", &target, "Content-Length: 0\r\n", b"")
        .await;
    client.get("shop.test", &target, "").await;
    // The POST, and a GET by the owner, which is told, or by this node; by both when the times of what the owner then has
    // cannot be told from those of what it had.
    let after = origin.count() - asked;
    assert!((2..=3).contains(&after), "{after}");
}

#[tokio::test]
async fn an_unsafe_request_at_one_node_is_told_to_the_owner_of_what_it_makes_out_of_date() {
    let origin = Origin::start(|request: Request| async move {
        match request.method() {
            "POST" => answer(
                201,
                &format!("Location: {}\r\n", request.target().replace("post", "made")),
                "",
            ),
            _ => answer(200, FRESH, "x"),
        }
    })
    .await;
    let nodes = Nodes::before(2, owner_site(origin.address)).await;
    // Its own URL, and one it names, both of which the other node owns.
    let (target, other) = owned_by_the_second(&nodes).await;
    for forgotten in [&target, &other] {
        assert!(nodes.0[1].client().await.get("shop.test", forgotten, "").await.is_hit());
    }
    let posted = nodes.0[0]
        .client()
        .await
        .ask("POST", "shop.test", &target, "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(posted.status, 201);
    until("both to be told", async || {
        (nodes.counted("in", "invalidated").await == 2.0).then_some(())
    })
    .await;
    for forgotten in [&target, &other] {
        let again = nodes.0[1].client().await.get("shop.test", forgotten, "").await;
        assert!(!again.is_hit(), "{forgotten}: {}", again.cache_status());
    }
    assert_eq!(nodes.counted("out", "invalidated").await, 2.0);
    // What the owner is told of it tells to nobody.
    assert_eq!(
        nodes.0[1]
            .metric("breakwater_peer_requests_total{direction=\"out\",result=\"invalidated\"}")
            .await,
        0.0
    );
}

#[tokio::test]
async fn a_change_of_a_group_at_one_node_is_told_to_all_that_may_have_something_of_it() {
    let origin = Origin::start(|request: Request| async move {
        match (request.method(), request.target()) {
            ("POST", _) => answer(200, "Cache-Group-Invalidation: \"a\"\r\n", ""),
            (_, target) if target.starts_with("/b") => answer(200, &format!("{FRESH}Cache-Groups: \"b\"\r\n"), "x"),
            _ => answer(200, &format!("{FRESH}Cache-Groups: \"a\"\r\n"), "x"),
        }
    })
    .await;
    let nodes = Nodes::before(3, owner_site(origin.address)).await;
    let (in_group, outside) = (owned_by_each(&nodes, "a").await, owned_by_each(&nodes, "b").await);
    let posted = nodes.0[0]
        .client()
        .await
        .ask("POST", "shop.test", "/change", "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(posted.status, 200);
    until("both others to be told", async || {
        (nodes.counted("in", "invalidated").await == 2.0).then_some(())
    })
    .await;
    for (plane, (gone, kept)) in nodes.0.iter().zip(in_group.iter().zip(&outside)) {
        let mut client = plane.client().await;
        assert!(client.get("shop.test", kept, "").await.is_hit(), "{kept}");
        assert!(!client.get("shop.test", gone, "").await.is_hit(), "{gone}");
    }
    until("both to have answered", async || {
        (nodes.counted("out", "invalidated").await == 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_client_says_of_groups_is_told_to_nobody() {
    let origin = Origin::start(|request: Request| async move {
        match request.method() {
            "POST" => answer(200, "", ""),
            _ => answer(200, &format!("{FRESH}Cache-Groups: \"a\"\r\n"), "x"),
        }
    })
    .await;
    let site = owner_site(origin.address);
    let nodes = Nodes::before(2, site.clone()).await;
    let mut policy = waf_policy(id(breakwater_snapshot::Kind::EdgeCache, "site"));
    policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let trusting = objects([("site", Unit::EdgeCache(site)), ("trust", Unit::WafPolicy(policy))]);
    nodes.apply(&trusting).await;
    let (target, other) = owned_by_the_second(&nodes).await;
    let lines = "Cache-Group-Invalidation: \"a\"\r\nContent-Length: 0\r\n";
    let mut client = nodes.0[0].client().await;
    client.ask("POST", "shop.test", &target, lines, b"").await;
    until("the owner to be told", async || {
        (nodes.counted("in", "invalidated").await == 1.0).then_some(())
    })
    .await;
    let mut client = nodes.0[1].client().await;
    assert!(!client.get("shop.test", &target, "").await.is_hit());
    assert!(client.get("shop.test", &other, "").await.is_hit());
}

/// For each node a target that it owns and has.
async fn owned_by_each(nodes: &Nodes, stem: &str) -> Vec<String> {
    let mut owned = vec![None; nodes.0.len()];
    for n in 0.. {
        let target = format!("/{stem}/{n}");
        let owner = nodes.owner(&target).await;
        owned[owner].get_or_insert(target);
        if owned.iter().all(Option::is_some) {
            break;
        }
    }
    owned.into_iter().flatten().collect()
}

/// Two targets that node 1 owns and has, which differ in one word.
async fn owned_by_the_second(nodes: &Nodes) -> (String, String) {
    for n in 0.. {
        let (post, made) = (format!("/post/{n}"), format!("/made/{n}"));
        if nodes.owner(&post).await == 1 && nodes.owner(&made).await == 1 {
            return (post, made);
        }
    }
    unreachable!()
}
