//! HTTP/2 towards origins, by prior knowledge and by ALPN.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use breakwater_snapshot::unit::{CacheRule, OriginTls, Unit};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::Barrier;

use crate::support::origin_http2::{Origin2, http2_site, whole};
use crate::support::{Authority, Plane, answer, until, within};

async fn before(origin: &Origin2) -> Plane {
    Plane::running([("site", Unit::EdgeCache(http2_site(origin.address)))]).await
}

fn say(mut respond: SendResponse<Bytes>, response: Response<()>, body: impl Into<Bytes>) {
    let mut stream = respond.send_response(response, false).unwrap();
    stream.send_data(body.into(), true).unwrap();
}

#[tokio::test]
async fn a_hundred_requests_share_one_connection() {
    let all = Arc::new(Barrier::new(100));
    let origin = Origin2::start(move |request, respond| {
        let all = Arc::clone(&all);
        async move {
            // Nobody is answered before all are there.
            all.wait().await;
            say(respond, Response::new(()), request.uri().path().to_owned());
        }
    })
    .await;
    let plane = Arc::new(before(&origin).await);
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..100 {
        let plane = Arc::clone(&plane);
        clients.spawn(async move {
            let response = plane.client().await.get("shop.test", &format!("/{n}"), "").await;
            assert_eq!((response.status, response.text()), (200, format!("/{n}")));
        });
    }
    within("all answers", clients.join_all()).await;
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_request_is_what_http2_wants_and_the_answer_what_http1_wants() {
    let origin = Origin2::start(async |request: Request<RecvStream>, respond| {
        assert_eq!(request.uri().to_string(), "http://shop.test/a?b=c");
        assert!(request.headers().get("host").is_none() && request.headers().get("connection").is_none());
        assert_eq!(request.headers()["x-mine"], "1");
        let response = Response::builder()
            .status(201)
            .header("x-theirs", "2")
            .body(())
            .unwrap();
        let body = whole(request.into_body()).await;
        say(respond, response, body);
    })
    .await;
    let plane = before(&origin).await;
    let lines = "X-Mine: 1\r\nConnection: x-other\r\nX-Other: 1\r\nTransfer-Encoding: chunked\r\n";
    let piece = "x".repeat(200_000);
    let body = format!("{:x}\r\n{piece}\r\n0\r\n\r\n", piece.len());
    let mut client = plane.client().await;
    for _ in 0..2 {
        let response = client.ask("POST", "shop.test", "/a?b=c", lines, body.as_bytes()).await;
        assert_eq!((response.status, response.field("x-theirs")), (201, Some("2")));
        assert_eq!(response.body.len(), piece.len());
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    let origin = Origin2::start(async |_, mut respond: SendResponse<Bytes>| {
        let hints = Response::builder()
            .status(103)
            .header("link", "</a.css>")
            .body(())
            .unwrap();
        respond.send_informational(hints).unwrap();
        say(respond, Response::new(()), "x");
    })
    .await;
    let mut site = http2_site(origin.address);
    site.cache.rules = vec![CacheRule {
        paths: Vec::new(),
        methods: Vec::new(),
        statuses: Vec::new(),
        ttl_ms: None,
        stale_while_revalidate_ms: None,
        stale_if_error_ms: None,
        bypass: true,
    }];
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    let hints = client.get("shop.test", "/a", "").await;
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.response("GET").await.text(), "x");
}

#[tokio::test]
async fn after_goaway_requests_go_to_a_new_connection_and_none_fails() {
    let origin = Origin2::raw(async |_, mut connection| {
        // One answer, then GOAWAY; what comes all the same is refused by the protocol.
        if let Some(Ok((_, respond))) = connection.accept().await {
            say(respond, Response::new(()), "x");
            connection.graceful_shutdown();
        }
        while let Some(Ok(_)) = connection.accept().await {}
    })
    .await;
    let plane = before(&origin).await;
    let mut client = plane.client().await;
    for n in 0..5 {
        let response = client.get("shop.test", &format!("/{n}"), "").await;
        assert_eq!(response.status, 200, "{n}: {}", response.text());
    }
    assert!(origin.connections() >= 5);
}

#[tokio::test]
async fn a_connection_that_dies_between_requests_fails_none_that_may_be_repeated() {
    let origin = Origin2::raw(async |_, mut connection| {
        if let Some(Ok((_, respond))) = connection.accept().await {
            say(respond, Response::new(()), "x");
        }
        // The second request is taken in, and then there is nobody any more.
        let _ = connection.accept().await;
    })
    .await;
    let mut site = http2_site(origin.address);
    site.origin.retries.attempts = 0;
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    for n in 0..4 {
        assert_eq!(client.get("shop.test", &format!("/{n}"), "").await.status, 200, "{n}");
    }
}

#[tokio::test]
async fn a_request_the_server_refused_is_sent_again_whatever_its_method() {
    let first = AtomicUsize::new(0);
    let origin = Origin2::start(move |_, mut respond: SendResponse<Bytes>| {
        let refuse = first.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            match refuse {
                true => respond.send_reset(Reason::REFUSED_STREAM),
                false => say(respond, Response::new(()), "x"),
            }
        }
    })
    .await;
    let plane = before(&origin).await;
    let lines = "Content-Length: 0\r\n";
    let response = plane.client().await.ask("POST", "shop.test", "/a", lines, b"").await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn a_length_that_does_not_hold_cuts_the_answer() {
    let origin = Origin2::start(async |_, mut respond: SendResponse<Bytes>| {
        let response = Response::builder().header("content-length", "5").body(()).unwrap();
        let mut stream = respond.send_response(response, false).unwrap();
        stream.send_data(Bytes::from_static(b"abc"), true).unwrap();
    })
    .await;
    let plane = before(&origin).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")
        .await;
    let whole = client.try_response("POST").await;
    assert!(whole.is_none_or(|response| response.status == 502));
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_server() {
    const TOTAL: usize = 64 << 20;
    let sent = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&sent);
    let origin = Origin2::start(move |_, mut respond: SendResponse<Bytes>| {
        let count = Arc::clone(&count);
        async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let mut left = TOTAL;
            while left > 0 {
                stream.reserve_capacity(left.min(64 << 10));
                let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                let Some(Ok(capacity)) = capacity else { return };
                let piece = capacity.min(left);
                stream.send_data(vec![b'x'; piece].into(), piece == left).unwrap();
                left -= piece;
                count.fetch_add(piece, Ordering::SeqCst);
            }
        }
    })
    .await;
    let plane = before(&origin).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.head().await.unwrap().status, 200);
    let (mut last, mut same) = (usize::MAX, 0);
    let stopped = until("the server to stop", async || {
        let now = sent.load(Ordering::SeqCst);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same >= 40).then_some(now)
    })
    .await;
    assert!(
        stopped < TOTAL / 2,
        "it sent {stopped} of {TOTAL} bytes that nobody reads"
    );
    // Another request on the same connection is not held up by it.
    let mut other = plane.client().await;
    other
        .send("POST /b HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(other.head().await.unwrap().status, 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn over_tls_the_protocol_is_agreed_on() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(authority.server("127.0.0.1", "h2", None));
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            say(respond, Response::new(()), request.uri().to_string());
        }
    });
    let mut site = http2_site(address);
    site.origin.tls = Some(OriginTls {
        ca_pem: Some(authority.pem()),
        ..OriginTls::default()
    });
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("shop.test", "/a", "").await.text(), "https://shop.test/a");
    }
    server.abort();
}

#[tokio::test]
async fn a_server_that_speaks_no_http2_is_a_bad_gateway() {
    let origin = crate::support::Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::running([("site", Unit::EdgeCache(http2_site(origin.address)))]).await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 502);
}
