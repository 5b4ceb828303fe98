//! Responses on a disk: over a restart, large ones, ranges, HTTP/2, what is forgotten.

mod damage;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use breakwater_dataplane::DiskOptions;
use breakwater_snapshot::unit::{PurgeSelector, Unit};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::http2::{Http2, head};
use crate::support::{Origin, Plane, admin_text, answer, edge_cache, objects, purge};

const STORED: &str = "breakwater_cache_objects{tier=\"disk\"}";

const SITE: &str = "EdgeCache/default/site";

/// A data plane with little memory and a store in `dir`, before `origin`.
async fn start(dir: &Path, origin: &Origin) -> Plane {
    let plane = Plane::with(|options| {
        options.memory = 4 << 20;
        options.disk = Some(DiskOptions {
            dir: dir.to_owned(),
            bytes: 64 << 20,
        });
    })
    .await;
    plane.apply(site(origin)).await;
    plane
}

fn site(origin: &Origin) -> crate::support::Objects {
    objects([("site", Unit::EdgeCache(edge_cache(origin.address)))])
}

/// Content that can be told from any other, and any part of it from any other part.
fn content(path: &str, size: usize) -> Vec<u8> {
    let mut state = path.bytes().map(u64::from).sum::<u64>();
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn size_of(path: &str) -> usize {
    path.rsplit('/').next().and_then(|size| size.parse().ok()).unwrap_or(10)
}

/// An origin whose paths end in the size of what is there.
async fn origin() -> Origin {
    Origin::start(|request| async move {
        let path = request.target().to_owned();
        let lines = "Cache-Control: max-age=600\r\nETag: \"v1\"\r\nSurrogate-Key: all\r\n";
        answer(200, lines, content(&path, size_of(&path)))
    })
    .await
}

/// Stores these paths on the disk of a data plane, and ends it.
async fn stored(dir: &Path, origin: &Origin, paths: &[&str]) {
    let plane = start(dir, origin).await;
    store(&plane, paths).await;
    end(plane).await;
}

async fn store(plane: &Plane, paths: &[&str]) {
    let mut client = plane.client().await;
    let before = plane.metric(STORED).await;
    for path in paths.iter().chain(paths) {
        let response = client.get("shop.test", path, "").await;
        assert_eq!(
            (response.status, response.body == content(path, size_of(path))),
            (200, true),
            "{path}"
        );
    }
    plane.metric_reaches(STORED, before + paths.len() as f64).await;
}

async fn end(plane: Plane) {
    plane.data.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_was_used_twice_answers_after_a_restart_and_is_then_in_memory() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    stored(dir.path(), &origin, &["/a/100", "/b/250000"]).await;
    let asked = origin.count();
    let plane = start(dir.path(), &origin).await;
    let mut client = plane.client().await;
    for path in ["/a/100", "/b/250000"] {
        for _ in 0..2 {
            let response = client.get("shop.test", path, "").await;
            assert!(
                response.is_hit() && response.body == content(path, size_of(path)),
                "{path}"
            );
            assert_eq!(response.field("etag"), Some("\"v1\""));
        }
    }
    assert_eq!(origin.count(), asked);
    let loads = format!("breakwater_cache_disk_loads_total{{resource=\"{SITE}\"}}");
    plane.metric_reaches(&loads, 2.0).await;
}

#[tokio::test]
async fn what_is_larger_than_memory_is_written_while_it_comes_and_read_in_pieces() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    // A part of the memory is about 3 MiB.
    let path = "/large/9000000";
    stored(dir.path(), &origin, &[path]).await;
    assert_eq!(origin.count(), 2);
    let plane = start(dir.path(), &origin).await;
    let whole = content(path, size_of(path));
    let mut client = plane.client().await;
    for _ in 0..2 {
        let response = client.get("shop.test", path, "").await;
        assert!(response.is_hit() && response.body == whole, "{:?}", response.status);
    }
    let middle = client.get("shop.test", path, "Range: bytes=4000000-4199999\r\n").await;
    assert_eq!((middle.status, middle.body == whole[4_000_000..4_200_000]), (206, true));
    assert_eq!(middle.field("content-range"), Some("bytes 4000000-4199999/9000000"));
    let last = client.get("shop.test", path, "Range: bytes=-1\r\n").await;
    assert_eq!((last.status, last.body == whole[8_999_999..]), (206, true));
    let head = client.ask("HEAD", "shop.test", path, "", b"").await;
    assert_eq!((head.status, head.field("content-length")), (200, Some("9000000")));
    let same = client.get("shop.test", path, "If-None-Match: \"v1\"\r\n").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn several_ranges_of_large_content_come_in_one_answer_of_several_parts() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    let path = "/large/9000000";
    stored(dir.path(), &origin, &[path]).await;
    let plane = start(dir.path(), &origin).await;
    let whole = content(path, size_of(path));
    let mut client = plane.client().await;
    // From the middle, over many pieces, the end, and twice, so that none of it goes into memory meanwhile.
    for _ in 0..2 {
        let several = client
            .get("shop.test", path, "Range: bytes=5000000-5000001, 10-600009, -3\r\n")
            .await;
        assert_eq!((several.status, several.is_hit()), (206, true));
        let kind = several.field("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let mut expected = Vec::new();
        for (first, last) in [(5_000_000, 5_000_001), (10, 600_009), (8_999_997, 8_999_999)] {
            let head = format!("--{boundary}\r\nContent-Range: bytes {first}-{last}/9000000\r\n\r\n");
            expected.extend_from_slice(head.as_bytes());
            expected.extend_from_slice(&whole[first..=last]);
            expected.extend_from_slice(b"\r\n");
        }
        expected.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        assert!(several.body == expected, "{} bytes", several.body.len());
    }
    let mut fields = head("GET", "shop.test", path).to_vec();
    fields.push(("range", "bytes=0-1,8000000-8000001"));
    let mut http2 = Http2::connect(plane.address(), &[]).await;
    let several = http2.ask(&fields).await;
    let has = |bytes: &[u8]| several.body.windows(2).any(|window| window == bytes);
    assert_eq!(several.status, 206);
    assert!(has(&whole[..2]) && has(&whole[8_000_000..8_000_002]));
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn large_content_goes_over_http2_at_the_client_s_pace() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    let path = "/large/2000000";
    stored(dir.path(), &origin, &[path]).await;
    let plane = start(dir.path(), &origin).await;
    let mut client = Http2::connect(plane.address(), &[]).await;
    let whole = client.ask(&head("GET", "shop.test", path)).await;
    assert!(
        whole.is_hit() && whole.body == content(path, 2_000_000),
        "{:?}",
        whole.status
    );
    let mut fields = head("GET", "shop.test", path).to_vec();
    fields.push(("range", "bytes=500000-999999"));
    let part = client.ask(&fields).await;
    assert_eq!(
        (part.status, part.body == content(path, 2_000_000)[500_000..1_000_000]),
        (206, true)
    );
}

#[tokio::test]
async fn large_content_that_is_asked_for_again_goes_into_memory() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    let path = "/large/500000";
    stored(dir.path(), &origin, &[path]).await;
    let plane = start(dir.path(), &origin).await;
    let mut client = plane.client().await;
    let ram = "breakwater_cache_bytes{tier=\"ram\"}";
    client.get("shop.test", path, "").await;
    assert!(plane.metric(ram).await < 10_000.0);
    let again = client.get("shop.test", path, "").await;
    assert!(again.body == content(path, 500_000));
    assert!(plane.metric(ram).await > 500_000.0);
    assert!(client.get("shop.test", path, "").await.body == content(path, 500_000));
}

