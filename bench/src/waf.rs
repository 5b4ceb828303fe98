//! The web application firewall: the same requests and the same Core Rule Set, here and at nginx with libmodsecurity.
//!
//! Every load goes to a site without rules and to one with them, seconds apart, so what the engine takes is the difference
//! of the two. Servers take turns within a round, and ratios are those of a round.
//!
//! Invariant: before anything is timed, every request was asked of both. What only one of them refuses is listed, and is
//! no part of the mix. Left to others: memory ([`routes`]), changes ([`reload`]), tables ([`mod@report`]).

mod breakwater;
pub mod budget;
pub mod client;
pub mod load;
mod nginx;
pub mod origin;
pub mod reload;
pub mod report;
pub mod requests;
pub mod routes;
pub mod rules;
pub mod server;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::load::Run;
use crate::machine::Machine;
use crate::measure::Row;
use crate::{Error, machine};
use origin::Origin;
use reload::Reloads;
use requests::{Request, Site};
use routes::Memory;
use rules::Rules;
use server::{Common, Kind, Server, Sites};

/// How long and how often.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Rounds; each measures every server once.
    pub rounds: u32,
    /// Seconds of one load.
    pub seconds: u32,
    /// Changes of the rules.
    pub reloads: u32,
    /// Seconds after which no other change is made.
    pub reload_seconds: u64,
    /// Fresh servers for each number of routes.
    pub route_rounds: u32,
    /// The CPU the servers run on.
    pub server_cpu: usize,
    /// The CPU of load and origin.
    pub load_cpu: usize,
}

impl Plan {
    /// The usual one: ten minutes and more; or a quick look.
    #[must_use]
    pub const fn new(quick: bool, server_cpu: usize, load_cpu: usize) -> Self {
        Self {
            rounds: if quick { 2 } else { 5 },
            seconds: if quick { 1 } else { 2 },
            reloads: if quick { 200 } else { 1000 },
            reload_seconds: if quick { 60 } else { 600 },
            route_rounds: if quick { 1 } else { 3 },
            server_cpu,
            load_cpu,
        }
    }

    /// The same with these, where they are given.
    #[must_use]
    pub fn with(self, rounds: Option<u32>, seconds: Option<u32>, reloads: Option<u32>) -> Self {
        Self {
            rounds: rounds.unwrap_or(self.rounds),
            seconds: seconds.unwrap_or(self.seconds),
            reloads: reloads.unwrap_or(self.reloads),
            ..self
        }
    }
}

/// A load on two sites of one server, seconds apart.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pair {
    /// On the site without rules.
    pub without: Run,
    /// On the one with them.
    pub with: Run,
}

impl Pair {
    /// CPU microseconds of the engine for one request: what rules add.
    #[must_use]
    pub fn engine_us(&self) -> f64 {
        self.with.cpu_us - self.without.cpu_us
    }
}

/// A request that the servers do not answer alike, or not as its kind should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which.
    pub request: &'static str,
    /// What it should be answered on the site that refuses.
    pub expected: u16,
    /// What it was answered, by server.
    pub statuses: BTreeMap<&'static str, u16>,
}

/// All figures of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Loads with and without rules.
    pub pairs: Vec<Row<Pair>>,
    /// The attacks where they are refused.
    pub refused: Row<Run>,
    /// Attacks that are in the mix.
    pub attacks: usize,
    /// Average bytes of a request, by row.
    pub bytes: BTreeMap<&'static str, f64>,
    /// What is not answered alike.
    pub differences: Vec<Difference>,
    /// Memory by number of routes, one list for each round.
    pub routes: Row<Vec<Memory>>,
    /// Starts and changes.
    pub reloads: Row<Reloads>,
    /// What was not done, and why.
    pub left_out: BTreeMap<String, String>,
}

