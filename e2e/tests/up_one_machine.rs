//! One machine, without a cluster: what README.md's section of that name shows, and the logs it speaks of.

use std::{collections::BTreeSet, path::Path, process::Command};

use breakwater_e2e::{
    Error, Result,
    breakwater::{self, DEADLINE, Site, Up},
    http::Connection,
    origin::{self, Reply},
    wait,
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{io::AsyncReadExt, net::unix::pipe};

#[tokio::test]
async fn the_readme_s_manifests_pass_the_readme_s_commands() -> Result<()> {
    let readme = std::fs::read_to_string(breakwater::root().join("README.md")).expect("there is a README");
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with("One machine"))
        .ok_or_else(|| Error::Invalid("README.md has no section `One machine`".to_owned()))?;
    let (manifests, commands) = (fenced(section, "yaml"), fenced(section, "sh"));
    let place = Site::new(&[])?;
    let site = place.path("site");
    std::fs::create_dir(&site)
        .and_then(|()| std::fs::write(site.join("site.yaml"), &manifests))
        .expect("it is ours");
    let command = |name: &str| {
        let line = commands
            .lines()
            .find(|line| line.starts_with(&format!("breakwater {name} ")));
        let line = line.ok_or_else(|| Error::Invalid(format!("the section has no `breakwater {name}`")))?;
        let words = line.split('#').next().unwrap_or_default().split_whitespace().skip(1);
        // The addresses of the test take the place of the README's.
        let words = words.map(|word| word.replace("0.0.0.0:8080", "127.0.0.1:0"));
        let mut command = Command::new(breakwater::binary()?);
        command
            .args(words)
            .current_dir(site.parent().unwrap_or_else(|| Path::new("/")));
        Result::Ok(command)
    };

    let checked = breakwater_e2e::command::run(command("check")?).await?;
    assert!(checked.contains("nothing to report"), "{checked}");
    let explained = breakwater_e2e::command::run(command("explain")?).await?;
    for part in [
        "EdgeCache/default/shop",
        "WafPolicy/default/shop",
        "/static/app.js",
        "3600000 ms",
    ] {
        assert!(explained.contains(part), "{part} is not in\n{explained}");
    }
    let mut up = Up::start(command("up")?, &place.path("breakwater.log")).await?;
    assert_eq!(up.get("shop.example.com", "/admin/users", "").await?.status, 403);
    assert_eq!(up.get("elsewhere.example.com", "/", "").await?.status, 404);
    assert_eq!(up.stop().await?.code(), Some(0));
    let audit = std::fs::read_to_string(place.path("audit.log")).expect("it is where the flag says");
    assert_eq!(json(&audit)?["uri"], "/admin/users");
    assert!(
        place.path("state/manifest").exists(),
        "the state is where the flag says"
    );
    Ok(())
}

#[tokio::test]
async fn every_example_and_every_manifest_of_the_documentation_passes_check() -> Result<()> {
    let root = breakwater::root();
    let mut places = vec![root.join("examples/demo"), root.join("examples/kubernetes")];
    // A page is read by itself: two may use one name.
    let mut documented = Vec::new();
    let mut files = 0;
    for page in std::fs::read_dir(root.join("docs")).expect("there are pages") {
        let page = page.expect("it can be read").path();
        let text = std::fs::read_to_string(&page).expect("it is text");
        let blocks = blocks(&text, "yaml").filter(|block| block.contains("kind: "));
        let site = Site::new(&[])?;
        for (number, block) in blocks.enumerate() {
            let name = page.file_stem().unwrap_or_default().to_string_lossy();
            site.write(&format!("{name}-{number}.yaml"), block)?;
            files += 1;
        }
        places.push(site.manifests());
        documented.push(site);
    }
    assert!(files >= 4, "one of each kind at least, not {files}");
    for place in places {
        let ended = breakwater::run(["check".as_ref(), "-f".as_ref(), place.as_os_str()]).await?;
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", place.display());
    }
    Ok(())
}

