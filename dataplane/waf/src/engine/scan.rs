//! Looking for many patterns at once.
//!
//! What patterns and lists of phrases need ([`super::fragments`]) is looked for in one pass for all of them
//! ([`super::finder`]); in ordinary traffic hardly any of it is there. Patterns that need nothing rare are put into groups,
//! each a lazy automaton that says whether *any* of its patterns is in a text. In ordinary traffic none is, and one pass has
//! answered for all. Where one is, or where the automaton would have to grow beyond its bound, each pattern is asked by
//! itself, which takes linear time too; a group that keeps hitting its bound is left alone for a while, so that whoever
//! sends texts that blow automata up gains nothing by it.
//!
//! What is asked for has a number, its bit; a pass over a text answers for all bits of a group.
//!
//! Invariant: a bit that is not set is exact; one that is set may be wrong.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

use super::finder::{self, Finder};
use super::fragments;
use super::hits::{BITS, Hits};

/// Most groups. Those of patterns have a bit each, and fragments have what is left.
const GROUPS: usize = 128;
const FRAGMENTS: usize = BITS - GROUPS;

/// Most patterns of a group, and most states of its NFA.
const PATTERNS: usize = 12;
const STATES: usize = 8000;

/// Most bytes of fragments that are looked for, over all groups. Each takes 128 bytes of memory at most.
const FRAGMENT_BYTES: usize = 4 * finder::STATES;

/// Most bytes of a group's automaton, for each thread that uses it.
const CACHE: usize = 1 << 20;

/// For so many texts a group that hit its bound is left alone.
const REST: u32 = 64;

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// What is looked for in one pass.
#[derive(Debug)]
pub(super) struct Group {
    /// Its bits.
    pub(super) members: Hits,
    kind: Kind,
}

enum Kind {
    Patterns(Box<Patterns>),
    Fragments(Box<Finder>),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Patterns(patterns) => f.debug_tuple("Patterns").field(&patterns.dfa.pattern_len()).finish(),
            Self::Fragments(_) => f.write_str("Fragments"),
        }
    }
}

struct Patterns {
    dfa: DFA,
    caches: Pool<Cache, NewCache>,
    /// Texts for which it still rests.
    rest: AtomicU32,
    /// How often it hit its bound.
    overflows: AtomicU64,
}

impl Group {
    fn of_patterns(patterns: &[&Hir], bit: u16) -> Option<Self> {
        let nfa = NFA::compiler()
            .configure(NFA::config().shrink(false).nfa_size_limit(Some(8 << 20)))
            .build_many_from_hir(patterns)
            .ok()?;
        let config = DFA::config()
            .match_kind(MatchKind::LeftmostFirst)
            .cache_capacity(CACHE)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(1))
            .minimum_bytes_per_state(Some(16));
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let maker = dfa.clone();
        let new: NewCache = Box::new(move || maker.create_cache());
        let (rest, overflows) = (AtomicU32::new(0), AtomicU64::new(0));
        let patterns = Patterns {
            dfa,
            caches: Pool::new(new),
            rest,
            overflows,
        };
        let mut members = Hits::default();
        members.insert(bit);
        Some(Self {
            members,
            kind: Kind::Patterns(Box::new(patterns)),
        })
    }

    /// Of lists of fragments and their bits.
    fn of_fragments(lists: &[(&[Vec<u8>], u16)]) -> Option<Self> {
        let each = lists
            .iter()
            .flat_map(|(list, bit)| list.iter().map(move |text| (text.as_slice(), *bit)));
        let finder = Finder::new(each)?;
        let mut members = Hits::default();
        lists.iter().for_each(|(_, bit)| members.insert(*bit));
        Some(Self {
            members,
            kind: Kind::Fragments(Box::new(finder)),
        })
    }

    /// Adds those of its members that may be in a text.
    pub(super) fn scan(&self, text: &[u8], hits: &mut Hits) {
        match &self.kind {
            Kind::Patterns(patterns) => {
                if patterns.may_match(text) {
                    hits.union(&self.members);
                }
            }
            Kind::Fragments(finder) => finder.find(text, hits),
        }
    }

    /// How often its automaton hit its bound.
    #[cfg(test)]
    pub(super) fn overflows(&self) -> u64 {
        match &self.kind {
            Kind::Patterns(patterns) => patterns.overflows.load(Ordering::Relaxed),
            Kind::Fragments(..) => 0,
        }
    }
}

impl Patterns {
    fn may_match(&self, text: &[u8]) -> bool {
        let rest = self.rest.load(Ordering::Relaxed);
        if rest > 0 {
            self.rest.store(rest - 1, Ordering::Relaxed);
            return true;
        }
        let mut cache = self.caches.get();
        let input = Input::new(text).anchored(Anchored::No).earliest(true);
        self.dfa.try_search_fwd(&mut cache, &input).map_or_else(
            |_| {
                self.rest.store(REST, Ordering::Relaxed);
                self.overflows.fetch_add(1, Ordering::Relaxed);
                true
            },
            |found| found.is_some(),
        )
    }
}

