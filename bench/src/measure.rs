//! The rounds: every server once in each, so that what else the machine does weighs on all.
//!
//! Invariant: a server that does not offer a row, or fails in it, is in the row with the reason; it has then no figures
//! there, not some.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::attack::Attack;
use crate::latency::{self, UnderAttack};
use crate::load::{self, Load, Run};
use crate::origin::Origin;
use crate::peer::{Kind, Protocol};
use crate::server::{Common, Server};
use crate::{Error, check, idle};

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds; each measures every server once.
    pub rounds: u32,
    /// Seconds of load in one round.
    pub seconds: u32,
    /// The CPU the load generator runs on.
    pub load_cpu: usize,
    /// Idle connections to open.
    pub idle: usize,
    /// How often idle connections are measured, on a fresh server each time.
    pub idle_rounds: u32,
}

/// A workload of the bench.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Its name in reports and of its budgets.
    pub name: &'static str,
    /// What is done.
    pub load: Load,
    /// Bytes of the object that is asked for.
    pub size: usize,
}

/// The workloads, in their order.
pub const WORKLOADS: [Workload; 6] = [
    Workload {
        name: "cache hit, 1 KiB, HTTP/1.1",
        load: Load::KeepAlive,
        size: 1 << 10,
    },
    Workload {
        name: "cache hit, 100 KiB, HTTP/1.1",
        load: Load::KeepAlive,
        size: 100 << 10,
    },
    Workload {
        name: "cache hit, 1 KiB, HTTP/2 in clear text, 1 stream",
        load: Load::Http2(1),
        size: 1 << 10,
    },
    Workload {
        name: "cache hit, 1 KiB, HTTP/2 in clear text, 10 streams",
        load: Load::Http2(10),
        size: 1 << 10,
    },
    Workload {
        name: "cache hit, 1 KiB, TLS 1.3 kept alive",
        load: Load::TlsKeepAlive,
        size: 1 << 10,
    },
    Workload {
        name: "full TLS 1.3 handshake and one cache hit, 1 KiB",
        load: Load::TlsHandshakes,
        size: 1 << 10,
    },
];

/// The objects of the run.
pub const SIZES: [usize; 2] = [1 << 10, 100 << 10];

/// The protocols whose idle connections are measured.
pub const IDLE: [(&str, Protocol); 3] = [
    ("HTTP/1.1 in clear text", Protocol::Http1),
    ("HTTP/1.1 over TLS 1.3", Protocol::Tls),
    ("HTTP/2 in clear text", Protocol::Http2),
];

/// One workload: every server's figures, one for each round, and those without and why.
#[derive(Debug, Clone, Serialize)]
pub struct Row<T> {
    /// The row's name.
    pub name: &'static str,
    /// Server name to its figures.
    pub figures: BTreeMap<&'static str, Vec<T>>,
    /// Server name to the reason why it has none.
    pub absent: BTreeMap<&'static str, String>,
}

impl<T> Row<T> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            figures: BTreeMap::new(),
            absent: BTreeMap::new(),
        }
    }

    /// Nobody is measured in it.
    fn leave_out(&mut self, kinds: &[Kind]) {
        let absent = kinds.iter().map(|kind| (kind.name(), "left out by --only".to_owned()));
        self.absent.extend(absent);
    }

    pub(crate) fn add(&mut self, server: &'static str, figure: Result<T, Error>) {
        match figure {
            Ok(figure) => self.figures.entry(server).or_default().push(figure),
            Err(error) => {
                let why = match error {
                    // The server is named beside it.
                    Error::Wrong { why, .. } | Error::Load { why, .. } | Error::Server { why, .. } => why,
                    other => other.to_string(),
                };
                self.figures.remove(server);
                self.absent.insert(server, why);
            }
        }
    }
}

/// Every workload whose name contains `only` against every server.
#[must_use]
pub fn requests(kinds: &[Kind], common: Common<'_>, origin: &Origin, plan: Plan, only: &str) -> Vec<Row<Run>> {
    let mut servers = Vec::new();
    let mut broken = BTreeMap::new();
    let wanted = WORKLOADS.iter().any(|workload| workload.name.contains(only));
    for kind in kinds.iter().filter(|_| wanted) {
        match Server::start(kind, common) {
            Ok(server) => servers.push(server),
            Err(error) => drop(broken.insert(kind.name(), error.to_string())),
        }
    }
    let mut rows = Vec::new();
    for workload in WORKLOADS {
        let Workload { name, load, size } = workload;
        let mut row = Row::new(name);
        row.absent.clone_from(&broken);
        if !name.contains(only) {
            row.leave_out(kinds);
            rows.push(row);
            continue;
        }
        // Each server has its own paths, so that the origin's count tells who asked.
        let path = |server: &Server| format!("/{}/hit/{size}", server.name);
        for server in &servers {
            let proved = match server.address(load.protocol()) {
                Ok(_) => check::prove_hit(server, load.protocol(), common.certificate, origin, &path(server), size),
                Err(why) => Err(Error::Load {
                    server: server.name.to_owned(),
                    why: why.to_owned(),
                }),
            };
            if let Err(error) = proved {
                row.add(server.name, Err(error));
            }
        }
        for round in 1..=plan.rounds {
            for server in &servers {
                if row.absent.contains_key(server.name) {
                    continue;
                }
                let run = load::run(server, load, origin, &path(server), size, plan.seconds, plan.load_cpu);
                if let Ok(run) = &run {
                    eprintln!(
                        "{name}, round {round}/{}: {:11} {:6.2} us, {:.0}/s",
                        plan.rounds, server.name, run.cpu_us, run.rate
                    );
                }
                row.add(server.name, run);
            }
        }
        rows.push(row);
    }
    rows
}

