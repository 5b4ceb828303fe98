//! Which rules a removal, an update or an exclusion is about.

use regex::{Regex, RegexBuilder};

use super::{Draft, written};
use crate::engine::program::Rule;
use crate::seclang::{Action, RuleRange};

/// Most memory of the pattern of a tag or message.
const SIZE: usize = 256 << 10;

/// A [`RuleRange`] ready to be asked.
#[derive(Debug)]
pub(crate) enum Ranges {
    Ids(Vec<(u32, u32)>),
    Tag(Word),
    Msg(Word),
}

/// A whole text, or a pattern in one.
#[derive(Debug)]
pub(crate) enum Word {
    Whole(String),
    Pattern(Box<Regex>),
}

impl Word {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Whole(whole) => whole == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

impl Ranges {
    /// Of a directive: tags and messages are patterns.
    pub(crate) fn patterns(range: &RuleRange) -> Result<Self, String> {
        let pattern = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(SIZE)
                .build()
                .map(|regex| Word::Pattern(Box::new(regex)))
                .map_err(|error| format!("`{text}`: {error}"))
        };
        Ok(match range {
            RuleRange::Ids(ids) => Self::Ids(ids.clone()),
            RuleRange::Tag(text) => Self::Tag(pattern(text)?),
            RuleRange::Msg(text) => Self::Msg(pattern(text)?),
        })
    }

    /// Of `ctl` and of policies: tags and messages are whole.
    pub(crate) fn whole(range: &RuleRange) -> Self {
        match range {
            RuleRange::Ids(ids) => Self::Ids(ids.clone()),
            RuleRange::Tag(text) => Self::Tag(Word::Whole(text.clone())),
            RuleRange::Msg(text) => Self::Msg(Word::Whole(text.clone())),
        }
    }

    /// Whether a rule that is not compiled yet is among them.
    pub(super) fn has_draft(&self, draft: &Draft) -> bool {
        let actions = || draft.rule.actions.iter().map(|action| &action.value);
        match self {
            Self::Ids(ids) => has(ids, draft.id),
            Self::Tag(word) => actions().any(|action| matches!(action, Action::Tag(tag) if word.fits(&written(tag)))),
            Self::Msg(word) => actions().any(|action| matches!(action, Action::Msg(msg) if word.fits(&written(msg)))),
        }
    }

    /// Whether a compiled rule is among them.
    pub(crate) fn has_rule(&self, rule: &Rule) -> bool {
        match self {
            Self::Ids(ids) => has(ids, rule.id),
            Self::Tag(word) => rule.tags.iter().any(|tag| word.fits(tag)),
            Self::Msg(word) => word.fits(&rule.msg.written()),
        }
    }
}

fn has(ids: &[(u32, u32)], id: u32) -> bool {
    ids.iter().any(|(low, high)| (*low..=*high).contains(&id))
}
