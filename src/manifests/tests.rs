use std::fs;
use std::path::Path;

use breakwater_compile::compile;
use breakwater_snapshot::unit::Unit;
use breakwater_snapshot::{Blob, Kind};
use tempfile::TempDir;

use super::*;

const SITE: &str = "apiVersion: breakwater.dev/v1alpha1
kind: EdgeCache
metadata: {name: NAME}
spec:
  hostnames: [NAME.example.com]
  origin:
    urls: ['http://127.0.0.1:8081']
";

fn site(name: &str) -> String {
    SITE.replace("NAME", name)
}

fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn report(loaded: &Loaded) -> Vec<(Severity, String, usize, String, String)> {
    let output = compile(&loaded.world());
    loaded
        .report(&output, Services::Absent)
        .into_iter()
        .map(|d| {
            let file = d.file.file_name().unwrap().to_str().unwrap().to_owned();
            (d.severity, file, d.line, d.field, d.message)
        })
        .collect()
}

/// What is told of one file with this text.
fn told(text: &str) -> Vec<(Severity, usize, String, String)> {
    let dir = dir(&[("a.yaml", text)]);
    let all = report(&load(dir.path()).unwrap());
    all.into_iter()
        .map(|(severity, _, line, field, message)| (severity, line, field, message))
        .collect()
}

