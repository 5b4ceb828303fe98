//! What rules and directives of one's own do to rules that were given: remove them, hide from them, skip them.
//!
//! It is read off the compiled program, not off spellings. Conditions are not evaluated: what a rule does when it matches
//! is told with whether it always matches.

use super::{Draft, phase_index};
use crate::engine::operator::Test;
use crate::engine::program::{Act, Disrupt, Program, Rule, Select, Skip, Target};
use crate::seclang::{AllowScope, Engine, Phase, Position};

/// One thing that is done to rules that were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// Where the directive or the rule stands that does it.
    pub(crate) at: Position,
    /// What it does.
    pub(crate) how: How,
    /// Whether it does so for every request.
    pub(crate) always: bool,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// A rule is removed.
    Removes(u32),
    /// A rule no longer sees what it looked at.
    Hides(u32),
    /// A rule that would refuse does not.
    Disarms(u32),
    /// These are not run: the first and the last of them, and how many there are.
    Skips(u32, u32, usize),
    /// Among those that are skipped is this one.
    SkipsOver(u32),
    /// No rule runs after it, or none refuses.
    TurnsOff,
}

/// Tells what is done to the rules that are `given` and `watched`.
pub(super) fn effects(
    drafts: &[Draft],
    program: &Program,
    given: &dyn Fn(&Position) -> bool,
    watched: &dyn Fn(u32) -> bool,
    tell: &mut dyn FnMut(Effect),
) {
    for draft in drafts
        .iter()
        .filter(|draft| watched(draft.id) && given(&draft.position))
    {
        let changed = &draft.changed;
        let found = match (&changed.removed, &changed.targets) {
            (Some(at), _) => Some((at, How::Removes(draft.id))),
            (None, Some(at)) => Some((at, How::Hides(draft.id))),
            (None, None) => None,
        };
        if let Some((at, how)) = found.filter(|(at, _)| !given(at)) {
            tell(effect(at, how, true));
        }
    }
    let left: Vec<(&Draft, bool)> = drafts
        .iter()
        .filter(|draft| draft.is_left())
        .map(|draft| (draft, given(&draft.position)))
        .collect();
    let targets: Vec<(usize, &Rule)> = (left.iter().zip(&program.rules).enumerate())
        .filter(|(_, ((draft, given), _))| *given && watched(draft.id))
        .map(|(index, (_, rule))| (index, rule))
        .collect();
    let peers: Vec<Peers> = program
        .phases
        .iter()
        .map(|phase| Peers::of(phase, &left, watched))
        .collect();
    for (at, ((draft, is_given), rule)) in left.iter().zip(&program.rules).enumerate() {
        if *is_given {
            let changed = draft.changed.actions.as_ref().filter(|at| !given(at));
            if let Some(at) = changed
                && watched(rule.id)
                && matches!(rule.disruptive, Disrupt::Pass | Disrupt::Allow(_))
            {
                tell(effect(at, How::Disarms(rule.id), true));
            }
            continue;
        }
        let always = rule
            .links
            .iter()
            .all(|link| matches!(link.test, Test::Always) && !link.negated);
        let mut tell_of = |how| tell(effect(&draft.position, how, always));
        for act in rule.links.iter().flat_map(|link| &link.acts) {
            acts(act, rule, program, &targets, &mut tell_of);
        }
        if always && turns_off(rule) {
            tell_of(How::TurnsOff);
        }
        let phase = phase_index(rule.phase);
        if let (Some(phase), Some(peers)) = (program.phases.get(phase), peers.get(phase)) {
            leaps(rule, at, phase, peers, &mut tell_of);
        }
    }
}

/// What a rule's `ctl` is about where it is about nothing.
pub(super) fn idle_ctl(rule: &Rule, program: &Program) -> Option<String> {
    let acts = rule.links.iter().flat_map(|link| &link.acts);
    acts.into_iter().find_map(|act| {
        let is_of = |selection: u32, index: usize| {
            let rules = program.selections.get(selection as usize);
            rules.is_some_and(|rules| rules.contains(index))
        };
        let mut rules = program.rules.iter().enumerate();
        match act {
            Act::Remove(selection) => {
                let some = program
                    .selections
                    .get(*selection as usize)
                    .is_some_and(|rules| !rules.is_empty());
                (!some).then(|| format!("rule {} removes nothing by ctl: there is no such rule", rule.id))
            }
            Act::RemoveTarget(index) => {
                let (selection, target) = program.hidden.get(*index as usize)?;
                let some = rules.any(|(index, rule)| is_of(*selection, index) && looks_at(rule, program, target));
                (!some).then(|| {
                    format!(
                        "rule {} hides nothing by ctl: there is no such rule, or none that looks at this target",
                        rule.id
                    )
                })
            }
            _ => None,
        }
    })
}

