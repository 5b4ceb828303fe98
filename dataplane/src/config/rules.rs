//! The rules of a policy: a compiled set that it shares with others, and what it has of its own over it.
//!
//! Invariant: policies with the same text of rules share one compiled set, and it is compiled again only when the text
//! changes. Exclusions are worked out when a policy is built, each by itself: a request takes those that hold for it, and
//! nothing is worked out on its way.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use breakwater_snapshot::Digest;
use breakwater_snapshot::unit;
use breakwater_waf::bundle::{self, Crs, Own, Source};
use breakwater_waf::engine::{Bound, BoundExclusion, Exclusion, Overlay, Parts, RuleSet, Stores};
use breakwater_waf::seclang::RuleRange;
use breakwater_waf::uri::UriSet;
use breakwater_wire::path::normalize;

use super::bodies::BodyLimits;
use super::build::patterns;
use super::place::NO_COUNTRIES;
use crate::geo::Known;

/// Records of collections (IP, SESSION and the like) that the rules of one policy may keep.
const MOST_RECORDS: usize = 16 * 1024;

/// Mistakes of one policy that are told.
const MOST_MISTAKES: usize = 3;

/// Rules of a policy, ready for requests.
#[derive(Debug)]
pub(crate) struct Rules {
    overlays: Overlays,
    /// What rules remember of clients from one request to the next.
    pub(crate) stores: Arc<Stores>,
    /// They ask where addresses are.
    pub(crate) look_up: bool,
    /// The status of a refusal by a rule that says no other.
    pub(crate) block_status: u16,
    /// How much of requests' bodies is inspected.
    pub(crate) bodies: BodyLimits,
    /// Bytes of a response's body that are inspected; none: no response is.
    pub(crate) inspect_response: Option<usize>,
    sampled_percent: Option<u8>,
}

impl Rules {
    /// What holds for every request.
    pub(crate) fn bound(&self) -> &Arc<Bound> {
        &self.overlays.everywhere
    }

    /// What rules do not see besides, of this request; `path` is normal. Whatever a server takes it for has to be among the
    /// paths of an exclusion.
    pub(crate) fn exclusions<'r>(&'r self, method: &str, path: &str) -> impl Iterator<Item = &'r Arc<BoundExclusion>> {
        let somewhere = self.overlays.somewhere.iter();
        let others = match somewhere.len() {
            0 => Vec::new(),
            _ => normalize(path).map_or_else(|_| Vec::new(), |path| path.other_readings()),
        };
        somewhere
            .filter(move |scoped| scoped.holds(method, path) && others.iter().all(|path| scoped.holds(method, path)))
            .map(|scoped| &scoped.exclusion)
    }

    /// Whether a request that drew this number, each as likely as the other, is judged. Of two policies the one that
    /// samples more judges all that the other does.
    pub(crate) fn samples(&self, draw: u64) -> bool {
        self.sampled_percent.is_none_or(|percent| {
            let place = (u128::from(draw) * 100) >> 64;
            place < u128::from(percent)
        })
    }
}

/// Compiled sets that are in use, by the digest of what they were compiled from.
#[derive(Debug, Default)]
pub(super) struct RuleSets {
    crs: Option<Arc<Crs>>,
    databases: Known,
    known: HashMap<Digest, Weak<RuleSet>>,
    /// What the sets in use have in common.
    parts: Parts,
    /// Rules of the Core Rule Set that cannot be run, and why.
    left_out: BTreeSet<String>,
    /// By policy: a change of its rules forgets nothing.
    stores: HashMap<String, Weak<Stores>>,
}

impl RuleSets {
    /// Sets for a node with this Core Rule Set and these databases.
    pub(super) fn new(crs: Option<Arc<Crs>>, databases: Known) -> Self {
        Self {
            crs,
            databases,
            ..Self::default()
        }
    }

    /// The databases of the node.
    pub(super) const fn databases(&self) -> Known {
        self.databases
    }

    /// Rules of the Core Rule Set that are left out, and why; known once a policy uses it.
    pub(super) fn left_out(&self) -> Vec<String> {
        self.left_out.iter().cloned().collect()
    }

