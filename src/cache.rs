//! `breakwater cache`: what a node has stored.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::check::{self, Format};
use crate::exit::{self, Failure};
use crate::node::{self, Answer};

/// What to look at.
#[derive(Args, Debug)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Say what a node has stored for a URL: what the key is made of, each variant in memory and on the disk, its age, what purges say, and what is being fetched
    ///
    /// Looking counts as no use of what is stored. Exit codes: 0 the URL is one of an EdgeCache, stored or not; 1 no
    /// EdgeCache serves it, or it is malformed; 2 the node cannot be asked.
    Inspect(InspectArgs),
    /// Say how much a node has stored, and the hit ratios of its EdgeCaches since it started
    Stats(StatsArgs),
}

#[derive(Args, Debug)]
struct InspectArgs {
    /// Absolute URL, such as `https://shop.example.com/cart?id=1`
    #[arg(value_name = "URL")]
    url: String,
    /// Request header field, which may be part of the key or select a variant; may be given several times
    #[arg(short = 'H', long = "header", value_name = "K: V")]
    headers: Vec<String>,
    /// Admin port of the node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    admin: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Args, Debug)]
struct StatsArgs {
    /// Only this EdgeCache
    #[arg(long, value_name = "NAMESPACE/NAME")]
    edge_cache: Option<String>,
    /// Admin port of the node
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    admin: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

pub(crate) fn run(args: &CacheArgs) -> Result<ExitCode, Failure> {
    let (admin, path, output, text): (_, _, _, fn(&Value) -> String) = match &args.command {
        Command::Inspect(args) => {
            let mut path = format!("/v1/cache/inspect?url={}", node::encoded(&args.url));
            for header in &args.headers {
                path.push_str("&header=");
                path.push_str(&node::encoded(header));
            }
            (&args.admin, path, args.output, inspected)
        }
        Command::Stats(args) => {
            let only = args.edge_cache.as_deref().map(node::encoded);
            let query = only.map_or_else(String::new, |name| format!("?edgeCache={name}"));
            (&args.admin, format!("/v1/cache{query}"), args.output, stats)
        }
    };
    match node::ask(admin, reqwest::Method::GET, &path, None)? {
        Answer::Refused(message) => {
            exit::complain(format!("error: {message}"));
            Ok(ExitCode::from(exit::INPUT))
        }
        Answer::Good(answer) => {
            exit::print(&match output {
                Format::Json => check::to_json(&answer)?,
                Format::Text => text(&answer),
            })?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn inspected(answer: &Value) -> String {
    let mut out = String::new();
    let key = &answer["key"];
    line(&mut out, "edge cache", &word(&answer["edgeCache"]));
    if answer["bypass"] == true {
        line(&mut out, "bypass", "a rule or the request takes it past the cache");
    }
    let query = key["query"]
        .as_str()
        .map_or_else(String::new, |query| format!("?{query}"));
    let url = format!(
        "{}://{}:{}{}{query}",
        word(&key["scheme"]),
        word(&key["host"]),
        key["port"],
        word(&key["path"])
    );
    line(&mut out, "key", &url);
    if let Some(class) = key["device"].as_str() {
        line(&mut out, "", &format!("device: {class}"));
    }
    for (kind, parts) in [("header", &key["headers"]), ("cookie", &key["cookies"])] {
        for (name, value) in parts.as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .map_or_else(|| "absent".to_owned(), |value| format!("{value:?}"));
            line(&mut out, "", &format!("{kind} {name}: {value}"));
        }
    }
    let variants = answer["variants"].as_array().map(Vec::as_slice).unwrap_or_default();
    if variants.is_empty() {
        line(&mut out, "stored", "nothing");
    }
    for variant in variants {
        let chosen = if variant["selected"] == true {
            "this request's"
        } else {
            "another's"
        };
        let head = format!(
            "{}, status {}, {}, age {} s, ttl {} s, {} bytes, {}",
            word(&variant["tier"]),
            variant["status"],
            word(&variant["state"]),
            variant["age"],
            variant["ttl"],
            variant["bytes"],
            chosen
        );
        line(&mut out, "stored", &head);
        let segment = &variant["segment"];
        if segment["number"].is_u64() {
            let sealed = if segment["sealed"] == true {
                "sealed"
            } else {
                "being written"
            };
            line(&mut out, "", &format!("segment {}, {sealed}", segment["number"]));
        } else if variant["onDisk"] == "waiting" {
            line(&mut out, "", "waits to be written to the disk");
        } else if variant["content"] == "disk" {
            line(&mut out, "", "its content is on the disk");
        } else if variant["onDisk"] == "yes" {
            line(&mut out, "", "on the disk too");
        }
        if variant["purged"] != "no" {
            line(&mut out, "", &format!("purged: {}", word(&variant["purged"])));
        }
        for name in ["contentType", "contentEncoding", "etag", "lastModified"] {
            if let Some(value) = variant[name].as_str() {
                line(&mut out, "", &format!("{name}: {value}"));
            }
        }
        for name in ["vary", "tags"] {
            let list: Vec<_> = variant[name].as_array().into_iter().flatten().map(word).collect();
            if !list.is_empty() {
                line(&mut out, "", &format!("{name}: {}", list.join(", ")));
            }
        }
    }
    let fetch = &answer["fetch"];
    if fetch.is_object() {
        let of = fetch["length"]
            .as_u64()
            .map_or_else(String::new, |length| format!(" of {length}"));
        let disk = fetch["onDisk"]
            .as_u64()
            .map_or_else(String::new, |bytes| format!(", {bytes} of them on the disk"));
        let text = format!("{}{of} bytes came{disk}, {} read it", fetch["bytes"], fetch["readers"]);
        line(&mut out, "fetch", &text);
    }
    out
}

fn stats(answer: &Value) -> String {
    let mut out = String::new();
    let array = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    for tier in array(&answer["tiers"]) {
        let held = format!(
            "{} of {} bytes, {} objects, {} evicted",
            tier["bytes"], tier["limit"], tier["objects"], tier["evictions"]
        );
        line(&mut out, &word(&tier["tier"]), &held);
    }
    let fills = &answer["fills"];
    line(
        &mut out,
        "fetches",
        &format!("{} under way, {} bytes", fills["running"], fills["bytes"]),
    );
    line(&mut out, "purges", &format!("{} marks", answer["purgeMarks"]));
    let percent = |value: &Value| {
        value
            .as_f64()
            .map_or_else(|| "none yet".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
    };
    for site in array(&answer["edgeCaches"]) {
        line(&mut out, "edge cache", &word(&site["edgeCache"]));
        let hits = format!(
            "hits {}, by bytes {}",
            percent(&site["hitRatio"]),
            percent(&site["byteHitRatio"])
        );
        line(&mut out, "", &hits);
        let origin = format!(
            "origin {} requests, {} failed, {} bytes; {} requests waited for another's fetch",
            site["originRequests"], site["originFailures"], site["originBytes"], site["collapsed"]
        );
        line(&mut out, "", &origin);
        for (reason, n) in site["notStored"].as_object().into_iter().flatten() {
            line(&mut out, "", &format!("not stored, {reason}: {n}"));
        }
    }
    if answer["truncated"] == true {
        line(&mut out, "", "there are more: name one with --edge-cache");
    }
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    // What an origin sent cannot move the cursor.
    let clean: String = value
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    let _ = writeln!(out, "{name:<12}{clean}");
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
