//! What `explain` says of requests to one small world.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use breakwater_compile::{Explanation, Note, Request, compile, explain};
use breakwater_snapshot::unit::Device;

const WORLD: &str = r#"
kind: EdgeCache
metadata: {name: shop, created: 1}
spec:
  hostnames: [shop.example.com]
  origin: {urls: ["http://10.0.0.5:8080"]}
  cache:
    rules:
    - {paths: [{value: /static}], statuses: [200], ttl: 1h}
    - {paths: [{value: /account}], bypass: true}
    - {paths: [{value: /errors}], statuses: [200], ttl: 1h}
    - {paths: [{value: /errors}], bypass: true}
    - {ttl: 1m}
    key: {query: {ignore: ["utm_*", sid]}, headers: [Accept-Language], cookies: [currency], devices: [Mobile]}
    stale: {ifError: 1h}
  prefetch:
    urls: [/, "/app.js?v=1", "http://shop.example.com:8080/other"]
    sitemaps: [/sitemap.xml]
    schedule: "0 * * * *"
---
kind: WsRoute
metadata: {name: chat, created: 2}
spec:
  hostnames: [shop.example.com]
  paths: [{type: Exact, value: /ws}]
  backend: {urls: ["http://10.0.0.6:9000"]}
  handshake: {origins: ["https://shop.example.com"]}
---
kind: WafPolicy
metadata: {name: watch, created: 1}
spec:
  targetRefs: [{kind: EdgeCache, name: shop}]
  mode: DetectOnly
  client: {trustedProxies: [10.0.0.0/8]}
  uris: {deny: [{value: /admin}]}
---
kind: WafPolicy
metadata: {name: block, created: 2}
spec:
  targetRefs: [{kind: EdgeCache, name: shop}]
  addresses: {allow: [198.51.100.7], deny: [198.51.100.0/24], denyFrom: [{configMap: {name: lists, key: deny.txt}}]}
  headers: {deny: [{name: X-Debug}]}
  penalty: {after: {count: 5, per: 1m}, for: 10m}
  challenge: {paths: [{value: /search}], lasts: 10m}
  uris: {allow: [{type: Exact, value: /admin/health}], deny: [{value: /admin}]}
  limits:
  - {name: login, paths: [{type: Exact, value: /login}], methods: [POST], requests: {count: 10, per: 1m}}
  - {name: arrivals, newConnections: {count: 20, per: 1s}, scope: Fleet, mode: DetectOnly}
  block: {status: 404}
  sampling: {percent: 20}
  body: {onExceed: Reject, types: [{contentTypes: ["video/*"], inspect: "0", onExceed: ProcessPartial}]}
  crs:
    groups: {disabled: [Java, PHP]}
    exclusions:
    - {rules: {ids: [942100]}, targets: ["ARGS:q"], paths: [{value: /search}], methods: [GET]}
    - {rules: {tags: [attack-xss]}}
  seclang: {inline: 'SecRule ARGS:debug "@streq 1" "id:1000,phase:1,deny"'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: lists}
data: {deny.txt: "203.0.113.0/25"}
"#;

fn ask(path: &str, change: impl FnOnce(&mut Request)) -> Explanation {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path, None),
    };
    let mut request = Request {
        method: "GET".to_owned(),
        host: "shop.example.com".to_owned(),
        path: path.to_owned(),
        query,
        ..Request::default()
    };
    change(&mut request);
    explain(&compile(&support::world(WORLD)).snapshot, &request, |_| None, class)
}

/// Whoever calls knows what devices say of themselves.
fn class(told_apart: &[Device]) -> &'static str {
    assert_eq!(told_apart, [Device::Mobile]);
    "mobile"
}

fn resource(explanation: &Explanation) -> &str {
    &explanation.route.as_ref().unwrap().resource
}

#[test]
fn the_most_specific_claim_serves() {
    assert_eq!(resource(&ask("/", |_| {})), "EdgeCache/default/shop");
    assert_eq!(resource(&ask("/ws", |_| {})), "WsRoute/default/chat");
    let nobody = ask("/", |request| request.host = "other.example.com".to_owned());
    assert_eq!(nobody.route, None);
    assert!(nobody.refused.unwrap().starts_with("404"));
}

#[test]
fn a_websocket_is_told_what_becomes_of_it_when_nobody_serves_it_any_more() {
    let limits = ask("/ws", |_| {}).web_socket.unwrap().limits;
    let drain = "closed over 20000 ms when the route or its server is gone, or the node shuts down";
    assert!(limits.iter().any(|limit| limit == drain), "{limits:?}");
}

