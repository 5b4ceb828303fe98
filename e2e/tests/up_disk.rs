//! `breakwater up --disk`: what is stored survives the process, however it ends; what is served is what the origin said.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use breakwater_e2e::{
    Result,
    breakwater::{self, DEADLINE, Site, Up},
    http::Connection,
    origin::{self, Reply},
};
use tokio::task::JoinSet;

/// The bar: so many times it is killed while it writes.
const KILLS: usize = 50;

/// Requests that are answered before each of them.
const REQUESTS: u64 = 60;

/// New objects in each round: something is always being written. Together they fit the store.
const NEW: u64 = 20;

/// Objects in all.
const OBJECTS: u64 = NEW * KILLS as u64;

const STORED: &str = "breakwater_cache_objects{tier=\"disk\"}";

/// What the origin says at a path: text that only this path has, of a size that goes with it. One in twenty is large enough to
/// lie in pieces.
fn body(n: u64) -> String {
    let size = if n.is_multiple_of(20) {
        400_000
    } else {
        50 + n * 37 % 20_000
    };
    let line = format!("object {n} says {} and nothing else; ", n * 7919);
    line.chars().cycle().take(usize::try_from(size).unwrap_or(0)).collect()
}

fn number(target: &str) -> u64 {
    target.rsplit('/').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A site whose origin counts its requests.
async fn site() -> Result<(Site, Arc<AtomicU64>)> {
    let asked = Arc::<AtomicU64>::default();
    let counter = Arc::clone(&asked);
    let origin = origin::start(move |_, target| {
        counter.fetch_add(1, Ordering::Relaxed);
        let n = number(target);
        Reply::Ok(format!("Cache-Control: max-age=3600\r\nETag: \"{n}\"\r\n"), body(n))
    })
    .await?;
    let manifest = format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: site}}
