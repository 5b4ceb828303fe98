//! What the API server does with our definitions before any operator looks: documentation, printer
//! columns, defaults, and refusals in our words.

use breakwater_e2e::{Result, requirements, ring_a::RingA, wait};

use super::DEADLINE;

/// Each is refused with the text beside it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {service: {name: a, port: 80}, urls: ['http://a']}}",
        "spec.origin: Invalid value: name exactly one of service and urls",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, tiering: {mode: Parent}}",
        "parent says who is asked with mode: Parent",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, tiering: {parent: {urls: ['http://b']}}}",
        "parent says who is asked with mode: Parent",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, tiering: {mode: Parent, parent: {}}}",
        "name exactly one of nodes and urls",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, tiering: {mode: Parent, parent: {urls: ['http://b'], tls: {}}}}",
        "tls is spoken to https:// urls",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, tiering: {mode: Parent, parent: {nodes: {matchLabels: {}}}}}",
        "spec.tiering.parent.nodes.matchLabels",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {}}",
        "name exactly one of service and urls",
    ),
    (
        "EdgeCache",
        "{hostnames: ['http://a.example/'], origin: {urls: ['http://a']}}",
        "not a host name: write a lower-case name",
    ),
    (
        "EdgeCache",
        "{hostnames: [Shop.example], origin: {urls: ['http://a']}}",
        "spec.hostnames[0]",
    ),
    (
        "EdgeCache",
        "{hostnames: [], origin: {urls: ['http://a']}}",
        "spec.hostnames",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], paths: [{value: static}], origin: {urls: ['http://a']}}",
        "a path begins with /",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], paths: [{type: Glob, value: /}], origin: {urls: ['http://a']}}",
        "supported values: \"Exact\", \"Prefix\", \"Regex\"",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['ftp://a']}}",
        "not a server's URL",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['https://a', 'http://b']}}",
        "urls are all http:// or all https://",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, tls: {secretName: a, minVersion: '1.1'}}",
        "supported values: \"1.2\", \"1.3\"",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, redirects: [{path: {replacePrefix: /}}]}",
        "replacePrefix takes the place",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a'], timeouts: {connect: soon}}}",
        "not a duration",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, cache: {rules: [{ttl: 1h, bypass: true}]}}",
        "a rule has a ttl, stale, or both, or else bypass: true",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, cache: {rules: [{ttl: 1h, statuses: [99]}]}}",
        "spec.cache.rules[0].statuses[0]",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, cache: {rules: [{ttl: 1h, methods: [HEAD]}]}}",
        "ttl and stale need one of them among the methods",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, cache: {rules: [{bypass: true, methods: [get]}]}}",
        "not a request method",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, cache: {key: {devices: [Phone]}}}",
        "supported values: \"Mobile\", \"Tablet\", \"Bot\"",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, cache: {key: {headers: ['a b']}}}",
        "not a header field name",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {service: {name: a, port: 70000}}}",
        "spec.origin.service.port",
    ),
    (
        "EdgeCache",
        "{hostnames: [a.example], origin: {urls: ['http://a']}, cashe: {}}",
        "cashe",
    ),
    (
        "WafPolicy",
        "{targetRefs: [{kind: EdgeCache, name: a}], addresses: {deny: [203.0.113.0/33]}}",
        "not an address or prefix: write 203.0.113.0/24",
    ),
    (
        "WafPolicy",
        "{targetRefs: [{kind: EdgeCache, name: a}], limits: [{name: a}]}",
        "a limit limits something: give requests, connections or newConnections",
    ),
    (
        "WafPolicy",
        "{targetRefs: [{kind: EdgeCache, name: a}], limits: [{name: a, scope: Fleet, connections: {count: 1}}]}",
        "open connections are counted by each node",
    ),
    (
        "WafPolicy",
        "{targetRefs: [{kind: EdgeCache, name: a}], limits: [{name: a, methods: [post], connections: {count: 1}}]}",
        "not a request method",
    ),
    (
        "WafPolicy",
        "{targetRefs: [{kind: Ingress, name: a}]}",
        "supported values: \"EdgeCache\", \"WsRoute\"",
    ),
    ("WafPolicy", "{targetRefs: []}", "spec.targetRefs"),
    (
        "WsRoute",
        "{hostnames: [a.example], backend: {urls: ['http://a']}, handshake: {origins: ['a.example']}}",
        "not an origin: write scheme://host",
    ),
    (
        "CachePurge",
        "{edgeCacheRef: {name: a}, everything: true, tags: [a]}",
        "name exactly one of urls, prefixes, tags and everything",
    ),
    (
        "CachePurge",
        "{edgeCacheRef: {name: a}}",
        "name exactly one of urls, prefixes, tags and everything",
    ),
    (
        "CachePurge",
        "{edgeCacheRef: {name: a}, everything: false}",
        "the only value is true",
    ),
];

