//! Bodies over HTTP/2, both ways, with clients and origins that do not keep up.

use crate::support::http2::{DATA, END, END_HEADERS, Http2, RST_STREAM, WINDOW_UPDATE, head};
use crate::support::{Origin, Plane, answer};

/// SETTINGS_INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;

/// What one stream may send before any of it is consumed.
const UPLOAD_WINDOW: usize = 64 * 1024;

#[tokio::test]
async fn an_upload_reaches_the_origin_with_its_length() {
    let origin = Origin::start(|request| async move { answer(200, "", request.body.len().to_string()) }).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let mut fields = head("POST", "shop.test", "/a").to_vec();
    fields.push(("content-length", "6"));
    let stream = client.request(&fields, false).await;
    client.send(DATA, 0, stream, b"abc").await;
    client.send(DATA, END, stream, b"def").await;
    assert_eq!(client.answer(stream).await.text(), "6");
    let seen = origin.last();
    assert_eq!(
        (seen.body.as_slice(), seen.field("content-length").as_deref()),
        (&b"abcdef"[..], Some("6"))
    );
    assert_eq!(seen.field("transfer-encoding"), None);
}

#[tokio::test]
async fn an_upload_of_unknown_length_is_chunked_and_http1_gets_no_trailers() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&head("PUT", "shop.test", "/a"), false).await;
    client.send(DATA, 0, stream, b"abc").await;
    let trailers = crate::support::http2::block(&[("x-sum", "1")]);
    client
        .send(crate::support::http2::HEADERS, END | END_HEADERS, stream, &trailers)
        .await;
    assert_eq!(client.answer(stream).await.status, 200);
    let seen = origin.last();
    assert_eq!(seen.field("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(String::from_utf8_lossy(&seen.body), "3\r\nabc\r\n0\r\n\r\n");
}

#[tokio::test]
async fn continue_is_sent_before_a_body_that_waits_for_it() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let mut fields = head("PUT", "shop.test", "/a").to_vec();
    fields.extend([("expect", "100-continue"), ("content-length", "3")]);
    let stream = client.request(&fields, false).await;
    assert!(
        client
            .until(|client| client.answers.get(&stream).is_some_and(|a| a.interim == [100]))
            .await
    );
    client.send(DATA, END, stream, b"abc").await;
    assert_eq!(client.answer(stream).await.status, 200);
    assert_eq!(origin.last().field("expect"), None);
}

