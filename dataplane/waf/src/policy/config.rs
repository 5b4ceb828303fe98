//! What a policy is made from: plain values with every default filled in, and the checks that need no compiling.

use ipnet::IpNet;

use super::Headers;
use crate::{
    ConfigError,
    address::Fallback,
    geo::{self, Country},
    limit::{MAX_STRIKES, Terms},
    policy::Work,
    uri::Pattern,
};

/// Longest span of a rate: 30 days.
pub const MAX_PER_MS: u64 = 30 * 24 * 3_600_000;

/// What a [`Policy`](super::Policy) does. [`Config::new`] does nothing yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names the policy in audit lines and metrics, and its clients' counts in the tables: keep it unique and stable.
    pub name: String,
    /// Whether it blocks.
    pub mode: Mode,
    /// Lists of client addresses.
    pub addresses: Addresses,
    /// Lists of the countries that clients are in.
    pub countries: geo::Lists<Country>,
    /// Lists of the autonomous systems that clients are in.
    pub asns: geo::Lists<u32>,
    /// Lists of paths.
    pub uris: Uris,
    /// Rules over header fields.
    pub headers: Headers,
    /// Limits per client; their names are unique within the policy.
    pub limits: Vec<LimitConfig>,
    /// What becomes of clients that are refused again and again.
    pub penalty: Option<Penalty>,
    /// Work that clients have to do before they are let through.
    pub challenge: Option<Challenge>,
    /// The status of a refusal by a list: 403 or 404.
    pub block_status: u16,
    /// Query arguments whose values are replaced in audit lines.
    pub redact_arguments: Vec<String>,
    /// Request fields whose values are replaced in audit lines.
    pub redact_headers: Vec<String>,
}

impl Config {
    /// A policy that passes everything and would block with 403.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mode: Mode::default(),
            addresses: Addresses::default(),
            countries: geo::Lists::default(),
            asns: geo::Lists::default(),
            uris: Uris::default(),
            headers: Headers::default(),
            limits: Vec::new(),
            penalty: None,
            challenge: None,
            block_status: 403,
            redact_arguments: Vec::new(),
            redact_headers: Vec::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !matches!(self.block_status, 403 | 404) {
            return Err(ConfigError::new(
                "block.status",
                format!("{} is neither 403 nor 404", self.block_status),
            ));
        }
        if let Some(penalty) = self.penalty {
            penalty.check()?;
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let at = format!("limits[{index}]");
            limit.check().map_err(|error| error.below(&at))?;
            if self.limits.iter().take(index).any(|earlier| earlier.name == limit.name) {
                let message = format!("`{}` names an earlier limit of this policy too", limit.name);
                return Err(ConfigError::new("name", message).below(&at));
            }
        }
        Ok(())
    }
}

/// Whether a policy blocks or reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub enum Mode {
    /// Refuse and report.
    #[default]
    Enforce,
    /// Report only.
    DetectOnly,
}

/// Lists of client addresses; `allow` is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Clients that pass the deny list and the default unread.
    pub allow: Vec<IpNet>,
    /// Clients that are refused.
    pub deny: Vec<IpNet>,
    /// What happens to a client on neither list.
    pub default: Fallback,
}

/// Lists of paths; `allow` is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uris {
    /// Paths that pass the deny list unread.
    pub allow: Vec<Pattern>,
    /// Paths that are refused.
    pub deny: Vec<Pattern>,
}

/// Work that clients have to do before they are let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The paths for which everybody has to.
    pub paths: Vec<Pattern>,
    /// Which.
    pub work: Work,
}

/// Clients that the policy refused as often as `terms` say are refused at once for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// How often, and for how long.
    pub terms: Terms,
    /// Whether it refuses; under [`Mode::DetectOnly`] it reports.
    pub mode: Mode,
}

impl Penalty {
    fn check(self) -> Result<(), ConfigError> {
        let Terms {
            strikes,
            per_ms,
            for_ms,
        } = self.terms;
        if strikes == 0 || strikes > MAX_STRIKES {
            let message = format!("{strikes} is not between 1 and {MAX_STRIKES}");
            return Err(ConfigError::new("penalty.after.count", message));
        }
        span("penalty.after.per", per_ms)?;
        span("penalty.for", for_ms)
    }
}

fn span(field: &str, ms: u64) -> Result<(), ConfigError> {
    if ms == 0 || ms > MAX_PER_MS {
        let message = format!("{ms} ms is not between 1 ms and 30 days");
        return Err(ConfigError::new(field, message));
    }
    Ok(())
}

/// A limit per client: on a request rate, on new connections, on open ones, or on several of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitConfig {
    /// Its name in metrics and audit lines.
    pub name: String,
    /// Which paths; empty means all.
    pub paths: Vec<Pattern>,
    /// Which methods, case-sensitive (RFC 9110, section 9.1); empty means all.
    pub methods: Vec<String>,
    /// What makes two requests one client's.
    pub by: By,
    /// A request rate.
    pub requests: Option<RequestRate>,
    /// Connections open at once.
    pub connections: Option<u32>,
    /// A rate of new connections.
    pub new_connections: Option<RequestRate>,
    /// Whether its rates hold across nodes: see [`Tables::take_spent`](crate::limit::Tables::take_spent).
    pub fleet: bool,
    /// Whether it refuses; under [`Mode::DetectOnly`] it reports, whatever the policy's mode.
    pub mode: Mode,
    /// Whether who exceeds the rate of requests is given the policy's work, and passes over the limit once it is done.
    pub challenges: bool,
}

/// What makes two requests one client's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// The address: see [`ClientKey`](crate::ClientKey).
    #[default]
    ClientAddress,
}

/// `count` requests, or connections, in `per_ms`, `burst` of them at once: see [`RateTable`](crate::limit::RateTable).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    /// How many requests.
    pub count: u32,
    /// In how many milliseconds; at most [`MAX_PER_MS`].
    pub per_ms: u64,
    /// How many may come at once before the rate is felt; none means `count`.
    pub burst: Option<u32>,
}

impl LimitConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let positive = |field: &str, number: u64| match number {
            0 => Err(ConfigError::new(
                field,
                "0 would refuse everything: the least is 1; use a deny list to refuse all",
            )),
            _ => Ok(()),
        };
        if self.name.is_empty() {
            return Err(ConfigError::new(
                "name",
                "is empty: metrics and audit lines need a name",
            ));
        }
        for (field, rate) in [("requests", self.requests), ("newConnections", self.new_connections)] {
            let Some(rate) = rate else { continue };
            positive(&format!("{field}.count"), rate.count.into())?;
            positive(&format!("{field}.burst"), rate.burst.unwrap_or(1).into())?;
            span(&format!("{field}.per"), rate.per_ms)?;
        }
        if let Some(most) = self.connections {
            positive("connections.count", most.into())?;
            if self.fleet {
                return Err(ConfigError::new(
                    "connections",
                    "open connections are counted by each node for itself, and the limit is to hold across nodes",
                ));
            }
        }
        if self.requests.is_none() && self.connections.is_none() && self.new_connections.is_none() {
            return Err(ConfigError::new(
                "",
                "limits nothing: give `requests`, `connections` or `newConnections`",
            ));
        }
        Ok(())
    }
}
