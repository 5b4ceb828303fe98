//! Filters: compression of what is stored. Each coding is a variant, filled compressed.

use std::io::Read;

use breakwater_snapshot::unit::{Coding, Compression, Filters, PurgeSelector, Unit};

use crate::support::{Client, Origin, Plane, Request, Response, answer, edge_cache, objects, purge, within};

pub(crate) fn compressing() -> Filters {
    Filters {
        compression: Some(Compression {
            codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            types: vec!["text/*".to_owned(), "application/json".to_owned()],
            min_size: 100,
        }),
        ..Filters::default()
    }
}

/// Content worth compressing.
pub(crate) fn text() -> String {
    (0..1000).map(|i| format!("line {i}\n")).collect()
}

/// What `bytes` decode to; the end may be missing.
pub(crate) fn decode(coding: Option<&str>, bytes: &[u8]) -> String {
    let mut reader: Box<dyn Read + '_> = match coding {
        None => Box::new(bytes),
        Some("gzip") => Box::new(flate2::read::GzDecoder::new(bytes)),
        Some("br") => Box::new(brotli::Decompressor::new(bytes, 4096)),
        Some("zstd") => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        Some(other) => panic!("no such coding: {other}"),
    };
    let (mut all, mut some) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = reader.read(&mut some) {
        all.extend_from_slice(&some[..n]);
    }
    String::from_utf8(all).unwrap()
}

/// Its content, decoded.
pub(crate) fn content(response: &Response) -> String {
    decode(response.field("content-encoding"), &response.body)
}

async fn get(client: &mut Client, target: &str, accept: &str) -> Response {
    client
        .get("a.test", target, &format!("Accept-Encoding: {accept}\r\n"))
        .await
}

const FIELDS: &str = "Content-Type: text/html; charset=utf-8\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\
    Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\nSurrogate-Key: page\r\n";

async fn pages() -> Origin {
    Origin::start(async |request: Request| match request.target() {
        "/image" => answer(200, &FIELDS.replace("text/html", "image/png"), text()),
        "/small" => answer(200, FIELDS, "small"),
        "/as-it-is" => answer(200, &FIELDS.replace("max-age", "no-transform, max-age"), text()),
        "/encoded" => answer(200, &format!("{FIELDS}Content-Encoding: gzip\r\n"), "gzip, honestly"),
        _ if request.method() == "HEAD" => {
            format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n{FIELDS}\r\n", text().len()).into_bytes()
        }
        _ if request.field("range").is_some() => answer(
            206,
            &format!("{FIELDS}Content-Range: bytes 0-3/{}\r\n", text().len()),
            "line",
        ),
        _ => answer(200, FIELDS, text()),
    })
    .await
}

#[track_caller]
fn compressed(response: &Response, coding: &str) {
    assert_eq!(response.field("content-encoding"), Some(coding), "{response:?}");
    assert_eq!(response.field("etag"), Some("W/\"1\""));
    assert_eq!(response.field("vary"), Some("Accept-Encoding"));
    assert_eq!(response.field("accept-ranges"), Some("none"));
}

#[tokio::test]
async fn every_coding_is_a_variant_that_is_filled_compressed() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    for (count, coding) in ["gzip", "br", "zstd"].into_iter().enumerate() {
        let miss = get(&mut client, "/", coding).await;
        compressed(&miss, coding);
        assert!(!miss.is_hit());
        assert_eq!(content(&miss), text(), "{coding}");
        let hit = get(&mut client, "/", coding).await;
        compressed(&hit, coding);
        assert!(
            hit.is_hit() && hit.body.len() < text().len() / 2,
            "{coding}: {}",
            hit.body.len()
        );
        assert_eq!(hit.field("content-length"), Some(hit.body.len().to_string().as_str()));
        assert_eq!(content(&hit), text(), "{coding}");
        assert_eq!(origin.count(), count + 1);
        assert_eq!(origin.last().field("accept-encoding").as_deref(), Some(coding));
    }
    let plain = client.get("a.test", "/", "").await;
    assert_eq!(plain.text(), text());
    assert_eq!(
        (plain.field("etag"), plain.field("vary")),
        (Some("\"1\""), Some("Accept-Encoding"))
    );
    assert_eq!(
        (plain.field("content-encoding"), plain.field("accept-ranges")),
        (None, Some("bytes"))
    );
    assert_eq!(origin.last().field("accept-encoding").as_deref(), Some("identity"));
}