/// Something to look for.
#[derive(Debug)]
pub(super) enum Wanted {
    Pattern(Hir),
    Phrases(Vec<Vec<u8>>),
}

/// What may be together: the fragments that have the first in common, and the patterns that have the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) fragments: String,
    pub(super) patterns: String,
}

/// The groups, the group of each bit, and the bit of each thing that is wanted, if it has one.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) all: Vec<Group>,
    pub(super) of_bit: Vec<u8>,
    pub(super) bits: Vec<Option<u16>>,
}

/// Puts what is wanted into groups.
pub(super) fn group(wanted: &[(Wanted, Keys)]) -> Groups {
    let mut groups = Groups {
        bits: vec![None; wanted.len()],
        ..Groups::default()
    };
    let size = |list: &[Vec<u8>]| list.iter().map(Vec::len).sum::<usize>();
    let mut of_fragments: Vec<_> = wanted
        .iter()
        .enumerate()
        .filter_map(|(index, (thing, keys))| Some((index, thing.fragments()?, keys)))
        .collect();
    of_fragments.sort_by_key(|(_, _, keys)| &keys.fragments);
    let fragments = of_fragments
        .iter()
        .map(|(index, list, keys)| (*index, list.as_slice(), *keys));
    let together = |a: &Keys, b: &Keys| a.fragments == b.fragments;
    let mut left = FRAGMENT_BYTES;
    for chunk in chunks(fragments, together, size, FRAGMENTS, finder::STATES - 1) {
        let needed: usize = chunk.iter().map(|(_, list)| size(list)).sum();
        if let Some(after) = left.checked_sub(needed) {
            left = after;
            groups.add_fragments(&chunk);
        }
    }
    let mut of_patterns: Vec<_> = wanted
        .iter()
        .zip(&groups.bits)
        .enumerate()
        .filter_map(|(index, ((thing, keys), bit))| match (thing, bit) {
            (Wanted::Pattern(tree), None) if weight(tree) <= STATES / 2 => Some((index, tree, keys)),
            _ => None,
        })
        .collect();
    of_patterns.sort_by_key(|(_, _, keys)| &keys.patterns);
    let together = |a: &Keys, b: &Keys| a.patterns == b.patterns;
    for chunk in chunks(of_patterns.into_iter(), together, weight, PATTERNS, STATES) {
        // One pattern by itself is what its own search is for.
        if chunk.len() > 1 {
            groups.add_patterns(&chunk);
        }
    }
    groups
}