/// Resident bytes per idle connection, of every protocol whose row's name contains `only`, at every server.
#[must_use]
pub fn idle(kinds: &[Kind], common: Common<'_>, origin: &Origin, plan: Plan, only: &str) -> Vec<Row<f64>> {
    let mut rows = Vec::new();
    for (name, protocol) in IDLE {
        let mut row = Row::new(name);
        if !format!("idle, {name}").contains(only) {
            row.leave_out(kinds);
        }
        for _round in 0..plan.idle_rounds {
            for kind in kinds {
                if row.absent.contains_key(kind.name()) || *kind == Kind::NginxTuned {
                    continue;
                }
                let server = match Server::start(kind, common) {
                    Ok(server) => server,
                    Err(error) => {
                        row.add(kind.name(), Err(error));
                        continue;
                    }
                };
                let path = format!("/{}-idle/hit/1024", server.name);
                let bytes = match server.address(protocol) {
                    Ok(_) => check::prove_hit(&server, protocol, common.certificate, origin, &path, 1024)
                        .and_then(|()| idle::measure(&server, protocol, common.certificate, &path, plan.idle)),
                    Err(why) => Err(Error::Load {
                        server: server.name.to_owned(),
                        why: why.to_owned(),
                    }),
                };
                if let Ok(bytes) = bytes {
                    eprintln!(
                        "idle, {name}: {:11} {bytes:.0} bytes of RSS per connection",
                        server.name
                    );
                }
                row.add(server.name, bytes);
            }
        }
        rows.push(row);
    }
    rows
}

/// What a well-behaved client waits for at every server while it is attacked, each time on a fresh server.
#[must_use]
pub fn attacks(kinds: &[Kind], common: Common<'_>, origin: &Origin, plan: Plan) -> Vec<Row<UnderAttack>> {
    let mut rows = Vec::new();
    // The floor is where attackers are when they are elsewhere.
    let Some(floor) = kinds.iter().find(|kind| matches!(kind, Kind::Floor(_))) else {
        return rows;
    };
    for attack in Attack::ALL {
        let mut row = Row::new(attack.name());
        for round in 1..=plan.rounds {
            let attacked = |kind: &&Kind| !matches!(kind, Kind::Floor(_) | Kind::NginxTuned);
            for kind in kinds.iter().filter(attacked) {
                if row.absent.contains_key(kind.name()) {
                    continue;
                }
                let figure = Server::start(kind, common).and_then(|server| {
                    let floor = Server::start(floor, common)?;
                    let path = format!("/{}-attacked/hit/1024", server.name);
                    let address = |protocol| {
                        server.address(protocol).map_err(|why| Error::Load {
                            server: server.name.to_owned(),
                            why: why.to_owned(),
                        })
                    };
                    let (client, attacked) = (address(Protocol::Http1)?, address(attack.protocol())?);
                    check::prove_hit(&server, Protocol::Http1, common.certificate, origin, &path, 1024)?;
                    let floor = floor.address(Protocol::Http1).map_err(|why| Error::Load {
                        server: floor.name.to_owned(),
                        why: why.to_owned(),
                    })?;
                    latency::under_attack(attack, client, [floor, attacked], &path, plan.seconds, plan.load_cpu)
                });
                if let Ok(figure) = &figure {
                    eprintln!(
                        "{}, round {round}/{}: {:11} p99 {:.0} us alone, {:.0} us while the floor is attacked, {:.0} us under attack",
                        attack.name(),
                        plan.rounds,
                        kind.name(),
                        figure.alone.p99_us,
                        figure.beside.p99_us,
                        figure.attacked.p99_us
                    );
                }
                row.add(kind.name(), figure);
            }
        }
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_fails_in_a_row_has_the_reason_and_no_figures() {
        let mut row = Row::new("x");
        row.add("nginx", Ok(1.0));
        row.add("nginx", Ok(2.0));
        assert_eq!(row.figures["nginx"], [1.0, 2.0]);
        row.add(
            "nginx",
            Err(Error::Load {
                server: "nginx".to_owned(),
                why: "it ended".to_owned(),
            }),
        );
        assert!(row.figures.is_empty());
        assert_eq!(row.absent["nginx"], "it ended");
    }
}
