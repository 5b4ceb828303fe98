//! Golden cases: `golden/NAME.in.yaml` compiles to `golden/NAME.out.yaml`, verdicts and units, whatever the order of
//! the input. `UPDATE_GOLDEN=1 cargo test -p breakwater-compile --test golden` rewrites the outputs; review them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use breakwater_compile::{Memo, Output, World, compile, compile_again};
use breakwater_snapshot::Blob;
use serde_json::{Value, json};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn cases() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir())
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".in.yaml").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

fn show(output: &Output) -> String {
    let units: BTreeMap<String, Value> = output
        .snapshot
        .manifest()
        .entries
        .iter()
        .map(|entry| {
            let blob = Blob::from_json(output.snapshot.blob(&entry.sha256).unwrap()).unwrap();
            (entry.id.to_string(), shortened(serde_json::to_value(blob).unwrap()))
        })
        .collect();
    let verdicts: BTreeMap<String, Value> = output
        .verdicts
        .iter()
        .map(|verdict| {
            let mut value = serde_json::to_value(verdict).unwrap();
            value.as_object_mut().unwrap().remove("id");
            (verdict.id.to_string(), value)
        })
        .collect();
    serde_saphyr::to_string(&json!({"verdicts": verdicts, "units": units})).unwrap()
}

/// Certificates and keys by their length: which they are is told by the rest of the case.
fn shortened(mut blob: Value) -> Value {
    for field in ["chain_pem", "key_pem", "ocsp"] {
        if let Some(text) = blob.pointer_mut(&format!("/unit/{field}")) {
            *text = json!(format!("({} bytes)", text.as_str().unwrap().len()));
        }
    }
    blob
}

#[test]
fn every_case_compiles_to_its_golden_output() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    for name in &cases {
        let world = support::world(&std::fs::read_to_string(dir().join(format!("{name}.in.yaml"))).unwrap());
        let shown = show(&compile(&world));
        let golden = dir().join(format!("{name}.out.yaml"));
        if update {
            std::fs::write(&golden, shown).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            wrong.push(format!("{name}:\n{shown}"));
        }
    }
    assert!(cases.len() >= 15, "golden cases are missing: {cases:?}");
    assert!(
        wrong.is_empty(),
        "outputs differ from their golden files: {}",
        wrong.join("\n")
    );
}

/// What is remembered of other Worlds, and of this one, changes nothing.
#[test]
fn a_memo_changes_no_byte_of_the_output() {
    let mut memo = Memo::default();
    let worlds: Vec<World> = cases()
        .iter()
        .map(|name| support::world(&std::fs::read_to_string(dir().join(format!("{name}.in.yaml"))).unwrap()))
        .collect();
    for world in worlds.iter().chain(worlds.iter().rev()) {
        for _ in 0..2 {
            let (fresh, again) = (compile(world), compile_again(world, &mut memo));
            assert_eq!(fresh.verdicts, again.verdicts);
            assert_eq!(fresh.snapshot.manifest().to_json(), again.snapshot.manifest().to_json());
        }
    }
}

#[test]
fn a_certificate_is_parsed_once_for_as_long_as_something_names_it() {
    let text = std::fs::read_to_string(dir().join("tls_hosts.in.yaml")).unwrap();
    let world = support::world(&text);
    let mut memo = Memo::default();
    compile_again(&world, &mut memo);
    let (parsed, remembered) = (memo.parsed(), memo.len());
    assert!(parsed > 0 && parsed == remembered as u64, "{parsed}, {remembered}");
    // An edit of something else, and of one Secret.
    let mut edited = world.clone();
    edited.waf_policies.clear();
    compile_again(&edited, &mut memo);
    assert_eq!((memo.parsed(), memo.len()), (parsed, remembered));
    for secret in &mut edited.secrets {
        secret.ocsp = Some(vec![1]);
    }
    compile_again(&edited, &mut memo);
    assert_eq!(memo.parsed(), parsed, "what is stapled is not parsed");
    edited.secrets[0].certificate.push(b'\n');
    compile_again(&edited, &mut memo);
    assert_eq!((memo.parsed(), memo.len()), (parsed + 1, remembered));
    compile_again(&World::default(), &mut memo);
    assert!(memo.is_empty());
}

#[test]
fn every_golden_output_has_its_input() {
    let cases = cases();
    for entry in std::fs::read_dir(dir()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(case) = name.strip_suffix(".out.yaml") {
            assert!(cases.iter().any(|known| known == case), "{name} has no input");
        }
    }
}

#[test]
fn no_verdict_holds_anything_of_a_secret() {
    let mut secrets = 0;
    for name in cases() {
        let world = support::world(&std::fs::read_to_string(dir().join(format!("{name}.in.yaml"))).unwrap());
        let output = compile(&world);
        let told = format!("{:?} {:?}", output.verdicts, world.secrets);
        for secret in &world.secrets {
            for content in [&secret.certificate, &secret.key] {
                let text = String::from_utf8_lossy(content);
                for line in text.lines().filter(|line| line.len() > 8 && !line.starts_with("-----")) {
                    secrets += 1;
                    assert!(!told.contains(line), "{name}: {line} is told");
                }
            }
        }
    }
    assert!(secrets > 0, "no case has a Secret");
}

#[test]
fn the_order_of_objects_does_not_change_a_byte() {
    for name in cases() {
        let world = support::world(&std::fs::read_to_string(dir().join(format!("{name}.in.yaml"))).unwrap());
        let straight = compile(&world);
        for seed in 1..=8 {
            let shuffled = compile(&support::shuffle(world.clone(), seed));
            assert_eq!(straight.verdicts, shuffled.verdicts, "{name}, seed {seed}");
            assert_eq!(
                straight.snapshot.manifest().to_json(),
                shuffled.snapshot.manifest().to_json(),
                "{name}, seed {seed}"
            );
        }
    }
}
