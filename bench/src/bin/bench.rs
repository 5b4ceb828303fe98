//! `breakwater-bench`: cache hits, handshakes and idle connections, for the floor, nginx, HAProxy, Varnish, ATS and
//! Breakwater, interleaved in one run. Writes `bench.md`, `bench.json` and `bench.svg`; subcommands measure other things.
//!
//! Exit codes: 0 measured, 1 a budget was missed and `--strict` was given, 2 the run could not be made.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use breakwater_bench::certificate::Certificate;
use breakwater_bench::machine::{self, Machine};
use breakwater_bench::measure::{self, Plan, SIZES};
use breakwater_bench::origin::Origin;
use breakwater_bench::peer::Kind;
use breakwater_bench::report::{Report, budgets};
use breakwater_bench::server::Common;
use breakwater_bench::{Error, crowd, floor, load, plot, purge, waf, zipf};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

const PLOT: &str = "bench.svg";

/// The connections of the largest attack.
const ATTACKERS: usize = 4000;

#[derive(Debug, Parser)]
#[command(
    about = "The same load on Breakwater and its peers in one run",
    args_override_self = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Inner>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Markdown,
    Json,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// The floor server, which the bench starts from its own program.
    #[command(hide = true)]
    Floor { address: SocketAddr, sizes: Vec<usize> },
    /// Many clients at one cold object: requests at the origin, first bytes, memory.
    Crowd {
        /// Clients that ask at once.
        #[arg(long, default_value_t = 1000)]
        clients: usize,
        /// Bytes of the object.
        #[arg(long, default_value_t = 100 << 20)]
        size: usize,
        /// How long the origin takes to its first byte, milliseconds.
        #[arg(long, default_value_t = 2000)]
        delay: u64,
        /// How long the clients take to come, one after the other, milliseconds.
        #[arg(long, default_value_t = 0)]
        over: u64,
        /// MiB of memory for the server. Default: its own.
        #[arg(long)]
        memory: Option<u64>,
    },
    /// Purges by tag, of one response and of very many: how long each takes. Writes purge.md and purge.json.
    Purge {
        /// Responses with one tag in common. Default 100,000, with --quick 20,000.
        #[arg(long)]
        objects: Option<usize>,
    },
    /// A working set that is larger than memory: hit ratios, CPU and memory of each cache. Writes zipf.md and zipf.json.
    Zipf {
        /// MiB of memory for each cache. Default 256, with --quick 64.
        #[arg(long)]
        memory: Option<u64>,
        /// MiB of disk behind it: nginx, ATS and Varnish keep their files there. Writes zipf-disk.md and zipf-disk.json.
        #[arg(long)]
        disk: Option<u64>,
        /// Objects of the catalogue. Default 100,000, with --quick 22,000.
        #[arg(long)]
        objects: Option<usize>,
        /// Only these servers, such as `breakwater,nginx`.
        #[arg(long, value_delimiter = ',')]
        servers: Vec<String>,
    },
    /// The web application firewall and nginx with libmodsecurity on the same rules. Writes waf.md and waf.json.
    Waf {
        /// Directory of the OWASP Core Rule Set [default: BREAKWATER_CRS, ../shared/crs or Debian's modsecurity-crs].
        #[arg(long)]
        crs: Option<PathBuf>,
        /// Changes of the rules. Default 1000, with --quick 200; an end is put to them after ten minutes, with --quick one.
        #[arg(long)]
        reloads: Option<u32>,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Fewer and shorter rounds: under two minutes, for a first look.
    #[arg(long, global = true)]
    quick: bool,
    /// Instead of all else: what a client waits for while others attack. Writes attacks.md and attacks.json.
    #[arg(long)]
    attacks: bool,
    /// Exit with 1 when a budget is missed.
    #[arg(long, global = true)]
    strict: bool,
    /// The Breakwater program.
    #[arg(long, default_value = "target/release/breakwater")]
    breakwater: PathBuf,
    /// Where bench.md, bench.json and bench.svg go.
    #[arg(long, default_value = "bench/results")]
    results: PathBuf,
    /// What is printed.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Rounds; each measures every server once. Default 5, with --quick 2.
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds of load in one round. Default 2, with --quick 1.
    #[arg(long)]
    seconds: Option<u32>,
    /// Idle connections to open. Default 4000, with --quick 500.
    #[arg(long)]
    idle: Option<usize>,
    /// Only the rows whose name contains this, such as `100 KiB` or `idle, HTTP/2`.
    #[arg(long, default_value = "")]
    only: String,
    /// The CPU the servers run on.
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// The CPU the load generator runs on.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Inner::Floor { address, sizes }) => serve_floor(address, &sizes),
        Some(Inner::Crowd {
            clients,
            size,
            delay,
            over,
            memory,
        }) => send_crowd(
            &cli.options,
            crowd::Plan {
                clients,
                size,
                delay: Duration::from_millis(delay),
                over: Duration::from_millis(over),
                memory,
                cpu: cli.options.server_cpu,
            },
        ),
        Some(Inner::Purge { objects }) => {
            let usual = purge::Plan::new(cli.options.quick, cli.options.server_cpu);
            let plan = purge::Plan {
                objects: objects.unwrap_or(usual.objects),
                rounds: cli.options.rounds.map_or(usual.rounds, |rounds| rounds as usize),
                ..usual
            };
            send_purges(&cli.options, plan)
        }
        Some(Inner::Zipf {
            memory,
            disk,
            objects,
            servers,
        }) => {
            let options = &cli.options;
            let usual = zipf::Plan::new(options.quick, options.server_cpu, options.load_cpu);
            let plan = zipf::Plan {
                memory: memory.unwrap_or(usual.memory),
                objects: objects.unwrap_or(usual.objects),
                rounds: options.rounds.map_or(usual.rounds, |rounds| rounds as usize),
                disk,
                ..usual
            };
            send_zipf(options, plan, &servers)
        }
        Some(Inner::Waf { crs, reloads }) => send_attacks(&cli.options, crs.as_deref(), reloads),
        None => bench(&cli.options),
    };
    match outcome {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve_floor(address: SocketAddr, sizes: &[usize]) -> Result<bool, Error> {
    let listener = TcpListener::bind(address).map_err(Error::io(format!("binding the floor to {address}")))?;
    floor::serve(&listener, sizes).map(|()| false)
}

/// The largest part of the origin's own time to its first byte that the cache may add for any client.
const ADDED: f64 = 0.1;

/// True when the origin was asked more than once or a client waited too long, and that counts.
fn send_crowd(options: &Options, plan: crowd::Plan) -> Result<bool, Error> {
    machine::require("taskset", "it is part of util-linux")?;
    machine::open_files(2 * plan.clients as u64 + 1000)?;
    let certificate = Certificate::make()?;
    let outcome = crowd::run(&Kind::Breakwater(options.breakwater.clone()), &certificate, plan)?;
    let added = outcome.first.1.as_secs_f64() / outcome.origin.as_secs_f64() - 1.0;
    // Who comes one after the other waits for no common first byte.
    let missed = outcome.asked != 1 || (plan.over.is_zero() && added > ADDED);
    println!(
        "{} clients, one cold object of {} bytes, every byte compared\n\
         requests at the origin   {}\n\
         first byte, origin       {:.3} s\n\
         first byte, median       {:.3} s\n\
         first byte, last         {:.3} s ({:+.1} % of the origin's; at most {:.0} %)\n\
         everybody has it all     {:.1} s\n\
         most resident memory     {:.0} MiB\n\
         {}",
        plan.clients,
        plan.size,
        outcome.asked,
        outcome.origin.as_secs_f64(),
        outcome.first.0.as_secs_f64(),
        outcome.first.1.as_secs_f64(),
        added * 100.0,
        ADDED * 100.0,
        outcome.whole.as_secs_f64(),
        outcome.resident as f64 / f64::from(1 << 20),
        if missed { "missed" } else { "held" }
    );
    Ok(options.strict && missed)
}

/// True when a purge of many took longer than one of one, and that counts.
fn send_purges(options: &Options, plan: purge::Plan) -> Result<bool, Error> {
    machine::require("taskset", "it is part of util-linux")?;
    let machine = Machine::read();
    let certificate = Certificate::make()?;
    let kind = Kind::Breakwater(options.breakwater.clone());
    let rounds = purge::run(&kind, &certificate, plan)?;
    let report = purge::report::Report::new(machine, kind.version(), plan, rounds);
    hand_out(options, &report, report.markdown(), "purge")?;
    Ok(options.strict && report.missed())
}

/// True when Breakwater was worse than a peer, and that counts.
fn send_zipf(options: &Options, plan: zipf::Plan, servers: &[String]) -> Result<bool, Error> {
    machine::require("taskset", "it is part of util-linux")?;
    machine::open_files(20_000)?;
    let machine = Machine::read();
    let (mut kinds, skipped) = choose(options)?;
    kinds.retain(|kind| servers.is_empty() || servers.iter().any(|name| name == kind.name()));
    let certificate = Certificate::make()?;
    let (workload, row) = zipf::run(&kinds, &certificate, plan)?;
    let report = zipf::report::Report {
        machine,
        servers: stated(&kinds, Kind::settings_in_room),
        plan,
        workload,
        budgets: zipf::report::budgets(&row, &plan),
        row,
        skipped,
    };
    let name = if plan.disk.is_some() { "zipf-disk" } else { "zipf" };
    hand_out(options, &report, report.markdown(), name)?;
    Ok(options.strict && report.missed())
}

/// True when a budget was missed and that counts.
fn send_attacks(options: &Options, crs: Option<&Path>, reloads: Option<u32>) -> Result<bool, Error> {
    let usual = waf::Plan::new(options.quick, options.server_cpu, options.load_cpu);
    let plan = usual.with(options.rounds, options.seconds, reloads);
    let report = waf::report(&options.breakwater, crs, plan)?;
    hand_out(options, &report, report.markdown(), "waf")?;
    Ok(options.strict && report.missed())
}

/// Prints a report and writes it in both forms.
fn hand_out(options: &Options, report: &impl Serialize, markdown: String, name: &str) -> Result<(), Error> {
    let json = serde_json::to_string_pretty(report).map_err(|e| Error::io("writing JSON")(e.into()))? + "\n";
    match options.format {
        Format::Markdown => print!("{markdown}"),
        Format::Json => print!("{json}"),
    }
    let files = [(&*format!("{name}.md"), markdown), (&*format!("{name}.json"), json)];
    write(&options.results, &files)
}

/// Versions and settings.
fn stated(kinds: &[Kind], settings: fn(&Kind) -> &'static str) -> BTreeMap<&'static str, (String, &'static str)> {
    let state = |kind: &Kind| (kind.name(), (kind.version(), settings(kind)));
    kinds.iter().map(state).collect()
}

/// True when a budget was missed and that counts.
fn bench(options: &Options) -> Result<bool, Error> {
    let pick = |full: u32, quick: u32| if options.quick { quick } else { full };
    let plan = Plan {
        rounds: options.rounds.unwrap_or_else(|| pick(5, 2)),
        seconds: options.seconds.unwrap_or_else(|| pick(2, 1)),
        load_cpu: options.load_cpu,
        idle: options.idle.unwrap_or(if options.quick { 500 } else { 4000 }),
        idle_rounds: pick(3, 1),
    };
    machine::require("taskset", "it is part of util-linux")?;
    machine::require("wrk", "apt-get install wrk")?;
    machine::require("h2load", "apt-get install nghttp2-client")?;
    machine::open_files(plan.idle.max(ATTACKERS) as u64 + 1000)?;
    let machine = Machine::read();
    let (kinds, skipped) = choose(options)?;
    for (name, reason) in &skipped {
        eprintln!("not measured: {name}: {reason}");
    }
    let origin = Origin::start()?;
    let certificate = Certificate::make()?;
    let common = Common {
        cpu: options.server_cpu,
        origin: origin.address(),
        certificate: &certificate,
        sizes: &SIZES,
        room: None,
    };
    let (mut rows, mut idle, mut attacks) = (Vec::new(), Vec::new(), Vec::new());
    if options.attacks {
        attacks = measure::attacks(&kinds, common, &origin, plan);
    } else {
        rows = measure::requests(&kinds, common, &origin, plan, &options.only);
        idle = measure::idle(&kinds, common, &origin, plan, &options.only);
    }
    let budgets = budgets(&rows, &idle);
    let report = Report {
        machine,
        servers: stated(&kinds, Kind::settings),
        settings: settings(options, plan),
        rows,
        idle,
        attacks,
        budgets,
        skipped,
    };
    if options.attacks {
        hand_out(options, &report, report.markdown(PLOT), "attacks")?;
        return Ok(false);
    }
    hand_out(options, &report, report.markdown(PLOT), "bench")?;
    write(&options.results, &[(PLOT, plot::svg(&report))])?;
    Ok(options.strict && report.missed())
}

fn settings(options: &Options, plan: Plan) -> BTreeMap<&'static str, String> {
    if options.attacks {
        return BTreeMap::from([
            (
                "load",
                format!(
                    "{} rounds; a client that asks for a stored KiB every millisecond on one connection, {} s alone, {} s \
                     while the floor is attacked and {} s under attack, at a fresh server each time; attackers keep a fixed \
                     pace and open again what is ended",
                    plan.rounds, plan.seconds, plan.seconds, plan.seconds
                ),
            ),
            (
                "placement",
                format!(
                    "servers on CPU {}, client and attackers on CPU {}: what attackers take of the client's CPU is in the figures",
                    options.server_cpu, options.load_cpu
                ),
            ),
        ]);
    }
    BTreeMap::from([
        (
            "load",
            format!(
                "{} rounds of {} s; wrk with {} connections, h2load with {}; 1 thread",
                plan.rounds,
                plan.seconds,
                load::CONNECTIONS,
                load::HTTP2_CONNECTIONS
            ),
        ),
        (
            "placement",
            format!(
                "servers on CPU {}, load on CPU {}; one worker or thread each; no access log",
                options.server_cpu, options.load_cpu
            ),
        ),
        (
            "idle",
            format!(
                "{} connections after one 1 KiB hit each, {} fresh servers",
                plan.idle, plan.idle_rounds
            ),
        ),
    ])
}

type Skipped = BTreeMap<&'static str, String>;

/// The servers on this machine, and those that are not.
fn choose(options: &Options) -> Result<(Vec<Kind>, Skipped), Error> {
    let own = std::env::current_exe().map_err(Error::io("looking for the bench's own program"))?;
    let mut kinds = vec![
        Kind::Floor(own),
        Kind::Nginx,
        Kind::NginxTuned,
        Kind::Haproxy,
        Kind::Varnish,
        Kind::Ats,
        Kind::Breakwater(options.breakwater.clone()),
    ];
    let mut skipped = BTreeMap::new();
    kinds.retain(|kind| match kind.missing() {
        None => true,
        Some(reason) => {
            skipped.insert(kind.name(), reason);
            false
        }
    });
    Ok((kinds, skipped))
}

fn write(directory: &Path, files: &[(&str, String)]) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::io(format!("making {}", directory.display())))?;
    for (name, text) in files {
        let file = directory.join(name);
        fs::write(&file, text).map_err(Error::io(format!("writing {}", file.display())))?;
    }
    Ok(())
}
