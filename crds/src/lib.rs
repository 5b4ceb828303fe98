//! The custom resources of Breakwater, group `breakwater.dev`, version `v1alpha1`: types, schemas, validation rules.
//!
//! One file holds one kind, or what several kinds share. Each default is written once, in the Rust type, from where it reaches both the schema and
//! every reader that does without an API server. What a schema can say (CEL) is said there; `breakwater-compile`
//! checks the same again, since a manifest may reach it by another way, and checks what CEL cannot.

#![allow(
    clippy::duplicated_attributes,
    reason = "kube's `printcolumn` repeats `type_`; the lint takes that for a mistake"
)]

mod cache_purge;
mod edge_cache;
mod filter;
mod generate;
mod origin;
mod path;
mod prefetch;
mod reference;
mod scalar;
mod status;
mod tiering;
mod tls;
mod waf_bodies;
mod waf_challenge;
mod waf_groups;
mod waf_lists;
mod waf_places;
mod waf_policy;
mod waf_rules;
mod waf_sampling;
mod waf_scope;
mod ws_route;

pub use cache_purge::{CachePurge, CachePurgeSpec, CachePurgeStatus, EdgeCacheRef, PurgeMode, PurgeNodes};
pub use edge_cache::{CacheKey, CacheRule, CacheSpec, DeviceClass, EdgeCache, EdgeCacheSpec, QueryKey, Stale};
pub use filter::{
    BodyLimits, Coding, Compression, ErrorPage, HeaderEdit, HeaderEdits, HeaderField, Redirect, RedirectPath,
    RedirectScheme,
};
pub use generate::{GenerateError, all, files, yaml};
pub use origin::{
    Backend, BackendTimeouts, Balance, Circuit, Ejection, Hash, HashBy, HealthCheck, Origin, OriginProtocol,
    OriginTimeouts, OriginTls, Retries,
};
pub use path::{PathMatch, PathType};
pub use prefetch::{Prefetch, PrefetchNodes, PrefetchRate, PrefetchStatus, PrefetchVariant};
pub use reference::{GROUP, PolicyTarget, PortRef, ServiceRef, TargetKind, VERSION};
pub use scalar::{
    Cidr, CookieName, CountryCode, Duration, HeaderName, Hostname, HttpUrl, ListUrl, MediaType, Method, Quantity,
    QueryPattern, ScalarError, Subprotocol, WebOrigin,
};
pub use status::{EdgeCacheStatus, NodesStatus, RecordedPurge, ResourceStatus, WafPolicyStatus};
pub use tiering::{NodeSelector, Parent, ParentFallback, Tiering, TieringMode};
pub use tls::{ClientCertificateMode, ClientCertificates, Hsts, Tls, TlsVersion};
pub use waf_bodies::BodyType;
pub use waf_challenge::{Challenge, LimitAction};
pub use waf_groups::{CrsGroup, CrsGroups};
pub use waf_lists::AddressSource;
pub use waf_places::{Asns, Countries};
pub use waf_policy::{
    Addresses, Audit, Block, Client, ConnectionCount, DefaultAction, HeaderRule, HeaderRules, HeaderValueMatch,
    HeaderValueType, Limit, LimitBy, Penalty, PenaltyAfter, Redact, RequestRate, Uris, WafMode, WafPolicy,
    WafPolicySpec,
};
pub use waf_rules::{
    BodyInspection, ConfigMapKey, Crs, OnExceed, ResponseInspection, RuleExclusion, RuleMode, RuleModeKind,
    RuleSelector, SecLang, Thresholds,
};
pub use waf_sampling::Sampling;
pub use waf_scope::LimitScope;
pub use ws_route::{Handshake, WsDrain, WsDrainMode, WsKeepalive, WsLimits, WsRoute, WsRouteSpec, WsTimeouts};
