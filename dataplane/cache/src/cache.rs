//! The cache as the data plane uses it: store, fills and purges, joined by policy.
//!
//! A request goes: [`Cache::lookup`]; on a miss [`Cache::join`]; who leads fetches and calls [`Cache::publish`] with
//! the head, pushes content, and ends with [`Cache::complete`], or with [`Cache::revalidated`] for a 304.
//!
//! Invariants: an object is in the store before its fill ends, so that a request finds one or the other; what was
//! asked for before a purge or an invalidation is not stored after it; one cache serves all workers, and only a
//! shard's lock is on a hit's way.

mod counts;
mod look;
mod tier;
mod types;

pub use counts::PurgeCounts;
pub use look::{InTier, Seen, Stored, Written};
pub use tier::Step;
pub use types::{Config, Joined, Lookup, Prefix, Purge, Revalidated, Stats, Target};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use breakwater_wire::etag::EntityTag;
use breakwater_wire::hop::strip_hop_by_hop;
use breakwater_wire::http1::encode::imf_fixdate;
use breakwater_wire::range::{ByteRange, ContentRange};
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::fill::{Disposition, Failure, FillHead, FillReader, FillWriter, Fills, Join};
use crate::head;
use crate::history::History;
use crate::key::{Key, KeyBuilder, Keyer};
use crate::object::{Body, Metadata, Object};
use crate::partial::Parts;
use crate::policy::fresh::{Verdict, evaluate};
use crate::policy::request::{Admission, MethodClass, RequestMeta};
use crate::policy::site::{Rule, SitePolicy};
use crate::policy::store::{Candidate, Decision, MAX_TAGS, Reason, Storable, decide};
use crate::policy::validate::{self, Mismatch};
use crate::purge::{Epochs, Marked, Mode, Purged, Selector, Stamp};
use crate::searches::{News, Search, Searches};
use crate::store::Ram;
use crate::store::disk::Spill;
use crate::time::Timestamp;
use crate::vary::{self, FieldValues};
use counts::PurgeCounters;
use tier::{Stored as How, Tier};

/// Keys of one guard share when they were last invalidated: now and then a response is not stored for nothing.
const GUARDS: usize = 4096;

