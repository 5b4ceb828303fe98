//! When lists are fetched, and what is done with them.
//!
//! Invariants: of one list one fetch runs at a time, of all a few at once; nothing is written by a replica that does not lead.
//! What a [`Shelf`] shows may lag behind what was written: for half a minute the keeper goes by what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use tokio::time::Instant;

use super::fetch::Fetched;
use super::record::PART;
use super::{Fetcher, ListMetrics, MAX_KEPT, Record, key, record};

/// Fetches at once.
const AT_ONCE: usize = 4;
/// How long what was written counts more than what is seen.
const ECHO: Duration = Duration::from_secs(30);
/// How long a list that no policy names is kept: an edit that breaks a policy must not cost its lists.
const STRAY: Duration = Duration::from_secs(3600);
/// Changes this close together are answered by one look.
const GATHER: Duration = Duration::from_millis(50);
/// Longest time between two looks.
const IDLE: Duration = Duration::from_secs(10);

/// The URLs that policies name, and how often each is to be fetched.
pub type Wanted = BTreeMap<String, Duration>;

/// Where lists are known.
pub trait Shelf: Send + Sync {
    /// The lists to fetch.
    fn wanted(&self) -> Wanted;
    /// Ready when something may have changed. Cancel safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
    /// Whether this process is the one that fetches.
    fn leads(&self) -> bool;
    /// What is known, if it is whole.
    fn record(&self, key: &str) -> Option<Record>;
    /// The keys of all lists there.
    fn keys(&self) -> BTreeSet<String>;
    /// Keeps what is known; `list`: the list itself, compressed, if it is another one than before.
    fn keep(&self, record: Record, list: Option<Vec<u8>>) -> impl Future<Output = Result<(), String>> + Send;
    /// Forgets a list.
    fn forget(&self, key: &str) -> impl Future<Output = Result<(), String>> + Send;
}

