//! Which collections are open where: `initcol` and its like open those that are kept, `@geoLookup` fills GEO.
//!
//! Invariant: what may be open counts as open. Left to [`super::never`]: to say what looks at one that is not.

use crate::catalog::Catalog;
use crate::seclang::{Action, Directive, DirectiveKind, Key, Located, OperatorKind, Phase, Rule, SetvarOp, Variable};

/// What has the Core Rule Set open its collections from version 4 on.
const DEFAULT_COLLECTIONS: &str = "enable_default_collections";

/// What runs with the directives under review.
#[derive(Clone, Copy, Debug)]
pub enum Beside<'a> {
    /// Nothing that opens a collection.
    Alone,
    /// Rules that may open anything, such as those of a file that could not be read.
    Unread,
    /// A Core Rule Set that is not known here.
    SomeCrs,
    /// This Core Rule Set.
    Crs(&'a Catalog),
}

/// The parts of a rule set, in the order in which rules of one phase run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The Core Rule Set's setup.
    Setup,
    /// The rules under review.
    Own,
    /// The Core Rule Set.
    Crs,
}

/// Where a link stands in the order in which links run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) phase: Phase,
    pub(crate) part: Part,
    /// The rule's number among the directives of its part.
    pub(crate) rule: usize,
    /// The link's number in its chain.
    pub(crate) link: usize,
}

/// A collection, and where it is opened first.
type First = (Variable, Spot);

/// What a rule set opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Openings {
    always: Vec<First>,
    /// By rules that ask for [`DEFAULT_COLLECTIONS`].
    if_asked: Vec<First>,
    /// Something sets that.
    asked: bool,
}

impl Openings {
    /// Adds what directives of a part open.
    pub(crate) fn add(&mut self, directives: &[Directive], part: Part) {
        for (number, directive) in directives.iter().enumerate() {
            match &directive.value {
                DirectiveKind::Rule(rule) => self.add_rule(rule, part, number),
                DirectiveKind::DefaultAction(phase, actions) => {
                    let spot = Spot {
                        phase: *phase,
                        part,
                        rule: number,
                        link: 0,
                    };
                    self.add_actions(actions, spot, false);
                }
                _ => {}
            }
        }
    }

    fn add_rule(&mut self, starter: &Rule, part: Part, number: usize) {
        let mut spot = Spot {
            phase: super::never::phase(starter),
            part,
            rule: number,
            link: 0,
        };
        let mut asks = false;
        let mut next = Some(starter);
        while let Some(rule) = next {
            asks |= rule.targets.iter().any(|target| {
                let name = match &target.key {
                    Some(Key::Name(name)) => name.as_str(),
                    _ => "",
                };
                target.variable == Variable::Tx && name.eq_ignore_ascii_case(DEFAULT_COLLECTIONS)
            });
            if rule.operator.kind == OperatorKind::GeoLookup {
                self.open(Variable::Geo, spot, asks);
            }
            self.add_actions(&rule.actions, spot, asks);
            spot.link += 1;
            next = rule.next.as_deref().map(|next| &next.value);
        }
    }

    fn add_actions(&mut self, actions: &[Located<Action>], spot: Spot, asks: bool) {
        for action in actions {
            match &action.value {
                Action::Initcol(variable, _) | Action::SetCollection(variable, _) => self.open(*variable, spot, asks),
                Action::Setvar(setvar) if setvar.collection == Variable::Tx && setvar.op != SetvarOp::Unset => {
                    let name = setvar.name.literal();
                    self.asked |= name.is_none_or(|name| name.eq_ignore_ascii_case(DEFAULT_COLLECTIONS));
                }
                _ => {}
            }
        }
    }

    fn open(&mut self, variable: Variable, spot: Spot, asks: bool) {
        let list = if asks { &mut self.if_asked } else { &mut self.always };
        earlier(list, variable, spot);
    }
}

/// Where each collection is opened first, for the directives under review.
#[derive(Debug)]
pub(super) struct Opened(Vec<First>);

