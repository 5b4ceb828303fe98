//! What the operator of a site chose: a plain mirror of `EdgeCache.spec.cache`.
//!
//! The data plane fills these in from its snapshot once per load; matching a rule's paths is its affair.

use breakwater_wire::device::Classes;
use http::header::HeaderName;

use crate::key::QueryFilter;

/// How one EdgeCache stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePolicy {
    /// Which query parameters are part of the key.
    pub ignore_query: QueryFilter,
    /// Request fields that are part of the key.
    pub key_headers: Vec<HeaderName>,
    /// Cookies that are part of the key.
    pub key_cookies: Vec<Box<str>>,
    /// Classes of devices that are part of the key: the class stands in the request as
    /// [`FIELD`](breakwater_wire::device::FIELD), which is the caller's doing.
    pub devices: Classes,
    /// Serve stale this long while one request revalidates, unless the response says otherwise. Milliseconds.
    pub stale_while_revalidate_ms: Option<u64>,
    /// Serve stale this long when the origin fails, unless the response says otherwise. Milliseconds.
    pub stale_if_error_ms: Option<u64>,
    /// The response field that lists a response's tags. Default `Surrogate-Key`.
    pub tag_header: Option<HeaderName>,
    /// Larger responses pass through unstored. Bytes, default 1 GiB.
    pub max_object_size: u64,
    /// Whether `Cache-Control` of requests is honoured (RFC 9111 section 5.2.1). Default true.
    pub honour_requests: bool,
}

impl Default for SitePolicy {
    fn default() -> Self {
        Self {
            ignore_query: QueryFilter::default(),
            key_headers: Vec::new(),
            key_cookies: Vec::new(),
            devices: Classes::default(),
            stale_while_revalidate_ms: None,
            stale_if_error_ms: None,
            tag_header: Some(HeaderName::from_static("surrogate-key")),
            max_object_size: 1 << 30,
            honour_requests: true,
        }
    }
}

impl SitePolicy {
    /// Whether a URL may have several keys.
    pub fn splits_urls(&self) -> bool {
        !self.key_headers.is_empty() || !self.key_cookies.is_empty() || !self.devices.is_empty()
    }
}

/// One override of what responses say. Those whose paths match a request are tried in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Which statuses; empty means all that may be stored.
    pub statuses: Vec<u16>,
    /// How long such a response is fresh after it was received, in place of what it says. Milliseconds.
    pub ttl_ms: Option<u64>,
    /// Served stale this long while one request revalidates, in place of what it says. Milliseconds.
    pub stale_while_revalidate_ms: Option<u64>,
    /// Served stale this long when the origin fails, in place of what it says. Milliseconds.
    pub stale_if_error_ms: Option<u64>,
    /// Neither look up nor store.
    pub bypass: bool,
}

impl Rule {
    /// Whether the rule is for responses with `status`.
    pub fn applies_to(&self, status: u16) -> bool {
        self.bypass || self.statuses.is_empty() || self.statuses.contains(&status)
    }
}
