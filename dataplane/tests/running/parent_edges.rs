//! Another edge before the origin: it is asked first, for everything.

use std::net::SocketAddr;

use breakwater_snapshot::unit::{EdgeCache, FirstLevel, OriginTls, Parent, Tiering, Unit};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{
    Authority, Origin, Plane, Request, Way, answer, below_edge, claims, edge_cache, http_origin, objects, tls, within,
};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

async fn edge(site: EdgeCache) -> Plane {
    Plane::running([("site", Unit::EdgeCache(site))]).await
}

async fn parent_requests(plane: &Plane, result: &str) -> f64 {
    let series = format!("breakwater_parent_requests_total{{resource=\"EdgeCache/default/site\",result=\"{result}\"}}");
    plane.metric(&series).await
}

async fn origin_requests(plane: &Plane) -> f64 {
    let text = plane.metrics().await;
    let lines = text
        .lines()
        .filter(|line| line.starts_with("breakwater_origin_requests_total"));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn an_edge_asks_its_parent_as_if_it_were_the_origin_and_the_parent_asks_the_origin() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let parent = edge(edge_cache(origin.address)).await;
    let one = edge(below_edge(origin.address, &[parent.address()], true)).await;
    let two = edge(below_edge(origin.address, &[parent.address()], true)).await;
    let first = one.client().await.get("shop.test", "/a?q=1", "X-Mine: 1\r\n").await;
    assert_eq!((first.status, first.text().as_str()), (200, "x"));
    assert_eq!(first.cache_status(), "breakwater; fwd=miss; stored");
    assert_eq!(first.count("cache-status"), 2);
    let seen = origin.last();
    assert_eq!(
        (seen.target(), seen.field("host").as_deref()),
        ("/a?q=1", Some("shop.test"))
    );
    assert_eq!(seen.field("x-mine").as_deref(), Some("1"));
    assert_eq!(seen.field("via").as_deref(), Some("1.1 breakwater, 1.1 breakwater"));
    let loops = seen.field("cdn-loop").unwrap();
    let (first, second) = loops.split_once(", ").unwrap();
    assert!(
        first.starts_with("breakwater;id=") && second.starts_with("breakwater;id=") && first != second,
        "{loops}"
    );
    // The other edge finds it at the parent, as old as it is there.
    let second = two.client().await.get("shop.test", "/a?q=1", "").await;
    let says: Vec<_> = second.all("cache-status").collect();
    assert!(says[0].starts_with("breakwater; hit; ttl="), "{says:?}");
    assert_eq!(says[1], "breakwater; fwd=miss; stored");
    assert_eq!(origin.count(), 1);
    assert_eq!(parent_requests(&two, "answered").await, 1.0);
    assert_eq!(origin_requests(&two).await, 0.0);
    let again = two.client().await.get("shop.test", "/a?q=1", "").await;
    assert!(again.all("cache-status").last().unwrap().starts_with("breakwater; hit"));
    // What is past the cache goes the same way.
    let post = two
        .client()
        .await
        .ask("POST", "shop.test", "/a", "Content-Length: 2\r\n", b"hi")
        .await;
    assert_eq!((post.status, origin.last().body.as_slice()), (200, &b"hi"[..]));
    assert!(origin.last().field("cdn-loop").unwrap().starts_with("breakwater;id="));
    assert_eq!(origin_requests(&two).await, 0.0);
}

#[tokio::test]
async fn many_edges_that_miss_at_once_cost_the_origin_one_request() {
    let (origin, gate) = Origin::gated(|_| answer(200, FRESH, "shared")).await;
    let parent = edge(edge_cache(origin.address)).await;
    let mut edges = Vec::new();
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        let edge = edge(below_edge(origin.address, &[parent.address()], true)).await;
        for _ in 0..10 {
            let mut client = edge.client().await;
            asking.spawn(async move { client.get("shop.test", "/cold", "").await });
        }
        edges.push(edge);
    }
    origin.reached(1).await;
    gate.add_permits(100);
    for answer in within("all answers", asking.join_all()).await {
        assert_eq!((answer.status, answer.text().as_str()), (200, "shared"));
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_parent_that_is_gone_costs_no_request_and_rests() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let plane = edge(below_edge(origin.address, &[nobody().await], true)).await;
    let mut client = plane.client().await;
    for target in ["/a", "/b", "/c"] {
        let answer = client.get("shop.test", target, "").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
    }
    let post = client
        .ask("POST", "shop.test", "/d", "Content-Length: 2\r\n", b"hi")
        .await;
    assert_eq!((post.status, origin.last().body.as_slice()), (200, &b"hi"[..]));
    assert_eq!(parent_requests(&plane, "failed").await, 1.0);
    assert_eq!(parent_requests(&plane, "resting").await, 3.0);
    assert_eq!((origin.count(), origin_requests(&plane).await), (4, 4.0));
}

#[tokio::test]
async fn a_post_that_finds_no_parent_goes_to_the_origin_whole() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = edge(below_edge(origin.address, &[nobody().await], true)).await;
    let mut client = plane.client().await;
    let post = client
        .ask("POST", "shop.test", "/d", "Content-Length: 2\r\n", b"hi")
        .await;
    assert_eq!((post.status, origin.last().body.as_slice()), (200, &b"hi"[..]));
    assert_eq!(parent_requests(&plane, "failed").await, 1.0);
}

