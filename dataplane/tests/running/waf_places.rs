//! Policies over where clients are: their databases, the files of these, and nodes without.

use std::path::PathBuf;

use breakwater_dataplane::geo::testing::{Value, asn, country, database};
use breakwater_dataplane::{DataPlane, Options};
use breakwater_snapshot::unit::{Mode, Places, Unit, WafPolicy};
use breakwater_snapshot::{Kind, ObjectId};
use tempfile::TempDir;

use super::waf_rules::rules;
use crate::support::{Client, Objects, Origin, Plane, answer, edge_cache, id, objects, waf_policy};

const SWEDISH: &str = "192.0.2.1";
const FRENCH: &str = "203.0.113.1";
const IN_AS64497: &str = "2001:db8::1";
const UNKNOWN: &str = "198.51.100.1";

fn networks(french: &'static str) -> Vec<(&'static str, Value)> {
    vec![
        ("192.0.2.0/24", country("SE", "Sweden", "EU")),
        ("203.0.113.0/24", country(french, "France", "EU")),
        ("2001:db8::/32", country("US", "United States", "NA")),
    ]
}

/// Files of databases.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        files.put(
            "country.mmdb",
            &database("Test-Country", 1_700_000_000, &networks("FR")),
        );
        let numbers = [("192.0.2.0/24", asn(64_496)), ("2001:db8::/32", asn(64_497))];
        files.put("asn.mmdb", &database("Test-ASN", 1_700_000_001, &numbers));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file in the place of another, as updates do.
    fn put(&self, name: &str, bytes: &[u8]) {
        let new = self.path("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    async fn plane(&self) -> Plane {
        Plane::with(|options| {
            options.geo_db = Some(self.path("country.mmdb"));
            options.asn_db = Some(self.path("asn.mmdb"));
        })
        .await
    }
}

fn site() -> ObjectId {
    id(Kind::EdgeCache, "site")
}

fn codes(codes: &[&str]) -> Vec<String> {
    codes.iter().map(|code| (*code).to_owned()).collect()
}

/// The site behind a policy that believes whoever asks about who the client is.
fn protected(origin: &Origin, change: impl FnOnce(&mut WafPolicy)) -> Objects {
    let mut policy = waf_policy(site());
    policy.client.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    change(&mut policy);
    objects([
        ("site", Unit::EdgeCache(edge_cache(origin.address))),
        ("policy", Unit::WafPolicy(policy)),
    ])
}

async fn origin() -> Origin {
    Origin::fixed(answer(200, "Cache-Control: max-age=60\r\n", "x")).await
}

async fn status(client: &mut Client, from: &str) -> u16 {
    let lines = format!("X-Forwarded-For: {from}\r\n");
    client.get("shop.test", "/a", &lines).await.status
}

fn only(countries: &[&str]) -> Places<String> {
    Places {
        allow: codes(countries),
        deny: Vec::new(),
        default_allow: false,
    }
}

fn deny<T>(deny: Vec<T>) -> Places<T> {
    Places {
        deny,
        ..Places::default()
    }
}

#[tokio::test]
async fn a_client_of_a_denied_country_is_refused_even_a_hit_and_logs_say_where_it_is() {
    let (files, origin) = (Files::new(), origin().await);
    let plane = files.plane().await;
    let policy = |policy: &mut WafPolicy| policy.countries = deny(codes(&["SE"]));
    plane.apply(protected(&origin, policy)).await;
    let mut client = plane.client().await;
    for (from, expected) in [(FRENCH, 200), (SWEDISH, 403), (UNKNOWN, 200), (IN_AS64497, 200)] {
        assert_eq!(status(&mut client, from).await, expected, "{from}");
    }
    assert_eq!(origin.count(), 1);
    let line = plane.audit(1).await.remove(0);
    assert_eq!(
        (&line["country"], &line["asn"], &line["reason"], &line["detail"]),
        (&"SE".into(), &64_496.into(), &"country".into(), &"SE".into())
    );
    let series = "breakwater_waf_events_total{policy=\"WafPolicy/default/policy\",action=\"block\",reason=\"country\"}";
    assert_eq!(plane.metric(series).await, 1.0);
    let access = plane.access(4).await;
    let countries: Vec<_> = access.iter().map(|line| line["country"].as_str()).collect();
    assert_eq!(countries, [Some("FR"), Some("SE"), None, Some("US")]);
}

