//! Every row of the survey of odd handshakes that concerns a single message, and then some.

use super::*;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const REQUEST: &[(&str, &str)] = &[
    ("host", "chat.example.com"),
    ("upgrade", "websocket"),
    ("connection", "keep-alive, Upgrade"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-version", "13"),
];

const RESPONSE: &[(&str, &str)] = &[
    ("upgrade", "WebSocket"),
    ("connection", "upgrade"),
    ("sec-websocket-accept", ACCEPT),
];

/// What a case does to a good message.
#[derive(Debug)]
enum Change {
    Set(&'static str, &'static str),
    Add(&'static str, &'static str),
    Remove(&'static str),
}
use Change::{Add, Remove, Set};

fn fields(base: &[(&'static str, &'static str)], changes: &[Change]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in base {
        map.append(*name, HeaderValue::from_static(value));
    }
    for change in changes {
        match change {
            Set(name, value) => {
                map.insert(*name, HeaderValue::from_static(value));
            }
            Add(name, value) => {
                map.append(*name, HeaderValue::from_static(value));
            }
            Remove(name) => {
                map.remove(*name);
            }
        }
    }
    map
}

fn request(changes: &[Change], rules: &Rules) -> Result<Offer, RequestRefusal> {
    check_request(&Method::GET, Version::HTTP_11, &fields(REQUEST, changes), rules)
}

fn offer(changes: &[Change]) -> Offer {
    request(changes, &Rules::default()).unwrap()
}

fn response(changes: &[Change], offer: &Offer) -> Result<Agreement, ResponseRefusal> {
    check_response(
        StatusCode::SWITCHING_PROTOCOLS,
        &fields(RESPONSE, changes),
        KEY.as_bytes(),
        offer,
    )
}

#[test]
fn a_good_request_passes_with_its_key() {
    let offer = offer(&[]);
    assert_eq!(
        offer,
        Offer {
            key: HeaderValue::from_static(KEY),
            subprotocols: Vec::new(),
            extensions: None
        }
    );
    assert_eq!(offer.subprotocol_value(), None);
}

#[test]
fn odd_requests_are_refused_with_the_right_status() {
    use RequestRefusal as R;
    let cases: &[(&str, Change, R, u16)] = &[
        ("no key", Remove("sec-websocket-key"), R::Key, 400),
        ("key of 3 bytes", Set("sec-websocket-key", "YWJj"), R::Key, 400),
        (
            "key of 17 bytes",
            Set("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZWU="),
            R::Key,
            400,
        ),
        (
            "key that is not base64",
            Set("sec-websocket-key", "????????????????????????"),
            R::Key,
            400,
        ),
        ("two keys", Add("sec-websocket-key", KEY), R::Key, 400),
        ("version 7", Set("sec-websocket-version", "7"), R::Version, 426),
        ("no version", Remove("sec-websocket-version"), R::Version, 426),
        ("two versions", Add("sec-websocket-version", "13"), R::Version, 426),
        (
            "list of versions",
            Set("sec-websocket-version", "13, 8"),
            R::Version,
            426,
        ),
        ("upgrade to foo", Set("upgrade", "foo"), R::Upgrade, 426),
        (
            "upgrade to websocket/13",
            Set("upgrade", "websocket/13"),
            R::Upgrade,
            426,
        ),
        ("no upgrade asked", Remove("upgrade"), R::Upgrade, 426),
        ("no connection", Remove("connection"), R::Connection, 400),
        (
            "connection without upgrade",
            Set("connection", "keep-alive"),
            R::Connection,
            400,
        ),
        (
            "connection: upgraded",
            Set("connection", "upgraded"),
            R::Connection,
            400,
        ),
        ("body with length", Set("content-length", "5"), R::Body, 400),
        ("odd length", Set("content-length", "+0"), R::Body, 400),
        ("chunked body", Set("transfer-encoding", "chunked"), R::Body, 400),
        (
            "empty subprotocol",
            Set("sec-websocket-protocol", "chat,,x"),
            R::Subprotocol,
            400,
        ),
        (
            "subprotocol that is no token",
            Set("sec-websocket-protocol", "a b"),
            R::Subprotocol,
            400,
        ),
        (
            "extension without a name",
            Set("sec-websocket-extensions", "; a=b"),
            R::Extensions,
            400,
        ),
    ];
    for (name, change, refusal, status) in cases {
        let refused = request(std::slice::from_ref(change), &Rules::default());
        assert_eq!(refused, Err(*refusal), "{name}");
        assert_eq!(refusal.status().as_u16(), *status, "{name}");
    }
}

#[test]
fn only_get_by_http_1_1_upgrades() {
    let good = fields(REQUEST, &[]);
    let rules = Rules::default();
    for (method, refusal, status) in [
        (Method::POST, RequestRefusal::Method, 405),
        (Method::HEAD, RequestRefusal::Method, 405),
        (Method::CONNECT, RequestRefusal::Method, 405),
    ] {
        assert_eq!(
            check_request(&method, Version::HTTP_11, &good, &rules),
            Err(refusal),
            "{method}"
        );
        assert_eq!(refusal.status().as_u16(), status);
    }
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2] {
        let refused = check_request(&Method::GET, version, &good, &rules);
        assert_eq!(refused, Err(RequestRefusal::HttpVersion), "{version:?}");
    }
    assert_eq!(RequestRefusal::HttpVersion.status().as_u16(), 400);
}

#[test]
fn a_refusal_for_the_version_names_the_version_that_is_spoken() {
    assert!(
        RequestRefusal::Version
            .fields()
            .contains(&(SEC_WEBSOCKET_VERSION, "13"))
    );
    assert!(RequestRefusal::Upgrade.fields().contains(&(UPGRADE, "websocket")));
    assert_eq!(RequestRefusal::Method.fields(), [(http::header::ALLOW, "GET")]);
    assert!(RequestRefusal::Origin.fields().is_empty());
}

#[test]
fn tokens_are_found_in_any_case_in_lists_and_in_several_lines() {
    offer(&[Set("upgrade", "h2c, WebSocket")]);
    offer(&[Set("connection", "UPGRADE")]);
    offer(&[Set("connection", "keep-alive"), Add("connection", "upgrade")]);
    offer(&[Set("content-length", "0")]);
}

#[test]
fn an_origin_must_be_in_the_list_if_there_is_one() {
    let rules = Rules {
        origins: vec!["https://chat.example.com".into()],
        ..Rules::default()
    };
    let with = |origin| request(&[Set("origin", origin)], &rules).map(|_| ());
    assert_eq!(with("https://chat.example.com"), Ok(()));
    assert_eq!(with("https://Chat.Example.COM"), Ok(()));
    for origin in [
        "https://evil.example",
        "http://chat.example.com",
        "https://chat.example.com.evil.example",
        "null",
        "",
    ] {
        assert_eq!(with(origin), Err(RequestRefusal::Origin), "{origin}");
    }
    assert_eq!(request(&[], &rules), Err(RequestRefusal::Origin));
    let both = [
        Set("origin", "https://evil.example"),
        Add("origin", "https://chat.example.com"),
    ];
    assert_eq!(request(&both, &rules), Err(RequestRefusal::Origin));
    let lenient = Rules {
        allow_missing_origin: true,
        ..rules
    };
    assert!(request(&[], &lenient).is_ok());
    assert_eq!(request(&[Set("origin", "null")], &lenient), Err(RequestRefusal::Origin));
    assert_eq!(RequestRefusal::Origin.status().as_u16(), 403);
}

#[test]
fn only_allowed_subprotocols_go_on() {
    let rules = Rules {
        subprotocols: vec!["mqtt".into(), "graphql-ws".into()],
        ..Rules::default()
    };
    let lists = [
        Set("sec-websocket-protocol", "chat, graphql-ws"),
        Add("sec-websocket-protocol", "mqtt"),
    ];
    let offer = request(&lists, &rules).unwrap();
    assert_eq!(offer.subprotocols, ["graphql-ws", "mqtt"]);
    assert_eq!(offer.subprotocol_value().unwrap(), "graphql-ws, mqtt");
    assert_eq!(
        request(&[Set("sec-websocket-protocol", "MQTT")], &rules),
        Err(RequestRefusal::Subprotocol)
    );
    assert_eq!(request(&[], &rules), Err(RequestRefusal::Subprotocol));
}

#[test]
fn offers_are_bounded() {
    let many = ["a"; MAX_OFFERS + 1].join(",");
    for name in [SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS] {
        let mut map = fields(REQUEST, &[]);
        map.insert(&name, HeaderValue::try_from(&many[2..]).unwrap());
        assert!(check_request(&Method::GET, Version::HTTP_11, &map, &Rules::default()).is_ok());
        map.insert(&name, HeaderValue::try_from(&many).unwrap());
        assert!(check_request(&Method::GET, Version::HTTP_11, &map, &Rules::default()).is_err());
    }
}

#[test]
fn of_the_extensions_only_permessage_deflate_goes_on() {
    let lines = [
        Set(
            "sec-websocket-extensions",
            r#"x-other; p="a,\"b", permessage-deflate; client_max_window_bits"#,
        ),
        Add("sec-websocket-extensions", "permessage-deflate"),
    ];
    let kept = offer(&lines).extensions.unwrap();
    assert_eq!(kept, "permessage-deflate; client_max_window_bits, permessage-deflate");
    let rules = Rules {
        strip_compression: true,
        ..Rules::default()
    };
    assert_eq!(request(&lines, &rules).unwrap().extensions, None);
}

#[test]
fn a_good_answer_passes() {
    assert_eq!(response(&[], &offer(&[])), Ok(Agreement::default()));
}

#[test]
fn odd_answers_are_not_trusted() {
    use ResponseRefusal as R;
    let cases: &[(&str, Change, R)] = &[
        (
            "accept wrong",
            Set("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO="),
            R::Accept,
        ),
        (
            "accept in another case",
            Set("sec-websocket-accept", "S3PPLMBITXAQ9KYGZZHZRBK+XOO="),
            R::Accept,
        ),
        ("accept missing", Remove("sec-websocket-accept"), R::Accept),
        ("accept twice", Add("sec-websocket-accept", ACCEPT), R::Accept),
        ("101 without Upgrade", Remove("upgrade"), R::Upgrade),
        ("101 foo", Set("upgrade", "foo"), R::Upgrade),
        ("101 websocket and more", Set("upgrade", "websocket, foo"), R::Upgrade),
        ("101 without Connection", Remove("connection"), R::Connection),
        (
            "subprotocol not offered",
            Set("sec-websocket-protocol", "chat"),
            R::Subprotocol,
        ),
        (
            "extension not offered",
            Set("sec-websocket-extensions", "permessage-deflate"),
            R::Extensions,
        ),
        ("101 with a length", Set("content-length", "3"), R::Body),
        ("101 with a coding", Set("transfer-encoding", "chunked"), R::Body),
    ];
    for (name, change, refusal) in cases {
        assert_eq!(
            response(std::slice::from_ref(change), &offer(&[])),
            Err(*refusal),
            "{name}"
        );
        assert_eq!(refusal.status(), StatusCode::BAD_GATEWAY, "{name}");
    }
}

#[test]
fn an_answer_that_does_not_switch_is_http_with_its_own_status() {
    for (status, seen) in [
        (403, 403),
        (200, 200),
        (302, 302),
        (426, 426),
        (503, 503),
        (100, 502),
        (103, 502),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let refused = check_response(status, &fields(RESPONSE, &[]), KEY.as_bytes(), &offer(&[])).unwrap_err();
        assert_eq!(refused, ResponseRefusal::NotSwitching(status));
        assert_eq!(refused.status().as_u16(), seen);
    }
}

#[test]
fn what_was_offered_may_be_chosen_once() {
    let offer = offer(&[
        Set("sec-websocket-protocol", "chat, mqtt"),
        Set("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"),
    ]);
    let chosen = [
        Set("sec-websocket-protocol", "mqtt"),
        Set(
            "sec-websocket-extensions",
            "permessage-deflate; server_no_context_takeover",
        ),
    ];
    let agreed = Agreement {
        subprotocol: Some("mqtt".into()),
        compression: true,
    };
    assert_eq!(response(&chosen, &offer), Ok(agreed));
    for (change, refusal) in [
        (Set("sec-websocket-protocol", "MQTT"), ResponseRefusal::Subprotocol),
        (
            Set("sec-websocket-protocol", "chat, mqtt"),
            ResponseRefusal::Subprotocol,
        ),
        (Add("sec-websocket-protocol", "chat"), ResponseRefusal::Subprotocol),
        (
            Set("sec-websocket-extensions", "permessage-deflate, permessage-deflate"),
            ResponseRefusal::Extensions,
        ),
        (
            Set("sec-websocket-extensions", "permessage-deflate, x-other"),
            ResponseRefusal::Extensions,
        ),
        (Set("sec-websocket-extensions", ""), ResponseRefusal::Extensions),
    ] {
        let mut map = fields(RESPONSE, &chosen);
        match change {
            Set(name, value) => drop(map.insert(name, HeaderValue::from_static(value))),
            Add(name, value) => drop(map.append(name, HeaderValue::from_static(value))),
            Remove(_) => unreachable!("no case removes"),
        }
        let refused = check_response(StatusCode::SWITCHING_PROTOCOLS, &map, KEY.as_bytes(), &offer);
        assert_eq!(refused, Err(refusal), "{map:?}");
    }
}