#[tokio::test]
async fn a_parent_that_hangs_up_is_asked_for_no_post_twice() {
    let parent = Origin::raw(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let origin = Origin::fixed(answer(200, "", "origin")).await;
    let plane = edge(below_edge(origin.address, &[parent.address], true)).await;
    let mut client = plane.client().await;
    let post = client
        .ask("POST", "shop.test", "/a", "Content-Length: 2\r\n", b"hi")
        .await;
    assert_eq!((post.status, origin.count()), (502, 0), "it may have been carried out");
    let get = plane.client().await.get("shop.test", "/a", "").await;
    assert_eq!(get.text(), "origin", "a GET does no more when it is sent again");
}

#[tokio::test]
async fn without_fallback_the_origin_is_never_asked() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let parent = edge(edge_cache(origin.address)).await;
    let way = Way::to(parent.address()).await;
    let plane = edge(below_edge(nobody().await, &[way.address], false)).await;
    let mut client = plane.client().await;
    assert_eq!(client.get("shop.test", "/a", "").await.text(), "x");
    drop(way);
    for target in ["/b", "/c"] {
        assert_eq!(client.get("shop.test", target, "").await.status, 502);
    }
    let post = client
        .ask("POST", "shop.test", "/d", "Content-Length: 2\r\n", b"hi")
        .await;
    assert_eq!(post.status, 502);
    assert_eq!(origin_requests(&plane).await, 0.0);
    assert_eq!(parent_requests(&plane, "resting").await, 0.0, "it is asked each time");
    let stored = plane.client().await.get("shop.test", "/a", "").await;
    assert!(
        stored
            .all("cache-status")
            .last()
            .unwrap()
            .starts_with("breakwater; hit")
    );
}

#[tokio::test]
async fn an_error_of_the_parent_is_an_answer() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    for status in [404, 502, 503] {
        let parent = Origin::fixed(answer(status, "", "no")).await;
        let plane = edge(below_edge(origin.address, &[parent.address], true)).await;
        assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, status);
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn edges_that_are_each_others_parents_answer_508_and_wait_for_nobody() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let one = Plane::start().await;
    let two = Plane::start().await;
    for (plane, other) in [(&one, &two), (&two, &one)] {
        let site = below_edge(origin.address, &[other.address()], true);
        plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    }
    let mut client = one.client().await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 508);
    let post = client
        .ask("POST", "shop.test", "/a", "Content-Length: 2\r\n", b"hi")
        .await;
    assert_eq!(post.status, 508);
    assert_eq!(origin.count(), 0);
    // Each was passed once: two requests, not eight.
    let asked = parent_requests(&one, "answered").await + parent_requests(&two, "answered").await;
    assert_eq!(asked, 4.0);
}

#[tokio::test]
async fn who_says_of_itself_that_it_goes_in_circles_is_answered_508_alone() {
    // As a parent would: one more pass and it is a loop.
    let (parent, gate) = Origin::gated(|request| {
        match request
            .field("cdn-loop")
            .unwrap_or_default()
            .matches("breakwater")
            .count()
        {
            8.. => answer(508, "", "loop"),
            _ => answer(200, FRESH, "x"),
        }
    })
    .await;
    let plane = edge(below_edge(nobody().await, &[parent.address], true)).await;
    let mut liar = plane.client().await;
    let lie = format!("CDN-Loop: {}\r\n", ["breakwater"; 7].join(", "));
    liar.send(format!("GET /a HTTP/1.1\r\nHost: shop.test\r\n{lie}\r\n"))
        .await;
    parent.reached(1).await;
    let mut other = plane.client().await;
    other.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    plane.active_reaches(2.0).await;
    gate.add_permits(2);
    assert_eq!(liar.response("GET").await.status, 508);
    let answer = other.response("GET").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
}

#[tokio::test]
async fn an_edge_that_is_its_own_parent_answers_508() {
    let origin = Origin::fixed(answer(200, FRESH, "x")).await;
    let plane = Plane::start().await;
    let site = below_edge(origin.address, &[plane.address()], true);
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 508);
}

#[tokio::test]
async fn age_counts_on_through_the_parent() {
    let origin =
        Origin::start(|_: Request| async move { answer(200, "Cache-Control: max-age=600\r\nAge: 100\r\n", "x") }).await;
    let parent = edge(edge_cache(origin.address)).await;
    let plane = edge(below_edge(origin.address, &[parent.address()], true)).await;
    for _ in 0..2 {
        let answer = plane.client().await.get("shop.test", "/a", "").await;
        let age: u64 = answer.field("age").unwrap().parse().unwrap();
        assert!((100..130).contains(&age), "{age}");
        assert_eq!(answer.count("age"), 1);
    }
}

#[tokio::test]
async fn a_parent_is_spoken_to_over_tls_by_the_name_its_certificate_has() {
    let (origin, authority) = (Origin::fixed(answer(200, FRESH, "x")).await, Authority::new());
    let parent = Plane::secure().await;
    let mut above = edge_cache(origin.address);
    above.claims = claims("shop.test", "/");
    above.tls = Some(tls(&["shop.test"], "secret"));
    let certificate = Unit::Certificate(authority.secret(&["shop.test"]));
    let above = objects([("site", Unit::EdgeCache(above)), ("secret", certificate)]);
    parent.apply(above).await;
    for (name, status) in [("shop.test", 200), ("other.test", 502)] {
        let mut servers = http_origin(&[parent.secure_address()]);
        servers.tls = Some(OriginTls {
            server_name: Some(name.to_owned()),
            ca_pem: Some(authority.pem()),
            ..OriginTls::default()
        });
        let mut site = below_edge(nobody().await, &[], false);
        site.tiering = Tiering::Parent(Parent {
            level: FirstLevel::Servers(Box::new(servers)),
            fallback: false,
        });
        let plane = edge(site).await;
        let answer = plane.client().await.get("shop.test", "/a", "").await;
        assert_eq!(answer.status, status, "{name}");
    }
    assert_eq!(origin.count(), 1);
    assert_eq!(origin.last().field("host").as_deref(), Some("shop.test"));
}
