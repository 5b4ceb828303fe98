//! What the rule engine costs with the Core Rule Set: CPU time for each kind of transaction, time to compile, memory.
//!
//! `cargo run --release -p breakwater-waf --example crs_speed [KIND [TRANSACTIONS [ONE]]]`; `BREAKWATER_CRS` names the
//! rule set's directory. With a kind only that one runs, so that a profiler sees nothing else; with a number besides, only
//! that request of the kind.
//!
//! Kinds: `get`, `form`, `long`; `mix` and `twins`, the attacks of `make bench-waf` and their harmless twins, found and
//! let through; `refused`, the same attacks refused; `random`, a thousand arguments of random bytes; `tests`, all requests
//! of the rule set's own tests.

#![allow(clippy::unwrap_used, reason = "a tool for whoever works on the engine")]

use std::sync::Arc;
use std::time::Instant;

use breakwater_waf::engine::{Bound, Connection, Overlay, Transaction};

#[path = "../tests/crs/rules.rs"]
#[allow(dead_code, reason = "shared with a test")]
mod rules;

#[path = "../../../bench/src/waf/requests.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the bench")]
mod requests;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let only = arguments.next();
    let count = arguments.next().and_then(|count| count.parse().ok());
    let one: Option<usize> = arguments.next().and_then(|one| one.parse().ok());
    let level = std::env::var("PARANOIA").unwrap_or_else(|_| "1".to_owned());

    let crs = rules::directory();
    let (before, from) = (memory(), cpu());
    let compiled = rules::load(&crs);
    println!(
        "compile: {:.1} ms of CPU, {} KiB, {} rules",
        (cpu() - from) / 1e6,
        memory() - before,
        compiled.rules()
    );
    let compiled = Arc::new(compiled);
    let overlay = Overlay {
        variables: vec![
            ("blocking_paranoia_level".to_owned(), level.clone()),
            ("detection_paranoia_level".to_owned(), level),
        ],
        ..Overlay::default()
    };
    let before = memory();
    let bounds: Vec<Bound> = (0..100).map(|_| Bound::new(&compiled, &overlay)).collect();
    println!(
        "one more policy: {:.1} KiB",
        (memory() - before) as f64 / bounds.len() as f64
    );
    let bound = Arc::new(bounds.into_iter().next().unwrap());

    let (attacks, twins) = requests::attacks();
    let parse = |requests: &[requests::Request]| -> Vec<Request> {
        let bytes = requests.iter().map(|request| request.bytes("finds.bench.example"));
        bytes.filter_map(|bytes| Request::parse(&bytes)).collect()
    };
    let kinds: Vec<(&str, Vec<Request>, bool)> = vec![
        ("get", vec![get()], false),
        ("form", vec![form()], false),
        ("long", vec![long()], false),
        ("mix", parse(&attacks), true),
        ("twins", parse(&twins), true),
        ("refused", parse(&attacks), false),
        ("random", vec![random()], true),
        ("tests", tests(&crs), false),
    ];
    for (name, mut requests, only_detects) in kinds {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        if let Some(one) = one.filter(|one| *one < requests.len()) {
            requests = vec![requests.swap_remove(one)];
        }
        let count: usize = count.unwrap_or(if matches!(name, "long" | "random") { 300 } else { 6000 });
        let bytes: usize = requests.iter().map(Request::len).sum();
        let mut blocked = 0;
        for request in &requests {
            blocked += usize::from(request.run(&bound, only_detects));
        }
        let mut best = f64::MAX;
        let rounds = 3;
        for _ in 0..rounds {
            let (from, wall) = (cpu(), Instant::now());
            for index in 0..count / rounds {
                requests[index % requests.len()].run(&bound, only_detects);
            }
            let spent = if cpu() > from {
                cpu() - from
            } else {
                wall.elapsed().as_nanos() as f64
            };
            best = best.min(spent / 1e3 / (count / rounds) as f64);
        }
        let mean = bytes as f64 / requests.len() as f64;
        println!(
            "{name}: {best:.1} us per transaction of {mean:.0} bytes ({:.1} ns per byte), {blocked} of {} refused",
            best * 1e3 / mean,
            requests.len()
        );
    }
    println!("resident: {} KiB", memory());
}

