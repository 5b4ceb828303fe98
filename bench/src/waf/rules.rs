//! The rules of a run: the same files for both servers.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Serialize;

/// Where Debian's package `modsecurity-crs` has its rules.
const DEBIAN: &str = "/usr/share/modsecurity-crs";
/// Where it has its settings.
const DEBIAN_SETUP: &str = "/etc/modsecurity/crs/crs-setup.conf";
/// Beside the repository, from its root.
const BESIDE: &str = "../shared/crs";

/// An OWASP Core Rule Set on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Its version, as its files say.
    pub version: String,
    /// Whose choice it was.
    pub from: &'static str,
    /// The directory with `rules`.
    #[serde(skip)]
    pub directory: PathBuf,
    /// Its settings.
    #[serde(skip)]
    pub setup: PathBuf,
}

impl Rules {
    /// The rules of `named`, else of the variable `BREAKWATER_CRS`, else those beside the repository, else Debian's.
    /// A directory that was named and has no rules is nothing; another one does not take its place.
    #[must_use]
    pub fn find(named: Option<&Path>) -> Option<Self> {
        if let Some(directory) = named {
            return Self::at(directory, "--crs");
        }
        if let Some(directory) = env::var_os("BREAKWATER_CRS") {
            return Self::at(Path::new(&directory), "BREAKWATER_CRS");
        }
        Self::at(Path::new(BESIDE), BESIDE).or_else(|| Self::at(Path::new(DEBIAN), "Debian's modsecurity-crs"))
    }

    fn at(directory: &Path, from: &'static str) -> Option<Self> {
        let directory = fs::canonicalize(directory).ok()?;
        let initialization = fs::read_to_string(directory.join("rules/REQUEST-901-INITIALIZATION.conf")).ok()?;
        let candidates = [
            directory.join("crs-setup.conf"),
            directory.join("crs-setup.conf.example"),
            PathBuf::from(DEBIAN_SETUP),
        ];
        Some(Self {
            version: version(&initialization).unwrap_or("unknown").to_owned(),
            from,
            setup: candidates.into_iter().find(|file| file.is_file())?,
            directory,
        })
    }
}

/// The version in a file of rules: `# OWASP CRS ver.4.28.0`.
fn version(text: &str) -> Option<&str> {
    text.lines()
        .find_map(|line| Some(line.strip_prefix('#')?.split_once("ver.")?.1.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_first_lines_say() {
        assert_eq!(version("# ---\n# OWASP CRS ver.4.28.0\n# Copyright\n"), Some("4.28.0"));
        assert_eq!(version("# OWASP ModSecurity Core Rule Set ver.3.3.4\n"), Some("3.3.4"));
        assert_eq!(version("SecAction \"id:1,ver:'x'\"\n"), None);
    }

    #[test]
    fn a_directory_that_was_named_and_has_no_rules_is_not_replaced_by_another() {
        let empty = tempfile::tempdir().expect("a directory");
        assert_eq!(Rules::find(Some(empty.path())), None);
    }

    #[test]
    fn settings_of_a_site_win_over_the_example() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let file = directory.path().join(name);
            fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs::write(file, text).expect("a file");
        };
        write("rules/REQUEST-901-INITIALIZATION.conf", "# OWASP CRS ver.4.0.0\n");
        write("crs-setup.conf.example", "");
        let setup = |rules: Option<Rules>| rules.and_then(|rules| Some(rules.setup.file_name()?.to_owned()));
        let found = Rules::find(Some(directory.path()));
        assert_eq!(found.as_ref().map(|rules| rules.version.as_str()), Some("4.0.0"));
        assert_eq!(setup(found), Some("crs-setup.conf.example".into()));
        write("crs-setup.conf", "");
        assert_eq!(
            setup(Rules::find(Some(directory.path()))),
            Some("crs-setup.conf".into())
        );
    }
}
