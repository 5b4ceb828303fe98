//! A policy: what it was configured to do, compiled, and what it says of a request.
//!
//! The order is fixed: address lists, path lists, then limits as they were written. Under [`Mode::Enforce`] the first
//! that objects decides and the rest is not asked. Under [`Mode::DetectOnly`] all are asked, and report; a request over
//! its limit is counted no differently, so what is reported is what Enforce would refuse. An allow list exempts from the
//! deny list and the default of its own pair and from nothing else: an allowed address still has limits.
//!
//! Invariant: judging cannot fail, and allocates nothing unless something objects.
//!
//! Rules over fields and bodies come after these; a [`RequestView`] will grow accessors for them.

mod config;
mod verdict;

use std::{ops::ControlFlow, sync::Arc, time::Duration};

pub use config::{Addresses, By, Config, LimitConfig, MAX_PER_MS, Mode, RequestRate, Uris};
pub use verdict::{Admitted, Detail, Finding, Identity, Outcome, Reason, RequestView, Verdict};

use crate::{
    ClientKey, ConfigError,
    address::{Decision, Lists},
    audit::Redaction,
    limit::{Check, ConnectionGuard, Overdrawn, Tables},
    uri::UriSet,
};

/// The status of a request or connection over its limit (RFC 6585, section 4).
const TOO_MANY_REQUESTS: u16 = 429;

/// The status of every request under a policy that never was valid.
const SERVICE_UNAVAILABLE: u16 = 503;

/// A compiled policy. Cheap to share: put it in an [`Arc`].
#[derive(Debug)]
pub struct Policy {
    identity: Arc<Identity>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Live(Box<Live>),
    Closed(Arc<str>),
}

#[derive(Debug)]
struct Live {
    block_status: u16,
    addresses: Lists,
    allow: UriSet,
    deny: UriSet,
    rates: Vec<Rate>,
    connections: Vec<Connections>,
    tables: Arc<Tables>,
}

/// Which requests a limit counts.
#[derive(Debug)]
struct Scope {
    name: Arc<str>,
    paths: UriSet,
    methods: Vec<String>,
}

/// A limit on a request rate. `id` names it in the tables: the same after a reload.
#[derive(Debug)]
struct Rate {
    scope: Arc<Scope>,
    id: u64,
    interval: Duration,
    burst: u32,
}

/// A limit on open connections; `id` as in [`Rate`].
#[derive(Debug)]
struct Connections {
    scope: Arc<Scope>,
    id: u64,
    most: u32,
}

impl Policy {
    /// Compiles `config`; its limits count in `tables`, under the names of policy and limit. A limit whose rate is
    /// changed starts afresh; one whose number of connections is changed goes on with those that are open.
    ///
    /// # Errors
    /// Names the first field that cannot be used, and why.
    pub fn new(config: Config, tables: &Arc<Tables>) -> Result<Self, ConfigError> {
        config.check()?;
        let mut live = Live {
            block_status: config.block_status,
            addresses: Lists {
                allow: config.addresses.allow.into_iter().collect(),
                deny: config.addresses.deny.into_iter().collect(),
                default: config.addresses.default,
            },
            allow: UriSet::new(&config.uris.allow).map_err(|error| error.below("uris.allow"))?,
            deny: UriSet::new(&config.uris.deny).map_err(|error| error.below("uris.deny"))?,
            rates: Vec::new(),
            connections: Vec::new(),
            tables: Arc::clone(tables),
        };
        for (index, limit) in config.limits.into_iter().enumerate() {
            let paths = UriSet::new(&limit.paths).map_err(|error| error.below(&format!("limits[{index}].paths")))?;
            let scope = Arc::new(Scope {
                name: limit.name.into(),
                paths,
                methods: limit.methods,
            });
            let name = (config.name.as_str(), &*scope.name);
            if let Some(rate) = limit.requests {
                live.rates.push(Rate::new(rate, name, &scope, tables));
            }
            if let Some(most) = limit.connections {
                let id = tables.rates.key(("connections", name));
                let scope = Arc::clone(&scope);
                live.connections.push(Connections { scope, id, most });
            }
        }
        let redaction = Redaction::new(config.redact_arguments, config.redact_headers);
        let identity = Identity {
            name: config.name,
            mode: config.mode,
            redaction,
        };
        Ok(Self {
            identity: Arc::new(identity),
            kind: Kind::Live(Box::new(live)),
        })
    }

