//! Stored responses forgotten: by purges, by unsafe requests, by the origin.
//!
//! Invariant: what was asked for before is not stored after. Of tags, purges know it ([`crate::purge`]); of keys, the
//! guards, which say when one was last removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Cache, GUARDS, Purge, Target};
use crate::key::Key;
use crate::object::Object;
use crate::policy::site::SitePolicy;
use crate::purge::{Epochs, Marked, Mode, Purged, Selector, Stamp};

impl Cache {
    /// Whether a response to `key` that was asked for at `stamp` was purged or invalidated since.
    pub fn is_gone(&self, key: Key, tags: &[u64], stamp: &Stamp) -> bool {
        self.is_purged(stamp, tags) || stamp.is_before(self.guard(key).load(Ordering::Acquire))
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

    /// Removes a key and keeps fetches under way from storing it again.
    pub(super) fn remove(&self, key: Key) {
        let slot = self.ram.lock(key);
        self.guard(key).fetch_max(self.epochs.advance(), Ordering::AcqRel);
        slot.remove();
        self.tier.remove(key);
        drop(slot);
        self.forget_parts(key);
    }

    /// Whether a purge since `stamp` concerns a response with these tags.
    pub(super) fn is_purged(&self, stamp: &Stamp, tags: &[u64]) -> bool {
        stamp.purged(tags, &AtomicU64::new(0)) != Purged::No
    }

    /// When a key was invalidated last, and those that share its guard.
    pub(super) fn guard(&self, key: Key) -> &AtomicU64 {
        &self.guards[(key.0 >> 64) as usize % GUARDS]
    }
}
