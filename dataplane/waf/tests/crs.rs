//! The regression tests of the OWASP Core Rule Set, in process: what each test sends goes straight through the engine at
//! paranoia level 4, and what its rules say is compared with what the test expects.
//!
//! The rules and the tests are not in this repository: `BREAKWATER_CRS` names the directory that has `rules`, `tests` and
//! `crs-setup.conf.example`, by default `../shared/crs` beside the repository. `BREAKWATER_CRS_TEST=942100-3` runs one test
//! and tells what it did.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use breakwater_ftw::{Logged, Test};
use breakwater_waf::bundle::{self, Crs, Own, Source};
use breakwater_waf::engine::{Bound, Overlay, RuleSet};

#[path = "crs/exchange.rs"]
mod exchange;
#[path = "crs/rules.rs"]
mod rules;

/// Tests that do not hold in process, and why.
const OVERRIDES: &[(&str, &str)] = &[
    (
        "920620-1",
        "wants a front that joins two Content-Type fields to one, as httpd's does; two stay two here, and the rule says so",
    ),
    (
        "921140-1",
        "wants a front that refuses a carriage return in a field, before any rule",
    ),
];

#[test]
fn the_regression_tests_of_the_core_rule_set_pass_at_paranoia_level_4() {
    let crs = rules::directory();
    let rules = Arc::new(rules::load(&crs));
    let bound = Arc::new(Bound::new(&rules, &settings()));
    let only = std::env::var("BREAKWATER_CRS_TEST").ok();
    let mut groups: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut tests = Vec::new();
    breakwater_ftw::collect(&crs.join("tests"), &mut tests).unwrap();
    for test in &tests {
        let name = &test.name;
        if only.as_ref().is_some_and(|only| only != name) || OVERRIDES.iter().any(|(known, _)| known == name) {
            continue;
        }
        let group = groups.entry((test.rule / 1000).to_string()).or_default();
        group.1 += 1;
        match run(&bound, test, only.is_some()) {
            Ok(()) => group.0 += 1,
            Err(reason) => failures.push(format!("{name}: {reason}")),
        }
    }
    let (passed, all) = groups
        .values()
        .fold((0, 0), |sum, group| (sum.0 + group.0, sum.1 + group.1));
    for (group, (passed, all)) in &groups {
        println!("{group}: {passed} of {all}");
    }
    println!("all: {passed} of {all}, {} overrides", OVERRIDES.len());
    assert!(all > 0, "there are tests");
    assert!(
        failures.is_empty(),
        "{} of {all} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// A status is the front's matter: in process only what rules say is compared.
fn run(bound: &Arc<Bound>, test: &Test, tell: bool) -> Result<(), String> {
    for stage in &test.stages {
        let request = stage.input.bytes().map_err(|error| error.to_string())?;
        let logged: Vec<Logged> = exchange::run(bound, &request)
            .matches
            .iter()
            .map(exchange::logged)
            .collect();
        if tell {
            println!("{}", String::from_utf8_lossy(&request));
            for found in &logged {
                println!("{}", found.line());
            }
        }
        stage.output.log.check(&logged)?;
    }
    Ok(())
}

/// What the Core Rule Set's own runs set.
fn settings() -> Overlay {
    let variables = [
        ("blocking_paranoia_level", "4"),
        ("detection_paranoia_level", "4"),
        // Not in its own runs' settings, but asked for by 920380.
        ("max_num_args", "255"),
        ("arg_length", "400"),
        ("total_arg_length", "6400"),
        ("max_file_size", "64100"),
        ("combined_file_sizes", "65535"),
        ("crs_validate_utf8_encoding", "1"),
    ];
    let variables = variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    Overlay {
        variables,
        ..Overlay::default()
    }
}

#[test]
fn the_core_rule_set_compiles_without_an_error() {
    let crs = rules::directory();
    let rules: RuleSet = rules::load(&crs);
    assert!(rules.rules() > 500, "{} rules", rules.rules());
    assert!(
        rules.signatures().iter().any(|name| name.starts_with("OWASP_CRS/")),
        "{:?}",
        rules.signatures()
    );
    let told = rules.warnings().iter().chain(rules.left_out());
    let told: Vec<String> = told.map(ToString::to_string).collect();
    assert!(told.is_empty(), "{told:#?}");
}

/// What the documentation gives as an example, with the Core Rule Set or without.
fn documented(with_example: bool) -> Arc<Bound> {
    let crs = rules::directory();
    let dir = crs.join("rules");
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let texts: Vec<(String, String)> = rules::files(&dir)
        .iter()
        .map(|path| (path.display().to_string(), read(path)))
        .collect();
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source { name, text }).collect();
    let data = std::fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path());
    let data = data.filter(|path| path.extension().is_some_and(|extension| extension == "data"));
    let data = data.map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(&path).unwrap())
    });
    let crs = Crs::parse(None, &sources, data.collect()).unwrap();
    let text = include_str!("../../../docs/waf.md");
    let mut lines = text.lines().map(str::trim);
    let example = lines.find(|line| line.starts_with("SecAction \"id:900200,")).unwrap();
    let own = Source {
        name: "docs/waf.md",
        text: if with_example { example } else { "" },
    };
    let compiled = bundle::compile(Some(&crs), &Own::parse(&[own]).unwrap()).unwrap();
    // As a policy has it.
    let overlay = Overlay {
        variables: vec![("crs_setup_version".to_owned(), "policy".to_owned())],
        ..Overlay::default()
    };
    Arc::new(Bound::new(&Arc::new(compiled.rules), &overlay))
}

