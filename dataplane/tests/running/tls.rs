//! TLS handshakes: which certificate, which version, which client; and that certificates change under live connections.

use breakwater_snapshot::Kind;
use breakwater_snapshot::unit::{ClientCertificates, EdgeCache, Tls, TlsVersion, Unit};
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    Authority, Client, Dialer, Origin, Plane, answer, claims, der, edge_cache, id, objects, tls, within,
};

fn site(origin: &Origin, host: &str, tls: Option<Tls>) -> Unit {
    Unit::EdgeCache(EdgeCache {
        claims: claims(host, "/"),
        tls,
        ..edge_cache(origin.address)
    })
}

async fn origin() -> Origin {
    Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "hello")).await
}

/// A data plane with one site and its certificate.
async fn plane_with(origin: &Origin, authority: &Authority, host: &str, change: impl FnOnce(&mut Tls)) -> Plane {
    let mut tls = tls(&[host], "secret");
    change(&mut tls);
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            ("site", site(origin, host, Some(tls))),
            ("secret", Unit::Certificate(authority.secret(&[host]))),
        ]))
        .await;
    plane
}

fn refused(reason: &str) -> String {
    format!("breakwater_refused_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn each_name_is_served_with_the_certificate_of_its_own_host() {
    let (origin, authority) = (origin().await, Authority::new());
    let names = ["www.shop.test", "*.shop.test", "*.deep.shop.test"];
    let secrets = names.map(|name| authority.secret(&[name, "a.b.shop.test"]));
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            ("one", site(&origin, names[0], Some(tls(&[names[0]], "first")))),
            ("two", site(&origin, names[1], Some(tls(&[names[1]], "second")))),
            ("three", site(&origin, names[2], Some(tls(&[names[2]], "third")))),
            ("first", Unit::Certificate(secrets[0].clone())),
            ("second", Unit::Certificate(secrets[1].clone())),
            ("third", Unit::Certificate(secrets[2].clone())),
        ]))
        .await;
    let dialer = Dialer::new(&authority);
    for (name, expected) in [
        ("www.shop.test", 0),
        ("WWW.Shop.TEST", 0),
        ("api.shop.test", 1),
        ("a.b.shop.test", 1),
        ("x.deep.shop.test", 2),
    ] {
        let mut client = dialer.connect(&plane, name).await;
        assert_eq!(client.certificate(), der(&secrets[expected]), "{name}");
        assert_eq!(client.get(name, "/a", "").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_name_that_nobody_serves_gets_an_alert_and_no_certificate() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let dialer = Dialer::new(&authority);
    let error = dialer.refusal(&plane, "other.test").await;
    assert!(
        error.contains("UnrecognizedName") || error.contains("UnrecognisedName"),
        "{error}"
    );
    let nameless = dialer.change(|config| config.enable_sni = false);
    let error = nameless.refusal(&plane, "shop.test").await;
    assert!(
        error.contains("UnrecognizedName") || error.contains("UnrecognisedName"),
        "{error}"
    );
    plane.metric_reaches(&refused("tls_unknown_name"), 1.0).await;
    plane.metric_reaches(&refused("tls_no_name"), 1.0).await;
}

#[tokio::test]
async fn a_site_for_every_host_serves_clients_that_name_none() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            ("site", site(&origin, "*", Some(tls(&["*"], "secret")))),
            ("secret", Unit::Certificate(authority.secret(&["shop.test"]))),
        ]))
        .await;
    let dialer = Dialer::new(&authority).change(|config| config.enable_sni = false);
    let mut client = dialer.connect(&plane, "shop.test").await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
}

#[tokio::test]
async fn a_host_whose_certificate_is_missing_is_not_served_with_another() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            ("all", site(&origin, "*", Some(tls(&["*"], "secret")))),
            ("one", site(&origin, "shop.test", Some(tls(&["shop.test"], "missing")))),
            ("secret", Unit::Certificate(authority.secret(&["shop.test"]))),
        ]))
        .await;
    Dialer::new(&authority).refusal(&plane, "shop.test").await;
    plane.metric_reaches(&refused("tls_no_certificate"), 1.0).await;
}

