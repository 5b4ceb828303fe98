//! The CEL rules of the schemas, run as an API server runs them: a good object of each kind passes, and each way to
//! break a rule is refused with the rule's message.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use kube::core::cel::Validator;
use serde_json::{Value, json};

fn schema(kind: &str) -> Value {
    let crd = breakwater_crds::all()
        .into_iter()
        .find(|crd| crd.spec.names.kind == kind)
        .unwrap();
    let version = crd.spec.versions.into_iter().next().unwrap();
    serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap()
}

/// The messages of the rules that `spec` breaks, as an update of `old` if there is one.
fn refused(kind: &str, spec: impl Into<Option<Value>>, old: Option<Value>) -> Vec<String> {
    let object = json!({"spec": spec.into()});
    let old = old.map(|spec| json!({"spec": spec}));
    match Validator::new().validate(&schema(kind), &object, old.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        parent.remove(name);
    } else {
        parent.insert(name.to_owned(), value);
    }
    spec
}

fn edge_cache() -> Value {
    json!({
        "hostnames": ["shop.example.com", "*.example.com", "*"],
        "paths": [{"type": "Prefix", "value": "/"}, {"type": "Regex", "value": ".*[.]js"}],
        "origin": {"service": {"name": "shop", "port": 8080}, "timeouts": {"connect": "2s", "response": "1m30s"}},
        "cache": {
            "rules": [{"ttl": "1h", "bypass": false}, {"stale": {"ifError": "1h"}}, {"bypass": true}],
            "key": {"query": {"ignore": ["utm_*"]}, "headers": ["Accept-Language"], "cookies": ["currency"]},
            "tagHeader": "Surrogate-Key",
            "maxObjectSize": "1Gi"
        }
    })
}

fn waf_policy() -> Value {
    json!({
        "targetRefs": [{"group": "breakwater.dev", "kind": "EdgeCache", "name": "shop"}],
        "addresses": {"allow": ["198.51.100.7"], "deny": ["203.0.113.0/24", "2001:db8::/32"], "denyFrom": [{"configMap": {"name": "lists", "key": "deny.txt"}}, {"url": "https://lists.example/drop.txt?key=1", "refresh": "2h"}]},
        "limits": [{"name": "a", "requests": {"count": 1, "per": "1s"}, "methods": ["POST"]}, {"name": "b", "connections": {"count": 1}}, {"name": "c", "newConnections": {"count": 1, "per": "1s"}, "mode": "DetectOnly", "scope": "Fleet"}],
        "penalty": {"after": {"count": 5, "per": "1m"}, "for": "10m"},
        "headers": {"deny": [{"name": "X-Debug"}], "require": [{"name": "X-Key", "value": {"type": "Regex", "value": "[0-9]+"}}]}
    })
}

fn ws_route() -> Value {
    json!({
        "hostnames": ["chat.example.com"],
        "backend": {"urls": ["http://127.0.0.1:9001", "http://[::1]:80/"]},
        "handshake": {"origins": ["https://chat.example.com"], "subprotocols": ["graphql-transport-ws"], "timeout": "10s"},
        "drain": {"mode": "Keep", "spread": "1m"}
    })
}

fn purge() -> Value {
    json!({"edgeCacheRef": {"name": "shop"}, "tags": ["a"], "mode": "Hard"})
}

#[test]
fn good_objects_pass() {
    for (kind, spec) in [
        ("EdgeCache", edge_cache()),
        ("WafPolicy", waf_policy()),
        ("WsRoute", ws_route()),
        ("CachePurge", purge()),
    ] {
        assert_eq!(refused(kind, spec.clone(), Some(spec)), Vec::<String>::new(), "{kind}");
    }
    let named = with(edge_cache(), "/origin/service/port", json!("http"));
    assert_eq!(refused("EdgeCache", named, None), Vec::<String>::new());
    let all = with(with(purge(), "/everything", json!(true)), "/tags", json!(null));
    assert_eq!(refused("CachePurge", all, None), Vec::<String>::new());
    let soft = with(with(purge(), "/prefixes", json!(["/a"])), "/tags", json!(null));
    let soft = with(soft, "/mode", json!("Soft"));
    assert_eq!(refused("CachePurge", soft, None), Vec::<String>::new());
}

