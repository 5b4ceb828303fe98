//! Access: what the attached policies say of a request, and telling the audit log and the counters.
//!
//! Costs nothing for a resource without policy, and no allocation for a request that no policy objects to.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use breakwater_waf::address::AddressSet;
use breakwater_waf::audit::{self, Action, Event};
use breakwater_waf::limit::ConnectionGuard;
use breakwater_waf::policy::{
    Clearance, FieldSource, Finding, Identity, Outcome, Reason, RequestView, Verdict, Work, admit_all, evaluate_all,
};
use breakwater_wire::forwarded::client_address;
use breakwater_wire::http1::Fields;
use breakwater_wire::path::NormalPath;

use crate::challenge::About;
use crate::config::{Protection, Resource};
use crate::worker::Worker;

/// What is judged.
pub(crate) struct Subject<'a> {
    pub(crate) client: IpAddr,
    pub(crate) method: &'a str,
    /// Without port, as received.
    pub(crate) host: &'a str,
    pub(crate) path: &'a NormalPath<'a>,
    pub(crate) query: Option<&'a str>,
    pub(crate) fields: Fields<'a>,
    /// The names of the fields that are known to be there or not, in lower case. None: all are.
    pub(crate) known_fields: Option<&'a [&'a str]>,
    pub(crate) request_id: &'a str,
}

/// The judgement of all policies together.
#[derive(Clone, Debug)]
pub(crate) enum Judgement {
    Pass,
    /// `retry_after` in seconds. `work`: of this policy, and its client passes once it is done.
    Refuse {
        status: u16,
        retry_after: Option<u64>,
        work: Option<(Arc<Identity>, Work)>,
    },
}

/// Judges a request, reports every objection, and counts its connection, if it is known, where a policy limits connections.
pub(crate) fn judge(
    worker: &Worker,
    guard: Option<&mut Option<Box<ConnectionGuard>>>,
    resource: &Resource,
    subject: &Subject<'_>,
) -> Judgement {
    let host = if subject.host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(subject.host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(subject.host)
    };
    let view = RequestView::new(
        subject.client,
        subject.method,
        &host,
        subject.path.as_str(),
        subject.query,
    );
    let shown = Shown {
        fields: subject.fields.clone(),
        known: subject.known_fields,
    };
    let locations = worker.locations.borrow();
    let proofs = Proofs {
        worker,
        resource,
        host: &host,
        client: subject.client,
        shown: &shown,
    };
    let other_paths = subject.path.other_readings();
    let view = view
        .with_other_paths(&other_paths)
        .with_fields(&shown)
        .with_locations(&**locations)
        .with_clearance(&proofs);
    let policies = || resource.protections.iter().map(|protection| &protection.policy);
    let now_ms = worker.clock.now_ms();
    let mut verdict = evaluate_all(policies(), &view, now_ms);
    if resource.counts_connections
        && let Some(guard) = guard
        && matches!(verdict.outcome, Outcome::Pass)
    {
        let admitted = admit_all(policies(), &view, guard.get_or_insert_default(), now_ms);
        verdict.outcome = admitted.outcome;
        verdict.detections.extend(admitted.detections);
    }
    report(worker, resource, &verdict, &view, subject.request_id);
    match verdict.outcome {
        Outcome::Pass => Judgement::Pass,
        Outcome::Block(finding) => Judgement::Refuse {
            status: finding.status,
            retry_after: finding.retry_after.map(u64::from),
            work: finding.work.map(|work| (finding.policy, work)),
        },
    }
}

fn report(worker: &Worker, resource: &Resource, verdict: &Verdict, view: &RequestView<'_>, request_id: &str) {
    let blocked = match &verdict.outcome {
        Outcome::Pass => None,
        Outcome::Block(finding) => Some(finding),
    };
    for finding in verdict.detections.iter().chain(blocked) {
        audit(worker, resource, finding, view, request_id);
    }
}

#[cold]
fn audit(worker: &Worker, resource: &Resource, finding: &Finding, view: &RequestView<'_>, request_id: &str) {
    if let Some(protection) = protection(resource, &finding.policy.name) {
        if finding.action() == Action::Challenge {
            protection.cells.challenges.issued();
        }
        protection
            .cells
            .event(finding.action().as_str(), finding.reason.as_str());
        if let Some(limit) = finding.detail.limit() {
            protection.cells.refused_by(limit);
        }
        if finding.action() == Action::Block && finding.reason != Reason::Penalty {
            strike(worker, protection, view.client);
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut line = Vec::with_capacity(512);
    audit::write_line(
        &Event::new(finding, view, request_id, &resource.label, unix_ms),
        &mut line,
    );
    worker.metrics.audit_log.write(line);
}

/// The fields of a head, for rules over them.
#[derive(Debug)]
struct Shown<'a> {
    fields: Fields<'a>,
    known: Option<&'a [&'a str]>,
}

