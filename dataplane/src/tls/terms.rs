//! How an object wants its hosts served over TLS, built.

use std::sync::Arc;

use breakwater_snapshot::ObjectId;
use breakwater_snapshot::unit::{self, TlsVersion};
use http::HeaderValue;

use super::realm;
use super::{Realm, Realms};

/// An object's terms.
pub(crate) struct Terms {
    pub(crate) hosts: Vec<String>,
    pub(crate) certificate: ObjectId,
    pub(super) min_version: TlsVersion,
    pub(super) redirect: bool,
    pub(super) hsts: Option<Hsts>,
    pub(super) realm: Arc<realm::Shared>,
}

impl Terms {
    /// Builds an object's terms.
    ///
    /// # Errors
    /// What cannot be, for a person.
    pub(crate) fn new(unit: unit::Tls, realms: &Realms) -> Result<Self, String> {
        Ok(Self {
            realm: realms.find(unit.clients.as_ref())?,
            hosts: unit.hosts,
            certificate: unit.certificate,
            min_version: unit.min_version,
            redirect: unit.redirect,
            hsts: unit.hsts.as_ref().map(Hsts::new),
        })
    }

    pub(super) fn realm(&self) -> Realm {
        self.realm.realm
    }
}

/// A `Strict-Transport-Security` field (RFC 6797 section 6.1), ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hsts {
    line: Box<str>,
    value: HeaderValue,
}

const NAME: &str = "Strict-Transport-Security: ";

impl Hsts {
    fn new(unit: &unit::Hsts) -> Self {
        let sub_domains = if unit.include_sub_domains {
            "; includeSubDomains"
        } else {
            ""
        };
        let preload = if unit.preload { "; preload" } else { "" };
        let value = format!("max-age={}{sub_domains}{preload}", unit.max_age_s);
        Self {
            line: format!("{NAME}{value}\r\n").into(),
            // Digits and words of ours: it is a value.
            value: HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("max-age=0")),
        }
    }

    /// The field's value.
    pub(crate) const fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The field line of HTTP/1.1, CRLF included.
    pub(crate) fn line(&self) -> &[u8] {
        self.line.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_says_what_was_asked_for() {
        let mut unit = unit::Hsts {
            max_age_s: 31_536_000,
            include_sub_domains: false,
            preload: false,
        };
        let line = |unit: &unit::Hsts| String::from_utf8(Hsts::new(unit).line().to_vec()).unwrap();
        assert_eq!(line(&unit), "Strict-Transport-Security: max-age=31536000\r\n");
        unit.include_sub_domains = true;
        unit.preload = true;
        assert_eq!(
            line(&unit),
            "Strict-Transport-Security: max-age=31536000; includeSubDomains; preload\r\n"
        );
    }
}