fn the_only(text: &str) -> (Severity, usize, String, String) {
    let mut all = told(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

#[test]
fn a_good_manifest_has_nothing_to_tell() {
    assert_eq!(told(&site("shop")), []);
}

#[test]
fn an_unknown_field_names_its_line_and_the_field_that_was_meant() {
    let (severity, line, field, message) = the_only(&format!("{}  cahce: {{}}\n", site("shop")));
    assert_eq!((severity, line, field.as_str()), (Severity::Error, 8, "spec.cahce"));
    assert_eq!(message, "unknown field `cahce`: did you mean `cache`?");
}

#[test]
fn a_missing_field_is_told_at_the_field_that_lacks_it() {
    let text = site("shop").replace("    urls: ['http://127.0.0.1:8081']\n", "    balance: RoundRobin\n");
    let (_, line, field, message) = the_only(&text);
    assert_eq!((line, field.as_str()), (6, "spec.origin"));
    assert!(message.contains("service or urls"), "{message}");
    let text = site("shop").replace("  hostnames: [shop.example.com]\n", "");
    let (_, line, field, message) = the_only(&text);
    assert_eq!((line, field.as_str()), (4, "spec.hostnames"));
    assert_eq!(message, "the field `hostnames` is missing");
}

#[test]
fn a_wrong_type_is_told_with_what_was_found() {
    let (_, line, field, message) = the_only(&site("shop").replace("['http://127.0.0.1:8081']", "17"));
    assert_eq!((line, field.as_str()), (7, "spec.origin.urls"));
    assert_eq!(message, "expected a list, found the number `17`");
}

#[test]
fn a_number_out_of_range_is_told_with_the_range() {
    let port = site("shop").replace("urls: ['http://127.0.0.1:8081']", "service: {name: shop, port: 70000}");
    let (_, line, field, message) = the_only(&port);
    assert_eq!((line, field.as_str()), (7, "spec.origin.service.port"));
    assert_eq!(message, "`70000` is out of range: at least 1 and at most 65535");
}

#[test]
fn an_enumeration_names_its_values() {
    let (_, _, field, message) = the_only(&format!("{}    balance: RoundRobbin\n", site("shop")));
    assert_eq!(field, "spec.origin.balance");
    assert_eq!(
        message,
        "`RoundRobbin` is not known: did you mean `RoundRobin`? Possible are RoundRobin, LeastConnections, PowerOfTwo, Hash"
    );
}

#[test]
fn what_the_compile_step_finds_has_its_line() {
    let (severity, line, field, message) = the_only(&site("shop").replace("http:", "ftp:"));
    assert_eq!(
        (severity, line, field.as_str()),
        (Severity::Error, 7, "spec.origin.urls[0]")
    );
    assert!(message.contains("https://host:port"), "{message}");
}

#[test]
fn a_prefetch_list_that_cannot_be_used_has_its_line() {
    let with = |lines: &str| format!("{}  prefetch:\n    urls:\n    - /a\n{lines}", site("shop"));
    for (lines, at, field, said) in [
        (
            "    - https://other.example.com/\n",
            11,
            "urls[1]",
            "does not serve the host other.example.com",
        ),
        ("    schedule: '0 0 30 2 *'\n", 11, "schedule", "no year has such a day"),
        ("    rate:\n      concurrency: 65\n", 12, "rate.concurrency", "`65`"),
    ] {
        let (severity, line, found, message) = the_only(&with(lines));
        assert_eq!(
            (severity, line, found),
            (Severity::Error, at, format!("spec.prefetch.{field}")),
            "{message}"
        );
        assert!(message.contains(said), "{message}");
    }
    let many: String = (0..1000).map(|n| format!("    - /{n}\n")).collect();
    let (_, line, field, message) = the_only(&with(&many));
    assert_eq!((line, field.as_str()), (9, "spec.prefetch.urls"), "{message}");
}

#[test]
fn broken_yaml_has_file_and_line() {
    let (severity, line, _, message) = the_only("kind: [a,\nb: 1\n");
    assert_eq!((severity, line), (Severity::Error, 2));
    assert!(message.starts_with("not valid YAML"), "{message}");
}

#[test]
fn a_kind_or_version_of_our_group_that_does_not_exist_is_an_error() {
    let (_, line, _, message) = the_only(&site("a").replace("EdgeCache", "EdgeCash"));
    assert_eq!(line, 2);
    assert_eq!(
        message,
        "`EdgeCash` is not a kind of breakwater.dev: did you mean EdgeCache?"
    );
    let (_, line, _, message) = the_only(&site("a").replace("v1alpha1", "v1"));
    assert_eq!(line, 1);
    assert!(message.contains("write breakwater.dev/v1alpha1"), "{message}");
}

#[test]
fn a_slip_in_the_group_does_not_pass_as_a_foreign_object() {
    for slip in ["breakwater.de/v1alpha1", "brakewater.dev/v1alpha1", "v1", ""] {
        let (severity, ..) = the_only(&site("a").replace("breakwater.dev/v1alpha1", slip));
        assert_eq!(severity, Severity::Error, "{slip}");
    }
}

#[test]
fn foreign_kinds_are_ignored_with_a_warning_but_configuration_is_not_mentioned() {
    let (severity, line, ..) = the_only("---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n");
    assert_eq!((severity, line), (Severity::Warning, 3));
    assert_eq!(told("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"), []);
    assert_eq!(
        told("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ndata: {a: =}\n"),
        []
    );
}

#[test]
fn a_duplicate_names_both_places_and_the_first_counts() {
    let second = site("shop").replace("shop.example.com", "other.example.com");
    let dir = dir(&[("a.yaml", &site("shop")), ("b.yml", &format!("---\n{second}"))]);
    let loaded = load(dir.path()).unwrap();
    let all = report(&loaded);
    assert_eq!(all.len(), 1, "{all:#?}");
    let (severity, file, line, _, message) = &all[0];
    assert_eq!((*severity, file.as_str(), *line), (Severity::Error, "b.yml", 4));
    assert!(message.contains("a.yaml:3, which counts"), "{message}");
    assert_eq!(loaded.world().edge_caches.len(), 1);
    assert_eq!(
        loaded.world().edge_caches[0].spec.hostnames[0].as_str(),
        "shop.example.com"
    );
}

#[test]
fn a_conflict_goes_to_the_object_that_comes_first() {
    let claim = |name: &str| site(name).replace(&format!("[{name}.example.com]"), "[same.example.com]");
    let dir = dir(&[("1.yaml", &claim("zebra")), ("2.yaml", &claim("ant"))]);
    let all = report(&load(dir.path()).unwrap());
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((all[0].1.as_str(), all[0].2), ("2.yaml", 5));
    assert!(all[0].4.contains("EdgeCache/default/zebra"), "{}", all[0].4);
}

#[test]
fn a_service_needs_urls_here_and_is_only_a_warning_for_a_cluster() {
    let text = site("shop").replace("urls: ['http://127.0.0.1:8081']", "service: {name: shop, port: 80}");
    let dir = dir(&[("a.yaml", &text)]);
    let loaded = load(dir.path()).unwrap();
    let output = compile(&loaded.world());
    let absent = loaded.report(&output, Services::Absent);
    assert_eq!(
        (absent.len(), absent[0].severity, absent[0].line),
        (1, Severity::Error, 7)
    );
    assert!(absent[0].message.contains("use urls"), "{}", absent[0].message);
    let elsewhere = loaded.report(&output, Services::Elsewhere);
    assert_eq!((elsewhere.len(), elsewhere[0].severity), (1, Severity::Warning));
}

#[test]
fn only_manifests_directly_in_the_directory_are_read() {
    let dir = dir(&[
        ("a.yaml", &site("a")),
        (".hidden.yaml", "["),
        ("notes.txt", "["),
        ("a.yaml~", "["),
    ]);
    fs::create_dir(dir.path().join("below")).unwrap();
    fs::create_dir(dir.path().join("dir.yaml")).unwrap();
    fs::write(dir.path().join("below/b.yaml"), "[").unwrap();
    let loaded = load(dir.path()).unwrap();
    assert_eq!(loaded.files.len(), 1);
    assert_eq!(loaded.diagnostics, []);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let error = load(Path::new("/nonexistent/manifests")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/manifests"), "{error}");
}

#[test]
fn an_object_with_a_wrong_field_is_broken_alone() {
    let broken = site("bad").replace("hostnames", "hostname");
    let dir = dir(&[("a.yaml", &format!("{}---\n{broken}", site("good")))]);
    let loaded = load(dir.path()).unwrap();
    let world = loaded.world();
    assert_eq!((world.edge_caches.len(), world.broken.len()), (1, 1));
    let output = compile(&world);
    let entry = output
        .snapshot
        .manifest()
        .get(&ObjectId::new(Kind::EdgeCache, "default", "bad"))
        .unwrap();
    let blob = Blob::from_json(output.snapshot.blob(&entry.sha256).unwrap()).unwrap();
    assert!(matches!(blob, Blob::Invalid { .. }), "{blob:?}");
}

/// Lines and fields of the errors of a text.
fn errors(text: &str) -> Vec<(usize, String)> {
    let told = told(text).into_iter();
    told.filter(|(severity, ..)| *severity == Severity::Error)
        .map(|(_, line, field, _)| (line, field))
        .collect()
}

#[test]
fn faults_of_values_are_told_beside_faults_of_the_schema() {
    let text = format!(
        "{}  cahce: {{}}
  redirects:
  - {{path: {{replaceFullPath: /new}}, status: 400}}
  cache:
    rules:
    - {{paths: [{{type: Exact, value: no-slash}}], ttl: 1h}}
    - {{ttl: [1h]}}
",
        site("shop")
    );
    let expected = [
        (8, "spec.cahce"),
        (10, "spec.redirects[0].status"),
        (13, "spec.cache.rules[0].paths[0].value"),
        (14, "spec.cache.rules[1].ttl"),
    ];
    assert_eq!(errors(&text), expected.map(|(line, field)| (line, field.to_owned())));
}

#[test]
fn values_that_cannot_be_read_are_all_told_at_once() {
    let text = format!(
        "{}  cache: {{rules: [{{ttl: soon}}], stale: {{ifError: never}}}}\n",
        site("shop")
    );
    let fields: Vec<String> = errors(&text).into_iter().map(|(_, field)| field).collect();
    assert_eq!(fields, ["spec.cache.rules[0].ttl", "spec.cache.stale.ifError"]);
}

#[test]
fn an_object_without_a_value_is_refused_where_it_means_another_thing_than_an_empty_one() {
    let policy = "apiVersion: breakwater.dev/v1alpha1\nkind: WafPolicy\nmetadata: {name: p}\nspec:\n  targetRefs: [{group: breakwater.dev, kind: EdgeCache, name: shop}]\n";
    for part in [
        "crs",
        "body",
        "challenge",
        "penalty",
        "sampling",
        "seclang",
        "countries",
    ] {
        let text = format!("{}---\n{policy}  {part}:\n", site("shop"));
        let line = text.lines().count();
        assert_eq!(errors(&text), [(line, format!("spec.{part}"))], "{part}");
    }
    // As good as `{}`.
    for part in ["addresses", "audit", "block", "limits"] {
        let text = format!("{}---\n{policy}  {part}:\n", site("shop"));
        assert_eq!(errors(&text), [], "{part}");
    }
}

#[test]
fn a_fault_is_not_made_up_from_what_another_one_left_out() {
    for (text, only) in [
        (
            site("shop").replace("['http://127.0.0.1:8081']", "http://127.0.0.1:8081"),
            "spec.origin.urls",
        ),
        (
            site("shop").replace("[shop.example.com]", "shop.example.com"),
            "spec.hostnames",
        ),
        (
            site("shop") + "    balance: Hash\n    hash: {by: Hedaer, name: x}\n",
            "spec.origin.hash.by",
        ),
    ] {
        let fields: Vec<String> = errors(&text).into_iter().map(|(_, field)| field).collect();
        assert_eq!(fields, [only]);
    }
    // The rest of its claims would be the other's.
    let two = format!(
        "{}  paths: [7]\n---\n{}",
        site("a"),
        site("b").replace("b.example", "a.example")
    );
    let fields: Vec<String> = errors(&two).into_iter().map(|(_, field)| field).collect();
    assert_eq!(fields, ["spec.paths[0]"]);
}

#[test]
fn a_broken_policy_still_names_its_targets() {
    let policy = "apiVersion: breakwater.dev/v1alpha1
kind: WafPolicy
metadata: {name: p}
spec: {targetRefs: [{kind: EdgeCache, name: good}], mod: Enforce}
";
    let dir = dir(&[("a.yaml", &format!("{}---\n{policy}", site("good")))]);
    let world = load(dir.path()).unwrap().world();
    assert_eq!(
        world.broken[0].targets,
        [ObjectId::new(Kind::EdgeCache, "default", "good")]
    );
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_objects_and_says_so() {
    let dir = dir(&[("a.yaml", &site("a")), ("b.yaml", &site("b"))]);
    let good = load(dir.path()).unwrap();
    for broken in [
        "kind: [",
        &site("a").replace("name: a", "nam: a"),
        &site("a").replace("EdgeCache", "EdgeCash"),
    ] {
        fs::write(dir.path().join("a.yaml"), broken).unwrap();
        let mut loaded = load(dir.path()).unwrap();
        assert_eq!(loaded.world().edge_caches.len(), 1);
        loaded.keep_last_good(&good);
        assert_eq!(loaded.world(), good.world(), "{broken}");
        let last = loaded.diagnostics.last().unwrap();
        assert!(
            last.message.contains("last good version stays in force"),
            "{}",
            last.message
        );

        // And again, when the previous version is itself one that was kept.
        let mut again = load(dir.path()).unwrap();
        again.keep_last_good(&loaded);
        assert_eq!(again.world().edge_caches.len(), 2);
    }
    fs::remove_file(dir.path().join("a.yaml")).unwrap();
    let mut loaded = load(dir.path()).unwrap();
    loaded.keep_last_good(&good);
    assert_eq!(
        loaded.world().edge_caches.len(),
        1,
        "a file that is gone takes its objects with it"
    );
}

#[test]
fn a_purge_is_another_one_when_its_content_changes() {
    let purge = |tags: &str| {
        let text = format!(
            "apiVersion: breakwater.dev/v1alpha1\nkind: CachePurge\nmetadata: {{name: p}}\nspec: {{edgeCacheRef: {{name: a}}, tags: [{tags}]}}\n"
        );
        let dir = dir(&[("a.yaml", &text)]);
        load(dir.path()).unwrap().world().cache_purges[0].meta.uid.clone()
    };
    assert_eq!(purge("x"), purge("   x"));
    assert_ne!(purge("x"), purge("y"));
}

#[test]
fn the_examples_have_no_errors() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for (dir, services, kinds) in [("demo", Services::Absent, 3), ("kubernetes", Services::Elsewhere, 4)] {
        let loaded = load(&examples.join(dir)).unwrap();
        let output = compile(&loaded.world());
        let errors: Vec<Diagnostic> = loaded
            .report(&output, services)
            .into_iter()
            .filter(|d| d.severity == Severity::Error)
            .collect();
        assert_eq!(errors, [], "{dir}");
        let kinds_found: std::collections::BTreeSet<_> = output.verdicts.iter().map(|v| v.id.kind).collect();
        assert_eq!(kinds_found.len(), kinds, "{dir} lacks a kind");
    }
}

#[test]
fn the_lists_of_a_manifest_reach_its_unit() {
    let dir = dir(&[("a.yaml", &site("a"))]);
    let output = compile(&load(dir.path()).unwrap().world());
    let entry = &output.snapshot.manifest().entries[0];
    let Blob::Valid { unit } = Blob::from_json(output.snapshot.blob(&entry.sha256).unwrap()).unwrap() else {
        panic!("the unit is invalid");
    };
    let Unit::EdgeCache(unit) = *unit else {
        panic!("the unit is of another kind");
    };
    assert_eq!(unit.claims[0].host, "a.example.com");
    assert_eq!(unit.origin.endpoints[0].port, 8081);
}

#[test]
fn what_a_message_repeats_of_a_manifest_is_short_and_harmless() {
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        file: PathBuf::from("a.yaml"),
        line: 1,
        kind: "EdgeCache".to_owned(),
        namespace: "default".to_owned(),
        name: format!("\u{1b}[31m{}", "x".repeat(1_000_000)),
        field: "spec\0".to_owned(),
        message: "wrong\nreally".to_owned(),
    };
    let text = diagnostic.to_string();
    assert!(
        text.len() < 2_000 && !text.contains(char::is_control),
        "{} bytes",
        text.len()
    );
}

const KEY: &str = include_str!("../../operator/compile/tests/test-only/shop.key");
const CERTIFICATE: &str = include_str!("../../operator/compile/tests/test-only/shop.crt");

fn secure_site() -> String {
    let tls = "spec:\n  tls: {secretName: shop-tls}\n";
    site("shop").replace("spec:\n", tls)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

fn secret() -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: shop-tls}}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(CERTIFICATE),
        indented(KEY)
    )
}

