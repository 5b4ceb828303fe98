//! Why TLS with a server failed: a name of a fixed set, and what a person may do about it.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Why there is no secured connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFault {
    pub(crate) kind: Kind,
    /// What was seen, for a person.
    what: String,
}

/// The kinds of faults: each has a remedy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody that is believed signed the certificate.
    UnknownAuthority,
    /// The certificate is for other names.
    WrongName,
    /// The certificate is too old, or too young.
    Expired,
    /// The certificate cannot be used for another reason.
    Certificate,
    /// The server does not want us.
    Refused,
    /// The server does not speak the protocol that is asked for.
    Protocol,
    /// The two do not come to terms, or what is there is not TLS.
    Handshake,
    /// What we need for a handshake is missing.
    Ours,
}

impl Kind {
    pub(crate) const COUNT: usize = 8;

    /// For metrics and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::UnknownAuthority => "tls_unknown_authority",
            Self::WrongName => "tls_wrong_name",
            Self::Expired => "tls_expired",
            Self::Certificate => "tls_certificate",
            Self::Refused => "tls_refused",
            Self::Protocol => "tls_protocol",
            Self::Handshake => "tls_handshake",
            Self::Ours => "tls_ours",
        }
    }

    /// What to do.
    const fn remedy(self) -> &'static str {
        match self {
            Self::UnknownAuthority => {
                "give the certificate of the authority that signed it, or the certificate itself if it signed itself, in tls.caCertificates, and let the server send the certificates between"
            }
            Self::WrongName => {
                "set tls.serverName to a name in the certificate's subjectAltName (the common name does not count), or give the server a certificate for this name"
            }
            Self::Expired => "renew the server's certificate, or set the clock of this node",
            Self::Certificate => {
                "it must be of X.509 version 3 with a subjectAltName, and for servers; one that signed itself must not say CA:TRUE (docs/upstreams.md has a command)"
            }
            Self::Refused => {
                "the server's log knows why: it may ask for a certificate of ours (tls.certificateSecretName), or serve another name (tls.serverName)"
            }
            Self::Protocol => "set protocol to HTTP1, or let the server offer h2 by ALPN",
            Self::Handshake => "see that this port speaks TLS 1.2 or 1.3",
            Self::Ours => "mend what is missing: until then nothing is sent to this origin",
        }
    }
}

impl TlsFault {
    pub(super) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
        }
    }

    /// What a handshake or a secured connection ended with.
    pub(super) fn from_io(error: &io::Error) -> Self {
        let kind = match inner(error) {
            Some(Error::InvalidCertificate(reason)) => certificate(reason),
            Some(Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                Kind::Protocol
            }
            Some(Error::AlertReceived(_)) => Kind::Refused,
            _ => Kind::Handshake,
        };
        Self::new(kind, error.to_string())
    }

    /// The refusal that came in place of an answer: with TLS 1.3 a server judges our certificate when our side of the
    /// handshake is done.
    pub(crate) fn refusal(error: &io::Error) -> Option<Self> {
        matches!(inner(error), Some(Error::AlertReceived(_))).then(|| Self::from_io(error))
    }

    /// What to do.
    pub(crate) const fn remedy(&self) -> &'static str {
        self.kind.remedy()
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

fn inner(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn certificate(reason: &CertificateError) -> Kind {
    match reason {
        // An authority of the same name that has another key is another authority.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Kind::UnknownAuthority,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Kind::WrongName,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Kind::Expired,
        _ => Kind::Certificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place_a_name_and_a_remedy() {
        let kinds = [
            Kind::UnknownAuthority,
            Kind::WrongName,
            Kind::Expired,
            Kind::Certificate,
            Kind::Refused,
            Kind::Protocol,
            Kind::Handshake,
            Kind::Ours,
        ];
        assert_eq!(kinds.len(), Kind::COUNT);
        for (place, kind) in kinds.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert!(kind.label().starts_with("tls_") && !kind.remedy().is_empty());
        }
    }

    #[test]
    fn errors_are_told_apart_by_what_can_be_done() {
        let of = |error: Error| TlsFault::from_io(&io::Error::new(io::ErrorKind::InvalidData, error)).kind;
        assert_eq!(
            of(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            Kind::UnknownAuthority
        );
        assert_eq!(
            of(Error::InvalidCertificate(CertificateError::NotValidForName)),
            Kind::WrongName
        );
        assert_eq!(of(Error::InvalidCertificate(CertificateError::Expired)), Kind::Expired);
        assert_eq!(
            of(Error::InvalidCertificate(CertificateError::BadEncoding)),
            Kind::Certificate
        );
        let alert = Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(of(alert), Kind::Refused);
        let alert = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(of(alert), Kind::Protocol);
        assert_eq!(of(Error::DecryptError), Kind::Handshake);
        let eof = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(TlsFault::from_io(&eof).kind, Kind::Handshake);
        assert_eq!(TlsFault::refusal(&eof), None);
    }
}
