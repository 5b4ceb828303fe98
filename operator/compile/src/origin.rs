//! Compiles servers: an EdgeCache's origin and a WsRoute's backend.
//!
//! [`Servers::read`] reads everything a user wrote and needs no other object; [`Servers::resolve`] then follows the
//! reference to a Service. Secrets are followed by `certificate`.

use std::collections::BTreeMap;

use breakwater_crds::{self as crds, PortRef};
use breakwater_snapshot::unit::{
    Balance, BalanceStrategy, Circuit, Ejection, Endpoint, HashBy, HealthCheck, Origin, OriginProtocol, OriginTls,
    Retries,
};
use breakwater_snapshot::{Kind, ObjectId};

use crate::certificate;
use crate::findings::Findings;
use crate::index::{Index, optional, positive};
use crate::value::{self, server};
use crate::{Judgement, Reason};

/// The servers of either kind of route, as the user wrote them.
pub(crate) struct Servers<'a> {
    /// `spec.origin` or `spec.backend`.
    pub(crate) field: &'static str,
    pub(crate) namespace: &'a str,
    service: Option<&'a crds::ServiceRef>,
    urls: Option<&'a [crds::HttpUrl]>,
    weights: &'a BTreeMap<String, u16>,
    balance: crds::Balance,
    hash: Option<&'a crds::Hash>,
    slow_start: Option<&'a crds::Duration>,
    health: Option<&'a crds::HealthCheck>,
    ejection: &'a crds::Ejection,
    circuit: &'a crds::Circuit,
    retries: &'a crds::Retries,
    tls: Option<&'a crds::OriginTls>,
    protocol: crds::OriginProtocol,
    connect: &'a crds::Duration,
}

/// Borrows what origin and backend have in common.
macro_rules! servers {
    ($field:literal, $namespace:expr, $spec:expr, $protocol:expr) => {
        Servers {
            field: $field,
            namespace: $namespace,
            service: $spec.service.as_ref(),
            urls: $spec.urls.as_deref(),
            weights: &$spec.weights,
            balance: $spec.balance,
            hash: $spec.hash.as_ref(),
            slow_start: $spec.slow_start.as_ref(),
            health: $spec.health.as_ref(),
            ejection: &$spec.ejection,
            circuit: &$spec.circuit,
            retries: &$spec.retries,
            tls: $spec.tls.as_ref(),
            protocol: $protocol,
            connect: &$spec.timeouts.connect,
        }
    };
}

impl<'a> Servers<'a> {
    pub(crate) fn of_origin(namespace: &'a str, spec: &'a crds::Origin) -> Self {
        servers!("spec.origin", namespace, spec, spec.protocol)
    }

    /// Another edge that is asked before an origin.
    pub(crate) fn of_parent(namespace: &'a str, spec: &'a crds::Origin) -> Self {
        servers!("spec.tiering.parent", namespace, spec, spec.protocol)
    }

    /// WebSockets begin as HTTP/1.1.
    pub(crate) fn of_backend(namespace: &'a str, spec: &'a crds::Backend) -> Self {
        servers!("spec.backend", namespace, spec, crds::OriginProtocol::Http1)
    }

    /// Reads every field; errors make the object invalid. A Service's endpoints are not there yet.
    pub(crate) fn read(&self, response_timeout_ms: u64, findings: &mut Findings) -> Origin {
        let field = self.field;
        match (self.service, self.urls) {
            (None, None) => findings.error(field, "nothing says where requests go: give service or urls"),
            (Some(_), Some(_)) => findings.error(field, "service and urls exclude each other: leave one out"),
            (Some(service), None) => {
                if matches!(service.port, PortRef::Number(0)) {
                    findings.error(format!("{field}.service.port"), "`0` is not a port: write 1 to 65535");
                }
            }
            (None, Some([])) => findings.error(format!("{field}.urls"), "the list is empty: name at least one server"),
            (None, Some(_)) => {}
        }
        let (endpoints, secure) = self.endpoints(findings);
        let connect_timeout_ms = positive(findings, &format!("{field}.timeouts.connect"), self.connect);
        Origin {
            endpoints,
            connect_timeout_ms,
            response_timeout_ms,
            balance: self.balance(findings),
            health: self
                .health
                .map(|health| health_check(&format!("{field}.health"), health, findings)),
            ejection: self.ejection(findings),
            circuit: self.circuit(findings),
            retries: self.retries(findings),
            tls: self.tls(secure, findings),
            protocol: match self.protocol {
                crds::OriginProtocol::Http1 => OriginProtocol::Http1,
                crds::OriginProtocol::Http2 => OriginProtocol::Http2,
            },
        }
    }

