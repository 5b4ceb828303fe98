//! Where the Core Rule Set is, and its files as one rule set.

use std::path::{Path, PathBuf};

use breakwater_waf::engine::RuleSet;
use breakwater_waf::review::{Review, review};
use breakwater_waf::seclang;

/// The directory of the rule set.
pub(crate) fn directory() -> PathBuf {
    let named = std::env::var_os("BREAKWATER_CRS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/crs"));
    assert!(
        path.join("rules").is_dir(),
        "the Core Rule Set is not at {}: name its directory in BREAKWATER_CRS",
        path.display()
    );
    path
}

/// The setup and all rules, in the order of their names.
// A profiler finds it by its name.
#[inline(never)]
pub(crate) fn load(crs: &Path) -> RuleSet {
    let dir = crs.join("rules");
    let mut all = files(&dir);
    all.insert(0, crs.join("crs-setup.conf.example"));
    compile(&all, &dir)
}

/// The rules of a directory, in the order of their names.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    files
}

/// Files as one rule set; data files are in `dir`. There is nothing to remark on in them.
pub(crate) fn compile(files: &[PathBuf], dir: &Path) -> RuleSet {
    let mut directives = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy();
        match seclang::parse(&name, &text) {
            Ok(more) => directives.extend(more),
            Err(errors) => panic!(
                "{}",
                errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
            ),
        }
    }
    let Review { errors, warnings } = review(&directives, None);
    assert!(errors.is_empty() && warnings.is_empty(), "{errors:#?} {warnings:#?}");
    let read =
        |name: &str, _: &seclang::Position| std::fs::read(dir.join(name)).map_err(|error| format!("{name}: {error}"));
    RuleSet::compile(&directives, &read).unwrap_or_else(|errors| {
        panic!(
            "{}",
            errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        )
    })
}
