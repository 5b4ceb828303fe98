//! A running data plane: started on loopback, configured with snapshots, between raw clients and scripted origins.
//!
//! One file for each area of behaviour. Each test has its own data plane and its own origins, so tests do not meet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access_log;
mod admin;
mod admin_cache;
mod advisories;
mod cache_alone;
mod cache_coalescing;
mod cache_devices;
mod cache_disk;
mod cache_hits;
mod cache_interim;
mod cache_keys;
mod cache_late;
mod cache_methods;
mod cache_parts;
mod cache_poisoning;
mod cache_purges;
mod cache_searches;
mod cache_stale;
mod cache_status;
mod cache_storing;
mod cache_targeted;
mod cache_variants;
mod config;
mod connections;
mod crowding;
mod filters_compression;
mod filters_compression_flow;
mod filters_fields;
mod filters_limits;
mod filters_pages;
mod filters_redirects;
mod gate;
mod http2;
mod http2_abuse;
mod http2_bodies;
mod http2_smuggling;
mod https;
mod loops;
mod overload;
mod parent_edges;
mod parent_nodes;
mod peers;
mod peers_failures;
mod pipelining;
mod prefetch;
mod proxy;
mod proxy_failures;
mod proxy_heads;
mod proxy_protocol;
#[path = "../support/support.rs"]
mod support;
mod tls;
mod tls_ocsp;
mod tls_websocket;
mod trailers;
mod upstream_balance;
mod upstream_circuit;
mod upstream_dns;
mod upstream_health;
mod upstream_http2;
mod upstream_retries;
mod upstream_tls;
mod upstream_tls_faults;
mod waf;
mod waf_audit;
mod waf_bodies;
mod waf_floods;
mod waf_room;
mod waf_responses;
mod waf_rules;
mod websocket;
mod websocket_limits;
