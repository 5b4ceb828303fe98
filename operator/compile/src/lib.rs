//! The pure compile step: [`World`] in, [`Output`] (a snapshot and verdicts) out.
//!
//! No clock, no randomness, no I/O; the order of the input does not matter, so that every replica of the operator
//! publishes the same bytes. Watching, publishing and writing status are left to `breakwater-operator`, reading
//! manifests to the command line.
//!
//! # Rules
//! - **Conflicts.** A pair of host and path belongs to one object. The oldest that claims it keeps it (ties: by
//!   namespace, then name, then kind); the others keep their remaining claims and are told the winner. An invalid
//!   object still holds its claims, since nodes go on with the last good unit they have of it.
//! - **Precedence.** See [`route`].
//! - **Invalid objects** are published as invalid, each for itself; nodes keep the last good unit.
//! - **Policies.** All policies on one object apply, the oldest first
//!   ([`order`](breakwater_snapshot::unit::WafPolicy::order)). One that was never edited and only waits for a list to be
//!   fetched fails closed on nothing: nothing of it was ever in force.
//! - **References** stay within the object's namespace. A backend that is not there leaves its object valid and
//!   without servers; a policy needs one target that is there.
//! - **TLS.** Of several objects that serve paths of one host and have `tls`, the oldest decides for the host; all of
//!   the host is served over TLS. A TLS Secret that an object names, valid or not, is published as a unit of its own; one
//!   that none names is not. A Secret that is missing or broken leaves its object valid and its host without TLS.
//! - **Purges.** The newest [`MOST_PURGES`] are published, and only those whose EdgeCache exists; and those that its status
//!   has recorded and whose objects are gone ([`purge_record`]).

mod cache_purge;
mod certificate;
mod claims;
mod compile;
mod edge_cache;
mod explain;
mod filter;
mod findings;
mod index;
mod ocsp;
mod origin;
mod prefetch;
pub mod purge_record;
pub mod route;
mod tiering;
mod tls;
pub mod url_list;
mod value;
mod verdict;
mod waf_effects;
mod waf_groups;
mod waf_link;
mod waf_places;
mod waf_policy;
mod waf_rules;
mod world;
mod ws_route;

pub use cache_purge::MOST_PURGES;
pub use certificate::Memo;
pub use compile::{Output, compile, compile_again};
pub use explain::{
    CacheView, Explanation, LimitView, ListView, Note, PolicyView, Request, RouteView, RuleView, TlsView,
    WebSocketView, explain,
};
pub use url_list::{FetchedList, ListFailure, UrlList, UrlLists};
pub use value::{REGEX_SIZE_LIMIT, path_regex};
pub use verdict::{Judgement, Problem, Reason, Severity, Verdict};
pub use world::{
    Broken, ConfigMap, EndpointSlice, Meta, Object, Secret, Service, ServicePort, World, decode, raw_secrets,
    raw_targets,
};
