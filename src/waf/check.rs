//! `breakwater waf check`: parses and compiles files of SecLang as nodes do.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use breakwater_waf::bundle::Mistake;
use breakwater_waf::engine::RuleSet;
use breakwater_waf::seclang::{self, Position};
use clap::Args;
use serde::Serialize;

use crate::check::{Format, to_json};
use crate::exit::{self, Failure};
use crate::manifests::bounded;

/// Largest file that is read, bytes.
const LARGEST: u64 = 16 << 20;

/// What to check, and how to tell.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Files of SecLang; of a directory its *.conf files, in the order of their names
    #[arg(value_name = "FILES", required = true)]
    files: Vec<PathBuf>,
    /// How to print what was found
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Something to tell.
#[derive(Debug, Serialize)]
struct Found {
    severity: &'static str,
    file: String,
    line: u32,
    message: String,
}

impl Found {
    fn new(severity: &'static str, mistake: Mistake) -> Self {
        Self {
            severity,
            file: mistake.position.source.to_string(),
            line: mistake.position.line,
            message: mistake.message,
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({}:{})", self.severity, self.message, self.file, self.line)
    }
}

pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let files = list(&args.files)?;
    let (found, rules) = find(&files)?;
    let errors = found.iter().filter(|found| found.severity == "error").count();
    match args.output {
        Format::Json => exit::print(&to_json(&found)?)?,
        Format::Text => {
            found.iter().for_each(exit::complain);
            let warnings = found.len() - errors;
            exit::print(&format!(
                "{rules} rules in {} files: {errors} errors, {warnings} warnings\n",
                files.len()
            ))?;
        }
    }
    Ok(match errors {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::INPUT),
    })
}

/// What is wrong with files that are one configuration, and how many rules they have if nothing is.
fn find(files: &[PathBuf]) -> Result<(Vec<Found>, usize), Failure> {
    let mut found = Vec::new();
    let mut directives = Vec::new();
    let mut beside: HashMap<String, PathBuf> = HashMap::new();
    for file in files {
        let name = file.display().to_string();
        let text = String::from_utf8(read(file)?)
            .map_err(|_| Failure::environment(format!("{name} is not UTF-8"), "save it as UTF-8"))?;
        match seclang::parse(&name, &text) {
            Ok(parsed) => directives.extend(parsed),
            Err(errors) => found.extend(errors.into_iter().map(|error| Found::new("error", error.into()))),
        }
        beside.insert(name, file.parent().unwrap_or_else(|| Path::new("")).to_owned());
    }
    if !found.is_empty() {
        return Ok((found, 0));
    }
    let data = |name: &str, position: &Position| {
        let dir = beside.get(&*position.source).cloned().unwrap_or_default();
        bounded(&dir.join(name), LARGEST).map_err(|error| format!("`{name}` cannot be read: {error}"))
    };
    let set = match RuleSet::compile(&directives, &data) {
        Ok(set) => set,
        Err(errors) => {
            found.extend(errors.into_iter().map(|error| Found::new("error", error.into())));
            return Ok((found, 0));
        }
    };
    let left_out = set.left_out().iter().cloned();
    found.extend(left_out.map(|error| Found::new("error", error.into())));
    for mut lookup in set.lookups().iter().cloned() {
        lookup
            .message
            .push_str(": nodes need a database of countries for it (--geo-db)");
        found.push(Found::new("warning", lookup.into()));
    }
    let warnings = set.warnings().iter().cloned();
    found.extend(warnings.map(|warning| Found::new("warning", warning.into())));
    Ok((found, set.rules()))
}

fn list(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| {
            Failure::environment(
                format!("{} cannot be listed: {error}", path.display()),
                "name files or directories of SecLang",
            )
        };
        let mut within = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?.path();
            if entry.extension().is_some_and(|extension| extension == "conf") {
                within.push(entry);
            }
        }
        within.sort();
        files.extend(within);
    }
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: String| {
        Failure::environment(
            format!("{} cannot be read: {error}", file.display()),
            "name files or directories of SecLang",
        )
    };
    let bytes = bounded(file, LARGEST).map_err(failed)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(failed(format!("it is larger than {LARGEST} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> (Vec<String>, usize) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let (found, rules) = find(&list(&[dir.path().to_owned()]).unwrap()).unwrap();
        let place = format!("{}/", dir.path().display());
        (
            found
                .iter()
                .map(|found| found.to_string().replace(&place, ""))
                .collect(),
            rules,
        )
    }

    #[test]
    fn files_of_a_directory_are_one_configuration_with_data_beside_them() {
        let rules = "SecRule ARGS \"@pmFromFile words.data\" \"id:1,phase:2,deny,skipAfter:END\"\n";
        let (found, rules) = found(&[
            ("a.conf", rules),
            ("b.conf", "SecMarker END\n"),
            ("words.data", "bad\n"),
        ]);
        assert_eq!((found, rules), (Vec::new(), 1));
    }

    #[test]
    fn mistakes_are_told_with_file_and_line() {
        let (found, _) = found(&[("a.conf", "\nSecNonsense On\n"), ("b.conf", "SecRuleEngine Perhaps\n")]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].ends_with("(a.conf:2)") && found[1].ends_with("(b.conf:1)"),
            "{found:?}"
        );
    }

    #[test]
    fn an_id_that_stands_twice_is_a_mistake_over_all_files() {
        let rule = "SecRule ARGS \"@rx x\" \"id:1,phase:2,deny\"\n";
        let (found, _) = found(&[("a.conf", rule), ("b.conf", rule)]);
        assert!(found.len() == 1 && found[0].ends_with("(b.conf:1)"), "{found:?}");
    }
}
