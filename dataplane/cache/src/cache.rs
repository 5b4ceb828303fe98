//! The cache as the data plane uses it: store, fills and purges, joined by policy.
//!
//! A request goes: [`Cache::lookup`]; on a miss [`Cache::join`]; who leads fetches and calls [`Cache::publish`] with
//! the head, pushes content, and ends with [`Cache::complete`], or with [`Cache::revalidated`] for a 304.
//!
//! Invariants: an object is in the store before its fill ends, so that a request finds one or the other; what was
//! asked for before a purge or an invalidation is not stored after it; one cache serves all workers, and only a
//! shard's lock is on a hit's way.

mod counts;
mod forgetting;
mod look;
mod parts;
mod storing;
mod tier;
mod types;

pub use counts::PurgeCounts;
pub use look::{InTier, Seen, Stored, Written};
pub use tier::Step;
pub use types::{Config, Joined, Lookup, Prefix, Purge, Revalidated, Stats, Target};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderMap;

use crate::fill::{FillHead, FillReader, FillWriter, Fills, Join};
use crate::history::History;
use crate::key::{Key, KeyBuilder, Keyer};
use crate::object::{Body, Object};
use crate::policy::fresh::{Verdict, evaluate};
use crate::policy::request::{Admission, RequestMeta};
use crate::policy::site::Rule;
use crate::purge::{Epochs, Purged, Stamp};
use crate::searches::{News, Search, Searches};
use crate::store::Ram;
use crate::time::Timestamp;
use crate::vary::{self, FieldValues};
use counts::PurgeCounters;
use storing::shared_fields;
use tier::Tier;

/// Keys of one guard share when they were last invalidated: now and then a response is not stored for nothing.
const GUARDS: usize = 4096;

/// A cache, shared by all workers.
#[derive(Debug)]
pub struct Cache {
    keyer: Keyer,
    ram: Ram,
    fills: Fills,
    epochs: Epochs,
    searches: Searches,
    history: History,
    guards: Box<[AtomicU64]>,
    purges: PurgeCounters,
    tier: Tier,
}

