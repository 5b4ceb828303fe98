//! Leader election on a `coordination.k8s.io/v1` Lease: one replica writes status, all others watch.
//!
//! [`evaluate`] is pure; [`Elector::run`] is the loop around it. Clocks of replicas are never compared: a holder has expired when
//! its record has not changed for the lease's duration *as seen here*. Invariant (fail-stop): a leader considers itself
//! one only until two thirds of the duration after it *began* its last successful renewal, which is before anyone else
//! can take over. On shutdown the Lease is released, so that a successor acts at once.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::Metrics;

/// How the Lease is held.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are; unique among the replicas.
    pub identity: String,
    /// How long a holder that does not renew keeps it.
    pub duration: Duration,
    /// How often a holder renews.
    pub renew: Duration,
    /// How often another looks, and how soon a failure is tried again.
    pub retry: Duration,
}

impl LeaseConfig {
    /// 15 s, renewed every 5 s, looked at every second.
    pub fn new(namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: "breakwater-operator".to_owned(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            retry: Duration::from_secs(1),
        }
    }
}

/// Whether this replica leads, as far as it may assume.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Held>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    No,
    Until(Instant),
    Always,
}

impl Leadership {
    /// Leads without a Lease: for a single replica.
    pub fn always() -> Self {
        Self(watch::channel(Held::Always).1)
    }

    /// Whether this replica may write at `now`.
    pub fn holds(&self, now: Instant) -> bool {
        match *self.0.borrow() {
            Held::No => false,
            Held::Until(end) => now < end,
            Held::Always => true,
        }
    }

    /// Ready when this replica leads.
    pub async fn gained(&mut self) {
        let holds = |held: &Held| match held {
            Held::No => false,
            Held::Until(end) => Instant::now() < *end,
            Held::Always => true,
        };
        if self.0.wait_for(holds).await.is_err() {
            // The elector is gone for good, and with it the chance to lead.
            std::future::pending::<()>().await;
        }
    }
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: create it.
    Create,
    /// It is free or its holder has expired: take it.
    Acquire,
    /// It is ours: renew it.
    Renew,
    /// Another holds it, for at most this long.
    Wait(Duration),
}

/// A Lease as it was last seen to change.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// What it says.
    pub spec: LeaseSpec,
    /// When it was first seen to say that, by our clock.
    pub since: Instant,
}

impl Observed {
    /// What is known after the Lease was read again.
    #[must_use]
    pub fn update(before: Option<Self>, spec: LeaseSpec, now: Instant) -> Self {
        match before {
            Some(before) if before.spec == spec => before,
            _ => Self { spec, since: now },
        }
    }
}

/// What `identity` should do about a Lease; `duration` stands in where the Lease names none.
pub fn evaluate(observed: Option<&Observed>, identity: &str, duration: Duration, now: Instant) -> Step {
    let Some(observed) = observed else {
        return Step::Create;
    };
    match observed.spec.holder_identity.as_deref() {
        None | Some("") => Step::Acquire,
        Some(holder) if holder == identity => Step::Renew,
        Some(_) => {
            let seconds = observed.spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
            let duration = seconds.map_or(duration, Duration::from_secs);
            let left = duration.saturating_sub(now.saturating_duration_since(observed.since));
            if left.is_zero() {
                Step::Acquire
            } else {
                Step::Wait(left)
            }
        }
    }
}

/// Takes part in the election.
#[derive(Debug)]
pub struct Elector {
    api: Api<Lease>,
    config: LeaseConfig,
    held: watch::Sender<Held>,
    metrics: Metrics,
}

