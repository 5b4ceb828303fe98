//! One directive: its name says what its words are.

use super::action::{actions, ids};
use super::operator::operator;
use super::suggest::{did_you_mean, shown};
use super::target::{plain_target, targets};
use super::words::Word;
use super::{
    Action, DirectiveKind, Errors, Mistake, Operator, OperatorKind, Phase, Position, Rule, RuleRange, Standing,
    TargetUpdate, setting, standing,
};

/// What was read.
pub(super) enum Read {
    /// A rule, whose place in a chain is for the caller to find.
    Rule(Rule),
    /// Anything else.
    Other(DirectiveKind),
    /// Nothing but mistakes, all told: what it was meant to be, and whether a chain goes on after it, is not known.
    Nothing,
}

/// Reads a directive. `position` is that of its name.
pub(super) fn read(name: &str, words: &[Word<'_>], position: &Position, errors: &mut Errors) -> Read {
    let mut reader = Reader {
        name,
        words,
        position,
        errors,
    };
    let lower = name.to_ascii_lowercase();
    let kind = match lower.as_str() {
        "secrule" | "secaction" => {
            let rule = reader.rule(lower == "secrule");
            return rule.map_or(Read::Nothing, Read::Rule);
        }
        "secmarker" => reader.text("a name").map(DirectiveKind::Marker),
        "seccomponentsignature" => reader
            .text("a name and a version")
            .map(DirectiveKind::ComponentSignature),
        "secdefaultaction" => reader.default_action(),
        "secruleremovebyid" => reader.ids().map(DirectiveKind::Remove),
        "secruleremovebytag" => reader
            .text("a tag")
            .map(|tag| DirectiveKind::Remove(RuleRange::Tag(tag))),
        "secruleremovebymsg" => reader
            .text("a message")
            .map(|msg| DirectiveKind::Remove(RuleRange::Msg(msg))),
        "secruleupdatetargetbyid" => reader.update_target(|text| ids(text).map(RuleRange::Ids)),
        "secruleupdatetargetbytag" => reader.update_target(|text| Ok(RuleRange::Tag(text.to_owned()))),
        "secruleupdatetargetbymsg" => reader.update_target(|text| Ok(RuleRange::Msg(text.to_owned()))),
        "secruleupdateactionbyid" => reader.update_action(),
        _ => reader.setting(),
    };
    kind.map_or(Read::Nothing, Read::Other)
}

struct Reader<'r, 'l> {
    name: &'r str,
    words: &'r [Word<'l>],
    position: &'r Position,
    errors: &'r mut Errors,
}

impl<'r, 'l> Reader<'r, 'l> {
    /// Tells a mistake about the directive as a whole.
    fn wrong<T>(&mut self, message: String) -> Option<T> {
        self.errors.push(self.position.clone(), message);
        None
    }

    fn wrong_in<T>(&mut self, word: &Word<'_>, mistake: Mistake) -> Option<T> {
        self.errors.push(word.position(mistake.at), mistake.message);
        None
    }

    /// The only word.
    fn one(&mut self, what: &str) -> Option<&'r Word<'l>> {
        match self.words {
            [word] if !word.text.trim().is_empty() => Some(word),
            [] | [_] => self.wrong(format!("{} needs {what} after it", self.name)),
            [_, more, ..] => {
                let message = format!(
                    "{} takes {what} and no more; put quotes around it if it holds spaces",
                    self.name
                );
                self.wrong_in(more, Mistake::new(0, message))
            }
        }
    }

    /// The text of the only word.
    fn text(&mut self, what: &str) -> Option<String> {
        self.one(what).map(|word| word.text.clone().into_owned())
    }

    fn rule(&mut self, tested: bool) -> Option<Rule> {
        let mut rule = Rule::default();
        let words = if tested {
            let [subject, test, words @ ..] = self.words else {
                return self.wrong(
                    "SecRule needs targets, an operator and actions: SecRule ARGS \"@rx x\" \"id:1\"".to_owned(),
                );
            };
            match targets(&subject.text) {
                Ok(targets) if targets.iter().all(|target| target.exclude) => {
                    let message = "every target is left out (!); name what is inspected before them";
                    self.wrong_in::<()>(subject, Mistake::new(0, message));
                }
                Ok(targets) => rule.targets = targets,
                Err(mistake) => {
                    self.wrong_in::<()>(subject, mistake);
                }
            }
            match operator(&test.text) {
                Ok(operator) => rule.operator = operator,
                Err(mistake) => {
                    self.wrong_in::<()>(test, mistake);
                }
            }
            words
        } else {
            rule.operator = Operator {
                kind: OperatorKind::UnconditionalMatch,
                ..Operator::default()
            };
            self.words
        };
        match words {
            [] if tested => Some(rule),
            [] => self.wrong("SecAction needs actions after it: SecAction \"id:1,phase:1,pass\"".to_owned()),
            [list] => {
                let (actions, complete) = actions(list, self.errors);
                rule.actions = actions;
                complete.then_some(rule)
            }
            [_, more, ..] => {
                let message = format!(
                    "{} has a word too many; put quotes (\"…\") around words with spaces",
                    self.name
                );
                self.wrong_in(more, Mistake::new(0, message))
            }
        }
    }

