//! Compiles TLS towards clients, and settles which object decides on each host.
//!
//! A handshake happens before there is a path, so TLS belongs to the host: of several objects that serve paths of one
//! host and have `tls`, the oldest decides. The others, and those without `tls`, are served over TLS as well.

use std::collections::{BTreeSet, HashMap};

use breakwater_crds as crds;
use breakwater_snapshot::unit::{ClientCertificates, Hsts, Tls, TlsVersion};
use breakwater_snapshot::{Kind, ObjectId};

use crate::certificate::{self, Certificates};
use crate::claims::Age;
use crate::findings::Findings;
use crate::{Judgement, Reason};

/// A year: what the preload lists of browsers ask for at least.
const YEAR_S: u64 = 31_536_000;

/// Reads `spec.tls`. The unit has no hosts yet.
pub(crate) fn read(namespace: &str, spec: &crds::Tls, findings: &mut Findings) -> Tls {
    if spec.secret_name.is_empty() {
        findings.error("spec.tls.secretName", "the name of the Secret is missing");
    }
    let clients = spec.client_certificates.as_ref().map(|clients| {
        findings.take(
            "spec.tls.clientCertificates.caCertificates",
            certificate::authorities(&clients.ca_certificates),
        );
        ClientCertificates {
            required: clients.mode == crds::ClientCertificateMode::Required,
            ca_pem: clients.ca_certificates.clone(),
        }
    });
    Tls {
        hosts: Vec::new(),
        certificate: ObjectId::new(Kind::Secret, namespace, spec.secret_name.as_str()),
        redirect: spec.redirect,
        hsts: spec.hsts.as_ref().map(|spec| hsts(spec, findings)),
        min_version: match spec.min_version {
            crds::TlsVersion::Tls12 => TlsVersion::Tls12,
            crds::TlsVersion::Tls13 => TlsVersion::Tls13,
        },
        clients,
    }
}

fn hsts(spec: &crds::Hsts, findings: &mut Findings) -> Hsts {
    let max_age_s = findings
        .take("spec.tls.hsts.maxAge", spec.max_age.millis())
        .unwrap_or_default()
        / 1000;
    if spec.preload && !spec.include_sub_domains {
        findings.error(
            "spec.tls.hsts.preload",
            "the preload lists of browsers take only hosts with includeSubDomains: true",
        );
    } else if spec.preload && max_age_s < YEAR_S {
        findings.warning(
            "spec.tls.hsts.preload",
            "the preload lists of browsers ask for a maxAge of 8760h at least",
        );
    }
    Hsts {
        max_age_s,
        include_sub_domains: spec.include_sub_domains,
        preload: spec.preload,
    }
}

/// Who decides on TLS for each host.
pub(crate) struct Deciders(HashMap<String, (ObjectId, Tls)>);

impl Deciders {
    /// Settles all hosts. Each claimant comes with the hosts of which it serves a path.
    pub(crate) fn settle<'a>(mut claimants: Vec<(Age<'a>, ObjectId, BTreeSet<&'a str>, &'a Tls)>) -> Self {
        claimants.sort_by(|a, b| a.0.cmp(&b.0));
        let mut deciders = HashMap::new();
        for (_, id, hosts, tls) in claimants {
            for host in hosts {
                deciders
                    .entry(host.to_owned())
                    .or_insert_with(|| (id.clone(), tls.clone()));
            }
        }
        Self(deciders)
    }

    /// Fills in the hosts on which `id` decides; none is left when it decides on none. What another decides in another
    /// way is a finding, and the text for the condition.
    pub(crate) fn decided(
        &self,
        id: &ObjectId,
        hosts: &BTreeSet<&str>,
        mut tls: Tls,
        findings: &mut Findings,
    ) -> (Option<Tls>, Option<String>) {
        let mut lost = None;
        for host in hosts {
            match self.0.get(*host) {
                Some((winner, _)) if winner == id => tls.hosts.push((*host).to_owned()),
                // Nothing is lost where both want the same.
                Some((_, theirs)) if *theirs == tls_without_hosts(&tls) => {}
                Some((winner, _)) => {
                    let text = format!("TLS of {host} is decided by {winner}, which is older");
                    findings.error(
                        "spec.tls",
                        format!("{text}: make tls the same here and there, or leave it out here"),
                    );
                    lost.get_or_insert(text);
                }
                None => {}
            }
        }
        ((!tls.hosts.is_empty()).then_some(tls), lost)
    }
}

fn tls_without_hosts(tls: &Tls) -> Tls {
    Tls {
        hosts: Vec::new(),
        ..tls.clone()
    }
}

/// Follows the reference to the Secret: whether it can be used, and whether it is for the hosts.
pub(crate) fn follow(
    id: &ObjectId,
    hosts: &BTreeSet<&str>,
    field: &str,
    certificates: &mut Certificates<'_>,
    findings: &mut Findings,
) -> Result<(), Judgement> {
    match certificates.judge(id) {
        Ok(good) => {
            let missing: Vec<&str> = hosts.iter().copied().filter(|host| !good.covers(host)).collect();
            if let Some(first) = missing.first() {
                let more = match missing.len() {
                    1 => String::new(),
                    more => format!(" and {} more", more - 1),
                };
                findings.warning(
                    field,
                    format!(
                        "the certificate in Secret {}/{} is not for {first}{more}: browsers will refuse it",
                        id.namespace, id.name
                    ),
                );
            }
            Ok(())
        }
        Err(fault) => {
            findings.error(field, &fault.message);
            Err(Judgement::new(
                false,
                Reason::InvalidCertificateRef,
                fault.message.clone(),
            ))
        }
    }
}
