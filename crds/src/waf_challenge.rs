//! Challenges: a little work for browsers before a page, as a WafPolicy takes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, PathMatch};

/// A little work that browsers have to do before they are let through: their script looks for a number, which takes them
/// a moment and a flood of clients a lot of time. Who has done it is let through for a while. What is no browser (no GET or
/// HEAD, or no `text/html` in Accept) cannot do it and is refused. Clients in addresses.allow are not asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// The paths for which everybody is asked. None: nobody is, but by limits with action Challenge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<PathMatch>,
    /// How hard the work is: one more doubles it. 16 is some 65,000 hashes, 20 a million.
    #[serde(default = "Challenge::difficulty")]
    #[schemars(range(min = 1, max = 24))]
    pub difficulty: u8,
    /// How long who has done it is let through.
    #[serde(default = "Challenge::lasts")]
    pub lasts: Duration,
}

impl Challenge {
    const fn difficulty() -> u8 {
        16
    }

    fn lasts() -> Duration {
        "1h".into()
    }
}

impl Default for Challenge {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            difficulty: Self::difficulty(),
            lasts: Self::lasts(),
        }
    }
}

/// What becomes of a request over a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LimitAction {
    /// It is refused: 429.
    #[default]
    Refuse,
    /// Its client gets a challenge, with status 429; who has done the work of one passes over the limit.
    Challenge,
}