#[tokio::test]
async fn a_new_certificate_is_served_at_once_and_open_connections_go_on() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let dialer = Dialer::new(&authority);
    let mut open = dialer.connect(&plane, "shop.test").await;
    assert_eq!(open.get("shop.test", "/a", "").await.status, 200);
    let renewed = authority.secret(&["shop.test"]);
    plane
        .apply(objects([
            ("site", site(&origin, "shop.test", Some(tls(&["shop.test"], "secret")))),
            ("secret", Unit::Certificate(renewed.clone())),
        ]))
        .await;
    // A client without a session: a resumed one is shown no certificate.
    let next = Dialer::new(&authority).connect(&plane, "shop.test").await;
    assert_eq!(next.certificate(), der(&renewed));
    assert_ne!(open.certificate(), der(&renewed));
    assert!(
        open.get("shop.test", "/a", "").await.is_hit(),
        "the open connection goes on"
    );
}

#[tokio::test]
async fn a_broken_certificate_keeps_the_last_good_one_and_says_what_is_wrong() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let good = Dialer::new(&authority).connect(&plane, "shop.test").await.certificate();
    let secret = authority.secret(&["shop.test"]);
    let other = authority.secret(&["shop.test"]);
    for (chain, key, wrong) in [
        (
            secret.chain_pem.clone(),
            other.key_pem.clone(),
            "not the key of the first certificate",
        ),
        (secret.chain_pem.clone(), "secret words".to_owned(), "no private key"),
        (String::new(), secret.key_pem.clone(), "holds no certificate"),
        (
            secret.chain_pem.replace("MII", "MIJ"),
            secret.key_pem.clone(),
            "tls.crt",
        ),
    ] {
        let broken = breakwater_snapshot::unit::Certificate {
            chain_pem: chain,
            key_pem: key,
            ocsp: None,
            ocsp_until: None,
        };
        let applied = plane
            .try_apply(objects([
                ("site", site(&origin, "shop.test", Some(tls(&["shop.test"], "secret")))),
                ("secret", Unit::Certificate(broken)),
            ]))
            .await;
        let [rejection] = &applied.rejected[..] else {
            panic!("{applied:?}")
        };
        assert_eq!(rejection.id, id(Kind::Secret, "secret"));
        assert!(rejection.message.contains(wrong), "{}", rejection.message);
        assert!(!rejection.message.contains("secret words"), "{}", rejection.message);
        assert_eq!(applied.kept, [id(Kind::Secret, "secret")]);
        assert_eq!(
            Dialer::new(&authority).connect(&plane, "shop.test").await.certificate(),
            good
        );
    }
}

#[tokio::test]
async fn when_a_certificate_expires_is_in_the_metrics() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let series = "breakwater_tls_certificate_expiry_timestamp_seconds{secret=\"default/secret\"}";
    // What rcgen gives where nothing is said: 4096-01-01.
    assert_eq!(plane.metric(series).await, 67_090_118_400.0);
}

#[tokio::test]
async fn sessions_are_resumed_in_both_versions() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    for (version, label) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let dialer = Dialer::with(&authority, &[version], None);
        for resumed in [false, true] {
            let mut client = dialer.connect(&plane, "shop.test").await;
            // With the answer come the tickets.
            assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
            assert_eq!(client.resumed(), resumed, "{label}");
            let series = format!("breakwater_tls_handshakes_total{{version=\"{label}\",resumed=\"{resumed}\"}}");
            plane.metric_reaches(&series, 1.0).await;
        }
    }
}

#[tokio::test]
async fn a_session_cache_serves_clients_of_tls_1_2_without_tickets() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let dialer = Dialer::with(&authority, &[&TLS12], None).change(|config| {
        config.resumption = rustls::client::Resumption::in_memory_sessions(8)
            .tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
    });
    for resumed in [false, true] {
        let mut client = dialer.connect(&plane, "shop.test").await;
        assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
        assert_eq!(client.resumed(), resumed);
    }
}