#[tokio::test]
async fn a_purge_and_an_unsafe_request_reach_what_is_on_the_disk_over_restarts() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    stored(dir.path(), &origin, &["/a/100", "/b/100", "/c/300000"]).await;
    let plane = start(dir.path(), &origin).await;
    plane.client().await.ask("POST", "shop.test", "/a/100", "", b"x").await;
    end(plane).await;

    let plane = start(dir.path(), &origin).await;
    let mut client = plane.client().await;
    assert!(!client.get("shop.test", "/a/100", "").await.is_hit());
    assert!(client.get("shop.test", "/b/100", "").await.is_hit());
    let tags = purge("one", PurgeSelector::Tags(vec!["all".to_owned()]));
    let site = Unit::EdgeCache(edge_cache(origin.address));
    plane.apply(objects([("site", site), ("purge", tags)])).await;
    assert!(!client.get("shop.test", "/c/300000", "").await.is_hit());
    drop(client);
    end(plane).await;

    let plane = start(dir.path(), &origin).await;
    let mut client = plane.client().await;
    assert!(!client.get("shop.test", "/b/100", "").await.is_hit());
}

#[tokio::test]
async fn a_site_that_was_removed_has_nothing_on_the_disk_when_it_comes_back() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    stored(dir.path(), &origin, &["/a/100"]).await;
    let plane = start(dir.path(), &origin).await;
    plane.apply(objects([])).await;
    end(plane).await;
    let plane = start(dir.path(), &origin).await;
    assert!(!plane.client().await.get("shop.test", "/a/100", "").await.is_hit());
}

