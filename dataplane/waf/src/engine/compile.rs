//! Directives to a [`Program`]: what stands in the text in order becomes what runs in order.
//!
//! Updates and removals apply to rules that stand before them, default actions to rules that stand after them; `block`
//! becomes what it means in its phase, `skipAfter` becomes a place in its phase. Every mistake is told with its position;
//! one that is found does not hide the next.
//!
//! Left to others: [`effects`] says what rules do to others, [`links`] makes one link of a chain, [`tables`] gives numbers to what is shared.

use std::collections::HashMap;
use std::sync::Arc;

use super::bits::Bits;
use super::program::{Disrupt, Program, Rule, Settings, Skip, Text};
use super::{CompileError, Parts, ReadFile, RuleSet};
use crate::seclang::{
    self, Action, Directive, DirectiveKind, Disruptive, Expr, ExprPart, Located, Phase, Position, RuleRange, Setting,
    SkipTo, Target,
};
use crate::told::Told;

mod disrupt;
mod effects;
mod links;
mod select;
mod sight;
pub(super) mod tables;

pub(crate) use effects::{Effect, How};
pub(super) use select::Ranges;
pub(super) use tables::select_target;

use disrupt::Decision;
use sight::{looks_at, scores, targets, update_targets};
use tables::Tables;

/// Most mistakes that are told.
const MISTAKES: usize = 100;

/// Most steps of what takes as many as there are rules for each directive: rules looked at by a removal, an update or a
/// `ctl`, targets added to them, names of TX looked at by a pattern.
const WORK: usize = 16 << 20;

/// Why there were more.
const TOO_MUCH: &str = "removals, updates, ctl and patterns of TX look at too many rules and names together; \
                        use fewer, with ranges of ids or shorter lists";

/// Most actions of one rule that others add to.
const ACTIONS: usize = 1000;

/// A rule on its way: the text's own, and what directives after it did to it.
#[derive(Debug)]
pub(super) struct Draft {
    rule: seclang::Rule,
    position: Position,
    defaults: Vec<Located<Action>>,
    id: u32,
    phase: Phase,
    /// Its place among rules and markers.
    place: usize,
    changed: Changed,
}

/// Where directives stand that changed a rule.
#[derive(Debug, Default)]
struct Changed {
    /// The first that removed it.
    removed: Option<Position>,
    /// The last that hid from it, or took from it, what it looked at.
    targets: Option<Position>,
    /// The last that changed its actions.
    actions: Option<Position>,
}

/// Compiles directives. A rule that cannot be run is a mistake, but for those at positions that `may_lack` it.
pub(super) fn compile(
    directives: &[Directive],
    read: &ReadFile<'_>,
    may_lack: &dyn Fn(&Position) -> bool,
    parts: &mut Parts,
) -> Result<RuleSet, Vec<CompileError>> {
    parts.prune();
    let (rules, _) = Compiler::of(directives).finish(read, may_lack, parts, Depth::Whole)?;
    Ok(rules)
}

/// Does all that [`compile`] does but to compile patterns, which is most of the work, and says what some of the rules do to
/// the rules that are `given` and `watched`. Returns its warnings.
pub(crate) fn link(
    directives: &[Directive],
    read: &ReadFile<'_>,
    given: &dyn Fn(&Position) -> bool,
    watched: &dyn Fn(u32) -> bool,
    tell: &mut dyn FnMut(Effect),
) -> Result<Vec<CompileError>, Vec<CompileError>> {
    let (rules, drafts) = Compiler::of(directives).finish(read, given, &mut Parts::default(), Depth::Links)?;
    effects::effects(&drafts, &rules.program, given, watched, tell);
    Ok(rules.warnings)
}

/// How much is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything.
    Whole,
    /// Everything but patterns: rules cannot be run.
    Links,
}

#[derive(Debug, Default)]
struct Compiler {
    drafts: Vec<Draft>,
    markers: HashMap<String, Vec<usize>>,
    defaults: HashMap<usize, Vec<Located<Action>>>,
    /// Where each rule is among the drafts.
    ids: HashMap<u32, usize>,
    /// What of [`WORK`] is done.
    work: usize,
    settings: Settings,
    signatures: Vec<String>,
    warnings: Told<CompileError>,
    /// One for each rule at most.
    left_out: Vec<CompileError>,
    /// One for each rule at most.
    lookups: Vec<CompileError>,
    errors: Vec<CompileError>,
    /// There were so many mistakes that the rest was not looked at.
    stopped: bool,
}