impl Elector {
    /// An elector that does not lead yet.
    pub fn new(client: &Client, config: LeaseConfig, metrics: Metrics) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &config.namespace),
            config,
            held: watch::Sender::new(Held::No),
            metrics,
        }
    }

    /// What it knows of its leadership.
    pub fn leadership(&self) -> Leadership {
        Leadership(self.held.subscribe())
    }

    /// Takes part until `stop` is ready, then releases the Lease if it is ours.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.take_part() => {}
        }
        let led = matches!(self.held.send_replace(Held::No), Held::Until(_));
        self.metrics.leader(false);
        if led && let Err(error) = self.release().await {
            tracing::info!(%error, "the lease was not released; a successor waits until it expires");
        }
    }

    async fn take_part(&self) {
        let mut observed = None;
        loop {
            let wait = match self.turn(&mut observed).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be read or written and is tried again");
                    self.config.retry
                }
            };
            let leads = Leadership(self.held.subscribe()).holds(Instant::now());
            self.metrics.leader(leads);
            if !leads && self.held.send_replace(Held::No) != Held::No {
                tracing::warn!("leadership was lost: the lease could not be renewed in time");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Looks at the Lease once and does what is to be done; the wait until the next look.
    async fn turn(&self, observed: &mut Option<Observed>) -> Result<Duration, kube::Error> {
        // A request that hangs must not outlive what was promised before it.
        let limit = self.config.duration / 3;
        let bounded = |error| kube::Error::Service(Box::new(error));
        let begun = Instant::now();
        let read = self.api.get_opt(&self.config.name);
        let lease = tokio::time::timeout(limit, read).await.map_err(bounded)??;
        let now = Instant::now();
        *observed = lease
            .as_ref()
            .map(|lease| Observed::update(observed.take(), lease.spec.clone().unwrap_or_default(), now));
        let step = evaluate(observed.as_ref(), &self.config.identity, self.config.duration, now);
        let acquires = match step {
            Step::Wait(left) => return Ok(left.min(self.config.retry)),
            Step::Renew => false,
            Step::Create | Step::Acquire => true,
        };
        let next = self.next(lease, acquires);
        let post = PostParams::default();
        let write = async {
            if step == Step::Create {
                self.api.create(&post, &next).await
            } else {
                self.api.replace(&self.config.name, &post, &next).await
            }
        };
        match tokio::time::timeout(limit, write).await.map_err(bounded)? {
            Ok(_) => {
                let end = begun + self.config.duration * 2 / 3;
                let before = self.held.send_replace(Held::Until(end));
                if before == Held::No {
                    tracing::info!(identity = self.config.identity, "this replica leads");
                }
                Ok(self.config.renew)
            }
            // Another was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(self.config.retry),
            Err(error) => Err(error),
        }
    }

    fn next(&self, lease: Option<Lease>, acquires: bool) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut next = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.config.name.clone()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let spec = next.spec.get_or_insert_default();
        if acquires {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |n| n.saturating_add(1)));
        }
        spec.holder_identity = Some(self.config.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.config.duration.as_secs()).ok();
        spec.renew_time = Some(now);
        next
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.config.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.config.identity.as_str()) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let post = PostParams::default();
        self.api.replace(&self.config.name, &post, &lease).await?;
        tracing::info!("the lease is released");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn held(holder: Option<&str>, since: Instant) -> Observed {
        Observed {
            spec: LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                lease_duration_seconds: Some(15),
                ..LeaseSpec::default()
            },
            since,
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_it_is_free_or_expired_here() {
        let start = Instant::now();
        let s = Duration::from_secs;
        for (observed, after, step) in [
            (None, 0, Step::Create),
            (Some(held(None, start)), 0, Step::Acquire),
            (Some(held(Some(""), start)), 0, Step::Acquire),
            (Some(held(Some("me"), start)), 0, Step::Renew),
            (Some(held(Some("me"), start)), 100, Step::Renew),
            (Some(held(Some("other"), start)), 0, Step::Wait(s(15))),
            (Some(held(Some("other"), start)), 14, Step::Wait(s(1))),
            (Some(held(Some("other"), start)), 15, Step::Acquire),
        ] {
            let found = evaluate(observed.as_ref(), "me", DURATION, start + s(after));
            assert_eq!(found, step, "{observed:?} after {after} s");
        }
    }

    #[test]
    fn a_renewal_by_another_counts_from_when_it_was_seen() {
        let start = Instant::now();
        let first = held(Some("other"), start);
        let unchanged = Observed::update(Some(first.clone()), first.spec.clone(), start + DURATION);
        assert_eq!(unchanged.since, start);
        let mut renewed = first.spec.clone();
        renewed.renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH));
        let seen = Observed::update(Some(first), renewed, start + DURATION);
        assert_eq!(seen.since, start + DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_ends_by_itself() {
        let (sender, receiver) = watch::channel(Held::No);
        let mut leadership = Leadership(receiver);
        let end = Instant::now() + Duration::from_secs(10);
        assert!(!leadership.holds(Instant::now()));
        sender.send_replace(Held::Until(end));
        leadership.gained().await;
        assert!(leadership.holds(Instant::now()));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!leadership.holds(Instant::now()));
    }
}
