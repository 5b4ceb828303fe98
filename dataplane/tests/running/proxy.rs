//! What goes past the cache: bodies both ways, interim responses, upstream connections.

use breakwater_snapshot::unit::Unit;
use tokio::io::AsyncWriteExt;

use crate::support::{Origin, Plane, answer, edge_cache, http_origin, objects, until, within};

#[tokio::test]
async fn a_body_with_a_length_goes_both_ways() {
    let origin = Origin::start(async |request| answer(201, "", request.body)).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for size in [0, 1, 70_000, 1 << 20] {
        let body = vec![b'b'; size];
        let lines = format!("Content-Length: {size}\r\n");
        let response = client.ask("POST", "shop.test", "/a", &lines, &body).await;
        assert!(response.status == 201 && response.body == body, "{size}");
        assert_eq!(origin.last().field("content-length"), Some(size.to_string()));
        assert_eq!(origin.last().field("transfer-encoding"), None);
    }
}

#[tokio::test]
async fn a_chunked_body_goes_both_ways_and_is_chunked_anew() {
    let origin = Origin::start(async |request| {
        assert_eq!(request.field("transfer-encoding").as_deref(), Some("chunked"));
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        bytes.extend_from_slice(&request.body);
        bytes
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let body = b"5;name=\"value\"\r\nhello\r\n00007\r\n, world\r\n0\r\nTrailer: 1\r\n\r\n";
    let response = client
        .ask("PUT", "shop.test", "/a", "Transfer-Encoding: chunked\r\n", body)
        .await;
    assert_eq!(response.text(), "hello, world");
    let sent = String::from_utf8(origin.last().body).unwrap();
    assert!(!sent.contains("name") && !sent.contains("Trailer"), "{sent}");
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_continue() {
    let origin = Origin::start(async |request| {
        assert_eq!(request.field("expect"), None);
        answer(200, "", request.body)
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await;
    assert_eq!(client.response("POST").await.status, 100);
    client.send("body").await;
    let response = client.response("POST").await;
    assert_eq!((response.status, response.text().as_str()), (200, "body"));
}

#[tokio::test]
async fn a_client_that_does_not_wait_after_all_gets_no_100() {
    let origin = Origin::start(async |request| answer(200, "", request.body)).await;
    let plane = Plane::before(&origin).await;
    let lines = "Content-Length: 4\r\nExpect: 100-continue\r\n";
    let response = plane
        .client()
        .await
        .ask("POST", "shop.test", "/a", lines, b"body")
        .await;
    assert_eq!((response.status, response.text().as_str()), (200, "body"));
}

#[tokio::test]
async fn an_early_answer_ends_an_upload() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        peer.send(answer(413, "Connection: close\r\n", "too much")).await;
        peer.stream.shutdown().await.unwrap();
        peer.rest().await;
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1000000\r\n\r\nbeginning")
        .await;
    let response = client.response("POST").await;
    assert_eq!((response.status, response.text().as_str()), (413, "too much"));
    assert_eq!(response.field("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn an_early_answer_is_seen_while_the_origin_takes_no_more() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        let mut buffer = [0; 1000];
        let _ = peer.stream.try_read(&mut buffer);
        peer.send(answer(403, "", "stop")).await;
        std::future::pending::<()>().await;
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client
        .send("POST /a HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000000\r\n\r\n")
        .await;
    let (mut reading, mut writing) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        while writing.write_all(&piece).await.is_ok() {}
    });
    let mut head = [0; 12];
    within(
        "the early answer",
        tokio::io::AsyncReadExt::read_exact(&mut reading, &mut head),
    )
    .await
    .unwrap();
    assert_eq!(&head, b"HTTP/1.1 403");
    within("the upload to be cut", upload).await.unwrap();
}

#[tokio::test]
async fn an_http_1_0_client_is_answered_in_its_own_terms() {
    let origin = Origin::start(async |request| match request.target() {
        "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec(),
        _ => answer(200, "", "hello"),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.send("GET /chunked HTTP/1.0\r\nHost: shop.test\r\n\r\n").await;
    let response = client.response("GET").await;
    assert_eq!(
        (response.field("transfer-encoding"), response.text().as_str()),
        (None, "hello")
    );
    let mut client = plane.client().await;
    client
        .send("GET /a HTTP/1.0\r\nHost: shop.test\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let response = client.response("GET").await;
    assert_eq!(
        (response.field("connection"), response.text().as_str()),
        (Some("keep-alive"), "hello")
    );
    client.send("GET /a HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response("GET").await.text(), "hello");
    client.closed().await;
    assert!(origin.last().head.starts_with("GET /a HTTP/1.1\r\n"));
}

#[tokio::test]
async fn connections_to_the_origin_are_used_again() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for method in ["GET", "POST", "GET", "PUT"] {
        let response = client
            .ask(method, "shop.test", "/a", "Content-Length: 1\r\n", b"x")
            .await;
        assert_eq!(response.status, 200);
    }
    let other = plane.client().await.get("shop.test", "/b", "").await;
    assert_eq!(other.status, 200);
    assert!(origin.seen().iter().all(|request| request.connection == 0));
}

#[tokio::test]
async fn a_connection_the_origin_wants_closed_is_not_used_again() {
    let origin = Origin::fixed(answer(200, "Connection: close\r\n", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for number in 0..3 {
        let response = client.get("shop.test", "/a", "").await;
        assert_eq!((response.status, response.field("connection")), (200, None));
        assert_eq!(origin.last().connection, number);
    }
}

#[tokio::test]
async fn servers_take_turns() {
    let one = Origin::fixed(answer(200, "", "one")).await;
    let two = Origin::fixed(answer(200, "", "two")).await;
    let mut site = edge_cache(one.address);
    site.origin = http_origin(&[one.address, two.address]);
    let plane = Plane::start().await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    let mut client = plane.client().await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(client.get("shop.test", "/a", "").await.text());
    }
    assert!(answers[0] != answers[1] && answers[..2] == answers[2..], "{answers:?}");
}

#[tokio::test]
async fn early_hints_are_passed_on_past_the_cache() {
    let origin = Origin::start(async |_| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        [
            hints.as_bytes(),
            b"HTTP/1.1 100 Continue\r\n\r\n",
            &answer(200, "", "x"),
        ]
        .concat()
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let hints = client
        .ask("POST", "shop.test", "/a", "Content-Length: 0\r\n", b"")
        .await;
    assert_eq!(
        (hints.status, hints.field("link")),
        (103, Some("</a.css>; rel=preload"))
    );
    assert_eq!(client.response("POST").await.status, 200);
    let hints = client
        .ask("PUT", "shop.test", "/a", "Content-Length: 1\r\n", b"x")
        .await;
    assert_eq!(hints.status, 103);
    assert_eq!(client.response("PUT").await.status, 200);
}

#[tokio::test]
async fn a_slow_client_slows_the_origin_down() {
    for (lines, largest) in [
        ("Cache-Control: no-store\r\n", 1 << 30),
        ("Cache-Control: max-age=60\r\n", 1 << 20),
        ("Cache-Control: max-age=60\r\n", 2 << 30),
    ] {
        let (written, progress) = tokio::sync::watch::channel(0_usize);
        let origin = Origin::raw(move |mut peer| {
            let written = written.clone();
            async move {
                peer.request().await;
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n{lines}\r\n"))
                    .await;
                let piece = vec![b'x'; 256 * 1024];
                while peer.stream.write_all(&piece).await.is_ok() {
                    written.send_modify(|sum| *sum += piece.len());
                }
            }
        })
        .await;
        let mut site = edge_cache(origin.address);
        site.cache.max_object_size = largest;
        let plane = Plane::with(|options| options.memory = 16 << 20).await;
        plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
        let mut client = plane.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap().status, 200);
        // Once nothing moves for a while all buffers between origin and client are full.
        let mut before = usize::MAX;
        let stopped_at = until("the origin to be stopped", async || {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            let now = *progress.borrow();
            let stopped = now > 0 && now == before;
            before = now;
            stopped.then_some(now)
        })
        .await;
        assert!(
            stopped_at < 64 << 20,
            "{lines}: {stopped_at} bytes were taken from the origin"
        );
        assert!(
            client.take(stopped_at + (1 << 20)).await.is_some(),
            "it goes on when the client reads"
        );
    }
}