impl Draft {
    /// Whether it is not removed.
    fn is_left(&self) -> bool {
        self.changed.removed.is_none()
    }
}

impl Compiler {
    fn of(directives: &[Directive]) -> Self {
        let mut compiler = Self::default();
        for (place, directive) in directives.iter().enumerate() {
            if compiler.stops_at(&directive.position) {
                break;
            }
            compiler.directive(place, directive);
        }
        compiler
    }

    /// Whether there are so many mistakes that what comes from here on is not looked at, which is told.
    fn stops_at(&mut self, position: &Position) -> bool {
        if !self.stopped && self.errors.len() >= MISTAKES {
            self.stopped = true;
            self.errors.truncate(MISTAKES);
            let message =
                format!("what comes from here on was not compiled, after {MISTAKES} mistakes; mend those first");
            self.error(position, &message);
        }
        self.stopped
    }

    fn directive(&mut self, place: usize, directive: &Directive) {
        let position = &directive.position;
        match &directive.value {
            DirectiveKind::Rule(rule) => self.rule(place, rule, position),
            DirectiveKind::Marker(name) => self.markers.entry(name.clone()).or_default().push(place),
            DirectiveKind::DefaultAction(phase, actions) => {
                let decision = Decision::of(actions);
                self.decision(&decision, decision.kind().unwrap_or(&Disruptive::Pass));
                self.defaults.insert(phase_index(*phase), actions.clone());
            }
            DirectiveKind::Remove(range) => {
                let matched = self.each_in(range, position, |draft| {
                    draft.changed.removed.get_or_insert_with(|| position.clone());
                    0
                });
                self.warn_unless(matched, position, "no rule before it is removed by this");
            }
            DirectiveKind::UpdateTarget(range, update) => {
                let hides: Vec<&Target> = update.targets.iter().filter(|target| target.exclude).collect();
                let mut idle = hides.clone();
                let matched = self.each_in(range, position, |draft| {
                    let work = hides.len() * targets(&draft.rule).count();
                    idle.retain(|hidden| !looks_at(&draft.rule, hidden));
                    if update.replaces.is_some() || hides.iter().any(|hidden| looks_at(&draft.rule, hidden)) {
                        draft.changed.targets = Some(position.clone());
                    }
                    work + update_targets(&mut draft.rule, update)
                });
                self.warn_unless(matched, position, "no rule before it is changed by this");
                if matched && let Some(target) = idle.first() {
                    let message = format!("{target} hides nothing: none of these rules looks at that");
                    self.warn(position, &message);
                }
            }
            DirectiveKind::UpdateAction { id, link, actions } => self.update_actions(*id, *link, actions, position),
            DirectiveKind::Setting(setting) => self.setting(setting),
            DirectiveKind::ComponentSignature(text) => self.signatures.push(text.clone()),
        }
    }

    fn rule(&mut self, place: usize, rule: &seclang::Rule, position: &Position) {
        let mut id = None;
        let mut phase = Phase::default();
        for action in &rule.actions {
            match &action.value {
                Action::Id(value) => id = Some(*value),
                Action::Phase(value) => phase = *value,
                _ => {}
            }
        }
        let Some(id) = id else {
            return self.error(position, "a rule needs an id");
        };
        if let Some(first) = self.ids.get(&id).and_then(|at| self.drafts.get(*at)) {
            let first = &first.position;
            let message = format!("rule {id} is already defined at {first}; an id names one rule");
            return self.error(position, &message);
        }
        self.ids.insert(id, self.drafts.len());
        let defaults = self.defaults.get(&phase_index(phase)).cloned().unwrap_or_default();
        let rule = rule.clone();
        self.drafts.push(Draft {
            rule,
            position: position.clone(),
            defaults,
            id,
            phase,
            place,
            changed: Changed::default(),
        });
    }

