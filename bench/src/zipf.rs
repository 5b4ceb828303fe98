//! A working set that is larger than memory: how many requests each cache answers, and what that costs it.
//!
//! Every server gets the same requests in the same order, the same memory, and an origin that knows who asked it. First all
//! are warmed up, then measured in interleaved rounds; each round goes on where the one before ended.
//!
//! Invariant: a hit is a request that the origin was not asked for, and every byte of every answer is compared.
//! Left to others: what is asked for ([`crate::hitrate::trace`]), processes ([`crate::server`]), tables ([`report`]).

mod bodies;
mod client;
mod origin;
pub mod report;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::certificate::Certificate;
use crate::hitrate::trace;
use crate::measure::Row;
use crate::peer::{Kind, NGINX_TICK, Protocol, Room};
use crate::server::{Common, Server};
use crate::{Error, account, machine};
use bodies::Bodies;
use client::Wanted;
use origin::Origin;

pub use client::CONNECTIONS;

/// What is tried.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Objects of the catalogue.
    pub objects: usize,
    /// Requests before anything is measured.
    pub warm: usize,
    /// Rounds; each measures every server once.
    pub rounds: usize,
    /// Requests of a round.
    pub requests: usize,
    /// MiB of memory that each cache gets.
    pub memory: u64,
    /// MiB of disk behind it.
    pub disk: Option<u64>,
    /// The CPU the servers run on.
    #[serde(skip)]
    pub server_cpu: usize,
    /// The CPU of client and origin.
    #[serde(skip)]
    pub load_cpu: usize,
}

/// One round of one server.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    /// Requests.
    pub requests: u64,
    /// Part of the requests that the origin was not asked for.
    pub hits: f64,
    /// Part of the bytes of content that the origin did not send.
    pub byte_hits: f64,
    /// CPU microseconds of the server's process tree per request.
    pub cpu_us: f64,
    /// The part of it in user mode.
    pub user_us: f64,
    /// Requests per second.
    pub rate: f64,
    /// Share of one CPU the server used.
    pub busy: f64,
    /// MiB it took on average: proportional set size of its processes, and its files that lie in memory.
    pub memory: f64,
    /// The same at its most.
    pub peak: f64,
}

/// What the requests are, whoever answers them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Workload {
    /// Bytes of the whole catalogue.
    pub catalogue: u64,
    /// Bytes of what the measured requests ask for, each object once.
    pub asked: u64,
    /// Part of the measured requests that a cache without a limit answers: their object was asked for before.
    pub limit: f64,
    /// The same by bytes.
    pub byte_limit: f64,
}

/// Measures every server.
///
/// # Errors
/// When the load itself cannot be made. A server that fails has the reason in the row.
pub fn run(kinds: &[Kind], certificate: &Certificate, plan: Plan) -> Result<(Workload, Row<Figure>), Error> {
    let wanted = requests(plan);
    let workload = workload(plan, &wanted);
    let bodies = Arc::new(Bodies::new());
    machine::pin(plan.load_cpu);
    let origin = Origin::start(&bodies)?;
    let wants = |kind: &Kind| match kind {
        Kind::Floor(_) => false,
        // What it is tuned for is not at stake here; by its name it is measured all the same.
        Kind::NginxTuned => !kinds.contains(&Kind::Nginx),
        _ => true,
    };
    let common = Common {
        cpu: plan.server_cpu,
        origin: origin.address(),
        certificate,
        sizes: &[],
        room: Some(Room {
            memory: plan.memory,
            disk: plan.disk,
        }),
    };
    let mut row = Row::new("zipf");
    let mut servers = Vec::new();
    let (warm, measured) = wanted.split_at(plan.warm);
    for kind in kinds.iter().filter(|kind| wants(kind)) {
        let name = kind.name();
        if let Some(why) = unfit(kind, plan) {
            row.absent.insert(name, why.to_owned());
            continue;
        }
        let started = Server::start(kind, common).and_then(|server| {
            let manager = Manager::of(&server);
            load(&server, warm, &bodies, &origin)?;
            Ok((server, manager))
        });
        match started {
            Ok(server) => servers.push(server),
            Err(error) => row.add(name, Err(error)),
        }
    }
    for (round, wanted) in measured.chunks(plan.requests).enumerate() {
        for (server, _manager) in &servers {
            if row.absent.contains_key(server.name) {
                continue;
            }
            let figure = load(server, wanted, &bodies, &origin);
            if let Ok(figure) = &figure {
                eprintln!(
                    "zipf, round {}/{}: {:11} {:5.1} % of requests, {:5.1} % of bytes, {:6.2} us, {:.0}/s, {:.0} MiB",
                    round + 1,
                    plan.rounds,
                    server.name,
                    figure.hits * 100.0,
                    figure.byte_hits * 100.0,
                    figure.cpu_us,
                    figure.rate,
                    figure.memory
                );
            }
            row.add(server.name, figure);
        }
    }
    Ok((workload, row))
}