#[tokio::test]
async fn a_damaged_disk_costs_hits_and_never_gives_a_wrong_byte() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    let paths = ["/a/1000", "/b/1000", "/c/200000", "/d/400000"];
    stored(dir.path(), &origin, &paths).await;
    let plane = start(dir.path(), &origin).await;
    // Under its feet: in every unit of every segment but the headers.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            use std::os::unix::fs::FileExt;
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let units = file.metadata().unwrap().len() / 4096;
            (1..units).for_each(|unit| file.write_all_at(b"damage", unit * 4096 + 300).unwrap());
        }
    }
    let mut client = plane.client().await;
    for path in paths {
        let response = client.get("shop.test", path, "").await;
        // The head of /d is whole; its content is not: it cannot be announced.
        if response.status == 200 {
            assert!(response.body == content(path, size_of(path)), "{path}");
        }
        let again = client.get("shop.test", path, "").await;
        assert!(
            again.status == 200 && again.body == content(path, size_of(path)),
            "{path}: {}",
            again.status
        );
    }
    let errors = "breakwater_cache_disk_errors_total{kind=\"checksum\"}";
    assert!(plane.metric(errors).await >= 4.0);
}

#[tokio::test]
async fn many_clients_that_leave_in_the_middle_leave_nothing_behind() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    let path = "/large/3000000";
    stored(dir.path(), &origin, &[path]).await;
    let plane = Arc::new(start(dir.path(), &origin).await);
    for _ in 0..20 {
        let mut client = plane.client().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        let head = client.head().await.unwrap();
        assert_eq!(head.status, 200);
    }
    let whole = plane.client().await.get("shop.test", path, "").await;
    assert!(whole.is_hit() && whole.body == content(path, 3_000_000));
}

/// An origin that sends a large response up to `first` bytes, and the rest when the gate lets it.
async fn halting(path: &'static str, first: usize) -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let origin = Origin::raw(move |mut peer| {
        let held = Arc::clone(&held);
        async move {
            while let Some(request) = peer.request().await {
                let whole = content(request.target(), size_of(path));
                let answer = answer(200, "Cache-Control: max-age=600\r\nETag: \"v1\"\r\n", &whole);
                let head = answer.len() - whole.len();
                peer.send(&answer[..head + first]).await;
                held.acquire().await.unwrap().forget();
                peer.send(&answer[head + first..]).await;
            }
        }
    })
    .await;
    (origin, gate)
}

