//! What a Secret has to be stapled: read, and held against the certificate it should be about.
//!
//! A client that checks staples refuses a connection over a wrong one, so a wrong one is a fault of the Secret. Who signed it
//! is left to clients, who know the issuer; when it has run out, to nodes, who know the time.

use der::Decode;
use x509_cert::Certificate;
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus};

/// Until when a response (RFC 6960, DER) is good, Unix seconds; none: it does not say. `certificate` is the server's own,
/// in DER.
///
/// # Errors
/// Why it must not be stapled, for people.
pub(crate) fn until(response: &[u8], certificate: &[u8]) -> Result<Option<i64>, &'static str> {
    let unreadable = "tls.ocsp-staple is no OCSP response in DER: fetch it again, or leave it out";
    let response = OcspResponse::from_der(response).map_err(|_| unreadable)?;
    if response.response_status != OcspResponseStatus::Successful {
        return Err("tls.ocsp-staple holds an error of the responder: fetch it again, or leave it out");
    }
    let bytes = response.response_bytes.ok_or(unreadable)?;
    let answers = BasicOcspResponse::from_der(bytes.response.as_bytes()).map_err(|_| unreadable)?;
    let certificate = Certificate::from_der(certificate).map_err(|_| "the certificate cannot be read")?;
    let serial = &certificate.tbs_certificate.serial_number;
    let answers = answers.tbs_response_data.responses;
    let Some(answer) = answers.iter().find(|answer| answer.cert_id.serial_number == *serial) else {
        return Err("tls.ocsp-staple is about another certificate than the first of tls.crt");
    };
    match answer.cert_status {
        CertStatus::Good(_) => Ok(answer
            .next_update
            .as_ref()
            .and_then(|time| i64::try_from(time.0.to_unix_duration().as_secs()).ok())),
        CertStatus::Revoked(_) => Err("tls.ocsp-staple says that the certificate is revoked: it needs a new one"),
        CertStatus::Unknown(_) => Err("tls.ocsp-staple says that the responder does not know the certificate"),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn what_is_no_response_is_refused() {
        let errors = [&b""[..], b"\x00", &[0x30; 300]].map(|bytes| until(bytes, b""));
        assert!(
            errors
                .iter()
                .all(|error| error.is_err_and(|error| error.contains("no OCSP response")))
        );
        // OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED tryLater }
        let later = until(&[0x30, 3, 0x0a, 1, 3], b"");
        assert!(later.is_err_and(|error| error.contains("error of the responder")));
    }

    #[test]
    fn a_response_counts_for_its_certificate_alone_and_only_if_that_is_good() {
        const GOOD: &[u8] = include_bytes!("../tests/test-only/shop.ocsp");
        const REVOKED: &[u8] = include_bytes!("../tests/test-only/shop-revoked.ocsp");
        let [shop, other] = [
            &include_bytes!("../tests/test-only/shop.crt")[..],
            include_bytes!("../tests/test-only/other.crt"),
        ]
        .map(|pem| CertificateDer::from_pem_slice(pem).unwrap());
        let in_2100 = 4_102_444_800;
        assert!(until(GOOD, &shop).unwrap().is_some_and(|until| until > in_2100));
        assert!(until(GOOD, &other).unwrap_err().contains("another certificate"));
        assert!(until(REVOKED, &shop).unwrap_err().contains("revoked"));
        for length in 0..GOOD.len() {
            assert!(until(&GOOD[..length], &shop).is_err(), "{length} bytes");
        }
    }
}
