//! What a well-behaved client has to wait for its answers: alone, and while others attack.
//!
//! Invariant: the client asks at a fixed pace on one connection, and what it waits for a new connection, when the server
//! ended the old one, counts as waiting for the answer. A request that fails altogether is counted, not left out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::attack::{Attack, Attackers};
use crate::client::{connect, exchange};
use crate::load::HOST;
use crate::{Error, machine};

/// Between two requests of the client, if the answer comes sooner.
const PACE: Duration = Duration::from_millis(1);

/// Attempts at one request.
const ATTEMPTS: u32 = 3;

/// What a client had to wait.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// The median, microseconds.
    pub p50_us: f64,
    /// What 99 of 100 stay within, microseconds.
    pub p99_us: f64,
    /// Requests that were answered.
    pub answered: usize,
    /// Requests that were not.
    pub failed: usize,
}

/// The same client, seconds apart, on the same server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct UnderAttack {
    /// Without attackers.
    pub alone: Latency,
    /// While they attack the floor on the same CPU, which reads what they send and ends each of their connections: what
    /// the machine takes for attackers, whoever is attacked.
    pub beside: Latency,
    /// While they attack the server.
    pub attacked: Latency,
    /// Connections of attackers that the server ended meanwhile.
    pub ended: u64,
}

/// Measures a client alone, then while `floor` is attacked, then under attack; `attacked` is where attackers connect to
/// then.
///
/// # Errors
/// When attackers cannot connect, or the client gets no answer at all.
pub fn under_attack(
    attack: Attack,
    client: SocketAddr,
    [floor, attacked]: [SocketAddr; 2],
    path: &str,
    seconds: u32,
    cpu: usize,
) -> Result<UnderAttack, Error> {
    machine::pin(cpu);
    let time = Duration::from_secs(seconds.into());
    let alone = measure(client, path, time)?;
    let attackers = Attackers::begin(attack, floor, path, cpu)?;
    let beside = measure(client, path, time)?;
    drop(attackers);
    let attackers = Attackers::begin(attack, attacked, path, cpu)?;
    let under = measure(client, path, time)?;
    Ok(UnderAttack {
        alone,
        beside,
        attacked: under,
        ended: attackers.ended(),
    })
}

fn measure(address: SocketAddr, path: &str, time: Duration) -> Result<Latency, Error> {
    let mut waits = Vec::new();
    let mut failed = 0;
    let mut stream = None;
    let end = Instant::now() + time;
    while Instant::now() < end {
        let begun = Instant::now();
        let answered = (0..ATTEMPTS).any(|_| {
            if stream.is_none() {
                stream = connect(address).ok();
            }
            let Some(open) = &mut stream else { return false };
            let good = exchange(open, HOST, path).is_ok_and(|answer| answer.status == 200);
            if !good {
                stream = None;
            }
            good
        });
        if answered {
            waits.push(begun.elapsed().as_secs_f64() * 1e6);
        } else {
            failed += 1;
        }
        pause(PACE.saturating_sub(begun.elapsed()));
    }
    waits.sort_by(f64::total_cmp);
    let (Some(p50_us), Some(p99_us)) = (quantile(&waits, 0.5), quantile(&waits, 0.99)) else {
        let none = std::io::Error::other(format!("none of {failed} requests was answered"));
        return Err(Error::io(format!("asking for {path}"))(none));
    };
    Ok(Latency {
        p50_us,
        p99_us,
        answered: waits.len(),
        failed,
    })
}

/// The figure that this part of the sorted ones stay within.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(((last as f64) * part).ceil() as usize).copied()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pace of a client: there is nothing to await"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_figures_that_were_measured() {
        let figures: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(quantile(&figures, 0.5), Some(51.0));
        assert_eq!(quantile(&figures, 0.99), Some(100.0));
        assert_eq!(quantile(&[7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_server_that_answers_nobody_has_no_latency() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let error = measure(address, "/", Duration::from_millis(20)).expect_err("nobody answers");
        assert!(error.to_string().contains("none of"), "{error}");
    }
}
