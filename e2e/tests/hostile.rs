//! Bad input: wrong manifests, wrong flags, origins that misbehave, disks that are full. Each gets a message that says
//! what and where; nothing else stops working.

use std::{
    net::{SocketAddr, TcpListener},
    process::Command,
};

use breakwater_e2e::{
    Result,
    breakwater::{self, DEADLINE, Site, Up},
    origin::{self, Reply},
    process::Process,
};
use serde_json::Value;

#[tokio::test]
async fn check_tells_every_mistake_with_its_place_and_what_to_do() -> Result<()> {
    let site = Site::new(&[
        ("good.yaml", &edge_cache("good", "good.test", "http://127.0.0.1:1")),
        (
            "field.yaml",
            &edge_cache("field", "field.test", "http://127.0.0.1:1").replace("hostnames", "hostname"),
        ),
        (
            "kind.yaml",
            &edge_cache("kind", "kind.test", "http://127.0.0.1:1").replace("EdgeCache", "EdgeCash"),
        ),
        ("nothing.yaml", &policy("nothing", "nobody", "203.0.113.0/24", "/admin")),
        ("same.yaml", &edge_cache("same", "good.test", "http://127.0.0.1:1")),
        ("cidr.yaml", &policy("cidr", "good", "203.0.113.0/99", "/admin")),
        ("regex.yaml", &policy("regex", "good", "203.0.113.0/24", "(unclosed")),
        ("yaml.yaml", "kind: EdgeCache\nmetadata: {name: broken\nspec: [\n"),
    ])?;
    let directory = site.manifests();
    let ended = breakwater::run(["check".as_ref(), "-f".as_ref(), directory.as_os_str()]).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for (place, parts) in [
        (
            "field.yaml:5",
            ["EdgeCache/default/field", "spec.hostname", "did you mean `hostnames`?"],
        ),
        ("kind.yaml:2", ["`EdgeCash`", "kind", "did you mean EdgeCache?"]),
        (
            "nothing.yaml:5",
            ["WafPolicy/default/nothing", "spec.targetRefs[0]", "default/nobody"],
        ),
        (
            "same.yaml:5",
            ["EdgeCache/default/same", "spec.hostnames[0]", "EdgeCache/default/good"],
        ),
        (
            "cidr.yaml:8",
            ["WafPolicy/default/cidr", "spec.addresses.deny[0]", "203.0.113.0/24"],
        ),
        (
            "regex.yaml:11",
            ["WafPolicy/default/regex", "spec.uris.deny[0].value", "unclosed group"],
        ),
        ("yaml.yaml:3", ["error: ", "not valid YAML", "(/"]),
    ] {
        let lines = || ended.stderr.lines().filter(|line| line.contains(place));
        let told = lines().any(|line| line.starts_with("error: ") && parts.iter().all(|part| line.contains(part)));
        assert!(told, "{place} with {parts:?} is not in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("good.yaml:"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn check_speaks_json_and_ends_with_0_1_or_2() -> Result<()> {
    let demo = breakwater::root().join("examples/demo");
    let good = breakwater::run(["check", "-o", "json", "-f", &demo.to_string_lossy()]).await?;
    assert_eq!((good.code, good.stdout.trim()), (Some(0), "[]"), "{good:?}");

    let site = Site::new(&[("cidr.yaml", &policy("cidr", "good", "203.0.113.0/99", "/admin"))])?;
    let directory = site.manifests().to_string_lossy().into_owned();
    let bad = breakwater::run(["check", "-o", "json", "-f", &directory]).await?;
    assert_eq!((bad.code, bad.stderr.as_str()), (Some(1), ""), "{bad:?}");
    let found: Vec<Value> = serde_json::from_str(&bad.stdout).expect("it is JSON");
    let of_cidr = found
        .iter()
        .find(|item| item["field"] == "spec.addresses.deny[0]")
        .expect("it is told");
    assert_eq!(of_cidr["severity"], "error");
    assert_eq!(of_cidr["file"], format!("{directory}/cidr.yaml"));
    assert_eq!(of_cidr["line"], 8);
    assert_eq!(
        [&of_cidr["kind"], &of_cidr["namespace"], &of_cidr["name"]],
        ["WafPolicy", "default", "cidr"]
    );
    assert!(
        of_cidr["message"]
            .as_str()
            .is_some_and(|text| text.contains("203.0.113.0/99"))
    );

    let absent = breakwater::run(["check", "-f", &format!("{directory}/absent")]).await?;
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(
        absent.stderr.starts_with("error: ") && absent.stderr.contains("absent"),
        "{absent:?}"
    );
    assert_eq!(breakwater::run(["check", "--no-such-flag"]).await?.code, Some(2));
    Ok(())
}

#[tokio::test]
async fn explain_says_who_serves_and_who_refuses_in_words_and_in_json() -> Result<()> {
    let demo = breakwater::root().join("examples/demo").to_string_lossy().into_owned();
    let text = breakwater::run(["explain", "-f", &demo, "http://localhost/page/one?utm_source=x&a=1"]).await?;
    assert_eq!(text.code, Some(0), "{text:?}");
    for part in [
        "EdgeCache/default/site",
        "127.0.0.1:8081",
        "WafPolicy/default/policy (Enforce)",
        "/page/one",
        "a=1",
    ] {
        assert!(text.stdout.contains(part), "{part} is not in\n{}", text.stdout);
    }
    assert!(
        !text.stdout.contains("utm_source"),
        "it is not in the key: {}",
        text.stdout
    );

    let json = breakwater::run(["explain", "-f", &demo, "-o", "json", "http://localhost/admin"]).await?;
    let value: Value = serde_json::from_str(&json.stdout).expect("it is JSON");
    assert_eq!(value["route"]["resource"], "EdgeCache/default/site");
    let refused = value["refused"].as_str().unwrap_or_default();
    assert!(
        refused.contains("403") && refused.contains("WafPolicy/default/policy"),
        "{value}"
    );

    let socket = breakwater::run(["explain", "-f", &demo, "ws://localhost/ws"]).await?;
    assert!(socket.stdout.contains("WsRoute/default/chat"), "{socket:?}");
    let no_url = breakwater::run(["explain", "-f", &demo, "localhost"]).await?;
    assert_eq!(no_url.code, Some(2), "{no_url:?}");
    Ok(())
}

#[tokio::test]
async fn up_ends_with_2_and_the_address_when_a_port_is_in_use() -> Result<()> {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = held.local_addr().expect("it is bound").to_string();
    let site = Site::new(&[("good.yaml", &edge_cache("good", "good.test", "http://127.0.0.1:1"))])?;
    let directory = site.manifests().to_string_lossy().into_owned();
    for (taken, free) in [("--listen", "--admin"), ("--admin", "--listen")] {
        let ended = breakwater::run(["up", "-f", &directory, taken, &address, free, "127.0.0.1:0"]).await?;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: ") && last.contains(&address),
            "{taken}: {ended:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn up_ends_with_2_and_the_flag_when_a_value_makes_no_sense() -> Result<()> {
    let site = Site::new(&[])?;
    let directory = site.manifests().to_string_lossy().into_owned();
    let free = ["-f", &directory, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for (arguments, flag) in [
        (vec!["--https-port", "0"], "--https-port"),
        (vec!["--memory-limit", "1Mi"], "--memory-limit"),
        (vec!["--memory-limit", "lots"], "--memory-limit"),
        (vec!["--memory", "1Gi", "--memory-limit", "512Mi"], "--memory"),
    ] {
        let ended = breakwater::run(["up"].into_iter().chain(arguments).chain(free)).await?;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(flag),
            "{ended:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn up_ends_with_2_when_a_directory_is_not_there() -> Result<()> {
    let site = Site::new(&[])?;
    let absent = site.path("absent").to_string_lossy().into_owned();
    let present = site.manifests().to_string_lossy().into_owned();
    let log = format!("{absent}/access.log");
    let free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    for arguments in [vec!["-f", &absent], vec!["-f", &present, "--access-log", &log]] {
        let ended = breakwater::run(["up"].into_iter().chain(arguments).chain(free)).await?;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let lines: Vec<_> = ended.stderr.lines().collect();
        assert!(
            lines.len() == 1 && lines[0].starts_with("error: ") && lines[0].contains(&absent),
            "{ended:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_origin_that_refuses_hangs_or_sends_garbage_harms_nobody_else() -> Result<()> {
    let good = origin::start(|_, _| Reply::text("no-store", "good")).await?;
    let silent = origin::start(|_, _| Reply::Silence).await?;
    let garbage = origin::start(|_, target| {
        Reply::Bytes(match target {
            "/nothing" => Vec::new(),
            "/two-lengths" => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde".to_vec(),
            "/endless-head" => {
                let mut head = b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec();
                head.resize(4 << 20, b'x');
                head
            }
            _ => b"\x00\xff\x16\x03 this is no HTTP \r\n\r\n\r\n".to_vec(),
        })
    })
    .await?;
    let (nobody, _reserved) = origin::nobody()?;
    let caches = [
        ("good", good),
        ("silent", silent),
        ("garbage", garbage),
        ("nobody", nobody),
    ]
    .map(|(name, address)| {
        let text = edge_cache(name, &format!("{name}.test"), &format!("http://{address}"));
        text.replace("]}\n", "], timeouts: {response: 1s}}\n")
    });
    let site = Site::new(&[("sites.yaml", &caches.join("---\n"))])?;
    let mut up = site.up(NO_MORE).await?;
    for (host, path, status) in [
        ("nobody.test", "/", 502),
        ("silent.test", "/", 504),
        ("garbage.test", "/", 502),
        ("garbage.test", "/nothing", 502),
        ("garbage.test", "/two-lengths", 502),
        ("garbage.test", "/endless-head", 502),
    ] {
        // The neighbour answers while the bad one is being waited for.
        let (bad, neighbour) = tokio::join!(up.get(host, path, ""), up.get("good.test", "/", ""));
        let bad = bad?;
        assert_eq!(bad.status, status, "{host}{path}: {bad:?}");
        let id = bad.header("x-request-id");
        assert!(id.len() == 32 && bad.body.contains(id), "{host}{path}: {bad:?}");
        let neighbour = neighbour?;
        assert_eq!(
            (neighbour.status, neighbour.body.as_str()),
            (200, "good"),
            "beside {host}{path}"
        );
    }
    let metrics = up.metrics().await?;
    for (name, least) in [("nobody", 1.0), ("silent", 1.0), ("garbage", 4.0)] {
        let series =
            format!("breakwater_origin_requests_total{{resource=\"EdgeCache/default/{name}\",code=\"error\"}}");
        assert!(metrics.value(&series) >= Some(least), "{series}:\n{}", metrics.0);
    }
    assert_eq!(metrics.value("breakwater_worker_restarts_total"), Some(0.0));
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_standard_error_that_is_full_stops_nothing() -> Result<()> {
    let good = origin::start(|_, _| Reply::text("no-store", "good")).await?;
    let (nobody, _reserved) = origin::nobody()?;
    let site = Site::new(&[
        ("good.yaml", &edge_cache("good", "good.test", &format!("http://{good}"))),
        (
            "nobody.yaml",
            &edge_cache("nobody", "nobody.test", &format!("http://{nobody}")),
        ),
    ])?;
    // Nothing it says can be read, so its addresses are chosen here, where no other test or program listens: an address
    // of loopback that has this process's number in it.
    let [.., high, low] = std::process::id().to_be_bytes();
    let (front, admin) = ([127, 80, high, low], [127, 90, high, low]);
    let (front, admin) = (SocketAddr::from((front, 8080)), SocketAddr::from((admin, 9090)));
    let mut command = Command::new(breakwater::binary()?);
    command
        .arg("up")
        .arg("-f")
        .arg(site.manifests())
        .args(["--listen", &front.to_string(), "--admin", &admin.to_string()])
        .env("BREAKWATER_LOG", "trace");
    let process = Process::spawn("breakwater up", command, "/dev/full".as_ref())?;
    let mut up = Up {
        process,
        front,
        front_tls: None,
        admin,
    };
    up.wait_status("good.test", "/", "", 200).await?;
    for _ in 0..3 {
        let failed = up.get("nobody.test", "/", "").await?;
        // The words of a refused connection, not those of a task that panicked.
        assert!(failed.status == 502 && !failed.body.contains("abandoned"), "{failed:?}");
    }
    assert_eq!(up.metrics().await?.value("breakwater_worker_restarts_total"), Some(0.0));
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn a_full_disk_under_the_state_directory_stops_nothing_and_is_survived() -> Result<()> {
    if !root_or_told_to_skip("a_full_disk_under_the_state_directory_stops_nothing_and_is_survived") {
        return Ok(());
    }
    let good = origin::start(|_, _| Reply::text("no-store", "good")).await?;
    let cache = edge_cache("site", "good.test", &format!("http://{good}"));
    let site = Site::new(&[
        ("site.yaml", &cache),
        ("policy.yaml", &policy("policy", "site", "192.0.2.1", "/first")),
    ])?;
    let state = site.path("state");
    std::fs::create_dir(&state).expect("it is ours");
    // A mount of its own in a namespace of its own: it goes with the process, however that ends.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=128k tmpfs \"$1\" && shift && exec \"$@\"")
        .arg("sh")
        .arg(&state)
        .arg(breakwater::binary()?)
        .args(["up", "-f"])
        .arg(site.manifests())
        .arg("--state-dir")
        .arg(&state);
    let mut up = Up::start(command, &site.path("breakwater.log")).await?;
    // The same directory as the process sees it.
    let inside = |name: &str| {
        let relative = state.strip_prefix("/").expect("it is absolute").join(name);
        std::path::PathBuf::from(format!("/proc/{}/root", up.process.id())).join(relative)
    };
    let filler = inside("filler");
    let manifest = inside("manifest");
    let before = std::fs::read(&manifest).expect("the first configuration is kept");
    let full = std::fs::write(&filler, vec![0; 1 << 20]).expect_err("128 KiB are less");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");

    site.write("policy.yaml", &policy("policy", "site", "192.0.2.1", "/second"))?;
    up.wait_status("good.test", "/second", "", 403).await?;
    assert_eq!(up.get("good.test", "/first", "").await?.status, 200);
    let said = up.process.wait_line("cannot be kept", DEADLINE).await?;
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(
        std::fs::read(&manifest).expect("it is there"),
        before,
        "the former copy stays whole"
    );

    std::fs::remove_file(&filler).expect("it is there");
    site.write("policy.yaml", &policy("policy", "site", "192.0.2.1", "/third"))?;
    up.process.wait_line("breakwater: reloaded", DEADLINE).await?;
    up.wait_status("good.test", "/third", "", 403).await?;
    breakwater_e2e::wait::until("the copy to be written again", DEADLINE, async || {
        let now = std::fs::read(&manifest).map_err(|error| error.to_string())?;
        if now == before {
            Err("as before".to_owned())
        } else {
            Ok(())
        }
    })
    .await?;
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

/// Only root may mount. Without it the test fails and says so; only a runner that counts the skip may ask for one.
fn root_or_told_to_skip(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("BREAKWATER_SKIP_ROOT").is_some_and(|value| value == "1"),
        "{test} mounts a small file system: run as root, or set BREAKWATER_SKIP_ROOT=1 and count it as skipped"
    );
    eprintln!("SKIPPED {test}: BREAKWATER_SKIP_ROOT=1");
    false
}

const NO_MORE: [&str; 0] = [];

fn edge_cache(name: &str, host: &str, origin: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: {name}}}
spec:
  hostnames: [{host}]
  origin: {{urls: [\"{origin}\"]}}
"
    )
}

fn policy(name: &str, target: &str, address: &str, path: &str) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {{name: {name}}}
spec:
  targetRefs: [{{kind: EdgeCache, name: {target}}}]
  addresses:
    deny:
    - {address}
  uris:
    deny:
    - {{type: {kind}, value: \"{path}\"}}
",
        kind = if path.starts_with('/') { "Prefix" } else { "Regex" }
    )
}