#[test]
fn methods_are_refused_until_the_line_of_the_documentation_opens_them() {
    let ids = |bound: &Arc<Bound>, method: &str| -> Vec<u32> {
        let request = format!(
            "{method} /items/7 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n"
        );
        let report = exchange::run(bound, request.as_bytes());
        report.matches.iter().map(|found| found.id).collect()
    };
    let (closed, open) = (documented(false), documented(true));
    for method in ["PUT", "PATCH", "DELETE"] {
        let refused = ids(&closed, method);
        assert!(
            refused.contains(&911_100) && refused.contains(&949_110),
            "{method}: {refused:?}"
        );
        assert_eq!(ids(&open, method), [0; 0], "{method}");
    }
    assert!(ids(&open, "PROPFIND").contains(&911_100));
}

#[test]
fn debians_core_rule_set_compiles_and_blocks() {
    let root = std::env::var_os("BREAKWATER_CRS_DEBIAN").map_or_else(|| PathBuf::from("/"), PathBuf::from);
    let dir = root.join("usr/share/modsecurity-crs/rules");
    let mut rules = vec![root.join("etc/modsecurity/crs/crs-setup.conf")];
    rules.extend(rules::files(&dir));
    let rules = Arc::new(rules::compile(&rules, &dir));
    assert!(
        rules.signatures().iter().any(|name| name.starts_with("OWASP_CRS/3.")),
        "{:?}",
        rules.signatures()
    );
    let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
    let get = |target: &str| {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"
        );
        exchange::run(&bound, request.as_bytes())
    };
    let benign = get("/catalog?page=2&sort=price");
    assert!(benign.intervention.is_none(), "{benign:#?}");
    for (attack, id) in [
        ("/?id=1%27%20or%20%271%27%3D%271", 942_100),
        ("/?q=%3Cscript%3Ealert(1)%3C/script%3E", 941_100),
        ("/?file=../../../../etc/passwd", 930_100),
        ("/?c=;cat%20/etc/passwd", 932_160),
    ] {
        let report = get(attack);
        let ids: Vec<u32> = report.matches.iter().map(|found| found.id).collect();
        assert!(ids.contains(&id), "{attack}: {ids:?}");
        assert_eq!(report.intervention.map(|by| by.rule), Some(949_110), "{attack}");
    }
}
