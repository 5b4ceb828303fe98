//! What a node fetches before clients ask for it.

use serde::{Deserialize, Serialize};

use super::{Field, Schedule};

/// What a node fetches into its cache by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prefetch {
    /// What is fetched and when it counts as another list.
    #[serde(flatten)]
    pub list: PrefetchList,
    /// When the list is walked through again; none means only for other reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Requests begun in a second.
    pub requests_per_second: u32,
    /// Requests in progress at once.
    pub concurrency: u32,
}

/// What is fetched. Two lists that are equal are one: a node that walked through it need not do it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefetchList {
    /// URLs of pages, in their author's order: `http://host/path`, `https://host/path`, or `//host/path` for whichever
    /// scheme the host is served with. Each once.
    pub urls: Vec<String>,
    /// URLs of sitemaps, written alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sitemaps: Vec<String>,
    /// The request fields of each variant that is asked for; at least one.
    pub variants: Vec<Vec<Field>>,
}