#[test]
fn a_secret_of_the_directory_is_published_for_the_object_that_names_it() {
    let dir = dir(&[("site.yaml", &secure_site()), ("tls.yaml", &secret())]);
    let loaded = load(dir.path()).unwrap();
    assert_eq!(report(&loaded), []);
    let output = compile(&loaded.world());
    let id = ObjectId::new(Kind::Secret, "default", "shop-tls");
    let entry = output.snapshot.manifest().get(&id).unwrap();
    match Blob::from_json(output.snapshot.blob(&entry.sha256).unwrap()).unwrap() {
        Blob::Valid { unit } => match *unit {
            Unit::Certificate(certificate) => assert_eq!(certificate.key_pem, KEY),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    let line = KEY.lines().nth(1).unwrap();
    assert!(
        !format!("{loaded:?} {output:?}").contains(line),
        "the key is in Debug output"
    );
}

#[test]
fn data_is_base64_and_string_data_is_laid_over_it() {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let text = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: shop-tls}}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  tls.key: {}\nstringData:\n  tls.key: |\n{}",
        encode(CERTIFICATE),
        encode("laid over"),
        indented(KEY)
    );
    let dir = dir(&[("a.yaml", &format!("{}---\n{text}", secure_site()))]);
    assert_eq!(report(&load(dir.path()).unwrap()), []);
}

