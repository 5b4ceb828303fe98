//! The PROXY protocol: who may speak it must, nobody else can, and the client is who it says.

use breakwater_dataplane::Listen;
use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::Unit;
use tokio::net::TcpStream;

use crate::support::{
    Authority, Client, Dialer, Origin, Plane, answer, edge_cache, id, objects, secure_listen, tls, waf_policy,
};

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, block: &[u8]) -> Vec<u8> {
    let mut header = V2.to_vec();
    header.extend([command, 0x11]);
    header.extend((block.len() as u16).to_be_bytes());
    header.extend(block);
    header
}

/// A listener whose headers are believed from `networks`, before a site that denies 203.0.113.7.
async fn plane_with(origin: &Origin, networks: &[&str], listen: Listen) -> Plane {
    let plane = Plane::with(|options| {
        options.listen = vec![Listen {
            proxy_protocol: networks.iter().map(|network| network.parse().unwrap()).collect(),
            ..listen
        }];
    })
    .await;
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.addresses.deny = vec!["203.0.113.7/32".parse().unwrap()];
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(edge_cache(origin.address))),
            ("policy", Unit::WafPolicy(policy)),
        ]))
        .await;
    plane
}

async fn believing(origin: &Origin) -> Plane {
    let any = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
    plane_with(origin, &["10.0.0.0/8", "127.0.0.0/8"], any.into()).await
}

fn refused(reason: &str) -> String {
    format!("breakwater_refused_total{{reason=\"{reason}\"}}")
}

const DENIED: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb];
const ALLOWED: [u8; 12] = [203, 0, 113, 8, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb];

#[tokio::test]
async fn the_address_in_the_header_is_the_client_of_policies_origins_and_logs() {
    let origin = Origin::fixed(answer(200, "Cache-Control: no-store\r\n", "x")).await;
    let plane = believing(&origin).await;
    for (header, status) in [
        (b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 80\r\n".to_vec(), 403),
        (b"PROXY TCP4 203.0.113.8 192.0.2.1 40000 80\r\n".to_vec(), 200),
        (b"PROXY TCP6 ::ffff:203.0.113.7 2001:db8::1 40000 80\r\n".to_vec(), 403),
        (b"PROXY UNKNOWN\r\n".to_vec(), 200),
        (v2(0x21, &DENIED), 403),
        (v2(0x21, &ALLOWED), 200),
        (v2(0x20, &DENIED), 200),
    ] {
        let mut client = plane.client().await;
        client.send(&header).await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, status, "{header:?}");
        assert_eq!(
            client.get("shop.test", "/a", "").await.status,
            status,
            "for the whole connection"
        );
    }
    assert_eq!(origin.last().field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    let lines = plane.access(14).await;
    assert_eq!(lines[0]["client"], "203.0.113.7");
    assert_eq!(lines[2]["client"], "203.0.113.8");
    assert_eq!(lines[6]["client"], "127.0.0.1");
}

#[tokio::test]
async fn a_header_that_comes_in_pieces_or_with_the_request_is_read_all_the_same() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = believing(&origin).await;
    for header in [
        b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 80\r\n".to_vec(),
        v2(0x21, &DENIED),
    ] {
        let mut pieces = plane.client().await;
        for byte in &header {
            pieces.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(pieces.get("shop.test", "/a", "").await.status, 403);
        let mut together = plane.client().await;
        together
            .send([&header[..], b"GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n"].concat())
            .await;
        assert_eq!(together.response("GET").await.status, 403);
    }
}

#[tokio::test]
async fn who_must_send_a_header_and_does_not_is_refused() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = believing(&origin).await;
    let mut client = plane.client().await;
    client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    client.closed().await;
    plane.metric_reaches(&refused("proxy_missing"), 1.0).await;
    let mut client = plane.client().await;
    client.send("PROXY TCP4 203.0.113.7 192.0.2.1 40000 99999\r\n").await;
    client.closed().await;
    plane.metric_reaches(&refused("proxy_malformed"), 1.0).await;
    drop(TcpStream::connect(plane.address()).await.unwrap());
    plane.metric_reaches(&refused("proxy_closed"), 1.0).await;
    plane.metric_reaches("breakwater_connections_beginning", 0.0).await;
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_header_from_somebody_else_is_no_header() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let any = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
    let plane = plane_with(&origin, &["10.0.0.0/8"], any.into()).await;
    let mut client = plane.client().await;
    client
        .send("PROXY TCP4 203.0.113.8 192.0.2.1 40000 80\r\nGET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        .await;
    assert_eq!(client.response("GET").await.status, 400);
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 200);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_header_that_does_not_come_is_waited_for_no_longer_than_a_handshake() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = believing(&origin).await;
    let mut client = plane.client().await;
    client.send("PROXY TCP4 203.0").await;
    client.closed().await;
    plane.metric_reaches(&refused("proxy_timeout"), 1.0).await;
}

#[tokio::test]
async fn tls_begins_behind_the_header() {
    let (origin, authority) = (Origin::fixed(answer(200, "", "x")).await, Authority::new());
    let plane = plane_with(&origin, &["127.0.0.1/32"], secure_listen()).await;
    let mut site = edge_cache(origin.address);
    site.tls = Some(tls(&["*"], "secret"));
    let mut policy = waf_policy(id(Kind::EdgeCache, "site"));
    policy.addresses.deny = vec!["203.0.113.7/32".parse().unwrap()];
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("policy", Unit::WafPolicy(policy)),
            ("secret", Unit::Certificate(authority.secret(&["shop.test"]))),
        ]))
        .await;
    for (block, status) in [(DENIED, 403), (ALLOWED, 200)] {
        let mut clear = Client::connect(plane.address()).await;
        clear.send(v2(0x21, &block)).await;
        let mut client = Dialer::new(&authority).over(clear.stream, "shop.test").await.unwrap();
        assert_eq!(client.get("shop.test", "/a", "").await.status, status);
    }
}