#[tokio::test]
async fn clients_that_want_the_same_coding_share_it_however_they_say_so() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    get(&mut client, "/", "br").await;
    for accept in ["gzip, deflate, br", "br;q=1.0, gzip;q=0.5", "zstd;q=0, *"] {
        let hit = get(&mut client, "/", accept).await;
        assert!(hit.is_hit(), "{accept}");
        compressed(&hit, "br");
    }
    assert_eq!(content(&get(&mut client, "/", "deflate").await), text());
    assert!(
        get(&mut client, "/", "identity").await.is_hit(),
        "as for a client that accepts nothing we have"
    );
}

#[tokio::test]
async fn what_cannot_be_compressed_is_stored_once_for_everybody() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    for (count, target) in ["/image", "/small", "/as-it-is"].into_iter().enumerate() {
        get(&mut client, target, "br").await;
        for accept in ["br", "gzip", "identity"] {
            let hit = get(&mut client, target, accept).await;
            assert!(hit.is_hit(), "{target} {accept}");
            assert_eq!(
                (hit.field("content-encoding"), hit.field("vary")),
                (None, None),
                "{target}"
            );
            assert_eq!(hit.field("etag"), Some("\"1\""));
        }
        assert_eq!(origin.count(), count + 1);
    }
}

#[tokio::test]
async fn what_the_origin_encoded_goes_to_those_who_asked_for_it() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        let encoded = get(&mut client, "/encoded", "gzip").await;
        assert_eq!(
            (encoded.field("content-encoding"), encoded.field("vary")),
            (Some("gzip"), Some("Accept-Encoding"))
        );
        assert_eq!(
            (encoded.text().as_str(), encoded.field("etag")),
            ("gzip, honestly", Some("\"1\""))
        );
    }
    assert_eq!(origin.count(), 1);
    assert!(!get(&mut client, "/encoded", "identity").await.is_hit());
}

async fn fill(client: &mut Client) {
    for coding in ["gzip", "br", "zstd", "identity"] {
        get(client, "/", coding).await;
        assert!(get(client, "/", coding).await.is_hit(), "{coding}");
    }
}

async fn all_gone(client: &mut Client) {
    for coding in ["gzip", "br", "zstd", "identity"] {
        assert!(!get(client, "/", coding).await.is_hit(), "{coding}");
    }
}

#[tokio::test]
async fn a_purge_and_an_unsafe_request_reach_every_coding() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    let mut site = edge_cache(origin.address);
    site.filters = compressing();
    let urls = PurgeSelector::Urls(vec!["http://a.test/".to_owned()]);
    let tags = PurgeSelector::Tags(vec!["page".to_owned()]);
    for (name, selector) in [("by-url", urls), ("by-tag", tags)] {
        fill(&mut client).await;
        let site = ("site", Unit::EdgeCache(site.clone()));
        plane.apply(objects([site, (name, purge(name, selector))])).await;
        all_gone(&mut client).await;
    }
    fill(&mut client).await;
    client.ask("POST", "a.test", "/", "", b"").await;
    all_gone(&mut client).await;
}

#[tokio::test]
async fn conditions_are_judged_by_the_weak_tag_of_the_variant() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        let lines = "Accept-Encoding: br\r\nIf-None-Match: W/\"1\"\r\n";
        let unchanged = client.get("a.test", "/", lines).await;
        assert_eq!((unchanged.status, unchanged.field("etag")), (304, Some("W/\"1\"")));
        assert_eq!(unchanged.field("vary"), Some("Accept-Encoding"));
    }
    assert_eq!(origin.count(), 1, "the fill had no conditions, and is stored");
    let changed = client
        .get("a.test", "/", "Accept-Encoding: br\r\nIf-None-Match: W/\"0\"\r\n")
        .await;
    compressed(&changed, "br");
    assert_eq!(content(&changed), text());
}

#[tokio::test]
async fn head_has_the_fields_of_get_and_no_content() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    let before = client.ask("HEAD", "a.test", "/", "Accept-Encoding: br\r\n", b"").await;
    compressed(&before, "br");
    assert_eq!(before.field("content-length"), None, "nobody knows it yet");
    let got = get(&mut client, "/", "br").await;
    assert_eq!(content(&got), text());
    let hit = get(&mut client, "/", "br").await;
    let after = client.ask("HEAD", "a.test", "/", "Accept-Encoding: br\r\n", b"").await;
    compressed(&after, "br");
    assert!(after.is_hit());
    assert_eq!(after.field("content-length"), hit.field("content-length"));
}

