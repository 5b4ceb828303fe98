//! TLS towards origins.

use std::net::SocketAddr;
use std::sync::Arc;

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{EdgeCache, Endpoint, OriginTls, Unit};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::support::{Authority, Plane, answer, edge_cache, id, objects};

/// What an origin saw of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: Option<String>,
    resumed: bool,
    certificates: usize,
}

/// An origin that answers one request for each connection, over TLS.
pub(crate) struct Secured {
    pub(crate) address: SocketAddr,
    seen: watch::Receiver<Vec<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secured {
    pub(crate) async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (log, seen) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, log) = (TlsAcceptor::from(Arc::clone(&config)), log.clone());
                connections.spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let session = stream.get_ref().1;
                    let seen = Seen {
                        name: session.server_name().map(str::to_owned),
                        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
                        certificates: session.peer_certificates().map_or(0, <[_]>::len),
                    };
                    log.send_modify(|log| log.push(seen));
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"0\r\n\r\n") {
                        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    if request.starts_with(b"POST") {
                        while !request.ends_with(b"0\r\n\r\n") {
                            stream.read_buf(&mut request).await.unwrap();
                        }
                    }
                    let body = request.len().to_string();
                    let _ = stream.write_all(&answer(200, "Connection: close\r\n", body)).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { address, seen, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }
}

/// A site before `address`, called `localhost`, with these terms.
pub(crate) fn site(address: SocketAddr, tls: OriginTls) -> EdgeCache {
    let mut site = edge_cache(address);
    site.origin.endpoints = vec![Endpoint {
        host: "localhost".to_owned(),
        port: address.port(),
        weight: 1,
    }];
    site.origin.tls = Some(tls);
    site
}

async fn status(plane: &Plane) -> u16 {
    plane.client().await.get("shop.test", "/a", "").await.status
}

pub(crate) fn believing(authority: &Authority) -> OriginTls {
    OriginTls {
        ca_pem: Some(authority.pem()),
        ..OriginTls::default()
    }
}

#[tokio::test]
async fn a_server_is_asked_by_its_name_and_sessions_are_resumed() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("localhost", "http/1.1", None)).await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(origin.address, believing(&authority))))]).await;
    for _ in 0..2 {
        assert_eq!(status(&plane).await, 200);
    }
    let seen = origin.seen();
    assert_eq!(seen.iter().map(|seen| seen.resumed).collect::<Vec<_>>(), [false, true]);
    assert!(seen.iter().all(|seen| seen.name.as_deref() == Some("localhost")));
}

#[tokio::test]
async fn a_body_goes_over_tls_piece_by_piece() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("localhost", "http/1.1", None)).await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(origin.address, believing(&authority))))]).await;
    let mut client = plane.client().await;
    let piece = "x".repeat(300_000);
    let body = format!("{:x}\r\n{piece}\r\n0\r\n\r\n", piece.len());
    let response = client
        .ask(
            "POST",
            "shop.test",
            "/a",
            "Transfer-Encoding: chunked\r\n",
            body.as_bytes(),
        )
        .await;
    assert_eq!(response.status, 200);
    assert!(response.text().parse::<usize>().unwrap() > piece.len());
}

#[tokio::test]
async fn who_is_not_believed_gets_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let origin = Secured::start(authority.server("localhost", "http/1.1", None)).await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(origin.address, believing(&other))))]).await;
    assert_eq!(status(&plane).await, 502);
    // Whoever takes anybody does not open the way for the others.
    let mut insecure = site(
        origin.address,
        OriginTls {
            insecure: true,
            ..OriginTls::default()
        },
    );
    insecure.claims = crate::support::claims("insecure.test", "/");
    let units = [
        ("insecure", Unit::EdgeCache(insecure)),
        ("site", Unit::EdgeCache(site(origin.address, believing(&other)))),
    ];
    plane.apply(objects(units)).await;
    let mut client = plane.client().await;
    assert_eq!(client.get("insecure.test", "/a", "").await.status, 200);
    assert_eq!(status(&plane).await, 502);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_unless_that_name_is_asked_for() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("other.test", "http/1.1", None)).await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(origin.address, believing(&authority))))]).await;
    assert_eq!(status(&plane).await, 502);
    let named = OriginTls {
        server_name: Some("other.test".to_owned()),
        ..believing(&authority)
    };
    plane
        .apply(objects([("site", Unit::EdgeCache(site(origin.address, named)))]))
        .await;
    assert_eq!(status(&plane).await, 200);
    assert_eq!(origin.seen().last().unwrap().name.as_deref(), Some("other.test"));
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_one_that_is_missing_fails_closed() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("localhost", "http/1.1", Some(&authority))).await;
    let tls = OriginTls {
        certificate: Some(id(Kind::Secret, "ours")),
        ..believing(&authority)
    };
    let without = || ("site", Unit::EdgeCache(site(origin.address, tls.clone())));
    let plane = Plane::running([without()]).await;
    assert_eq!(status(&plane).await, 502);
    let secret = ("ours", Unit::Certificate(authority.client_secret()));
    plane.apply(objects([secret, without()])).await;
    assert_eq!(status(&plane).await, 200);
    assert_eq!(origin.seen().last().unwrap().certificates, 1);
    // Another certificate is another identity: nothing of the old one's connections is used.
    let stranger = ("ours", Unit::Certificate(Authority::new().client_secret()));
    plane.apply(objects([stranger, without()])).await;
    assert_eq!(status(&plane).await, 502);
}

#[tokio::test]
async fn authorities_that_cannot_be_read_reject_the_object() {
    for pem in [
        "",
        "not pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let tls = OriginTls {
            ca_pem: Some(pem.to_owned()),
            ..OriginTls::default()
        };
        let plane = Plane::start().await;
        let site = site("127.0.0.1:1".parse().unwrap(), tls);
        let applied = plane.try_apply(objects([("site", Unit::EdgeCache(site))])).await;
        assert_eq!(applied.rejected.len(), 1, "{pem}");
        assert!(
            applied.rejected[0].message.contains("authorit"),
            "{:?}",
            applied.rejected
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_shake_hands_is_a_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut site = site(silent.local_addr().unwrap(), believing(&Authority::new()));
    site.origin.connect_timeout_ms = 100;
    site.origin.retries.attempts = 0;
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    assert_eq!(status(&plane).await, 504);
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_and_without_a_goodbye_is_cut_and_not_stored() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(authority.server("localhost", "http/1.1", None));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        // Of three answers the last one ends as it should.
        for goodbye in [false, false, true] {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\nhello";
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            if goodbye {
                stream.shutdown().await.unwrap();
            }
        }
    });
    let plane = Plane::running([("site", Unit::EdgeCache(site(address, believing(&authority))))]).await;
    for whole in [false, false, true] {
        let mut client = plane.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        let answer = client.try_response("GET").await;
        assert_eq!(answer.map(|answer| answer.text()), whole.then(|| "hello".to_owned()));
    }
    origin.await.unwrap();
    assert!(plane.client().await.get("shop.test", "/a", "").await.is_hit());
}
