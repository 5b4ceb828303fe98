//! The custom resources of Breakwater, group `breakwater.dev`, version `v1alpha1`: types, schemas, validation rules.
//!
//! One file holds one kind. Each default is written once, in the Rust type, from where it reaches both the schema and
//! every reader that does without an API server. What a schema can say (CEL) is said there; `breakwater-compile`
//! checks the same again, since a manifest may reach it by another way, and checks what CEL cannot.

#![allow(
    clippy::duplicated_attributes,
    reason = "kube's `printcolumn` repeats `type_`; the lint takes that for a mistake"
)]

mod cache_purge;
mod edge_cache;
mod generate;
mod path;
mod reference;
mod scalar;
mod status;
mod waf_policy;
mod ws_route;

pub use cache_purge::{CachePurge, CachePurgeSpec, CachePurgeStatus, EdgeCacheRef, PurgeMode, PurgeNodes};
pub use edge_cache::{
    Balance, CacheKey, CacheRule, CacheSpec, EdgeCache, EdgeCacheSpec, Origin, OriginTimeouts, QueryKey, Stale,
};
pub use generate::{GenerateError, all, files, yaml};
pub use path::{PathMatch, PathType};
pub use reference::{GROUP, PolicyTarget, PortRef, ServiceRef, TargetKind, VERSION};
pub use scalar::{
    Cidr, CookieName, Duration, HeaderName, Hostname, HttpUrl, Method, Quantity, QueryPattern, ScalarError,
    Subprotocol, WebOrigin,
};
pub use status::{NodesStatus, ResourceStatus};
pub use waf_policy::{
    Addresses, Audit, Block, Client, ConnectionCount, DefaultAction, Limit, LimitBy, Redact, RequestRate, Uris,
    WafMode, WafPolicy, WafPolicySpec,
};
pub use ws_route::{Backend, Handshake, WsLimits, WsRoute, WsRouteSpec, WsTimeouts};