    /// Forgets what no policy uses any more.
    pub(super) fn prune(&mut self) {
        self.known.retain(|_, set| set.strong_count() > 0);
        self.stores.retain(|_, stores| stores.strong_count() > 0);
    }

    /// Builds the rules of a policy.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub(super) fn build(&mut self, policy: &str, unit: &unit::Rules, block_status: u16) -> Result<Rules, String> {
        let set = self.set(unit)?;
        let look_up = !set.lookups().is_empty();
        let overlays = Overlays::new(&set, unit)?;
        let known = self.stores.get(policy).and_then(Weak::upgrade);
        let stores = known.unwrap_or_else(|| Arc::new(Stores::new(MOST_RECORDS)));
        self.stores.insert(policy.to_owned(), Arc::downgrade(&stores));
        Ok(Rules {
            overlays,
            stores,
            look_up,
            block_status,
            bodies: BodyLimits::new(unit),
            inspect_response: unit.inspect_response.map(size),
            sampled_percent: unit.sampled_percent,
        })
    }

    fn set(&mut self, unit: &unit::Rules) -> Result<Arc<RuleSet>, String> {
        let crs = match (unit.crs, &self.crs) {
            (None, _) => None,
            (Some(_), Some(crs)) => Some(&**crs),
            (Some(_), None) => {
                return Err(
                    "spec.crs: this node has no Core Rule Set: start it with --crs-dir DIR, where DIR/rules has its files"
                        .to_owned(),
                );
            }
        };
        // The Core Rule Set and the databases there are stay the same for as long as the process lives.
        let content = serde_json::to_vec(&(crs.is_some(), &unit.seclang)).unwrap_or_default();
        let digest = Digest::of(&content);
        if let Some(set) = self.known.get(&digest).and_then(Weak::upgrade) {
            return Ok(set);
        }
        let sources: Vec<_> = unit
            .seclang
            .iter()
            .map(|source| Source {
                name: &source.name,
                text: &source.text,
            })
            .collect();
        let own = Own::parse(&sources).map_err(|errors| told(&errors))?;
        let bundle::Compiled {
            rules,
            mut left_out,
            set_aside,
            lookups,
        } = bundle::compile_beside(crs, &own, &mut self.parts).map_err(|errors| told(&errors))?;
        if !self.databases.countries {
            if !lookups.own.is_empty() {
                return Err(format!("{}: {NO_COUNTRIES}", told(&lookups.own)));
            }
            // They match nothing.
            left_out.extend(lookups.crs);
        }
        for warning in rules.warnings() {
            tracing::debug!(%warning, "rules");
        }
        for setting in set_aside {
            tracing::warn!("a setting of the Core Rule Set's files has no effect: {setting}");
        }
        for mistake in left_out {
            let mistake = mistake.to_string();
            if !self.left_out.contains(&mistake) {
                tracing::warn!("a rule of the Core Rule Set is left out: {mistake}");
                self.left_out.insert(mistake);
            }
        }
        let set = Arc::new(rules);
        self.known.insert(digest, Arc::downgrade(&set));
        Ok(set)
    }
}

