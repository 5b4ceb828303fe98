//! Puts a rule set together from its sources: settings of ours, the Core Rule Set, SecLang of a policy's own.
//!
//! The order is fixed: our settings, the Core Rule Set's setup, own rules, the Core Rule Set, and at the end those own
//! directives that are about rules before them (`SecRuleRemove…`, `SecRuleUpdate…`). So own rules run before the Core Rule
//! Set's of the same phase and can prepare it (`ctl`), score with it, or be evaluated by it, and whatever is removed is
//! there to be removed.
//!
//! Left to the caller: reading files.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{CompileError, RuleSet};
use crate::seclang::{self, Action, Directive, DirectiveKind, ParseError, Position, Target};

/// What ModSecurity's recommended configuration has, without what a host decides: which parser a body goes through, and
/// that a body which is not what its type says is refused, and that bounds of the engine which were reached are told. A policy's own rule with one of these ids takes its place.
const BASE: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\+|/)|text/)xml" "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/[a-z0-9.-]+[+]json" "id:200006,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body',logdata:'%{REQBODY_ERROR_MSG}',severity:'CRITICAL'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:200003,phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation',severity:'CRITICAL'"
SecRule MULTIPART_UNMATCHED_BOUNDARY "@eq 1" "id:200004,phase:2,t:none,log,deny,status:400,msg:'Multipart parser detected a possible unmatched boundary',severity:'CRITICAL'"
SecRule TX:/^MSC_/ "!@eq 0" "id:200005,phase:5,t:none,log,pass,msg:'A bound of the rule engine was reached: %{MATCHED_VAR_NAME}',severity:'WARNING'"
"#;

/// What the base configuration is called in messages.
const BASE_NAME: &str = "breakwater";

/// Longest selector of an exclusion, bytes.
const MAX_TARGET: usize = 256;

/// A text of SecLang and what it is called in messages.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// A file, or where else it comes from.
    pub name: &'a str,
    /// Its directives.
    pub text: &'a str,
}

/// The Core Rule Set, parsed.
#[derive(Clone, Debug, Default)]
pub struct Crs {
    setup: Vec<Directive>,
    rules: Vec<Directive>,
    sources: BTreeSet<String>,
    data: BTreeMap<String, Vec<u8>>,
}

impl Crs {
    /// From its setup file, its rule files in order, and its data files by name.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn parse(
        setup: Option<Source<'_>>,
        rules: &[Source<'_>],
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, Vec<ParseError>> {
        Ok(Self {
            setup: parse_all(setup.as_slice())?,
            rules: parse_all(rules)?,
            sources: setup.iter().chain(rules).map(|source| source.name.to_owned()).collect(),
            data,
        })
    }

    /// Its name and version, such as `OWASP_CRS/4.28.0`.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.rules
            .iter()
            .chain(&self.setup)
            .find_map(|directive| match &directive.value {
                DirectiveKind::ComponentSignature(signature) => Some(signature.as_str()),
                _ => None,
            })
    }

    /// How many rules it has.
    #[must_use]
    pub fn rules(&self) -> usize {
        let rules = self.rules.iter();
        rules
            .filter(|directive| matches!(directive.value, DirectiveKind::Rule(_)))
            .count()
    }
}

/// Own SecLang, parsed.
#[derive(Clone, Debug, Default)]
pub struct Own {
    rules: Vec<Directive>,
    /// About rules before them.
    changes: Vec<Directive>,
}

impl Own {
    /// Parses sources, in order.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn parse(sources: &[Source<'_>]) -> Result<Self, Vec<ParseError>> {
        let (changes, rules) = parse_all(sources)?.into_iter().partition(|directive| {
            matches!(
                directive.value,
                DirectiveKind::Remove(_) | DirectiveKind::UpdateTarget(..) | DirectiveKind::UpdateAction { .. }
            )
        });
        Ok(Self { rules, changes })
    }

    /// Its rules' directives, those left out that change others.
    #[must_use]
    pub fn rules(&self) -> &[Directive] {
        &self.rules
    }
}

/// Why there is no rule set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct Mistake {
    /// Where.
    pub position: Position,
    /// What is wrong, and what to do.
    pub message: String,
}

impl From<ParseError> for Mistake {
    fn from(error: ParseError) -> Self {
        Self {
            position: error.position,
            message: error.message,
        }
    }
}

impl From<CompileError> for Mistake {
    fn from(error: CompileError) -> Self {
        Self {
            position: error.position,
            message: error.message,
        }
    }
}

/// A rule set, and what of the Core Rule Set is not in it.
#[derive(Debug)]
pub struct Compiled {
    /// The rules.
    pub rules: RuleSet,
    /// Rules of the Core Rule Set that this engine cannot run, and why. Others' old versions have some.
    pub left_out: Vec<Mistake>,
    /// Rules that ask where an address is, and need someone who knows.
    pub lookups: Lookups,
}

/// Rules with `@geoLookup`.
#[derive(Clone, Debug, Default)]
pub struct Lookups {
    /// Of the Core Rule Set.
    pub crs: Vec<Mistake>,
    /// Own ones.
    pub own: Vec<Mistake>,
}

