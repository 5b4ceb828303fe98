//! Which rules are links of which chain, and what a rule must have and must not have for its place in it.

use super::{Action, Directive, DirectiveKind, Errors, Located, MAX_CHAIN, Rule};

/// The chain that is being read.
#[derive(Default)]
pub(super) struct Chain {
    /// The rules of it so far; empty when none is open. Nested only when it is whole, so that its depth is bounded.
    links: Vec<Located<Rule>>,
    /// A rule before was not understood: whether the next one is a link is not known.
    lost: bool,
}

impl Chain {
    /// Takes the next rule; gives the chain it ends, or the rule itself.
    pub(super) fn rule(&mut self, rule: Located<Rule>, sound: bool, errors: &mut Errors) -> Option<Directive> {
        let is_link = !self.links.is_empty();
        let id = rule
            .value
            .actions
            .iter()
            .find(|action| matches!(action.value, Action::Id(_)));
        if self.lost {
            // A rule with an id begins anew; one without may belong to the rule that was lost.
            id?;
            self.lost = false;
        }
        if sound {
            if is_link {
                check_link(&rule.value, errors);
            } else {
                check_starter(&rule, errors);
            }
        }
        let goes_on = rule.value.actions.iter().any(|action| action.value == Action::Chain);
        if self.links.len() >= MAX_CHAIN {
            errors.push(
                rule.position.clone(),
                format!("a chain of more than {MAX_CHAIN} rules; make it shorter"),
            );
            self.lose();
            return None;
        }
        self.links.push(rule);
        if goes_on { None } else { self.whole() }
    }

    /// Something that is no rule comes next, or the end.
    pub(super) fn end(&mut self, errors: &mut Errors) {
        self.lost = false;
        if let Some(last) = self.links.last() {
            let position = last
                .value
                .actions
                .iter()
                .find(|action| action.value == Action::Chain)
                .map_or_else(|| last.position.clone(), |action| action.position.clone());
            let message = "a chain that ends in nothing: no SecRule follows this one; add it, or remove chain";
            errors.push(position, message.to_owned());
        }
        self.links.clear();
    }

    /// A rule was not understood; what it belongs to, and what belongs to it, is dropped.
    pub(super) fn lose(&mut self) {
        self.links.clear();
        self.lost = true;
    }

    fn whole(&mut self) -> Option<Directive> {
        let mut next: Option<Located<Rule>> = None;
        for mut rule in self.links.drain(..).rev() {
            rule.value.next = next.map(Box::new);
            next = Some(rule);
        }
        next.map(|Located { value, position }| Located {
            value: DirectiveKind::Rule(Box::new(value)),
            position,
        })
    }
}

fn check_starter(rule: &Located<Rule>, errors: &mut Errors) {
    let (mut id, mut phase) = (false, false);
    for Located { value, position } in &rule.value.actions {
        let (seen, name) = match value {
            Action::Id(_) => (&mut id, "id"),
            Action::Phase(_) => (&mut phase, "phase"),
            _ => continue,
        };
        if std::mem::replace(seen, true) {
            errors.push(
                position.clone(),
                format!("a second {name} for one rule; remove one of them"),
            );
        }
    }
    if !id {
        let message = "a rule without id; add one, such as id:1000, that no other rule has";
        errors.push(rule.position.clone(), message.to_owned());
    }
}

/// What ModSecurity says of links: the chain as a whole has an id, a phase and a disruptive action, in its first rule.
fn check_link(rule: &Rule, errors: &mut Errors) {
    if let Some(id) = rule.actions.iter().find(|action| matches!(action.value, Action::Id(_))) {
        let message = "an id in a rule that the chain before makes a link; remove the id, or chain in the rule before";
        return errors.push(id.position.clone(), message.to_owned());
    }
    for Located { value, position } in &rule.actions {
        let name = match value {
            Action::Phase(_) => "phase",
            Action::Disruptive(_) => "a disruptive action",
            Action::Skip(_) => "skip",
            Action::Msg(_) => "msg",
            Action::Tag(_) => "tag",
            Action::Rev(_) => "rev",
            Action::Ver(_) => "ver",
            Action::Severity(_) => "severity",
            Action::Maturity(_) => "maturity",
            Action::Accuracy(_) => "accuracy",
            _ => continue,
        };
        let message = format!("{name} in a link of a chain; put it in the chain's first rule");
        errors.push(position.clone(), message);
    }
}