#[test]
fn each_broken_rule_is_refused_with_its_message() {
    let cases: &[(&str, Value, &str, Value, &str)] = &[
        (
            "EdgeCache",
            edge_cache(),
            "/hostnames",
            json!(["https://shop"]),
            "not a host name",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/hostnames",
            json!(["Shop.example.com"]),
            "not a host name",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/hostnames",
            json!(["a.*.b"]),
            "not a host name",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/hostnames",
            json!(["shop:80"]),
            "not a host name",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/paths",
            json!([{"type": "Exact", "value": "a"}]),
            "a path begins with /",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/origin/urls",
            json!(["http://a"]),
            "exactly one of service and urls",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/origin/service",
            json!(null),
            "exactly one of service and urls",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/origin/timeouts/connect",
            json!("2"),
            "not a duration",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/cache/rules",
            json!([{"ttl": "1h", "bypass": true}]),
            "a ttl, stale, or both, or else bypass",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/cache/rules",
            json!([{"stale": {"ifError": "1h"}, "bypass": true}]),
            "a ttl, stale, or both, or else bypass",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/cache/key",
            json!({"query": {"ignore": ["a"], "include": ["b"]}}),
            "ignore and include exclude each other",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/cache/rules",
            json!([{"statuses": [200]}]),
            "a ttl, stale, or both, or else bypass",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/cache/key/headers",
            json!(["A B"]),
            "not a header field name",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/cache/key/cookies",
            json!(["a=b"]),
            "not a cookie name",
        ),
        (
            "EdgeCache",
            edge_cache(),
            "/cache/key/query/ignore",
            json!(["a*b"]),
            "not a query parameter",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/deny",
            json!(["10.0.0.0/33"]),
            "not an address or prefix",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/allow",
            json!(["everyone"]),
            "not an address or prefix",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/limits",
            json!([{"name": "a"}]),
            "a limit limits something",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/crs",
            json!({"paranoiaLevel": 2, "detectionParanoiaLevel": 1}),
            "detectionParanoiaLevel is paranoiaLevel or higher",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/crs",
            json!({"paranoiaLevel": 1, "exclusions": [{"rules": {}}]}),
            "say which rules",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/seclang",
            json!({}),
            "give rules: inline or configMaps",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/limits",
            json!([{"name": "a", "connections": {"count": 1}, "methods": ["get"]}]),
            "not a request method",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/headers",
            json!({"deny": [{"name": "X Debug"}]}),
            "header",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/penalty",
            json!({"after": {"count": 1, "per": "1m"}, "for": "soon"}),
            "not a duration",
        ),
        (
            "WsRoute",
            ws_route(),
            "/backend/urls",
            json!(["ftp://a"]),
            "not a server's URL",
        ),
        (
            "WsRoute",
            ws_route(),
            "/backend/urls",
            json!(["http://a/path"]),
            "not a server's URL",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/crs",
            json!({"groups": {"enabled": ["SQLi"], "disabled": ["XSS"]}}),
            "exactly one of enabled",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/body",
            json!({"types": [{"contentTypes": ["text/csv"]}]}),
            "say what differs for these types",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/crs",
            json!({"groups": {}}),
            "exactly one of enabled",
        ),
        (
            "WsRoute",
            ws_route(),
            "/backend/service",
            json!({"name": "a", "port": 1}),
            "exactly one of service and urls",
        ),
        (
            "WsRoute",
            ws_route(),
            "/handshake/origins",
            json!(["chat.example.com"]),
            "not an origin",
        ),
        (
            "WsRoute",
            ws_route(),
            "/handshake/subprotocols",
            json!(["a b"]),
            "not a subprotocol",
        ),
        (
            "WsRoute",
            ws_route(),
            "/drain",
            json!({"spread": "0s"}),
            "all connections at once",
        ),
        (
            "WsRoute",
            ws_route(),
            "/drain",
            json!({"spread": "soon"}),
            "not a duration",
        ),
        (
            "CachePurge",
            purge(),
            "/everything",
            json!(true),
            "exactly one of urls, prefixes, tags and everything",
        ),
        (
            "CachePurge",
            purge(),
            "/tags",
            json!(null),
            "exactly one of urls, prefixes, tags and everything",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/denyFrom",
            json!([{}]),
            "give configMap or url",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/denyFrom",
            json!([{"configMap": {"name": "a", "key": "b"}, "url": "https://lists.example/"}]),
            "give configMap or url",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/denyFrom",
            json!([{"configMap": {"name": "a", "key": "b"}, "refresh": "1h"}]),
            "needs no refresh",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/denyFrom",
            json!([{"url": "https://user:password@lists.example/drop.txt"}]),
            "not a list's URL",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/denyFrom",
            json!([{"url": "ftp://lists.example/drop.txt"}]),
            "not a list's URL",
        ),
        (
            "WafPolicy",
            waf_policy(),
            "/addresses/denyFrom",
            json!([{"url": "https://lists.example/drop.txt", "refresh": "hourly"}]),
            "not a duration",
        ),
        (
            "CachePurge",
            purge(),
            "/everything",
            json!(false),
            "the only value is true",
        ),
        (
            "CachePurge",
            purge(),
            "/prefixes",
            json!(["/static"]),
            "exactly one of urls, prefixes, tags and everything",
        ),
    ];
    for (kind, good, pointer, value, expected) in cases {
        let found = refused(kind, with(good.clone(), pointer, value.clone()), None);
        assert!(
            found.iter().any(|message| message.contains(expected)),
            "{kind} {pointer} = {value}: {found:?}"
        );
    }
}