    fn default_action(&mut self) -> Option<DirectiveKind> {
        let word = self.one("actions")?;
        let (actions, complete) = actions(word, self.errors);
        let mut phase = None;
        let mut decides = false;
        for action in &actions {
            match &action.value {
                Action::Phase(value) => phase = Some(*value),
                Action::Disruptive(_) => decides = true,
                Action::Status(_)
                | Action::Log
                | Action::NoLog
                | Action::AuditLog
                | Action::NoAuditLog
                | Action::Transform(_)
                | Action::TransformNone
                | Action::Tag(_) => {}
                _ => {
                    let message = "SecDefaultAction holds what all rules of a phase have in common: phase, a disruptive action, \
                                   logging, status and transformations; remove this one";
                    self.errors.push(action.position.clone(), message.to_owned());
                }
            }
        }
        if !complete {
            return None;
        }
        let phase: Option<Phase> = match phase {
            Some(phase) => Some(phase),
            None => self.wrong("SecDefaultAction needs a phase, such as phase:2".to_owned()),
        };
        if !decides {
            return self.wrong("SecDefaultAction needs one of pass, deny, drop, block, allow, redirect".to_owned());
        }
        Some(DirectiveKind::DefaultAction(phase?, actions))
    }

    fn ids(&mut self) -> Option<RuleRange> {
        if self.words.is_empty() {
            return self.wrong(format!("{} needs the id of a rule after it", self.name));
        }
        let mut all = Vec::new();
        for word in self.words {
            match ids(&word.text) {
                Ok(ranges) => all.extend(ranges),
                Err(message) => return self.wrong_in(word, Mistake::new(0, message)),
            }
        }
        Some(RuleRange::Ids(all))
    }

    fn update_target(&mut self, rules: fn(&str) -> Result<RuleRange, String>) -> Option<DirectiveKind> {
        let (which, what, replaced) = match self.words {
            [which, what] => (which, what, None),
            [which, what, replaced] => (which, what, Some(replaced)),
            _ => {
                return self.wrong(format!(
                    "{0} needs rules and targets, and may name a target that these replace: {0} … \"!ARGS:q\"",
                    self.name
                ));
            }
        };
        let rules = match rules(&which.text) {
            Ok(rules) => rules,
            Err(message) => return self.wrong_in(which, Mistake::new(0, message)),
        };
        let targets = match targets(&what.text) {
            Ok(targets) => targets,
            Err(mistake) => return self.wrong_in(what, mistake),
        };
        let replaces = match replaced.map(|word| plain_target(&word.text).map_err(|mistake| (word, mistake))) {
            None => None,
            Some(Ok(target)) => Some(target),
            Some(Err((word, mistake))) => return self.wrong_in(word, mistake),
        };
        Some(DirectiveKind::UpdateTarget(rules, TargetUpdate { targets, replaces }))
    }

    fn update_action(&mut self) -> Option<DirectiveKind> {
        let [which, list] = self.words else {
            return self.wrong(
                "SecRuleUpdateActionById needs the id of a rule and actions: SecRuleUpdateActionById 1 \"pass\""
                    .to_owned(),
            );
        };
        let (id, link) = which.text.split_once(':').unwrap_or((&which.text, "0"));
        let number = |text: &str| super::action::number(text, &(0..=u32::MAX));
        let (id, link) = match number(id).and_then(|id| Ok((id, number(link)?))) {
            Ok(both) => both,
            Err(message) => return self.wrong_in(which, Mistake::new(0, message)),
        };
        let (actions, complete) = actions(list, self.errors);
        for action in &actions {
            if matches!(action.value, Action::Id(_) | Action::Phase(_) | Action::Chain) {
                let message = "id, phase and chain of a rule cannot be changed; remove this one";
                self.errors.push(action.position.clone(), message.to_owned());
            }
        }
        complete.then_some(DirectiveKind::UpdateAction { id, link, actions })
    }

    fn setting(&mut self) -> Option<DirectiveKind> {
        if let Some(read) = setting::setting(self.name, self.words) {
            return match read {
                Ok(setting) => Some(DirectiveKind::Setting(setting)),
                Err((index, mistake)) => match self.words.get(index) {
                    Some(word) => self.wrong_in(word, mistake),
                    None => self.wrong(mistake.message),
                },
            };
        }
        if let Some(message) = setting::refusal(self.name) {
            return self.wrong(message);
        }
        if self.name.starts_with(['"', '\'']) {
            return self.wrong(
                "a line that begins with a quote; is a backslash missing at the end of the line before?".to_owned(),
            );
        }
        let known = standing::directives().filter(|(_, is)| !matches!(is, Standing::Refused(_)));
        let near = did_you_mean(self.name, known.map(|(name, _)| name));
        self.wrong(format!("there is no directive {}{near}", shown(self.name)))
    }
}