impl Opened {
    pub(super) fn new(directives: &[Directive], beside: Beside<'_>) -> Self {
        let mut openings = Openings::default();
        openings.add(directives, Part::Own);
        let mut first = std::mem::take(&mut openings.always);
        let mut asked = openings.asked;
        let mut if_asked = openings.if_asked;
        match beside {
            Beside::Alone => {}
            Beside::Unread => {
                let all = Variable::ALL.iter().filter(|variable| opener(**variable).is_some());
                all.for_each(|variable| earlier(&mut first, *variable, first_of(Part::Setup)));
            }
            Beside::SomeCrs => {
                for variable in [Variable::Ip, Variable::Global] {
                    earlier(&mut first, variable, first_of(Part::Setup));
                }
                earlier(&mut first, Variable::Geo, first_of(Part::Crs));
            }
            Beside::Crs(catalog) => {
                let crs = catalog.openings();
                asked |= crs.asked;
                for (variable, spot) in &crs.always {
                    earlier(&mut first, *variable, *spot);
                }
                if_asked.extend(&crs.if_asked);
            }
        }
        for (variable, spot) in if_asked.into_iter().filter(|_| asked) {
            earlier(&mut first, variable, spot);
        }
        Self(first)
    }

    /// Whether a collection may have values when the targets of a link are read.
    pub(super) fn before(&self, variable: Variable, spot: Spot) -> bool {
        self.0
            .iter()
            .any(|(opened, first)| *opened == variable && *first < spot)
    }

    /// Whether a collection may take values from the actions of a rule, which may open it itself.
    pub(super) fn within(&self, variable: Variable, spot: Spot) -> bool {
        let end = Spot {
            link: usize::MAX,
            ..spot
        };
        self.before(variable, end)
    }
}

/// The first link of a part.
const fn first_of(part: Part) -> Spot {
    Spot {
        phase: Phase::RequestHeaders,
        part,
        rule: 0,
        link: 0,
    }
}

fn earlier(list: &mut Vec<First>, variable: Variable, spot: Spot) {
    match list.iter_mut().find(|(known, _)| *known == variable) {
        Some((_, first)) => *first = (*first).min(spot),
        None => list.push((variable, spot)),
    }
}

