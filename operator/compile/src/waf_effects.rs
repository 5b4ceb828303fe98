//! Says of exclusions and modes what has no effect, and what has more than was perhaps meant: rules that are not there,
//! targets that none of the rules looks at, and rules without which nothing is refused.
//!
//! The Core Rule Set is nodes', so what is said of it names the version that was looked at. Without one, nothing is said
//! of ids and tags that may be its.

use std::collections::BTreeSet;

use breakwater_crds as crds;
use breakwater_snapshot::unit::RuleSelection;
use breakwater_waf::bundle::{self, Own, REFUSING, SETUP};
use breakwater_waf::catalog::Catalog;
use breakwater_waf::seclang::{DirectiveKind, RuleRange, Target, Variable};

use crate::findings::Findings;
use crate::waf_rules::range;

/// Ids that are the Core Rule Set's, and those of its plugins.
const OF_CRS: [(u32, u32); 2] = [(900_000, 999_999), (9_500_000, 9_999_999)];

/// The rules there are, as far as they are known here.
pub(crate) struct Rules<'a> {
    /// The Core Rule Set; none: it is not known here.
    pub(crate) crs: Option<&'a Catalog>,
    /// Those of the policy.
    pub(crate) own: &'a Catalog,
}

/// Rules that an exclusion, a mode or a directive is about.
struct Chosen {
    ranges: Vec<RuleRange>,
    /// Those of them that there are, as far as that is known.
    of_crs: BTreeSet<u32>,
    of_own: BTreeSet<u32>,
}

/// Looks at `spec.crs.exclusions` and `spec.crs.modes`.
pub(crate) fn check(spec: &crds::Crs, rules: &Rules<'_>, findings: &mut Findings) {
    for (i, exclusion) in spec.exclusions.iter().enumerate() {
        let field = format!("spec.crs.exclusions[{i}]");
        rules.missing(&exclusion.rules, &format!("{field}.rules"), findings);
        let chosen = rules.chosen(ranges(&exclusion.rules));
        let targets: Vec<Option<Target>> = exclusion.targets.iter().map(|text| bundle::target(text).ok()).collect();
        for (j, target) in targets.iter().enumerate() {
            let Some(target) = target else { continue };
            if rules.overlooks(&chosen, target) {
                findings.warning(
                    format!("{field}.targets[{j}]"),
                    format!(
                        "it has no effect: none of these rules{} looks at `{}`",
                        rules.looked_at(),
                        exclusion.targets.get(j).map_or("", String::as_str)
                    ),
                );
            }
        }
        let everything = targets.is_empty();
        // They compare variables of TX: hidden from them, these compare as nothing.
        if everything || targets.iter().flatten().any(|target| target.variable == Variable::Tx) {
            let somewhere = !exclusion.paths.is_empty() || !exclusion.methods.is_empty();
            let place = if somewhere { " where this exclusion holds" } else { "" };
            rules.blocking(&chosen, &field, place, "it excludes", findings);
        }
        if everything && let Some(id) = rules.first_of(&chosen, SETUP) {
            findings.warning(
                &field,
                format!(
                    "it excludes rule {id}, which sets up what the others score and compare with: leave rules 901000 to 901999 alone"
                ),
            );
        }
    }
    for (i, mode) in spec.modes.iter().enumerate() {
        let field = format!("spec.crs.modes[{i}]");
        rules.missing(&mode.rules, &format!("{field}.rules"), findings);
        rules.blocking(
            &rules.chosen(ranges(&mode.rules)),
            &field,
            "",
            "it lets report only",
            findings,
        );
    }
}

/// Looks at what own directives remove from a Core Rule Set that is not known here. Of one that is, [`crate::waf_link`] says
/// more.
pub(crate) fn removals(own: &Own, rules: &Rules<'_>, findings: &mut Findings) {
    for directive in own.changes() {
        // Tags and messages are patterns there.
        if let DirectiveKind::Remove(ids @ RuleRange::Ids(_)) = &directive.value {
            let place = directive.position.to_string();
            let chosen = rules.chosen(vec![ids.clone()]);
            rules.blocking(&chosen, &place, "", "it removes", findings);
        }
    }
}