/// Parts of a response are stored under its key with these bits changed. The upper half, which chooses a guard, is the
/// same.
const PARTS: u128 = 0x6a09_e667_f3bc_c908;

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

    /// Whether a response to `key` that was asked for at `stamp` was purged or invalidated since.
    pub fn is_gone(&self, key: Key, tags: &[u64], stamp: &Stamp) -> bool {
        self.is_purged(stamp, tags) || stamp.is_before(self.guard(key).load(Ordering::Acquire))
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

    /// A stored part that answers a request for one range: all of it is there and fresh.
    pub fn lookup_part(
        &self,
        key: Key,
        request: &RequestMeta,
        range: ByteRange,
        values: &FieldValues<'_>,
        now: Timestamp,
    ) -> Option<Lookup> {
        let found = self.find(part_key(key), request, values, now);
        match &found {
            Lookup::Hit { object, .. } => object.parts.as_ref()?.resolve(range).map(|_| found),
            _ => None,
        }
    }

    /// Stored parts that begin with the first byte of the response: the rest completes them.
    pub fn beginning(&self, key: Key, values: &FieldValues<'_>) -> Option<Arc<Object>> {
        let object = self.ram.get(part_key(key), &self.keyer, values)?;
        let begins = object.parts.as_ref().is_some_and(|parts| parts.beginning().is_some());
        (begins && object.purged() == Purged::No).then_some(object)
    }

    /// Whether this very object is stored in memory.
    pub fn holds(&self, key: Key, object: &Arc<Object>) -> bool {
        self.ram.holds(key, object)
    }

    /// Forgets stored parts.
    pub fn forget_parts(&self, key: Key) {
        self.ram.lock(part_key(key)).remove();
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

    /// Decides on a response's head and makes it one for a fill. `values` are the request's.
    pub fn head(
        &self,
        response: &Candidate<'_>,
        content_length: Option<u64>,
        values: &FieldValues<'_>,
    ) -> (FillHead, Option<Reason>) {
        let (storable, reason) = match decide(response) {
            Decision::Store(storable) => (Some(storable), None),
            Decision::Pass(reason) => (None, Some(reason)),
        };
        let mut fields = response.fields.clone();
        strip_hop_by_hop(&mut fields);
        date(&mut fields, response.received);
        let shared = shared_fields(&fields, storable.as_deref(), response.status, content_length);
        let head = FillHead {
            status: response.status,
            head: head::encode(response.status, &shared),
            fields,
            content_length,
            variant: storable
                .as_ref()
                .map(|storable| storable.metadata.vary.fingerprint(&self.keyer, values))
                .unwrap_or_default(),
            in_language: storable
                .as_ref()
                .and_then(|storable| self.in_language(&storable.metadata.vary, response.fields, values)),
            stored: storable.is_some(),
            storable,
        };
        (head, reason)
    }

    /// Publishes a head to the readers of a fill: to all if it is stored, else to the one it was fetched for.
    pub fn publish(&self, writer: &mut FillWriter, mut head: FillHead, policy: &SitePolicy, now: Timestamp) {
        let disposition = match &head.storable {
            // An error passes: it says nothing about the answers to come.
            None if head.status >= 500 => Disposition::Unshared,
            None => Disposition::Private { now },
            // Those who joined since the purge must not have it; who came before cannot be told from them.
            Some(storable) if self.is_purged(writer.stamp(), &storable.metadata.tags) => Disposition::Unshared,
            Some(storable) => Disposition::Store {
                limit: policy.max_object_size.min(self.largest_body(&head)),
                shared: storable.metadata.freshness.is_for_all_who_wait(),
            },
        };
        head.stored = match disposition {
            Disposition::Store { limit, .. } => {
                writer.is_written() || head.content_length.is_none_or(|length| length <= limit)
            }
            Disposition::Private { .. } | Disposition::Unshared => false,
        };
        writer.publish(head, disposition);
    }

    /// Stores what a fill has brought, and ends it. `last` is the end of the content, if it is known to be that: readers
    /// get it when all of it is stored, so that whoever has read everything finds it. Returns the object if it was stored.
    ///
    /// # Errors
    /// The content is not as long as announced: nothing is stored, readers are told.
    pub fn complete(&self, key: Key, writer: FillWriter, last: Bytes) -> Result<Option<Arc<Object>>, Failure> {
        self.complete_spilled(key, writer, last, None)
    }

    /// As [`Self::complete`], of a fetch that was written to the disk as well, but for `last`.
    ///
    /// # Errors
    /// As [`Self::complete`].
    pub fn complete_spilled(
        &self,
        key: Key,
        mut writer: FillWriter,
        last: Bytes,
        mut spill: Option<Spill>,
    ) -> Result<Option<Arc<Object>>, Failure> {
        let head = writer.head();
        let stored = match (&head, writer.body(last.clone())) {
            (Some(head), Some(body)) => {
                let uses = (!self.may_spill(head), spill.is_some());
                self.insert_fetched(key, head, body, writer.stamp(), uses)
            }
            _ => None,
        };
        if let Some(spill) = &mut spill {
            spill.push(&last);
        }
        writer.push(last);
        let stamp = writer.stamp().clone();
        writer.finish()?;
        if let (Some(head), Some(spill)) = (&head, spill) {
            self.insert_spilled(key, head, spill, &stamp, stored.as_ref());
        }
        Ok(stored)
    }

    /// Stores a complete response, unless it may not be, is too large, or a purge came since `stamp`.
    pub fn insert(&self, key: Key, head: &FillHead, body: Body, stamp: &Stamp) -> Option<Arc<Object>> {
        self.insert_fetched(key, head, body, stamp, (true, false))
    }

    /// As [`Self::insert`]; `fresh`: it counts as a use of its key, and `spilled`: it is on its way to the disk already.
    fn insert_fetched(
        &self,
        key: Key,
        head: &FillHead,
        body: Body,
        stamp: &Stamp,
        (fresh, spilled): (bool, bool),
    ) -> Option<Arc<Object>> {
        let storable = head.storable.as_deref()?;
        if head.content_length.is_some_and(|length| length != body.len()) {
            return None;
        }
        if head.status == 206 {
            return self.insert_part(key, head, storable, body, stamp);
        }
        let shared = shared_fields(&head.fields, Some(storable), head.status, Some(body.len()));
        let bytes = head::encode(head.status, &shared);
        let object = Object::new(
            head.status,
            bytes,
            body,
            storable.metadata.clone(),
            head.variant,
            stamp.clone(),
        )
        .found_in(head.in_language);
        let object = Arc::new(object);
        if spilled {
            object.given();
        }
        let how = if fresh { How::Used } else { How::Made };
        let stored = self.put(key, object, stamp, how)?;
        self.fills.forget_uncacheable(key);
        self.fills.forget_uncacheable(head.variant.fill_key(key));
        Some(stored)
    }

    /// Stores a part, with the parts that are there if they are of the same representation; what is the whole then is
    /// stored as such.
    fn insert_part(
        &self,
        key: Key,
        head: &FillHead,
        storable: &Storable,
        body: Body,
        stamp: &Stamp,
    ) -> Option<Arc<Object>> {
        let mut ranges = head.fields.get_all(header::CONTENT_RANGE).iter();
        let range = ContentRange::parse(ranges.next()?.as_bytes()).filter(|_| ranges.next().is_none())?;
        let mut parts = Parts::new(range, body)?;
        let mut fields = head.fields.clone();
        let mut meta = storable.metadata.clone();
        let known = self.ram.lock(part_key(key)).find(&meta.vary, head.variant);
        if let Some(known) = known.filter(|known| known.purged() == Purged::No && same_strong_tag(known, &meta))
            && let Some(combined) = known.parts.as_ref().and_then(|known| known.combined(&parts))
        {
            parts = combined;
            // A purge of what any of the parts was tagged with reaches the whole.
            let added = known.meta.tags.iter().filter(|tag| !meta.tags.contains(tag));
            meta.tags = meta.tags.iter().chain(added).copied().collect();
            if meta.tags.len() > MAX_TAGS {
                return None;
            }
            let stored = known.fields();
            for name in stored.keys().filter(|name| !head.fields.contains_key(*name)) {
                for value in stored.get_all(name) {
                    fields.append(name, value.clone());
                }
            }
        }
        fields.remove(header::CONTENT_RANGE);
        let whole = parts.whole().cloned();
        let status = if whole.is_some() { 200 } else { 206 };
        let shared = shared_fields(&fields, Some(storable), status, whole.as_ref().map(Body::len));
        let bytes = head::encode(status, &shared);
        let (at, body) = match &whole {
            Some(body) => (key, body.clone()),
            None => (part_key(key), Body::default()),
        };
        let mut object = Object::new(status, bytes, body, meta, head.variant, stamp.clone()).found_in(head.in_language);
        if whole.is_some() {
            self.forget_parts(key);
        } else {
            object = object.of_parts(parts);
        }
        self.put(at, Arc::new(object), stamp, How::Made)
    }

    /// Takes in what a HEAD brought for a stored response (RFC 9111 section 4.3.5): `response` has its fields and status
    /// 200. `None` if it is about another representation; what is stored is then no longer fresh.
    pub fn updated_by_head(
        &self,
        key: Key,
        object: &Arc<Object>,
        response: &Candidate<'_>,
        values: &FieldValues<'_>,
        stamp: &Stamp,
    ) -> Option<Revalidated> {
        if !validate::is_same(object, response.fields) {
            self.forget(key, object);
            return None;
        }
        let get = RequestMeta {
            method: MethodClass::Get,
            ..response.request.clone()
        };
        let as_get = Candidate {
            request: &get,
            ..*response
        };
        self.revalidated(key, object, &as_get, values, stamp).ok()
    }

    /// Takes a 304 in: `response` has its fields and status 304; `stamp` is from before the origin was asked.
    ///
    /// # Errors
    /// [`Mismatch`]: it is about another representation; fetch again without conditions.
    pub fn revalidated(
        &self,
        key: Key,
        object: &Arc<Object>,
        response: &Candidate<'_>,
        values: &FieldValues<'_>,
        stamp: &Stamp,
    ) -> Result<Revalidated, Mismatch> {
        let fields = validate::update(object, response.fields, response.received)?;
        let decision = decide(&Candidate {
            status: object.status,
            fields: &fields,
            ..*response
        });
        let (meta, storable, reason) = match &decision {
            Decision::Store(storable) => (storable.metadata.clone(), Some(&**storable), None),
            Decision::Pass(reason) => (object.meta.clone(), None, Some(*reason)),
        };
        let variant = meta.vary.fingerprint(&self.keyer, values);
        let shared = shared_fields(&fields, storable, object.status, Some(object.body.len()));
        let bytes = head::encode(object.status, &shared);
        let in_language = self.in_language(&meta.vary, &fields, values);
        let new = Object::new(object.status, bytes, object.body.clone(), meta, variant, stamp.clone());
        let new = new.found_in(in_language);
        let new = Arc::new(new);
        let stored = match reason {
            None => {
                self.confirm(key, object, &new);
                self.put(key, Arc::clone(&new), stamp, How::Confirmed).is_some()
            }
            // The request is what kept it from being stored: the old one may serve others.
            Some(Reason::Authorization | Reason::RequestNoStore | Reason::Method) => false,
            Some(_) => {
                self.forget(key, object);
                false
            }
        };
        Ok(Revalidated {
            object: new,
            stored,
            reason,
        })
    }

    /// Forgets a stored response that the origin has taken back: it is no longer right, or no longer there.
    pub fn forget(&self, key: Key, object: &Arc<Object>) {
        let slot = self.ram.lock(key);
        slot.remove_object(object);
        self.tier.remove(key);
    }

    /// Forgets what a successful unsafe request has made out of date (see [`crate::policy::invalidate`]).
    pub fn invalidate(&self, target: &Target, policy: &SitePolicy) {
        self.remove(target.key);
        if policy.splits_urls() {
            // Other keys of this URL are only reached by its tag.
            let tags = vec![self.keyer.url_tag(target.url)];
            self.epochs.purge(target.site, &Selector::Tags(tags), Mode::Hard);
            self.has_news();
        }
    }

    /// Forgets the responses of an origin that are in one of these groups (RFC 9875 section 3).
    pub fn invalidate_groups(&self, site: u64, origin: Key, groups: &[String]) {
        let tags = groups
            .iter()
            .map(|group| self.keyer.group_tag(origin, group.as_bytes()));
        self.epochs.purge(site, &Selector::Tags(tags.collect()), Mode::Hard);
        self.has_news();
    }

    /// Makes responses of a site gone or stale.
    pub fn purge(&self, site: u64, what: Purge<'_>, mode: Mode) -> Marked {
        self.purges.add(&what, mode);
        let selector = match what {
            Purge::Everything => Selector::Everything,
            Purge::Tags(tags) => Selector::Tags(tags.iter().map(|tag| self.keyer.tag(site, tag.as_bytes())).collect()),
            Purge::Urls(urls) => Selector::Tags(urls.iter().map(|&url| self.keyer.url_tag(url)).collect()),
            Purge::Prefixes(prefixes) => Selector::Tags(
                prefixes
                    .iter()
                    .map(|prefix| self.keyer.prefix_tag(site, prefix.host, prefix.path))
                    .collect(),
            ),
        };
        let marked = self.epochs.purge(site, &selector, mode);
        if let (Purge::Urls(urls), Mode::Hard) = (what, mode) {
            // Where nothing else is part of keys, the space is given back at once.
            urls.iter().for_each(|&url| self.remove(url));
        }
        marked
    }

    /// The purges themselves: which were carried out, and what of them outlives the process.
    pub const fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Forgets the sites that `keep` refuses.
    pub fn retain_sites(&self, keep: impl Fn(u64) -> bool) {
        self.epochs.retain_sites(keep);
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

    /// What finds a response by its language.
    fn in_language(
        &self,
        rule: &vary::Rule,
        fields: &HeaderMap,
        values: &FieldValues<'_>,
    ) -> Option<vary::Fingerprint> {
        if !rule.names().contains(&header::ACCEPT_LANGUAGE) {
            return None;
        }
        rule.fingerprint_in(&self.keyer, values, &vary::language_of(fields)?)
    }

    /// Removes a key and keeps fetches under way from storing it again.
    fn remove(&self, key: Key) {
        let slot = self.ram.lock(key);
        self.guard(key).fetch_max(self.epochs.advance(), Ordering::AcqRel);
        slot.remove();
        self.tier.remove(key);
        drop(slot);
        self.forget_parts(key);
    }

    /// Stores an object in memory.
    fn put(&self, key: Key, object: Arc<Object>, stamp: &Stamp, how: How) -> Option<Arc<Object>> {
        if self.is_purged(stamp, &object.meta.tags) {
            return None;
        }
        let mut slot = self.ram.lock(key);
        if stamp.is_before(self.guard(key).load(Ordering::Acquire)) {
            return None;
        }
        let former = slot.find(&object.meta.vary, object.variant);
        let former = former.and_then(|former| former.disk_key());
        let fits = slot.insert(&object);
        self.tier.replaced(key, former, &object, how);
        fits.then_some(object)
    }

    fn is_purged(&self, stamp: &Stamp, tags: &[u64]) -> bool {
        stamp.purged(tags, &AtomicU64::new(0)) != Purged::No
    }

    fn guard(&self, key: Key) -> &AtomicU64 {
        &self.guards[(key.0 >> 64) as usize % GUARDS]
    }

    /// The longest content that fits into the store with this head.
    fn largest_body(&self, head: &FillHead) -> u64 {
        self.ram.largest().saturating_sub(head.head.len() as u64 + 4096)
    }
}

/// Where parts are stored of what belongs under `key`.
const fn part_key(key: Key) -> Key {
    Key(key.0 ^ PARTS)
}

/// Whether both have the same strong entity tag: then parts of one are parts of the other (RFC 9110 section 15.3.7.3).
fn same_strong_tag(known: &Object, new: &Metadata) -> bool {
    let tag = |meta: &Metadata| {
        meta.etag
            .clone()
            .filter(|tag| EntityTag::parse(tag).is_some_and(|tag| !tag.weak))
    };
    tag(&known.meta).is_some_and(|known| Some(known) == tag(new))
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

/// A response that came without a date was made when it came (RFC 9110 section 6.6.1).
fn date(fields: &mut HeaderMap, received: Timestamp) {
    if !fields.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::from_bytes(&imf_fixdate(received.as_secs()))
    {
        fields.insert(header::DATE, date);
    }
}

/// The fields that everyone may have.
fn shared_fields(fields: &HeaderMap, storable: Option<&Storable>, status: u16, length: Option<u64>) -> HeaderMap {
    let mut shared = fields.clone();
    head::strip(&mut shared);
    let omit: &[HeaderName] = storable.map_or(&[], |storable| &storable.omit);
    for name in omit {
        shared.remove(name);
    }
    match length {
        Some(length) => head::set_length(status, &mut shared, length),
        None => {
            shared.remove(header::CONTENT_LENGTH);
        }
    }
    shared
}

/// Content that was read at once, as a body.
impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::from_chunks([bytes])
    }
}

#[cfg(test)]
mod tests;