#[tokio::test]
async fn the_api_server_documents_prints_completes_and_refuses_in_our_words() -> Result<()> {
    if requirements::skipped_by_runner("schemas") {
        return Ok(());
    }
    let ring = RingA::start().await?;
    let kubectl = ring.kubectl();

    let said = wait::until("kubectl explains the definitions", DEADLINE, async || {
        let said = kubectl.run("explain edgecache.spec.cache").await;
        said.map_err(|error| error.to_string())
    })
    .await?;
    for part in [
        "How responses are stored.",
        "tagHeader",
        "Exceptions from what the origin's",
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    let said = kubectl
        .run("api-resources --api-group=breakwater.dev --no-headers")
        .await?;
    for name in ["ecache", "wafp", "wsr", "cpurge"] {
        assert!(said.contains(name), "`{name}` is not in {said}");
    }

    // All at once: kubectl tries each and tells of each by its name.
    let name = |index: usize| format!("refused-{index:02}");
    let all: Vec<String> = (0..)
        .zip(REFUSED)
        .map(|(index, (kind, spec, _))| object(kind, &name(index), spec))
        .collect();
    let refusal = kubectl
        .apply(&all.join("---\n"))
        .await
        .expect_err("all are wrong")
        .to_string();
    for (index, (kind, spec, expected)) in (0..).zip(REFUSED) {
        let told: String = refusal
            .split("refused-")
            .filter(|part| part.starts_with(&format!("{index:02}")))
            .collect();
        assert!(told.contains(expected), "{kind} {spec}: {told:?} in {refusal}");
    }
    for kind in ["edgecaches", "wafpolicies", "wsroutes", "cachepurges"] {
        assert_eq!(
            kubectl.run(&format!("get {kind} -o name")).await?,
            "",
            "nothing is stored"
        );
    }

    kubectl
        .apply(&object(
            "EdgeCache",
            "least",
            "{hostnames: [a.example], origin: {service: {name: a, port: 80}}}",
        ))
        .await?;
    let least = kubectl.json("edgecache/least").await?;
    for (pointer, value) in [
        ("/spec/paths", r#"[{"type":"Prefix","value":"/"}]"#),
        ("/spec/origin/balance", r#""RoundRobin""#),
        ("/spec/origin/timeouts", r#"{"connect":"2s","response":"30s"}"#),
        ("/spec/cache/maxObjectSize", r#""1Gi""#),
        ("/spec/cache/tagHeader", r#""Surrogate-Key""#),
    ] {
        let found = least.pointer(pointer).map(ToString::to_string);
        assert_eq!(found.as_deref(), Some(value), "{pointer}");
    }

    let table = kubectl.run("get ecache").await?;
    let header: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["NAME", "ACCEPTED", "PROGRAMMED", "NODES", "AGE"]);
    let all = kubectl.run("get edge -o name").await?;
    assert_eq!(all.trim(), "edgecache.breakwater.dev/least");

    kubectl
        .apply(&object(
            "CachePurge",
            "once",
            "{edgeCacheRef: {name: least}, tags: [a]}",
        ))
        .await?;
    let changed = object("CachePurge", "once", "{edgeCacheRef: {name: least}, tags: [b]}");
    let refusal = kubectl
        .apply(&changed)
        .await
        .expect_err("a purge stays as it is")
        .to_string();
    assert!(
        refusal.contains("a purge is carried out once and cannot be changed: create another one"),
        "{refusal}"
    );
    Ok(())
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: breakwater.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}