/// Compiles a rule set. What of the Core Rule Set cannot be run is left out and told; of own rules, everything must be
/// right.
///
/// # Errors
/// Every mistake, in order.
pub fn compile(crs: Option<&Crs>, own: &Own) -> Result<Compiled, Vec<Mistake>> {
    let directives = directives(crs, own)?;
    let is_of_crs = |position: &Position| crs.is_some_and(|crs| crs.sources.contains(&*position.source));
    let read = |name: &str, position: &Position| {
        let of_crs = crs.filter(|_| is_of_crs(position));
        let found = of_crs.and_then(|crs| crs.data.get(name));
        found.cloned().ok_or_else(|| match of_crs {
            Some(_) => format!("there is no data file `{name}` beside the rules"),
            None => format!("`{name}` cannot be read: a policy has no files; write the values into the rule"),
        })
    };
    let rules = RuleSet::compile(&directives, &read).map_err(mistakes)?;
    let split = |found: &[CompileError]| -> (Vec<_>, Vec<_>) {
        let found = found.iter().cloned().map(Mistake::from);
        found.partition(|mistake| is_of_crs(&mistake.position))
    };
    let (left_out, of_own) = split(rules.left_out());
    if of_own.is_empty() {
        let (crs, own) = split(rules.lookups());
        let lookups = Lookups { crs, own };
        Ok(Compiled {
            rules,
            left_out,
            lookups,
        })
    } else {
        Err(of_own)
    }
}

/// Everything in its order.
fn directives(crs: Option<&Crs>, own: &Own) -> Result<Vec<Directive>, Vec<Mistake>> {
    let ids: BTreeSet<u32> = own.rules.iter().filter_map(id_of).collect();
    let source = Source {
        name: BASE_NAME,
        text: BASE,
    };
    let base = parse_all(&[source]).map_err(mistakes)?;
    let base = base
        .into_iter()
        .filter(|directive| id_of(directive).is_none_or(|id| !ids.contains(&id)));
    let mut directives: Vec<Directive> = base.collect();
    directives.extend(crs.iter().flat_map(|crs| &crs.setup).cloned());
    directives.extend(own.rules.iter().cloned());
    directives.extend(crs.iter().flat_map(|crs| &crs.rules).cloned());
    directives.extend(own.changes.iter().cloned());
    Ok(directives)
}

/// Reads a target as an exclusion has it: `ARGS:q`, `REQUEST_COOKIES:/^sess/`, `REQUEST_BODY`.
///
/// # Errors
/// What is wrong with it.
pub fn target(text: &str) -> Result<Target, String> {
    if text.len() > MAX_TARGET {
        return Err(format!(
            "a target of {} bytes is too long: {MAX_TARGET} at most",
            text.len()
        ));
    }
    Target::parse(text)
}

fn parse_all(sources: &[Source<'_>]) -> Result<Vec<Directive>, Vec<ParseError>> {
    let mut directives = Vec::new();
    let mut errors = Vec::new();
    for source in sources {
        match seclang::parse(source.name, source.text) {
            Ok(parsed) => directives.extend(parsed),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(directives) } else { Err(errors) }
}

fn mistakes(errors: Vec<impl Into<Mistake>>) -> Vec<Mistake> {
    errors.into_iter().map(Into::into).collect()
}

fn id_of(directive: &Directive) -> Option<u32> {
    let DirectiveKind::Rule(rule) = &directive.value else {
        return None;
    };
    rule.actions.iter().find_map(|action| match action.value {
        Action::Id(id) => Some(id),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seclang::{Key, Variable};

    #[test]
    fn a_target_is_a_variable_with_or_without_a_selector() {
        let target = target("ARGS:q").unwrap();
        assert_eq!(target.variable, Variable::Args);
        assert_eq!(target.key, Some(Key::Name("q".to_owned())));
        assert!(!target.exclude && !target.count);
        assert_eq!(super::target("REQUEST_BODY").unwrap().key, None);
    }

    #[test]
    fn what_is_not_one_target_is_refused_with_a_reason() {
        for text in [
            "",
            "!ARGS:q",
            "&ARGS",
            "ARGS:a|ARGS:b",
            "NOPE:q",
            "ARGS q",
            &"A".repeat(300),
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_base_configuration_compiles_alone() {
        let rules = compile(None, &Own::default()).unwrap();
        assert_eq!(rules.rules.rules(), 7);
    }

    #[test]
    fn an_own_rule_takes_the_place_of_a_base_rule_of_the_same_id() {
        let source = Source {
            name: "own",
            text: "SecRule ARGS:a \"@streq 1\" \"id:200002,phase:1,deny\"",
        };
        let rules = compile(None, &Own::parse(&[source]).unwrap()).unwrap();
        assert_eq!(rules.rules.rules(), 7);
    }

    #[test]
    fn what_of_the_core_rule_set_cannot_be_run_is_left_out_and_told_and_of_own_rules_nothing_is() {
        let text = "SecRule ARGS \"@rx good\" \"id:1,phase:1,deny\"\n\nSecRule ARGS \\\n  \"@rx (?=x)\" \\\n  \"id:2,phase:1,deny\"\nSecRule ARGS \"@rx fine\" \"id:3,phase:1,deny\"\n";
        let source = Source { name: "crs.conf", text };
        let crs = Crs::parse(None, &[source], BTreeMap::new()).unwrap();
        let compiled = compile(Some(&crs), &Own::default()).unwrap();
        assert_eq!((compiled.rules.rules(), compiled.left_out.len()), (10, 1));
        assert!(compile(None, &Own::parse(&[source]).unwrap()).is_err());
    }

    #[test]
    fn own_rules_have_no_files_to_read() {
        let source = Source {
            name: "own",
            text: "SecRule ARGS \"@pmFromFile /etc/passwd\" \"id:1,phase:1,deny\"",
        };
        let errors = compile(None, &Own::parse(&[source]).unwrap()).unwrap_err();
        assert!(errors[0].to_string().starts_with("own:1: "), "{errors:?}");
    }
}
