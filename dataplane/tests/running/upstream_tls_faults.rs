//! TLS with an origin that fails is told to whoever runs it: what, where, and what to do.

use std::net::SocketAddr;
use std::sync::Arc;

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{OriginProtocol, OriginTls, Unit};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;

use super::upstream_tls::{Secured, believing, site};
use crate::support::{Authority, Log, Origin, Plane, answer, id, objects};

const ASKED: usize = 5;

/// Asks a few times, and gives what was said of the server.
async fn said(address: SocketAddr, tls: OriginTls, protocol: OriginProtocol, reason: &str) -> Vec<String> {
    let log = Log::listen();
    let mut site = site(address, tls);
    site.origin.protocol = protocol;
    site.origin.retries.attempts = 0;
    let plane = Plane::running([("site", Unit::EdgeCache(site))]).await;
    let mut client = plane.client().await;
    for _ in 0..ASKED {
        // Not shared, so that each asks the origin.
        let response = client.get("shop.test", "/a", "Cache-Control: no-store\r\n").await;
        assert_eq!(response.status, 502, "{response:?}");
        client = plane.client().await;
    }
    let series = format!("breakwater_origin_failures_total{{resource=\"EdgeCache/default/site\",reason=\"{reason}\"}}");
    plane.metric_reaches(&series, ASKED as f64).await;
    let all = "breakwater_origin_requests_total{resource=\"EdgeCache/default/site\",code=\"error\"}";
    plane.metric_reaches(all, ASKED as f64).await;
    log.lines(&format!("server=localhost:{}", address.port()))
}

async fn is_told_once(address: SocketAddr, tls: OriginTls, protocol: OriginProtocol, reason: &str, remedy: &str) {
    let lines = said(address, tls, protocol, reason).await;
    assert_eq!(lines.len(), 1, "{reason}: {lines:?}");
    for part in ["WARN", "EdgeCache/default/site", reason, remedy] {
        assert!(lines[0].contains(part), "{part} is missing: {}", lines[0]);
    }
}

#[tokio::test]
async fn a_server_whose_authority_is_not_believed_is_told_once() {
    let origin = Secured::start(Authority::new().server("localhost", "http/1.1", None)).await;
    let tls = believing(&Authority::new());
    is_told_once(
        origin.address,
        tls,
        OriginProtocol::Http1,
        "tls_unknown_authority",
        "caCertificates",
    )
    .await;
}

#[tokio::test]
async fn a_server_with_a_certificate_for_another_name_is_told_once() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("other.test", "http/1.1", None)).await;
    let tls = believing(&authority);
    is_told_once(
        origin.address,
        tls,
        OriginProtocol::Http1,
        "tls_wrong_name",
        "serverName",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_once() {
    let clear = Origin::raw(async |mut peer| {
        peer.send(answer(400, "Connection: close\r\n", "TLS?")).await;
        peer.rest().await;
    })
    .await;
    let tls = believing(&Authority::new());
    is_told_once(clear.address, tls, OriginProtocol::Http1, "tls_handshake", "speaks TLS").await;
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_2_is_told_once() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("localhost", "http/1.1", None)).await;
    let tls = believing(&authority);
    is_told_once(origin.address, tls, OriginProtocol::Http2, "tls_protocol", "HTTP1").await;
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_ours_is_told_once() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("localhost", "http/1.1", Some(&authority))).await;
    let tls = believing(&authority);
    is_told_once(
        origin.address,
        tls,
        OriginProtocol::Http1,
        "tls_refused",
        "certificateSecretName",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_of_ours_that_is_missing_is_told_once() {
    let authority = Authority::new();
    let origin = Secured::start(authority.server("localhost", "http/1.1", Some(&authority))).await;
    let tls = OriginTls {
        certificate: Some(id(Kind::Secret, "ours")),
        ..believing(&authority)
    };
    is_told_once(
        origin.address,
        tls,
        OriginProtocol::Http1,
        "tls_ours",
        "Secret/default/ours",
    )
    .await;
}

#[tokio::test]
async fn attempts_that_were_tried_again_are_counted_by_reason_too() {
    let good = Origin::fixed(answer(200, "", "x")).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let mut site = crate::support::edge_cache(nobody);
    site.origin = crate::support::http_origin(&[nobody, good.address]);
    site.origin.retries.attempts = 1;
    let plane = Plane::start().await;
    plane.apply(objects([("site", Unit::EdgeCache(site))])).await;
    let mut client = plane.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    }
    let series = "breakwater_origin_failures_total{resource=\"EdgeCache/default/site\",reason=\"connect\"}";
    plane.metric_reaches(series, 1.0).await;
    assert_eq!(
        plane
            .metric("breakwater_origin_requests_total{resource=\"EdgeCache/default/site\",code=\"error\"}")
            .await,
        0.0
    );
}

/// A server with a certificate that signed itself, and that is believed for it.
async fn signed_by_itself(change: impl FnOnce(&mut CertificateParams)) -> (Secured, OriginTls) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        );
    let tls = OriginTls {
        ca_pem: Some(certificate.pem()),
        ..OriginTls::default()
    };
    (Secured::start(Arc::new(config.unwrap())).await, tls)
}

/// What docs/upstreams.md says of certificates.
#[tokio::test]
async fn a_certificate_that_signed_itself_is_believed_if_it_is_no_authority_and_has_the_name() {
    let (origin, tls) = signed_by_itself(|params| params.is_ca = IsCa::ExplicitNoCa).await;
    let plane = Plane::running([("site", Unit::EdgeCache(site(origin.address, tls)))]).await;
    assert_eq!(plane.client().await.get("shop.test", "/a", "").await.status, 200);

    let (origin, tls) = signed_by_itself(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)).await;
    is_told_once(origin.address, tls, OriginProtocol::Http1, "tls_certificate", "CA:TRUE").await;

    let (origin, tls) = signed_by_itself(|params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "localhost");
    })
    .await;
    is_told_once(
        origin.address,
        tls,
        OriginProtocol::Http1,
        "tls_wrong_name",
        "subjectAltName",
    )
    .await;

    let (origin, tls) = signed_by_itself(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    })
    .await;
    is_told_once(
        origin.address,
        tls,
        OriginProtocol::Http1,
        "tls_certificate",
        "for servers",
    )
    .await;

    let (origin, tls) = signed_by_itself(|params| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    })
    .await;
    is_told_once(origin.address, tls, OriginProtocol::Http1, "tls_expired", "renew").await;
}