/// Names of the rows.
pub const SMALL: &str = "small GET";
/// The form.
pub const FORM: &str = "form of nine arguments, 230 B";
/// The long one.
pub const LONG: &str = "form of one argument, 63 KiB";
/// The attacks, found and let through.
pub const ATTACKS: &str = "attack mix, found and let through";
/// Their twins.
pub const TWINS: &str = "harmless twins of the attack mix";
/// What a cache answers.
pub const STORED: &str = "small GET of a stored page";
/// The attacks, refused.
pub const REFUSED: &str = "attack mix, refused";

/// Requests that are sent in turn.
struct Load {
    name: &'static str,
    /// The site with rules: attacks go where they are let through, so that both sites answer alike.
    with: Site,
    requests: Vec<Request>,
}

/// Files that the bench and each server may have to open.
const OPEN_FILES: u64 = 4000;

/// Measures Breakwater, of this path, and nginx with the rules of this directory, or those that are found.
///
/// # Errors
/// When there are no rules, or the load itself cannot be made. A server that is not there is named in the report.
pub fn report(program: &Path, crs: Option<&Path>, plan: Plan) -> Result<report::Report, Error> {
    machine::require("taskset", "it is part of util-linux")?;
    machine::require("wrk", "apt-get install wrk")?;
    machine::open_files(OPEN_FILES)?;
    let rules = Rules::find(crs).ok_or(Error::Missing {
        tool: "a directory with rules/REQUEST-901-INITIALIZATION.conf and crs-setup.conf",
        how: "name it by --crs or BREAKWATER_CRS, or apt-get install modsecurity-crs",
    })?;
    let machine = Machine::read();
    let mut skipped = BTreeMap::new();
    let mut kinds = vec![Kind::Breakwater(program.to_owned()), Kind::Nginx];
    kinds.retain(|kind| match kind.missing() {
        None => true,
        Some(reason) => {
            eprintln!("not measured: {}: {reason}", kind.name());
            skipped.insert(kind.name(), reason);
            false
        }
    });
    let outcome = run(&kinds, &rules, plan)?;
    let state = |kind: &Kind| (kind.name(), (kind.version(), kind.settings()));
    Ok(report::Report {
        machine,
        servers: kinds.iter().map(state).collect(),
        rules,
        plan,
        budgets: budget::budgets(&outcome),
        outcome,
        skipped,
    })
}

/// Measures these servers with these rules.
///
/// # Errors
/// When the load itself cannot be made. A server that fails has the reason in the rows.
fn run(kinds: &[Kind], rules: &Rules, plan: Plan) -> Result<Outcome, Error> {
    machine::pin(plan.load_cpu);
    let origin = Origin::start()?;
    let common = Common {
        cpu: plan.server_cpu,
        origin: origin.address(),
        rules,
    };
    let mut outcome = Outcome {
        pairs: Vec::new(),
        refused: Row::new(REFUSED),
        attacks: 0,
        bytes: BTreeMap::new(),
        differences: Vec::new(),
        routes: Row::new("memory by number of routes"),
        reloads: Row::new("starts and changes"),
        left_out: BTreeMap::new(),
    };
    loads(kinds, common, &origin, plan, &mut outcome);
    outcome.routes = routes::run(kinds, common, plan, &mut outcome.left_out);
    outcome.reloads = reload::run(kinds, common, plan);
    Ok(outcome)
}

