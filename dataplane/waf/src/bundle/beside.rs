//! What own rules and directives do to the Core Rule Set that its verdict depends on.
//!
//! Everything the Core Rule Set finds only adds to a score. Few of its rules make a refusal of that: those that set scores
//! and thresholds up, those that add the scores up, and those that compare and refuse. Without one of these it finds and
//! refuses nothing.

use crate::bundle::Mistake;
use crate::engine::{Effect, How};
use crate::seclang::Position;
use crate::told::Told;

/// Rules that compare the scores of the others with the thresholds and refuse, and what stops without them.
pub const REFUSING: [(u32, &str); 2] = [
    (949_110, "no request is refused for its score"),
    (959_100, "no response is refused for its score"),
];

/// Rules that add up what those of paranoia level 1 found, and what stops without them.
const SUMMING: [(u32, &str); 2] = [
    (949_060, "no request is refused for what rules of paranoia level 1 find"),
    (
        959_060,
        "no response is refused for what rules of paranoia level 1 find",
    ),
];

/// Rules that set scores, thresholds and paranoia levels up.
pub const SETUP: (u32, u32) = (901_000, 901_999);

/// Whether it matters what is done to the rule with this id.
pub(super) fn matters(id: u32) -> bool {
    Part::of(id).is_some()
}

/// What a rule is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Setup,
    Sums(&'static str),
    Refuses(&'static str),
}

impl Part {
    fn of(id: u32) -> Option<Self> {
        let is_it = |(of, _): &&(u32, &str)| *of == id;
        if let Some((_, stops)) = REFUSING.iter().find(is_it) {
            return Some(Self::Refuses(stops));
        }
        if let Some((_, stops)) = SUMMING.iter().find(is_it) {
            return Some(Self::Sums(stops));
        }
        (SETUP.0..=SETUP.1).contains(&id).then_some(Self::Setup)
    }
}

/// Effects, as they are told: of one directive, one of a kind.
#[derive(Default)]
pub(super) struct Effects {
    told: Told<Mistake>,
    /// What was said last.
    last: Vec<(Position, &'static str, Part)>,
}

impl Effects {
    pub(super) fn add(&mut self, effect: Effect) {
        let Effect { at, how, always } = effect;
        let place = if always { "" } else { " where this rule matches" };
        let message = match how {
            How::TurnsOff => {
                "it matches always, and turns off for every request what rules after it would refuse".to_owned()
            }
            How::Skips(first, last, 1) if first == last => {
                format!("it skips rule {first} of the Core Rule Set{place}")
            }
            How::Skips(first, last, count) => {
                format!(
                    "it skips {count} rules of the Core Rule Set{place}, from {first} to {last}: own rules stand before all of them"
                )
            }
            How::Removes(id) => match self.part("removes", &at, id) {
                Some(part) => said("removes", id, part, place),
                None => return,
            },
            How::Hides(id) => match self.part("hides from", &at, id) {
                Some(part) => said("hides from", id, part, place),
                None => return,
            },
            How::SkipsOver(id) => match self.part("skips", &at, id) {
                Some(part) => said("skips", id, part, place),
                None => return,
            },
            How::Disarms(id) => match Part::of(id) {
                Some(Part::Refuses(stops)) => format!("with this rule {id} refuses nothing: {stops}"),
                _ => return,
            },
        };
        self.told.push(Mistake { position: at, message });
    }

    /// What a rule is for, if the same was not said of another.
    fn part(&mut self, does: &'static str, at: &Position, id: u32) -> Option<Part> {
        let part = Part::of(id)?;
        let known = self
            .last
            .iter()
            .any(|(of, did, to)| of == at && *did == does && *to == part);
        if known {
            return None;
        }
        if self.last.len() >= MOST_KNOWN {
            self.last.clear();
        }
        self.last.push((at.clone(), does, part));
        Some(part)
    }

    /// What there is to say.
    pub(super) fn told(self) -> Vec<Mistake> {
        self.told.told()
    }
}

/// Most of what was said that is remembered, so that it is not said again: more than one directive has.
const MOST_KNOWN: usize = 64;

fn said(does: &str, id: u32, part: Part, place: &str) -> String {
    match part {
        Part::Refuses(stops) => {
            format!("it {does} rule {id}, which refuses for what the others found: {stops}{place}")
        }
        Part::Sums(stops) => format!("it {does} rule {id}, which adds up what the others found: {stops}{place}"),
        Part::Setup => format!(
            "it {does} rule {id}{place}, which sets up what the others score and compare with: leave rules {} to {} alone",
            SETUP.0, SETUP.1
        ),
    }
}