#[test]
fn what_is_wrong_with_a_secret_is_told_with_its_line_and_without_its_content() {
    let text = "apiVersion: v1
kind: Secret
metadata: {name: shop-tls}
type: kubernetes.io/tls
data:
  tls.crt: hunter2!
  tls.key: [hunter2]
stringdata: hunter2
";
    let dir = dir(&[("site.yaml", &secure_site()), ("tls.yaml", text)]);
    let all = report(&load(dir.path()).unwrap());
    let places: Vec<(&str, usize, &str)> = all.iter().map(|d| (d.1.as_str(), d.2, d.3.as_str())).collect();
    assert_eq!(
        places,
        [
            ("site.yaml", 5, "spec.tls.secretName"),
            ("tls.yaml", 6, "data[tls.crt]"),
            ("tls.yaml", 7, "data[tls.key]"),
            ("tls.yaml", 8, "stringdata"),
        ]
    );
    assert!(
        all[0]
            .4
            .contains("Secret default/shop-tls: tls.crt is missing or empty"),
        "{}",
        all[0].4
    );
    assert!(!format!("{all:?}").contains("hunter2"), "{all:?}");
}

#[test]
fn a_secret_that_is_not_there_is_an_error_where_it_is_needed_and_a_warning_for_a_cluster() {
    let dir = dir(&[("site.yaml", &secure_site())]);
    let loaded = load(dir.path()).unwrap();
    let all = report(&loaded);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((all[0].0, all[0].2), (Severity::Error, 5));
    assert!(all[0].4.contains("put its manifest"), "{}", all[0].4);
    let checked = loaded.report(&compile(&loaded.world()), Services::Elsewhere);
    assert_eq!(checked[0].severity, Severity::Warning);
    assert!(checked[0].message.contains("in the cluster"), "{}", checked[0].message);
}