#[test]
fn policies_come_oldest_first_and_only_one_that_enforces_refuses() {
    let admin = ask("/admin/users", |_| {});
    let policies: Vec<&str> = admin.policies.iter().map(|policy| policy.policy.as_str()).collect();
    assert_eq!(policies, ["WafPolicy/default/watch", "WafPolicy/default/block"]);
    assert_eq!(
        admin.refused.as_deref(),
        Some("404 by WafPolicy/default/block: uris.deny Prefix /admin")
    );
    assert_eq!(ask("/", |_| {}).refused, None);
}

#[test]
fn a_path_is_judged_by_what_servers_may_take_it_for() {
    let read_as = |path: &str, other: &str| {
        let other = vec![other.to_owned()];
        ask(path, |request| request.other_paths = other)
    };
    let refused = Some("404 by WafPolicy/default/block: uris.deny Prefix /admin");
    assert_eq!(read_as("/admin;x", "/admin").refused.as_deref(), refused);
    assert_eq!(read_as("/admin/health", "/admin/other").refused.as_deref(), refused);
    assert_eq!(read_as("/admin;x/health", "/admin/health").refused, None);
    let exclusions = |explanation: &Explanation| {
        let notes = explanation.policies.iter().flat_map(|policy| &policy.rules);
        notes.filter(|note| note.about.ends_with("exclusions[0]")).count()
    };
    assert_eq!(exclusions(&ask("/search", |_| {})), 1);
    assert_eq!(exclusions(&read_as("/search/x;y", "/search/x")), 1);
    assert_eq!(exclusions(&read_as("/x;/search", "/x/search")), 0);
    assert_eq!(exclusions(&read_as("/search;x", "/search")), 0);
    assert!(read_as("/search;x", "/search").policies[1].challenge.is_some());
}

#[test]
fn the_allow_list_is_read_before_the_deny_list() {
    assert_eq!(ask("/admin/health", |_| {}).refused, None);
    let client = |ip: &str| {
        let ip = ip.parse().unwrap();
        ask("/", move |request| request.client = Some(ip)).refused
    };
    assert_eq!(client("198.51.100.7"), None);
    assert_eq!(
        client("198.51.100.8").as_deref(),
        Some("404 by WafPolicy/default/block: addresses.deny 198.51.100.0/24")
    );
    assert_eq!(client("192.0.2.1"), None);
    assert_eq!(
        client("203.0.113.9").as_deref(),
        Some("404 by WafPolicy/default/block: addresses.deny 203.0.113.0/25")
    );
}

#[test]
fn a_limit_shows_only_where_it_counts() {
    let limits = |method: &str, path: &str| {
        let explanation = ask(path, |request| request.method = method.to_owned());
        explanation.policies[1].limits.len()
    };
    assert_eq!(limits("POST", "/login"), 2);
    assert_eq!(limits("GET", "/login"), 1);
    assert_eq!(limits("POST", "/login/x"), 1);
}

#[test]
fn a_header_rule_is_judged_by_the_fields_that_are_given() {
    let refused = ask("/", |request| {
        request.headers = vec![("x-debug".to_owned(), "1".to_owned())]
    })
    .refused;
    assert_eq!(
        refused.as_deref(),
        Some("404 by WafPolicy/default/block: headers x-debug")
    );
}

#[test]
fn a_limit_that_only_reports_says_so_and_the_penalty_is_told() {
    let explanation = ask("/", |_| {});
    let policy = &explanation.policies[1];
    assert_eq!(
        policy.limits[0].limit,
        "20 new connections in 1000 ms per client, 20 at once; over all nodes; only reports"
    );
    let expected = "a client that was refused 5 times in 60000 ms is refused for 600000 ms";
    assert_eq!(policy.penalty.as_deref(), Some(expected));
}

#[test]
fn a_challenge_is_told_for_the_paths_that_have_one() {
    assert_eq!(ask("/", |_| {}).policies[1].challenge, None);
    let expected =
        "every client that addresses.allow does not have does work of difficulty 16, then passes for 600000 ms";
    assert_eq!(ask("/search", |_| {}).policies[1].challenge.as_deref(), Some(expected));
}

#[test]
fn the_cache_key_leaves_out_what_is_ignored_and_takes_in_what_is_named() {
    let explanation = ask("/p?utm_source=x&id=1&sid=2&b", |request| {
        request.headers = vec![
            ("accept-language".to_owned(), "de".to_owned()),
            ("cookie".to_owned(), "a=b; currency=EUR".to_owned()),
        ];
    });
    let key = explanation.cache.unwrap().key;
    let expected = [
        ("scheme", Some("http")),
        ("host", Some("shop.example.com")),
        ("path", Some("/p")),
        ("query", Some("id=1&b")),
        ("device", Some("mobile")),
        ("header accept-language", Some("de")),
        ("cookie currency", Some("EUR")),
    ];
    assert_eq!(key, owned(&expected));
}

