//! OCSP responses that a Secret holds are stapled to handshakes (RFC 6066 section 8, RFC 8446 section 4.4.2.1).
//!
//! That openssl makes such a response and believes it is held by `e2e/tests/up_tls.rs`.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use breakwater_snapshot::unit::{Certificate, EdgeCache, Unit};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use crate::support::{Authority, Dialer, Origin, Plane, answer, claims, edge_cache, objects, tls};

/// A client's judgement of certificates, which notes what is stapled to them.
#[derive(Debug)]
struct Noting {
    inner: Arc<WebPkiServerVerifier>,
    stapled: Mutex<Vec<u8>>,
}

impl Noting {
    fn new(authority: &Authority) -> Arc<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Arc::new(Self {
            inner: WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap(),
            stapled: Mutex::default(),
        })
    }
}

impl ServerCertVerifier for Noting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.stapled.lock().unwrap() = stapled.to_vec();
        self.inner
            .verify_server_cert(certificate, intermediates, name, stapled, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What is stapled to a new handshake.
async fn stapled(plane: &Plane, authority: &Authority, version: &'static SupportedProtocolVersion) -> Vec<u8> {
    let noting = Noting::new(authority);
    let verifier = Arc::clone(&noting);
    let dialer = Dialer::with(authority, &[version], None)
        .change(|config| config.dangerous().set_certificate_verifier(verifier));
    let mut client = dialer.connect(plane, "shop.test").await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    let stapled = noting.stapled.lock().unwrap();
    stapled.clone()
}

async fn apply(plane: &Plane, origin: &Origin, certificate: &Certificate, ocsp: Option<&[u8]>, until: Option<i64>) {
    let site = EdgeCache {
        claims: claims("shop.test", "/"),
        tls: Some(tls(&["shop.test"], "secret")),
        ..edge_cache(origin.address)
    };
    let secret = Certificate {
        ocsp: ocsp.map(|response| STANDARD.encode(response)),
        ocsp_until: until,
        ..certificate.clone()
    };
    let units = [("site", Unit::EdgeCache(site)), ("secret", Unit::Certificate(secret))];
    plane.apply(objects(units)).await;
}

#[tokio::test]
async fn what_a_secret_holds_is_stapled_in_both_versions_and_a_new_one_takes_its_place() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let authority = Authority::new();
    let certificate = authority.secret(&["shop.test"]);
    let plane = Plane::secure().await;
    // Nodes staple what they are given; whether it is believed is the client's affair.
    for response in [&b"an OCSP response"[..], b"the next one", &[7; 3000]] {
        apply(&plane, &origin, &certificate, Some(response), None).await;
        assert_eq!(stapled(&plane, &authority, &TLS13).await, response);
        assert_eq!(stapled(&plane, &authority, &TLS12).await, response);
    }
    apply(&plane, &origin, &certificate, None, None).await;
    assert_eq!(stapled(&plane, &authority, &TLS13).await, b"");
    assert_eq!(stapled(&plane, &authority, &TLS12).await, b"");
}

#[tokio::test]
async fn what_has_run_out_is_not_stapled() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let authority = Authority::new();
    let certificate = authority.secret(&["shop.test"]);
    let plane = Plane::secure().await;
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap();
    for (until, expected) in [(now + 3600, &b"response"[..]), (now - 1, b"")] {
        apply(&plane, &origin, &certificate, Some(b"response"), Some(until)).await;
        assert_eq!(stapled(&plane, &authority, &TLS13).await, expected);
    }
}

#[tokio::test]
async fn a_response_that_is_not_base64_rejects_the_secret_and_the_last_one_stays() {
    let origin = Origin::fixed(answer(200, "", "x")).await;
    let authority = Authority::new();
    let certificate = authority.secret(&["shop.test"]);
    let plane = Plane::secure().await;
    apply(&plane, &origin, &certificate, Some(b"good"), None).await;
    let site = EdgeCache {
        claims: claims("shop.test", "/"),
        tls: Some(tls(&["shop.test"], "secret")),
        ..edge_cache(origin.address)
    };
    let broken = Certificate {
        ocsp: Some("no base64!".to_owned()),
        ocsp_until: None,
        ..certificate
    };
    let units = [("site", Unit::EdgeCache(site)), ("secret", Unit::Certificate(broken))];
    let applied = plane.try_apply(objects(units)).await;
    assert_eq!(applied.rejected.len(), 1, "{applied:?}");
    assert!(applied.rejected[0].message.contains("OCSP"), "{applied:?}");
    assert_eq!(stapled(&plane, &authority, &TLS13).await, b"good");
}