struct Request {
    method: Vec<u8>,
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        Self {
            method: method.into(),
            target: target.into(),
            headers,
            body,
        }
    }

    /// From its bytes on the wire; none without a request line of three parts.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = head_end.unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(bytes.get(..end)?);
        let mut lines = head.split("\r\n");
        let mut line = lines.next()?.splitn(3, ' ');
        let (method, target, _) = (line.next()?, line.next()?, line.next()?);
        let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
        let body = bytes.get(end + 4..).unwrap_or_default().to_vec();
        Some(Self::new(method, target, &headers, body))
    }

    fn len(&self) -> usize {
        let fields: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 4)
            .sum();
        self.method.len() + self.target.len() + fields + self.body.len()
    }

    /// Sends it through all phases; whether it was refused.
    // A profiler finds it by its name.
    #[inline(never)]
    fn run(&self, bound: &Arc<Bound>, only_detects: bool) -> bool {
        let address = std::net::IpAddr::from([203, 0, 113, 9]);
        let connection = Connection {
            client: address,
            client_port: 40000,
            server: address,
            server_port: 80,
            unique_id: "0123456789abcdef",
            now_ms: 1_764_000_000_000,
        };
        let mut transaction = Transaction::bound(bound, &connection, only_detects);
        transaction.request_line(&self.method, &self.target, b"HTTP/1.1");
        for (name, value) in &self.headers {
            transaction.request_header(name, value);
        }
        let mut refused = transaction.run_request_headers().is_some();
        refused |= !refused && transaction.run_request_body(&self.body, false).is_some();
        if !refused {
            let fields: [(&[u8], &[u8]); 1] = [(b"Content-Type", b"text/html")];
            refused |= transaction.run_response_headers(200, &mut fields.into_iter()).is_some();
            refused |= transaction
                .run_response_body(b"<html><body>hello</body></html>", false)
                .is_some();
        }
        let report = transaction.finish();
        std::hint::black_box(report);
        refused
    }
}

const BROWSER: [(&str, &str); 6] = [
    ("Host", "shop.example.com"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Cookie", "session=4f1c9a77be20d1e0; theme=dark"),
];

fn get() -> Request {
    let mut headers = BROWSER.to_vec();
    headers.push(("Referer", "https://shop.example.com/index.html"));
    Request::new(
        "GET",
        "/catalog/list?category=shoes&page=2&sort=price",
        &headers,
        Vec::new(),
    )
}

fn form() -> Request {
    let body = "firstname=Maria&lastname=Schneider&email=maria.schneider%40example.com&street=Hauptstrasse+12&city=Hamburg\
                &zip=20095&country=DE&comment=Please+leave+the+parcel+with+the+neighbour&submit=order";
    let mut headers = BROWSER.to_vec();
    let length = body.len().to_string();
    headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    headers.push(("Content-Length", &length));
    Request::new("POST", "/checkout/address", &headers, body.as_bytes().to_vec())
}

fn long() -> Request {
    let words =
        "the quick brown fox jumps over the lazy dog and then walks home to rest a while before dinner is served ";
    let text = words.repeat(63 * 1024 / words.len() + 1).replace(' ', "+");
    let body = format!("text={}", &text[..63 * 1024]).into_bytes();
    let mut headers = BROWSER.to_vec();
    let length = body.len().to_string();
    headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    headers.push(("Content-Length", &length));
    Request::new("POST", "/notes", &headers, body)
}

/// A form of a thousand arguments of forty random bytes each.
fn random() -> Request {
    let mut seed = 1_u32;
    let mut body = String::new();
    for argument in 0..1000 {
        body += &format!("a{argument}=");
        for _ in 0..40 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            body += &format!("%{:02x}", seed >> 24);
        }
        body.push('&');
    }
    let mut headers = BROWSER.to_vec();
    let length = body.len().to_string();
    headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    headers.push(("Content-Length", &length));
    Request::new("POST", "/notes", &headers, body.into_bytes())
}

/// All requests of the regression tests that a front would let through.
fn tests(crs: &std::path::Path) -> Vec<Request> {
    let mut tests = Vec::new();
    breakwater_ftw::collect(&crs.join("tests"), &mut tests).unwrap();
    let stages = tests.iter().flat_map(|test| &test.stages);
    let mut out: Vec<Request> = stages
        .filter_map(|stage| Request::parse(&stage.input.bytes().unwrap()))
        .collect();
    // In no order that helps a cache.
    let len = out.len();
    for index in 0..len {
        out.swap(index, index * 7919 % len);
    }
    out
}

/// This process's CPU time, in nanoseconds.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Resident memory, in KiB.
fn memory() -> i64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("");
    line.split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}
