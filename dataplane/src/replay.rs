//! Judging requests that were: what the policies of a configuration say of the requests of a log.
//!
//! Invariant: a request goes through the data plane's own gate, routes, lists, limits and rules, with the time of the log;
//! what comes out is the audit lines that nodes would write. Nothing listens, no name is resolved, nothing is sent.
//!
//! Lists of places whose database is not at hand are left out, and rules with `@geoLookup` then match nothing: that is told
//! ([`Judge::left_out`]), and the rest of the policy is judged. Sampling is left out: rules look at every request. What a log does not have is left out as well: limits on connections are not asked, and rules over fields see those of the log.
//! So that rules of the Core Rule Set about missing fields do not object, `User-Agent` and `Accept` are put in, and
//! `Content-Length: 0` where a request of its method has one.

use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use breakwater_cache::key::Keyer;
use breakwater_snapshot::unit::{Places, Unit, WafPolicy};
use breakwater_snapshot::{Blob, ObjectId, Rejection, Snapshot};
use breakwater_waf::replay::UnjudgedPart;

use crate::config::Assembler;
use crate::error::CrsError;
use crate::geo::{Known, Locations};
use crate::handler::replayed::{self, Unjudged};
use crate::telemetry::LineLog;
use crate::worker::{Worker, alone};

/// What the clock of a replay shows at the first request: limits reckon back from it.
const START_MS: u64 = 1 << 40;

/// Fields that are put in where the log does not have them.
const STAND_INS: [(&str, &str); 2] = [("user-agent", "breakwater-replay"), ("accept", "*/*")];

/// Judges requests by the policies of one configuration.
pub struct Judge {
    worker: Rc<Worker>,
    told: Receiver<Vec<u8>>,
    rejected: Vec<Rejection>,
    left_out: Vec<LeftOut>,
    unjudged: Vec<UnjudgedPart>,
    /// When the first request was, and the latest, Unix milliseconds.
    begun: Option<(u64, u64)>,
}

/// A part of a policy that is not judged, because there is no database to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Whose.
    pub policy: ObjectId,
    /// In words, with the flag that names a database.
    pub part: &'static str,
}

/// A request that was.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The client.
    pub client: IpAddr,
    /// The method.
    pub method: &'a str,
    /// The host, perhaps with a port.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// It came over HTTP/1.0.
    pub http10: bool,
    /// Its id, for audit lines.
    pub request_id: &'a str,
    /// The fields that are known, but for Host. Names are in lower case.
    pub fields: &'a [(&'a str, &'a str)],
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It would be refused before any policy is asked, for this reason.
    Malformed(String),
    /// No resource serves it.
    Unrouted,
    /// It was judged; the audit lines. It is refused if one says `block`.
    Told(Vec<Vec<u8>>),
}

impl Judge {
    /// A judge with the objects of `snapshot`, the Core Rule Set in this directory, if one is named, and these databases.
    ///
    /// # Errors
    /// When the Core Rule Set cannot be read.
    pub fn new(snapshot: &Snapshot, crs_dir: Option<&Path>, locations: &Arc<Locations>) -> Result<Self, CrsError> {
        let crs = crs_dir.map(crate::read_crs).transpose()?;
        let (audit_log, told) = LineLog::kept();
        let seed = crate::server::random() as u64;
        let metrics = alone::metrics(seed, audit_log);
        let (cache, tables) = (Arc::clone(&metrics.cache), Arc::clone(&metrics.tables));
        let marker = Keyer::new(u128::from(seed));
        let crs = crs.map(Arc::new);
        let (snapshot, left_out, unjudged) = judgeable(snapshot, locations.known());
        // What asks for a database that is not there was left out; rules that do find nothing.
        let known = Known {
            countries: true,
            asns: true,
        };
        let mut assembler = Assembler::new(Arc::clone(&metrics), cache, tables, 443, marker, crs, known);
        let (config, applied) = assembler.assemble(&snapshot);
        let worker = alone::worker(seed, &metrics, Arc::new(config));
        worker.locations.replace(Arc::clone(locations));
        Ok(Self {
            worker,
            told,
            rejected: applied.rejected,
            left_out,
            unjudged,
            begun: None,
        })
    }

    /// Parts of policies that are not judged for want of a database.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// What is not judged, by the reasons in audit lines: such parts, and limits on connections.
    #[must_use]
    pub fn unjudged(&self) -> &[UnjudgedPart] {
        &self.unjudged
    }

    /// Objects that cannot be used; policies among them refuse everything, as on a node that never had them.
    #[must_use]
    pub fn rejected(&self) -> &[Rejection] {
        &self.rejected
    }

    /// Judges a request that came at `unix_ms`. One that is earlier than another before it counts as of the same moment.
    pub fn judge(&mut self, request: &Request<'_>, unix_ms: u64) -> Judged {
        let (first, latest) = self.begun.unwrap_or((unix_ms, unix_ms));
        let latest = latest.max(unix_ms);
        self.begun = Some((first, latest));
        self.worker.clock.set(START_MS + (latest - first), latest);
        let Some(head) = head(request) else {
            return Judged::Malformed("a control character or a space is in its request line".to_owned());
        };
        let known: Vec<&str> = request.fields.iter().map(|(name, _)| *name).chain(["host"]).collect();
        let judged = replayed::judge(&self.worker, &head, &known, request.client, request.request_id);
        let told = self.told.try_iter().collect();
        match judged {
            Ok(()) => Judged::Told(told),
            Err(Unjudged::Malformed(reason)) => Judged::Malformed(reason),
            Err(Unjudged::Unrouted) => Judged::Unrouted,
        }
    }
}

