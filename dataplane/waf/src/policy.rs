//! A policy: what it was configured to do, compiled, and what it says of a request.
//!
//! The order is fixed: the penalty box, address lists, countries, autonomous systems, path lists, header rules, the
//! challenge, then limits as they were written. Under [`Mode::Enforce`] the first that objects decides and the rest is
//! not asked; a limit that only detects never decides. Under [`Mode::DetectOnly`] all are asked, and report; a request
//! over its limit is counted no differently, so what is reported is what Enforce would refuse. An allow list exempts
//! from the deny list and the default of its own pair, that of addresses from those of countries and autonomous systems
//! too (an address is the closer word), and from nothing else: an allowed address still has limits.
//!
//! Invariant: judging cannot fail, and allocates nothing unless something objects.
//!
//! Rules in SecLang come after these, by the [`engine`](crate::engine).

mod challenge;
mod config;
mod connections;
mod fields;
mod limits;
mod verdict;

use std::{ops::ControlFlow, sync::Arc};

pub use config::{Addresses, By, Challenge, Config, LimitConfig, MAX_PER_MS, Mode, Penalty, RequestRate, Uris};
pub use connections::admit_all;
pub use fields::{FieldRule, FieldSource, Headers, MAX_RULES, compile as compile_value};
pub use verdict::{Admitted, Clearance, Detail, Finding, Identity, Outcome, Reason, RequestView, Verdict, Work};

use challenge::WorkBox;
use limits::{Limits, Scope};

use crate::{
    ClientKey, ConfigError,
    address::{Decision, Lists},
    audit::Redaction,
    geo::{self, Country, UNKNOWN_ASN},
    limit::{Tables, Terms},
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
    countries: geo::Lists<Country>,
    asns: geo::Lists<u32>,
    allow: UriSet,
    deny: UriSet,
    headers: fields::FieldSet,
    penalty: Option<PenaltyBox>,
    challenge: Option<WorkBox>,
    limits: Limits,
    tables: Arc<Tables>,
}

/// The penalty box. `id` names it in the table: the same after a reload.
#[derive(Debug)]
struct PenaltyBox {
    id: u64,
    terms: Terms,
    mode: Mode,
}