#[tokio::test]
async fn who_comes_too_late_for_the_memory_reads_behind_what_is_written_to_the_disk() {
    let (dir, path) = (tempfile::tempdir().unwrap(), "/large/9000000");
    let whole = content(path, size_of(path));
    let (origin, gate) = halting(path, 5_000_000).await;
    let plane = start(dir.path(), &origin).await;
    // What comes once is not worth writing.
    gate.add_permits(1);
    assert!(plane.client().await.get("shop.test", path, "").await.body == whole);
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    let mut clients = Vec::new();
    // The second has read more than memory keeps before the others come.
    for _ in 0..4 {
        let mut client = plane.client().await;
        client.send(&request).await;
        let head = client.head().await.unwrap();
        assert_eq!((head.status, head.field("content-length")), (200, Some("9000000")));
        assert_eq!(head.cache_status().contains("collapsed"), !clients.is_empty());
        let begun = client.take(4_000_000).await.unwrap();
        assert!(begun == whole[..4_000_000]);
        clients.push(client);
    }
    assert_eq!(origin.count(), 2);
    let fetch = &inspect(&plane, path, "").await["fetch"];
    assert_eq!((&fetch["status"], &fetch["length"]), (&json!(200), &json!(9_000_000)));
    let number = |name: &str| fetch[name].as_u64().unwrap();
    assert!(number("bytes") >= 4_000_000 && number("onDisk") >= 3_900_000, "{fetch}");
    assert_eq!(number("readers"), 4);
    gate.add_permits(1);
    for client in &mut clients {
        assert!(client.take(5_000_000).await.unwrap() == whole[4_000_000..]);
    }
    plane.metric_reaches(STORED, 1.0).await;
    let again = plane.client().await.get("shop.test", path, "").await;
    assert!(again.is_hit() && again.body == whole, "{:?}", again.status);
    assert_eq!(origin.count(), 2);
}

async fn inspect(plane: &Plane, path: &str, more: &str) -> Value {
    let asked = format!("/v1/cache/inspect?url=http://shop.test{path}{more}");
    let (status, text) = admin_text(plane.admin, &asked).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn an_inspection_shows_what_is_on_the_disk_and_leaves_it_there() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    let (small, large) = ("/a/100", "/large/9000000");
    stored(dir.path(), &origin, &[small, large]).await;
    let plane = start(dir.path(), &origin).await;
    for (path, bytes) in [(small, 100), (large, 9_000_000), (small, 100)] {
        let found = inspect(&plane, path, "").await;
        let variants = found["variants"].as_array().unwrap();
        assert_eq!(variants.len(), 1, "{found}");
        for (name, value) in [
            ("tier", json!("disk")),
            ("content", json!("disk")),
            ("onDisk", json!("yes")),
            ("selected", json!(true)),
            ("state", json!("fresh")),
            ("status", json!(200)),
            ("bytes", json!(bytes)),
            ("etag", json!("\"v1\"")),
            ("purged", json!("no")),
        ] {
            assert_eq!(variants[0][name], value, "{path}, {name}");
        }
        assert!(variants[0]["stored"].as_u64().unwrap() > bytes);
        assert_eq!(found["fetch"], Value::Null);
    }
    assert_eq!(plane.metric("breakwater_cache_objects{tier=\"ram\"}").await, 0.0);
    // The large one filled segments; the head of it lies in the last.
    let segment = |found: &Value| found["variants"][0]["segment"].clone();
    let (first, last) = (
        segment(&inspect(&plane, small, "").await),
        segment(&inspect(&plane, large, "").await),
    );
    assert_eq!((&first["sealed"], &last["sealed"]), (&json!(true), &json!(false)));
    assert!(first["number"].as_u64() < last["number"].as_u64());

    let mut client = plane.client().await;
    assert!(client.get("shop.test", small, "").await.is_hit());
    assert!(client.get("shop.test", large, "Range: bytes=0-9\r\n").await.is_hit());
    let tiers = |found: &Value| -> Vec<_> {
        let variants = found["variants"].as_array().unwrap().iter();
        variants
            .map(|variant| [&variant["tier"], &variant["content"], &variant["onDisk"]].map(Value::clone))
            .collect()
    };
    let both = |content: &str| {
        vec![
            [json!("ram"), json!(content), json!("yes")],
            [json!("disk"), json!("disk"), json!("yes")],
        ]
    };
    assert_eq!(tiers(&inspect(&plane, small, "").await), both("ram"));
    assert_eq!(tiers(&inspect(&plane, large, "").await), both("disk"));
    assert_eq!(tiers(&inspect(&plane, "/never/100", "").await), [] as [[Value; 3]; 0]);
    let (_, stats) = admin_text(plane.admin, "/v1/cache").await;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(
        (&stats["tiers"][1]["tier"], &stats["tiers"][1]["objects"]),
        (&json!("disk"), &json!(2))
    );
}

