//! Fields behind a body, both ways, and what gRPC needs besides: `TE`, and messages that go both ways at once.

use breakwater_snapshot::unit::Unit;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};

use crate::support::http2::{DATA, END, END_HEADERS, HEADERS, Http2, block, head};
use crate::support::origin_http2::{Origin2, http2_site, whole};
use crate::support::{Origin, Plane, within};

async fn before(origin: &Origin2) -> Plane {
    Plane::running([("site", Unit::EdgeCache(http2_site(origin.address)))]).await
}

fn trailers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect()
}

/// An origin of gRPC that says what it was sent, and how the call went.
async fn echo() -> Origin2 {
    Origin2::start(async |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        assert_eq!(request.headers()["te"], "trailers");
        let body = whole(request.into_body()).await;
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        let fields = [
            ("grpc-status", "0"),
            ("x-forwarded-for", "10.0.0.1"),
            ("set-cookie", "a=b"),
        ];
        stream.send_trailers(trailers(&fields)).unwrap();
    })
    .await
}

/// A call of gRPC, without its messages.
fn call() -> Vec<(&'static str, &'static str)> {
    let mut fields = head("POST", "shop.test", "/shop.Shop/Buy").to_vec();
    fields.extend([("te", "trailers"), ("content-type", "application/grpc")]);
    fields
}

#[tokio::test]
async fn a_call_of_grpc_is_answered_with_what_stands_behind_its_messages() {
    let origin = echo().await;
    let plane = before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&call(), false).await;
    client.send(DATA, END, stream, b"a message").await;
    let answer = client.answer(stream).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "a message"));
    assert_eq!((answer.ended, answer.reset), (true, None));
    // What would steer a request or a response is not passed on.
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
}

#[tokio::test]
async fn messages_larger_than_any_window_keep_their_trailers_behind_them() {
    let origin = echo().await;
    let plane = before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[(4, 1000)]).await;
    let stream = client.request(&call(), false).await;
    let message: Vec<u8> = (0..60_000_u32).map(|n| (n % 251) as u8).collect();
    for piece in message.chunks(16_000) {
        client.send(DATA, 0, stream, piece).await;
    }
    client.send(DATA, END, stream, b"").await;
    let answer = client.answer(stream).await;
    assert!(answer.body == message);
    assert_eq!(answer.trailers.len(), 1);
}

#[tokio::test]
async fn messages_of_a_call_go_both_ways_at_once() {
    let origin = Origin2::start(async |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        // It answers before it was sent anything, and each message as it comes.
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let mut body = request.into_body();
        while let Some(Ok(piece)) = body.data().await {
            body.flow_control().release_capacity(piece.len()).unwrap();
            stream.send_data(piece, false).unwrap();
        }
        let sum = body.trailers().await.unwrap().expect("fields behind the request");
        assert_eq!(sum.len(), 1, "{sum:?}");
        stream.send_trailers(sum).unwrap();
    })
    .await;
    let plane = before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&call(), false).await;
    let status = |client: &Http2| client.answers.get(&stream).map_or(0, |answer| answer.status);
    assert!(client.until(|client| status(client) == 200).await);
    let mut said = Vec::new();
    for message in [&b"one"[..], b"two", b"three"] {
        client.send(DATA, 0, stream, message).await;
        said.extend_from_slice(message);
        assert!(client.until(|client| client.answers[&stream].body == said).await);
    }
    let behind = block(&[("x-sum", "3"), ("authorization", "Basic eA==")]);
    client.send(HEADERS, END | END_HEADERS, stream, &behind).await;
    let answer = client.answer(stream).await;
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "3".to_owned())]);
    assert_eq!((answer.ended, answer.reset), (true, None));
}

#[tokio::test]
async fn fields_behind_a_request_without_content_reach_an_origin_of_http2() {
    let origin = Origin2::start(async |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        let mut body = request.into_body();
        assert!(body.data().await.is_none());
        let sum = body.trailers().await.unwrap().expect("fields");
        let answer = Response::builder().header("x-was", &sum["x-sum"]).body(()).unwrap();
        respond.send_response(answer, true).unwrap();
    })
    .await;
    let plane = before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&call(), false).await;
    client
        .send(HEADERS, END | END_HEADERS, stream, &block(&[("x-sum", "0")]))
        .await;
    assert_eq!(client.answer(stream).await.field("x-was"), Some("0"));
    // The same from a client of HTTP/1.1.
    let mut client = plane.client().await;
    let body = b"0\r\nX-Sum: 1\r\n\r\n";
    let answer = client
        .ask("POST", "shop.test", "/", "Transfer-Encoding: chunked\r\n", body)
        .await;
    assert_eq!(answer.field("x-was"), Some("1"));
}

#[tokio::test]
async fn a_body_that_turns_out_to_be_empty_ends_towards_either_kind_of_origin() {
    let origin = Origin2::start(async |request: Request<RecvStream>, mut respond: SendResponse<Bytes>| {
        assert!(whole(request.into_body()).await.is_empty());
        respond.send_response(Response::new(()), true).unwrap();
    })
    .await;
    let old = Origin::fixed(crate::support::answer(200, "", "")).await;
    for plane in [before(&origin).await, Plane::before(&old).await] {
        let mut client = Http2::connect(plane.address(), &[]).await;
        let stream = client.open();
        // In one write, so that the request is complete when it is looked at.
        let request = crate::support::http2::frame(HEADERS, END_HEADERS, stream, &block(&call()));
        let end = crate::support::http2::frame(DATA, END, stream, b"");
        client.write(&[request, end].concat()).await;
        assert_eq!(client.answer(stream).await.status, 200);
        let mut client = plane.client().await;
        let answer = client.ask("POST", "shop.test", "/", "Content-Length: 0\r\n", b"").await;
        assert_eq!(answer.status, 200);
    }
}

/// Chunks with fields behind them.
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\nTrailer: x-sum\r\n\r\n\
    5\r\nhello\r\n0\r\nX-Sum: 5\r\nHost: other\r\n\r\n";

#[tokio::test]
async fn fields_behind_the_chunks_of_an_origin_go_to_those_who_take_them() {
    let origin = Origin::fixed(CHUNKED.to_vec()).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&head("PUT", "shop.test", "/a"), true).await;
    let answer = client.answer(stream).await;
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "5".to_owned())]);
    for (lines, end) in [("TE: trailers\r\n", "0\r\nx-sum: 5\r\n\r\n"), ("", "0\r\n\r\n")] {
        let mut client = plane.client().await;
        let lines = format!("Connection: close\r\n{lines}");
        client
            .send(format!("PUT /a HTTP/1.1\r\nHost: shop.test\r\n{lines}\r\n"))
            .await;
        let said = String::from_utf8(client.rest().await).unwrap();
        assert!(said.ends_with(&format!("5\r\nhello\r\n{end}")), "{said}");
        assert!(!said.to_lowercase().contains("trailer:"), "{said}");
    }
    let asked = within("a request", async { origin.last() }).await;
    assert_eq!(asked.field("te"), None, "towards HTTP/1.1 it concerns the connection");
}

#[tokio::test]
async fn what_is_stored_has_no_trailers() {
    let stored = String::from_utf8(CHUNKED.to_vec())
        .unwrap()
        .replace("no-store", "max-age=60");
    let origin = Origin::fixed(stored.into_bytes()).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    for hit in [false, true] {
        let stream = client.get("/a").await;
        let answer = client.answer(stream).await;
        assert_eq!((answer.text().as_str(), answer.is_hit()), ("hello", hit));
        assert!(answer.trailers.is_empty());
    }
}
