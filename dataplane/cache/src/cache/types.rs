//! What goes into a cache and what comes out.

use std::sync::Arc;

use super::counts::PurgeCounts;
use crate::fill::{Behind, FillConfig, FillHead, FillReader, FillStats, FillWriter};
use crate::key::Key;
use crate::object::Object;
use crate::policy::fresh::OnError;
use crate::policy::request::Bypass;
use crate::policy::store::Reason;
use crate::purge::Stamp;
use crate::store::disk::DiskStats;
use crate::store::{RamConfig, RamStats};

/// What a cache may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The memory tier.
    pub ram: RamConfig,
    /// The fills. Their buffers are on top of the memory tier.
    pub fills: FillConfig,
    /// Purge marks of a site (see [`crate::purge`]).
    pub max_marks: usize,
    /// A random number that clients cannot know.
    pub seed: u128,
}

impl Config {
    /// Defaults for `memory` bytes: four fifths for objects, one fifth for fills under way.
    pub fn new(memory: u64, seed: u128) -> Self {
        let fills = FillConfig {
            max_buffered: memory / 5,
            ..FillConfig::default()
        };
        Self {
            ram: RamConfig::new(memory - memory / 5),
            fills,
            max_marks: crate::purge::DEFAULT_MAX_MARKS,
            seed,
        }
    }
}

/// What a cache holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The memory tier.
    pub ram: RamStats,
    /// The fills.
    pub fills: FillStats,
    /// The disk tier, if there is one.
    pub disk: Option<DiskStats>,
    /// Purges that were carried out.
    pub purges: PurgeCounts,
}

/// Which request's target is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The EdgeCache.
    pub site: u64,
    /// The key without header and cookie values: names the URL.
    pub url: Key,
    /// The whole key.
    pub key: Key,
}

/// What the store has for a request.
#[derive(Debug)]
pub enum Lookup {
    /// An object that answers. `age` and `ttl` in milliseconds, for `Age` and `Cache-Status`.
    Hit {
        /// The object.
        object: Arc<Object>,
        /// Its age.
        age: u64,
        /// How long it stays fresh; negative when the request accepts it stale.
        ttl: i64,
    },
    /// An object that has to be validated first, except as said. [`super::Cache::join`] for the fetch.
    Stale {
        /// The object.
        object: Arc<Object>,
        /// Its age.
        age: u64,
        /// How long ago its freshness ended, negative; zero if it is fresh but the request wants it validated.
        ttl: i64,
        /// Whether it answers while one request validates it in the background.
        while_revalidate: bool,
        /// Whether it answers when the origin fails.
        on_error: OnError,
        /// Whether the request asked for the validation.
        requested: bool,
    },
    /// Nothing.
    Miss,
    /// Nothing that answers, and the request wants the origin left alone (`only-if-cached`): 504.
    Unavailable,
    /// The request goes past the cache.
    Bypass(Bypass),
}

/// How a request that the store does not answer goes on.
#[derive(Debug)]
pub enum Joined {
    /// Have the fetch made; its client reads from the reader.
    Leader(FillWriter, FillReader),
    /// Wait for the fetch of another.
    Follower(FillReader),
    /// Read what is kept of another's fetch, of which this is the head; its beginning is not in memory any more. If
    /// [`super::Cache::selects`] says no, go to [`super::Cache::join_variant`].
    Behind(Arc<FillHead>, Behind),
    /// Fetch for this request only; a response that may be stored is given to [`super::Cache::insert`].
    Alone(Stamp),
    /// It was stored a moment ago.
    Found {
        /// The object.
        object: Arc<Object>,
        /// Its age, in milliseconds.
        age: u64,
        /// How long it stays fresh, in milliseconds.
        ttl: i64,
    },
}

/// What a 304 made of a stored object.
#[derive(Debug)]
pub struct Revalidated {
    /// The object with the 304's fields; answers the request.
    pub object: Arc<Object>,
    /// Whether it was stored again.
    pub stored: bool,
    /// Why what the 304 says keeps it from being stored.
    pub reason: Option<Reason>,
}

/// What a purge concerns.
#[derive(Clone, Copy, Debug)]
pub enum Purge<'a> {
    /// Every response of the site.
    Everything,
    /// Responses that carry one of these tags.
    Tags(&'a [&'a str]),
    /// All variants of these URLs: keys without header and cookie values.
    Urls(&'a [Key]),
    /// Everything below these paths.
    Prefixes(&'a [Prefix<'a>]),
}

/// A path and all that is below it, by whole segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<'a> {
    /// Without case; none means any host.
    pub host: Option<&'a str>,
    /// In its normal form.
    pub path: &'a str,
}
