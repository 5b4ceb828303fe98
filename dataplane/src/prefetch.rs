//! Fetching before a client asks: each node walks through an EdgeCache's list of URLs and sitemaps.
//!
//! A list belongs to one worker, by the site's id, so that a run needs no word between threads; a task of that worker
//! asks what [`plan::Plan`] says may be asked now, by the way clients' requests take beyond the hit path
//! (`handler::cache::prefetch`): policy, key, coalescing and validation are the cache's. What is asked passes no
//! policy, is counted as no client's request, and waits whenever the worker is late or memory is short.
//!
//! What failed is tried again after 30 s, then after twice as long each time, ten minutes at most.
//!
//! Bounds: 50,000 URLs in a run; requests in a second and at once are settings; ten minutes for a request; one sitemap in
//! memory at a time in the process, of 16 MiB. A node without lists pays nothing.

mod board;
mod list;
mod plan;
mod sitemap;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use breakwater_cache::purge::{Purged, Stamp};
use breakwater_snapshot::ObjectId;
use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::unix_seconds;
use crate::config::WorkerConfig;
use crate::handler::prefetch as request;
use crate::telemetry::{PrefetchResult, ResourceCells};
use crate::worker::{Pressure, Worker};
pub(crate) use board::Board;
pub(crate) use list::{Scheme, Settings, Url};
use plan::{Cause, Item, Next, Now, Plan, Ticket};

/// Longest time that one request may take.
const LONGEST: Duration = Duration::from_secs(600);

/// How often it is looked whether a list was purged, and whether a pressure is over.
const LOOK: Duration = Duration::from_millis(500);

/// What is stored already and fresh costs next to nothing: so many are looked up before others have their turn.
const AT_A_TIME: usize = 32;

/// Walks through the lists of a worker for as long as it lives.
pub(crate) async fn run(worker: Rc<Worker>) {
    let config = Rc::clone(&worker.config.borrow());
    let mut walker = Walker {
        config,
        worker,
        sites: BTreeMap::new(),
        running: JoinSet::new(),
        births: 0,
    };
    walker.take_on();
    while !walker.worker.draining.get() {
        let wait = walker.advance();
        let asleep = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = walker.worker.reconfigured.notified() => walker.take_on(),
            Some(done) = walker.running.join_next() => {
                if let Ok(done) = done {
                    walker.settle(done);
                }
            }
            () = asleep => {}
        }
    }
}

struct Walker {
    worker: Rc<Worker>,
    config: Rc<WorkerConfig>,
    /// By label.
    sites: BTreeMap<String, Site>,
    running: JoinSet<Done>,
    /// Counts the lists that came new.
    births: u64,
}

/// An EdgeCache with a list.
struct Site {
    id: ObjectId,
    /// Tells it from one of the same name that was there before.
    birth: u64,
    /// For [`WorkerConfig::resource`].
    index: u32,
    /// The cache's name for it.
    cache_id: u64,
    plan: Plan,
    /// From when the last run was asked for.
    stamp: Stamp,
    cells: Arc<ResourceCells>,
}

/// A request that is over.
struct Done {
    label: String,
    birth: u64,
    ticket: Ticket,
    item: Item,
    got: request::Got,
    pages: Option<Result<sitemap::Found, String>>,
}

impl Walker {
    fn board(&self) -> Arc<Board> {
        Arc::clone(&self.worker.metrics.prefetch)
    }

    fn now(&self) -> Now {
        self.worker.clock.refresh();
        Now {
            ms: self.worker.clock.now_ms(),
            unix: unix_seconds(),
        }
    }

    /// Takes the configuration in force.
    fn take_on(&mut self) {
        self.config = Rc::clone(&self.worker.config.borrow());
        let now = self.now();
        let config = Rc::clone(&self.config);
        let mut before = std::mem::take(&mut self.sites);
        let board = self.board();
        for (index, resource, site, settings) in config.prefetches() {
            if !board.is_of(site.id, self.worker.index) {
                continue;
            }
            let Ok(id) = resource.label.parse::<ObjectId>() else {
                continue;
            };
            let delay = board.delay_ms();
            let site = match before.remove(&resource.label) {
                Some(mut known) => {
                    known.index = index;
                    if known.plan.take_on(settings, resource.generation, now, delay) {
                        known.stamp = self.worker.cache.stamp(site.id);
                    }
                    known
                }
                None => Site {
                    id,
                    birth: {
                        self.births += 1;
                        self.births
                    },
                    index,
                    cache_id: site.id,
                    plan: Plan::new(settings, resource.generation, now, delay),
                    stamp: self.worker.cache.stamp(site.id),
                    cells: Arc::clone(&config.local(index).cells),
                },
            };
            board.set(site.plan.progress(&site.id));
            self.sites.insert(resource.label.clone(), site);
        }
        for site in before.values() {
            board.remove(&site.id);
        }
    }

