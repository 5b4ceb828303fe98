//! A change of the manifests: what worked goes on working, what changed is in force, what is wrong is said.

use std::time::Duration;

use breakwater_e2e::{
    Error, Result,
    breakwater::{DEADLINE, Site, Up},
    load::{Load, Target},
    origin::{self, Reply},
    wait,
};
use rustix::process::Signal;

/// The bar: so many changes, under so many connections, beside so many WebSockets.
const CHANGES: u32 = 100;
const CONNECTIONS: usize = 64;
const WEB_SOCKETS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_changes_under_load_fail_no_request_and_drop_no_websocket() -> Result<()> {
    let origin = origin::start(|_, target| match target {
        "/stored" => Reply::text("max-age=600", "stored"),
        "/passed" => Reply::text("no-store", "passed"),
        _ => Reply::text("max-age=1", format!("hello from {target}")),
    })
    .await?;
    let echo = origin::start_echo().await?;
    let url = format!("http://{origin}");
    let site = Site::new(&[
        ("site.yaml", &edge_cache("site", "site.test", &url, "1h")),
        ("policy.yaml", &policy("203.0.113.0/24", "/never", 1)),
        ("chat.yaml", &ws_route("chat", &format!("http://{echo}"))),
        ("other.yaml", &edge_cache("other", "other.test", &url, "1h")),
    ])?;
    let up = site.up(["--audit-log", "/dev/null"]).await?;

    let targets = ["/stored", "/passed", "/short"].map(|path| Target {
        host: "site.test".to_owned(),
        path: path.to_owned(),
        body: match path {
            "/short" => "hello from /short".to_owned(),
            _ => path[1..].to_owned(),
        },
        open_ended: false,
    });
    let mut load = Load::new();
    load.web_sockets(WEB_SOCKETS, up.front, "site.test", "/ws", Duration::from_millis(40))
        .await?;
    load.connections(CONNECTIONS, up.front, &targets, Duration::from_millis(25))
        .await?;

    let mut digest = up.digest().await?;
    let mut before = load.done();
    for change in 0..CHANGES {
        let round = change / 5;
        match change % 5 {
            0 => site.write(
                "policy.yaml",
                &policy(&format!("198.51.100.{round}/32"), "/never", round + 2),
            )?,
            1 => {
                let name = format!("new-{round}");
                let host = format!("{name}.test");
                site.write("new.yaml", &edge_cache(&name, &host, &url, "1h"))?;
            }
            // A lifetime for what is being asked for, longer and shorter than before.
            2 => site.write(
                "site.yaml",
                &edge_cache("site", "site.test", &url, &format!("{}s", 3000 - round)),
            )?,
            3 if round % 2 == 0 => site.remove("other.yaml")?,
            3 => site.write("other.yaml", &edge_cache("other", "other.test", &url, "1h"))?,
            _ => site.remove("new.yaml")?,
        }
        digest = another_digest(&up, &digest).await?;
        if change % 5 == 1 {
            let found = up.get(&format!("new-{round}.test"), "/new", "").await?;
            assert_eq!((found.status, found.body.as_str()), (200, "hello from /new"));
        }
        // Traffic went on between this change and the one before it, and nothing has failed.
        let after = wait::until("requests and messages after a change", DEADLINE, async || {
            match load.check().map_err(|error| error.to_string()) {
                Ok(now) if now.requests > before.requests && now.messages > before.messages => Ok(Ok(now)),
                Ok(now) => Err(format!("{now:?}")),
                Err(failed) => Ok(Err(failed)),
            }
        })
        .await?;
        before = after.map_err(|failed| Error::Invalid(format!("after change {change}: {failed}")))?;
    }

    let open = "breakwater_websocket_connections{resource=\"WsRoute/default/chat\"}";
    assert_eq!(
        up.metrics().await?.value(open),
        Some(WEB_SOCKETS as f64),
        "all are open"
    );
    let done = load.stop().await?;
    eprintln!(
        "{CHANGES} changes: {} requests on {CONNECTIONS} connections and {} messages on {WEB_SOCKETS} WebSockets, 0 failed",
        done.requests, done.messages
    );
    // The program counts the same: every request of the load, and no other status.
    let requests = "breakwater_requests_total{resource=\"EdgeCache/default/site\"";
    let series = format!("{requests},code=\"200\"}}");
    let served = up.wait_metric(&series, |served| served == done.requests as f64).await?;
    assert_eq!(up.metrics().await?.sum(requests), served);
    assert!(
        done.requests >= u64::from(CHANGES) && done.messages >= u64::from(CHANGES),
        "{done:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_edited_policy_is_in_force_on_a_connection_that_is_open() -> Result<()> {
    let (site, up, _) = simple().await?;
    let mut connection = breakwater_e2e::http::Connection::open(up.front).await?;
    assert_eq!(connection.get("site.test", "/later", "").await?.status, 200);
    let digest = up.digest().await?;
    site.write("policy.yaml", &policy("203.0.113.0/24", "/later", 2))?;
    another_digest(&up, &digest).await?;
    assert_eq!(connection.get("site.test", "/later", "").await?.status, 403);
    assert_eq!(connection.get("site.test", "/denied", "").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_yaml_keeps_its_last_good_version_until_it_is_corrected() -> Result<()> {
    let (site, mut up, origin) = simple().await?;
    let good = policy("203.0.113.0/24", "/denied", 1);
    site.write("policy.yaml", &good.replace("uris:", "uris: ["))?;
    let said = up.process.wait_line("policy.yaml:", DEADLINE).await?;
    let line = 1 + good.lines().position(|line| line.contains("uris:")).unwrap_or_default();
    let place = said.split_once("policy.yaml:").map_or("", |(_, rest)| rest);
    let number: usize = place
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap_or_default()
        .parse()
        .unwrap_or(0);
    assert!(
        said.starts_with("error: ") && number >= line && number <= line + 1,
        "{line}: {said}"
    );
    up.process
        .wait_line("its last good version stays in force", DEADLINE)
        .await?;

    // Beside the broken file another one changes.
    site.write("more.yaml", &edge_cache("more", "more.test", &origin, "1h"))?;
    up.wait_status("more.test", "/", "", 200).await?;
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 403);

    site.write("policy.yaml", &good.replace("/denied", "/corrected"))?;
    up.wait_status("site.test", "/corrected", "", 403).await?;
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn an_object_with_a_wrong_field_is_rejected_alone_and_its_last_good_version_stays() -> Result<()> {
    let (site, mut up, origin) = simple().await?;
    // One file, one step: the policy is wrong, its neighbour is new.
    let both = format!(
        "{}---\n{}",
        policy("203.0.113.0/99", "/denied", 1),
        edge_cache("more", "more.test", &origin, "1h")
    );
    site.write("policy.yaml", &both)?;
    up.wait_status("more.test", "/", "", 200).await?;
    let said = up.process.wait_line("203.0.113.0/99", DEADLINE).await?;
    let line = 1 + both.lines().position(|line| line.contains("/99")).unwrap_or_default();
    for part in [
        &format!("policy.yaml:{line}"),
        "WafPolicy/default/policy",
        "spec.addresses.deny[0]",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 403);
    assert_eq!(
        up.get("site.test", "/", "X-Forwarded-For: 203.0.113.9\r\n")
            .await?
            .status,
        403
    );
    assert_eq!(
        up.metrics().await?.value("breakwater_snapshot_rejected_objects"),
        Some(1.0)
    );
    let rejected = up.snapshot().await?["rejected"].to_string();
    assert!(
        rejected.contains("WafPolicy") && rejected.contains("policy"),
        "{rejected}"
    );

    site.write("policy.yaml", &both.replace("203.0.113.0/99", "198.51.100.0/24"))?;
    up.wait_status("site.test", "/", "X-Forwarded-For: 198.51.100.9\r\n", 403)
        .await?;
    assert_eq!(
        up.get("site.test", "/", "X-Forwarded-For: 203.0.113.9\r\n")
            .await?
            .status,
        200
    );
    assert_eq!(
        up.metrics().await?.value("breakwater_snapshot_rejected_objects"),
        Some(0.0)
    );
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_directory_again() -> Result<()> {
    let (_site, mut up, _) = simple().await?;
    // Sent at once after the line that it serves: that must not end it.
    up.process.signal(Signal::HUP)?;
    up.process
        .wait_line("breakwater: reloaded, 2 objects", DEADLINE)
        .await?;
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 403);
    up.process.check_running()
}

#[tokio::test]
async fn a_change_made_while_it_starts_is_not_lost() -> Result<()> {
    for round in 0..5 {
        let (site, up, _) = simple().await?;
        site.write("policy.yaml", &policy("203.0.113.0/24", "/later", round + 2))?;
        up.wait_status("site.test", "/later", "", 403).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_with_a_wrong_object_serves_its_last_good_version_from_the_state_directory() -> Result<()> {
    let (site, _) = simple_site().await?;
    let state = site.path("state").into_os_string();
    let mut up = site.up(["--state-dir".into(), state.clone()]).await?;
    assert_eq!(up.stop().await?.code(), Some(0), "{}", up.process.output()?);
    site.write("policy.yaml", &policy("203.0.113.0/99", "/denied", 1))?;
    let mut up = site.up(["--state-dir".into(), state]).await?;
    up.process.wait_line("203.0.113.0/99", DEADLINE).await?;
    assert_eq!(up.get("site.test", "/", "").await?.status, 200);
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 403);
    assert_eq!(
        up.get("site.test", "/", "X-Forwarded-For: 203.0.113.9\r\n")
            .await?
            .status,
        403
    );
    Ok(())
}

#[tokio::test]
async fn a_restart_with_a_file_that_is_not_yaml_keeps_what_it_held_in_the_state_directory() -> Result<()> {
    let (site, origin) = simple_site().await?;
    let state = site.path("state").into_os_string();
    let mut up = site.up(["--state-dir".into(), state.clone()]).await?;
    assert_eq!(up.stop().await?.code(), Some(0), "{}", up.process.output()?);
    let good = policy("203.0.113.0/24", "/denied", 1);
    site.write("policy.yaml", &good.replace("uris:", "uris: ["))?;
    let mut up = site.up(["--state-dir".into(), state]).await?;
    up.process.wait_line("error: not valid YAML", DEADLINE).await?;
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 403);
    site.write("more.yaml", &edge_cache("more", "more.test", &origin, "1h"))?;
    up.wait_status("more.test", "/", "", 200).await?;
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 403);
    site.write("policy.yaml", &good.replace("/denied", "/corrected"))?;
    up.wait_status("site.test", "/corrected", "", 403).await?;
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_directory_that_goes_away_takes_nothing_with_it() -> Result<()> {
    let (site, mut up, _) = simple().await?;
    let (there, away) = (site.manifests(), site.path("away"));
    std::fs::rename(&there, &away).expect("it is ours");
    up.process
        .wait_line("the configuration in force stays", DEADLINE)
        .await?;
    assert_eq!(up.get("site.test", "/", "").await?.status, 200);
    assert_eq!(up.get("site.test", "/denied", "").await?.status, 403);
    std::fs::rename(&away, &there).expect("it is ours");
    site.write("policy.yaml", &policy("203.0.113.0/24", "/later", 2))?;
    up.wait_status("site.test", "/later", "", 403).await?;
    Ok(())
}

#[tokio::test]
async fn a_directory_that_is_swapped_for_another_is_served_from_then_on() -> Result<()> {
    let (site, origin) = simple_site().await?;
    let (current, next) = (site.path("current"), site.path("next"));
    let link = |to: &str, at: &std::path::Path| std::os::unix::fs::symlink(site.path(to), at).expect("it is ours");
    link("manifests", &current);
    std::fs::create_dir(site.path("release-2")).expect("it is ours");
    let second = edge_cache("second", "second.test", &origin, "1h");
    std::fs::write(site.path("release-2/second.yaml"), second).expect("it is ours");
    let mut command = std::process::Command::new(breakwater_e2e::breakwater::binary()?);
    command.arg("up").arg("-f").arg(&current);
    let up = Up::start(command, &site.path("breakwater.log")).await?;
    assert_eq!(up.get("site.test", "/", "").await?.status, 200);
    link("release-2", &next);
    std::fs::rename(&next, &current).expect("it is ours");
    up.wait_status("second.test", "/", "", 200).await?;
    assert_eq!(up.get("site.test", "/", "").await?.status, 404);
    Ok(())
}

/// A site, and a policy that denies `/denied`, in a running `up`; with the address of the origin.
async fn simple() -> Result<(Site, Up, String)> {
    let (site, origin) = simple_site().await?;
    let up = site.up(NO_MORE).await?;
    Ok((site, up, origin))
}

const NO_MORE: [&str; 0] = [];

async fn simple_site() -> Result<(Site, String)> {
    let origin = origin::start(|_, _| Reply::text("no-store", "hello")).await?;
    let origin = format!("http://{origin}");
    let site = Site::new(&[
        ("site.yaml", &edge_cache("site", "site.test", &origin, "1h")),
        ("policy.yaml", &policy("203.0.113.0/24", "/denied", 1)),
    ])?;
    Ok((site, origin))
}

async fn another_digest(up: &Up, than: &str) -> Result<String> {
    wait::until("another configuration", DEADLINE, async || {
        match up.digest().await.map_err(|error| error.to_string())? {
            digest if digest == than => Err(digest),
            digest => Ok(digest),
        }
    })
    .await
}

fn edge_cache(name: &str, host: &str, origin: &str, ttl: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: {name}}}
spec:
  hostnames: [{host}]
  origin: {{urls: [\"{origin}\"]}}
  cache:
    rules:
    - {{paths: [{{type: Prefix, value: /stored}}], statuses: [200], ttl: {ttl}}}
"
    )
}

/// Attached to the EdgeCache `site`; `count` makes two of them differ.
fn policy(denied_address: &str, denied_path: &str, count: u32) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {{name: policy}}
spec:
  targetRefs: [{{kind: EdgeCache, name: site}}]
  client: {{trustedProxies: [127.0.0.0/8], header: X-Forwarded-For}}
  addresses:
    deny:
    - {denied_address}
  uris: {{deny: [{{type: Prefix, value: {denied_path}}}]}}
  limits:
  - {{name: unmet, paths: [{{type: Exact, value: /limited}}], requests: {{count: {count}, per: 1m}}}}
"
    )
}

fn ws_route(name: &str, backend: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: WsRoute
metadata: {{name: {name}}}
spec:
  hostnames: [site.test]
  paths: [{{type: Exact, value: /ws}}]
  backend: {{urls: [\"{backend}\"]}}
"
    )
}