fn ruled_site(seclang: &str) -> String {
    format!(
        "{}---\napiVersion: breakwater.dev/v1alpha1\nkind: WafPolicy\nmetadata: {{name: rules}}\nspec:\n  targetRefs: [{{group: breakwater.dev, kind: EdgeCache, name: shop}}]\n  seclang:\n{seclang}",
        site("shop")
    )
}

#[test]
fn a_mistake_in_rules_is_told_with_the_line_it_stands_on() {
    let site =
        ruled_site("    inline: |\n      SecRule ARGS:a \"@streq 1\" \"id:1,phase:1,deny\"\n      SecNonsense On\n");
    let line = site.lines().position(|line| line.contains("SecNonsense")).unwrap() + 1;
    let dir = dir(&[("site.yaml", &site)]);
    let loaded = load(dir.path()).unwrap();
    let found = loaded.report(&compile(&loaded.world()), Services::Absent);
    let told = found.iter().find(|d| d.field == "spec.seclang.inline:2").unwrap();
    assert_eq!(told.line, line, "{told}");
}

#[test]
fn a_config_map_of_the_directory_holds_rules_for_the_policy_that_names_it() {
    let site = ruled_site("    configMaps: [{name: own, key: a.conf}]\n");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata:\n  a.conf: |\n    SecRule ARGS:a \"@streq 1\" \"id:1,phase:1,deny\"\n";
    let both = dir(&[("site.yaml", &site), ("map.yaml", map)]);
    let loaded = load(both.path()).unwrap();
    let output = compile(&loaded.world());
    assert_eq!(loaded.report(&output, Services::Absent), []);
    let alone = dir(&[("site.yaml", &site)]);
    let loaded = load(alone.path()).unwrap();
    for (services, severity) in [
        (Services::Absent, Severity::Error),
        (Services::Elsewhere, Severity::Warning),
    ] {
        let found = loaded.report(&compile(&loaded.world()), services);
        assert_eq!((found.len(), found[0].severity), (1, severity), "{found:?}");
        assert!(found[0].message.contains("ConfigMap default/own"), "{}", found[0]);
    }
}

#[test]
fn a_config_map_of_the_cluster_is_no_error_of_a_policy_that_is_broken_elsewhere() {
    let site = ruled_site("    configMaps: [{name: own, key: a.conf}]\n  mode: Enforced\n");
    let dir = dir(&[("site.yaml", &site)]);
    let loaded = load(dir.path()).unwrap();
    let found = loaded.report(&compile(&loaded.world()), Services::Elsewhere);
    let told = |field: &str| found.iter().find(|d| d.field == field).map(|d| d.severity);
    assert_eq!(told("spec.mode"), Some(Severity::Error), "{found:?}");
    assert_eq!(told("spec.seclang.configMaps[0]"), Some(Severity::Warning), "{found:?}");
}