#[tokio::test]
async fn only_some_countries_are_let_in_and_unknown_clients_if_they_are_named() {
    let (files, origin) = (Files::new(), origin().await);
    let plane = files.plane().await;
    let mut client = plane.client().await;
    for (countries, of_unknown) in [(only(&["SE"]), 403), (only(&["SE", "XX"]), 200)] {
        plane
            .apply(protected(&origin, |policy| policy.countries = countries))
            .await;
        assert_eq!(status(&mut client, SWEDISH).await, 200);
        assert_eq!(status(&mut client, FRENCH).await, 403);
        assert_eq!(status(&mut client, UNKNOWN).await, of_unknown);
    }
}

#[tokio::test]
async fn a_client_of_a_denied_network_is_refused_or_reported_as_the_mode_says() {
    let (files, origin) = (Files::new(), origin().await);
    let plane = files.plane().await;
    let mut client = plane.client().await;
    plane
        .apply(protected(&origin, |policy| policy.asns = deny(vec![64_497])))
        .await;
    assert_eq!(status(&mut client, IN_AS64497).await, 403);
    assert_eq!(status(&mut client, SWEDISH).await, 200);
    let detect = |policy: &mut WafPolicy| {
        policy.mode = Mode::DetectOnly;
        policy.asns = deny(vec![64_497]);
    };
    plane.apply(protected(&origin, detect)).await;
    assert_eq!(status(&mut client, IN_AS64497).await, 200);
    let lines = plane.audit(2).await;
    assert_eq!(
        (&lines[1]["action"], &lines[1]["reason"], &lines[1]["detail"]),
        (&"detect".into(), &"asn".into(), &"AS64497".into())
    );
}

#[tokio::test]
async fn a_policy_that_needs_a_database_that_a_node_has_not_is_rejected_and_closes_its_targets() {
    let origin = origin().await;
    for (change, flag) in [
        (
            (|policy| policy.countries = only(&["SE"])) as fn(&mut WafPolicy),
            "--geo-db",
        ),
        (|policy| policy.asns = deny(vec![64_497]), "--asn-db"),
    ] {
        let plane = Plane::start().await;
        let applied = plane.try_apply(protected(&origin, change)).await;
        assert!(applied.rejected[0].message.contains(flag), "{applied:?}");
        assert_eq!(status(&mut plane.client().await, SWEDISH).await, 503);
        // What was in force before stays.
        plane.apply(protected(&origin, |_| {})).await;
        let applied = plane.try_apply(protected(&origin, change)).await;
        assert_eq!((applied.rejected.len(), applied.kept.len()), (1, 1));
        assert_eq!(status(&mut plane.client().await, SWEDISH).await, 200);
    }
}

#[tokio::test]
async fn lists_that_refuse_nobody_need_no_database() {
    let (origin, plane) = (origin().await, Plane::start().await);
    let policy = |policy: &mut WafPolicy| policy.asns.allow = vec![64_496];
    plane.apply(protected(&origin, policy)).await;
    assert_eq!(status(&mut plane.client().await, SWEDISH).await, 200);
}

