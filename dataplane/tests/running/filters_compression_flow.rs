//! Filters: compression of what passes: streams flow, cut ones look cut, and what is not ours to change stays.

use breakwater_snapshot::unit::Filters;

use crate::filters_compression::{compressing, content, decode, text};
use crate::support::{Client, Origin, Plane, answer, until, within};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn accept(coding: &str) -> String {
    format!("Accept-Encoding: {coding}\r\n")
}

#[tokio::test]
async fn what_is_not_stored_is_compressed_on_the_way() {
    let fields = "Content-Type: application/json\r\nCache-Control: no-store\r\nETag: \"1\"\r\n";
    let origin = Origin::fixed(answer(200, fields, text())).await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    for coding in CODINGS {
        for method in ["GET", "POST"] {
            let got = client.ask(method, "a.test", "/", &accept(coding), b"").await;
            assert_eq!(got.field("content-encoding"), Some(coding));
            assert_eq!(
                (got.field("etag"), got.field("vary")),
                (Some("W/\"1\""), Some("Accept-Encoding"))
            );
            assert_eq!(got.field("content-length"), None);
            assert_eq!(content(&got), text(), "{method} {coding}");
        }
    }
}

/// A body of many slices that compresses badly.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 24) as u8 % 26
    };
    (0..400_000).map(|_| next()).collect()
}

#[tokio::test]
async fn a_large_body_is_compressed_in_pieces_while_others_are_served() {
    let body = noise();
    for caching in ["no-store", "max-age=60"] {
        let fields = format!("Content-Type: text/plain\r\nCache-Control: {caching}\r\n");
        let origin = Origin::fixed(answer(200, &fields, &body)).await;
        let plane = Plane::filtering(&origin, compressing()).await;
        for coding in CODINGS {
            for _ in 0..2 {
                let got = plane.client().await.get("a.test", "/", &accept(coding)).await;
                assert_eq!(got.field("content-encoding"), Some(coding));
                assert!(got.body.len() < body.len(), "{coding}");
                assert!(content(&got).as_bytes() == body, "{coding} {caching}");
            }
        }
    }
}

/// Reads chunks until what came decodes to `text`.
async fn decoded(client: &mut Client, coding: &str, received: &mut Vec<u8>, text: &str) {
    within("what was sent to arrive", async {
        while decode(Some(coding), received) != text {
            received.extend(client.chunk().await.expect("a chunk"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_origin_sent_arrives_before_it_sends_more() {
    for caching in ["no-store", "max-age=60"] {
        for coding in CODINGS {
            let (more, wait) = tokio::sync::watch::channel(());
            let head = format!(
                "HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nCache-Control: {caching}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let origin = Origin::raw(move |mut peer| {
                let (mut wait, head) = (wait.clone(), head.clone());
                async move {
                    peer.request().await;
                    peer.send(head).await;
                    for piece in ["5\r\nfirst\r\n", "6\r\nsecond\r\n", "0\r\n\r\n"] {
                        peer.send(piece).await;
                        wait.changed().await.unwrap();
                    }
                }
            })
            .await;
            let plane = Plane::filtering(&origin, compressing()).await;
            let mut client = plane.client().await;
            client
                .send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", accept(coding)))
                .await;
            let head = within("a head", client.head()).await.unwrap();
            assert_eq!(head.field("content-encoding"), Some(coding));
            let mut received = Vec::new();
            decoded(&mut client, coding, &mut received, "first").await;
            more.send(()).unwrap();
            decoded(&mut client, coding, &mut received, "firstsecond").await;
            more.send(()).unwrap();
            while let Some(chunk) = within("the end", client.chunk())
                .await
                .filter(|chunk| !chunk.is_empty())
            {
                received.extend(chunk);
            }
            assert_eq!(decode(Some(coding), &received), "firstsecond", "{caching} {coding}");
        }
    }
}

#[tokio::test]
async fn server_sent_events_go_as_they_are() {
    let fields = "Content-Type: text/event-stream\r\nCache-Control: no-store\r\n";
    let origin = Origin::fixed(answer(200, fields, text())).await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let got = plane.client().await.get("a.test", "/", &accept("br")).await;
    assert_eq!((got.field("content-encoding"), got.field("vary")), (None, None));
    assert_eq!(got.text(), text());
}

#[tokio::test]
async fn a_body_that_is_cut_looks_cut_and_is_not_stored() {
    for caching in ["no-store", "max-age=60"] {
        let head = format!("Content-Type: text/plain\r\nCache-Control: {caching}\r\nContent-Length: 9000\r\n");
        let origin = Origin::raw(move |mut peer| {
            let answer = format!("HTTP/1.1 200 X\r\n{head}\r\nonly this");
            async move {
                peer.request().await;
                peer.send(answer).await;
            }
        })
        .await;
        let plane = Plane::filtering(&origin, compressing()).await;
        for count in 1..=2 {
            let mut client = plane.client().await;
            client
                .send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", accept("gzip")))
                .await;
            let rest = client.rest().await;
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
            assert!(origin.count() >= count, "{caching}");
        }
    }
}

#[tokio::test]
async fn a_condition_that_only_the_origin_can_judge_keeps_the_tag_the_client_has() {
    let fields = "Cache-Control: no-store\r\nETag: \"1\"\r\n";
    let origin = Origin::fixed(format!("HTTP/1.1 304 X\r\n{fields}\r\n").into_bytes()).await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    for tag in ["W/\"1\"", "\"1\""] {
        let lines = format!("{}If-None-Match: {tag}\r\n", accept("br"));
        let unchanged = client.ask("HEAD", "a.test", "/", &lines, b"").await;
        assert_eq!((unchanged.status, unchanged.field("etag")), (304, Some(tag)));
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_compression() {
    let origin = Origin::raw(async |mut peer| {
        peer.request().await;
        peer.send("HTTP/1.1 200 X\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\n\r\n")
            .await;
        let piece = noise();
        while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &piece)
            .await
            .is_ok()
        {}
    })
    .await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", accept("br")))
        .await;
    within("a head", client.head()).await.unwrap();
    drop(client);
    let out = "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"200\"}";
    let gone = "breakwater_requests_total{resource=\"EdgeCache/default/site\",code=\"499\"}";
    until("the exchange to end", async || {
        let ended = plane.metric(out).await + plane.metric(gone).await;
        (ended == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn limits_hold_for_what_the_origin_sends_not_for_what_is_left_of_it() {
    let fields = "Content-Type: text/plain\r\nCache-Control: max-age=60\r\n";
    let origin = Origin::fixed(answer(200, fields, text())).await;
    let filters = |most: usize| Filters {
        max_response_body: Some(most as u64),
        ..compressing()
    };
    let plane = Plane::filtering(&origin, filters(text().len() - 1)).await;
    assert_eq!(plane.client().await.get("a.test", "/", &accept("br")).await.status, 502);
    plane.filter(&origin, filters(text().len())).await;
    assert_eq!(
        content(&plane.client().await.get("a.test", "/", &accept("br")).await),
        text()
    );
}