/// What opens a collection; none for variables that need no opening.
pub(super) const fn opener(variable: Variable) -> Option<&'static str> {
    match variable {
        Variable::Ip => Some("initcol:ip=%{REMOTE_ADDR}"),
        Variable::Global => Some("initcol:global=global"),
        Variable::Resource => Some("initcol:resource=%{REQUEST_FILENAME}"),
        Variable::Session => Some("setsid:%{REQUEST_COOKIES.session}"),
        Variable::User => Some("setuid:%{REQUEST_HEADERS.Authorization}"),
        Variable::Geo => Some("REMOTE_ADDR \"@geoLookup\""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::bundle::{Crs, Own, Source};
    use crate::review::review_beside;

    fn said(text: &str, beside: Beside<'_>) -> Vec<String> {
        let own = Own::parse(&[Source { name: "own", text }]).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let told = review_beside(own.rules(), None, beside);
        assert!(told.errors.is_empty());
        told.warnings.iter().map(ToString::to_string).collect()
    }

    fn crs(setup: &str, rules: &str) -> Catalog {
        let source = |name, text| Source { name, text };
        let setup = Some(source("setup", setup)).filter(|setup| !setup.text.is_empty());
        Catalog::of_crs(Arc::new(
            Crs::parse(setup, &[source("crs", rules)], BTreeMap::new()).unwrap(),
        ))
    }

    #[test]
    fn what_looks_at_a_collection_that_nothing_opens_is_told_with_its_line_and_what_opens_it() {
        for (rule, part) in [
            (
                "SecRule IP:x \"@gt 5\" \"id:7,phase:1,deny\"",
                "own:2: rule 7 never matches: nothing opens IP before it (initcol:ip=%{REMOTE_ADDR})",
            ),
            (
                "SecRule SESSION:x \"@gt 5\" \"id:7,phase:2,deny\"",
                "before it (setsid:",
            ),
            ("SecRule USER \"@rx x\" \"id:7,phase:2,deny\"", "before it (setuid:"),
            (
                "SecRule GLOBAL:x \"@eq 0\" \"id:7,phase:2,deny\"",
                "nothing opens GLOBAL",
            ),
            (
                "SecRule RESOURCE:x \"!@rx x\" \"id:7,phase:2,deny\"",
                "nothing opens RESOURCE",
            ),
            ("SecRule &IP:x \"@gt 0\" \"id:7,phase:2,deny\"", "&IP is 0"),
            (
                "SecRule GEO:COUNTRY_CODE \"@streq DE\" \"id:7,phase:1,deny\"",
                "nothing fills GEO before it (REMOTE_ADDR \"@geoLookup\")",
            ),
            (
                "SecAction \"id:7,phase:1,pass,setvar:ip.x=+1\"",
                "own:2: setvar has no effect: nothing opens IP before rule 7, or in it (initcol:ip=",
            ),
            (
                "SecAction \"id:7,phase:1,pass,expirevar:user.x=60\"",
                "expirevar has no effect",
            ),
        ] {
            let told = said(&format!("\n{rule}"), Beside::Alone);
            assert!(told.len() == 1 && told[0].contains(part), "{rule}: {told:?}");
        }
    }

    #[test]
    fn what_looks_at_a_collection_that_a_rule_before_opens_is_not_told() {
        for text in [
            "SecAction \"id:6,phase:1,pass,initcol:ip=x\"\nSecRule IP:x \"@gt 5\" \"id:7,phase:1,deny\"",
            "SecRule IP:x \"@gt 5\" \"id:7,phase:2,deny\"\nSecAction \"id:6,phase:1,pass,initcol:ip=x\"",
            "SecAction \"id:6,phase:1,pass,setvar:ip.x=+1,initcol:ip=x\"",
            "SecAction \"id:6,phase:1,pass,setsid:x,setvar:session.x=+1,expirevar:session.x=60\"",
            "SecAction \"id:6,phase:1,pass,setrsc:x\"\nSecRule RESOURCE:x 1 \"id:7,phase:1,deny\"",
            "SecRule REMOTE_ADDR \"@geoLookup\" \"id:7,phase:1,deny,chain\"\nSecRule GEO:COUNTRY_CODE \"@streq DE\"",
            "SecRule &IP:x \"@eq 0\" \"id:7,phase:1,deny\"",
            "SecRule TX:x 1 \"id:7,phase:1,pass,setvar:tx.y=1\"",
        ] {
            assert_eq!(said(text, Beside::Alone), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_collection_that_is_opened_behind_the_rule_is_told() {
        for text in [
            "SecRule IP:x \"@gt 5\" \"id:7,phase:1,deny\"\nSecAction \"id:6,phase:1,pass,initcol:ip=x\"",
            "SecRule IP:x \"@gt 5\" \"id:7,phase:1,deny,initcol:ip=x\"",
            "SecRule IP:x \"@gt 5\" \"id:7,phase:1,deny\"\nSecAction \"id:6,phase:2,pass,initcol:ip=x\"",
            "SecRule GEO:COUNTRY_CODE \"@streq DE\" \"id:7,phase:1,deny,chain\"\nSecRule REMOTE_ADDR \"@geoLookup\"",
        ] {
            let told = said(text, Beside::Alone);
            assert!(
                told.len() == 1 && told[0].contains("rule 7 never matches"),
                "{text}: {told:?}"
            );
        }
    }

    #[test]
    fn what_the_core_rule_set_opens_counts_from_where_it_does() {
        let three = crs("", "SecAction \"id:901321,phase:1,pass,initcol:ip=x\"");
        let early = "SecRule IP:x \"@gt 5\" \"id:7,phase:1,deny\"";
        let late = "SecRule IP:x \"@gt 5\" \"id:7,phase:2,deny\"";
        let session = "SecRule SESSION:x \"@gt 5\" \"id:7,phase:2,deny\"";
        assert_eq!(said(late, Beside::Crs(&three)).len(), 0);
        // Own rules of a phase run before the Core Rule Set's.
        assert_eq!(said(early, Beside::Crs(&three)).len(), 1);
        assert_eq!(said(session, Beside::Crs(&three)).len(), 1);
        let setup = crs("SecAction \"id:900500,phase:1,pass,initcol:ip=x\"", "");
        assert_eq!(said(early, Beside::Crs(&setup)).len(), 0);
        assert_eq!(said(early, Beside::SomeCrs).len(), 0);
        assert_eq!(said(session, Beside::SomeCrs).len(), 1);
        assert_eq!(said(session, Beside::Unread).len(), 0);
    }

    #[test]
    fn the_collections_of_version_4_count_where_something_asks_for_them() {
        let rules = "SecRule &TX:ENABLE_DEFAULT_COLLECTIONS \"@eq 1\" \"id:901320,phase:1,pass,chain\"\n\
            SecRule TX:ua_hash \"@unconditionalMatch\" \"initcol:ip=x\"";
        let look = "SecRule IP:x \"@gt 5\" \"id:7,phase:2,deny\"";
        let ask = "SecAction \"id:900130,phase:1,pass,setvar:tx.enable_default_collections=1\"\n";
        assert_eq!(said(look, Beside::Crs(&crs("", rules))).len(), 1);
        assert_eq!(said(look, Beside::Crs(&crs(ask, rules))).len(), 0);
        assert_eq!(said(&format!("{ask}{look}"), Beside::Crs(&crs("", rules))).len(), 0);
    }
}
