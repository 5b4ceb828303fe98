//! The Core Rule Set as it lies on a node's disk, read once at the start.
//!
//! The layout is that of its releases and of Debian's `modsecurity-crs`: `rules/*.conf` with their data files beside them,
//! and `crs-setup.conf` or `crs-setup.conf.example` above. Bounded: files and bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use breakwater_waf::bundle::{Crs, Source};

use crate::CrsError;

/// Where it is looked for when nobody says: the image's place, and Debian's.
pub const CRS_DIRS: [&str; 2] = ["/usr/share/breakwater/crs", DEBIAN];

/// Debian's package keeps its setup elsewhere.
const DEBIAN: &str = "/usr/share/modsecurity-crs";
const DEBIAN_SETUP: &str = "/etc/modsecurity/crs/crs-setup.conf";

/// Most files that are read, and most bytes of all of them.
const MOST_FILES: usize = 1024;
const MOST_BYTES: u64 = 64 << 20;

/// The directory to use: `given`, or else the first of [`CRS_DIRS`] that is one.
#[must_use]
pub fn crs_dir(given: Option<PathBuf>) -> Option<PathBuf> {
    given.or_else(|| {
        let known = CRS_DIRS.into_iter().map(PathBuf::from);
        known.into_iter().find(|dir| dir.join("rules").is_dir())
    })
}

/// Reads the Core Rule Set in `dir`.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read_crs(dir: &Path) -> Result<Crs, CrsError> {
    let mut left = MOST_BYTES;
    let mut rules = Vec::new();
    let mut data = BTreeMap::new();
    for path in list(&dir.join("rules"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = read(&path, &mut left)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("conf") => rules.push((name, text(&path, bytes)?)),
            Some("data") => drop(data.insert(name, bytes)),
            _ => {}
        }
    }
    if rules.is_empty() {
        return Err(CrsError::NotCrs {
            path: dir.to_owned(),
            message: "there are no rules/*.conf in it".to_owned(),
        });
    }
    let mut setup = None;
    let beside = ["crs-setup.conf", "crs-setup.conf.example"].map(|name| dir.join(name));
    let elsewhere = (dir == Path::new(DEBIAN)).then(|| PathBuf::from(DEBIAN_SETUP));
    for path in beside.into_iter().chain(elsewhere) {
        if path.is_file() {
            setup = Some(text(&path, read(&path, &mut left)?)?);
            break;
        }
    }
    let setup = setup.as_ref().map(|text| Source {
        name: "crs-setup.conf",
        text,
    });
    let sources: Vec<_> = rules.iter().map(|(name, text)| Source { name, text }).collect();
    Crs::parse(setup, &sources, data).map_err(|errors| CrsError::Rules {
        path: dir.to_owned(),
        first: errors.first().map(ToString::to_string).unwrap_or_default(),
        others: errors.len().saturating_sub(1),
    })
}

/// The version of a Core Rule Set, for people.
pub(crate) fn describe(crs: &Crs) -> &str {
    crs.version().unwrap_or("unknown")
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, CrsError> {
    let failed = |source| CrsError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let wanted = path
            .extension()
            .is_some_and(|extension| extension == "conf" || extension == "data");
        if wanted && path.is_file() {
            paths.push(path);
        }
        if paths.len() > MOST_FILES {
            return Err(CrsError::NotCrs {
                path: dir.to_owned(),
                message: format!("it has more than {MOST_FILES} files"),
            });
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path, left: &mut u64) -> Result<Vec<u8>, CrsError> {
    let failed = |source| CrsError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(*left + 1).read_to_end(&mut bytes).map_err(failed)?;
    *left = left.checked_sub(bytes.len() as u64).ok_or_else(|| CrsError::NotCrs {
        path: path.to_owned(),
        message: format!("its files are larger than {MOST_BYTES} bytes"),
    })?;
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, CrsError> {
    String::from_utf8(bytes).map_err(|_| CrsError::NotCrs {
        path: path.to_owned(),
        message: "it is not UTF-8".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str =
        "SecComponentSignature \"OWASP_CRS/9.9.9\"\nSecRule ARGS \"@pmFromFile words.data\" \"id:1,phase:1,deny\"\n";

    fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn rules_with_their_data_files_are_a_rule_set_with_a_version() {
        let dir = dir(&[
            ("rules/a.conf", RULE),
            ("rules/words.data", "one\n"),
            ("rules/README.md", "x"),
        ]);
        let crs = read_crs(dir.path()).unwrap();
        assert_eq!((crs.version(), crs.rules()), (Some("OWASP_CRS/9.9.9"), 1));
        assert!(breakwater_waf::bundle::compile(Some(&crs), &breakwater_waf::bundle::Own::default()).is_ok());
    }

    #[test]
    fn a_directory_without_rules_is_no_rule_set() {
        let dir = dir(&[("crs-setup.conf", "")]);
        let error = read_crs(dir.path()).unwrap_err().to_string();
        assert!(error.contains("holds no Core Rule Set"), "{error}");
        assert!(read_crs(&dir.path().join("rules")).is_err());
    }

    #[test]
    fn a_mistake_is_told_with_file_and_line() {
        let dir = dir(&[("rules/a.conf", "\nSecNonsense On\n")]);
        let error = read_crs(dir.path()).unwrap_err().to_string();
        assert!(error.contains("a.conf:2: "), "{error}");
    }
}
