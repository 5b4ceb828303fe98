//! What is told of transactions: audit lines and counts.

use std::borrow::Cow;

use breakwater_waf::audit::{self, Action, Event, Rfc3339, RuleMatch, Score};
use breakwater_waf::engine::Report;
use breakwater_waf::policy::{Mode, Reason};
use breakwater_waf::seclang::{Phase, Severity};

use super::{About, unix_ms};
use crate::config::{Protection, Resource};
use crate::worker::Worker;

/// Counts what a transaction found, and tells it if there is anything and no rule asked for silence. `refused` with this
/// status.
pub(super) fn transaction(
    worker: &Worker,
    resource: &Resource,
    protection: &Protection,
    about: &About,
    found: &Report,
    refused: Option<u16>,
) {
    if found.matches.is_empty() && found.intervention.is_none() && refused.is_none() {
        return;
    }
    for matched in &found.matches {
        protection.cells.rules.hit(matched.id);
    }
    let rules = found.matches.iter().map(|matched| RuleMatch {
        id: matched.id.into(),
        msg: &matched.msg,
        severity: severity(matched.severity),
        tags: matched.tags.iter().map(|tag| &**tag).collect(),
        data: Cow::Borrowed(&matched.data),
        phase: phase(matched.phase),
    });
    let intervention = found.intervention.as_ref();
    let event = Event {
        // What would have been sent; nothing is refused below a threshold.
        status: refused
            .or_else(|| intervention.map(|intervention| intervention.status))
            .unwrap_or_default(),
        action: if refused.is_some() {
            Action::Block
        } else {
            Action::Detect
        },
        reason: Reason::Rule,
        uri: found.mask.uri(&about.path, about.query.as_deref()),
        score: Score {
            inbound: found.inbound,
            outbound: found.outbound,
        },
        rules: rules.collect(),
        detail: intervention.map(|intervention| Cow::Owned(format!("rule {}", intervention.rule))),
        ..event(worker, resource, protection, about)
    };
    tell(worker, protection, &event, found.silent);
}

/// Tells of a body that is longer than may pass uninspected.
pub(super) fn body_limit(
    worker: &Worker,
    resource: &Resource,
    protection: &Protection,
    about: &About,
    status: u16,
    detail: &str,
) {
    let event = Event {
        status,
        reason: Reason::Body,
        detail: Some(detail.into()),
        ..event(worker, resource, protection, about)
    };
    tell(worker, protection, &event, false);
}

fn event<'a>(worker: &Worker, resource: &'a Resource, protection: &'a Protection, about: &'a About) -> Event<'a> {
    let identity = protection.policy.identity();
    Event {
        time: Rfc3339 { unix_ms: unix_ms() },
        request_id: &about.request_id,
        client: about.client,
        country: worker.country(about.client),
        asn: worker.asn(about.client),
        method: &about.method,
        host: &about.host,
        uri: identity.redaction.uri(&about.path, about.query.as_deref()),
        resource: &resource.label,
        policy: &identity.name,
        mode: identity.mode,
        action: match identity.mode {
            Mode::Enforce => Action::Block,
            Mode::DetectOnly => Action::Detect,
        },
        reason: Reason::Rule,
        status: 0,
        score: Score::default(),
        rules: Vec::new(),
        detail: None,
    }
}

/// Counts an event and, unless `silent`, writes its line.
fn tell(worker: &Worker, protection: &Protection, event: &Event<'_>, silent: bool) {
    protection.cells.event(event.action.as_str(), event.reason.as_str());
    if silent {
        return;
    }
    let mut line = Vec::with_capacity(1024);
    audit::write_line(event, &mut line);
    worker.metrics.audit_log.write(line);
}

const fn phase(phase: Phase) -> u8 {
    match phase {
        Phase::RequestHeaders => 1,
        Phase::RequestBody => 2,
        Phase::ResponseHeaders => 3,
        Phase::ResponseBody => 4,
        Phase::Logging => 5,
    }
}

const fn severity(severity: Option<Severity>) -> &'static str {
    match severity {
        None => "",
        Some(Severity::Emergency) => "EMERGENCY",
        Some(Severity::Alert) => "ALERT",
        Some(Severity::Critical) => "CRITICAL",
        Some(Severity::Error) => "ERROR",
        Some(Severity::Warning) => "WARNING",
        Some(Severity::Notice) => "NOTICE",
        Some(Severity::Info) => "INFO",
        Some(Severity::Debug) => "DEBUG",
    }
}
