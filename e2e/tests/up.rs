//! What the README's first page says, done as it says it: `breakwater up --demo` and the lines of "Try it".
//!
//! The lines are taken from README.md when the test runs, so that page and program cannot drift apart. Only the ports
//! are replaced, for a machine where others are in use. The demonstration's own origin has fixed ports, so these tests
//! take turns by a lock on a file.

use std::{collections::BTreeSet, fs::File, process::Command, time::Duration};

use breakwater_e2e::{
    Error, Result,
    breakwater::{self, DEADLINE, Ended, Site, Up},
    command,
};
use breakwater_websocket::testing::{self, Message};
use rustix::process::Signal;
use serde_json::Value;

#[tokio::test]
async fn the_readme_s_lines_show_what_the_readme_says() -> Result<()> {
    let mut demo = Demo::start().await?;
    let readme = Readme::read()?;

    let miss = demo.line(&readme, "/page/one", 0).await?;
    assert_contains(&miss, "Cache-Status: breakwater; fwd=miss; stored");
    let hit = demo.line(&readme, "/page/one", 1).await?;
    assert_contains(&hit, "Cache-Status: breakwater; hit; ttl=");
    assert_contains(&hit, "Age: ");
    assert_eq!(last_line(&miss), last_line(&hit), "the origin was asked once");
    let slow = demo.line(&readme, "/slow", 0).await?;
    assert_eq!(
        slow,
        demo.line(&readme, "/slow", 0).await?,
        "the second comes from the cache"
    );

    let by_path = demo.line(&readme, "/admin", 0).await?;
    let by_address = demo.line(&readme, "X-Forwarded-For", 0).await?;
    for page in [&by_path, &by_address] {
        assert!(page.starts_with("HTTP/1.1 403 "), "{page}");
        let id = request_id(page);
        assert!(
            !id.is_empty() && page.matches(&id).count() == 2,
            "in head and page: {page}"
        );
    }
    let by_rate = demo.line(&readme, "/login", 0).await?;
    assert_eq!(
        by_rate.split_whitespace().collect::<Vec<_>>(),
        ["200", "200", "200", "200", "200", "429"]
    );

    let echo = demo.block(&readme, "python3").await?;
    assert_eq!(echo, "HTTP/1.1 101 Switching Protocols\nhello\n");

    let line = demo.audit_line(&request_id(&by_path)).await?;
    assert_eq!(
        (&line["reason"], &line["status"]),
        (&"uri".into(), &403.into()),
        "{line}"
    );
    let line = demo.audit_line(&request_id(&by_address)).await?;
    assert_eq!(
        (&line["reason"], &line["client"]),
        (&"address".into(), &"203.0.113.9".into())
    );
    assert_eq!(
        keys(&line),
        keys(&readme.audit_line()?),
        "the README shows the line's fields"
    );
    let text = demo.up.process.wait_line("\"reason\":\"limit\"", DEADLINE).await?;
    let line = json(&text)?;
    assert_eq!((&line["status"], &line["detail"]), (&429.into(), &"login".into()));

    // The WebSocket's client left without a close frame; the relay sees it in its own time.
    demo.up
        .wait_metric(
            "breakwater_websocket_connections{resource=\"WsRoute/default/chat\"}",
            |open| open == 0.0,
        )
        .await?;
    let counted = demo.line(&readme, "/metrics", 0).await?;
    let site = "resource=\"EdgeCache/default/site\"";
    let chat = "resource=\"WsRoute/default/chat\"";
    let policy = "policy=\"WafPolicy/default/policy\"";
    for series in [
        format!("breakwater_requests_total{{{site},code=\"200\"}} 9"),
        format!("breakwater_requests_total{{{site},code=\"403\"}} 2"),
        format!("breakwater_requests_total{{{site},code=\"429\"}} 1"),
        format!("breakwater_requests_total{{{chat},code=\"101\"}} 1"),
        format!("breakwater_cache_requests_total{{{site},result=\"miss\"}} 2"),
        format!("breakwater_cache_requests_total{{{site},result=\"hit\"}} 2"),
        format!("breakwater_cache_requests_total{{{site},result=\"bypass\"}} 5"),
        format!("breakwater_waf_events_total{{{policy},action=\"block\",reason=\"uri\"}} 1"),
        format!("breakwater_waf_events_total{{{policy},action=\"block\",reason=\"address\"}} 1"),
        format!("breakwater_waf_events_total{{{policy},action=\"block\",reason=\"limit\"}} 1"),
        format!("breakwater_limit_refusals_total{{{policy},limit=\"login\"}} 1"),
        format!("breakwater_websocket_opened_total{{{chat}}} 1"),
        format!("breakwater_websocket_messages_total{{{chat},direction=\"in\"}} 1"),
        format!("breakwater_websocket_messages_total{{{chat},direction=\"out\"}} 1"),
    ] {
        assert!(
            counted.lines().any(|line| line == series),
            "{series} is not in\n{counted}"
        );
    }
    let loaded = json(&demo.line(&readme, "/v1/snapshot", 0).await?)?;
    assert_eq!(loaded["objects"].as_array().map(Vec::len), Some(3), "{loaded}");
    demo.stop().await
}

