//! A policy's limits, compiled: which requests each counts, and under which names the tables know them.
//!
//! A limit across nodes notes what it allows for them, and is judged by this node's tables like any other.

use std::{sync::Arc, time::Duration};

use super::{LimitConfig, Mode, RequestRate, RequestView, weaker};
use crate::{
    ClientKey, ConfigError,
    limit::{Check, FleetLimit, Tables},
    uri::UriSet,
};

/// All limits of a policy, as they were written.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) rates: Vec<Rate>,
    pub(super) connections: Vec<Connections>,
}

/// Which requests a limit counts.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: Arc<str>,
    paths: UriSet,
    methods: Vec<String>,
    /// The limit's: Enforce, unless policy or limit only detect.
    pub(super) mode: Mode,
    /// Who exceeds it gets the challenge.
    pub(super) challenges: bool,
}

/// A limit on a rate. `id` names it in the tables: the same after a reload.
#[derive(Debug)]
pub(super) struct Rate {
    pub(super) scope: Arc<Scope>,
    pub(super) id: u64,
    interval: Duration,
    burst: u32,
    /// It holds across nodes.
    fleet: Option<Arc<FleetLimit>>,
}

/// A limit on connections.
#[derive(Debug)]
pub(super) enum Connections {
    /// How often they come.
    New(Rate),
    /// How many are open; `id` as in [`Rate`].
    Open { scope: Arc<Scope>, id: u64, most: u32 },
}

impl Limits {
    /// Compiles the limits of the policy of this name and mode.
    pub(super) fn new(
        limits: Vec<LimitConfig>,
        policy: &str,
        mode: Mode,
        tables: &Tables,
    ) -> Result<Self, ConfigError> {
        let mut this = Self::default();
        for (index, limit) in limits.into_iter().enumerate() {
            let paths = UriSet::new(&limit.paths).map_err(|error| error.below(&format!("limits[{index}].paths")))?;
            let scope = Arc::new(Scope {
                name: limit.name.into(),
                paths,
                methods: limit.methods,
                mode: weaker(mode, limit.mode),
                challenges: limit.challenges,
            });
            let name = (policy, &*scope.name);
            let rate = |what, rate| {
                let rate = Rate::new(what, rate, name, &scope, tables);
                if limit.fleet {
                    rate.across_nodes(what, name, tables)
                } else {
                    rate
                }
            };
            if let Some(spec) = limit.requests {
                this.rates.push(rate("requests", spec));
            }
            if let Some(spec) = limit.new_connections {
                let rate = rate("new connections", spec);
                this.connections.push(Connections::New(rate));
            }
            if let Some(most) = limit.connections {
                let id = tables.rates.key(("connections", name));
                let scope = Arc::clone(&scope);
                this.connections.push(Connections::Open { scope, id, most });
            }
        }
        Ok(this)
    }
}

impl Scope {
    pub(super) fn holds(&self, request: &RequestView<'_>) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
            && (self.paths.is_empty() || request.paths().any(|path| self.paths.matches(path).is_some()))
    }

    /// Whether it holds every request.
    pub(super) fn is_whole(&self) -> bool {
        self.methods.is_empty() && self.paths.is_empty()
    }
}

impl Rate {
    fn new(what: &str, rate: RequestRate, name: (&str, &str), scope: &Arc<Scope>, tables: &Tables) -> Self {
        // Rounded up: never more than `count`.
        let interval = rate.per_ms.saturating_mul(1_000_000).div_ceil(rate.count.max(1).into());
        let burst = rate.burst.unwrap_or(rate.count);
        Self {
            scope: Arc::clone(scope),
            id: tables.rates.key((what, name, interval, burst)),
            interval: Duration::from_nanos(interval),
            burst,
            fleet: None,
        }
    }

    fn across_nodes(mut self, what: &str, (policy, limit): (&str, &str), tables: &Tables) -> Self {
        let name = [what, policy, limit];
        self.fleet = Some(tables.fleet.limit(&name, self.id, self.interval, self.burst));
        self
    }

    /// Counts one more of `client`, or says after how many seconds there is room.
    pub(super) fn count(&self, tables: &Tables, client: ClientKey, now_ms: u64) -> Result<(), u32> {
        let key = tables.rates.key((self.id, client));
        match tables.rates.check(key, now_ms, self.interval, self.burst) {
            Check::Allowed => {
                if let Some(limit) = &self.fleet {
                    tables.fleet.note(limit, key, client);
                }
                Ok(())
            }
            Check::Refused { retry_after_ms } => Err(retry_after_ms.div_ceil(1000).try_into().unwrap_or(u32::MAX)),
        }
    }
}
