//! Rules over one request and its response: a transaction for each policy that has rules, told of at its end.
//!
//! Request heads are judged within the poll, before anything stored is served; bodies and responses by handlers, who read
//! and hold back what rules want to see ([`crate::handler`]). Invariant: however a request ends, each of its transactions
//! is finished, counted, and told to the audit log if a rule matched: when the [`Inspection`] is dropped.
//!
//! Costs nothing for a resource without rules.

mod hold;
mod report;

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use breakwater_waf::engine::{self, Intervention, Transaction};
use breakwater_waf::policy::Mode;
use breakwater_wire::http1::Version;

use crate::access;
use crate::config::{BodyLimit, Protection, Resource, Rules, WorkerConfig};
use crate::telemetry::Direction;
use crate::worker::Worker;
pub(crate) use hold::Held;

/// The status of a request whose body is longer than a policy lets through.
const TOO_LARGE: u16 = 413;

/// What rules refuse with unless they say otherwise; a policy may hide behind another.
const FORBIDDEN: u16 = 403;

/// A field: name and value.
pub(crate) type Field<'f> = (&'f [u8], &'f [u8]);

/// A request, as rules and audit lines see it.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) client: IpAddr,
    pub(crate) method: String,
    /// Lower case, without port.
    pub(crate) host: String,
    /// Normalised.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) request_id: String,
}

/// A refusal by a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// Where the client is sent instead.
    pub(crate) location: Option<String>,
}

/// The transactions of a request and its response.
pub(crate) struct Inspection {
    worker: Rc<Worker>,
    config: Rc<WorkerConfig>,
    index: u32,
    about: About,
    runs: Vec<Run>,
    /// Sampling left a policy's rules out: they do not see the response either.
    passed_over: bool,
    /// The request was judged elsewhere, or is nobody's.
    of_response: bool,
    body_judged: bool,
    /// What its transactions take while it waits.
    held: Option<Held>,
}

/// The transaction of one policy.
struct Run {
    /// Its place among the policies of the resource.
    policy: usize,
    transaction: Transaction,
    /// How much it sees of the request's body.
    body: BodyLimit,
    spent: Duration,
    /// It refused what it judged.
    refused: Option<Refusal>,
    /// It saw a response.
    responded: bool,
    /// That the request's body is too long was told.
    too_long: bool,
}

impl Inspection {
    /// Begins to judge a request, whose line and fields are as received, and runs phase 1.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        config: &Rc<WorkerConfig>,
        index: u32,
        about: About,
        line: (&str, Version),
        fields: &[Field<'_>],
    ) -> (Self, Option<Refusal>) {
        let mut inspection = Self::new(worker, config, index, about, false);
        let refusal = inspection.request_head(line, fields);
        (inspection, refusal)
    }