/// An EdgeCache with everything of the front door.
fn front_door() -> Value {
    let mut spec = edge_cache();
    let rest = json!({
        "tls": {"secretName": "shop", "hsts": {"maxAge": "8760h", "includeSubDomains": true, "preload": true}, "minVersion": "1.3",
            "clientCertificates": {"mode": "Optional", "caCertificates": "PEM"}},
        "origin": {
            "urls": ["https://a", "https://b:8443"], "weights": {"https://a": 3}, "balance": "Hash",
            "hash": {"by": "Cookie", "name": "session"}, "health": {"path": "/healthz"}, "tls": {"serverName": "a", "caCertificates": "PEM"},
            "circuit": {"pending": 0}, "protocol": "HTTP2"
        },
        "headers": {"request": {"set": [{"name": "X-A", "value": "1"}], "remove": ["X-B"]}},
        "redirects": [
            {"paths": [{"value": "/a"}, {"type": "Prefix", "value": "/b"}], "path": {"replacePrefix": "/c"}},
            {"scheme": "https", "hostname": "example.com", "port": 443, "path": {"replaceFullPath": "/"}, "status": 308}
        ],
        "compression": {"codings": ["Gzip"], "types": ["text/html", "text/*", "image/svg+xml"], "minSize": 100},
        "limits": {"requestBody": "1Mi"},
        "errorPages": [{"statuses": [503], "body": "sorry"}]
    });
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    spec
}

#[test]
fn the_front_door_passes_and_each_broken_rule_of_it_is_refused() {
    assert_eq!(refused("EdgeCache", front_door(), None), Vec::<String>::new());
    let cases: &[(&str, Value, &str)] = &[
        (
            "/origin/urls",
            json!(["https://a", "http://b"]),
            "all http:// or all https://",
        ),
        ("/origin/urls", json!(["http://a", "http://b"]), "tls with http:// urls"),
        (
            "/origin/weights",
            json!({"https://c": 1}),
            "weights are given to servers in urls",
        ),
        ("/origin/balance", json!("RoundRobin"), "write balance: Hash"),
        ("/origin/balance", json!(null), "write balance: Hash"),
        ("/origin/hash/name", json!(null), "name is the header field or cookie"),
        ("/origin/hash/by", json!("Path"), "name is the header field or cookie"),
        ("/origin/health/path", json!("healthz"), "a path begins with /"),
        (
            "/origin/tls/insecureSkipVerify",
            json!(true),
            "no certificate is checked",
        ),
        ("/tls/hsts/includeSubDomains", json!(null), "includeSubDomains: true"),
        ("/headers/request/remove", json!(["X:"]), "not a header field name"),
        (
            "/redirects",
            json!([{"paths": [{"value": "/"}]}]),
            "a redirect leads elsewhere",
        ),
        ("/redirects", json!([{"path": {"replacePrefix": "/"}}]), "only such"),
        (
            "/redirects",
            json!([{"paths": [{"type": "Exact", "value": "/"}], "path": {"replacePrefix": "/"}}]),
            "only such",
        ),
        ("/redirects", json!([{"path": {}}]), "exactly one of replaceFullPath"),
        (
            "/redirects",
            json!([{"path": {"replaceFullPath": "a"}}]),
            "a path begins with /",
        ),
        ("/compression/types", json!(["html"]), "not a media type"),
    ];
    for (pointer, value, expected) in cases {
        let found = refused("EdgeCache", with(front_door(), pointer, value.clone()), None);
        assert!(
            found.iter().any(|message| message.contains(expected)),
            "{pointer} = {value}: {found:?}"
        );
    }
}

#[test]
fn a_purge_cannot_be_changed() {
    let found = refused("CachePurge", with(purge(), "/tags", json!(["b"])), Some(purge()));
    assert!(
        found.iter().any(|message| message.contains("create another one")),
        "{found:?}"
    );
}
