//! A purge by tag: of one stored response beside very many, through the admin port of Breakwater.
//!
//! Each round fills the cache, times purges of tags that one response has, then those of tags that all have.
//! Invariant: before a round's purges the origin is not asked for what is stored, and after them it is asked for every
//! single object again: what was timed is a purge that had happened when its answer came.
//!
//! Left to others: the process ([`crate::server`]), the table ([`report`]).

mod origin;
pub mod report;

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::certificate::Certificate;
use crate::load::HOST;
use crate::peer::{Kind, Protocol, Room};
use crate::server::{Common, Server};
use crate::{Error, client};
use origin::Origin;

/// What is tried.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Responses with the tag that all have.
    pub objects: usize,
    /// Rounds; each has one purge of them all.
    pub rounds: usize,
    /// Purges of one response in a round.
    pub singles: usize,
    /// The CPU the server runs on.
    #[serde(skip)]
    pub cpu: usize,
}

impl Plan {
    /// The run of docs: `quick` is a first look.
    #[must_use]
    pub fn new(quick: bool, cpu: usize) -> Self {
        Self {
            objects: if quick { 20_000 } else { 100_000 },
            rounds: if quick { 3 } else { 5 },
            singles: 200,
            cpu,
        }
    }
}

/// One round, microseconds from the request to its answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Figure {
    /// Purges of one response: their median.
    pub one: f64,
    /// Purges of all: their median.
    pub all: f64,
}

/// Tags that all responses have. After the first of them is purged they are gone, and still lie in the store.
const ALL: usize = 9;

/// Threads that fill the cache, each with a connection.
const FILLERS: usize = 8;

/// MiB of memory for what is stored.
const MEMORY: u64 = 512;

/// Every so many of what is stored is asked for before the purges.
const SAMPLE: usize = 10;

/// Starts `kind` in front of an origin whose answers have tags, and purges.
///
/// # Errors
/// When the server does not serve, or a purge did not do what it should.
pub fn run(kind: &Kind, certificate: &Certificate, plan: Plan) -> Result<Vec<Figure>, Error> {
    let origin = Origin::start()?;
    let server = Server::start(
        kind,
        Common {
            cpu: plan.cpu,
            origin: origin.address(),
            certificate,
            sizes: &[],
            room: Some(Room {
                memory: MEMORY,
                disk: None,
            }),
        },
    )?;
    let failed = |why: &str| Error::Load {
        server: server.name.to_owned(),
        why: why.to_owned(),
    };
    let address = server.address(Protocol::Http1).map_err(failed)?;
    let mut admin = client::connect(server.admin())?;
    let mut figures = Vec::with_capacity(plan.rounds);
    let mut asked = 0;
    for round in 0..plan.rounds {
        ask_all(address, plan.objects, 1)?;
        asked += plan.objects as u64;
        if origin.asked() != asked {
            return Err(failed("not every object was asked for anew after it was purged"));
        }
        ask_all(address, plan.objects, SAMPLE)?;
        if origin.asked() != asked {
            return Err(failed("not every object was stored"));
        }
        let mut ones = Vec::with_capacity(plan.singles);
        for number in 0..plan.singles.min(plan.objects) {
            ones.push(purge(&mut admin, &format!("one-{number}"))?);
        }
        let mut alls = Vec::with_capacity(ALL);
        for number in 0..ALL {
            alls.push(purge(&mut admin, &format!("all-{number}"))?);
        }
        let figure = Figure {
            one: median(ones),
            all: median(alls),
        };
        eprintln!(
            "purge, round {}/{}: one response {:.0} us, {} responses {:.0} us",
            round + 1,
            plan.rounds,
            figure.one,
            plan.objects,
            figure.all
        );
        figures.push(figure);
    }
    ask_all(address, plan.objects, 1)?;
    if origin.asked() != asked + plan.objects as u64 {
        return Err(failed("not every object was asked for anew after it was purged"));
    }
    Ok(figures)
}

/// Microseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    median.as_secs_f64() * 1e6
}

/// Asks for every `step`th object once.
fn ask_all(address: SocketAddr, objects: usize, step: usize) -> Result<(), Error> {
    let ask = move |filler: usize| -> Result<(), Error> {
        let mut stream = client::connect(address)?;
        for number in (0..objects).step_by(step).skip(filler).step_by(FILLERS) {
            let path = format!("/object/{number}");
            let answer = client::exchange(&mut stream, HOST, &path)?;
            if answer.status != 200 || answer.body != origin::body(number) {
                return Err(Error::Wrong {
                    server: "breakwater".to_owned(),
                    path,
                    why: format!("status {}, {} bytes", answer.status, answer.body.len()),
                });
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let fillers: Vec<_> = (0..FILLERS).map(|filler| scope.spawn(move || ask(filler))).collect();
        fillers.into_iter().try_for_each(|filler| {
            let panicked = |_| Error::io("filling the cache")(std::io::Error::other("a client panicked"));
            filler.join().map_err(panicked)?
        })
    })
}

/// Purges a tag; how long that took.
fn purge(admin: &mut TcpStream, tag: &str) -> Result<Duration, Error> {
    let path = "/v1/purge";
    let body = format!("{{\"edgeCache\":\"bench\",\"tags\":[\"{tag}\"]}}");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let begun = Instant::now();
    let answer = client::send(admin, &request, path)?;
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&answer.body);
    if answer.status != 200 || !said.contains("\"marks\":1,") {
        return Err(Error::Wrong {
            server: "breakwater".to_owned(),
            path: path.to_owned(),
            why: format!("status {}: {said}", answer.status),
        });
    }
    Ok(took)
}