#[tokio::test]
async fn a_changed_database_takes_effect_and_one_that_cannot_be_used_changes_nothing() {
    let (files, origin) = (Files::new(), origin().await);
    let plane = files.plane().await;
    let policy = |policy: &mut WafPolicy| policy.countries = deny(codes(&["FR"]));
    plane.apply(protected(&origin, policy)).await;
    let mut client = plane.client().await;
    let series = |name: &str| format!("breakwater_geo_database_{name}{{database=\"country\"}}");
    let built = series("build_timestamp_seconds");
    assert_eq!(status(&mut client, FRENCH).await, 403);
    assert_eq!(plane.metric(&built).await, 1_700_000_000.0);

    files.put(
        "country.mmdb",
        &database("Test-Country", 1_800_000_000, &networks("BE")),
    );
    plane.data.check_databases().await;
    assert_eq!(status(&mut client, FRENCH).await, 200);
    assert_eq!(plane.metric(&built).await, 1_800_000_000.0);

    let whole = database("Test-Country", 1_900_000_000, &networks("FR"));
    for (failures, broken) in [(1.0, &whole[..whole.len() / 2]), (2.0, b"no database")] {
        files.put("country.mmdb", broken);
        plane.data.check_databases().await;
        plane.data.check_databases().await;
        assert_eq!(status(&mut client, FRENCH).await, 200);
        assert_eq!(plane.metric(&series("rejected")).await, 1.0);
        assert_eq!(plane.metric(&series("reload_failures_total")).await, failures);
    }
    std::fs::remove_file(files.path("country.mmdb")).unwrap();
    plane.data.check_databases().await;
    assert_eq!(plane.metric(&built).await, 1_800_000_000.0);

    files.put("country.mmdb", &whole);
    plane.data.check_databases().await;
    assert_eq!(status(&mut client, FRENCH).await, 403);
    assert_eq!(plane.metric(&series("rejected")).await, 0.0);
}

#[tokio::test]
async fn a_node_starts_with_the_databases_it_is_given_or_not_at_all() {
    let files = Files::new();
    let start = |geo_db: Option<PathBuf>, asn_db: Option<PathBuf>| {
        let options = Options {
            geo_db,
            asn_db,
            workers: 1,
            ..Options::default()
        };
        DataPlane::start(&options).err().map(|error| error.to_string())
    };
    let missing = start(Some(files.path("none.mmdb")), None).unwrap();
    assert!(
        missing.contains("--geo-db") && missing.contains("none.mmdb"),
        "{missing}"
    );
    let other = start(None, Some(files.path("country.mmdb"))).unwrap();
    assert!(other.contains("no database of autonomous systems"), "{other}");
    let other = start(Some(files.path("asn.mmdb")), None).unwrap();
    assert!(other.contains("no database of countries"), "{other}");
}

#[tokio::test]
async fn rules_look_up_where_an_address_is_on_nodes_that_can() {
    const RULES: &str = r#"SecRule REMOTE_ADDR "@geoLookup" "id:1,phase:1,deny,status:451,chain,logdata:'%{GEO.COUNTRY_NAME}'"
        SecRule GEO:COUNTRY_CODE "@within SE US" "chain"
        SecRule GEO:COUNTRY_CONTINENT "@streq EU""#;
    let (files, origin) = (Files::new(), origin().await);
    let plane = files.plane().await;
    let policy = |policy: &mut WafPolicy| policy.rules = Some(rules(RULES));
    plane.apply(protected(&origin, policy)).await;
    let mut client = plane.client().await;
    for (from, expected) in [(SWEDISH, 451), (IN_AS64497, 200), (FRENCH, 200), (UNKNOWN, 200)] {
        assert_eq!(status(&mut client, from).await, expected, "{from}");
    }
    let line = plane.audit(1).await.remove(0);
    assert_eq!(
        (&line["country"], &line["rules"][0]["data"]),
        (&"SE".into(), &"Sweden".into())
    );
    let without = Plane::start().await;
    let applied = without.try_apply(protected(&origin, policy)).await;
    let message = &applied.rejected[0].message;
    assert!(
        message.contains("spec.seclang.inline:1") && message.contains("--geo-db"),
        "{message}"
    );
}