    /// The servers that urls name, and whether they are reached by TLS.
    fn endpoints(&self, findings: &mut Findings) -> (Vec<Endpoint>, bool) {
        let field = self.field;
        let urls = self.urls.unwrap_or_default();
        let mut servers: Vec<Endpoint> = Vec::with_capacity(urls.len());
        let mut schemes = [false; 2];
        for (i, url) in urls.iter().enumerate() {
            let Some((secure, mut endpoint)) = findings.take(format!("{field}.urls[{i}]"), server(url.as_str())) else {
                continue;
            };
            schemes[usize::from(secure)] = true;
            endpoint.weight = self.weights.get(url.as_str()).copied().unwrap_or(1);
            let same = |known: &Endpoint| known.host == endpoint.host && known.port == endpoint.port;
            if servers.iter().any(same) {
                findings.warning(
                    format!("{field}.urls[{i}]"),
                    format!("`{url}` is the same server as one before it"),
                );
            } else {
                servers.push(endpoint);
            }
        }
        if schemes == [true; 2] {
            findings.error(
                format!("{field}.urls"),
                "http:// and https:// cannot be mixed: write all of one scheme",
            );
        }
        for name in self.weights.keys() {
            if !urls.iter().any(|url| url.as_str() == name) {
                findings.error(
                    format!("{field}.weights"),
                    format!("`{name}` is not in urls: weights are given by the text that stands there"),
                );
            }
        }
        if !servers.is_empty() && servers.iter().all(|server| server.weight == 0) {
            findings.error(
                format!("{field}.weights"),
                "every server has weight 0, so that none takes requests: give one of them a weight",
            );
        }
        servers.sort();
        (servers, schemes[1])
    }

    fn balance(&self, findings: &mut Findings) -> Balance {
        let field = format!("{}.hash", self.field);
        if self.hash.is_some() && self.balance != crds::Balance::Hash {
            findings.error(
                &field,
                "hash says what balance: Hash looks at: write balance: Hash, or leave hash out",
            );
        }
        let hash_by = self.hash.map_or(HashBy::ClientAddress, |hash| {
            let name = |findings: &mut Findings| {
                if hash.name.is_none() {
                    findings.error(
                        format!("{field}.name"),
                        "the name of the header field or cookie is missing",
                    );
                }
                hash.name.as_deref()
            };
            let read = match hash.by {
                crds::HashBy::Header => name(findings)
                    .and_then(|name| findings.take(format!("{field}.name"), value::header(name)))
                    .map(HashBy::Header),
                crds::HashBy::Cookie => name(findings)
                    .and_then(|name| findings.take(format!("{field}.name"), value::token(name, "a cookie name")))
                    .map(HashBy::Cookie),
                crds::HashBy::ClientAddress | crds::HashBy::Path => {
                    if hash.name.is_some() {
                        findings.error(
                            format!("{field}.name"),
                            "a name is looked at with by: Header and by: Cookie only: leave it out",
                        );
                    }
                    (hash.by == crds::HashBy::Path).then_some(HashBy::Path)
                }
            };
            read.unwrap_or_default()
        });
        Balance {
            strategy: match self.balance {
                crds::Balance::RoundRobin => BalanceStrategy::RoundRobin,
                crds::Balance::LeastConnections => BalanceStrategy::LeastConnections,
                crds::Balance::PowerOfTwo => BalanceStrategy::PowerOfTwo,
                crds::Balance::Hash => BalanceStrategy::Hash,
            },
            hash_by,
            slow_start_ms: optional(findings, &format!("{}.slowStart", self.field), self.slow_start)
                .unwrap_or_default(),
        }
    }

    fn ejection(&self, findings: &mut Findings) -> Option<Ejection> {
        let field = format!("{}.ejection", self.field);
        let spec = self.ejection;
        let base_ms = positive(findings, &format!("{field}.time"), &spec.time);
        if !(1..=100).contains(&spec.max_percent) {
            findings.error(
                format!("{field}.maxPercent"),
                format!(
                    "`{}` is not a share: write 1 to 100, or consecutiveFailures: 0 to turn ejection off",
                    spec.max_percent
                ),
            );
        }
        (spec.consecutive_failures > 0).then_some(Ejection {
            consecutive_failures: spec.consecutive_failures,
            base_ms,
            max_percent: spec.max_percent,
        })
    }

    fn circuit(&self, findings: &mut Findings) -> Circuit {
        let spec = self.circuit;
        for (name, count) in [
            ("connectionsPerServer", spec.connections_per_server),
            ("requests", spec.requests),
        ] {
            if count == Some(0) {
                findings.error(
                    format!("{}.circuit.{name}", self.field),
                    "`0` lets nothing through: write at least 1, or leave it out",
                );
            }
        }
        Circuit {
            connections_per_server: spec.connections_per_server,
            requests: spec.requests,
            pending: spec.pending,
        }
    }

