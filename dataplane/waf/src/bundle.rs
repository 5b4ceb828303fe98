//! Puts a rule set together from its sources: settings of ours, the Core Rule Set, SecLang of a policy's own.
//!
//! The order is fixed: our settings, the Core Rule Set's setup, own rules, the Core Rule Set, and at the end those own
//! directives that are about rules before them (`SecRuleRemove…`, `SecRuleUpdate…`). So own rules run before the Core Rule
//! Set's of the same phase and can prepare it (`ctl`), score with it, or be evaluated by it, and whatever is removed is
//! there to be removed.
//!
//! Invariant: no source turns rules or the reading of bodies off, or all of it into detection; a policy's fields and `ctl`
//! of single rules do.
//!
//! Left to the caller: reading files. Left to [`review`]: to say what sets nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::{self, CompileError, Parts, RuleSet};
use crate::review::{self, Openings, Part};
use crate::seclang::{self, Action, Directive, DirectiveKind, ParseError, Position, Setting, Target};
use crate::told::{Remark, Told};

mod beside;

pub use beside::{REFUSING, SETUP};

/// What ModSecurity's recommended configuration has, without what a host decides: which parser a body goes through, and
/// that a body which is not what its type says is refused, and that bounds of the engine which were reached are told. A
/// policy's own rule with one of these ids takes its place.
///
/// There, rule 200003 refuses whatever sets MULTIPART_STRICT_ERROR, a boundary in quotes too. RFC 2046 section 5.1.1 has
/// them, and clients send them; here it refuses what sets anything else, and says what. (Empty lines before and after the
/// parts set nothing: `body::multipart`.)
const BASE: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\+|/)|text/)xml" "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/[a-z0-9.-]+[+]json" "id:200006,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body',logdata:'%{REQBODY_ERROR_MSG}',severity:'CRITICAL'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:200003,phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation',severity:'CRITICAL',logdata:'%{tx.strict_error_flags}',chain"
  SecRule MULTIPART_BOUNDARY_WHITESPACE|MULTIPART_DATA_AFTER|MULTIPART_DATA_BEFORE|MULTIPART_FILE_LIMIT_EXCEEDED|MULTIPART_HEADER_FOLDING|MULTIPART_INVALID_HEADER_FOLDING|MULTIPART_INVALID_PART|MULTIPART_INVALID_QUOTING|MULTIPART_LF_LINE|MULTIPART_MISSING_SEMICOLON "!@eq 0" "t:none,setvar:'tx.strict_error_flags=%{tx.strict_error_flags} %{MATCHED_VAR_NAME}'"
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// All its directives.
    pub(crate) fn directives(&self) -> impl Iterator<Item = &Directive> {
        self.setup.iter().chain(&self.rules)
    }

    /// The collections that it opens.
    pub(crate) fn openings(&self) -> Openings {
        let mut openings = Openings::default();
        openings.add(&self.setup, Part::Setup);
        openings.add(&self.rules, Part::Crs);
        openings
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
        match Self::read(sources) {
            (own, errors) if errors.is_empty() => Ok(own),
            (_, errors) => Err(errors),
        }
    }

    /// As [`Own::parse`], and what is sound beside the mistakes: for who wants to tell what else is wrong.
    #[must_use]
    pub fn read(sources: &[Source<'_>]) -> (Self, Vec<ParseError>) {
        let (directives, errors) = read_all(sources);
        let (changes, rules) = directives.into_iter().partition(changes_others);
        (Self { rules, changes }, errors)
    }

    /// Its rules' directives, those left out that change others.
    #[must_use]
    pub fn rules(&self) -> &[Directive] {
        &self.rules
    }

    /// The directives that change rules before them.
    #[must_use]
    pub fn changes(&self) -> &[Directive] {
        &self.changes
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

impl Remark for Mistake {
    fn position(&self) -> &Position {
        &self.position
    }

    fn new(position: Position, message: String) -> Self {
        Self { position, message }
    }
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
    /// Settings in files of the Core Rule Set that set nothing, and why.
    pub set_aside: Vec<Mistake>,
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
    compile_beside(crs, own, &mut Parts::default())
}

/// As [`compile`], sharing what other rule sets hold of `parts`.
///
/// # Errors
/// As above.
pub fn compile_beside(crs: Option<&Crs>, own: &Own, parts: &mut Parts) -> Result<Compiled, Vec<Mistake>> {
    let directives = directives(crs, own)?;
    let is_of_crs = |position: &Position| crs.is_some_and(|crs| crs.sources.contains(&*position.source));
    let read = |name: &str, position: &Position| read(crs.filter(|_| is_of_crs(position)), name);
    let rules = RuleSet::compile_whole(&directives, &read, &is_of_crs, parts).map_err(mistakes)?;
    let left_out = rules.left_out().iter().cloned().map(Mistake::from).collect();
    let lookups = rules.lookups().iter().cloned().map(Mistake::from);
    let (of_crs, of_own) = lookups.partition(|mistake| is_of_crs(&mistake.position));
    let lookups = Lookups {
        crs: of_crs,
        own: of_own,
    };
    let set_aside = crs.map_or_else(Vec::new, |crs| {
        let packaged = crs.setup.iter().chain(&crs.rules);
        let settings = packaged.filter(|directive| matches!(directive.value, DirectiveKind::Setting(_)));
        let aside: Vec<Directive> = settings.cloned().collect();
        let review::Review { errors, warnings } = review::review(&aside, None);
        errors.into_iter().chain(warnings).collect()
    });
    Ok(Compiled {
        rules,
        left_out,
        set_aside,
        lookups,
    })
}

/// A data file: the Core Rule Set has some, a policy none.
fn read(crs: Option<&Crs>, name: &str) -> Result<Vec<u8>, String> {
    let found = crs.and_then(|crs| crs.data.get(name));
    found.cloned().ok_or_else(|| match crs {
        Some(_) => format!("there is no data file `{name}` beside the rules"),
        None => format!("`{name}` cannot be read: a policy has no files; write the values into the rule"),
    })
}

/// What is to be said of own rules beside the Core Rule Set: what [`compile`] would say of them, without compiling their
/// patterns, and what they do to the Core Rule Set. To say what is wrong with their patterns is left to
/// [`compile`], without the Core Rule Set.
///
/// # Errors
/// Every mistake, in order.
pub fn link(crs: &Crs, own: &Own) -> Result<Vec<Mistake>, Vec<Mistake>> {
    let directives = directives(Some(crs), own)?;
    let is_of_crs = |position: &Position| crs.sources.contains(&*position.source);
    let given = |position: &Position| is_of_crs(position) || &*position.source == BASE_NAME;
    let mut effects = beside::Effects::default();
    let warnings = engine::link(
        &directives,
        &|name, position| read(is_of_crs(position).then_some(crs), name),
        &given,
        &beside::matters,
        &mut |effect| effects.add(effect),
    )
    .map_err(mistakes)?;
    let warnings = warnings.into_iter().map(Mistake::from);
    let mut told: Vec<Mistake> = warnings.filter(|warning| !given(&warning.position)).collect();
    told.extend(effects.told());
    Ok(told)
}

/// Own rules with an id that the Core Rule Set has.
fn taken(crs: &Crs, own: &Own) -> Vec<Mistake> {
    let ids: BTreeSet<u32> = crs.directives().filter_map(id_of).collect();
    let mut taken = Told::default();
    for directive in &own.rules {
        if let Some(id) = id_of(directive).filter(|id| ids.contains(id)) {
            taken.push(Mistake {
                position: directive.position.clone(),
                message: format!(
                    "{} has a rule {id}: an id names one rule; give this one an id from 1 to 99999",
                    crs.version().unwrap_or("the Core Rule Set")
                ),
            });
        }
    }
    taken.told()
}

/// Everything in its order.
fn directives(crs: Option<&Crs>, own: &Own) -> Result<Vec<Directive>, Vec<Mistake>> {
    let taken = crs.map_or_else(Vec::new, |crs| taken(crs, own));
    if !taken.is_empty() {
        return Err(taken);
    }
    let ids: BTreeSet<u32> = own.rules.iter().filter_map(id_of).collect();
    let base = base().map_err(mistakes)?;
    let base = base
        .into_iter()
        .filter(|directive| id_of(directive).is_none_or(|id| !ids.contains(&id)));
    let mut directives: Vec<Directive> = base.collect();
    let setup = crs.iter().flat_map(|crs| &crs.setup);
    let rules = crs.iter().flat_map(|crs| &crs.rules);
    let all = setup.chain(&own.rules).chain(rules).chain(&own.changes);
    directives.extend(all.filter(|directive| !is_the_policys(directive)).cloned());
    Ok(directives)
}

/// The directives that every rule set begins with.
pub(crate) fn base() -> Result<Vec<Directive>, Vec<ParseError>> {
    let source = Source {
        name: BASE_NAME,
        text: BASE,
    };
    parse_all(&[source])
}

/// Whether a directive changes rules before it: in a rule set such directives stand at the end.
#[must_use]
pub fn changes_others(directive: &Directive) -> bool {
    matches!(
        directive.value,
        DirectiveKind::Remove(_) | DirectiveKind::UpdateTarget(..) | DirectiveKind::UpdateAction { .. }
    )
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
    let target = Target::parse(text)?;
    engine::check_target(&target)?;
    Ok(target)
}

fn parse_all(sources: &[Source<'_>]) -> Result<Vec<Directive>, Vec<ParseError>> {
    match read_all(sources) {
        (directives, errors) if errors.is_empty() => Ok(directives),
        (_, errors) => Err(errors),
    }
}

fn read_all(sources: &[Source<'_>]) -> (Vec<Directive>, Vec<ParseError>) {
    let (mut directives, mut errors) = (Vec::new(), Vec::new());
    for source in sources {
        let (parsed, found) = seclang::read(source.name, source.text);
        directives.extend(parsed);
        errors.extend(found);
    }
    (directives, errors)
}

/// Whether it is for the policy's fields to say. What their SecLang says of it is judged by [`crate::review`], and sets
/// nothing.
fn is_the_policys(directive: &Directive) -> bool {
    matches!(
        directive.value,
        DirectiveKind::Setting(Setting::RuleEngine(_) | Setting::RequestBodyAccess(_) | Setting::ResponseBodyAccess(_))
    )
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
    use std::sync::Arc;

    use super::*;
    use crate::engine::Transaction;
    use crate::seclang::{Key, Variable};
    use crate::testing::connection;

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
            "ARGS:/(/",
            "ARGS:/(?=q)/",
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

    fn is_refused(crs: Option<&Crs>, own: &str) -> bool {
        let own = Own::parse(&[Source { name: "own", text: own }]).unwrap();
        let rules = Arc::new(compile(crs, &own).unwrap().rules);
        let mut transaction = Transaction::new(rules, Arc::default(), &connection(), false);
        transaction.request_line(b"POST", b"/?debug=1", b"HTTP/1.1");
        transaction.request_header(b"Content-Type", b"application/x-www-form-urlencoded");
        let refused = transaction.run_request_headers().is_some();
        refused || (transaction.wants_request_body() && transaction.run_request_body(b"debug=2", false).is_some())
    }

    #[test]
    fn no_setting_turns_a_policys_rules_or_their_sight_of_bodies_off() {
        let head = "SecRule ARGS:debug \"@streq 1\" \"id:1000,phase:1,deny\"";
        let body = "SecRule ARGS_POST:debug \"@streq 2\" \"id:1000,phase:2,deny\"";
        for setting in [
            "SecRuleEngine Off",
            "SecRuleEngine DetectionOnly",
            "SecRequestBodyAccess Off",
        ] {
            for rule in [head, body] {
                assert!(is_refused(None, &format!("{setting}\n{rule}")), "{setting} {rule}");
                let source = Source {
                    name: "crs-setup.conf",
                    text: setting,
                };
                let crs = Crs::parse(Some(source), &[], BTreeMap::new()).unwrap();
                assert!(is_refused(Some(&crs), rule), "{setting} {rule}");
                let told = compile(Some(&crs), &Own::default()).unwrap().set_aside;
                assert!(
                    told.len() == 1 && told[0].to_string().starts_with("crs-setup.conf:1: Sec"),
                    "{told:?}"
                );
            }
        }
        let off = "SecAction \"id:999,phase:1,pass,ctl:ruleEngine=Off\"";
        assert!(
            !is_refused(None, &format!("{off}\n{head}")),
            "a rule may, for its request"
        );
    }

    #[test]
    fn own_rules_that_cannot_be_run_are_told_beside_other_mistakes() {
        let text = "SecRule ARGS \"@rx (?=x)\" \"id:1,phase:1,deny\"\nSecRule ARGS \"@rx (x\" \"id:2,phase:1,deny\"\nSecAction \"id:2,phase:1,pass\"";
        let mistakes = compile(None, &Own::parse(&[Source { name: "own", text }]).unwrap()).unwrap_err();
        let mut lines: Vec<u32> = mistakes.iter().map(|mistake| mistake.position.line).collect();
        lines.sort_unstable();
        assert_eq!(lines, [1, 2, 3], "{mistakes:?}");
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