fn loads(kinds: &[Kind], common: Common<'_>, origin: &Origin, plan: Plan, outcome: &mut Outcome) {
    let (mut servers, mut failed) = (Vec::new(), Vec::new());
    for kind in kinds {
        match Server::start(kind, common, Sites::Hosts) {
            Ok(server) => servers.push(server),
            Err(error) => failed.push((kind.name(), error.to_string())),
        }
    }
    let (attacks, twins) = requests::attacks();
    let benign = [
        requests::small(),
        requests::nine_arguments(),
        requests::one_long_argument(),
        requests::stored(),
    ];
    for request in benign.iter().chain(&twins) {
        compare(&servers, request, 200, &mut outcome.differences);
    }
    // An attack that one of them lets through would be compared with one that is refused.
    let (attacks, twins): (Vec<_>, Vec<_>) = attacks
        .into_iter()
        .zip(twins)
        .filter(|(attack, _)| !servers.is_empty() && compare(&servers, attack, 403, &mut outcome.differences))
        .unzip();
    outcome.attacks = attacks.len();
    let [small, form, long, stored] = benign;
    let load = |name, with, requests| Load { name, with, requests };
    let loads = [
        load(SMALL, Site::Enforce, vec![small]),
        load(FORM, Site::Enforce, vec![form]),
        load(LONG, Site::Enforce, vec![long]),
        load(ATTACKS, Site::Detect, attacks.clone()),
        load(TWINS, Site::Detect, twins),
        load(STORED, Site::Enforce, vec![stored]),
    ];
    outcome.pairs = loads.iter().map(|load| Row::new(load.name)).collect();
    for (name, why) in &failed {
        let rows = outcome.pairs.iter_mut().map(|row| &mut row.absent);
        for absent in rows.chain([&mut outcome.refused.absent]) {
            absent.insert(name, why.clone());
        }
    }
    for load in &loads {
        let lengths = load
            .requests
            .iter()
            .map(|request| request.bytes(load.with.host()).len());
        let sum: usize = lengths.sum();
        outcome
            .bytes
            .insert(load.name, sum as f64 / load.requests.len().max(1) as f64);
    }
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        for (load, row) in loads.iter().zip(&mut outcome.pairs) {
            for server in &servers {
                // One failure is enough to have no figures.
                if !row.absent.contains_key(server.kind.name()) {
                    row.add(server.kind.name(), pair(server, load, origin, plan));
                }
            }
        }
        for server in &servers {
            let bytes: Vec<_> = attacks
                .iter()
                .map(|attack| attack.bytes(Site::Enforce.host()))
                .collect();
            if !outcome.refused.absent.contains_key(server.kind.name()) {
                let run = load::run(server, &bytes, true, plan.seconds, plan.load_cpu);
                outcome.refused.add(server.kind.name(), run);
            }
        }
    }
}

fn pair(server: &Server<'_>, load: &Load, origin: &Origin, plan: Plan) -> Result<Pair, Error> {
    let run = |site: Site| {
        let bytes: Vec<_> = load.requests.iter().map(|request| request.bytes(site.host())).collect();
        if load.name == STORED {
            for request in &bytes {
                client::ask(server.address, request)?;
            }
        }
        let asked = origin.seen();
        let run = load::run(server, &bytes, false, plan.seconds, plan.load_cpu)?;
        if load.name == STORED && origin.seen() != asked {
            return Err(Error::Load {
                server: server.kind.name().to_owned(),
                why: "the origin was asked for what is stored".to_owned(),
            });
        }
        Ok(run)
    };
    Ok(Pair {
        without: run(Site::Plain)?,
        with: run(load.with)?,
    })
}

/// Asks every server for it, and whether all answer as they should: it passes where there are no rules and where they only
/// find, and is answered `expected` where they refuse. The first difference of a server is what is listed.
fn compare(servers: &[Server<'_>], request: &Request, expected: u16, differences: &mut Vec<Difference>) -> bool {
    let mut alike = true;
    let mut statuses = BTreeMap::new();
    for server in servers {
        let ask = |site: Site| {
            let answer = client::ask(server.address, &request.bytes(site.host()));
            answer.map_or(0, |answer| answer.status)
        };
        let status = ask(Site::Enforce);
        let others = [ask(Site::Plain), ask(Site::Detect)];
        let passed = others.into_iter().find(|other| *other != 200);
        alike &= status == expected && passed.is_none();
        let told = if status == expected {
            passed.unwrap_or(status)
        } else {
            status
        };
        statuses.insert(server.kind.name(), told);
    }
    if !alike {
        differences.push(Difference {
            request: request.name,
            expected,
            statuses,
        });
    }
    alike
}