    /// A policy that refuses everything with 503: what stands in for one that never was valid, because to pass what it
    /// should have refused would be worse. `message` says to audit lines what is wrong with it.
    #[must_use]
    pub fn fail_closed(name: impl Into<String>, message: impl Into<Arc<str>>) -> Self {
        let identity = Identity {
            name: name.into(),
            mode: Mode::Enforce,
            redaction: Redaction::default(),
        };
        Self {
            identity: Arc::new(identity),
            kind: Kind::Closed(message.into()),
        }
    }

    /// Its name, mode and redaction.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What the policy says of `request` at `now_ms` on a monotonic clock, the same for every call with the same tables.
    #[must_use]
    pub fn evaluate(&self, request: &RequestView<'_>, now_ms: u64) -> Verdict {
        let mut verdict = Verdict::default();
        // The break is in the verdict too.
        let _ = self.judge(request, now_ms, &mut verdict);
        verdict
    }

    /// What the path lists alone say of `path`, in either mode: for a second reading of a request's path, such as one that
    /// takes `%2F` for `/`. None for a policy that never was valid: that one refuses in [`Policy::evaluate`].
    #[must_use]
    pub fn denies_path(&self, path: &str) -> Option<Finding> {
        let live = self.live()?;
        let detail = Detail::Path(live.denied_path(path)?);
        Some(self.finding(Reason::Uri, live.block_status, None, detail))
    }

    /// The limits on open connections: name and number.
    pub fn connection_limits(&self) -> impl Iterator<Item = (&str, u32)> {
        self.live()
            .into_iter()
            .flat_map(|live| &live.connections)
            .map(|limit| (&*limit.scope.name, limit.most))
    }

    /// Counts a new connection of `client` against those limits that have neither paths nor methods, until the guard is
    /// dropped. For a connection that carries one thing, such as a WebSocket; [`Policy::admit_request`] is for those
    /// that carry many.
    ///
    /// # Errors
    /// The limit that refuses it; then none counts it.
    pub fn admit_connection(&self, client: std::net::IpAddr) -> Result<Admitted, Finding> {
        let mut guard = ConnectionGuard::new();
        let mut verdict = Verdict::default();
        let _ = self.admit(client.into(), None, &mut guard, &mut verdict);
        match verdict.outcome {
            Outcome::Pass => Ok(Admitted {
                guard,
                detections: verdict.detections,
            }),
            Outcome::Block(finding) => Err(finding),
        }
    }

    /// Counts the connection that carries `request` against every limit on connections that the request falls under and
    /// that `guard`, the connection's own, does not hold yet. A connection that came under a limit stays counted until
    /// the guard is dropped, whatever it carries later.
    #[must_use]
    pub fn admit_request(&self, request: &RequestView<'_>, guard: &mut ConnectionGuard) -> Verdict {
        let mut verdict = Verdict::default();
        let _ = self.admit(request.client.into(), Some(request), guard, &mut verdict);
        verdict
    }