/// Divides what is in order of its keys into runs that are not too many and not too large; what is too large alone is left
/// out.
fn chunks<'k, T: Copy>(
    things: impl Iterator<Item = (usize, T, &'k Keys)>,
    together: impl Fn(&Keys, &Keys) -> bool,
    size: impl Fn(T) -> usize,
    most: usize,
    room: usize,
) -> Vec<Vec<(usize, T)>> {
    let mut chunks: Vec<Vec<(usize, T)>> = Vec::new();
    let mut last: Option<(&'k Keys, usize)> = None;
    for (index, thing, keys) in things {
        let size = size(thing);
        if size > room {
            continue;
        }
        match (chunks.last_mut(), last) {
            (Some(chunk), Some((key, taken))) if together(key, keys) && chunk.len() < most && taken + size <= room => {
                chunk.push((index, thing));
                last = Some((key, taken + size));
            }
            _ => {
                chunks.push(vec![(index, thing)]);
                last = Some((keys, size));
            }
        }
    }
    chunks
}

impl Wanted {
    fn fragments(&self) -> Option<Vec<Vec<u8>>> {
        match self {
            Self::Pattern(tree) => fragments::of_pattern(tree),
            Self::Phrases(phrases) => Some(fragments::of_phrases(phrases)),
        }
    }
}

impl Groups {
    /// Each list has a bit of its own.
    fn add_fragments(&mut self, chunk: &[(usize, &[Vec<u8>])]) {
        let first = self.of_bit.len() as u16;
        let lists: Vec<(&[Vec<u8>], u16)> = chunk.iter().map(|(_, list)| *list).zip(first..).collect();
        if self.all.len() < GROUPS
            && self.of_bit.len() + lists.len() <= FRAGMENTS
            && let Some(group) = Group::of_fragments(&lists)
        {
            self.add(group, chunk.iter().map(|(index, _)| *index).zip(first..).collect());
        }
    }

    /// All patterns have one bit.
    fn add_patterns(&mut self, chunk: &[(usize, &Hir)]) {
        let bit = self.of_bit.len() as u16;
        let trees: Vec<&Hir> = chunk.iter().map(|(_, tree)| *tree).collect();
        if self.all.len() < GROUPS
            && self.of_bit.len() < BITS
            && let Some(group) = Group::of_patterns(&trees, bit)
        {
            self.add(group, chunk.iter().map(|(index, _)| (*index, bit)).collect());
        }
    }

    fn add(&mut self, group: Group, members: Vec<(usize, u16)>) {
        let number = self.all.len() as u8;
        self.all.push(group);
        for (index, bit) in members {
            self.of_bit.resize(self.of_bit.len().max(usize::from(bit) + 1), number);
            if let Some(place) = self.bits.get_mut(index) {
                *place = Some(bit);
            }
        }
    }
}

/// About how many NFA states a pattern takes.
pub(super) fn weight(hir: &Hir) -> usize {
    use regex_syntax::hir::HirKind;
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1) as usize;
            weight(&repetition.sub).saturating_mul(times)
        }
        HirKind::Capture(capture) => weight(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(weight).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &str) -> Keys {
        Keys {
            fragments: key.to_owned(),
            patterns: key.to_owned(),
        }
    }

    fn pattern(pattern: &str, key: &str) -> (Wanted, Keys) {
        let tree = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(false)
            .build()
            .parse(pattern)
            .unwrap();
        (Wanted::Pattern(tree), keys(key))
    }

    /// The bits that a group says may be in a text.
    fn scan(group: &Group, text: &[u8]) -> Vec<u16> {
        let mut hits = Hits::default();
        group.scan(text, &mut hits);
        (0..BITS as u16).filter(|bit| hits.has(*bit)).collect()
    }

    #[test]
    fn a_group_says_none_only_where_no_pattern_matches() {
        let wanted = [
            pattern("u+.*s[a-z]", "a"),
            pattern("^ab+$", "a"),
            pattern("[<>]s", "a"),
            pattern("[a-z]l", "b"),
        ];
        let Groups { all, of_bit, bits } = group(&wanted);
        assert_eq!(all.len(), 1);
        assert_eq!(of_bit, [0]);
        assert_eq!(bits, [Some(0), Some(0), Some(0), None]);
        assert_eq!(scan(&all[0], b"x union all select y"), [0]);
        assert_eq!(scan(&all[0], b"abbb"), [0]);
        assert_eq!(scan(&all[0], b"abbb "), [0; 0]);
        assert_eq!(scan(&all[0], b"plain"), [0; 0]);
        assert_eq!(scan(&all[0], b""), [0; 0]);
    }

    #[test]
    fn phrases_and_what_patterns_need_are_told_apart_in_one_pass() {
        let list = |words: &[&str]| Wanted::Phrases(words.iter().map(|word| word.as_bytes().to_vec()).collect());
        let wanted = [
            (list(&["bin/sh", "sh"]), keys("a")),
            (list(&["sh", "curl"]), keys("a")),
            pattern("(?i)<script[^>]*>", "a"),
            (list(&["php"]), keys("b")),
        ];
        let Groups { all, of_bit, bits } = group(&wanted);
        assert_eq!((all.len(), of_bit), (2, vec![0, 0, 0, 1]));
        assert_eq!(bits, [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(scan(&all[0], b"plain"), [0; 0]);
        assert_eq!(scan(&all[0], b"CURL x"), [1]);
        assert_eq!(scan(&all[0], b"/bin/sh"), [0, 1], "phrases within phrases are found");
        assert_eq!(scan(&all[0], b"<SCRIPT>php"), [2]);
        assert_eq!(scan(&all[1], b"<SCRIPT>php"), [3]);
    }

    #[test]
    fn a_list_that_is_too_large_has_no_bit_and_others_have() {
        let phrases = |count: u32, seed: u32| {
            Wanted::Phrases(
                (0..count)
                    .map(|at| format!("{:05x}", at.wrapping_mul(seed)).into_bytes())
                    .collect(),
            )
        };
        let wanted = [
            (phrases(200_000, 1), keys("a")),
            (phrases(9000, 7), keys("a")),
            (phrases(9000, 11), keys("a")),
        ];
        let Groups { all, bits, .. } = group(&wanted);
        assert_eq!((all.len(), bits), (2, vec![None, Some(0), Some(1)]));
    }

    #[test]
    fn a_group_whose_automaton_would_grow_without_bound_says_maybe_and_rests() {
        let Groups { all, .. } = group(&[pattern("[a-y]*a[a-y]{60}z", "a"), pattern("[a-y]*b[a-y]{60}z", "a")]);
        let mut seed = 1_u32;
        let text: Vec<u8> = (0..200_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if seed >> 31 == 0 { b'a' } else { b'b' }
            })
            .collect();
        assert_eq!(scan(&all[0], &text), [0]);
        assert_eq!(all[0].overflows(), 1);
        assert_eq!(scan(&all[0], b"x"), [0], "it rests");
    }
}