#[tokio::test]
async fn ranges_are_of_identity() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    fill(&mut client).await;
    let range = "Accept-Encoding: br\r\nRange: bytes=0-3\r\n";
    let part = client.get("a.test", "/", range).await;
    assert_eq!((part.status, part.text().as_str()), (206, "line"));
    assert_eq!(
        (part.field("content-encoding"), part.field("etag")),
        (None, Some("\"1\""))
    );
    let ours = client
        .get("a.test", "/", &format!("{range}If-Range: W/\"1\"\r\n"))
        .await;
    assert_eq!(
        (ours.status, ours.text()),
        (200, text()),
        "a weak tag is no reason to send a part"
    );
    let date = "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    let whole = client.get("a.test", "/", &format!("{range}{date}")).await;
    assert_eq!(whole.status, 200, "the date may be that of a compressed part");
    compressed(&whole, "br");
    assert_eq!(content(&whole), text());
    assert_eq!(origin.count(), 4);
    let other = client.get("a.test", "/other", range).await;
    assert_eq!((other.status, other.text().as_str()), (206, "line"));
    assert_eq!(origin.last().field("accept-encoding").as_deref(), Some("identity"));
}

#[tokio::test]
async fn a_variant_that_the_origin_confirms_stays_what_it_is() {
    let origin = Origin::start(async |request: Request| {
        let fields = "Content-Type: text/html\r\nCache-Control: max-age=0\r\nETag: \"1\"\r\nVary: Cookie\r\nAccept-Ranges: bytes\r\n";
        match request.field("if-none-match") {
            Some(_) => format!("HTTP/1.1 304 X\r\n{fields}\r\n").into_bytes(),
            None => answer(200, fields, text()),
        }
    })
    .await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    for count in 1..=3 {
        let got = get(&mut client, "/", "br").await;
        assert_eq!((got.status, got.field("etag")), (200, Some("W/\"1\"")));
        assert_eq!(got.field("content-encoding"), Some("br"));
        assert_ne!(got.field("accept-ranges"), Some("bytes"));
        assert_eq!(got.count("vary"), 2, "{got:?}");
        assert_eq!(content(&got), text());
        assert_eq!(origin.count(), count);
    }
    assert_eq!(origin.last().field("if-none-match").as_deref(), Some("W/\"1\""));
}

#[tokio::test]
async fn clients_that_wait_for_one_fetch_and_want_other_codings_get_them() {
    let (release, _) = tokio::sync::broadcast::channel::<()>(1);
    let gate = release.clone();
    let origin = Origin::start(move |_| {
        let mut gate = gate.subscribe();
        async move {
            let _ = gate.recv().await;
            answer(200, FIELDS, text())
        }
    })
    .await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for coding in ["gzip", "br", "zstd", "identity", "gzip", "br"] {
        let mut client = plane.client().await;
        tasks.spawn(async move { (coding, get(&mut client, "/", coding).await) });
    }
    origin.reached(1).await;
    let mut left = 6;
    within("all clients", async {
        while left > 0 {
            let _ = release.send(());
            if let Ok(Some(done)) = tokio::time::timeout(std::time::Duration::from_millis(5), tasks.join_next()).await {
                let (coding, response) = done.unwrap();
                assert_eq!(response.field("content-encoding").unwrap_or("identity"), coding);
                assert_eq!(content(&response), text());
                left -= 1;
            }
        }
    })
    .await;
    assert!(origin.count() <= 6, "{}", origin.count());
}

#[tokio::test]
async fn bytes_in_and_out_are_counted() {
    let origin = pages().await;
    let plane = Plane::filtering(&origin, compressing()).await;
    let mut client = plane.client().await;
    let got = get(&mut client, "/", "gzip").await;
    let series = |direction| {
        format!("breakwater_compression_bytes_total{{resource=\"EdgeCache/default/site\",direction=\"{direction}\"}}")
    };
    assert_eq!(plane.metric(&series("in")).await, text().len() as f64);
    assert_eq!(plane.metric(&series("out")).await, got.body.len() as f64);
}
