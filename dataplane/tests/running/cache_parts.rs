//! Ranges: of what is stored whole, of parts that are stored before the whole is, and parts that become the whole.

use crate::support::{Origin, Plane, Request, answer};

const WHOLE: &str = "0123456789";

/// An origin with the ten bytes of `WHOLE` that understands ranges, and `lines` in every answer.
async fn ranges(lines: &'static str) -> Origin {
    Origin::start(move |request: Request| async move {
        let range = request.field("range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = last.parse().unwrap_or(WHOLE.len() - 1);
            first.parse::<usize>().ok().map(|first| (first, last))
        });
        let whole = || answer(200, &format!("Cache-Control: max-age=60\r\n{lines}"), WHOLE);
        match range {
            Some((first, last)) if request.field("if-range").is_none_or(|tag| lines.contains(&tag)) => answer(
                206,
                &format!("Cache-Control: max-age=60\r\nContent-Range: bytes {first}-{last}/10\r\n{lines}"),
                &WHOLE[first..=last],
            ),
            _ => whole(),
        }
    })
    .await
}

const TAG: &str = "ETag: \"v1\"\r\nX-Kind: file\r\n";

#[tokio::test]
async fn a_part_is_stored_and_answers_every_range_within_it() {
    let origin = ranges("").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    let miss = client.get("shop.test", "/a", "Range: bytes=4-\r\n").await;
    assert_eq!((miss.status, miss.text().as_str()), (206, "456789"));
    assert_eq!(miss.cache_status(), "breakwater; fwd=miss; stored");
    assert_eq!(origin.last().field("range").as_deref(), Some("bytes=4-"));
    for (range, content_range, body) in [
        ("bytes=4-", "bytes 4-9/10", "456789"),
        ("bytes=6-8", "bytes 6-8/10", "678"),
        ("bytes=-2", "bytes 8-9/10", "89"),
    ] {
        let hit = client.get("shop.test", "/a", &format!("Range: {range}\r\n")).await;
        assert!(hit.is_hit(), "{range}: {hit:?}");
        assert_eq!((hit.status, hit.text().as_str()), (206, body), "{range}");
        assert_eq!(hit.field("content-range"), Some(content_range));
        assert_eq!((hit.count("content-length"), hit.count("content-range")), (1, 1));
    }
    assert_eq!(origin.count(), 1);
    let outside = client.get("shop.test", "/a", "Range: bytes=3-5\r\n").await;
    assert_eq!((outside.is_hit(), outside.text().as_str()), (false, "345"));
}

