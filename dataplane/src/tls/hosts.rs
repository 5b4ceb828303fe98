//! Which host is served how: the table that handshakes and requests look into.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use breakwater_snapshot::unit::TlsVersion;
use foldhash::fast::RandomState;
use rustls::ServerConfig;

use super::{Certificate, Hsts, Realm, Terms};

/// What the handshake of a connection proved, and agreed on: its realm, and in the highest bit the version. Small, for
/// every connection has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof(NonZeroU32);

/// The bit that says TLS 1.3.
const TLS13: u32 = 1 << 31;

impl Proof {
    pub(crate) fn new(realm: Realm, version: TlsVersion) -> Self {
        let bit = if version == TlsVersion::Tls13 { TLS13 } else { 0 };
        Self(realm.number() | bit)
    }

    const fn is_of(self, realm: Realm) -> bool {
        self.0.get() & !TLS13 == realm.number().get()
    }

    const fn version(self) -> TlsVersion {
        if self.0.get() & TLS13 == 0 {
            TlsVersion::Tls12
        } else {
            TlsVersion::Tls13
        }
    }
}

/// How a host is served over TLS.
pub(crate) struct HostTls {
    /// None: its certificate is missing, and handshakes fail.
    pub(crate) server: Option<Arc<ServerConfig>>,
    certificate: Option<Certificate>,
    pub(crate) realm: Realm,
    min_version: TlsVersion,
    /// Whether clients must show a certificate.
    pub(crate) required: bool,
    /// Clear-text requests are sent to `https`, at this port.
    pub(crate) redirect: Option<u16>,
    pub(crate) hsts: Option<Hsts>,
}

impl HostTls {
    /// `server` is made of `certificate`.
    pub(crate) fn new(
        terms: &Terms,
        certificate: Option<&Certificate>,
        server: Option<Arc<ServerConfig>>,
        https_port: u16,
    ) -> Self {
        Self {
            server,
            certificate: certificate.cloned(),
            realm: terms.realm(),
            min_version: terms.min_version,
            required: terms.realm.required,
            redirect: terms.redirect.then_some(https_port),
            hsts: terms.hsts.clone(),
        }
    }

    /// Whether a connection whose handshake proved this (none: clear text) may carry requests for this host.
    pub(crate) fn admits(&self, proof: Option<Proof>) -> bool {
        match proof {
            // Where certificates are optional, who shows none is served; where nobody asks, everybody.
            None => !self.required,
            Some(proof) => {
                let proved = self.realm == Realm::OPEN || proof.is_of(self.realm);
                proved && proof.version() >= self.min_version
            }
        }
    }

    /// Whether its certificate, if there is one, is good for this name.
    fn covers(&self, name: &str) -> bool {
        self.certificate
            .as_ref()
            .is_none_or(|certificate| certificate.covers(name))
    }
}

/// The hosts that are served over TLS.
#[derive(Default)]
pub(crate) struct Hosts {
    all: Vec<Arc<HostTls>>,
    exact: HashMap<Box<str>, u32, RandomState>,
    /// By the part after `*.`.
    wildcard: HashMap<Box<str>, u32, RandomState>,
    any: Option<u32>,
}

impl Hosts {
    /// Adds a host as claims write it: a name, `*.example.com`, or `*`. The first to come stays.
    pub(crate) fn add(&mut self, host: &str, tls: &Arc<HostTls>) {
        let index = match self.all.last() {
            Some(last) if Arc::ptr_eq(last, tls) => self.all.len() - 1,
            _ => {
                self.all.push(Arc::clone(tls));
                self.all.len() - 1
            }
        };
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        match host.strip_prefix("*.") {
            Some(suffix) => drop(self.wildcard.entry(suffix.into()).or_insert(index)),
            None if host == "*" => drop(self.any.get_or_insert(index)),
            None => drop(self.exact.entry(host.into()).or_insert(index)),
        }
    }