#[tokio::test]
async fn an_origin_that_reads_nothing_holds_the_upload_back_and_nobody_else() {
    let (release, held) = tokio::sync::watch::channel(false);
    let origin = Origin::raw(move |mut peer| {
        let mut held = held.clone();
        async move {
            let Some(request) = peer.only_head().await else { return };
            if request.target() == "/upload" {
                held.wait_for(|free| *free).await.unwrap();
                peer.rest().await;
            }
            peer.send(answer(200, "Connection: close\r\n", "x")).await;
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&head("POST", "shop.test", "/upload"), false).await;
    origin.reached(1).await;
    // As much as is allowed, until no more is: what the kernel's buffers take is far less than this.
    let most = 64 << 20;
    let (mut window, mut given, mut sent) = (UPLOAD_WINDOW, 0, 0);
    while sent < most {
        while window > 0 {
            let piece = vec![b'x'; window.min(16 * 1024)];
            client.send(DATA, 0, stream, &piece).await;
            window -= piece.len();
            sent += piece.len();
        }
        // An answer on another stream: everything that was sent has been looked at.
        let other = client.request(&head("POST", "shop.test", "/other"), true).await;
        assert_eq!(client.answer(other).await.status, 200);
        let now = client.windows.get(&stream).copied().unwrap_or(0) as usize;
        if now == given {
            break;
        }
        window += now - given;
        given = now;
    }
    assert!(sent < most, "the upload was never held back");
    release.send_replace(true);
    assert!(
        client
            .until(|client| client.windows.get(&stream).copied().unwrap_or(0) as usize > given)
            .await,
        "and goes on"
    );
}

#[tokio::test]
async fn an_upload_that_is_taken_as_it_comes_gets_a_wider_window() {
    let origin = Origin::raw(async |mut peer| {
        peer.only_head().await;
        peer.rest().await;
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&head("POST", "shop.test", "/upload"), false).await;
    // Always as much as is allowed, until a mebibyte is.
    let mut sent = 0;
    loop {
        let given = UPLOAD_WINDOW + client.windows.get(&stream).copied().unwrap_or(0) as usize;
        if given - sent >= 1 << 20 {
            break;
        }
        assert!(sent < 1 << 30, "it stays at {} bytes", given - sent);
        while sent < given {
            let piece = vec![b'x'; (given - sent).min(16 * 1024)];
            client.send(DATA, 0, stream, &piece).await;
            sent += piece.len();
        }
        let more = |client: &Http2| client.windows.get(&stream).copied().unwrap_or(0) as usize + UPLOAD_WINDOW > given;
        assert!(client.until(more).await);
    }
    let series = "breakwater_http2_upload_window_bytes";
    assert_eq!(plane.metric(series).await, (1024.0 - 64.0) * 1024.0);
    drop(client);
    plane.metric_reaches(series, 0.0).await;
}

#[tokio::test]
async fn a_client_that_reads_one_stream_slowly_gets_the_others() {
    let body = vec![b'x'; 300_000];
    let origin = Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", &body)).await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[(WINDOW, 1000)]).await;
    client.reads = false;
    // The connection's window is no hindrance.
    client.send(WINDOW_UPDATE, 0, 0, &(100_000_000_u32).to_be_bytes()).await;
    for path in ["/stored", "/passed?a", "/stored"] {
        let slow = client.get(path).await;
        assert!(
            client
                .until(|client| client.answers.get(&slow).is_some_and(|a| a.body.len() == 1000))
                .await
        );
        let quick = client.get(path).await;
        client
            .send(WINDOW_UPDATE, 0, quick, &(1_000_000_u32).to_be_bytes())
            .await;
        assert_eq!(client.answer(quick).await.body.len(), body.len(), "{path}");
        assert_eq!(client.answers[&slow].body.len(), 1000, "{path}");
        client
            .send(WINDOW_UPDATE, 0, slow, &(1_000_000_u32).to_be_bytes())
            .await;
        assert_eq!(client.answer(slow).await.body.len(), body.len(), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_opens_no_window_holds_the_origin_back() {
    let (sent, seen) = tokio::sync::watch::channel(0_usize);
    let origin = Origin::raw(move |mut peer| {
        let sent = sent.clone();
        async move {
            if peer.request().await.is_none() {
                return;
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n").await;
            loop {
                tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &[b'x'; 10_000])
                    .await
                    .unwrap();
                sent.send_modify(|sent| *sent += 10_000);
            }
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    client.reads = false;
    let stream = client.request(&head("POST", "shop.test", "/endless"), true).await;
    assert!(
        client
            .until(|client| client.answers.get(&stream).is_some_and(|a| a.body.len() == 65_535))
            .await
    );
    // It stands still: the kernel's buffers are full and nobody empties them.
    let mut last = 0;
    crate::support::until("the origin to stand still", async || {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let now = *seen.borrow();
        (std::mem::replace(&mut last, now) == now && now > 0).then_some(())
    })
    .await;
    assert!(*seen.borrow() < 50_000_000, "{} bytes were taken", *seen.borrow());
    client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
    let line = &plane.access(1).await[0];
    assert_eq!(
        (&line["status"], &line["aborted"]),
        (&200.into(), &true.into()),
        "{line}"
    );
}

#[tokio::test]
async fn an_early_answer_ends_the_upload() {
    let origin = Origin::raw(|mut peer| async move {
        if peer.only_head().await.is_some() {
            peer.send(answer(413, "Connection: close\r\n", "too much")).await;
            peer.rest().await;
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let stream = client.request(&head("POST", "shop.test", "/a"), false).await;
    client.send(DATA, 0, stream, b"some").await;
    let answer = client.answer(stream).await;
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.ended),
        (413, "too much", true)
    );
    assert!(
        client.until(|client| client.answers[&stream].reset == Some(0)).await,
        "NO_ERROR: send no more"
    );
    assert!(client.ping().await);
}
