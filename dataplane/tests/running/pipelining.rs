//! Many requests in one packet, one request in many.

use crate::support::{Origin, Plane, answer};

async fn echo() -> (Origin, Plane) {
    let origin = Origin::start(async |request| {
        let body = format!("{} {}", request.target(), String::from_utf8_lossy(&request.body));
        answer(200, "Cache-Control: max-age=60\r\n", body)
    })
    .await;
    let plane = Plane::before(&origin).await;
    (origin, plane)
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_origin, plane) = echo().await;
    let mut client = plane.client().await;
    for round in ["miss", "hit"] {
        let requests: String = (0..200)
            .map(|n| format!("GET /{} HTTP/1.1\r\nHost: shop.test\r\n\r\n", n % 50))
            .collect();
        client.send(requests).await;
        for n in 0..200 {
            let response = client.response("GET").await;
            assert_eq!(response.text(), format!("/{} ", n % 50), "{round}");
        }
    }
}

#[tokio::test]
async fn pipelined_hits_beyond_one_batch_are_all_answered() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; 6000])).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    client
        .send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n".repeat(40))
        .await;
    for _ in 0..40 {
        assert_eq!(client.response("GET").await.body.len(), 6000);
    }
}

#[tokio::test]
async fn pipelined_hits_with_large_bodies_are_all_answered() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; 300_000])).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    client
        .send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n".repeat(20))
        .await;
    for _ in 0..20 {
        let response = client.response("GET").await;
        assert!(response.is_hit() && response.body.len() == 300_000);
    }
}

#[tokio::test]
async fn requests_with_bodies_are_pipelined_too() {
    let (_origin, plane) = echo().await;
    let mut client = plane.client().await;
    client
        .send(
            "POST /1 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\n\r\noneGET /2 HTTP/1.1\r\nHost: shop.test\r\n\r\n\
             POST /3 HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nthreeGET /2 HTTP/1.1\r\nHost: shop.test\r\n\r\n",
        )
        .await;
    for expected in ["/1 one", "/2 ", "/3 three", "/2 "] {
        assert_eq!(client.response("GET").await.text(), expected);
    }
}

#[tokio::test]
async fn requests_may_be_split_anywhere() {
    let (origin, plane) = echo().await;
    let requests = b"POST /1 HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n\
        GET /2 HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    for split in 1..requests.len() {
        let mut client = plane.client().await;
        let (first, second) = requests.split_at(split);
        client.send(first).await;
        // Lets the data plane read the first part alone; the answer is the same if it does not.
        tokio::task::yield_now().await;
        client.send(second).await;
        // The body goes on in the pieces it came in, so that only what is in the chunks is the same.
        let letters = client
            .response("POST")
            .await
            .text()
            .chars()
            .filter(char::is_ascii_alphabetic)
            .collect::<String>();
        assert_eq!(letters, "one", "split at {split}");
        assert_eq!(client.response("GET").await.text(), "/2 ", "split at {split}");
    }
    assert!(origin.count() >= requests.len());
}

#[tokio::test]
async fn a_sender_of_single_bytes_is_answered() {
    let (_origin, plane) = echo().await;
    let mut client = plane.client().await;
    for byte in b"GET /1 HTTP/1.1\r\nHost: shop.test\r\nX: y\r\n\r\nGET /2 HTTP/1.1\r\nHost: shop.test\r\n\r\n" {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.response("GET").await.text(), "/1 ");
    assert_eq!(client.response("GET").await.text(), "/2 ");
}

#[tokio::test]
async fn an_endless_pipeliner_that_reads_nothing_is_not_read_from() {
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", vec![b'x'; 6000])).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "").await;
    let requests = "GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n".repeat(1000);
    let mut sent = 0;
    // Ends when the kernel takes no more: the data plane has stopped reading.
    let blocked = async {
        loop {
            client.stream.writable().await.unwrap();
            match client.stream.try_write(requests.as_bytes()) {
                Ok(n) => sent += n,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
    };
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(2), blocked).await;
    assert!(stopped.is_err());
    assert!(
        sent < 64 << 20,
        "{sent} bytes of requests were taken without reading an answer"
    );
    assert_eq!(client.response("GET").await.body.len(), 6000);
}
