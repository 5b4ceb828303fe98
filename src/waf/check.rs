//! `breakwater waf check`: parses and compiles files of SecLang as nodes do, and says what has no effect.
//!
//! All that can be said is said at once: what one stage finds wrong does not hide what the next would. Left out beside
//! mistakes of reading is only what they may have caused: references that lead nowhere.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::string::FromUtf8Error;

use breakwater_waf::bundle::{Mistake, changes_others};
use breakwater_waf::engine::{Parts, RuleSet};
use breakwater_waf::review::{Beside, Review, review_beside};
use breakwater_waf::seclang::{self, Directive, DirectiveKind, Position};
use clap::Args;
use serde::Serialize;

use crate::check::{Format, count, to_json};
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
    let (files, mut unread) = list(&args.files);
    let (found, read) = find(&files, &mut unread);
    let errors = found.iter().filter(|found| found.severity == "error").count();
    match args.output {
        Format::Json => exit::print(&to_json(&found)?)?,
        Format::Text => {
            found.iter().for_each(exit::complain);
            let warnings = found.len() - errors;
            if read.files > 0 {
                exit::print(&read.summary(errors, warnings))?;
            }
        }
    }
    if !unread.is_empty() {
        return Err(Failure::environment(
            unread.join("; "),
            "name files of SecLang, or directories with *.conf files",
        ));
    }
    Ok(match errors {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::INPUT),
    })
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    files: usize,
    /// Rules, each chain counted once.
    rules: usize,
    /// What they call themselves (`SecComponentSignature`).
    names: Vec<String>,
}

impl Read {
    fn of(files: usize, directives: &[Directive]) -> Self {
        let mut this = Self {
            files,
            ..Self::default()
        };
        for directive in directives {
            match &directive.value {
                DirectiveKind::Rule(_) => this.rules += 1,
                DirectiveKind::ComponentSignature(name) if !this.names.contains(name) => this.names.push(name.clone()),
                _ => {}
            }
        }
        this
    }

    fn summary(&self, errors: usize, warnings: usize) -> String {
        let names = match self.names.as_slice() {
            [] => String::new(),
            names => format!(" ({})", names.join(", ")),
        };
        format!(
            "{} in {}{names}: {}, {}\n",
            count(self.rules, "rule"),
            count(self.files, "file"),
            count(errors, "error"),
            count(warnings, "warning")
        )
    }
}

/// What there is to say of files that are one configuration, in the order of files and lines, and what was read. `unread`:
/// what could not be.
fn find(files: &[PathBuf], unread: &mut Vec<String>) -> (Vec<Found>, Read) {
    let (mut errors, mut warnings): (Vec<Mistake>, Vec<Mistake>) = (Vec::new(), Vec::new());
    let mut directives = Vec::new();
    let mut beside: HashMap<String, (usize, PathBuf)> = HashMap::new();
    let mut count = 0;
    for (place, file) in files.iter().enumerate() {
        let bytes = match read(file) {
            Ok(bytes) => bytes,
            Err(why) => {
                unread.push(why);
                continue;
            }
        };
        count += 1;
        let name = file.display().to_string();
        let dir = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        match String::from_utf8(bytes) {
            Ok(text) => {
                let (parsed, mistakes) = seclang::read(&name, &text);
                directives.extend(parsed);
                errors.extend(mistakes.into_iter().map(Mistake::from));
            }
            Err(error) => errors.push(not_text(&name, &error)),
        }
        beside.entry(name).or_insert((place, dir));
    }
    // As in a policy.
    directives.sort_by_key(changes_others);
    let whole = errors.is_empty() && unread.is_empty();
    let others = if whole { Beside::Alone } else { Beside::Unread };
    let reviewed: Review = review_beside(&directives, None, others);
    errors.extend(reviewed.errors);
    warnings.extend(reviewed.warnings);
    let data = |name: &str, position: &Position| {
        let dir = beside
            .get(&*position.source)
            .map_or_else(|| Path::new(""), |(_, dir)| dir);
        bounded(&dir.join(name), LARGEST).map_err(|error| format!("`{name}` cannot be read: {error}"))
    };
    match RuleSet::compile_whole(&directives, &data, &|_| false, &mut Parts::default()) {
        Ok(set) => {
            for mut lookup in set.lookups().iter().cloned() {
                lookup
                    .message
                    .push_str(": nodes need a database of countries for it (--geo-db)");
                warnings.push(lookup.into());
            }
            if whole {
                warnings.extend(set.warnings().iter().cloned().map(Mistake::from));
            }
        }
        Err(mistakes) => errors.extend(mistakes.into_iter().map(Mistake::from)),
    }
    let errors = errors.into_iter().map(|error| Found::new("error", error));
    let warnings = warnings.into_iter().map(|warning| Found::new("warning", warning));
    let mut found: Vec<Found> = errors.chain(warnings).collect();
    found.sort_by_key(|found| (beside.get(&found.file).map(|(place, _)| *place), found.line));
    (found, Read::of(count, &directives))
}