fn owned(key: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    let owned = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
    key.iter().map(owned).collect()
}

#[test]
fn scheme_port_and_what_a_trusted_proxy_claims_are_in_the_key_and_the_coding_is_a_variant() {
    let asked = |client: &str| {
        let client = client.parse().unwrap();
        let explanation = ask("/p?utm_source=x", move |request| {
            request.secure = true;
            request.port = Some(8443);
            request.client = Some(client);
            request.claims = vec![("x-forwarded-host".to_owned(), "a".to_owned())];
        });
        explanation.cache.unwrap()
    };
    let start = [
        ("scheme", Some("https")),
        ("host", Some("shop.example.com")),
        ("port", Some("8443")),
        ("path", Some("/p")),
    ];
    let end = [
        ("device", Some("mobile")),
        ("header accept-language", None),
        ("cookie currency", None),
    ];
    let claim = [("claim x-forwarded-host", Some("a"))];
    assert_eq!(asked("192.0.2.1").key, owned(&[&start[..], &end[..]].concat()));
    assert_eq!(
        asked("10.0.0.1").key,
        owned(&[&start[..], &claim[..], &end[..]].concat())
    );
    assert_eq!(asked("10.0.0.1").coding, None, "it does not compress");
    assert_eq!(front_door("shop.example.com", "/").cache.unwrap().coding, Some("gzip"));
}

#[test]
fn rules_are_listed_up_to_the_first_that_always_fits() {
    let rules = |path: &str| {
        let cache = ask(path, |_| {}).cache.unwrap();
        let rules: Vec<String> = cache.rules.into_iter().map(|rule| rule.rule).collect();
        (cache.looked_up, rules.join(" "))
    };
    assert_eq!(
        rules("/static/a"),
        (true, "spec.cache.rules[0] spec.cache.rules[4]".to_owned())
    );
    assert_eq!(rules("/account/a"), (false, "spec.cache.rules[1]".to_owned()));
    assert_eq!(
        rules("/errors"),
        (true, "spec.cache.rules[2] spec.cache.rules[3]".to_owned())
    );
    assert_eq!(rules("/else"), (true, "spec.cache.rules[4]".to_owned()));
    assert!(
        !ask("/else", |request| request.method = "POST".to_owned())
            .cache
            .unwrap()
            .looked_up
    );
}

#[test]
fn a_handshake_from_a_foreign_origin_is_told_to_be_refused() {
    let origin = |value: &str| {
        let value = value.to_owned();
        let ask = ask("/ws", move |request| {
            request.headers = vec![("origin".to_owned(), value)]
        });
        ask.web_socket.unwrap().origin
    };
    assert_eq!(
        origin("https://SHOP.example.com"),
        "https://shop.example.com is let through"
    );
    assert!(origin("https://evil.example").contains("refused with 403"));
}

const FRONT_DOOR: &str = r#"
kind: EdgeCache
metadata: {name: shop, created: 1}
spec:
  hostnames: [shop.example.com]
  tls: {secretName: shop-tls, redirect: true, hsts: {}, minVersion: "1.3"}
  origin:
    urls: ["https://a.internal", "https://b.internal"]
    weights: {"https://a.internal": 2}
    balance: Hash
    hash: {by: Cookie, name: session}
    circuit: {requests: 10}
    retries: {attempts: 0}
  headers: {response: {remove: [Server], set: [{name: X-A, value: "1"}]}}
  redirects: [{paths: [{value: /old}], path: {replacePrefix: /new}, status: 301}]
  compression: {codings: [Gzip]}
---
kind: EdgeCache
metadata: {name: wild, created: 2}
spec: {hostnames: ["*.example.com"], tls: {secretName: gone}, origin: {urls: ["http://10.0.0.1"]}}
---
kind: Secret
metadata: {name: shop-tls}
type: kubernetes.io/tls
files: {tls.crt: shop.crt, tls.key: shop.key}
"#;

