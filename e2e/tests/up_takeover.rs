//! One process in the place of another, under load: by takeover of its sockets, and by a rolling restart.

use std::net::SocketAddr;

use breakwater_e2e::{
    Error, Result,
    breakwater::{self, DEADLINE, Site, Up},
    http,
    load::{Done, Load, Ready},
    origin,
    takeover::{self, PACE, start, targets},
    wait,
};
use breakwater_websocket::testing::{self, Message};
use rustix::process::Signal;
use tokio::sync::Mutex;

/// The bar: so many takeovers in a row, under so many connections.
const TAKEOVERS: usize = 5;
const CONNECTIONS: usize = 64;

/// One load at a time: a debug build on a busy machine has no reason to shed load, which it would do with 503.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_takeovers_under_load_fail_no_request() -> Result<()> {
    let _alone = ALONE.lock().await;
    let site = site().await?;
    let mut up = start(&site, 0, &["--workers", "2"], None).await?;
    let (front, admin) = (up.front, up.admin);
    let mut load = Load::new();
    load.balanced(CONNECTIONS, &Ready::new(&[front]), &targets(), PACE)
        .await?;

    // More workers than sockets, fewer, and as many.
    for (number, workers) in (1..=TAKEOVERS).zip(["3", "1", "2", "4", "2"]) {
        let before = load.done();
        let mut socket = testing::connect(front, "site.test", "/ws", None, "")
            .await
            .map_err(socket_failed)?;
        echo(&mut socket).await?;
        let next = start(&site, number, &["--takeover", "--workers", workers], None).await?;
        assert_eq!((next.front, next.admin), (front, admin), "the same sockets");
        let said = next.process.output()?;
        let from = format!("breakwater: took over from process {}, which drains", up.process.id());
        assert!(said.contains(&from), "{said}");
        closed_in_order(&mut socket).await?;
        // Everybody was told to come again, and did.
        wait::until("all connections to move", DEADLINE, async || {
            let moved = load.done().reconnected - before.reconnected;
            if moved < CONNECTIONS as u64 && load.check().is_ok() {
                return Err(format!("{moved} moved"));
            }
            Ok(())
        })
        .await?;
        let after = checked(&mut load, &[&up, &next])?;
        assert!(after.requests > before.requests, "{after:?}");
        let status = up.process.wait_end(DEADLINE * 2).await?;
        let said = up.process.output()?;
        assert_eq!(status.code(), Some(0), "{said}");
        let to = format!("breakwater: process {} has taken over", next.process.id());
        assert!(said.contains(&to), "{said}");
        assert_eq!(readiness(admin).await?, 200);
        up = next;
    }

    let done = load.stop().await?;
    eprintln!("{TAKEOVERS} takeovers: {done:?}, 0 failed");
    // The last process serves, and is the one that answers on the admin port.
    assert_eq!(up.get("site.test", "/passed", "").await?.body, "passed");
    let served = up.metrics().await?.sum("breakwater_requests_total{");
    assert!(served > 0.0 && served <= done.requests as f64 + 1.0, "{served}");
    assert_eq!(up.stop().await?.code(), Some(0), "{}", up.process.output()?);
    assert!(!site.path("state/takeover.sock").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_fails_leaves_the_old_one_serving() -> Result<()> {
    let _alone = ALONE.lock().await;
    let site = site().await?;
    let mut up = start(&site, 0, &["--workers", "2"], None).await?;
    let mut load = Load::new();
    // These fail as soon as a connection is closed for whatever reason.
    load.connections(16, up.front, &targets(), PACE).await?;
    let mut socket = testing::connect(up.front, "site.test", "/ws", None, "")
        .await
        .map_err(socket_failed)?;

    let missing = site.path("missing").display().to_string();
    let manifests = site.manifests().display().to_string();
    let state = site.path("state").display().to_string();
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = elsewhere.local_addr().expect("it is bound").to_string();
    for (arguments, said, heard) in [
        (
            vec!["-f", &manifests, "--workers", "none"],
            "invalid value 'none'",
            false,
        ),
        (vec!["-f", &missing], "serves on", true),
        (
            vec!["-f", &manifests, "--listen", &taken],
            "another program listens",
            true,
        ),
    ] {
        let mut all = vec!["up", "--takeover", "--state-dir", &state];
        all.extend(arguments);
        let ended = breakwater::run(all).await?;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
        if heard {
            let serves_on = format!("breakwater: no takeover; process {} serves on", up.process.id());
            assert!(ended.stderr.contains(&serves_on), "{ended:?}");
        }
    }
    let heard = "breakwater: a takeover came to nothing: the other process ended first; serving on";
    wait::until("both failures to be said", DEADLINE, async || {
        let said = up.process.output().map_err(|error| error.to_string())?;
        match said.matches(heard).count() {
            2 => Ok(()),
            _ => Err(said),
        }
    })
    .await?;
    echo(&mut socket).await?;
    let before = load.check()?;
    wait::until("more requests", DEADLINE, async || match load.check() {
        Ok(now) if now.requests < before.requests + 64 => Err(format!("{now:?}")),
        other => Ok(other),
    })
    .await??;
    load.stop().await?;
    up.process.check_running()?;
    // It can still be taken over.
    let mut next = start(&site, 1, &["--takeover"], None).await?;
    assert_eq!(up.process.wait_end(DEADLINE * 2).await?.code(), Some(0));
    closed_in_order(&mut socket).await?;
    assert_eq!(next.get("site.test", "/passed", "").await?.status, 200);
    assert_eq!(next.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn without_a_process_to_take_over_it_says_so() -> Result<()> {
    let site = site().await?;
    let (manifests, state) = (site.manifests(), site.path("state"));
    let up = [
        "up".as_ref(),
        "--takeover".as_ref(),
        "-f".as_ref(),
        manifests.as_os_str(),
    ];
    let ended = breakwater::run(up).await?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("--state-dir"), "{ended:?}");
    let ended = breakwater::run(up.into_iter().chain(["--state-dir".as_ref(), state.as_os_str()])).await?;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("no process to take over") && ended.stderr.contains("start without --takeover"),
        "{ended:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_two_processes_under_load_fails_no_request() -> Result<()> {
    let _alone = ALONE.lock().await;
    let sites = [site().await?, site().await?];
    let more = ["--workers", "2", "--drain-delay", "2"];
    let mut ups = [
        start(&sites[0], 0, &more, None).await?,
        start(&sites[1], 0, &more, None).await?,
    ];
    let ready = Ready::new(&[ups[0].front, ups[1].front]);
    let mut load = Load::new();
    load.balanced(CONNECTIONS, &ready, &targets(), PACE).await?;

    for round in 0..2 {
        for index in 0..2 {
            let before = load.check()?;
            let (leaving, staying) = (ups[index].admin, ups[1 - index].front);
            ups[index].process.signal(Signal::TERM)?;
            // What a load balancer does: asks, and sends no new connection where the answer is not 200.
            wait::until("it to be not ready", DEADLINE, async || {
                match readiness(leaving).await {
                    Ok(503) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await?;
            ready.set(&[staying]);
            let status = ups[index].process.wait_end(DEADLINE * 2).await?;
            assert_eq!(status.code(), Some(0), "{}", ups[index].process.output()?);
            let after = checked(&mut load, &[&ups[index], &ups[1 - index]])?;
            assert!(
                after.reconnected > before.reconnected && after.requests > before.requests,
                "{after:?}"
            );
            ups[index] = start(&sites[index], round + 1, &more, None).await?;
            ready.set(&[ups[0].front, ups[1].front]);
        }
    }
    let done = load.stop().await?;
    eprintln!("a rolling restart of two processes, twice: {done:?}, 0 failed");
    Ok(())
}

/// A site with a route that is stored, one that is not, and a WebSocket.
async fn site() -> Result<Site> {
    let origin = takeover::origin().await?;
    let echo = origin::start_echo().await?;
    Site::new(&[(
        "site.yaml",
        &format!(
            "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: site}}
spec:
  hostnames: [site.test]
  origin: {{urls: [\"http://{origin}\"]}}
---
apiVersion: breakwater.dev/v1alpha1
kind: WsRoute
metadata: {{name: chat}}
spec:
  hostnames: [site.test]
  paths: [{{type: Exact, value: /ws}}]
  backend: {{urls: [\"http://{echo}\"]}}
  drain: {{spread: 1s}}
"
        ),
    )])
}

/// What the load has done; on a failure, with what these processes have said.
fn checked(load: &mut Load, ups: &[&Up]) -> Result<Done> {
    load.check().or_else(|failed| {
        let said: Result<Vec<_>> = ups.iter().map(|up| up.process.output()).collect();
        Err(Error::Invalid(format!("{failed}; said:\n{}", said?.join("\n"))))
    })
}

async fn readiness(admin: SocketAddr) -> Result<u16> {
    Ok(http::get(admin, "localhost", "/readyz", "").await?.status)
}

type WebSocket = testing::Connection<tokio::net::TcpStream>;

async fn echo(socket: &mut WebSocket) -> Result<()> {
    socket.send_text("still here").await.map_err(socket_failed)?;
    match socket.next().await.map_err(socket_failed)? {
        Message::Text(text) if text == "still here" => Ok(()),
        other => Err(Error::Invalid(format!("{other:?} for an echo"))),
    }
}

/// The WebSocket ends by its process's drain, not by an end of the process.
async fn closed_in_order(socket: &mut WebSocket) -> Result<()> {
    match socket.next().await.map_err(socket_failed)? {
        Message::Close(Some(1001), _) => Ok(()),
        other => Err(Error::Invalid(format!("{other:?} for a drain"))),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn socket_failed(error: testing::Error) -> Error {
    Error::Invalid(format!("the WebSocket: {error}"))
}