/// Why a server is not in this run.
fn unfit(kind: &Kind, plan: Plan) -> Option<&'static str> {
    match kind {
        Kind::Haproxy if plan.disk.is_some() => Some("it has no disk"),
        _ => None,
    }
}

fn requests(plan: Plan) -> Vec<Wanted> {
    let trace = trace::larger_than_memory(plan.objects, plan.warm + plan.rounds * plan.requests);
    let wanted = trace.replay();
    wanted
        .map(|(key, size)| (key, usize::try_from(size).unwrap_or(usize::MAX)))
        .collect()
}

fn workload(plan: Plan, wanted: &[Wanted]) -> Workload {
    let (warm, measured) = wanted.split_at(plan.warm);
    let mut known: HashSet<u64> = warm.iter().map(|(key, _)| *key).collect();
    let mut asked = HashSet::new();
    let (mut hits, mut hit_bytes, mut bytes, mut distinct) = (0, 0, 0, 0);
    for &(key, size) in measured {
        let size = size as u64;
        bytes += size;
        if !known.insert(key) {
            hits += 1;
            hit_bytes += size;
        }
        if asked.insert(key) {
            distinct += size;
        }
    }
    Workload {
        catalogue: trace::larger_than_memory(plan.objects, 0).bytes(),
        asked: distinct,
        limit: f64::from(hits) / measured.len() as f64,
        byte_limit: hit_bytes as f64 / bytes as f64,
    }
}

/// Sends these requests, and charges the server for them.
fn load(server: &Server, wanted: &[Wanted], bodies: &Bodies, origin: &Origin) -> Result<Figure, Error> {
    let address = server.address(Protocol::Http1).map_err(|why| Error::Load {
        server: server.name.to_owned(),
        why: why.to_owned(),
    })?;
    let before = (account::cpu(server.pid())?, origin.counts());
    let (sent, memory) = with_memory(server, || client::send(server.name, address, wanted, bodies))?;
    let used = account::cpu(server.pid())? - before.0;
    let asked = origin.counts();
    let part = |asked: u64, of: u64| 1.0 - asked as f64 / of as f64;
    let per_request = |seconds: f64| seconds * 1e6 / sent.requests as f64;
    let rate = sent.requests as f64 / sent.took.as_secs_f64();
    Ok(Figure {
        requests: sent.requests,
        hits: part(asked.0 - before.1.0, sent.requests),
        byte_hits: part(asked.1 - before.1.1, sent.bytes),
        cpu_us: per_request(used.total()),
        user_us: per_request(used.user),
        rate,
        busy: per_request(used.total()) * rate / 1e6,
        memory: memory.0,
        peak: memory.1,
    })
}

/// Between two looks at a server's memory.
const LOOK: Duration = Duration::from_millis(700);