/// The same, but that rules look at every request (by chance a replay would find another thing each time), and without
/// what no database here answers for.
fn judgeable(snapshot: &Snapshot, known: Known) -> (Snapshot, Vec<LeftOut>, Vec<UnjudgedPart>) {
    let (mut left_out, mut unjudged) = (Vec::new(), Vec::new());
    let objects = snapshot.manifest().entries.iter().filter_map(|entry| {
        let mut blob = Blob::from_json(snapshot.blob(&entry.sha256)?).ok()?;
        if let Blob::Valid { unit } = &mut blob
            && let Unit::WafPolicy(policy) = &mut **unit
        {
            unjudged.extend(limits_on_connections(policy));
            for (part, reason) in leave_out(policy, known) {
                unjudged.extend(reason.map(|reason| UnjudgedPart { reason, detail: None }));
                let policy = entry.id.clone();
                left_out.push(LeftOut { policy, part });
            }
        }
        Some((entry.id.clone(), entry.generation, blob))
    });
    let snapshot = Snapshot::build(objects.collect::<Vec<_>>());
    (snapshot, left_out, unjudged)
}

/// Takes out of a policy what cannot be judged, and says so: in words, and the reason in audit lines.
fn leave_out(policy: &mut WafPolicy, known: Known) -> Vec<(&'static str, Option<&'static str>)> {
    let mut out = Vec::new();
    if !known.countries && !policy.countries.pass_all() {
        policy.countries = Places::default();
        out.push(("its lists of countries: give --geo-db FILE", Some("country")));
    }
    if !known.asns && !policy.asns.pass_all() {
        policy.asns = Places::default();
        out.push(("its lists of autonomous systems: give --asn-db FILE", Some("asn")));
    }
    let Some(rules) = &mut policy.rules else { return out };
    rules.sampled_percent = None;
    let asks = |text: &str| text.to_ascii_lowercase().contains("@geolookup");
    if !known.countries && rules.seclang.iter().any(|source| asks(&source.text)) {
        out.push((
            "its rules with @geoLookup, which match nothing: give --geo-db FILE",
            None,
        ));
    }
    out
}

fn limits_on_connections(policy: &WafPolicy) -> impl Iterator<Item = UnjudgedPart> {
    let limits = policy.limits.iter();
    let on_connections = limits.filter(|limit| limit.connections.is_some() || limit.new_connections.is_some());
    on_connections.map(|limit| UnjudgedPart {
        reason: "limit",
        detail: Some(limit.name.clone()),
    })
}

/// The head of a request as a client would send it. None: what is in the log would be another request than it was.
fn head(request: &Request<'_>) -> Option<Vec<u8>> {
    let Request {
        method, host, target, ..
    } = *request;
    let is_word = |text: &str| text.bytes().all(|b| b > b' ' && b != 0x7f);
    if !is_word(method) || !is_word(host) || !is_word(target) {
        return None;
    }
    let version = if request.http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut head = format!("{method} {target} {version}\r\nhost: {host}\r\n");
    let has = |name: &str| request.fields.iter().any(|(known, _)| *known == name);
    let missing = STAND_INS.iter().filter(|(name, _)| !has(name));
    let length = !matches!(method, "GET" | "HEAD" | "OPTIONS" | "DELETE") && !has("content-length");
    let length = length.then_some(("content-length", "0"));
    for (name, value) in request.fields.iter().chain(missing).copied().chain(length) {
        // The log may have what no field can have.
        if value.bytes().all(|b| b >= b' ' && b != 0x7f) {
            head.extend([name, ": ", value.trim(), "\r\n"]);
        }
    }
    head.push_str("\r\n");
    Some(head.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request<'_> = Request {
        client: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        method: "GET",
        host: "a",
        target: "/x",
        http10: false,
        request_id: "r",
        fields: &[],
    };

    fn text(request: &Request<'_>) -> Option<String> {
        head(request).map(|head| String::from_utf8_lossy(&head).into_owned())
    }

    #[test]
    fn fields_that_clients_send_stand_in_for_what_the_log_does_not_have() {
        let stand_ins = "user-agent: breakwater-replay\r\naccept: */*\r\n";
        let start = "GET /x HTTP/1.1\r\nhost: a\r\n";
        assert_eq!(text(&REQUEST).unwrap(), format!("{start}{stand_ins}\r\n"));
        let fields = [("user-agent", "curl")];
        let known = Request {
            fields: &fields,
            ..REQUEST
        };
        assert_eq!(
            text(&known).unwrap(),
            format!("{start}user-agent: curl\r\naccept: */*\r\n\r\n")
        );
        let post = Request {
            method: "POST",
            ..REQUEST
        };
        assert!(text(&post).unwrap().ends_with("content-length: 0\r\n\r\n"));
    }

    #[test]
    fn nothing_in_a_log_makes_another_request_of_it() {
        for target in ["/x HTTP/1.1\r\nx: y", "/x\ny", "/x y", "/\u{0}"] {
            let request = Request { target, ..REQUEST };
            assert_eq!(text(&request), None, "{target:?}");
        }
        let fields = [("referer", "a\r\nx: y")];
        let request = Request {
            fields: &fields,
            ..REQUEST
        };
        assert!(!text(&request).unwrap().contains("referer"));
    }
}