impl Policy {
    /// Compiles `config`; its limits count in `tables`, under the names of policy and limit. A limit whose rate is
    /// changed starts afresh; one whose number of connections is changed goes on with those that are open.
    ///
    /// # Errors
    /// Names the first field that cannot be used, and why.
    pub fn new(config: Config, tables: &Arc<Tables>) -> Result<Self, ConfigError> {
        config.check()?;
        let live = Live {
            block_status: config.block_status,
            addresses: Lists {
                allow: config.addresses.allow.into_iter().collect(),
                deny: config.addresses.deny.into_iter().collect(),
                default: config.addresses.default,
            },
            countries: config.countries,
            asns: config.asns,
            allow: UriSet::new(&config.uris.allow).map_err(|error| error.below("uris.allow"))?,
            deny: UriSet::new(&config.uris.deny).map_err(|error| error.below("uris.deny"))?,
            headers: fields::FieldSet::new(&config.headers)?,
            penalty: config.penalty.map(|penalty| PenaltyBox {
                id: tables.rates.key(("penalty", config.name.as_str(), penalty.terms)),
                terms: penalty.terms,
                mode: weaker(config.mode, penalty.mode),
            }),
            challenge: config.challenge.as_ref().map(WorkBox::new).transpose()?,
            limits: Limits::new(config.limits, &config.name, config.mode, tables)?,
            tables: Arc::clone(tables),
        };
        let redaction = Arc::new(Redaction::new(config.redact_arguments, config.redact_headers));
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
            redaction: Arc::default(),
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

    /// Takes note that a request of `client` was refused by this policy, whatever part of it did, but for the penalty
    /// itself; whether the client is refused at once from now on. A policy that only detects refuses nothing, and takes
    /// no note.
    pub fn strike(&self, client: std::net::IpAddr, now_ms: u64) -> bool {
        let Some((live, penalty)) = self.live().and_then(|live| Some((live, live.penalty.as_ref()?))) else {
            return false;
        };
        if self.identity.mode == Mode::DetectOnly {
            return false;
        }
        let key = penalty.key(&live.tables, client);
        live.tables.penalties.strike(key, now_ms, penalty.terms)
    }

    fn judge(&self, request: &RequestView<'_>, now_ms: u64, verdict: &mut Verdict) -> ControlFlow<()> {
        let live = match &self.kind {
            Kind::Live(live) => live,
            Kind::Closed(message) => {
                let detail = Detail::Message(Arc::clone(message));
                return self.report(verdict, Reason::Policy, SERVICE_UNAVAILABLE, detail);
            }
        };
        if let Some(penalty) = &live.penalty {
            let key = penalty.key(&live.tables, request.client);
            if let Some(left_ms) = live.tables.penalties.remaining(key, now_ms) {
                let detail = Detail::Penalty(left_ms.div_ceil(1000));
                self.finding(penalty.mode, Reason::Penalty, live.block_status, detail)
                    .put(verdict)?;
            }
        }
        let mut listed = false;
        match live.addresses.decide(request.client) {
            Decision::Allowed => listed = true,
            Decision::Pass => {}
            Decision::Denied(net) => {
                self.report(verdict, Reason::Address, live.block_status, Detail::Prefix(net))?;
            }
            Decision::DeniedByDefault => {
                self.report(verdict, Reason::Address, live.block_status, Detail::Default)?;
            }
        }
        if !listed {
            self.judge_place(live, request, verdict)?;
        }
        if let Some(path) = request.paths().find_map(|path| live.denied_path(path)) {
            self.report(verdict, Reason::Uri, live.block_status, Detail::Path(path))?;
        }
        if let Some(text) = live.headers.objection(request.fields) {
            self.report(verdict, Reason::Header, live.block_status, Detail::Field(text))?;
        }
        if let Some(finding) = self.challenged(live, request) {
            finding.put(verdict)?;
        }
        if !live.limits.rates.is_empty() {
            let client = ClientKey::from(request.client);
            for rate in live.limits.rates.iter().filter(|rate| rate.scope.holds(request)) {
                let Err(seconds) = rate.count(&live.tables, client, now_ms) else {
                    continue;
                };
                let challenge = live.challenge.as_ref().filter(|_| rate.scope.challenges);
                if challenge.is_some_and(|challenge| self.is_cleared(challenge, request)) {
                    continue;
                }
                Finding {
                    work: challenge.map(|challenge| challenge.work),
                    ..self.over(&rate.scope, Some(seconds))
                }
                .put(verdict)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Where the client is. It is looked up only for lists that may refuse it.
    fn judge_place(&self, live: &Live, request: &RequestView<'_>, verdict: &mut Verdict) -> ControlFlow<()> {
        if !live.countries.pass_all() {
            let country = request.country().unwrap_or(Country::UNKNOWN);
            let denied = placed(live.countries.decide(&country), Detail::Country(country));
            if let Some(detail) = denied {
                self.report(verdict, Reason::Country, live.block_status, detail)?;
            }
        }
        if !live.asns.pass_all() {
            let asn = request.asn().unwrap_or(UNKNOWN_ASN);
            let denied = placed(live.asns.decide(&asn), Detail::Asn(asn));
            if let Some(detail) = denied {
                self.report(verdict, Reason::Asn, live.block_status, detail)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Writes an objection where the mode puts it, and ends the judgement if it decides.
    fn report(&self, verdict: &mut Verdict, reason: Reason, status: u16, detail: Detail) -> ControlFlow<()> {
        self.finding(self.identity.mode, reason, status, detail).put(verdict)
    }

    /// The objection of a limit.
    fn over(&self, scope: &Scope, retry_after: Option<u32>) -> Finding {
        let detail = Detail::Limit(Arc::clone(&scope.name));
        Finding {
            retry_after,
            ..self.finding(scope.mode, Reason::Limit, TOO_MANY_REQUESTS, detail)
        }
    }

    fn finding(&self, mode: Mode, reason: Reason, status: u16, detail: Detail) -> Finding {
        Finding {
            policy: Arc::clone(&self.identity),
            mode,
            reason,
            status,
            work: None,
            retry_after: None,
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

impl Live {
    /// What denies one reading of a path.
    fn denied_path(&self, path: &str) -> Option<Arc<str>> {
        let index = self.deny.matches(path)?;
        if self.allow.matches(path).is_some() {
            return None;
        }
        self.deny.value(index).cloned()
    }
}

impl PenaltyBox {
    /// What `client` is known as.
    fn key(&self, tables: &Tables, client: std::net::IpAddr) -> u64 {
        tables.rates.key((self.id, ClientKey::from(client)))
    }
}

/// What objects to a place, if anything does.
fn placed(decision: geo::Decision, entry: Detail) -> Option<Detail> {
    match decision {
        geo::Decision::Pass => None,
        geo::Decision::Denied => Some(entry),
        geo::Decision::DeniedByDefault => Some(Detail::Default),
    }
}

/// Enforce only if both do.
const fn weaker(policy: Mode, part: Mode) -> Mode {
    match (policy, part) {
        (Mode::Enforce, Mode::Enforce) => Mode::Enforce,
        _ => Mode::DetectOnly,
    }
}

#[cfg(test)]
mod challenge_tests;
#[cfg(test)]
mod flood_tests;
#[cfg(test)]
mod place_tests;
#[cfg(test)]
mod tests;