#[tokio::test]
async fn versions_below_the_least_are_refused() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |tls| {
        tls.min_version = TlsVersion::Tls13
    })
    .await;
    let old = Dialer::with(&authority, &[&TLS12], None);
    let error = old.refusal(&plane, "shop.test").await;
    assert!(error.contains("ProtocolVersion"), "{error}");
    plane.metric_reaches(&refused("tls_incompatible"), 1.0).await;
    let mut new = Dialer::new(&authority).connect(&plane, "shop.test").await;
    assert_eq!(new.get("shop.test", "/a", "").await.status, 200);
}

#[tokio::test]
async fn a_client_that_speaks_something_else_is_let_go() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let mut client = Client::connect(plane.secure_address()).await;
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await;
    let rest = client.rest().await;
    assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
    plane.metric_reaches(&refused("tls_not_tls"), 1.0).await;
    plane.metric_reaches("breakwater_connections_beginning", 0.0).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let mut client = Client::connect(plane.secure_address()).await;
    // The beginning of a record with a ClientHello.
    client.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await;
    client.closed().await;
    plane.metric_reaches(&refused("tls_timeout"), 1.0).await;
    plane.metric_reaches("breakwater_connections_beginning", 0.0).await;
}

fn clients(authority: &Authority, required: bool) -> Option<ClientCertificates> {
    Some(ClientCertificates {
        required,
        ca_pem: authority.pem(),
    })
}

/// With TLS 1.3 a client learns only behind its own part of the handshake that it was refused.
async fn is_served(dialer: &Dialer, plane: &Plane, host: &str) -> bool {
    let Ok(mut client) = dialer.try_connect(plane.secure_address(), host).await else {
        return false;
    };
    let request = format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n");
    if client.stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    within("an answer", client.try_response("GET"))
        .await
        .is_some_and(|response| response.status == 200)
}

#[tokio::test]
async fn where_a_client_certificate_is_required_none_or_a_strangers_is_refused() {
    let (origin, authority) = (origin().await, Authority::new());
    let (ours, theirs) = (Authority::new(), Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |tls| {
        tls.clients = clients(&ours, true)
    })
    .await;
    for version in [&TLS12, &TLS13] {
        let with = |identity| Dialer::with(&authority, &[version], identity);
        assert!(is_served(&with(Some(ours.identity())), &plane, "shop.test").await);
        assert!(!is_served(&with(Some(theirs.identity())), &plane, "shop.test").await);
        assert!(!is_served(&with(None), &plane, "shop.test").await);
    }
    plane
        .metric_reaches(&refused("tls_client_certificate_missing"), 2.0)
        .await;
    plane
        .metric_reaches(&refused("tls_client_certificate_invalid"), 2.0)
        .await;
    let clear = plane.client().await.get("shop.test", "/a", "").await;
    assert_eq!(clear.status, 421, "in clear text nobody proves anything");
}

#[tokio::test]
async fn where_a_client_certificate_is_optional_none_will_do_and_a_strangers_will_not() {
    let (origin, authority) = (origin().await, Authority::new());
    let (ours, theirs) = (Authority::new(), Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |tls| {
        tls.clients = clients(&ours, false)
    })
    .await;
    let with = |identity| Dialer::with(&authority, rustls::ALL_VERSIONS, identity);
    assert!(is_served(&with(Some(ours.identity())), &plane, "shop.test").await);
    assert!(is_served(&with(None), &plane, "shop.test").await);
    assert!(!is_served(&with(Some(theirs.identity())), &plane, "shop.test").await);
}

