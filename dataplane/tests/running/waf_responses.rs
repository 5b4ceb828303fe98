//! No client chooses that rules do not see what it is answered.

use std::io::Write as _;

use breakwater_snapshot::unit::{Prefetch, PrefetchList, Unit};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};

use crate::support::http2::{DATA, END, Http2, head};
use crate::support::origin_http2::{Origin2, http2_site};
use crate::support::{Origin, Plane, answer, edge_cache, objects, until};
use crate::waf_rules::{SECRET, policy, protected};

/// An origin that leaks, compressed for who accepts it.
async fn compressing() -> Origin {
    Origin::start(|request| async move {
        let lines = "Content-Type: text/html\r\nVary: Accept-Encoding\r\nCache-Control: max-age=60\r\n";
        if !request.field("accept-encoding").unwrap_or_default().contains("gzip") {
            return answer(200, lines, "a secret");
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"a secret").unwrap();
        answer(
            200,
            &format!("{lines}Content-Encoding: gzip\r\n"),
            encoder.finish().unwrap(),
        )
    })
    .await
}

#[tokio::test]
async fn a_client_that_accepts_gzip_does_not_hide_what_it_is_answered_from_rules() {
    let origin = compressing().await;
    let plane = Plane::start().await;
    let judged = policy(SECRET, |_, rules| rules.inspect_response = Some(4096));
    plane.apply(protected(&origin, judged)).await;
    let lines = "Accept-Encoding: gzip, br\r\n";
    assert_eq!(plane.client().await.get("shop.test", "/", lines).await.status, 403);
    let lines = "Accept-Encoding: gzip\r\nContent-Length: 0\r\n";
    assert_eq!(
        plane
            .client()
            .await
            .ask("POST", "shop.test", "/", lines, b"")
            .await
            .status,
        403
    );
    assert_eq!(origin.last().field("accept-encoding").as_deref(), Some("identity"));
    // Where no rule looks at responses, the origin is asked for what the client accepts.
    plane.apply(protected(&origin, policy(SECRET, |_, _| {}))).await;
    let passed = plane
        .client()
        .await
        .get("shop.test", "/", "Accept-Encoding: gzip\r\n")
        .await;
    assert_eq!((passed.status, passed.field("content-encoding")), (200, Some("gzip")));
}

/// An origin that answers before it has the request, with what its path says and what of the request is no `x`.
async fn early() -> Origin2 {
    Origin2::start(async |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let begins = match request.uri().path() {
            "/long" => format!("a secret{}", " ".repeat(8000)),
            _ => "a ".to_owned(),
        };
        let head = Response::builder()
            .header("content-type", "text/html")
            .body(())
            .unwrap();
        let mut stream = respond.send_response(head, false).unwrap();
        stream.send_data(begins.into(), false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(piece)) = body.data().await {
            body.flow_control().release_capacity(piece.len()).unwrap();
            let said: Vec<u8> = piece.into_iter().filter(|byte| *byte != b'x').collect();
            stream.send_data(said.into(), false).unwrap();
        }
        // The client may be gone.
        let _ = stream.send_data(Bytes::new(), true);
    })
    .await
}

#[tokio::test]
async fn a_request_over_http2_that_does_not_end_does_not_hide_what_it_is_answered_from_rules() {
    let origin = early().await;
    let plane = Plane::start().await;
    let judged = policy(SECRET, |_, rules| rules.inspect_response = Some(4096));
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(http2_site(origin.address))),
            ("policy", Unit::WafPolicy(judged)),
        ]))
        .await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    // More than rules want to see of it.
    let beginning = [b'x'; 2000];
    // As much of the answer as they want to see comes before the request ends, and is judged then.
    let stream = client.request(&head("POST", "shop.test", "/long"), false).await;
    client.send(DATA, 0, stream, &beginning).await;
    assert_eq!(client.answer(stream).await.status, 403);
    // Less comes, and is judged at its end; the request goes on until then.
    for (last, status) in [("secret", 403), ("word", 200)] {
        let stream = client.request(&head("POST", "shop.test", "/short"), false).await;
        client.send(DATA, 0, stream, &beginning).await;
        assert!(client.ping().await);
        client.send(DATA, END, stream, last.as_bytes()).await;
        let answer = client.answer(stream).await;
        assert_eq!(answer.status, status, "{last}");
        assert_eq!(answer.text() == "a word", status == 200);
    }
}

#[tokio::test]
async fn what_is_prefetched_is_judged_also_where_rules_would_refuse_its_request() {
    let origin = Origin::start(|request| async move {
        let body = if request.target() == "/leak" {
            "a secret"
        } else {
            "a word"
        };
        answer(200, "Content-Type: text/html\r\nCache-Control: max-age=60\r\n", body)
    })
    .await;
    let plane = Plane::start().await;
    let browsers = "SecRule &REQUEST_HEADERS:X-Browser \"@eq 0\" \"id:5,phase:1,deny,status:403\"";
    let judged = policy(&format!("{browsers}\n{SECRET}"), |_, rules| {
        rules.inspect_response = Some(4096)
    });
    let mut site = edge_cache(origin.address);
    site.prefetch = Some(Prefetch {
        list: PrefetchList {
            urls: vec!["//shop.test/leak".to_owned(), "//shop.test/word".to_owned()],
            sitemaps: Vec::new(),
            variants: vec![Vec::new()],
        },
        schedule: None,
        requests_per_second: 1000,
        concurrency: 8,
    });
    plane
        .apply(objects([
            ("site", Unit::EdgeCache(site)),
            ("policy", Unit::WafPolicy(judged)),
        ]))
        .await;
    let told = until("the list to be walked through", async || {
        let told = plane.data.prefetches();
        told.into_iter().find(|told| !told.running && told.completed.is_some())
    })
    .await;
    assert_eq!((told.fetched, told.failed), (1, 1));
    let line = plane.audit(1).await.remove(0);
    assert_eq!(line["rules"].as_array().map(Vec::len), Some(1));
    assert_eq!((&line["rules"][0]["id"], &line["status"]), (&1002.into(), &403.into()));
    let mut client = plane.client().await;
    assert!(client.get("shop.test", "/word", "X-Browser: 1\r\n").await.is_hit());
    assert_eq!(client.get("shop.test", "/leak", "X-Browser: 1\r\n").await.status, 403);
    assert_eq!(origin.count(), 3);
}
