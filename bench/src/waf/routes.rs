//! Memory by number of routes that have the same rules, each with an exclusion of its own.
//!
//! Invariant: memory is the proportional set size of the whole process tree: what a master and its worker share is counted
//! once. Each figure is a fresh server's, after every route has refused an attack and served a request.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use super::requests::Site;
use super::server::{Common, Kind, Server, Sites, request};
use super::{Plan, client};
use crate::measure::Row;
use crate::{Error, account};

/// How many.
pub const ROUTES: [usize; 4] = [1, 4, 16, 64];

/// MiB that must be free for each route of libmodsecurity, which has the rules once for each.
const FREE: u64 = 100;

/// A server's memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Memory {
    /// Routes that it has.
    pub routes: usize,
    /// MiB that it takes.
    pub mib: f64,
}

/// Measures every server with every number of routes.
pub(super) fn run(
    kinds: &[Kind],
    common: Common<'_>,
    plan: Plan,
    left_out: &mut BTreeMap<String, String>,
) -> Row<Vec<Memory>> {
    let mut row = Row::new("memory by number of routes");
    for _ in 0..plan.route_rounds {
        for kind in kinds {
            if row.absent.contains_key(kind.name()) {
                continue;
            }
            let mut counts = ROUTES.to_vec();
            if *kind == Kind::Nginx {
                counts.retain(|routes| {
                    let free = available().unwrap_or(0);
                    let enough = *routes == 1 || free >= FREE * *routes as u64;
                    if !enough {
                        let why = format!("only {free} MiB of memory are free");
                        left_out.insert(format!("{}, {routes} routes", kind.name()), why);
                    }
                    enough
                });
            }
            let figures: Result<Vec<_>, _> = counts.into_iter().map(|routes| measure(kind, common, routes)).collect();
            row.add(kind.name(), figures);
        }
    }
    row
}

fn measure(kind: &Kind, common: Common<'_>, routes: usize) -> Result<Memory, Error> {
    eprintln!("{} with {routes} routes", kind.name());
    let server = Server::start(kind, common, Sites::Routes(routes))?;
    for route in 0..routes {
        client::ask(
            server.address,
            request(Site::Enforce, &format!("/r{route}/?page=1")).as_bytes(),
        )?;
    }
    Ok(Memory {
        routes,
        mib: account::proportional(server.pid())? as f64 / f64::from(1 << 20),
    })
}

/// MiB of memory that the machine has left.
fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes >> 10)
}

/// KiB for each route more, between the least and the largest number of routes.
#[must_use]
pub fn slope(figures: &[Memory]) -> Option<f64> {
    let (first, last) = (figures.first()?, figures.last()?);
    let more = last.routes.checked_sub(first.routes).filter(|more| *more > 0)?;
    Some((last.mib - first.mib) * 1024.0 / more as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_what_a_route_more_takes() {
        let memory = |routes, mib| Memory { routes, mib };
        assert_eq!(slope(&[memory(1, 10.0), memory(4, 50.0), memory(65, 12.0)]), Some(32.0));
        assert_eq!(slope(&[memory(1, 10.0)]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn the_machine_says_how_much_memory_is_left() {
        assert!(available().is_some_and(|mib| mib > 0));
    }
}