#[tokio::test]
async fn a_connection_serves_no_host_that_asks_for_more_than_its_handshake_proved() {
    let (origin, authority, ours) = (origin().await, Authority::new(), Authority::new());
    let mut closed = tls(&["closed.test"], "secret");
    closed.clients = clients(&ours, true);
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            ("open", site(&origin, "open.test", Some(tls(&["open.test"], "secret")))),
            ("closed", site(&origin, "closed.test", Some(closed))),
            (
                "secret",
                Unit::Certificate(authority.secret(&["open.test", "closed.test"])),
            ),
        ]))
        .await;
    let dialer = Dialer::with(&authority, rustls::ALL_VERSIONS, Some(ours.identity()));
    let mut open = dialer.connect(&plane, "open.test").await;
    assert_eq!(open.get("closed.test", "/a", "").await.status, 421);
    assert_eq!(
        open.get("open.test", "/a", "").await.status,
        200,
        "the connection goes on"
    );
    let mut closed = dialer.connect(&plane, "closed.test").await;
    assert!(!closed.resumed(), "a session of another realm is not resumed");
    assert_eq!(closed.get("closed.test", "/a", "").await.status, 200);
    assert_eq!(
        closed.get("open.test", "/a", "").await.status,
        200,
        "who proved more may ask for less"
    );
    plane.metric_reaches(&refused("misdirected"), 1.0).await;
}

#[tokio::test]
async fn the_least_version_of_a_host_is_not_walked_around_by_naming_another() {
    let (origin, authority) = (origin().await, Authority::new());
    let mut strict = tls(&["strict.test"], "secret");
    strict.min_version = TlsVersion::Tls13;
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            ("lax", site(&origin, "lax.test", Some(tls(&["lax.test"], "secret")))),
            ("strict", site(&origin, "strict.test", Some(strict))),
            (
                "secret",
                Unit::Certificate(authority.secret(&["lax.test", "strict.test"])),
            ),
        ]))
        .await;
    for (version, status) in [(&TLS12, 421), (&TLS13, 200)] {
        let mut client = Dialer::with(&authority, &[version], None)
            .connect(&plane, "lax.test")
            .await;
        assert_eq!(client.get("strict.test", "/a", "").await.status, status);
        assert_eq!(
            client.get("lax.test", "/a", "").await.status,
            200,
            "the connection goes on"
        );
    }
    plane.metric_reaches(&refused("misdirected"), 1.0).await;
}

#[tokio::test]
async fn a_name_deeper_than_the_certificate_of_its_wildcard_is_served_by_nobody() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = Plane::secure().await;
    plane
        .apply(objects([
            (
                "site",
                site(&origin, "*.shop.test", Some(tls(&["*.shop.test"], "secret"))),
            ),
            ("any", site(&origin, "*", Some(tls(&["*"], "other")))),
            (
                "secret",
                Unit::Certificate(authority.secret(&["*.shop.test", "*.deep.shop.test"])),
            ),
            ("other", Unit::Certificate(authority.secret(&["any.test"]))),
        ]))
        .await;
    let dialer = Dialer::new(&authority);
    for name in ["a.shop.test", "a.deep.shop.test", "A.Deep.shop.TEST"] {
        let mut client = dialer.connect(&plane, name).await;
        assert_eq!(client.get(name, "/a", "").await.status, 200, "{name}");
    }
    for name in ["a.b.shop.test", "x.a.deep.shop.test"] {
        dialer.refusal(&plane, name).await;
    }
    plane.metric_reaches(&refused("tls_unknown_name"), 2.0).await;
}

#[tokio::test]
async fn a_session_from_before_certificates_were_required_is_not_resumed() {
    let (origin, authority, ours) = (origin().await, Authority::new(), Authority::new());
    let secret = authority.secret(&["shop.test"]);
    let plane = Plane::secure().await;
    let before = objects([
        ("site", site(&origin, "shop.test", Some(tls(&["shop.test"], "secret")))),
        ("secret", Unit::Certificate(secret.clone())),
    ]);
    plane.apply(before).await;
    let dialer = Dialer::new(&authority);
    let mut open = dialer.connect(&plane, "shop.test").await;
    assert_eq!(open.get("shop.test", "/a", "").await.status, 200);
    let mut required = tls(&["shop.test"], "secret");
    required.clients = clients(&ours, true);
    plane
        .apply(objects([
            ("site", site(&origin, "shop.test", Some(required))),
            ("secret", Unit::Certificate(secret)),
        ]))
        .await;
    assert!(!is_served(&dialer, &plane, "shop.test").await);
    assert_eq!(open.get("shop.test", "/a", "").await.status, 421);
}