/// That a file is no text, with the line of the first byte that is none.
fn not_text(name: &str, error: &FromUtf8Error) -> Mistake {
    let upto = error
        .as_bytes()
        .get(..error.utf8_error().valid_up_to())
        .unwrap_or_default();
    let lines = upto.iter().filter(|byte| **byte == b'\n').count();
    Mistake {
        position: Position {
            source: name.into(),
            line: u32::try_from(lines).unwrap_or(u32::MAX).saturating_add(1),
        },
        message: "the file is not UTF-8 from here on and was not read; save it as UTF-8".to_owned(),
    }
}

/// The files that are meant, and what is wrong with names that mean none.
fn list(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<String>) {
    let (mut files, mut unread) = (Vec::new(), Vec::new());
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        match within(path) {
            Ok(within) if within.is_empty() => unread.push(format!("{} has no *.conf files", path.display())),
            Ok(within) => files.extend(within),
            Err(error) => unread.push(format!("{} cannot be listed: {error}", path.display())),
        }
    }
    (files, unread)
}

/// The *.conf files of a directory, in the order of their names.
fn within(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?.path();
        if entry.extension().is_some_and(|extension| extension == "conf") {
            files.push(entry);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: String| format!("{} cannot be read: {error}", file.display());
    let bytes = bounded(file, LARGEST).map_err(failed)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(failed(format!("it is larger than {LARGEST} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(paths: &[PathBuf]) -> (Vec<Found>, Read) {
        let (files, mut unread) = list(paths);
        let all = find(&files, &mut unread);
        assert_eq!(unread, Vec::<String>::new());
        all
    }

    fn found(files: &[(&str, &str)]) -> (Vec<String>, usize) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let (found, read) = all(&[dir.path().to_owned()]);
        let place = format!("{}/", dir.path().display());
        (
            found
                .iter()
                .map(|found| found.to_string().replace(&place, ""))
                .collect(),
            read.rules,
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
    fn what_one_stage_finds_hides_nothing_of_the_next() {
        let text = "SecRule ARGS \"@rx (\" \"id:1,phase:2,deny\"\n\
            SecRule RESPONSE_BODY x \"id:2,phase:1,deny\"\n\
            SecNonsense On\n\
            SecRule ARGS \"@rx (?=x)\" \"id:3,phase:2,deny\"\n\
            SecAction \"id:4,phase:1,deny,status:200\"\n\
            SecRuleEngine Off\n\
            SecTmpDir /tmp\n\
            SecAction \"id:4,phase:1,pass\"\n\
            SecRuleRemoveById 99\n";
        let (found, rules) = found(&[("a.conf", text)]);
        let parts = [
            "error: `(` at byte 1 of the pattern: unclosed group (a.conf:1)",
            "warning: rule 2 never matches: RESPONSE_BODY is empty before phase 4 (write phase:4) (a.conf:2)",
            "error: there is no directive `SecNonsense` (a.conf:3)",
            "error: rule 3 cannot be run: ",
            "error: status:200 refuses nothing",
            "error: SecRuleEngine Off: ",
            "warning: SecTmpDir has no effect: ",
            "error: rule 4 is already defined at a.conf:5",
        ];
        assert_eq!(found.len(), parts.len(), "{found:#?}");
        for (part, found) in parts.iter().zip(&found) {
            assert!(found.starts_with(part), "{found}");
        }
        assert_eq!(rules, 5);
    }

    #[test]
    fn references_that_lead_nowhere_are_told_when_everything_was_read() {
        let (found, _) = found(&[("a.conf", "SecRuleRemoveById 99\n")]);
        assert!(found.len() == 1 && found[0].starts_with("warning: "), "{found:?}");
    }

    #[test]
    fn what_changes_rules_may_stand_before_them_as_in_a_policy() {
        let rule = "SecRule ARGS \"@rx x\" \"id:1,phase:2,deny\"\n";
        let (found, _) = found(&[("a.conf", "SecRuleRemoveById 1\n"), ("b.conf", rule)]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_file_that_is_no_text_is_told_with_its_line_beside_the_others() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.conf"), b"#\n# caf\xe9\nSecNonsense On\n").unwrap();
        std::fs::write(dir.path().join("b.conf"), "SecNonsense On\n").unwrap();
        let (found, _) = all(&[dir.path().to_owned()]);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("error: the file is not UTF-8") && told[0].ends_with("a.conf:2)"),
            "{told:?}"
        );
        assert!(told[1].ends_with("b.conf:1)"), "{told:?}");
    }

    #[test]
    fn what_cannot_be_read_hides_nothing_of_the_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let own = dir.path().join("a.conf");
        std::fs::write(&own, "SecNonsense On\nSecRuleRemoveById 99\n").unwrap();
        let (files, mut unread) = list(&[dir.path().join("none.conf"), empty.clone(), own.clone()]);
        let (found, read) = find(&files, &mut unread);
        assert_eq!((found.len(), read.files), (1, 1), "{found:?}");
        assert_eq!(unread.len(), 2, "{unread:?}");
        assert_eq!(unread[0], format!("{} has no *.conf files", empty.display()));
        assert!(unread[1].contains("none.conf cannot be read: "), "{unread:?}");
        let args = CheckArgs {
            files: vec![own, empty],
            output: Format::Text,
        };
        assert!(run(&args).is_err());
    }

    #[test]
    fn what_is_not_listed_is_counted_or_said_to_be_unread() {
        let (found, _) = found(&[
            ("a.conf", &"SecTmpDir /tmp\n".repeat(130)),
            ("b.conf", &"SecNonsense On\n".repeat(130)),
        ]);
        assert_eq!(found.len(), 202);
        assert!(
            found[100].starts_with("warning: 30 more are not listed"),
            "{}",
            found[100]
        );
        assert!(
            found[201].starts_with("error: what comes from here on was not read")
                && found[201].ends_with("b.conf:101)"),
            "{}",
            found[201]
        );
    }

    #[test]
    fn one_of_a_thing_is_not_called_several() {
        let one = Read {
            files: 1,
            rules: 1,
            names: Vec::new(),
        };
        assert_eq!(one.summary(1, 1), "1 rule in 1 file: 1 error, 1 warning\n");
        let none = Read {
            files: 2,
            rules: 0,
            names: vec!["mine/1".to_owned()],
        };
        assert_eq!(
            none.summary(0, 3),
            "0 rules in 2 files (mine/1): 0 errors, 3 warnings\n"
        );
    }

    #[test]
    fn an_id_that_stands_twice_is_a_mistake_over_all_files() {
        let rule = "SecRule ARGS \"@rx x\" \"id:1,phase:2,deny\"\n";
        let (found, _) = found(&[("a.conf", rule), ("b.conf", rule)]);
        assert!(found.len() == 1 && found[0].ends_with("(b.conf:1)"), "{found:?}");
    }
}
