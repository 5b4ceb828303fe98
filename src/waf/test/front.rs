//! The data plane of the tests: one EdgeCache that stores nothing, and a policy with the Core Rule Set that reports.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use breakwater_compile::compile;
use breakwater_dataplane::{DataPlane, LogOptions, LogTarget, Options};
use breakwater_ftw::Logged;
use serde_json::Value;

use super::backend;
use crate::exit::Failure;
use crate::manifests;

/// Longest wait for an answer, and for the audit log.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the Core Rule Set's own runs set. The last rule marks what is sent to learn how far the audit log is.
const MANIFESTS: &str = r#"
apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {name: tests}
spec:
  hostnames: ["*"]
  origin: {urls: ["http://BACKEND"]}
  cache: {rules: [{bypass: true}]}
---
apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {name: tests}
spec:
  targetRefs: [{group: breakwater.dev, kind: EdgeCache, name: tests}]
  mode: DetectOnly
  crs: {paranoiaLevel: 4}
  seclang:
    inline: |
      SecAction "id:1,phase:1,pass,nolog,setvar:tx.max_num_args=255,setvar:tx.arg_length=400,setvar:tx.total_arg_length=6400,setvar:tx.max_file_size=64100,setvar:tx.combined_file_sizes=65535,setvar:tx.crs_validate_utf8_encoding=1"
      SecRule REQUEST_HEADERS:X-Breakwater-Mark "@rx ." "id:2,phase:1,pass,log,msg:'mark',logdata:'%{MATCHED_VAR}'"
  body: {inspect: 16Mi, response: {inspect: 1Mi}}
  audit: {redact: {arguments: [], headers: []}}
"#;

/// A running data plane with its audit log.
pub(super) struct Front {
    data: DataPlane,
    dir: PathBuf,
    marks: usize,
    runtime: tokio::runtime::Runtime,
}

/// What was sent, and what came.
pub(super) struct Seen {
    pub(super) request: Vec<u8>,
    /// None: no answer that is one.
    pub(super) status: Option<u16>,
    pub(super) request_id: Option<String>,
}

impl Front {
    /// Starts it on a port of its own.
    pub(super) fn start(crs: &Path) -> Result<Self, Failure> {
        let failed = |what: &str, error: String| Failure::environment(format!("{what}: {error}"), "");
        let dir = std::env::temp_dir().join(format!("breakwater-waf-test-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| failed("there is no place for logs", error.to_string()))?;
        let backend = backend::start().map_err(|error| failed("the backend does not start", error.to_string()))?;
        let file = dir.join("tests.yaml");
        std::fs::write(&file, MANIFESTS.replace("BACKEND", &backend.to_string()))
            .map_err(|error| failed("there is no place for manifests", error.to_string()))?;
        let loaded = manifests::load(&file).map_err(|error| failed("the manifests", error.to_string()))?;
        let runtime = crate::stop::runtime()?;
        let options = Options {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
            workers: 1,
            audit_log: LogOptions::new(vec![LogTarget::File(dir.join("audit.log"))]),
            crs_dir: Some(crs.to_owned()),
            ..Options::default()
        };
        let within = runtime.enter();
        let data =
            DataPlane::start(&options).map_err(|error| failed("the data plane does not start", error.to_string()))?;
        let applied = runtime.block_on(data.apply(&compile(&loaded.world()).snapshot));
        if let Some(rejection) = applied.rejected.first() {
            return Err(failed("the rules are rejected", rejection.message.clone()));
        }
        drop(within);
        Ok(Self {
            data,
            dir,
            marks: 0,
            runtime,
        })
    }

    /// Sends a request on a connection of its own.
    pub(super) fn send(&self, request: Vec<u8>) -> Seen {
        let answer = self.exchange(&request);
        Seen {
            status: answer.as_deref().and_then(status),
            request_id: answer.as_deref().and_then(|answer| field(answer, "x-request-id")),
            request,
        }
    }

    fn exchange(&self, request: &[u8]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(self.data.addresses().first()?).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        // It may be refused and closed before it is sent.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while !is_whole(&answer) {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            }
        }
        (!answer.is_empty()).then_some(answer)
    }

    /// What rules said of all that was sent so far, by request id.
    pub(super) fn said(&mut self) -> Result<HashMap<String, Vec<Logged>>, Failure> {
        self.marks += 1;
        let mark = format!("mark-{}", self.marks);
        let request =
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Breakwater-Mark: {mark}\r\nConnection: close\r\n\r\n");
        self.exchange(request.as_bytes());
        let until = Instant::now() + PATIENCE;
        loop {
            let text = std::fs::read_to_string(self.dir.join("audit.log")).unwrap_or_default();
            if text.ends_with('\n') && text.contains(&format!("\"{mark}\"")) {
                return Ok(read(&text));
            }
            if Instant::now() > until {
                return Err(Failure::environment("the audit log does not come", ""));
            }
            let wait = async { tokio::time::sleep(Duration::from_millis(5)).await };
            self.runtime.block_on(wait);
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn read(text: &str) -> HashMap<String, Vec<Logged>> {
    let mut said: HashMap<String, Vec<Logged>> = HashMap::new();
    for line in text.lines() {
        let Ok(mut line) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let matches = line.get_mut("rules").map(Value::take).unwrap_or_default();
        let matches: Vec<Logged> = serde_json::from_value(matches).unwrap_or_default();
        if let Some(id) = line.get("request_id").and_then(Value::as_str) {
            said.entry(id.to_owned()).or_default().extend(matches);
        }
    }
    said
}

fn head(answer: &[u8]) -> Option<(&str, &[u8])> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    Some((head, answer.get(end + 4..)?))
}

fn status(answer: &[u8]) -> Option<u16> {
    let head = String::from_utf8_lossy(answer);
    head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

fn field(answer: &[u8], name: &str) -> Option<String> {
    let (head, _) = head(answer)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(value.trim().to_owned())
}

/// Whether nothing more comes of it: interim answers are not the end.
fn is_whole(answer: &[u8]) -> bool {
    let Some((_, body)) = head(answer) else { return false };
    if status(answer).is_some_and(|status| status < 200) {
        return is_whole(body);
    }
    match field(answer, "content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => field(answer, "transfer-encoding").is_some() && body.ends_with(b"0\r\n\r\n"),
    }
}