#[tokio::test]
async fn authorities_that_are_none_reject_the_object_alone() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = Plane::secure().await;
    let mut broken = tls(&["shop.test"], "secret");
    broken.clients = Some(ClientCertificates {
        required: true,
        ca_pem: "no authority".to_owned(),
    });
    let applied = plane
        .try_apply(objects([
            ("broken", site(&origin, "shop.test", Some(broken))),
            ("good", site(&origin, "good.test", Some(tls(&["good.test"], "secret")))),
            ("secret", Unit::Certificate(authority.secret(&["good.test"]))),
        ]))
        .await;
    let [rejection] = &applied.rejected[..] else {
        panic!("{applied:?}")
    };
    assert!(rejection.message.contains("caCertificates"), "{}", rejection.message);
    assert!(is_served(&Dialer::new(&authority), &plane, "good.test").await);
}

#[tokio::test]
async fn the_end_of_an_idle_connection_is_told() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let mut client = Dialer::new(&authority).connect(&plane, "shop.test").await;
    assert_eq!(client.get("shop.test", "/a", "").await.status, 200);
    plane.data.drain(std::time::Duration::from_secs(20)).await;
    let mut byte = [0];
    let end = within("the end", tokio::io::AsyncReadExt::read(&mut client.stream, &mut byte)).await;
    assert_eq!(end.unwrap(), 0, "with close_notify; an end without it is an error");
}

#[tokio::test]
async fn a_response_larger_than_any_buffer_arrives_whole() {
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = body.clone();
    let origin = Origin::start(move |request| {
        let lines = if request.target().starts_with("/stored") {
            "Cache-Control: max-age=60\r\n"
        } else {
            "Cache-Control: no-store\r\n"
        };
        std::future::ready(answer(200, lines, &sent))
    })
    .await;
    let authority = Authority::new();
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    let mut client = Dialer::new(&authority).connect(&plane, "shop.test").await;
    for (target, hit) in [("/stored", false), ("/stored", true), ("/passed", false)] {
        let response = client.get("shop.test", target, "").await;
        assert_eq!(response.is_hit(), hit, "{target}");
        assert!(response.body == body, "{target}");
    }
}

/// The accepted side only.
#[tokio::test]
async fn a_client_that_leaves_during_the_handshake_leaves_nothing_behind() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "shop.test", |_| {}).await;
    drop(TcpStream::connect(plane.secure_address()).await.unwrap());
    plane.metric_reaches(&refused("tls_closed"), 1.0).await;
    plane.metric_reaches("breakwater_connections_beginning", 0.0).await;
}

#[tokio::test]
async fn a_client_that_offers_h2_is_spoken_to_in_http2_and_any_other_in_http1() {
    let (origin, authority) = (origin().await, Authority::new());
    let plane = plane_with(&origin, &authority, "www.shop.test", |_| {}).await;
    for (offers, agreed) in [(vec!["h2", "http/1.1"], "h2"), (vec!["http/1.1"], "http/1.1")] {
        let offers: Vec<_> = offers.into_iter().map(|offer| offer.as_bytes().to_vec()).collect();
        let dialer = Dialer::new(&authority).change(|config| config.alpn_protocols = offers);
        let mut client = dialer.connect(&plane, "www.shop.test").await;
        assert_eq!(client.stream.get_ref().1.alpn_protocol(), Some(agreed.as_bytes()));
        if agreed == "h2" {
            // SETTINGS on stream 0.
            assert_eq!(client.take(9).await.unwrap()[3..9], [4, 0, 0, 0, 0, 0]);
        } else {
            assert_eq!(client.get("www.shop.test", "/a", "").await.status, 200);
        }
    }
}