    /// Does something to each rule of a range, and adds up what work it is; whether there was one.
    fn each_in(&mut self, range: &RuleRange, position: &Position, mut change: impl FnMut(&mut Draft) -> usize) -> bool {
        let ranges = match Ranges::patterns(range) {
            Ok(ranges) => ranges,
            Err(message) => {
                self.error(position, &message);
                return true;
            }
        };
        let mut matched = false;
        for draft in &mut self.drafts {
            self.work += 1;
            if ranges.has_draft(draft) {
                matched = true;
                self.work += change(draft);
            }
            if self.work > WORK {
                self.error(position, TOO_MUCH);
                return true;
            }
        }
        matched
    }

    fn update_actions(&mut self, id: u32, link: u32, actions: &[Located<Action>], position: &Position) {
        let Some(draft) = self.ids.get(&id).and_then(|at| self.drafts.get_mut(*at)) else {
            let message = format!("no rule {id} stands before this");
            return self.warn(position, &message);
        };
        draft.changed.actions = Some(position.clone());
        let mut rule = &mut draft.rule;
        for _ in 0..link {
            match rule.next.as_mut() {
                Some(next) => rule = &mut next.value,
                None => {
                    let message = format!("rule {id} has no link {link}");
                    return self.error(position, &message);
                }
            }
        }
        let same_kind = |a: &Action, b: &Action| match (a, b) {
            (Action::Log | Action::NoLog, Action::Log | Action::NoLog)
            | (Action::AuditLog | Action::NoAuditLog, Action::AuditLog | Action::NoAuditLog) => true,
            // More of these add up.
            (Action::Tag(_) | Action::Setvar(_) | Action::Ctl(_), _) => false,
            (Action::Transform(_) | Action::TransformNone, Action::Transform(_) | Action::TransformNone) => true,
            _ => std::mem::discriminant(a) == std::mem::discriminant(b),
        };
        rule.actions.retain(|old| {
            matches!(old.value, Action::Id(_) | Action::Phase(_) | Action::Chain)
                || !actions.iter().any(|new| same_kind(&new.value, &old.value))
        });
        let new = actions
            .iter()
            .filter(|new| !matches!(new.value, Action::Id(_) | Action::Phase(_) | Action::Chain));
        if rule.actions.len() + actions.len() > ACTIONS {
            let message = format!("rule {id} has more than {ACTIONS} actions with this");
            return self.error(position, &message);
        }
        rule.actions.extend(new.cloned());
    }

    fn setting(&mut self, setting: &Setting) {
        match setting {
            Setting::RuleEngine(engine) => self.settings.engine = Some(*engine),
            Setting::RequestBodyAccess(on) => self.settings.request_access = Some(*on),
            Setting::ResponseBodyAccess(on) => self.settings.response_access = Some(*on),
            Setting::RequestBodyJsonDepthLimit(depth) => self.settings.json_depth = *depth as usize,
            Setting::ResponseBodyMimeType(types) => {
                for kind in types {
                    if !self.settings.response_types.contains(kind) {
                        self.settings.response_types.push(kind.clone());
                    }
                }
            }
            Setting::ResponseBodyMimeTypesClear => self.settings.response_types.clear(),
            Setting::ArgumentsLimit(count) => self.settings.arguments = *count as usize,
            Setting::ArgumentSeparator(byte) => self.settings.separator = *byte,
            Setting::CollectionTimeout(seconds) => self.settings.collection_timeout = *seconds,
            // What these ask for is done by the caller, or by nobody: a review says so.
            Setting::RequestBodyLimit(_)
            | Setting::RequestBodyLimitAction(_)
            | Setting::RequestBodyNoFilesLimit(_)
            | Setting::ResponseBodyLimit(_)
            | Setting::AuditEngine(_)
            | Setting::Idle(_)
            | Setting::AsHere(_) => {}
        }
    }