spec:
  hostnames: [site.test]
  origin: {{urls: [\"http://{origin}\"]}}
"
    );
    Ok((Site::new(&[("site.yaml", &manifest)])?, asked))
}

async fn start(site: &Site, disk: &str) -> Result<Up> {
    let state = site.path("state").display().to_string();
    // Little memory, so that the disk is asked.
    let more = [
        "--state-dir",
        &state,
        "--disk",
        disk,
        "--memory",
        "4Mi",
        "--workers",
        "2",
    ];
    site.up(more).await
}

/// Asks for objects until it is told to end or the process is gone; an answer that is wrong is an error.
async fn ask(
    front: std::net::SocketAddr,
    round: u64,
    client: u64,
    answered: Arc<AtomicU64>,
) -> std::result::Result<(), String> {
    let Ok(mut connection) = Connection::open(front).await else {
        return Ok(());
    };
    for step in client.. {
        // A new one, then an old one.
        let n = match step % 2 {
            0 => round * NEW + step / 2 * 7 % NEW,
            _ => (step * 31 + round * 17) % ((round + 1) * NEW),
        };
        // Twice: what is asked for once is not written.
        for _ in 0..2 {
            let Ok(response) = connection.get("site.test", &format!("/o/{n}"), "").await else {
                return Ok(());
            };
            if response.status == 503 {
                // A busy machine.
                continue;
            }
            check(n, response.status, response.header("etag"), &response.body)?;
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn check(n: u64, status: u16, etag: &str, content: &str) -> std::result::Result<(), String> {
    if status != 200 || etag != format!("\"{n}\"") || content != body(n) {
        let start: String = content.chars().take(80).collect();
        return Err(format!("{n}: {status}, {etag}, {} bytes: {start}", content.len()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_fifty_times_while_it_writes_it_serves_no_wrong_byte_and_loses_nothing_that_was_written() -> Result<()> {
    let (site, asked) = site().await?;
    let mut up = start(&site, "256Mi").await?;
    let mut stored: f64 = 0.0;
    let mut from_disk = 0.0;
    for kill in 0..KILLS {
        let answered = Arc::<AtomicU64>::default();
        let mut clients = JoinSet::new();
        for client in 0..3 {
            clients.spawn(ask(up.front, kill as u64, client * 5, Arc::clone(&answered)));
        }
        up.wait_metric(STORED, |_| answered.load(Ordering::Relaxed) >= REQUESTS)
            .await?;
        let metrics = up.metrics().await?;
        let before = metrics.value(STORED).unwrap_or_default();
        from_disk += metrics.sum("breakwater_cache_disk_loads_total{");
        assert!(before >= stored, "{before} objects, after {stored}");
        // While clients still ask, and what they ask for is written.
        up.process.kill();
        while let Some(ended) = clients.join_next().await {
            ended.expect("no client panics").expect("every answer is right");
        }
        up = start(&site, "256Mi").await?;
        let metrics = up.metrics().await?;
        stored = metrics.value(STORED).unwrap_or_default();
        assert!(stored >= before, "{stored} objects after kill {kill}, {before} before");
        assert_eq!(metrics.sum("breakwater_cache_disk_errors_total{"), 0.0, "{}", metrics.0);
    }
    assert!(
        from_disk > 0.0 && stored > 50.0,
        "{from_disk} from the disk, {stored} stored"
    );

    // All of it, whole and in ranges; what is stored is not fetched again.
    let before = asked.load(Ordering::Relaxed);
    let mut connection = Connection::open(up.front).await?;
    let (mut hits, mut parts) = (0.0, 0.0);
    for n in 0..OBJECTS {
        let response = connection.get("site.test", &format!("/o/{n}"), "").await?;
        check(n, response.status, response.header("etag"), &response.body).expect("every answer is right");
        hits += f64::from(u8::from(response.header("cache-status").contains("breakwater; hit")));
        let whole = body(n);
        let (first, last) = (whole.len() / 3, whole.len() - 2);
        let range = format!("Range: bytes={first}-{last}\r\n");
        let part = connection.get("site.test", &format!("/o/{n}"), &range).await?;
        // What is stored nowhere comes from the origin, which knows no ranges.
        let right = match part.status {
            206 => part.body == whole[first..=last],
            status => status == 200 && part.body == whole,
        };
        assert!(right, "{n}: {} {} bytes", part.status, part.body.len());
        parts += f64::from(u8::from(part.status == 206));
    }
    let fetched = asked.load(Ordering::Relaxed) - before;
    assert!(
        hits >= stored && parts >= stored,
        "{hits} hits, {parts} parts, {stored} stored"
    );
    // The others once as a whole, and perhaps once for the range.
    assert!(
        fetched as f64 <= 2.0 * (OBJECTS as f64 - stored),
        "{fetched} fetched, {stored} stored"
    );
    eprintln!("{KILLS} kills: {stored} objects stored, {hits} hits, {fetched} fetched, 0 wrong");
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_purge_that_was_carried_out_holds_after_a_kill() -> Result<()> {
    let (site, _) = site().await?;
    let mut up = start(&site, "64Mi").await?;
    for n in [1, 2, 1, 2] {
        assert_eq!(up.get("site.test", &format!("/o/{n}"), "").await?.status, 200);
    }
    up.wait_metric(STORED, |stored| stored == 2.0).await?;
    let digest = up.digest().await?;
    site.write(
        "purge.yaml",
        "apiVersion: breakwater.dev/v1alpha1
kind: CachePurge
metadata: {name: one}
spec: {edgeCacheRef: {name: site}, urls: [\"http://site.test/o/1\"]}
",
    )?;
    breakwater_e2e::wait::until("the purge to be applied", DEADLINE, async || match up.digest().await {
        Ok(now) if now != digest => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    up.process.kill();
    // The manifest is gone: only the store remembers.
    site.remove("purge.yaml")?;
    let up = start(&site, "64Mi").await?;
    let purged = up.get("site.test", "/o/1", "").await?;
    assert!(purged.header("cache-status").contains("fwd=miss"), "{purged:?}");
    let kept = up.get("site.test", "/o/2", "").await?;
    assert!(kept.header("cache-status").contains("hit"), "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn what_an_unsafe_request_made_out_of_date_stays_so_when_the_process_is_killed_upon_its_answer() -> Result<()> {
    let origin = origin::start(|_, target| {
        let n = number(target);
        Reply::Ok(format!("Cache-Control: max-age=3600\r\nETag: \"{n}\"\r\n"), body(n))
    })
    .await?;
    let manifest = format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: site}}
spec:
  hostnames: [site.test]
  origin: {{urls: [\"http://{origin}\"]}}
  cache: {{key: {{headers: [X-Kind]}}}}
"
    );
    let site = Site::new(&[("site.yaml", &manifest)])?;
    let mut up = start(&site, "64Mi").await?;
    let mut stored = 0.0;
    for n in 1..=4 {
        let path = format!("/o/{n}");
        // Under two keys, of which the unsafe request has neither.
        for kind in ["X-Kind: a\r\n", "X-Kind: b\r\n"].repeat(2) {
            assert_eq!(up.get("site.test", &path, kind).await?.status, 200);
        }
        up.wait_metric(STORED, |objects| objects >= stored + 2.0).await?;
        let mut connection = Connection::open(up.front).await?;
        let post = format!("POST {path} HTTP/1.1\r\nHost: site.test\r\nX-Kind: c\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(connection.send(&post).await?.status, 200);
        up.process.kill();
        up = start(&site, "64Mi").await?;
        for kind in ["X-Kind: a\r\n", "X-Kind: b\r\n"] {
            let response = up.get("site.test", &path, kind).await?;
            assert!(
                response.header("cache-status").contains("fwd=miss"),
                "{n}: {response:?}"
            );
        }
        stored = up.metrics().await?.value(STORED).unwrap_or_default();
    }
    Ok(())
}

#[tokio::test]
async fn a_disk_of_another_version_is_emptied_with_a_message_and_never_served() -> Result<()> {
    let (site, asked) = site().await?;
    let mut up = start(&site, "64Mi").await?;
    for _ in 0..2 {
        up.get("site.test", "/o/1", "").await?;
    }
    up.wait_metric(STORED, |stored| stored == 1.0).await?;
    up.stop().await?;
    let superblock = site.path("state/cache/store");
    let mut bytes = std::fs::read(&superblock).expect("the store has one");
    bytes[8] = 99;
    std::fs::write(&superblock, bytes).expect("it can be written");

    let up = start(&site, "64Mi").await?;
    let said = up.process.output()?;
    assert!(
        said.contains("the disk store is emptied") && said.contains("format 99"),
        "{said}"
    );
    let before = asked.load(Ordering::Relaxed);
    let response = up.get("site.test", "/o/1", "").await?;
    check(1, response.status, response.header("etag"), &response.body).expect("it is right");
    assert_eq!(asked.load(Ordering::Relaxed), before + 1);
    Ok(())
}

/// A disk with less room than it is said to have. Not a skip: where this cannot be made, the test fails.
#[tokio::test]
async fn a_full_disk_costs_hits_and_nothing_else() -> Result<()> {
    let (site, _) = site().await?;
    let disk = site.path("disk");
    std::fs::create_dir(&disk).expect("it can be made");
    let mut command = Command::new("unshare");
    // The mount is the process's own, and ends with it.
    let script = "mount -t tmpfs -o size=12m tmpfs \"$0\" && exec \"$@\"";
    command.args(["--map-root-user", "--mount", "sh", "-c", script]);
    command
        .arg(&disk)
        .arg(breakwater::binary()?)
        .arg("up")
        .arg("-f")
        .arg(site.manifests());
    command
        .args(["--disk", "64Mi", "--memory", "4Mi", "--disk-dir"])
        .arg(&disk);
    let mut up = Up::start(command, &site.path("breakwater.log")).await?;
    let mut connection = Connection::open(up.front).await?;
    // Each twice; in the end once more what was written last.
    for n in (0..1900).map(|i| if i < 1800 { i / 2 } else { i - 1000 }) {
        let response = connection.get("site.test", &format!("/o/{n}"), "").await?;
        if response.status != 503 {
            check(n, response.status, response.header("etag"), &response.body).expect("every answer is right");
        }
    }
    let full = up
        .wait_metric("breakwater_cache_disk_errors_total{kind=\"full\"}", |full| full > 0.0)
        .await?;
    let metrics = up.metrics().await?;
    let bytes = metrics
        .value("breakwater_cache_bytes{tier=\"disk\"}")
        .unwrap_or_default();
    assert!(full > 0.0 && bytes > 0.0 && bytes <= 12e6, "{bytes} bytes");
    assert!(metrics.sum("breakwater_cache_disk_loads_total{") > 0.0, "{}", metrics.0);
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_store_changes_hands_with_a_takeover() -> Result<()> {
    let (site, asked) = site().await?;
    let mut old = start(&site, "64Mi").await?;
    for n in [1, 2, 1, 2] {
        old.get("site.test", &format!("/o/{n}"), "").await?;
    }
    old.wait_metric(STORED, |stored| stored == 2.0).await?;
    let mut command = Command::new(breakwater::binary()?);
    command.arg("up").arg("-f").arg(site.manifests()).arg("--takeover");
    command
        .args(["--disk", "64Mi", "--workers", "2", "--state-dir"])
        .arg(site.path("state"));
    let new = Up::start(command, &site.path("new.log")).await?;
    old.process.wait_end(DEADLINE * 2).await?;
    new.wait_metric(STORED, |stored| stored == 2.0).await?;
    let before = asked.load(Ordering::Relaxed);
    let response = new.get("site.test", "/o/1", "").await?;
    assert!(response.header("cache-status").contains("hit"), "{response:?}");
    assert_eq!(asked.load(Ordering::Relaxed), before);
    Ok(())
}

#[tokio::test]
async fn a_disk_without_a_directory_or_of_no_size_is_refused_with_what_to_do() -> Result<()> {
    let (site, _) = site().await?;
    let manifests = site.manifests().display().to_string();
    let ended = breakwater::run(["up", "-f", &manifests, "--disk", "1Gi"]).await?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--state-dir"), "{ended:?}");
    let state = site.path("state").display().to_string();
    let ended = breakwater::run(["up", "-f", &manifests, "--state-dir", &state, "--disk", "1Mi"]).await?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("too small"), "{ended:?}");
    Ok(())
}