    /// Asks what may be asked now; the time until more may be, none if there are no lists.
    fn advance(&mut self) -> Option<Duration> {
        if self.sites.is_empty() {
            return None;
        }
        let pressed = self.worker.pressure() > Pressure::None;
        let mut wait = LOOK;
        let mut looked = 0;
        let board = self.board();
        let labels: Vec<String> = self.sites.keys().cloned().collect();
        for label in labels {
            let now = self.now();
            self.notice_purge(&label, now);
            while let Some(site) = self.sites.get_mut(&label) {
                match site.plan.next(now, pressed, board.delay_ms()) {
                    Next::Ask(ticket, item) => {
                        looked += 1;
                        self.ask(&label, ticket, item, now);
                    }
                    Next::Wait(ms) => {
                        wait = wait.min(Duration::from_millis(ms));
                        break;
                    }
                    Next::Nothing => break,
                }
                if looked >= AT_A_TIME {
                    wait = Duration::ZERO;
                    break;
                }
            }
            self.tell(&label);
        }
        Some(wait)
    }

    /// What was purged as a whole is fetched again.
    fn notice_purge(&mut self, label: &str, now: Now) {
        let delay = self.board().delay_ms();
        let Some(site) = self.sites.get_mut(label) else { return };
        if site.stamp.purged(&[], &AtomicU64::new(0)) == Purged::No {
            return;
        }
        site.stamp = self.worker.cache.stamp(site.cache_id);
        site.plan.begin(Cause::Purge, now, delay);
    }

    fn ask(&mut self, label: &str, ticket: Ticket, item: Item, now: Now) {
        let board = self.board();
        let Some(site) = self.sites.get_mut(label) else { return };
        let settings = Arc::clone(site.plan.settings());
        let lines = match item {
            Item::Page { variant, .. } => settings.list.variants.get(variant).map_or("", String::as_str),
            Item::Sitemap { .. } => sitemap::FIELDS,
        };
        let ask = request::Ask {
            url: item.url(),
            fields: lines,
            https_port: board.https_port,
        };
        let job = match request::job(&self.worker, &self.config, site.index, &ask) {
            Ok(job) => job,
            Err(reason) => return self.refused(label, ticket, &item, reason, now),
        };
        let keeps = matches!(item, Item::Sitemap { .. });
        if !keeps && let Some(got) = request::stored(&self.worker, &job) {
            return self.count(label, ticket, &item, &got, now);
        }
        site.plan.begun(now);
        let worker = Rc::clone(&self.worker);
        let most = keeps.then_some(sitemap::LIMITS.bytes);
        let (label, birth) = (label.to_owned(), site.birth);
        self.running.spawn_local(async move {
            // One document at a time, whoever reads it.
            let turn = match keeps {
                true => board.sitemaps.acquire().await.ok(),
                false => None,
            };
            let fetching = AssertUnwindSafe(request::fetch(&worker, &job, most)).catch_unwind();
            let mut got = match timeout(LONGEST, fetching).await {
                Ok(Ok(got)) => got,
                Ok(Err(_)) => request::Got::failed("it could not be asked for: a fault of ours, see the log"),
                Err(_) => request::Got::failed("it took longer than 10 minutes"),
            };
            let pages = match &item {
                Item::Sitemap { url, depth } if got.result != PrefetchResult::Failed => {
                    let (url, depth, body) = (Arc::clone(url), *depth, std::mem::take(&mut got.body));
                    // A large document takes longer than clients of this worker should wait.
                    let reading = tokio::task::spawn_blocking(move || sitemap::read(&url, depth, &body));
                    let fault = || Err("it could not be read: a fault of ours, see the log".to_owned());
                    Some(reading.await.unwrap_or_else(|_| fault()))
                }
                _ => None,
            };
            drop(turn);
            Done {
                label,
                birth,
                ticket,
                item,
                got,
                pages,
            }
        });
    }

    fn refused(&mut self, label: &str, ticket: Ticket, item: &Item, reason: String, now: Now) {
        self.count(label, ticket, item, &request::Got::failed(reason), now);
    }

    /// Takes in a request that is over.
    fn settle(&mut self, done: Done) {
        let now = self.now();
        let Done {
            label,
            birth,
            ticket,
            item,
            mut got,
            pages,
        } = done;
        let Some(site) = self.sites.get_mut(&label).filter(|site| site.birth == birth) else {
            return;
        };
        site.plan.ended();
        match pages {
            Some(Ok(found)) => site.plan.found(ticket, &found),
            Some(Err(reason)) => got = request::Got::failed(reason),
            None => {}
        }
        self.count(&label, ticket, &item, &got, now);
    }

    fn count(&mut self, label: &str, ticket: Ticket, item: &Item, got: &request::Got, now: Now) {
        let Some(site) = self.sites.get_mut(label) else { return };
        site.cells.prefetch(got.result).add(1);
        let over = site.plan.done(ticket, item, got.result, got.reason.as_deref(), now);
        if let Some(over) = over {
            over.log(label);
        }
        self.tell(label);
    }

    fn tell(&self, label: &str) {
        if let Some(site) = self.sites.get(label) {
            self.worker.metrics.prefetch.set(site.plan.progress(&site.id));
        }
    }
}
