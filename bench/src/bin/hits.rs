//! `bench-hits`: cache hits of 1 KiB and 100 KiB and the memory of an idle connection, for the floor, nginx, HAProxy
//! and Breakwater, interleaved in one run. Writes `hits.md` and `hits.json`.
//!
//! Exit codes: 0 measured, 1 a budget was missed and `--strict` was given, 2 the run could not be made.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breakwater_bench::machine::{self, Machine};
use breakwater_bench::origin::Origin;
use breakwater_bench::report::{Budget, Report, Row};
use breakwater_bench::server::{Kind, Server};
use breakwater_bench::{Error, check, floor, load};
use clap::{Args, Parser, Subcommand};

const SIZES: [usize; 2] = [1 << 10, 100 << 10];
const NAMES: [&str; 2] = ["cache hit, 1 KiB, keep-alive", "cache hit, 100 KiB, keep-alive"];

#[derive(Debug, Parser)]
#[command(about = "Cache hits beside nginx and HAProxy in one run")]
struct Cli {
    #[command(subcommand)]
    command: Option<Inner>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// The floor server, which the bench starts from its own program.
    #[command(hide = true)]
    Floor { address: SocketAddr, sizes: Vec<usize> },
}

#[derive(Debug, Args)]
struct Options {
    /// Fewer and shorter rounds: under 30 seconds, for a first look.
    #[arg(long)]
    quick: bool,
    /// Exit with 1 when a budget is missed.
    #[arg(long)]
    strict: bool,
    /// The Breakwater program.
    #[arg(long, default_value = "target/release/breakwater")]
    breakwater: PathBuf,
    /// Where hits.md and hits.json go.
    #[arg(long, default_value = "bench/results")]
    output: PathBuf,
    /// Rounds; each measures every server once. Default 5, with --quick 2.
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds of load in one round. Default 2, with --quick 1.
    #[arg(long)]
    seconds: Option<u32>,
    /// Idle connections to open. Default 4000, with --quick 1000.
    #[arg(long)]
    idle: Option<usize>,
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

/// True when a budget was missed and that counts.
fn bench(options: &Options) -> Result<bool, Error> {
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 5 });
    let seconds = options.seconds.unwrap_or(if options.quick { 1 } else { 2 });
    let idle = options.idle.unwrap_or(if options.quick { 1000 } else { 4000 });
    machine::require("taskset", "it is part of util-linux")?;
    machine::require("wrk", "apt-get install wrk")?;
    machine::open_files(idle as u64 + 1000)?;
    let machine = Machine::read();
    let (kinds, skipped) = choose(options)?;
    for (name, reason) in &skipped {
        eprintln!("not measured: {name}: {reason}");
    }
    let origin = Origin::start()?;
    let rows = measure_hits(&kinds, options, &origin, rounds, seconds)?;
    let idle_bytes = measure_idle(&kinds, options, &origin, idle)?;
    let settings = BTreeMap::from([
        (
            "load",
            format!(
                "{rounds} rounds of {seconds} s, {} connections, 1 thread",
                load::CONNECTIONS
            ),
        ),
        (
            "placement",
            format!(
                "servers on CPU {}, load on CPU {}",
                options.server_cpu, options.load_cpu
            ),
        ),
        (
            "servers",
            "1 worker or thread each, no access log; Breakwater with metrics and 64 denied prefixes".to_owned(),
        ),
        (
            "nginx-tuned is",
            "nginx with open_file_cache, and without tcp_nopush for the large object".to_owned(),
        ),
        (
            "bodies",
            "nginx sends files by sendfile; the floor and the others copy the body into the socket".to_owned(),
        ),
        (
            "idle",
            format!("{idle} connections after one 1 KiB hit each, fresh server"),
        ),
    ]);
    let versions = kinds.iter().map(|kind| (kind.name(), kind.version())).collect();
    let budgets = budgets(&rows, &idle_bytes);
    let report = Report {
        machine,
        versions,
        settings,
        rows,
        idle: idle_bytes,
        budgets,
        skipped,
    };
    print!("{}", report.markdown());
    write(&options.output, &report)?;
    Ok(options.strict && report.missed())
}

type Skipped = BTreeMap<&'static str, String>;