fn effect(at: &Position, how: How, always: bool) -> Effect {
    Effect {
        at: at.clone(),
        how,
        always,
    }
}

/// What `ctl` does to rules that run after it.
fn acts(act: &Act, rule: &Rule, program: &Program, targets: &[(usize, &Rule)], tell: &mut dyn FnMut(How)) {
    let chosen = |selection: u32| {
        let rules = program.selections.get(selection as usize);
        let later = targets.iter().filter(|(_, target)| rule.phase <= target.phase);
        later.filter(move |(index, _)| rules.is_some_and(|rules| rules.contains(*index)))
    };
    match act {
        Act::Remove(selection) => chosen(*selection).for_each(|(_, target)| tell(How::Removes(target.id))),
        Act::RemoveTarget(index) => {
            let Some((selection, hidden)) = program.hidden.get(*index as usize) else {
                return;
            };
            let blinded = chosen(*selection).filter(|(_, target)| looks_at(target, program, hidden));
            blinded.for_each(|(_, target)| tell(How::Hides(target.id)));
        }
        _ => {}
    }
}

/// Whether a rule that always matches ends the matter for the request.
fn turns_off(rule: &Rule) -> bool {
    if rule.phase > Phase::RequestBody {
        return false;
    }
    let mut acts = rule.links.iter().flat_map(|link| &link.acts);
    acts.any(|act| matches!(act, Act::Engine(Engine::Off | Engine::DetectionOnly)))
        || matches!(rule.disruptive, Disrupt::Allow(None | Some(AllowScope::Request)))
}

/// Which of the rules that were given a rule skips: `at` is its own number, `peers` are those of its phase.
fn leaps(rule: &Rule, at: usize, phase: &[u32], peers: &Peers, tell: &mut dyn FnMut(How)) {
    let next = phase.partition_point(|index| *index as usize <= at);
    let end = match rule.skip {
        Skip::No => return,
        Skip::Count(count) => next.saturating_add(count as usize),
        Skip::To(place) => place as usize,
    };
    let skipped = within(&peers.given, next, end);
    if let (Some((_, first)), Some((_, last))) = (skipped.first(), skipped.last()) {
        tell(How::Skips(*first, *last, skipped.len()));
    }
    for (_, id) in within(&peers.watched, next, end) {
        tell(How::SkipsOver(*id));
    }
}

/// Rules of a phase that were given, and those that are watched: their places in it, ascending, and their ids.
#[derive(Default)]
struct Peers {
    given: Vec<(usize, u32)>,
    watched: Vec<(usize, u32)>,
}

impl Peers {
    fn of(phase: &[u32], left: &[(&Draft, bool)], watched: &dyn Fn(u32) -> bool) -> Self {
        let mut peers = Self::default();
        for (place, index) in phase.iter().enumerate() {
            if let Some((draft, true)) = left.get(*index as usize) {
                peers.given.push((place, draft.id));
                if watched(draft.id) {
                    peers.watched.push((place, draft.id));
                }
            }
        }
        peers
    }
}

/// Those from one place of a phase to before another.
fn within(rules: &[(usize, u32)], from: usize, to: usize) -> &[(usize, u32)] {
    let from = rules.partition_point(|(place, _)| *place < from);
    let to = rules.partition_point(|(place, _)| *place < to);
    rules.get(from..to).unwrap_or_default()
}

/// Whether a rule or its chain looks at something of what is hidden. Patterns may.
fn looks_at(rule: &Rule, program: &Program, hidden: &Target) -> bool {
    let lists = rule
        .links
        .iter()
        .filter_map(|link| program.lists.get(link.list? as usize));
    lists.flat_map(|list| &list.targets).any(|target| {
        let same = match (&target.key, &hidden.key) {
            (Select::Name(one), Select::Name(other)) => one == other,
            (Select::Slot(one), Select::Slot(other)) => one == other,
            _ => true,
        };
        target.variable == hidden.variable && same
    })
}
