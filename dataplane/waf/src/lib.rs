//! A web application firewall's decisions: lists of addresses, countries, networks and paths, limits per client, audit events, block pages.
//!
//! Values in, values out: no sockets, no clock, no runtime, no randomness of its own. A caller builds a
//! [`policy::Policy`] from a [`policy::Config`], shows it each request as a [`policy::RequestView`] with the time, and
//! acts on the [`policy::Verdict`]: nothing here sends, logs or waits. What must outlive a change of configuration (who
//! spent how much of which limit) is in [`limit::Tables`], which the caller makes once and shares between threads.
//!
//! Rules in SecLang are another way in: [`seclang::parse`] reads them, [`engine::RuleSet`] compiles them once for all, and an
//! [`engine::Transaction`] takes one request and its response through them. A [`review`] says what of a text has no effect.
//!
//! Invariants: every table has a size fixed when it is made; every string written to an audit line is bounded and
//! escaped; a request that no list and no limit objects to is judged without allocating.
//!
//! Left to the caller: finding the client's address behind proxies, normalising the path, writing lines and responses.
//!
//! ```
//! use std::sync::Arc;
//! use breakwater_waf::{limit::Tables, policy::{Config, Outcome, Policy, RequestView}};
//!
//! let tables = Arc::new(Tables::new(0x5eed));
//! let mut config = Config::new("shop");
//! config.addresses.deny = vec!["203.0.113.0/24".parse()?];
//! let policy = Policy::new(config, &tables)?;
//!
//! let request = RequestView::new("203.0.113.9".parse()?, "GET", "shop.example.com", "/", None);
//! let Outcome::Block(finding) = policy.evaluate(&request, 0).outcome else { panic!("denied above") };
//! assert_eq!(finding.status, 403);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod address;
pub mod audit;
pub mod block;
pub mod body;
pub mod bundle;
pub mod catalog;
mod client;
pub mod detect;
pub mod engine;
mod error;
pub mod geo;
pub mod limit;
mod named;
pub mod operator;
pub mod policy;
pub mod replay;
pub mod review;
pub mod seclang;
#[cfg(test)]
mod testing;
mod told;
pub mod transform;
pub mod uri;

pub use client::ClientKey;
pub use error::ConfigError;