#[tokio::test]
async fn of_variants_on_the_disk_an_inspection_shows_the_one_of_its_request() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::start(|request| async move {
        let language = request.field("accept-language").unwrap_or_default();
        let lines = "Cache-Control: max-age=600\r\nVary: Accept-Language\r\n";
        answer(200, lines, content(&language, language.len() * 100))
    })
    .await;
    let plane = start(dir.path(), &origin).await;
    let mut client = plane.client().await;
    for language in ["de", "fr-CH", "de", "fr-CH"] {
        let line = format!("Accept-Language: {language}\r\n");
        client.get("shop.test", "/a", &line).await;
    }
    // Two responses, and how they vary.
    plane.metric_reaches(STORED, 3.0).await;
    end(plane).await;
    let plane = start(dir.path(), &origin).await;
    for (language, bytes) in [("de", json!([200])), ("fr-CH", json!([500])), ("en", json!([]))] {
        let found = inspect(&plane, "/a", &format!("&header=Accept-Language:{language}")).await;
        let variants = found["variants"].as_array().unwrap().iter();
        let found: Vec<_> = variants.map(|variant| variant["bytes"].clone()).collect();
        assert_eq!(Value::from(found), bytes, "{language}");
    }
}

#[tokio::test]
async fn what_was_stored_for_urls_whose_queries_do_not_count_is_found_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin::start(|request| async move {
        let lines = "Cache-Control: max-age=600\r\nNo-Vary-Search: params=(\"utm\")\r\n";
        answer(200, lines, request.target())
    })
    .await;
    let plane = start(dir.path(), &origin).await;
    let mut client = plane.client().await;
    for utm in 0..2 {
        client.get("shop.test", &format!("/a?x=1&utm={utm}"), "").await;
    }
    plane.metric_reaches(STORED, 1.0).await;
    end(plane).await;
    let plane = start(dir.path(), &origin).await;
    let mut client = plane.client().await;
    assert!(client.get("shop.test", "/a?utm=3&x=1", "").await.is_hit());
    assert!(!client.get("shop.test", "/a?utm=3&x=2", "").await.is_hit());
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn what_breaks_off_while_it_is_written_to_the_disk_is_found_by_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = "/large/9000000";
    let whole = answer(200, "Cache-Control: max-age=600\r\n", content(path, size_of(path)));
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::raw(move |mut peer| {
        // The second request has it written, since it was asked for before; it breaks off.
        let length = match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            1 => 5_000_000,
            _ => whole.len(),
        };
        let bytes = whole[..length].to_vec();
        async move {
            peer.request().await;
            peer.send(&bytes).await;
        }
    })
    .await;
    let plane = start(dir.path(), &origin).await;
    let ask = async || {
        let mut client = plane.client().await;
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        client.try_response("GET").await
    };
    assert!(ask().await.is_some());
    assert!(ask().await.is_none(), "it is cut");
    let third = ask().await.unwrap();
    assert!(!third.is_hit() && third.body == content(path, size_of(path)));
    plane.metric_reaches(STORED, 1.0).await;
    assert!(ask().await.unwrap().is_hit());
}