/// Fetches what is wanted, for ever.
pub async fn keep<S: Shelf>(mut shelf: S, fetcher: Fetcher, metrics: ListMetrics) {
    let mut keeper = Keeper {
        fetcher,
        metrics,
        written: BTreeMap::new(),
        strays: BTreeMap::new(),
        shown: BTreeSet::new(),
        running: BTreeSet::new(),
    };
    let mut fetches: FuturesUnordered<Fetch> = FuturesUnordered::new();
    loop {
        let wanted = shelf.wanted();
        let mut wait = IDLE;
        keeper.show(&shelf, &wanted);
        if shelf.leads() {
            keeper.sweep(&shelf, &wanted).await;
            let (due, next) = keeper.due(&shelf, &wanted, AT_ONCE.saturating_sub(fetches.len()));
            wait = wait.min(next);
            fetches.extend(due);
        }
        tokio::select! {
            () = shelf.changed() => tokio::time::sleep(GATHER).await,
            Some(done) = fetches.next(), if !fetches.is_empty() => {
                // What is wanted may have changed since this round began.
                let wanted = shelf.wanted();
                keeper.finish(&shelf, &wanted, done).await;
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

type Fetch = BoxFuture<'static, Done>;

struct Done {
    url: String,
    before: Option<Record>,
    outcome: Result<Fetched, String>,
}

struct Keeper {
    fetcher: Fetcher,
    metrics: ListMetrics,
    /// By key: what was written, and when.
    written: BTreeMap<String, (Instant, Record)>,
    /// Lists that no policy names, since when.
    strays: BTreeMap<String, Instant>,
    shown: BTreeSet<String>,
    running: BTreeSet<String>,
}

impl Keeper {
    fn record(&self, shelf: &impl Shelf, key: &str) -> Option<Record> {
        match self.written.get(key) {
            Some((at, record)) if at.elapsed() < ECHO => Some(record.clone()),
            _ => shelf.record(key),
        }
    }

    /// The fetches that are due, as many as `room`, and when the next one is.
    fn due(&mut self, shelf: &impl Shelf, wanted: &Wanted, room: usize) -> (Vec<Fetch>, Duration) {
        let now = Timestamp::now();
        let (mut due, mut next) = (Vec::new(), IDLE);
        for (url, refresh) in wanted {
            if self.running.contains(url) {
                continue;
            }
            let before = self.record(shelf, &key(url));
            let wait = before
                .as_ref()
                .map_or(Duration::ZERO, |record| record.wait(*refresh, now));
            if !wait.is_zero() {
                next = next.min(wait);
            } else if due.len() < room {
                self.running.insert(url.clone());
                due.push(self.fetch(url.clone(), before));
            }
        }
        (due, next)
    }

    fn fetch(&self, url: String, before: Option<Record>) -> Fetch {
        let fetcher = self.fetcher.clone();
        Box::pin(async move {
            let validators = before.as_ref().map(Record::validators).unwrap_or_default();
            let outcome = fetcher.fetch(&url, &validators).await;
            Done {
                url,
                before,
                outcome: outcome.map_err(|error| error.to_string()),
            }
        })
    }

    async fn finish(&mut self, shelf: &impl Shelf, wanted: &Wanted, done: Done) {
        self.running.remove(&done.url);
        let key = key(&done.url);
        // Another leads now, or nobody asks any more.
        if !shelf.leads() || !wanted.contains_key(&done.url) {
            return;
        }
        let others = wanted.keys().map(|url| super::key(url)).filter(|other| *other != key);
        let others: usize = others
            .filter_map(|other| Some(self.record(shelf, &other)?.list?.bytes))
            .sum();
        let outcome = match done.outcome {
            Ok(Fetched::List { packed, .. }) if others.saturating_add(packed.len()) > MAX_KEPT => Err(format!(
                "with it all lists together would take more than {MAX_KEPT} bytes, packed"
            )),
            outcome => outcome,
        };
        let now = Timestamp::now();
        let (mut record, packed) = Record::after(done.before.as_ref(), &done.url, outcome, now);
        let compressed = match packed {
            Some(packed) => {
                let compressed = tokio::task::spawn_blocking(move || record::compress(&packed)).await;
                compressed
                    .map_err(|error| error.to_string())
                    .and_then(|done| done.map_err(|error| error.to_string()))
                    .map(Some)
            }
            None => Ok(None),
        };
        let changed = matches!(compressed, Ok(Some(_)));
        if let (Ok(Some(compressed)), Some(list)) = (&compressed, &mut record.list) {
            list.parts = compressed.len().div_ceil(PART);
        }
        let kept = match compressed {
            Ok(list) => shelf.keep(record.clone(), list).await,
            Err(error) => Err(error),
        };
        let url = record.url.as_str();
        let result = match (&kept, &record.failure) {
            (Err(error), _) => {
                tracing::warn!(url, error, "a list of addresses could not be kept and is fetched again");
                "failed"
            }
            (Ok(()), Some(failure)) => {
                let error = failure.message.as_str();
                tracing::warn!(
                    url,
                    error,
                    "a list of addresses could not be fetched and is tried again"
                );
                "failed"
            }
            (Ok(()), None) if changed => {
                let entries = record.list.as_ref().map_or(0, |list| list.entries);
                tracing::info!(url, entries, "a list of addresses was fetched");
                "changed"
            }
            (Ok(()), None) => "unchanged",
        };
        self.metrics.fetched(&key, result);
        if kept.is_err() {
            // What is there is as it was; after a while all of it is asked for again.
            record = done.before.unwrap_or(Record {
                list: None,
                confirmed: None,
                ..record
            });
            record.checked = now;
        }
        self.written.insert(key, (Instant::now(), record));
    }

    /// Forgets lists that nobody has asked for in a while.
    async fn sweep(&mut self, shelf: &impl Shelf, wanted: &Wanted) {
        self.written.retain(|_, (at, _)| at.elapsed() < ECHO);
        let wanted: BTreeSet<String> = wanted.keys().map(|url| key(url)).collect();
        let there = shelf.keys();
        self.strays
            .retain(|key, _| there.contains(key) && !wanted.contains(key));
        for stray in there.difference(&wanted) {
            let since = *self.strays.entry(stray.clone()).or_insert_with(Instant::now);
            if since.elapsed() < STRAY {
                continue;
            }
            if let Err(error) = shelf.forget(stray).await {
                tracing::warn!(list = stray, error, "a list of addresses could not be deleted");
            }
            self.strays.remove(stray);
        }
    }

    fn show(&mut self, shelf: &impl Shelf, wanted: &Wanted) {
        let now: BTreeSet<String> = wanted.keys().map(|url| key(url)).collect();
        self.metrics.forget(self.shown.difference(&now).map(String::as_str));
        for record in now.iter().filter_map(|key| self.record(shelf, key)) {
            self.metrics.show(&record);
        }
        self.shown = now;
    }
}