impl Rules<'_> {
    /// Warns of ids, ranges and tags that no rule has. Groups have what a version of the Core Rule Set has of them.
    fn missing(&self, spec: &crds::RuleSelector, field: &str, findings: &mut Findings) {
        for (i, id) in spec.ids.iter().enumerate() {
            if self.lacks(&RuleRange::Ids(vec![(*id, *id)])) {
                findings.warning(
                    format!("{field}.ids[{i}]"),
                    format!("no rule{} has the id {id}: it has no effect", self.looked_at()),
                );
            }
        }
        for (i, text) in spec.ranges.iter().enumerate() {
            if let Ok(ids) = range(text)
                && self.lacks(&RuleRange::Ids(vec![ids]))
            {
                findings.warning(
                    format!("{field}.ranges[{i}]"),
                    format!("no rule{} has an id in {text}: it has no effect", self.looked_at()),
                );
            }
        }
        for (i, tag) in spec.tags.iter().enumerate() {
            if self.lacks(&RuleRange::Tag(tag.clone())) {
                findings.warning(
                    format!("{field}.tags[{i}]"),
                    format!(
                        "no rule{} has exactly the tag `{tag}`: it has no effect",
                        self.looked_at()
                    ),
                );
            }
        }
    }

    /// Whether it is known that there are no such rules.
    fn lacks(&self, rules: &RuleRange) -> bool {
        let may_be_of_crs = || match rules {
            RuleRange::Ids(ids) => ids
                .iter()
                .any(|(low, high)| OF_CRS.iter().any(|(from, to)| low <= to && from <= high)),
            RuleRange::Tag(_) | RuleRange::Msg(_) => true,
        };
        !self.own.has(rules)
            && match self.crs {
                Some(crs) => !crs.has(rules),
                None => !may_be_of_crs(),
            }
    }

    /// What is known of a choice.
    fn chosen(&self, ranges: Vec<RuleRange>) -> Chosen {
        let ids = |catalog: Option<&Catalog>| -> BTreeSet<u32> {
            let each = ranges
                .iter()
                .flat_map(|rules| catalog.map(|catalog| catalog.ids(rules)));
            each.flatten().collect()
        };
        Chosen {
            of_crs: ids(self.crs),
            of_own: ids(Some(self.own)),
            ranges,
        }
    }

    /// Whether it is known that none of these rules, of which there are some, looks at a target.
    fn overlooks(&self, chosen: &Chosen, target: &Target) -> bool {
        self.crs.is_some_and(|crs| {
            let some = !(chosen.of_crs.is_empty() && chosen.of_own.is_empty());
            some && !crs.looks_at(&chosen.of_crs, target) && !self.own.looks_at(&chosen.of_own, target)
        })
    }

    /// Warns where refusals stop.
    fn blocking(&self, chosen: &Chosen, field: &str, place: &str, does: &str, findings: &mut Findings) {
        for (id, stops) in REFUSING {
            if self.first_of(chosen, (id, id)).is_some() {
                findings.warning(
                    field,
                    format!("{does} rule {id}, which refuses for what the others found: {stops}{place}"),
                );
            }
        }
    }

    /// The first rule with an id in `within` that is chosen; by its tags where they are known.
    fn first_of(&self, chosen: &Chosen, within: (u32, u32)) -> Option<u32> {
        let (low, high) = within;
        if self.crs.is_some() {
            return chosen.of_crs.range(low..=high).next().copied();
        }
        let ranges = chosen.ranges.iter().filter_map(|rules| match rules {
            RuleRange::Ids(ids) => Some(ids),
            RuleRange::Tag(_) | RuleRange::Msg(_) => None,
        });
        // A single id of these, or a range with all of them.
        let first = ranges.flatten().filter_map(|(from, to)| {
            let one = from == to && (low..=high).contains(from);
            let all = *from <= low && high <= *to;
            (one || all).then_some(*from.max(&low))
        });
        first.min()
    }

    /// For messages: of which rule set this is said.
    fn looked_at(&self) -> String {
        match self.crs {
            Some(crs) => format!(
                " of {} or of the policy",
                crs.version().unwrap_or("the Core Rule Set here")
            ),
            None => String::new(),
        }
    }
}

/// What a selector selects.
fn ranges(spec: &crds::RuleSelector) -> Vec<RuleRange> {
    // What is wrong in it was told.
    let selected = crate::waf_rules::selection(spec, "", &mut Findings::default());
    let selected = selected.into_iter().map(|selected| match selected {
        RuleSelection::Ids(ids) => RuleRange::Ids(ids),
        RuleSelection::Tag(tag) => RuleRange::Tag(tag),
    });
    selected.collect()
}