#[tokio::test]
async fn an_edit_of_the_printed_manifests_is_in_force_and_a_drain_says_goodbye() -> Result<()> {
    let mut demo = Demo::start().await?;
    let said = demo.up.process.wait_line("Edit the manifests in ", DEADLINE).await?;
    let directory = said
        .split_whitespace()
        .nth(4)
        .ok_or_else(|| Error::Invalid(said.clone()))?
        .to_owned();
    assert_eq!(demo.up.get("localhost", "/private", "").await?.status, 200);
    let path = format!("{directory}/policy.yaml");
    let policy = std::fs::read_to_string(&path).expect("the demonstration wrote it");
    std::fs::write(&path, policy.replace("value: /admin", "value: /private")).expect("it is ours to edit");
    demo.up.wait_status("localhost", "/private", "", 403).await?;

    // What a browser does with the page: it opens the WebSocket with the page's origin and prints what comes back.
    let page = demo.up.get("localhost", "/", "").await?;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    for part in [
        "new WebSocket(`ws://${location.host}/ws`)",
        "log('echo: ' + event.data)",
    ] {
        assert!(page.body.contains(part), "{part} is not in\n{}", page.body);
    }
    let mut socket = testing::connect(demo.up.front, "localhost", "/ws", Some("http://localhost"), "")
        .await
        .expect("the echo answers");
    socket.send_text("still there?").await.expect("it is open");
    assert_eq!(
        socket.next().await.expect("it echoes"),
        Message::Text("still there?".to_owned())
    );
    demo.up.process.signal(Signal::TERM)?;
    let goodbye = tokio::time::timeout(DEADLINE, socket.next())
        .await
        .expect("the drain comes to it");
    assert!(matches!(goodbye, Ok(Message::Close(Some(1001), _))), "{goodbye:?}");
    socket.close(Some(1001), "").await.expect("it waits for the answer");
    let status = demo.up.process.wait_end(DEADLINE * 2).await?;
    assert_eq!(status.code(), Some(0), "{}", demo.up.process.output()?);
    assert!(!std::path::Path::new(&directory).exists(), "{directory} is left");
    Ok(())
}

#[tokio::test]
async fn a_second_demonstration_is_told_who_is_in_its_way() -> Result<()> {
    let demo = Demo::start().await?;
    let second = breakwater::run(["up", "--demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).await?;
    assert_eq!(second.code, Some(2), "{second:?}");
    assert_contains(
        &second.stderr,
        "error: the demonstration's origin cannot listen on 127.0.0.1:8081",
    );
    demo.stop().await
}

/// `breakwater up --demo`, alone on this machine.
struct Demo {
    up: Up,
    _site: Site,
    _turn: File,
}

impl Demo {
    async fn start() -> Result<Self> {
        let path = std::env::temp_dir().join("breakwater-demo-ports.lock");
        let turn = tokio::task::spawn_blocking(move || {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            file.lock().map(|()| file)
        });
        let turn = turn.await.expect("it does not panic").expect("a file can be locked");
        let site = Site::new(&[])?;
        let mut command = Command::new(breakwater::binary()?);
        command.args(["up", "--demo"]);
        let up = Up::start(command, &site.path("breakwater.log")).await?;
        Ok(Self {
            up,
            _site: site,
            _turn: turn,
        })
    }

    /// Runs the `index`th line of the README that contains `what`; its standard output.
    async fn line(&self, readme: &Readme, what: &str, index: usize) -> Result<String> {
        let mut lines = readme
            .blocks
            .iter()
            .flat_map(|block| block.lines())
            .filter(|line| line.contains(what));
        let line = lines
            .nth(index)
            .ok_or_else(|| Error::Invalid(format!("README.md has no line {index} with {what}")))?;
        self.run(line).await
    }

    /// Runs the block of the README that begins with `what`.
    async fn block(&self, readme: &Readme, what: &str) -> Result<String> {
        let block = readme
            .blocks
            .iter()
            .find(|block| block.starts_with(what))
            .ok_or_else(|| Error::Invalid(format!("README.md has no block that begins with {what}")))?;
        self.run(block).await
    }

    async fn run(&self, script: &str) -> Result<String> {
        let script = script
            .replace("8080", &self.up.front.port().to_string())
            .replace("9090", &self.up.admin.port().to_string());
        // Bash: `time` is one of its words, and not a program of every machine.
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]);
        let ended = Ended::from(command::output(bash, "", Duration::from_secs(60)).await?);
        assert_eq!(ended.code, Some(0), "{script}\n{ended:?}");
        Ok(ended.stdout.replace('\r', ""))
    }

    async fn audit_line(&mut self, request_id: &str) -> Result<Value> {
        let needle = format!("\"request_id\":\"{request_id}\"");
        json(&self.up.process.wait_line(&needle, DEADLINE).await?)
    }

    async fn stop(mut self) -> Result<()> {
        let status = self.up.stop().await?;
        assert_eq!(status.code(), Some(0), "{}", self.up.process.output()?);
        Ok(())
    }
}

/// The section "Try it" of README.md.
struct Readme {
    blocks: Vec<String>,
    section: String,
}

impl Readme {
    fn read() -> Result<Self> {
        let text = std::fs::read_to_string(breakwater::root().join("README.md")).expect("there is a README");
        let section = text
            .split("\n## ")
            .find(|section| section.starts_with("Try it"))
            .ok_or_else(|| Error::Invalid("README.md has no section `Try it`".to_owned()))?;
        let blocks = fenced(section, "sh");
        Ok(Self {
            blocks,
            section: section.to_owned(),
        })
    }

    fn audit_line(&self) -> Result<Value> {
        json(&fenced(&self.section, "json").concat())
    }
}

fn fenced(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = text.split(&fence).skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::Invalid(format!("{error}: {text}")))
}

fn keys(line: &Value) -> BTreeSet<&str> {
    line.as_object()
        .into_iter()
        .flat_map(|object| object.keys().map(String::as_str))
        .collect()
}

/// The request id in the head of a response.
fn request_id(response: &str) -> String {
    let mut lines = response.lines().map(str::to_ascii_lowercase);
    lines
        .find_map(|line| Some(line.strip_prefix("x-request-id: ")?.trim().to_owned()))
        .unwrap_or_default()
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().last()
}

fn assert_contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}
