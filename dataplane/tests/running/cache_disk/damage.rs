//! Content on the disk that cannot be read: damaged, or not now.

use super::*;
use crate::support::until;

/// Where the large content is.
const LARGE: &str = "/large/2000000";

/// A data plane that has large content on its disk and not in memory, with the entity tag "v1".
struct Large {
    dir: tempfile::TempDir,
    origin: Origin,
    plane: Plane,
    whole: Vec<u8>,
}

impl Large {
    /// `tag` is what the origin says in answers to ranges.
    async fn stored(tag: &'static str) -> Self {
        let (dir, origin) = (tempfile::tempdir().unwrap(), with_ranges(tag).await);
        stored(dir.path(), &origin, &[LARGE]).await;
        let plane = start(dir.path(), &origin).await;
        let whole = content(LARGE, size_of(LARGE));
        Self {
            dir,
            origin,
            plane,
            whole,
        }
    }

    /// The same, damaged from the byte `from` on.
    async fn damaged(tag: &'static str, from: usize) -> Self {
        let large = Self::stored(tag).await;
        damage(large.dir.path(), &large.whole, from);
        large
    }
}

/// Damages what lies on the disk of content, from the byte `from` of it on.
fn damage(dir: &Path, content: &[u8], from: usize) {
    use std::os::unix::fs::FileExt;
    let piece = &content[from..from + 64];
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            let bytes = std::fs::read(&path).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            for at in memchr::memmem::find_iter(&bytes, piece) {
                file.write_all_at(b"damage", at as u64).unwrap();
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0);
}

#[tokio::test]
async fn a_look_up_that_finds_too_much_waiting_for_the_disk_asks_the_origin_and_forgets_nothing() {
    let (dir, origin) = (tempfile::tempdir().unwrap(), origin().await);
    stored(dir.path(), &origin, &["/a/100"]).await;
    let asked = origin.count();
    let plane = start(dir.path(), &origin).await;
    let held = plane.data.hold_disk_reads().unwrap();
    // The answer to this is not stored in the place of what is there.
    let head = plane.client().await.ask("HEAD", "shop.test", "/a/100", "", b"").await;
    assert!(head.status == 200 && !head.is_hit(), "{}", head.cache_status());
    drop(held);
    assert_eq!(plane.metric(&disk_errors("busy")).await, 1.0);
    for kind in ["read", "checksum"] {
        assert_eq!(plane.metric(&disk_errors(kind)).await, 0.0, "{kind}");
    }
    let response = plane.client().await.get("shop.test", "/a/100", "").await;
    assert!(response.is_hit() && response.body == content("/a/100", 100));
    assert_eq!(origin.count(), asked + 1);
}

#[tokio::test]
async fn content_on_the_disk_waits_for_its_turn_and_does_not_count_as_damaged() {
    let large = Large::stored("\"v1\"").await;
    let mut client = large.plane.client().await;
    // Its head is in memory from here on.
    assert_eq!(client.ask("HEAD", "shop.test", LARGE, "", b"").await.status, 200);
    let asked = large.origin.count();
    let held = large.plane.data.hold_disk_reads().unwrap();
    client
        .send(format!("GET {LARGE} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
        .await;
    until("the request to wait", async || (held.waited() == 1).then_some(())).await;
    drop(held);
    let response = client.response("GET").await;
    assert!(response.is_hit() && response.body == large.whole);
    assert_eq!(large.origin.count(), asked);
    for outcome in ["refetched", "mended", "cut"] {
        assert_eq!(large.plane.metric(&damaged(outcome)).await, 0.0, "{outcome}");
    }
    assert_eq!(large.plane.metric(&disk_errors("read")).await, 0.0);
}

/// What the disk store failed at.
fn disk_errors(kind: &str) -> String {
    format!("breakwater_cache_disk_errors_total{{kind=\"{kind}\"}}")
}

/// An origin with an entity tag that understands ranges; `tag` is what it says in answers to those.
async fn with_ranges(tag: &'static str) -> Origin {
    Origin::start(move |request| async move {
        let whole = content(request.target(), size_of(request.target()));
        let lines = "Cache-Control: max-age=600\r\n";
        let range = request.field("range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        });
        match range {
            Some((first, last)) => {
                let lines = format!(
                    "{lines}ETag: {tag}\r\nContent-Range: bytes {first}-{last}/{}\r\n",
                    whole.len()
                );
                answer(206, &lines, &whole[first..=last])
            }
            None => answer(200, &format!("{lines}ETag: \"v1\"\r\n"), whole),
        }
    })
    .await
}

/// Answers that met damage.
fn damaged(outcome: &str) -> String {
    format!("breakwater_cache_damaged_answers_total{{resource=\"EdgeCache/default/site\",outcome=\"{outcome}\"}}")
}

#[tokio::test]
async fn content_that_is_damaged_where_it_begins_is_fetched_anew_and_counted() {
    let large = Large::damaged("\"v1\"", 0).await;
    let response = large.plane.client().await.get("shop.test", LARGE, "").await;
    assert!(!response.is_hit() && response.body == large.whole);
    assert_eq!(large.plane.metric(&damaged("refetched")).await, 1.0);
}

#[tokio::test]
async fn content_that_turns_out_to_be_damaged_while_it_is_sent_goes_on_from_the_origin() {
    let large = Large::damaged("\"v1\"", 1_000_000).await;
    let mut client = large.plane.client().await;
    let response = client.get("shop.test", LARGE, "").await;
    assert!(
        response.is_hit() && response.body == large.whole,
        "{} bytes",
        response.body.len()
    );
    assert_eq!(large.origin.count(), 3);
    let asked = large.origin.last();
    // From the piece on that is damaged.
    let range = asked.field("range").unwrap();
    let from = range
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix("-1999999"));
    let from: usize = from.unwrap().parse().unwrap();
    assert!((1_000_000 - 131_072..=1_000_000).contains(&from), "{range}");
    assert_eq!(asked.field("if-range").as_deref(), Some("\"v1\""));
    assert_eq!(large.plane.metric(&damaged("mended")).await, 1.0);
    // What was damaged is forgotten, and fetched anew.
    let anew = client.get("shop.test", LARGE, "").await;
    assert!(!anew.is_hit() && anew.body == large.whole);
    assert_eq!(large.origin.count(), 4);
}

#[tokio::test]
async fn damage_in_one_of_several_ranges_leaves_the_others_right() {
    let large = Large::damaged("\"v1\"", 1_000_000).await;
    let mut client = large.plane.client().await;
    let several = "Range: bytes=0-9, 1000000-1000009, 1900000-1900009\r\n";
    let response = client.get("shop.test", LARGE, several).await;
    assert_eq!(response.status, 206);
    for first in [0, 1_000_000, 1_900_000] {
        let part = &large.whole[first..first + 10];
        assert!(memchr::memmem::find(&response.body, part).is_some(), "{first}");
    }
    assert_eq!(
        large.origin.last().field("range").as_deref(),
        Some("bytes=1000000-1000009")
    );
}

#[tokio::test]
async fn content_that_is_damaged_and_another_at_the_origin_by_now_is_cut_short() {
    for tag in ["\"v2\"", "W/\"v1\""] {
        let large = Large::damaged(tag, 1_000_000).await;
        let mut client = large.plane.client().await;
        client
            .send(format!("GET {LARGE} HTTP/1.1\r\nHost: shop.test\r\n\r\n"))
            .await;
        assert!(client.try_response("GET").await.is_none(), "{tag}");
        assert_eq!(large.origin.count(), 3);
        assert_eq!(large.plane.metric(&damaged("cut")).await, 1.0);
    }
}
