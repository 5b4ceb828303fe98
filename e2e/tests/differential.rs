//! The same malformed requests to Breakwater, nginx and HAProxy: every difference has a reason, and every reason a
//! difference.
//!
//! The corpus is `corpus/http1.txt`: the smuggling tables of the gate, and the mutations by which proxies have been told
//! apart. What each made of each case is written to `differential/http1.md` in the target directory.

use std::{
    fmt::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use breakwater_e2e::{
    Error, Result,
    breakwater::Site,
    differential::{
        self, Outcome, Recorder,
        corpus::{self, Case, Relation},
        peer::{Kind, Peer},
    },
};

const NO_MORE: [&str; 0] = [];

/// Peers that a runner has counted as skipped, because they are not installed.
const SKIPPED: &str = "BREAKWATER_SKIP_PEERS";

/// A case to which HAProxy before 2.6.12-1+deb12u4 says nothing, until the half minute is over that it waits for a server:
/// the chunk extension is larger than its buffer.
const SILENT: &str = "chunk/extension-long";
const GIVEN_UP: &str = "504 closed";

fn is_silent(case: &Case, kind: Kind, outcome: &Result<Outcome>) -> bool {
    kind == Kind::Haproxy
        && case.name == SILENT
        && match outcome {
            Ok(outcome) => outcome.to_string() == GIVEN_UP,
            Err(error) => matches!(error, Error::Timeout { .. }),
        }
}

#[tokio::test]
async fn every_difference_from_nginx_and_haproxy_has_a_reason() -> Result<()> {
    let cases = Arc::new(corpus::parse(include_str!("../corpus/http1.txt"))?);
    let recorder = Recorder::start().await?;
    let site = Site::new(&[("site.yaml", &everything(&recorder))])?;
    let mut up = site.up(NO_MORE).await?;
    let ours = tokio::spawn(send_all(up.front, recorder, Arc::clone(&cases)));
    let mut peers = Vec::new();
    for kind in [Kind::Nginx, Kind::Haproxy] {
        if let Some(program) = installed(kind)? {
            let recorder = Recorder::start().await?;
            let peer = Peer::start(kind, &program, recorder.address()).await?;
            let outcomes = tokio::spawn(send_all(peer.address, recorder, Arc::clone(&cases)));
            peers.push((kind, peer, outcomes));
        }
    }
    let ours = ours.await.expect("it does not panic");
    let mut table = Table::new(peers.iter().map(|(kind, peer, _)| (*kind, peer.version.as_str())));
    let mut theirs = Vec::new();
    for (kind, _peer, outcomes) in peers {
        theirs.push((kind, outcomes.await.expect("it does not panic")));
    }

    let mut wrong = Vec::new();
    for (index, (case, outcome)) in cases.iter().zip(ours).enumerate() {
        let name = &case.name;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                wrong.push(format!("{name}: breakwater: {error}"));
                continue;
            }
        };
        if outcome.to_string() != case.ours {
            wrong.push(format!("{name}: breakwater: `{outcome}`, not `{}`", case.ours));
        }
        let mut cells = Vec::new();
        for (kind, outcomes) in &theirs {
            match &outcomes[index] {
                their if is_silent(case, *kind, their) => {
                    cells.push(("no answer in time".to_owned(), relation(case, *kind)));
                }
                Ok(their) => {
                    let relation = relation(case, *kind);
                    if let Some(why) = contradiction(&outcome, their, relation) {
                        wrong.push(format!("{name}: {}: {why}", kind.name()));
                    }
                    cells.push((their.to_string(), relation));
                }
                Err(error) => wrong.push(format!("{name}: {}: {error}", kind.name())),
            }
        }
        table.row(name, &outcome, &cells);
    }
    let text = table.finish(cases.len());
    println!("{text}");
    keep(&text)?;
    assert!(
        wrong.is_empty(),
        "{} lines of the corpus are not true (it was written with nginx 1.22 and HAProxy 2.6):\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(up.stop().await?.code(), Some(0));
    Ok(())
}