impl Cache {
    /// An empty cache.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            keyer: Keyer::new(config.seed),
            ram: Ram::new(config.ram),
            fills: Fills::new(config.fills),
            epochs: Epochs::new(config.max_marks),
            searches: Searches::default(),
            history: History::default(),
            guards: (0..GUARDS).map(|_| AtomicU64::new(0)).collect(),
            purges: PurgeCounters::default(),
            tier: Tier::default(),
        })
    }

    /// Changes how many bytes may be stored in memory; evicts what is too much.
    pub fn set_ram_limit(&self, bytes: u64) {
        self.ram.set_limit(bytes);
    }

    /// Hashes keys and tags.
    pub const fn keyer(&self) -> &Keyer {
        &self.keyer
    }

    /// Begins a key.
    pub fn key(&self, site: u64) -> KeyBuilder {
        self.keyer.start(site)
    }

    /// How the queries of a path are compared, where its origin has said so. `path` has no query yet.
    pub fn search(&self, path: &KeyBuilder) -> Option<Arc<Search>> {
        if !self.searches.any() {
            return None;
        }
        self.searches.get(path.clone().any_query().finish())
    }

    /// Takes in what a stored response says about the queries of its path ([`KeyBuilder::any_query`]). Returns whether keys of
    /// this path have changed.
    pub fn learn_search(&self, path: Key, fields: &HeaderMap) -> bool {
        let news = self.searches.learn(path, fields);
        if news == News::Unlearnt {
            // What was stored under it must not be found again.
            self.has_news();
        }
        news != News::None
    }

    /// The fills, for what the methods here do not cover.
    pub const fn fills(&self) -> &Fills {
        &self.fills
    }

    /// The present in purges of `site`; to be taken before the origin is asked.
    pub fn stamp(&self, site: u64) -> Stamp {
        self.epochs.stamp(site)
    }

    /// Notes the time, milliseconds on any clock that only goes forward, so that [`Self::stamp_of`] can say what had been
    /// purged at it. To be called now and then, and after purges; costs a comparison when nothing was purged since.
    pub fn note_time(&self, now_ms: impl FnOnce() -> u64) {
        // In this order: the time must not be from before the purges it is noted for.
        let logical = self.epochs.now();
        self.history.note(now_ms, logical);
    }

    /// The stamp of a response of `site` that another cache asked for at `at_ms`, on the clock of [`Self::note_time`].
    /// As old as it may have been, never younger.
    pub fn stamp_of(&self, site: u64, at_ms: u64) -> Stamp {
        self.epochs.stamp_from(site, self.history.at(at_ms))
    }

    /// What the store has for a request; `rule` is the first whose paths match it.
    pub fn lookup(
        &self,
        key: Key,
        request: &RequestMeta,
        rule: Option<&Rule>,
        values: &FieldValues<'_>,
        now: Timestamp,
    ) -> Lookup {
        if let Admission::Bypass(bypass) = request.admission(rule) {
            return Lookup::Bypass(bypass);
        }
        only_if_cached(request, self.find(key, request, values, now))
    }

    fn find(&self, key: Key, request: &RequestMeta, values: &FieldValues<'_>, now: Timestamp) -> Lookup {
        let Some(object) = self.ram.get(key, &self.keyer, values) else {
            return Lookup::Miss;
        };
        self.used(key, &object, now);
        self.evaluate(key, object, request, now)
    }

    /// What an object is to a request.
    fn evaluate(&self, key: Key, object: Arc<Object>, request: &RequestMeta, now: Timestamp) -> Lookup {
        let purged = object.purged();
        if purged == Purged::Hard {
            self.ram.lock(key).remove_object(&object);
            return Lookup::Miss;
        }
        match evaluate(&object.meta.freshness, &request.directives, purged == Purged::Soft, now) {
            Verdict::Fresh { age, ttl } => Lookup::Hit { object, age, ttl },
            Verdict::Stale {
                age,
                ttl,
                while_revalidate,
                on_error,
            } => Lookup::Stale {
                object,
                age,
                ttl,
                while_revalidate,
                on_error,
                requested: false,
            },
            Verdict::MustRevalidate { age, on_error } => Lookup::Stale {
                age,
                ttl: 0,
                while_revalidate: false,
                on_error,
                requested: !object.meta.freshness.no_cache,
                object,
            },
        }
    }

    /// Whether this very object is stored in memory.
    pub fn holds(&self, key: Key, object: &Arc<Object>) -> bool {
        self.ram.holds(key, object)
    }

    /// A fill that nobody can join, for a response that came to one request alone and may be stored. `None` when there are
    /// too many fills.
    pub fn alone(&self, key: Key, stamp: &Stamp) -> Option<(FillWriter, FillReader)> {
        self.fills.alone(key, stamp)
    }

    /// Joins or begins the fetch for a request that the store does not answer.
    pub fn join(&self, target: &Target, request: &RequestMeta, values: &FieldValues<'_>, now: Timestamp) -> Joined {
        let rule = self.ram.rule(target.key).unwrap_or_default();
        self.join_variant(target, &rule, request, values, now)
    }

    /// As [`Self::join`], for a follower whose request does not match the `Vary` of the head it waited for.
    pub fn join_variant(
        &self,
        target: &Target,
        rule: &vary::Rule,
        request: &RequestMeta,
        values: &FieldValues<'_>,
        now: Timestamp,
    ) -> Joined {
        let stamp = self.epochs.stamp(target.site);
        if !matches!(request.admission(None), Admission::Lookup { share: true }) {
            return Joined::Alone(stamp);
        }
        let fill_key = rule.fingerprint(&self.keyer, values).fill_key(target.key);
        let since = self.guard(target.key).load(Ordering::Acquire);
        let tags = [self.keyer.url_tag(target.url)];
        match self.fills.join(fill_key, &stamp, &tags, since, now) {
            Join::Follower(reader) => Joined::Follower(reader),
            // What is kept in a file may be as old as it may be stored: for who asks for something newer that is too old.
            Join::Behind(..) if request.asks_for_something_fresher() => Joined::Alone(stamp),
            Join::Behind(head, behind) => Joined::Behind(head, behind),
            Join::Uncacheable | Join::Full => Joined::Alone(stamp),
            Join::Leader(writer, reader) => match self.find(target.key, request, values, now) {
                // Stored between our lookup and our joining.
                Lookup::Hit { object, age, ttl } => {
                    writer.answer(Arc::clone(&object));
                    Joined::Found { object, age, ttl }
                }
                _ => Joined::Leader(writer, reader),
            },
        }
    }

    /// Whether a follower with these field values may use `head`; if not, it goes to [`Self::join_variant`] with
    /// the head's `Vary`.
    pub fn selects(&self, head: &FillHead, values: &FieldValues<'_>) -> bool {
        let vary = head.storable.as_ref().map(|storable| &storable.metadata.vary);
        vary.is_none_or(|vary| vary.fingerprint(&self.keyer, values) == head.variant)
    }

    /// Whether a follower with these field values may use `object`.
    pub fn selects_object(&self, object: &Object, values: &FieldValues<'_>) -> bool {
        object.meta.vary.fingerprint(&self.keyer, values) == object.variant
    }

    /// What is held and was done.
    pub fn stats(&self) -> Stats {
        Stats {
            ram: self.ram.stats(),
            fills: self.fills.stats(),
            disk: self.disk().map(|store| store.stats()),
            purges: self.purges.read(),
        }
    }
}

/// What a request that leaves the origin alone gets.
fn only_if_cached(request: &RequestMeta, found: Lookup) -> Lookup {
    match found {
        Lookup::Miss
        | Lookup::Stale {
            while_revalidate: false,
            ..
        } if request.directives.only_if_cached => Lookup::Unavailable,
        found => found,
    }
}

/// Content that was read at once, as a body.
impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::from_chunks([bytes])
    }
}

#[cfg(test)]
mod tests;