    fn judge(&self, request: &RequestView<'_>, now_ms: u64, verdict: &mut Verdict) -> ControlFlow<()> {
        let live = match &self.kind {
            Kind::Live(live) => live,
            Kind::Closed(message) => {
                let detail = Detail::Message(Arc::clone(message));
                return self.report(verdict, Reason::Policy, SERVICE_UNAVAILABLE, None, detail);
            }
        };
        match live.addresses.decide(request.client) {
            Decision::Pass => {}
            Decision::Denied(net) => {
                self.report(verdict, Reason::Address, live.block_status, None, Detail::Prefix(net))?;
            }
            Decision::DeniedByDefault => {
                self.report(verdict, Reason::Address, live.block_status, None, Detail::Default)?;
            }
        }
        if let Some(path) = live.denied_path(request.path) {
            self.report(verdict, Reason::Uri, live.block_status, None, Detail::Path(path))?;
        }
        if !live.rates.is_empty() {
            let (rates, client) = (&live.tables.rates, ClientKey::from(request.client));
            for rate in live.rates.iter().filter(|rate| rate.scope.holds(request)) {
                let key = rates.key((rate.id, client));
                if let Check::Refused { retry_after_ms } = rates.check(key, now_ms, rate.interval, rate.burst) {
                    let seconds = retry_after_ms.div_ceil(1000).try_into().unwrap_or(u32::MAX);
                    let detail = Detail::Limit(Arc::clone(&rate.scope.name));
                    self.report(verdict, Reason::Limit, TOO_MANY_REQUESTS, Some(seconds), detail)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn admit(
        &self,
        client: ClientKey,
        request: Option<&RequestView<'_>>,
        guard: &mut ConnectionGuard,
        verdict: &mut Verdict,
    ) -> ControlFlow<()> {
        let Some(live) = self.live() else {
            return ControlFlow::Continue(());
        };
        let table = &live.tables.connections;
        for limit in &live.connections {
            if !request.map_or_else(|| limit.scope.is_whole(), |request| limit.scope.holds(request)) {
                continue;
            }
            if table.open(guard, limit.id, client, limit.most) == Err(Overdrawn) {
                let detail = Detail::Limit(Arc::clone(&limit.scope.name));
                self.report(verdict, Reason::Limit, TOO_MANY_REQUESTS, None, detail)?;
                table.pass_over(guard, limit.id, client);
            }
        }
        ControlFlow::Continue(())
    }

    /// Writes an objection where the mode puts it, and ends the judgement if it decides.
    fn report(
        &self,
        verdict: &mut Verdict,
        reason: Reason,
        status: u16,
        retry_after: Option<u32>,
        detail: Detail,
    ) -> ControlFlow<()> {
        self.finding(reason, status, retry_after, detail).put(verdict)
    }

    fn finding(&self, reason: Reason, status: u16, retry_after: Option<u32>, detail: Detail) -> Finding {
        Finding {
            policy: Arc::clone(&self.identity),
            reason,
            status,
            retry_after,
            detail,
        }
    }

    fn live(&self) -> Option<&Live> {
        match &self.kind {
            Kind::Live(live) => Some(live),
            Kind::Closed(_) => None,
        }
    }
}

impl AsRef<Self> for Policy {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// What several policies say of one request: each is asked in order, until one blocks.
#[must_use]
pub fn evaluate_all<P: AsRef<Policy>>(
    policies: impl IntoIterator<Item = P>,
    request: &RequestView<'_>,
    now_ms: u64,
) -> Verdict {
    let mut verdict = Verdict::default();
    for policy in policies {
        if policy.as_ref().judge(request, now_ms, &mut verdict).is_break() {
            break;
        }
    }
    verdict
}

/// What the path lists of several policies say of a second reading of a path ([`Policy::denies_path`]), until one blocks.
#[must_use]
pub fn evaluate_path_all<P: AsRef<Policy>>(policies: impl IntoIterator<Item = P>, path: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for policy in policies {
        let Some(finding) = policy.as_ref().denies_path(path) else {
            continue;
        };
        if finding.put(&mut verdict).is_break() {
            break;
        }
    }
    verdict
}

/// Counts a request's connection under several policies ([`Policy::admit_request`]), until one refuses it.
#[must_use]
pub fn admit_all<P: AsRef<Policy>>(
    policies: impl IntoIterator<Item = P>,
    request: &RequestView<'_>,
    guard: &mut ConnectionGuard,
) -> Verdict {
    let mut verdict = Verdict::default();
    for policy in policies {
        if policy
            .as_ref()
            .admit(request.client.into(), Some(request), guard, &mut verdict)
            .is_break()
        {
            break;
        }
    }
    verdict
}

impl Live {
    fn denied_path(&self, path: &str) -> Option<Arc<str>> {
        let index = self.deny.matches(path)?;
        if self.allow.matches(path).is_some() {
            return None;
        }
        self.deny.value(index).cloned()
    }
}

impl Scope {
    fn holds(&self, request: &RequestView<'_>) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|method| method == request.method))
            && (self.paths.is_empty() || self.paths.matches(request.path).is_some())
    }

    /// Whether it holds every request.
    fn is_whole(&self) -> bool {
        self.methods.is_empty() && self.paths.is_empty()
    }
}

impl Rate {
    fn new(rate: RequestRate, name: (&str, &str), scope: &Arc<Scope>, tables: &Tables) -> Self {
        // Rounded up: never more than `count`.
        let interval = rate.per_ms.saturating_mul(1_000_000).div_ceil(rate.count.max(1).into());
        let burst = rate.burst.unwrap_or(rate.count);
        Self {
            scope: Arc::clone(scope),
            id: tables.rates.key(("requests", name, interval, burst)),
            interval: Duration::from_nanos(interval),
            burst,
        }
    }
}

#[cfg(test)]
mod tests;