/// What the proxy at `address` makes of each case.
async fn send_all(address: SocketAddr, recorder: Recorder, cases: Arc<Vec<Case>>) -> Vec<Result<Outcome>> {
    let mut outcomes = Vec::with_capacity(cases.len());
    for case in cases.iter() {
        outcomes.push(differential::send(address, &recorder, &case.bytes).await);
    }
    outcomes
}

/// Its program; none when the runner has counted it as skipped.
fn installed(kind: Kind) -> Result<Option<PathBuf>> {
    let skipped = std::env::var(SKIPPED).unwrap_or_default();
    if skipped.split(' ').any(|name| name == kind.name()) {
        eprintln!("SKIPPED {}: {SKIPPED}", kind.name());
        return Ok(None);
    }
    let name = kind.name();
    kind.program().map(Some).ok_or_else(|| {
        Error::Missing(format!(
            "  {name}: scripts/prerequisites test (or set {SKIPPED}={name} and count it as skipped)"
        ))
    })
}

fn relation(case: &Case, kind: Kind) -> &Relation {
    match kind {
        Kind::Nginx => &case.nginx,
        Kind::Haproxy => &case.haproxy,
    }
}

fn contradiction(ours: &Outcome, theirs: &Outcome, relation: &Relation) -> Option<String> {
    match (ours.agrees(theirs), relation) {
        (true, Relation::Same) | (false, Relation::Differs(_)) => None,
        (true, Relation::Differs(reason)) => Some(format!("`{theirs}` is as ours, yet there is a reason: {reason}")),
        (false, Relation::Same) => Some(format!("`{theirs}` differs from ours, `{ours}`, without a reason")),
    }
}

struct Table {
    text: String,
    differences: usize,
}

impl Table {
    fn new<'a>(peers: impl Iterator<Item = (Kind, &'a str)> + Clone) -> Self {
        let versions: String = peers.clone().map(|(_, version)| format!("- {version}\n")).collect();
        let columns: String = peers.clone().map(|(kind, _)| format!(" {} |", kind.name())).collect();
        let text = format!(
            "# What each proxy makes of malformed requests\n\n{versions}\n\
             Status codes, then whether the connection goes on, then what reached the origin.\n\n\
             | case | breakwater |{columns}\n|---|---|{}\n",
            "---|".repeat(peers.count())
        );
        Self { text, differences: 0 }
    }

    fn row(&mut self, name: &str, ours: &Outcome, theirs: &[(String, &Relation)]) {
        // Writing to a String cannot fail.
        let _infallible = write!(self.text, "| {name} | {} |", cell(&ours.to_string()));
        for (outcome, relation) in theirs {
            self.text += &match relation {
                Relation::Same => " same |".to_owned(),
                Relation::Differs(reason) => {
                    self.differences += 1;
                    format!(" {}<br>{} |", cell(outcome), cell(reason))
                }
            };
        }
        self.text.push('\n');
    }

    fn finish(mut self, cases: usize) -> String {
        self.text += &format!(
            "\n{cases} cases, {} differences, each with its reason.\n",
            self.differences
        );
        self.text
    }
}

/// Text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    const LONGEST: usize = 160;
    let text = text.replace('|', "\\|");
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn keep(text: &str) -> Result<()> {
    let inside = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = inside.parent().unwrap_or(inside).join("differential");
    let file = directory.join("http1.md");
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&file, text))
        .map_err(|source| Error::Io {
            action: format!("write {}", file.display()),
            source,
        })
}

/// Every host, in front of this origin.
fn everything(origin: &Recorder) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: everything}}\nspec:\n\
         \x20 hostnames: [\"*\"]\n  origin: {{urls: [\"http://{}\"]}}\n",
        origin.address()
    )
}