    fn retries(&self, findings: &mut Findings) -> Retries {
        let field = format!("{}.retries", self.field);
        let spec = self.retries;
        if spec.attempts > 10 {
            findings.error(
                format!("{field}.attempts"),
                format!("`{}` attempts are too many: 10 at most", spec.attempts),
            );
        }
        if spec.budget_percent > 100 {
            findings.error(
                format!("{field}.budgetPercent"),
                format!("`{}` is not a share: write 0 to 100", spec.budget_percent),
            );
        }
        if self.field == "spec.backend" && !spec.statuses.is_empty() {
            findings.warning(
                format!("{field}.statuses"),
                "a handshake that was sent is never repeated, whatever is answered: leave it out",
            );
        }
        Retries {
            attempts: spec.attempts,
            budget_percent: spec.budget_percent,
            statuses: value::statuses(findings, &format!("{field}.statuses"), &spec.statuses, 400..=599),
        }
    }

    fn tls(&self, secure: bool, findings: &mut Findings) -> Option<OriginTls> {
        let field = format!("{}.tls", self.field);
        if self.tls.is_some() && self.urls.is_some_and(|urls| !urls.is_empty()) && !secure {
            findings.error(&field, "the urls say http: write https:// there, or leave tls out");
        }
        let unwritten = crds::OriginTls::default();
        let spec = match self.tls {
            Some(spec) => spec,
            None if secure => &unwritten,
            None => return None,
        };
        let server_name = match &spec.server_name {
            Some(name) => findings.take(format!("{field}.serverName"), value::server_name(name)),
            // The endpoints of a Service are addresses, which certificates hardly ever name.
            None => self
                .service
                .map(|service| format!("{}.{}.svc", service.name, self.namespace)),
        };
        if let Some(pem) = &spec.ca_certificates {
            findings.take(format!("{field}.caCertificates"), certificate::authorities(pem));
        }
        if spec.insecure_skip_verify {
            if spec.ca_certificates.is_some() {
                findings.error(
                    format!("{field}.insecureSkipVerify"),
                    "no certificate is checked, so that caCertificates mean nothing: leave one of them out",
                );
            }
            findings.warning(
                format!("{field}.insecureSkipVerify"),
                "any certificate is taken: whoever sits between can read and change everything",
            );
        }
        Some(OriginTls {
            server_name,
            ca_pem: spec.ca_certificates.clone(),
            insecure: spec.insecure_skip_verify,
            certificate: spec
                .certificate_secret_name
                .as_ref()
                .map(|name| ObjectId::new(Kind::Secret, self.namespace, name.as_str())),
        })
    }

    /// Follows the reference; an unresolved one is a finding but leaves the object valid, without servers.
    pub(crate) fn resolve(
        &self,
        index: &Index<'_>,
        servers: Vec<Endpoint>,
        findings: &mut Findings,
    ) -> (Vec<Endpoint>, Judgement) {
        let resolved = Judgement::new(true, Reason::ResolvedRefs, "every reference was found");
        let Some(service) = self.service else {
            return (servers, resolved);
        };
        let field = format!("{}.service", self.field);
        match index.endpoints(self.namespace, service) {
            Ok(endpoints) => {
                if endpoints.is_empty() {
                    findings.warning(
                        field,
                        format!(
                            "Service {}/{} has no ready endpoint for port {}: requests are answered with 503",
                            self.namespace, service.name, service.port
                        ),
                    );
                }
                (endpoints, resolved)
            }
            Err(judgement) => {
                findings.error(field, &judgement.message);
                (Vec::new(), judgement)
            }
        }
    }
}

fn health_check(field: &str, spec: &crds::HealthCheck, findings: &mut Findings) -> HealthCheck {
    let path = &spec.path;
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) || path.contains('#') {
        findings.error(
            format!("{field}.path"),
            format!("`{path}` cannot be asked for: write a path that begins with /, percent-encoded where needed"),
        );
    }
    let interval_ms = positive(findings, &format!("{field}.interval"), &spec.interval);
    let timeout_ms = positive(findings, &format!("{field}.timeout"), &spec.timeout);
    if (1..100).contains(&interval_ms) {
        findings.error(
            format!("{field}.interval"),
            format!("`{}` is too often: at least 100ms", spec.interval),
        );
    }
    for (name, count) in [
        ("healthyAfter", spec.healthy_after),
        ("unhealthyAfter", spec.unhealthy_after),
    ] {
        if count == 0 {
            findings.error(format!("{field}.{name}"), "`0` answers say nothing: write at least 1");
        }
    }
    HealthCheck {
        path: path.clone(),
        host: spec
            .host
            .as_ref()
            .and_then(|host| findings.take(format!("{field}.host"), value::authority(host))),
        interval_ms,
        timeout_ms,
        healthy_after: spec.healthy_after,
        unhealthy_after: spec.unhealthy_after,
        statuses: value::statuses(findings, &format!("{field}.statuses"), &spec.statuses, 100..=599),
    }
}