/// Does `work` and says what memory the server had meanwhile: MiB on average and at the most.
fn with_memory<T>(server: &Server, work: impl FnOnce() -> Result<T, Error>) -> Result<(T, (f64, f64)), Error> {
    let (pid, files) = (server.pid(), server.files_in_memory());
    let look = || {
        let bytes = account::proportional(pid)? + files.map_or(0, bytes_of_files);
        Ok::<f64, Error>(bytes as f64 / f64::from(1 << 20))
    };
    thread::scope(|scope| {
        let (done, ended) = channel::<()>();
        let looks = scope.spawn(move || {
            let mut looks = Vec::new();
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                looks.push(look()?);
            }
            looks.push(look()?);
            Ok::<_, Error>(looks)
        });
        let worked = work();
        drop(done);
        let looks = looks.join().unwrap_or_else(|_| Ok(Vec::new()))?;
        let most = looks.iter().copied().fold(0.0, f64::max);
        Ok((worked?, (looks.iter().sum::<f64>() / looks.len().max(1) as f64, most)))
    })
}

/// What the files below a directory take. What goes meanwhile takes nothing.
fn bytes_of_files(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes_of_files(&entry.path()),
            // Of 512 bytes (stat(2)).
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Keeps nginx's cache manager awake (see `peer/nginx`), for as long as it lives.
struct Manager {
    ends: Arc<AtomicBool>,
}

impl Manager {
    fn of(server: &Server) -> Option<Self> {
        if !matches!(server.kind, Kind::Nginx | Kind::NginxTuned) {
            return None;
        }
        let ends = Arc::<AtomicBool>::default();
        let (ended, address) = (Arc::clone(&ends), server.admin());
        thread::spawn(move || {
            for tick in 0_u64.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // When it fails, nginx is gone.
                let _ = crate::client::get(address, &format!("/tick/{tick}"));
                pause(NGINX_TICK);
            }
        });
        Some(Self { ends })
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "a fixed pace: there is nothing to await")]
fn pause(time: Duration) {
    thread::sleep(time);
}

impl Plan {
    /// The run of docs: `quick` is a first look.
    #[must_use]
    pub fn new(quick: bool, server_cpu: usize, load_cpu: usize) -> Self {
        let size = if quick { 4 } else { 1 };
        Self {
            objects: if quick { QUICK_OBJECTS } else { OBJECTS },
            warm: WARM / size,
            rounds: if quick { 2 } else { 5 },
            requests: REQUESTS / size,
            memory: MEMORY / size as u64,
            disk: None,
            server_cpu,
            load_cpu,
        }
    }
}

/// So many objects that a cache without a limit answers 95 % of the measured requests.
const OBJECTS: usize = 100_000;
const QUICK_OBJECTS: usize = 22_000;
const WARM: usize = 400_000;
const REQUESTS: usize = 60_000;
/// An eighth of the catalogue.
const MEMORY: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_without_a_limit_answers_95_percent_and_memory_is_a_small_part_of_the_working_set() {
        for quick in [false, true] {
            let plan = Plan::new(quick, 0, 1);
            let workload = workload(plan, &requests(plan));
            assert!((0.945..0.955).contains(&workload.limit), "{workload:?}");
            assert!(workload.catalogue > 5 * (plan.memory << 20), "{workload:?}");
            assert!(workload.asked > 2 * (plan.memory << 20), "{workload:?}");
        }
    }

    #[test]
    fn requests_are_the_same_each_time_and_of_sizes_that_the_origin_has() {
        let plan = Plan::new(true, 0, 1);
        let all = requests(plan);
        assert_eq!(all.len(), plan.warm + plan.rounds * plan.requests);
        assert_eq!(all, requests(plan));
        assert!(all.iter().all(|(_, size)| (1 << 10..=bodies::LARGEST).contains(size)));
    }

    #[test]
    fn files_take_whole_blocks() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("a")).expect("a directory");
        fs::write(directory.path().join("a/b"), [1; 5000]).expect("a file");
        let bytes = bytes_of_files(directory.path());
        assert!((5000..=65_536).contains(&bytes), "{bytes}");
    }
}
