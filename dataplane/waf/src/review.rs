//! A review of SecLang: what of a text contradicts the policy it is part of, and what of it has no effect.
//!
//! A policy's fields are the authority for what both can say ([`Fields`]): a setting may say the same, but neither changes
//! what they say nor goes unsaid. Values of ModSecurity's recommended configuration are taken for defaults that came with
//! a file, and are remarks; other values that contradict are mistakes. Rules are looked at without compiling them: a remark
//! on one holds whatever stands beside it, but for collections that others open ([`Beside`]).
//!
//! Left to [`crate::engine`]: what cannot be compiled, and references that lead nowhere.

use crate::bundle::Mistake;
use crate::seclang::{Directive, DirectiveKind};
use crate::told::Told;

mod filled;
mod never;
mod opened;
mod settings;

pub use opened::Beside;
pub(crate) use opened::{Openings, Part};

/// What a policy's own fields say that SecLang can say too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `spec.mode` is `Enforce`.
    pub enforces: bool,
    /// `spec.body.inspect`, bytes.
    pub inspect: u64,
    /// `spec.body.onExceed` is `Reject`.
    pub reject_larger: bool,
    /// `spec.body.response.inspect`, bytes; none where responses are not inspected.
    pub inspect_response: Option<u64>,
}

/// What there is to say of a text.
#[derive(Debug, Default)]
pub struct Review {
    /// What contradicts the policy. After a hundred one more says how many there are besides.
    pub errors: Vec<Mistake>,
    /// What has no effect; likewise.
    pub warnings: Vec<Mistake>,
}

/// Reviews directives as part of a policy, or, without one, as files that any policy may take. Nothing runs beside them.
#[must_use]
pub fn review(directives: &[Directive], policy: Option<&Fields>) -> Review {
    review_beside(directives, policy, Beside::Alone)
}

/// As [`review`], of directives that run with others.
#[must_use]
pub fn review_beside(directives: &[Directive], policy: Option<&Fields>, beside: Beside<'_>) -> Review {
    let (mut errors, mut warnings) = (Told::default(), Told::default());
    let opened = opened::Opened::new(directives, beside);
    for (number, directive) in directives.iter().enumerate() {
        match &directive.value {
            DirectiveKind::Setting(setting) => match settings::judge(setting, policy) {
                settings::Judgement::Fine => {}
                settings::Judgement::Contradicts(message) => errors.push(at(directive, message)),
                settings::Judgement::Idle(message) => warnings.push(at(directive, message)),
            },
            DirectiveKind::Rule(rule) => {
                let place = never::Place::of(rule, number, policy, &opened);
                place.remarks(rule, &directive.position, &mut |remark| warnings.push(remark));
            }
            _ => {}
        }
    }
    Review {
        errors: errors.told(),
        warnings: warnings.told(),
    }
}

fn at(directive: &Directive, message: String) -> Mistake {
    Mistake {
        position: directive.position.clone(),
        message,
    }
}
