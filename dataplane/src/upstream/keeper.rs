//! The thread that keeps what is known of origins true: resolves their names, checks their health.
//!
//! Invariant: no request waits for it but those for a name that was never answered for. It starts with the first origin
//! that needs it, and ends with the data plane.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, JoinSet, LocalSet};
use tokio::time::sleep;

use super::health;
use super::origin::{Fleet, Origin};
use super::resolve::Resolver;

/// Questions for names under way at once.
const LOOKUPS: usize = 64;

/// Health checks under way at once.
const CHECKS: usize = 256;

/// An answer is used at least and at most so long, whatever its TTL says.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A name that cannot be resolved is asked for again after so long at most.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// What the tasks of the thread share.
pub(super) struct Shared {
    resolver: Resolver,
    lookups: Semaphore,
    pub(super) checks: Semaphore,
}

/// Starts the thread; `wake` tells it that the origins have changed, or that the fleet is gone.
pub(super) fn start(fleet: &Arc<Fleet>, wake: Arc<Notify>) {
    let fleet = Arc::downgrade(fleet);
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, keep(&fleet, &wake)),
            Err(error) => tracing::error!(%error, "origins are neither resolved nor checked"),
        }
    };
    if let Err(error) = thread::Builder::new().name("origins".to_owned()).spawn(run) {
        tracing::error!(%error, "origins are neither resolved nor checked");
    }
}

async fn keep(fleet: &Weak<Fleet>, wake: &Notify) {
    let Some(name_servers) = fleet.upgrade().map(|fleet| fleet.name_servers.clone()) else {
        return;
    };
    let shared = Rc::new(Shared {
        resolver: Resolver::new(&name_servers),
        lookups: Semaphore::new(LOOKUPS),
        checks: Semaphore::new(CHECKS),
    });
    let mut tasks = JoinSet::new();
    let mut kept = BTreeMap::<String, (Arc<Origin>, AbortHandle)>::new();
    loop {
        let Some(fleet) = fleet.upgrade() else { return };
        let origins: BTreeMap<_, _> = fleet.origins().into_iter().map(|o| (o.label.clone(), o)).collect();
        drop(fleet);
        kept.retain(|label, (origin, task)| {
            let stays = origins.get(label).is_some_and(|now| Arc::ptr_eq(now, origin));
            if !stays {
                task.abort();
            }
            stays
        });
        for (label, origin) in origins {
            if origin.needs_keeping() && !kept.contains_key(&label) {
                let task = tasks.spawn_local(keep_origin(Arc::clone(&origin), Rc::clone(&shared)));
                kept.insert(label, (origin, task));
            }
        }
        while tasks.try_join_next().is_some() {}
        wake.notified().await;
    }
}

async fn keep_origin(origin: Arc<Origin>, shared: Rc<Shared>) {
    let mut tasks = JoinSet::new();
    for name in origin.names() {
        tasks.spawn_local(keep_name(Arc::clone(&origin), Rc::clone(&shared), name));
    }
    if let Some(check) = origin.unit.health.clone() {
        health::keep(&origin, &shared, check).await;
    }
    while tasks.join_next().await.is_some() {}
}

/// Asks for a name again and again, as its TTL says.
async fn keep_name(origin: Arc<Origin>, shared: Rc<Shared>, name: String) {
    let mut backoff = TTL.0;
    let mut failing = false;
    loop {
        let answer = match shared.lookups.acquire().await {
            Ok(_permit) => shared.resolver.lookup(&name).await,
            Err(_) => return,
        };
        let wait = match answer {
            Ok((addresses, ttl)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(resource = origin.label, "the name {name} is resolved again");
                }
                origin.resolved(&name, Ok(addresses));
                backoff = TTL.0;
                ttl.clamp(TTL.0, TTL.1)
            }
            Err(reason) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(resource = origin.label, "the name {name} cannot be resolved: {reason}");
                }
                origin.resolved(&name, Err(reason));
                let wait = backoff;
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
                wait
            }
        };
        sleep(wait).await;
    }
}