    fn finish(
        mut self,
        read: &ReadFile<'_>,
        may_lack: &dyn Fn(&Position) -> bool,
        parts: &mut Parts,
        depth: Depth,
    ) -> Result<(RuleSet, Vec<Draft>), Vec<CompileError>> {
        let mut tables = Tables::new(read, parts);
        let mut program = Program {
            left_out: Bits::with_size(self.drafts.len()),
            ..Program::default()
        };
        let drafts = std::mem::take(&mut self.drafts);
        // Places of each phase's rules, for what skips to them.
        let mut phases: [Vec<&Draft>; 5] = Default::default();
        for draft in drafts.iter().filter(|draft| draft.is_left()) {
            if let Some(phase) = phases.get_mut(phase_index(draft.phase)) {
                phase.push(draft);
            }
        }
        for draft in drafts.iter().filter(|draft| draft.is_left()) {
            if self.stops_at(&draft.position) {
                break;
            }
            let index = program.rules.len() as u32;
            let peers = phases.get(phase_index(draft.phase)).map_or(&[][..], Vec::as_slice);
            let rule = self.compile_rule(draft, peers, &drafts, &mut tables);
            program.rules.push(rule);
            if let Some(reason) = tables.left_out.take() {
                // It keeps its place, so that what skips goes where it would, but it never runs.
                program.left_out.insert(index as usize);
                let told = CompileError {
                    position: draft.position.clone(),
                    message: format!("rule {} cannot be run: {reason}", draft.id),
                };
                match may_lack(&draft.position) {
                    true => self.left_out.push(told),
                    false => self.errors.push(told),
                }
            }
            if std::mem::take(&mut tables.looks_up) {
                self.lookups.push(CompileError {
                    position: draft.position.clone(),
                    message: format!("rule {} asks where an address is (@geoLookup)", draft.id),
                });
            }
            if let Some(phase) = program.phases.get_mut(phase_index(draft.phase)) {
                phase.push(index);
            }
        }
        if let Some(last) = drafts.last().filter(|_| self.work + tables.work(&program) > WORK) {
            self.error(&last.position, TOO_MUCH);
        } else if !self.stopped {
            self.errors.extend(tables.into_program(&mut program, depth));
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        for (draft, rule) in drafts.iter().filter(|draft| draft.is_left()).zip(&program.rules) {
            if let Some(message) = effects::idle_ctl(rule, &program) {
                self.warn(&draft.position, &message);
            }
        }
        program.settings = self.settings;
        let rules = RuleSet {
            program,
            signatures: self.signatures,
            warnings: self.warnings.told(),
            left_out: self.left_out,
            lookups: self.lookups,
        };
        Ok((rules, drafts))
    }

    fn compile_rule(&mut self, draft: &Draft, peers: &[&Draft], all: &[Draft], tables: &mut Tables<'_>) -> Rule {
        let mut made = Rule {
            id: draft.id,
            phase: draft.phase,
            links: Box::default(),
            gate: None,
            msg: Text::default(),
            data: Text::default(),
            tags: Arc::default(),
            severity: None,
            log: true,
            disruptive: Disrupt::Pass,
            status: 403,
            skip: Skip::No,
        };
        let mut tags = Vec::new();
        for action in draft.defaults.iter().chain(&draft.rule.actions) {
            let position = &action.position;
            match &action.value {
                Action::Msg(text) => made.msg = self.text(tables, text, position),
                Action::Logdata(text) => made.data = self.text(tables, text, position),
                Action::Tag(text) => tags.push(written(text).into()),
                Action::Severity(severity) => made.severity = Some(*severity),
                Action::Log => made.log = true,
                Action::NoLog => made.log = false,
                Action::Skip(to) => made.skip = self.skip(to, draft, peers, all, position),
                _ => {}
            }
        }
        let (defaults, own) = (Decision::of(&draft.defaults), Decision::of(&draft.rule.actions));
        let kind = own.resolved(&defaults);
        let before = self.errors.len();
        self.decision(&own, kind);
        if draft.changed.actions.is_some() {
            // What is wrong may stand far from the rule.
            for error in self.errors.iter_mut().skip(before) {
                error.message = format!("rule {}: {}", draft.id, error.message);
            }
        }
        if own.leaves_it_to(&defaults) && !scores(&draft.rule) {
            let message = format!(
                "rule {} refuses nothing: block does what SecDefaultAction of its phase says, and none before it refuses; write deny",
                draft.id
            );
            self.warn(&draft.position, &message);
        }
        made.status = own.status(&defaults, kind);
        made.disruptive = match kind {
            Disruptive::Pass | Disruptive::Block => Disrupt::Pass,
            Disruptive::Allow(scope) => Disrupt::Allow(*scope),
            Disruptive::Deny => Disrupt::Deny,
            Disruptive::Drop => Disrupt::Drop,
            Disruptive::Redirect(to) => Disrupt::Redirect(self.text(tables, to, &draft.position)),
        };
        made.tags = tags.into();
        let mut links = Vec::new();
        let mut next = Some((&draft.rule, &draft.position));
        while let Some((rule, position)) = next {
            match tables.link(rule, position, &draft.rule, &draft.defaults) {
                Ok(link) => links.push(link),
                Err(errors) => self.errors.extend(errors),
            }
            next = rule.next.as_deref().map(|next| (&next.value, &next.position));
        }
        made.gate = links.first().and_then(|first| links::gate(first, tables));
        made.links = links.into_boxed_slice();
        made
    }

    /// Tells what is wrong with what is done.
    fn decision(&mut self, decision: &Decision<'_>, kind: &Disruptive) {
        for (position, message) in decision.mistakes(kind) {
            self.error(position, &message);
        }
        if let Some((position, message)) = decision.idle_status() {
            self.warn(position, &message);
        }
    }

    fn text(&mut self, tables: &mut Tables<'_>, expr: &Expr, position: &Position) -> Text {
        tables.text(expr).unwrap_or_else(|message| {
            self.error(position, &message);
            Text::default()
        })
    }

    /// Where a rule that skips goes on in its phase.
    fn skip(&mut self, to: &SkipTo, from: &Draft, peers: &[&Draft], all: &[Draft], position: &Position) -> Skip {
        let place = match to {
            SkipTo::Count(count) => {
                let after = peers.partition_point(|peer| peer.place <= from.place);
                if *count as usize > peers.len() - after {
                    let message = format!(
                        "skip:{count} leads past the end of the phase: a match skips all {} rules that follow it",
                        peers.len() - after
                    );
                    self.warn(position, &message);
                }
                return Skip::Count(*count);
            }
            SkipTo::After(name) => {
                let marker = self
                    .markers
                    .get(name)
                    .and_then(|places| places.get(places.partition_point(|place| *place <= from.place)));
                let rule = || {
                    let draft = all.get(*self.ids.get(&name.parse().ok()?)?)?;
                    (draft.place > from.place).then_some(draft.place)
                };
                marker.copied().or_else(rule)
            }
        };
        let end = peers.len();
        let at = match place {
            Some(place) => peers.partition_point(|peer| peer.place <= place),
            None => {
                self.warn(
                    position,
                    "no such marker or rule follows: a match skips the rest of the phase",
                );
                end
            }
        };
        Skip::To(at as u32)
    }

    fn error(&mut self, position: &Position, message: &str) {
        self.errors.push(CompileError {
            position: position.clone(),
            message: message.to_owned(),
        });
    }

    fn warn(&mut self, position: &Position, message: &str) {
        self.warnings.push(CompileError {
            position: position.clone(),
            message: message.to_owned(),
        });
    }

    fn warn_unless(&mut self, fine: bool, position: &Position, message: &str) {
        if !fine {
            self.warn(position, message);
        }
    }
}

/// The place of a phase in tables.
pub(super) fn phase_index(phase: Phase) -> usize {
    match phase {
        Phase::RequestHeaders => 0,
        Phase::RequestBody => 1,
        Phase::ResponseHeaders => 2,
        Phase::ResponseBody => 3,
        Phase::Logging => 4,
    }
}

/// A text as it was written.
pub(super) fn written(expr: &Expr) -> String {
    let mut out = String::new();
    for part in &expr.0 {
        match part {
            ExprPart::Text(text) => out.push_str(text),
            ExprPart::Macro(variable, None) => out.push_str(&format!("%{{{}}}", variable.name())),
            ExprPart::Macro(variable, Some(key)) => out.push_str(&format!("%{{{}.{key}}}", variable.name())),
        }
    }
    out
}