fn told(errors: &[impl ToString]) -> String {
    let mut text: Vec<String> = errors.iter().take(MOST_MISTAKES).map(ToString::to_string).collect();
    if errors.len() > MOST_MISTAKES {
        text.push(format!("and {} more", errors.len() - MOST_MISTAKES));
    }
    text.join("; ")
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What a policy has of its own over a rule set, by what holds for a request.
#[derive(Debug)]
struct Overlays {
    /// What holds for every request.
    everywhere: Arc<Bound>,
    somewhere: Vec<Scoped>,
}

/// An exclusion that holds for some requests.
#[derive(Debug)]
struct Scoped {
    /// None: all paths.
    paths: Option<UriSet>,
    /// Empty: all methods.
    methods: Vec<String>,
    exclusion: Arc<BoundExclusion>,
}

impl Scoped {
    fn holds(&self, method: &str, path: &str) -> bool {
        (self.methods.is_empty() || self.methods.iter().any(|listed| listed == method))
            && self.paths.as_ref().is_none_or(|paths| paths.matches(path).is_some())
    }
}

impl Overlays {
    fn new(set: &Arc<RuleSet>, unit: &unit::Rules) -> Result<Self, String> {
        let mut overlay = Overlay {
            variables: unit.crs.map_or_else(Vec::new, variables),
            exclusions: Vec::new(),
            detect_only: unit.detect_only.iter().map(range).collect(),
        };
        if !unit.disabled_groups.is_empty() {
            let groups = unit.disabled_groups.iter();
            overlay.exclusions.push(Exclusion {
                rules: groups.map(|group| RuleRange::Ids(group.ids.clone())).collect(),
                targets: Vec::new(),
            });
        }
        let mut somewhere = Vec::new();
        for exclusion in &unit.exclusions {
            let targets = exclusion.targets.iter().map(|target| bundle::target(target));
            let compiled = Exclusion {
                rules: exclusion.rules.iter().map(range).collect(),
                targets: targets.collect::<Result<_, _>>()?,
            };
            if exclusion.paths.is_empty() && exclusion.methods.is_empty() {
                overlay.exclusions.push(compiled);
                continue;
            }
            let paths = match exclusion.paths.as_slice() {
                [] => None,
                paths => Some(UriSet::new(&patterns(paths)).map_err(|error| error.to_string())?),
            };
            somewhere.push(Scoped {
                paths,
                methods: exclusion.methods.clone(),
                exclusion: Arc::new(BoundExclusion::new(set, &compiled)),
            });
        }
        Ok(Self {
            everywhere: Arc::new(Bound::new(set, &overlay)),
            somewhere,
        })
    }
}

/// What the Core Rule Set reads of its setup.
fn variables(crs: unit::Crs) -> Vec<(String, String)> {
    let level = crs.paranoia_level.to_string();
    let detection = crs.detection_paranoia_level.to_string();
    [
        // Version 4, and version 3, which called them otherwise.
        ("blocking_paranoia_level", level.clone()),
        ("detection_paranoia_level", detection.clone()),
        ("paranoia_level", level),
        ("executing_paranoia_level", detection),
        ("inbound_anomaly_score_threshold", crs.inbound.to_string()),
        ("outbound_anomaly_score_threshold", crs.outbound.to_string()),
        ("early_blocking", u8::from(crs.early_blocking).to_string()),
        // Without it the rules say that nobody set them up. A setup file overwrites it.
        ("crs_setup_version", "policy".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn range(selection: &unit::RuleSelection) -> RuleRange {
    match selection {
        unit::RuleSelection::Ids(ids) => RuleRange::Ids(ids.clone()),
        unit::RuleSelection::Tag(tag) => RuleRange::Tag(tag.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakwater_snapshot::unit::{PathKind, PathMatch, RuleExclusion, RuleGroup, RuleSelection, SecLangSource};

    fn unit(text: &str) -> unit::Rules {
        unit::Rules {
            crs: None,
            disabled_groups: Vec::new(),
            seclang: vec![SecLangSource {
                name: "spec.seclang.inline".to_owned(),
                text: text.to_owned(),
            }],
            exclusions: Vec::new(),
            detect_only: Vec::new(),
            inspect: 1024,
            reject_larger: false,
            body_types: Vec::new(),
            inspect_response: None,
            sampled_percent: None,
        }
    }

    const RULE: &str = "SecRule ARGS:debug \"@streq 1\" \"id:1000,phase:1,deny,status:403\"";

    #[test]
    fn policies_with_the_same_rules_share_one_set_and_others_do_not() {
        let mut sets = RuleSets::default();
        let one = sets.build("p", &unit(RULE), 403).unwrap();
        let mut other = unit(RULE);
        other.inspect = 5;
        let two = sets.build("q", &other, 404).unwrap();
        assert!(one.bound().shares_rules(two.bound()));
        let three = sets.build("p", &unit(&RULE.replace("1000", "1001")), 403).unwrap();
        assert!(!one.bound().shares_rules(three.bound()));
        assert!(Arc::ptr_eq(&one.stores, &three.stores) && !Arc::ptr_eq(&one.stores, &two.stores));
        assert_eq!(sets.known.len(), 2);
        drop(three);
        sets.prune();
        assert_eq!(sets.known.len(), 1);
    }

    #[test]
    fn the_core_rule_set_is_missed_with_what_to_do() {
        let mut rules = unit(RULE);
        rules.crs = Some(unit::Crs {
            paranoia_level: 1,
            detection_paranoia_level: 1,
            inbound: 5,
            outbound: 4,
            early_blocking: false,
        });
        let error = RuleSets::default().build("p", &rules, 403).unwrap_err();
        assert!(error.contains("--crs-dir"), "{error}");
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        let error = RuleSets::default()
            .build("p", &unit("\nSecNonsense On"), 403)
            .unwrap_err();
        assert!(error.starts_with("spec.seclang.inline:2: "), "{error}");
    }

    #[test]
    fn a_draw_decides_who_is_judged_and_so_many_of_a_hundred_are() {
        for (percent, judged) in [
            (None, 100),
            (Some(0), 0),
            (Some(1), 1),
            (Some(30), 30),
            (Some(50), 50),
            (Some(99), 99),
            (Some(100), 100),
        ] {
            let mut unit = unit(RULE);
            unit.sampled_percent = percent;
            let rules = RuleSets::default().build("p", &unit, 403).unwrap();
            let draws = (0..100).map(|n| u64::MAX / 100 * n + u64::MAX / 200);
            assert_eq!(draws.filter(|draw| rules.samples(*draw)).count(), judged, "{percent:?}");
            assert_eq!(rules.samples(u64::MAX), judged == 100, "{percent:?}");
        }
    }

    #[test]
    fn of_draws_from_a_seeded_source_about_half_are_judged_at_half() {
        let mut unit = unit(RULE);
        unit.sampled_percent = Some(50);
        let rules = RuleSets::default().build("p", &unit, 403).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let judged = (0..10_000).filter(|_| rules.samples(random.u64(..))).count();
        // Four standard deviations.
        assert!((4800..=5200).contains(&judged), "{judged}");
    }

    #[test]
    fn a_policy_with_disabled_groups_shares_the_set() {
        let mut sets = RuleSets::default();
        let all = sets.build("p", &unit(RULE), 403).unwrap();
        let mut unit = unit(RULE);
        unit.disabled_groups = vec![RuleGroup {
            name: "SQLi".to_owned(),
            ids: vec![(942_000, 942_999)],
        }];
        let some = sets.build("q", &unit, 403).unwrap();
        assert!(all.bound().shares_rules(some.bound()));
    }

    #[test]
    fn an_exclusion_holds_on_its_paths_and_methods_and_nothing_is_worked_out_for_a_request() {
        let mut unit = unit(RULE);
        let exclusion = |path: Option<String>, methods: &[&str], id: u32| RuleExclusion {
            rules: vec![RuleSelection::Ids(vec![(id, id)])],
            targets: Vec::new(),
            paths: path
                .map(|value| PathMatch {
                    kind: PathKind::Prefix,
                    value,
                })
                .into_iter()
                .collect(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        };
        let search = || Some("/search".to_owned());
        unit.exclusions = vec![exclusion(None, &[], 1), exclusion(search(), &[], 2)];
        unit.exclusions.push(exclusion(search(), &["POST"], 3));
        let many = (0..600).map(|n| exclusion(Some(format!("/p{n}")), &[], n));
        unit.exclusions.extend(many);
        let rules = RuleSets::default().build("p", &unit, 403).unwrap();
        let held = |method, path: &str| -> Vec<*const BoundExclusion> {
            let exclusions = rules.exclusions(method, path);
            exclusions.map(Arc::as_ptr).collect()
        };
        assert_eq!(held("GET", "/").len(), 0);
        assert_eq!(held("GET", "/search/x").len(), 1);
        assert_eq!(held("POST", "/search").len(), 2);
        assert_eq!(held("GET", "/search"), held("PUT", "/search/y"));
        assert_eq!(held("GET", "/search/x;y"), held("GET", "/search"));
        for path in ["/search;x", "/x;/search", "/search%2Fx"] {
            assert_eq!(held("POST", path).len(), 0, "{path}");
        }
        for n in 0..600 {
            let path = format!("/p{n}");
            assert_eq!(held("GET", &path), held("GET", &path));
            assert_eq!(held("GET", &path).len(), 1);
        }
    }
}