impl<'a> Shown<'a> {
    /// The values of the fields of this name, in any case.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.clone();
        fields
            .filter(move |(held, _)| held.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl FieldSource for Shown<'_> {
    fn any(&self, name: &str, look: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.knows(name) && self.values(name).any(look)
    }

    fn knows(&self, name: &str) -> bool {
        self.known
            .is_none_or(|known| known.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }
}

/// Proofs of work in the fields of a head, counted.
struct Proofs<'a> {
    worker: &'a Worker,
    resource: &'a Resource,
    /// Lower case.
    host: &'a str,
    client: IpAddr,
    shown: &'a Shown<'a>,
}

impl std::fmt::Debug for Proofs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proofs").finish_non_exhaustive()
    }
}

impl Clearance for Proofs<'_> {
    fn proves(&self, policy: &str, work: Work) -> Option<bool> {
        let about = About {
            policy,
            host: self.host,
            client: self.client,
        };
        let (keys, now) = (&self.worker.metrics.peering.challenges, self.worker.clock.unix());
        let proved = keys.prove(about, work, self.shown.values("cookie"), now)?;
        if let Some(protection) = protection(self.resource, policy) {
            protection.cells.challenges.answered(proved);
        }
        Some(proved)
    }
}

/// The policy of this name, among those of a resource.
fn protection<'r>(resource: &'r Resource, policy: &str) -> Option<&'r Protection> {
    let mut protections = resource.protections.iter().map(|protection| &**protection);
    protections.find(|protection| protection.policy.identity().name == policy)
}

/// Takes note that a policy refused a request of `client`, for the policy's penalty.
pub(crate) fn strike(worker: &Worker, protection: &Protection, client: IpAddr) {
    if protection.policy.strike(client, worker.clock.now_ms()) {
        protection.cells.penalized();
    }
}

/// How a client's address is found.
#[derive(Debug, Default)]
pub(crate) struct ClientRule {
    trusted: AddressSet,
    /// Lower case.
    header: Option<String>,
}

impl ClientRule {
    pub(crate) fn new(trusted: AddressSet, header: Option<String>) -> Self {
        Self { trusted, header }
    }

    /// The field that names the client, where it is not `X-Forwarded-For`. Lower case.
    pub(crate) fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// The client, and whether the peer is a trusted proxy that spoke for it.
    pub(crate) fn find<'v>(&self, peer: IpAddr, fields: impl Iterator<Item = (&'v str, &'v [u8])>) -> (IpAddr, bool) {
        let peer = peer.to_canonical();
        if self.trusted.is_empty() || self.trusted.contains(peer).is_none() {
            return (peer, false);
        }
        let header = self.header.as_deref().unwrap_or("x-forwarded-for");
        let values: Vec<_> = fields
            .filter(|(name, _)| name.eq_ignore_ascii_case(header))
            .map(|(_, value)| value)
            .collect();
        let trusted = |address| self.trusted.contains(address).is_some();
        (client_address(peer, values.into_iter(), trusted), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(header: Option<&str>) -> ClientRule {
        let trusted = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
        ClientRule::new(trusted, header.map(str::to_owned))
    }

    fn find(rule: &ClientRule, peer: &str, fields: &[(&str, &str)]) -> (String, bool) {
        let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        let (client, trusted) = rule.find(peer.parse().unwrap(), fields);
        (client.to_string(), trusted)
    }

    #[test]
    fn what_an_untrusted_peer_says_of_itself_is_not_believed() {
        let said = [("X-Forwarded-For", "198.51.100.7")];
        assert_eq!(
            find(&rule(None), "203.0.113.9", &said),
            ("203.0.113.9".to_owned(), false)
        );
        assert_eq!(
            find(&ClientRule::default(), "10.0.0.1", &said),
            ("10.0.0.1".to_owned(), false)
        );
    }

    #[test]
    fn the_nearest_address_that_is_no_trusted_proxy_is_the_client() {
        let said = [
            ("x-forwarded-for", "1.1.1.1, 198.51.100.7"),
            ("X-Forwarded-For", "10.0.0.9"),
        ];
        assert_eq!(find(&rule(None), "10.0.0.1", &said), ("198.51.100.7".to_owned(), true));
    }

    #[test]
    fn another_field_can_be_named() {
        let said = [("x-forwarded-for", "1.1.1.1"), ("X-Real-IP", "198.51.100.7")];
        assert_eq!(
            find(&rule(Some("x-real-ip")), "10.0.0.1", &said),
            ("198.51.100.7".to_owned(), true)
        );
    }
}
