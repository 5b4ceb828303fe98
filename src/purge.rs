//! `breakwater purge`: has nodes forget what they stored, or prints the CachePurge that has all nodes of a cluster do so.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use serde_json::{Map, Value, json};

use crate::check::{self, Format};
use crate::exit::{self, Failure};
use crate::node::{self, Answer};

/// What is forgotten, and where.
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("what").required(true).args(["urls", "prefixes", "tags", "everything"]),
    after_help = "Examples:\n  \
        breakwater purge --url https://shop.example.com/product/42\n  \
        breakwater purge --host shop.example.com --tag product-42 --soft\n  \
        breakwater purge --edge-cache default/shop --everything --dry-run | kubectl apply -f -\n\n\
        Exit codes: 0 done by every node asked, 1 a node refused (nothing serves the host, a URL is malformed), 2 a node \
        cannot be asked."
)]
pub(crate) struct PurgeArgs {
    /// Absolute URL: all variants of it, under every scheme and port; may be given several times
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// A path with all below it, by whole segments: shop.example.com/static, or /static on every host
    #[arg(long = "prefix", value_name = "HOST/PATH")]
    prefixes: Vec<String>,
    /// Every response that carries this tag
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Everything of the EdgeCache
    #[arg(long)]
    everything: bool,
    /// The EdgeCache whose responses are meant; `default` is the namespace where none is given
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "host")]
    edge_cache: Option<String>,
    /// Every EdgeCache that serves this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Make responses stale instead of forgetting them: the next request has them validated
    #[arg(long)]
    soft: bool,
    /// Admin port of a node; may be given several times. Each node purges for itself
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9090")]
    admin: Vec<String>,
    /// Ask no node: print the CachePurge for `kubectl apply -f -`, which reaches every node and proves it
    #[arg(long, requires = "edge_cache", conflicts_with_all = ["admin"])]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

pub(crate) fn run(args: &PurgeArgs) -> Result<ExitCode, Failure> {
    if args.dry_run {
        exit::print(&manifest(args)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut request = selector(args);
    if let Some(name) = &args.edge_cache {
        request.insert("edgeCache".to_owned(), name.as_str().into());
    }
    if let Some(host) = &args.host {
        request.insert("host".to_owned(), host.as_str().into());
    }
    let request = Value::Object(request);
    let (mut answers, mut refused, mut failed) = (Vec::new(), false, None);
    for admin in &args.admin {
        match node::ask(admin, reqwest::Method::POST, "/v1/purge", Some(&request)) {
            Ok(Answer::Good(answer)) => answers.push((admin, answer)),
            Ok(Answer::Refused(message)) => {
                refused = true;
                exit::complain(format!("error: {admin}: {message}"));
            }
            // The others are asked all the same: each forgets for itself.
            Err(failure) => {
                exit::complain(&failure);
                failed = Some(failure.code());
            }
        }
    }
    exit::print(&match args.output {
        Format::Json => {
            let told = answers
                .iter()
                .map(|(admin, answer)| json!({ "admin": admin, "answer": answer }));
            check::to_json(&told.collect::<Vec<_>>())?
        }
        Format::Text => answers.iter().map(|(admin, answer)| text(admin, answer)).collect(),
    })?;
    Ok(match failed {
        Some(code) => code,
        None if refused => ExitCode::from(exit::INPUT),
        None => ExitCode::SUCCESS,
    })
}

/// The part of a request and of a CachePurge that says what is meant.
fn selector(args: &PurgeArgs) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, list) in [("urls", &args.urls), ("prefixes", &args.prefixes), ("tags", &args.tags)] {
        if !list.is_empty() {
            out.insert(name.to_owned(), list.as_slice().into());
        }
    }
    if args.everything {
        out.insert("everything".to_owned(), true.into());
    }
    out.insert("mode".to_owned(), if args.soft { "Soft" } else { "Hard" }.into());
    out
}

fn text(admin: &str, answer: &Value) -> String {
    let purged = answer["purged"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |purged: &Value| {
        let marks = purged["marks"].as_u64().unwrap_or_default();
        let name = purged["edgeCache"].as_str().unwrap_or_default();
        let plural = if marks == 1 { "" } else { "s" };
        let mode = answer["mode"].as_str().unwrap_or_default();
        format!("{admin}: EdgeCache {name}: {marks} mark{plural}, {mode}\n")
    };
    purged.iter().map(line).collect()
}

/// The CachePurge, in YAML or JSON. JSON strings are YAML strings, so nothing has to be escaped otherwise.
fn manifest(args: &PurgeArgs) -> Result<String, Failure> {
    let full = args.edge_cache.as_deref().unwrap_or_default();
    let (namespace, name) = full.split_once('/').unwrap_or(("default", full));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut spec = selector(args);
    spec.insert("edgeCacheRef".to_owned(), json!({ "name": name }));
    let manifest = json!({
        "apiVersion": "breakwater.dev/v1alpha1",
        "kind": "CachePurge",
        "metadata": { "name": format!("{name}-{}", now.as_millis()), "namespace": namespace },
        "spec": spec,
    });
    match args.output {
        Format::Json => check::to_json(&manifest),
        Format::Text => {
            let metadata = &manifest["metadata"];
            let mut out = format!(
                "apiVersion: breakwater.dev/v1alpha1\nkind: CachePurge\nmetadata:\n  name: {}\n  namespace: {}\nspec:\n",
                metadata["name"], metadata["namespace"]
            );
            if let Some(spec) = manifest["spec"].as_object() {
                spec.iter()
                    .for_each(|(name, value)| out.push_str(&format!("  {name}: {value}\n")));
            }
            Ok(out)
        }
    }
}