#[tokio::test]
async fn parts_with_the_same_strong_tag_are_combined_and_become_the_whole() {
    let origin = ranges(TAG).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for range in ["bytes=0-3", "bytes=6-9"] {
        client.get("shop.test", "/a", &format!("Range: {range}\r\n")).await;
    }
    let hit = client.get("shop.test", "/a", "Range: bytes=1-2\r\n").await;
    assert!(hit.is_hit() && hit.text() == "12", "{hit:?}");
    client.get("shop.test", "/a", "Range: bytes=3-6\r\n").await;
    let whole = client.get("shop.test", "/a", "").await;
    assert!(whole.is_hit(), "{whole:?}");
    assert_eq!((whole.status, whole.text().as_str()), (200, WHOLE));
    assert_eq!(
        (whole.field("content-range"), whole.field("content-length")),
        (None, Some("10"))
    );
    assert_eq!(
        (whole.field("etag"), whole.field("x-kind")),
        (Some("\"v1\""), Some("file"))
    );
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn parts_without_a_strong_tag_are_not_combined() {
    for lines in [
        "",
        "ETag: W/\"v1\"\r\n",
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    ] {
        let origin = ranges(lines).await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await;
        client.get("shop.test", "/a", "Range: bytes=4-9\r\n").await;
        assert!(
            !client.get("shop.test", "/a", "Range: bytes=3-4\r\n").await.is_hit(),
            "{lines}"
        );
        let whole = client.get("shop.test", "/a", "").await;
        assert_eq!((whole.is_hit(), whole.text().as_str()), (false, WHOLE), "{lines}");
    }
}

#[tokio::test]
async fn a_part_of_another_version_takes_the_place_of_what_is_stored() {
    let origin = Origin::start(async |request| match request.field("range").as_deref() {
        Some("bytes=0-3") => answer(
            206,
            "Cache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Range: bytes 0-3/10\r\n",
            "aaaa",
        ),
        _ => answer(
            206,
            "Cache-Control: max-age=60\r\nETag: \"v2\"\r\nContent-Range: bytes 4-9/10\r\n",
            "bbbbbb",
        ),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await;
    client.get("shop.test", "/a", "Range: bytes=4-9\r\n").await;
    assert!(client.get("shop.test", "/a", "Range: bytes=5-6\r\n").await.is_hit());
    assert!(!client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await.is_hit());
}

#[tokio::test]
async fn the_rest_of_a_stored_beginning_is_asked_for_and_joined_to_it() {
    let origin = ranges(TAG).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await;
    let whole = client.get("shop.test", "/a", "").await;
    assert_eq!((whole.status, whole.text().as_str()), (200, WHOLE));
    assert_eq!(
        (whole.field("content-length"), whole.field("content-range")),
        (Some("10"), None)
    );
    let asked = origin.last();
    assert_eq!(asked.field("range").as_deref(), Some("bytes=4-"));
    assert_eq!(asked.field("if-range").as_deref(), Some("\"v1\""));
    let hit = client.get("shop.test", "/a", "").await;
    assert!(hit.is_hit() && hit.text() == WHOLE, "{hit:?}");
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn what_changed_meanwhile_comes_whole_in_the_same_request() {
    let origin = Origin::start(async |request| match request.field("if-range") {
        None => answer(
            206,
            "Cache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Range: bytes 0-3/10\r\n",
            "aaaa",
        ),
        Some(_) => answer(200, "Cache-Control: max-age=60\r\nETag: \"v2\"\r\n", "bbbbbbbbbb"),
    })
    .await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await;
    for hit in [false, true] {
        let whole = client.get("shop.test", "/a", "").await;
        assert_eq!((whole.is_hit(), whole.text().as_str()), (hit, "bbbbbbbbbb"));
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn a_rest_that_does_not_fit_is_not_joined() {
    for wrong in [
        "ETag: \"v2\"\r\nContent-Range: bytes 4-9/10\r\n",
        "ETag: W/\"v1\"\r\nContent-Range: bytes 4-9/10\r\n",
        "Content-Range: bytes 4-9/10\r\n",
        "ETag: \"v1\"\r\nContent-Range: bytes 5-10/11\r\n",
        "ETag: \"v1\"\r\nContent-Range: bytes 4-9/12\r\n",
        "ETag: \"v1\"\r\nContent-Range: bytes 4-9/*\r\n",
        "ETag: \"v1\"\r\n",
    ] {
        let origin = Origin::start(move |request: Request| async move {
            match request.field("range").as_deref() {
                Some("bytes=0-3") => answer(
                    206,
                    "Cache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Range: bytes 0-3/10\r\n",
                    "aaaa",
                ),
                Some(_) => answer(206, &format!("Cache-Control: max-age=60\r\n{wrong}"), "bbbbbb"),
                None => answer(200, "Cache-Control: max-age=60\r\n", "cccccccccc"),
            }
        })
        .await;
        let plane = Plane::before(&origin).await;
        let mut client = plane.client().await;
        client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await;
        let whole = client.get("shop.test", "/a", "").await;
        assert_eq!((whole.status, whole.text().as_str()), (200, "cccccccccc"), "{wrong}");
        assert_eq!(origin.count(), 3);
    }
}

#[tokio::test]
async fn a_rest_that_is_cut_short_is_not_stored_as_the_whole() {
    let origin = Origin::raw(async |mut peer| {
        while let Some(request) = peer.request().await {
            match request.field("range").as_deref() {
                Some("bytes=0-3") => {
                    let lines = "Cache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Range: bytes 0-3/10\r\n";
                    peer.send(answer(206, lines, "0123")).await;
                }
                _ => {
                    peer.send(
                        "HTTP/1.1 206 X\r\nCache-Control: max-age=60\r\nETag: \"v1\"\r\n\
                         Content-Range: bytes 4-9/10\r\nContent-Length: 6\r\n\r\n45",
                    )
                    .await;
                    return;
                }
            }
        }
    })
    .await;
    let plane = Plane::before(&origin).await;
    plane
        .client()
        .await
        .get("shop.test", "/a", "Range: bytes=0-3\r\n")
        .await;
    for _ in 0..2 {
        let mut client = plane.client().await;
        client.send("GET /a HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
        assert!(
            client.try_response("GET").await.is_none(),
            "it ends too early, and looks so"
        );
    }
}

#[tokio::test]
async fn a_206_that_lies_about_its_range_is_of_use_only_for_itself() {
    let lines = "Cache-Control: max-age=60\r\nETag: \"v1\"\r\nContent-Range: bytes 4-9/10\r\n";
    let origin = Origin::fixed(answer(206, lines, "01234")).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "Range: bytes=-5\r\n").await;
    let hit = client.get("shop.test", "/a", "Range: bytes=6-8\r\n").await;
    assert!(hit.is_hit() && hit.text() == "234", "{hit:?}");
    let longer = Origin::fixed(answer(
        206,
        "Cache-Control: max-age=60\r\nContent-Range: bytes 4-5/10\r\n",
        "01234",
    ))
    .await;
    let plane = Plane::before(&longer).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        let miss = client.get("shop.test", "/a", "Range: bytes=4-5\r\n").await;
        assert!(!miss.is_hit(), "{miss:?}");
    }
}

#[tokio::test]
async fn a_purge_or_a_change_forgets_parts_too() {
    let origin = ranges(TAG).await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await;
    assert!(client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await.is_hit());
    client.ask("DELETE", "shop.test", "/a", "", b"").await;
    assert!(!client.get("shop.test", "/a", "Range: bytes=0-3\r\n").await.is_hit());
}

/// A stored response of 1000 bytes.
async fn thousand() -> (Origin, Plane, String) {
    let body: String = (0..250).map(|n| format!("{n:04}")).collect();
    let lines = "Cache-Control: max-age=60\r\nContent-Type: text/x\r\nETag: \"v1\"\r\n";
    let origin = Origin::fixed(answer(200, lines, &body)).await;
    let plane = Plane::before(&origin).await;
    plane.client().await.get("shop.test", "/a", "").await;
    (origin, plane, body)
}

#[tokio::test]
async fn several_ranges_come_in_one_answer_of_several_parts() {
    let (origin, plane, body) = thousand().await;
    let mut client = plane.client().await;
    let several = client
        .get(
            "shop.test",
            "/a",
            "Range: bytes=800-803, 0-3, -4\r\nIf-Range: \"v1\"\r\n",
        )
        .await;
    assert_eq!((several.status, several.is_hit()), (206, true));
    assert_eq!(several.count("content-range"), 0);
    let kind = several.field("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |range: &str, bytes: &str| {
        format!("--{boundary}\r\ncontent-type: text/x\r\nContent-Range: bytes {range}/1000\r\n\r\n{bytes}\r\n")
    };
    let expected = part("800-803", &body[800..804]) + &part("0-3", &body[..4]) + &part("996-999", &body[996..]);
    assert_eq!(several.text(), format!("{expected}--{boundary}--\r\n"));
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn ranges_that_overlap_are_one_and_too_many_are_the_whole() {
    let (_origin, plane, body) = thousand().await;
    let mut client = plane.client().await;
    for (range, status, content_range, length) in [
        ("0-99,50-199,100-", 206, Some("bytes 0-999/1000"), 1000),
        ("0-9,20-29", 206, Some("bytes 0-29/1000"), 30),
        ("0-9,1000-", 206, Some("bytes 0-9/1000"), 10),
        ("1000-,2000-", 416, Some("bytes */1000"), 0),
        ("0-9,x", 200, None, 1000),
    ] {
        let one = client
            .get("shop.test", "/a", &format!("Range: bytes={range}\r\n"))
            .await;
        assert_eq!(
            (one.status, one.field("content-range")),
            (status, content_range),
            "{range}"
        );
        assert_eq!(one.body, &body.as_bytes()[..length], "{range}");
    }
    let many = (0..17)
        .map(|n| format!("{}-{}", n * 50, n * 50))
        .collect::<Vec<_>>()
        .join(",");
    let whole = client.get("shop.test", "/a", &format!("Range: bytes={many}\r\n")).await;
    assert_eq!((whole.status, whole.text()), (200, body.clone()));
    let zero = vec!["0-"; 16].join(",");
    let once = client.get("shop.test", "/a", &format!("Range: bytes={zero}\r\n")).await;
    assert_eq!((once.status, once.body.len()), (206, 1000), "not sixteen times");
}

#[tokio::test]
async fn if_range_decides_between_the_part_and_the_whole() {
    let (_origin, plane, _) = thousand().await;
    let mut client = plane.client().await;
    for (condition, status) in [
        ("\"v1\"", 206),
        ("\"v0\"", 200),
        ("W/\"v1\"", 200),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
    ] {
        for range in ["0-3", "0-3,500-503"] {
            let lines = format!("Range: bytes={range}\r\nIf-Range: {condition}\r\n");
            let part = client.get("shop.test", "/a", &lines).await;
            assert_eq!((part.status, part.is_hit()), (status, true), "{condition} {range}");
        }
    }
}

#[tokio::test]
async fn a_range_asked_for_as_soon_as_the_whole_was_read_is_a_hit() {
    let origin = ranges("").await;
    let plane = Plane::before(&origin).await;
    let mut client = plane.client().await;
    for n in 0..20 {
        let target = format!("/{n}");
        client.get("shop.test", &target, "").await;
        let part = client.get("shop.test", &target, "Range: bytes=-1\r\n").await;
        assert!(part.is_hit() && part.text() == "9", "{part:?}");
    }
}