    /// Begins to judge the response to a request that was judged elsewhere, or that is nobody's: its own phases run
    /// because later ones build on their variables, and nothing else comes of them
    /// ([`Transaction::of_response`]).
    pub(crate) fn of_response(
        worker: &Rc<Worker>,
        config: &Rc<WorkerConfig>,
        index: u32,
        about: About,
        line: (&str, Version),
        fields: &[Field<'_>],
    ) -> Self {
        let mut inspection = Self::new(worker, config, index, about, true);
        let _ = inspection.request_head(line, fields);
        let _ = inspection.request_body(&[], false);
        inspection.body_judged = true;
        inspection
    }

    fn new(worker: &Rc<Worker>, config: &Rc<WorkerConfig>, index: u32, about: About, of_response: bool) -> Self {
        Self {
            worker: Rc::clone(worker),
            config: Rc::clone(config),
            index,
            about,
            runs: Vec::new(),
            passed_over: false,
            of_response,
            body_judged: false,
            held: None,
        }
    }

    fn request_head(&mut self, (target, version): (&str, Version), fields: &[Field<'_>]) -> Option<Refusal> {
        let config = Rc::clone(&self.config);
        let draw = fastrand::u64(..);
        let content_types = || {
            let named = fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(b"content-type"));
            named.map(|(_, value)| *value)
        };
        for (policy, protection) in config.resource(self.index).protections.iter().enumerate() {
            let Some(rules) = &protection.rules else { continue };
            if !rules.samples(draw) {
                protection.cells.rules.passed_over();
                self.passed_over = true;
                continue;
            }
            let begun = Instant::now();
            let mut transaction = self.transaction(protection, rules);
            transaction.request_line(
                self.about.method.as_bytes(),
                target.as_bytes(),
                version_text(version).as_bytes(),
            );
            for (name, value) in fields {
                transaction.request_header(name, value);
            }
            let intervention = transaction.run_request_headers();
            let mut run = Run {
                policy,
                transaction,
                body: rules.bodies.of(content_types()),
                spent: begun.elapsed(),
                refused: None,
                responded: false,
                too_long: false,
            };
            let refusal = run.settle(rules, intervention);
            self.runs.push(run);
            if refusal.is_some() {
                return refusal;
            }
        }
        None
    }

    fn transaction(&self, protection: &Protection, rules: &Rules) -> Transaction {
        let About { method, path, .. } = &self.about;
        let connection = engine::Connection {
            client: self.about.client,
            client_port: 0,
            server: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            server_port: 0,
            unique_id: &self.about.request_id,
            now_ms: self.worker.clock.timestamp().as_millis(),
        };
        let detects = protection.policy.identity().mode == Mode::DetectOnly;
        let mut transaction = Transaction::bound(rules.bound(), &connection, detects)
            .with_exclusions(rules.exclusions(method, path))
            .with_stores(&rules.stores)
            .with_redaction(&protection.policy.identity().redaction);
        if rules.look_up {
            let locations = Arc::clone(&*self.worker.locations.borrow());
            transaction = transaction.with_locations(locations);
        }
        if self.of_response {
            transaction.of_response()
        } else {
            transaction
        }
    }

    fn resource(&self) -> &Resource {
        self.config.resource(self.index)
    }

    /// To be called before a wait: what its transactions can do without is forgotten, and the rest takes its part of the
    /// room for what is held back. False when there is none.
    pub(crate) fn rest(&mut self) -> bool {
        self.held = None;
        let bytes = self.runs.iter_mut().map(|run| run.transaction.rest()).sum();
        self.held.insert(Held::new(&self.worker.metrics)).take(bytes)
    }

    /// Bytes of the request's body to read before it goes on; none: no rule reads the body of this request.
    pub(crate) fn wants_request_body(&self) -> Option<usize> {
        let wanting = self.runs.iter().filter(|run| run.transaction.wants_request_body());
        wanting.filter_map(|run| run.body.wants()).max()
    }

    /// Refuses a request whose body is at least, or is announced to be, so long, if that is longer than what a policy lets
    /// pass uninspected. Each policy has its own limit, and tells of it once.
    pub(crate) fn request_body_of(&mut self, length: u64) -> Option<Refusal> {
        let resource = self.config.resource(self.index);
        for run in &mut self.runs {
            let BodyLimit { inspect, reject_larger } = run.body;
            let fits = length <= inspect as u64;
            if run.too_long || !reject_larger || fits || !run.transaction.wants_request_body() {
                continue;
            }
            run.too_long = true;
            let Some(protection) = resource.protections.get(run.policy) else {
                continue;
            };
            let detail = format!("the body is larger than {inspect} bytes");
            report::body_limit(&self.worker, resource, protection, &self.about, TOO_LARGE, &detail);
            if protection.policy.identity().mode == Mode::Enforce {
                access::strike(&self.worker, protection, self.about.client);
                return Some(Refusal {
                    status: TOO_LARGE,
                    location: None,
                });
            }
        }
        None
    }

    /// Shows rules the body, whole or the beginning of one that goes on, and runs phase 2.
    pub(crate) fn request_body(&mut self, body: &[u8], goes_on: bool) -> Option<Refusal> {
        self.each(
            Direction::Request,
            body,
            goes_on,
            |run, _| Some(run.body.inspect),
            |transaction, body, truncated| transaction.run_request_body(body, truncated),
        )
    }

    /// The request's body was judged, or there was none.
    pub(crate) fn body_judged(&mut self) {
        self.body_judged = true;
    }

    /// Whether it was.
    pub(crate) fn is_body_judged(&self) -> bool {
        self.body_judged
    }

    /// Whether anything is left to be judged once the request was, or to be kept from being judged.
    pub(crate) fn awaits_response(&self) -> bool {
        let resource = self.resource();
        if self.passed_over && resource.inspects_responses {
            return true;
        }
        let inspects = |run| rules_of(resource, run).is_some_and(|rules| rules.inspect_response.is_some());
        self.runs.iter().any(inspects)
    }

    /// Shows rules the head of the response, and runs phase 3.
    pub(crate) fn response_head(&mut self, status: u16, fields: &[Field<'_>]) -> Option<Refusal> {
        let resource = self.config.resource(self.index);
        for run in &mut self.runs {
            let Some(rules) = rules_of(resource, run).filter(|rules| rules.inspect_response.is_some()) else {
                continue;
            };
            let begun = Instant::now();
            let intervention = run
                .transaction
                .run_response_headers(status, &mut fields.iter().copied());
            run.spent += begun.elapsed();
            run.responded = true;
            let refusal = run.settle(rules, intervention);
            if refusal.is_some() {
                return refusal;
            }
        }
        None
    }

    /// Bytes of the response's body that rules want to see; none: they read no body of this response.
    pub(crate) fn wants_response_body(&self) -> Option<usize> {
        let wanting = self.runs.iter().filter(|run| run.responded);
        let wanting = wanting.filter(|run| run.transaction.wants_response_body());
        wanting
            .filter_map(|run| rules_of(self.resource(), run)?.inspect_response)
            .max()
    }

    /// Shows rules the body of the response, as [`Inspection::request_body`], and runs phase 4.
    pub(crate) fn response_body(&mut self, body: &[u8], goes_on: bool) -> Option<Refusal> {
        self.each(
            Direction::Response,
            body,
            goes_on,
            |_, rules| rules.inspect_response,
            |transaction, body, truncated| transaction.run_response_body(body, truncated),
        )
    }

    fn each(
        &mut self,
        direction: Direction,
        body: &[u8],
        goes_on: bool,
        limit: impl Fn(&Run, &Rules) -> Option<usize>,
        run_phase: impl Fn(&mut Transaction, &[u8], bool) -> Option<Intervention>,
    ) -> Option<Refusal> {
        let resource = self.config.resource(self.index);
        for run in &mut self.runs {
            let Some(rules) = rules_of(resource, run) else { continue };
            let Some(limit) = limit(run, rules) else { continue };
            let shown = body.get(..limit).unwrap_or(body);
            // Of a body that is not looked at nothing is missing.
            let truncated = limit > 0 && (goes_on || shown.len() < body.len());
            if !shown.is_empty()
                && let Some(protection) = resource.protections.get(run.policy)
            {
                protection.cells.rules.inspected(direction, shown.len(), truncated);
            }
            let begun = Instant::now();
            let intervention = run_phase(&mut run.transaction, shown, truncated);
            run.spent += begun.elapsed();
            let refusal = run.settle(rules, intervention);
            if refusal.is_some() {
                return refusal;
            }
        }
        None
    }
}

impl Run {
    /// What becomes of what a phase asks for.
    fn settle(&mut self, rules: &Rules, intervention: Option<Intervention>) -> Option<Refusal> {
        let refusal = intervention.map(|intervention| Refusal {
            status: match intervention.status {
                FORBIDDEN => rules.block_status,
                status => status,
            },
            location: intervention.redirect,
        });
        if refusal.is_some() {
            self.refused.clone_from(&refusal);
        }
        refusal
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        let resource = self.config.resource(self.index);
        for run in &mut self.runs {
            let Some(protection) = resource.protections.get(run.policy) else {
                continue;
            };
            let begun = Instant::now();
            let found = run.transaction.finish();
            run.spent += begun.elapsed();
            if run.refused.is_some() && !run.responded {
                access::strike(&self.worker, protection, self.about.client);
            }
            let outbound = run.responded.then_some(found.outbound);
            protection.cells.rules.ended(run.spent, found.inbound, outbound);
            report::transaction(
                &self.worker,
                resource,
                protection,
                &self.about,
                &found,
                run.refused.as_ref().map(|refusal| refusal.status),
            );
        }
    }
}

fn rules_of<'r>(resource: &'r Resource, run: &Run) -> Option<&'r Rules> {
    resource.protections.get(run.policy)?.rules.as_ref()
}

const fn version_text(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