#[tokio::test]
async fn lines_that_wait_for_a_slow_log_are_written_before_it_leaves() -> Result<()> {
    const REFUSALS: usize = 600;
    let site = logged_site().await?;
    let audit = site.path("audit.fifo");
    breakwater_e2e::command::run({
        let mut command = Command::new("mkfifo");
        command.arg(&audit);
        command
    })
    .await?;
    let mut reader = pipe::OpenOptions::new().open_receiver(&audit).expect("it is there");
    let mut up = site.up(["--audit-log".as_ref(), audit.as_os_str()]).await?;
    // More than the pipe holds, and nobody reads it: the writer waits, the requests do not.
    let mut connection = Connection::open(up.front).await?;
    for _ in 0..REFUSALS {
        assert_eq!(connection.get("site.test", "/admin", "").await?.status, 403);
    }
    drop(connection);
    up.process.signal(Signal::TERM)?;
    wait::until("the workers to be done", DEADLINE, async || {
        match workers(up.process.id()) {
            0 => Ok(()),
            working => Err(format!("{working} work")),
        }
    })
    .await?;
    let mut text = String::new();
    let read = tokio::time::timeout(DEADLINE, reader.read_to_string(&mut text)).await;
    read.expect("it ends with the process").expect("it is text");
    assert_eq!(text.lines().map(json).collect::<Result<Vec<_>>>()?.len(), REFUSALS);
    assert_eq!(up.process.wait_end(DEADLINE).await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn access_and_audit_lines_are_in_their_files_with_the_fields_they_are_documented_with() -> Result<()> {
    let site = logged_site().await?;
    let (access, audit) = (site.path("access.log"), site.path("audit.log"));
    let mut up = site
        .up([
            "--access-log".as_ref(),
            access.as_os_str(),
            "--audit-log".as_ref(),
            audit.as_os_str(),
        ])
        .await?;
    assert_eq!(up.get("site.test", "/page?a=1", "").await?.status, 200);
    // Nothing is lost of what was answered before it is told to leave.
    let refused = up.get("site.test", "/admin", "").await?;
    assert_eq!(refused.status, 403);
    assert_eq!(up.stop().await?.code(), Some(0));

    let text = std::fs::read_to_string(&access).expect("the access log is there");
    let lines = text.lines().map(json).collect::<Result<Vec<_>>>()?;
    assert_eq!(lines.len(), 2, "{text}");
    let fields = "time request_id client method host uri status bytes duration_ms resource cache upstream waf protocol aborted error";
    assert_eq!(keys(&lines[0]), fields.split(' ').collect());
    let first = ["method", "host", "uri", "client", "resource", "cache"].map(|key| lines[0][key].as_str());
    let expected = [
        "GET",
        "site.test",
        "/page?a=1",
        "127.0.0.1",
        "EdgeCache/default/site",
        "miss",
    ];
    assert_eq!(first, expected.map(Some));
    assert_eq!((&lines[0]["status"], &lines[1]["status"]), (&200.into(), &403.into()));
    assert_eq!(lines[1]["waf"], "block");

    let text = std::fs::read_to_string(&audit).expect("the audit log is there");
    let line = json(&text)?;
    assert_eq!(line["request_id"], refused.header("x-request-id"), "{text}");
    assert_eq!(lines[1]["request_id"], line["request_id"], "one request, two logs");
    let fields = "time request_id client method host uri resource policy mode action reason status score rules detail";
    assert_eq!(keys(&line), fields.split(' ').collect());
    assert_eq!(keys(&line["score"]), BTreeSet::from(["inbound", "outbound"]));

    // The same policy does the same to them again.
    for (log, passed) in [(&access, 1), (&audit, 0)] {
        let mut replay = Command::new(breakwater::binary()?);
        replay.args(["waf", "replay", "-o", "json", "--fail-on-new-blocks", "-f"]);
        replay.arg(site.manifests()).arg(log);
        let report = json(&breakwater_e2e::command::run(replay).await?)?;
        assert_eq!(
            (&report["stillBlocked"], &report["passed"]),
            (&1.into(), &passed.into()),
            "{report}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_log_goes_to_several_places_and_a_file_that_was_moved_away_is_made_again_on_sighup() -> Result<()> {
    let site = logged_site().await?;
    let (audit, moved) = (site.path("audit.log"), site.path("audit.log.old"));
    let to_file = audit.display().to_string();
    let mut up = site.up(["--audit-log", "stdout", "--audit-log", &to_file]).await?;
    let refused = async |up: &Up| -> Result<String> {
        let refused = up.get("site.test", "/admin", "").await?;
        Ok(refused.header("x-request-id").to_owned())
    };
    let in_file = async |path: &Path, request_id: &str| {
        wait::until("the line in its file", DEADLINE, async || {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            match text.contains(request_id) && text.lines().count() == 1 {
                true => Ok(()),
                false => Err(text),
            }
        })
        .await
    };
    let first = refused(&up).await?;
    in_file(&audit, &first).await?;
    std::fs::rename(&audit, &moved).expect("it is ours");
    up.process.signal(Signal::HUP)?;
    wait::until("the file to be made again", DEADLINE, async || match audit.exists() {
        true => Ok(()),
        false => Err("it is not there".to_owned()),
    })
    .await?;
    let second = refused(&up).await?;
    in_file(&audit, &second).await?;
    in_file(&moved, &first).await?;
    for request_id in [first, second] {
        let line = up.process.wait_line(&request_id, DEADLINE).await?;
        assert_eq!(json(&line)?["request_id"], request_id.as_str());
    }
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

#[tokio::test]
async fn logs_on_a_full_disk_lose_lines_and_count_them_and_nothing_else_suffers() -> Result<()> {
    let site = logged_site().await?;
    let mut up = site
        .up(["--access-log", "/dev/full", "--audit-log", "/dev/full"])
        .await?;
    for _ in 0..20 {
        assert_eq!(up.get("site.test", "/page", "").await?.status, 200);
        assert_eq!(up.get("site.test", "/admin", "").await?.status, 403);
    }
    for (log, lines) in [("audit", 20.0), ("access", 40.0)] {
        let series = format!("breakwater_log_dropped_total{{log=\"{log}\"}}");
        up.wait_metric(&series, |dropped| dropped == lines).await?;
    }
    let said = up
        .process
        .wait_line("the log /dev/full cannot be written", DEADLINE)
        .await?;
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(up.get("site.test", "/page", "").await?.status, 200);
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

/// A site whose policy denies `/admin`.
async fn logged_site() -> Result<Site> {
    let origin = origin::start(|_, _| Reply::text("no-store", "hello")).await?;
    let manifests = format!(
        "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {{name: site}}
spec:
  hostnames: [site.test]
  origin: {{urls: [\"http://{origin}\"]}}
---
apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {{name: policy}}
spec:
  targetRefs: [{{kind: EdgeCache, name: site}}]
  uris: {{deny: [{{type: Prefix, value: /admin}}]}}
"
    );
    Site::new(&[("site.yaml", &manifests)])
}

/// How many worker threads a process has; none when it has ended.
fn workers(process: u32) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.starts_with("worker-")).count()
}

fn fenced(text: &str, language: &str) -> String {
    blocks(text, language).collect()
}

fn blocks<'a>(text: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let fence = format!("```{language}\n");
    let starts: Vec<_> = text.match_indices(&fence).map(|(at, _)| at + fence.len()).collect();
    starts
        .into_iter()
        .filter_map(|start| Some(text[start..].split_once("```")?.0))
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