    /// What was added for exactly this host, as claims write it; for [`Hosts::get`].
    pub(crate) fn of_claim(&self, host: &str) -> Option<u32> {
        match host.strip_prefix("*.") {
            Some(suffix) => self.wildcard.get(suffix).copied(),
            None if host == "*" => self.any,
            None => self.exact.get(host).copied(),
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&HostTls> {
        self.all.get(index as usize).map(Arc::as_ref)
    }

    /// How the host of this name is served: the exact one, else the longest wildcard, else `*`, as routes are found. A
    /// client without SNI (none) named no host: only `*` may serve it.
    ///
    /// `*.example.com` is a host of any depth, but in a certificate it is one label (RFC 9525 section 6.3). A name that is
    /// deeper is served by the wildcard if the certificate has it all the same, and else by nobody.
    pub(crate) fn by_name(&self, name: Option<&str>) -> Option<&Arc<HostTls>> {
        let Some((found, deep)) = name.and_then(|name| self.find(name)) else {
            return self.all.get(self.any? as usize);
        };
        let host = self.all.get(found as usize)?;
        (!deep || name.is_some_and(|name| host.covers(name))).then_some(host)
    }

    /// The host of a name, and whether the name is more than one label longer than the wildcard it was found by.
    fn find(&self, name: &str) -> Option<(u32, bool)> {
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        let name = name.strip_suffix('.').unwrap_or(&name);
        if let Some(found) = self.exact.get(name) {
            return Some((*found, false));
        }
        if self.wildcard.is_empty() {
            return None;
        }
        let (mut rest, mut deep) = (name, false);
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(found) = self.wildcard.get(suffix) {
                return Some((*found, deep));
            }
            (rest, deep) = (suffix, true);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(realm: Realm, required: bool) -> Arc<HostTls> {
        Arc::new(HostTls {
            server: None,
            certificate: None,
            realm,
            min_version: TlsVersion::Tls12,
            required,
            redirect: None,
            hsts: None,
        })
    }

    fn table(hosts: &[&str]) -> (Hosts, Vec<Arc<HostTls>>) {
        let mut table = Hosts::default();
        let all = hosts.iter().map(|_| host(Realm::OPEN, false)).collect::<Vec<_>>();
        hosts.iter().zip(&all).for_each(|(name, tls)| table.add(name, tls));
        (table, all)
    }

    #[test]
    fn a_name_gets_its_own_host_then_the_longest_wildcard_then_any() {
        let (hosts, all) = table(&["www.example.com", "*.example.com", "*.shop.example.com", "*"]);
        for (name, expected) in [
            ("www.example.com", 0),
            ("WWW.Example.COM", 0),
            ("www.example.com.", 0),
            ("api.example.com", 1),
            ("a.b.example.com", 1),
            ("a.shop.example.com", 2),
            ("shop.example.com", 1),
            ("example.com", 3),
        ] {
            assert!(
                Arc::ptr_eq(hosts.by_name(Some(name)).unwrap(), &all[expected]),
                "{name}"
            );
        }
        assert!(Arc::ptr_eq(hosts.by_name(None).unwrap(), &all[3]));
    }

    #[test]
    fn a_connection_of_an_old_version_carries_nothing_for_a_host_that_wants_a_new_one() {
        let strict = HostTls {
            min_version: TlsVersion::Tls13,
            ..Arc::into_inner(host(Realm::OPEN, false)).unwrap()
        };
        let proof = |version| Some(Proof::new(Realm::OPEN, version));
        assert!(!strict.admits(proof(TlsVersion::Tls12)));
        assert!(strict.admits(proof(TlsVersion::Tls13)));
        // Whether clear text is served is for `redirect` to say.
        assert!(strict.admits(None));
    }

    #[test]
    fn a_name_that_nobody_serves_gets_nothing() {
        let (hosts, _) = table(&["www.example.com", "*.example.org"]);
        for name in [Some("example.com"), Some("example.org"), Some("xwww.example.com"), None] {
            assert!(hosts.by_name(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn of_two_that_decide_on_a_host_the_first_does() {
        let mut hosts = Hosts::default();
        let [first, second] = [host(Realm::OPEN, false), host(Realm::OPEN, true)];
        hosts.add("a.example", &first);
        hosts.add("a.example", &second);
        let found = hosts.of_claim("a.example").and_then(|index| hosts.get(index)).unwrap();
        assert!(std::ptr::eq(found, &*first));
        assert!(hosts.of_claim("b.example").is_none() && hosts.of_claim("*").is_none());
    }
}