fn front_door(host: &str, path: &str) -> Explanation {
    let request = Request {
        method: "GET".to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        ..Request::default()
    };
    let gzip = |codings: &[&'static str]| codings.iter().position(|coding| *coding == "gzip");
    explain(&compile(&support::world(FRONT_DOOR)).snapshot, &request, gzip, class)
}

fn said(notes: &[Note], about: &str) -> Vec<String> {
    let notes = notes.iter().filter(|note| note.about == about);
    notes.map(|note| note.effect.clone()).collect()
}

#[test]
fn tls_of_a_host_names_who_decides_and_the_secret() {
    let tls = front_door("shop.example.com", "/").tls.unwrap();
    assert_eq!(tls.decided_by, "EdgeCache/default/shop");
    assert_eq!(
        (tls.certificate.as_str(), tls.usable),
        ("Secret/default/shop-tls", true)
    );
    assert_eq!(said(&tls.settings, "versions"), ["TLS 1.3"]);
    assert_eq!(said(&tls.settings, "hsts"), ["31536000 s"]);
    assert_eq!(said(&tls.settings, "redirect").len(), 1);
    let wild = front_door("other.example.com", "/").tls.unwrap();
    assert_eq!((wild.host.as_str(), wild.usable), ("*.example.com", false));
    assert_eq!(front_door("example.org", "/").tls, None);
}

#[test]
fn servers_and_filters_are_told_in_words() {
    let route = front_door("shop.example.com", "/old/page").route.unwrap();
    assert_eq!(
        said(&route.upstream, "balance"),
        ["the same server for a value of cookie session; a.internal:443 has weight 2"]
    );
    assert_eq!(said(&route.upstream, "circuit"), ["at most 10 requests in progress"]);
    assert_eq!(said(&route.upstream, "retries"), ["none"]);
    assert_eq!(said(&route.upstream, "ejection").len(), 1);
    assert_eq!(
        said(&route.filters, "redirect"),
        ["spec.redirects[0] answers 301: /new in place of Prefix /old"]
    );
    assert_eq!(said(&route.filters, "response fields"), ["remove server", "set x-a: 1"]);
    assert_eq!(
        said(&route.filters, "compression"),
        ["Gzip from 1024 bytes on, 25 media types"]
    );
    let elsewhere = front_door("shop.example.com", "/new").route.unwrap();
    assert_eq!(said(&elsewhere.filters, "redirect"), Vec::<String>::new());
}

#[test]
fn what_nodes_fetch_by_themselves_is_said_with_when_and_how_fast() {
    let said = |path: &str| ask(path, |_| {}).cache.unwrap().prefetch.unwrap();
    for listed in ["/", "/app.js?v=1", "/other"] {
        assert_eq!(
            said(listed),
            "each node fetches it when it starts, when the list changes, after a purge of everything, and at 0 * * * * (UTC); 10 requests a second, 4 at once",
            "{listed}"
        );
    }
    assert_eq!(said("/app.js"), "not in spec.prefetch.urls; 1 sitemaps may list it");
}

#[test]
fn who_is_asked_before_the_servers_is_said() {
    let said = |tiering: &str| {
        let world = format!(
            "kind: EdgeCache\nmetadata: {{name: shop, created: 1}}\nspec:\n  hostnames: [shop.example.com]\n  origin: {{urls: ['http://10.0.0.5:8080']}}\n  tiering: {tiering}\n"
        );
        let request = Request {
            method: "GET".to_owned(),
            host: "shop.example.com".to_owned(),
            path: "/".to_owned(),
            ..Request::default()
        };
        let explanation = explain(&compile(&support::world(&world)).snapshot, &request, |_| None, class);
        let notes = explanation.route.unwrap().upstream;
        let note = notes.into_iter().find(|note| note.about == "tiering");
        note.map(|note| note.effect)
    };
    assert_eq!(said("{}"), None);
    assert!(said("{mode: Owner}").unwrap().contains("owns the URL"));
    assert_eq!(
        said("{mode: Parent, parent: {nodes: {matchLabels: {tier: first, zone: x}}}}").unwrap(),
        "what is not stored and may be shared is asked of nodes with tier=first, zone=x, which ask the servers; of the servers when there is no answer"
    );
    assert_eq!(
        said("{mode: Parent, parent: {urls: ['https://edge.example.net'], fallback: None}}").unwrap(),
        "what is not stored is asked of another edge, edge.example.net:443 over TLS; never of the servers"
    );
}

#[test]
fn the_rules_in_force_are_told_with_the_exclusions_that_hold_for_the_request() {
    let told = |path: &str, method: &str| {
        let explanation = ask(path, |request| {
            request.method = method.to_owned();
            request.crs = Some("OWASP_CRS/4.28.0".to_owned());
        });
        let policy = explanation
            .policies
            .iter()
            .find(|p| p.policy.ends_with("/block"))
            .unwrap();
        let notes = policy
            .rules
            .iter()
            .map(|note| format!("{}: {}", note.about, note.effect));
        notes.collect::<Vec<_>>()
    };
    let everywhere = "exclusion spec.crs.exclusions[1]: rules tagged attack-xss do not run";
    let search = "exclusion spec.crs.exclusions[0]: rules 942100 do not see ARGS:q";
    let notes = told("/search/x", "GET");
    assert_eq!(
        notes[0],
        "crs: OWASP_CRS/4.28.0, paranoia level 1, refuses a request from a score of 5 and a response from 4"
    );
    assert_eq!(notes[1], "groups: PHP, Java do not run");
    assert_eq!(
        notes[2],
        "sampling: 20 of 100 requests are judged by rules, the others pass unseen by them"
    );
    assert_eq!(
        &notes[notes.len() - 3..],
        [
            "request body, video/*: it is not inspected and not held back",
            "request body: 131072 bytes are inspected, a longer one is refused with 413",
            "response: not inspected",
        ]
    );
    assert!(notes.iter().any(|note| note == search) && notes.iter().any(|note| note == everywhere));
    for notes in [told("/search/x", "POST"), told("/else", "GET")] {
        assert!(!notes.iter().any(|note| note == search), "{notes:?}");
        assert!(notes.iter().any(|note| note == everywhere));
    }
}

#[test]
fn lists_of_places_are_told_and_refuse_only_where_a_database_was_asked() {
    const PLACES: &str = r#"
kind: EdgeCache
metadata: {name: shop, created: 1}
spec: {hostnames: [shop.example.com], origin: {urls: ["http://10.0.0.5"]}}
---
kind: WafPolicy
metadata: {name: places, created: 2}
spec:
  targetRefs: [{kind: EdgeCache, name: shop}]
  addresses: {allow: [192.0.2.1]}
  countries: {allow: [SE, XX], default: Deny}
  asns: {deny: [64496]}
"#;
    let ask = |client: &str, country: Option<&str>, asn: Option<u32>| {
        let request = Request {
            method: "GET".to_owned(),
            host: "shop.example.com".to_owned(),
            path: "/".to_owned(),
            client: Some(client.parse().unwrap()),
            country: country.map(|code| code.parse().unwrap()),
            asn,
            ..Request::default()
        };
        explain(&compile(&support::world(PLACES)).snapshot, &request, |_| None, class)
    };
    let told = |explanation: &Explanation, name: &str| {
        let mut lists = explanation.policies[0].lists.iter();
        lists.find(|view| view.list == name).unwrap().effect.clone()
    };
    let refused = |code: &str, asn| ask("198.51.100.1", Some(code), Some(asn)).refused;
    assert_eq!(refused("SE", 64_497), None);
    assert!(refused("FR", 64_497).unwrap().ends_with("countries.default Deny"));
    assert!(refused("SE", 64_496).unwrap().ends_with("asns.deny 64496"));
    assert_eq!(
        ask("192.0.2.1", Some("FR"), Some(64_496)).refused,
        None,
        "an allowed address passes"
    );
    let unknown = ask("198.51.100.1", None, None);
    assert_eq!(unknown.refused, None);
    assert_eq!(
        told(&unknown, "countries.allow"),
        "a client of SE, XX passes these lists"
    );
    assert_eq!(
        told(&unknown, "countries.default"),
        "a client on neither list is refused"
    );
    assert_eq!(told(&unknown, "asns.deny"), "a client of 64496 is refused");
    for (list, flag) in [("countries", "--geo-db"), ("asns", "--asn-db")] {
        let effect = told(&unknown, list);
        assert!(effect.contains(flag) && effect.contains("503"), "{effect}");
    }
    let asked = ask("198.51.100.1", Some("SE"), Some(64_497));
    let mut lists = asked.policies[0].lists.iter();
    assert!(lists.all(|view| view.list.contains('.')));
}

#[test]
fn a_policy_without_any_part_is_told_to_enforce_nothing() {
    const IDLE: &str = r#"
kind: EdgeCache
metadata: {name: shop, created: 1}
spec: {hostnames: [shop.example.com], origin: {urls: ["http://10.0.0.5"]}}
---
kind: WafPolicy
metadata: {name: idle, created: 2}
spec:
  targetRefs: [{kind: EdgeCache, name: shop}]
"#;
    let request = Request {
        method: "GET".to_owned(),
        host: "shop.example.com".to_owned(),
        path: "/".to_owned(),
        ..Request::default()
    };
    let explanation = explain(&compile(&support::world(IDLE)).snapshot, &request, |_| None, class);
    let effects: Vec<_> = explanation.policies[0]
        .rules
        .iter()
        .map(|note| note.effect.as_str())
        .collect();
    assert!(
        matches!(effects.as_slice(), [one] if one.contains("enforces nothing")),
        "{effects:?}"
    );
}