/// The servers on this machine, and those that are not. Without a peer the ratios mean nothing, so peers must be there.
fn choose(options: &Options) -> Result<(Vec<Kind>, Skipped), Error> {
    machine::require("nginx", "apt-get install nginx-light")?;
    machine::require("haproxy", "apt-get install haproxy")?;
    let own = std::env::current_exe().map_err(Error::io("looking for the bench's own program"))?;
    let mut kinds = vec![Kind::Floor(own), Kind::Nginx, Kind::NginxTuned, Kind::Haproxy];
    let mut skipped = BTreeMap::new();
    let program = &options.breakwater;
    if program.is_file() {
        kinds.push(Kind::Breakwater(program.clone()));
    } else {
        let reason = format!(
            "{} is missing; build it with `cargo build --release`",
            program.display()
        );
        skipped.insert("breakwater", reason);
    }
    Ok((kinds, skipped))
}

fn path(size: usize) -> String {
    format!("/hit/{size}")
}

fn measure_hits(
    kinds: &[Kind],
    options: &Options,
    origin: &Origin,
    rounds: u32,
    seconds: u32,
) -> Result<Vec<Row>, Error> {
    // Each server has its own paths, so that the origin's count tells who asked.
    let own = |server: &Server, size| format!("/{}{}", server.name, path(size));
    let start = |kind| Server::start(kind, options.server_cpu, origin.address(), &SIZES);
    let servers = kinds.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let mut rows = NAMES.map(|name| Row {
        name: name.to_owned(),
        runs: BTreeMap::new(),
    });
    for (size, row) in SIZES.into_iter().zip(&mut rows) {
        for server in &servers {
            check::prove_hit(server, origin, &own(server, size), size)?;
        }
        for round in 1..=rounds {
            for server in &servers {
                let path = own(server, size);
                let asked = origin.seen(&path);
                let run = load::run(server, &path, seconds, options.load_cpu)?;
                if origin.seen(&path) != asked {
                    let why = "the origin was asked during the run, so these were not all hits".to_owned();
                    return Err(Error::Wrong {
                        server: server.name.to_owned(),
                        path,
                        why,
                    });
                }
                eprintln!(
                    "{}, round {round}/{rounds}: {:11} {:6.2} us/request, {:.0}/s",
                    row.name, server.name, run.cpu_us, run.rate
                );
                row.runs.entry(server.name).or_default().push(run);
            }
        }
    }
    Ok(rows.into())
}

fn measure_idle(
    kinds: &[Kind],
    options: &Options,
    origin: &Origin,
    count: usize,
) -> Result<BTreeMap<&'static str, f64>, Error> {
    let mut found = BTreeMap::new();
    let Some(size) = SIZES.first().copied() else {
        return Ok(found);
    };
    for kind in kinds {
        let server = Server::start(kind, options.server_cpu, origin.address(), &SIZES)?;
        let path = format!("/{}-idle{}", server.name, path(size));
        check::prove_hit(&server, origin, &path, size)?;
        let bytes = load::idle(&server, &path, count)?;
        eprintln!(
            "idle keep-alive: {:11} {bytes:.0} bytes of RSS per connection",
            server.name
        );
        found.insert(server.name, bytes);
    }
    Ok(found)
}

/// The budgets of docs/architecture.md that this bench measures.
fn budgets(rows: &[Row], idle: &BTreeMap<&'static str, f64>) -> Vec<Budget> {
    let ratio = |row: usize, peer| rows.get(row)?.ratio("breakwater", peer);
    // The best peer is the one against which the ratio is worst.
    let large = ["nginx", "nginx-tuned", "haproxy"]
        .into_iter()
        .filter_map(|peer| ratio(1, peer))
        .reduce(f64::max);
    vec![
        Budget::new("1 KiB hit, CPU: breakwater / nginx", 0.58, ratio(0, "nginx")),
        Budget::new("1 KiB hit, CPU: breakwater / haproxy", 0.70, ratio(0, "haproxy")),
        Budget::new("1 KiB hit, CPU: breakwater / floor", 1.15, ratio(0, "floor")),
        Budget::new("100 KiB hit, CPU: breakwater / best peer", 1.0, large),
        Budget::new(
            "idle plain connection, KiB of RSS",
            0.75,
            idle.get("breakwater").map(|bytes| bytes / 1024.0),
        ),
    ]
}

fn write(directory: &Path, report: &Report) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::io(format!("making {}", directory.display())))?;
    let json = serde_json::to_string_pretty(report).map_err(|e| Error::io("writing JSON")(e.into()))?;
    for (name, text) in [("hits.md", report.markdown()), ("hits.json", json + "\n")] {
        let file = directory.join(name);
        fs::write(&file, text).map_err(Error::io(format!("writing {}", file.display())))?;
    }
    Ok(())
}
