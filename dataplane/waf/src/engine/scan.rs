//! Looking for many patterns at once.
//!
//! Patterns are put into groups, each a lazy automaton that says whether *any* of its patterns is in a text. In ordinary
//! traffic none is, and one pass has answered for all. Where one is, or where the automaton would have to grow beyond its
//! bound, each pattern is asked by itself, which takes linear time too; a group that keeps hitting its bound is left alone for
//! a while, so that whoever sends texts that blow automata up gains nothing by it. Lists of phrases are put into groups of
//! another kind, which say exactly whose phrases are in a text.
//!
//! What is asked for has a number, its bit; a pass over a text answers for all bits of a group.
//!
//! Invariant: a bit that is not set is exact; one that is set may be wrong.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind as PhraseMatch};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Hir;

/// Most bits.
pub(super) const BITS: usize = 128;

/// Most patterns of a group, and most states of its NFA.
const PATTERNS: usize = 12;
const STATES: usize = 8000;

/// Most bytes of a group's automaton, for each thread that uses it.
const CACHE: usize = 1 << 20;

/// Phrases of so many bytes together get an automaton that takes one step for each byte of a text, and some 200 bytes of
/// memory for each of theirs; more get one that is slower and smaller.
const DFA_BYTES: usize = 16 << 10;

/// For so many texts a group that hit its bound is left alone.
const REST: u32 = 64;

type NewCache = Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

/// What is looked for in one pass.
#[derive(Debug)]
pub(super) struct Group {
    /// Its bits.
    pub(super) members: u128,
    kind: Kind,
}

enum Kind {
    Patterns(Box<Patterns>),
    /// The automaton and whose phrase each is.
    Phrases(AhoCorasick, Vec<u8>),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Patterns(patterns) => f.debug_tuple("Patterns").field(&patterns.dfa.pattern_len()).finish(),
            Self::Phrases(_, of) => f.debug_tuple("Phrases").field(&of.len()).finish(),
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
    fn of_patterns(patterns: &[&Hir], bit: u8) -> Option<Self> {
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
        Some(Self {
            members: 1 << bit,
            kind: Kind::Patterns(Box::new(patterns)),
        })
    }

    /// Of lists of phrases and their bits.
    fn of_phrases(lists: &[(&[Vec<u8>], u8)]) -> Option<Self> {
        let of: Vec<u8> = lists.iter().flat_map(|(list, bit)| list.iter().map(|_| *bit)).collect();
        let bytes: usize = lists.iter().flat_map(|(list, _)| list.iter()).map(Vec::len).sum();
        let kind = if bytes <= DFA_BYTES {
            AhoCorasickKind::DFA
        } else {
            AhoCorasickKind::ContiguousNFA
        };
        let automaton = AhoCorasickBuilder::new()
            .kind(Some(kind))
            .ascii_case_insensitive(true)
            .match_kind(PhraseMatch::Standard)
            .build(lists.iter().flat_map(|(list, _)| list.iter()))
            .ok()?;
        let members = lists.iter().fold(0, |members, (_, bit)| members | 1 << bit);
        Some(Self {
            members,
            kind: Kind::Phrases(automaton, of),
        })
    }

    /// Which of its members may be in a text.
    pub(super) fn scan(&self, text: &[u8]) -> u128 {
        match &self.kind {
            Kind::Patterns(patterns) => {
                if patterns.may_match(text) {
                    self.members
                } else {
                    0
                }
            }
            Kind::Phrases(automaton, of) => {
                let mut hits = 0;
                for found in automaton.find_overlapping_iter(text) {
                    hits |= of.get(found.pattern().as_usize()).map_or(self.members, |bit| 1 << bit);
                    if hits == self.members {
                        break;
                    }
                }
                hits
            }
        }
    }

    /// How often its automaton hit its bound.
    #[cfg(test)]
    pub(super) fn overflows(&self) -> u64 {
        match &self.kind {
            Kind::Patterns(patterns) => patterns.overflows.load(Ordering::Relaxed),
            Kind::Phrases(..) => 0,
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

/// Puts what is wanted into groups: the keys say what may be together. Gives the groups, the group of each bit, and the bit
/// of each thing wanted, if it has one.
pub(super) fn group(wanted: &[(Wanted, String)]) -> (Vec<Group>, Vec<u8>, Vec<Option<u8>>) {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|index| {
        wanted
            .get(*index)
            .map(|(wanted, key)| (matches!(wanted, Wanted::Pattern(_)), key))
    });
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    let mut size = 0;
    for index in order {
        let Some((thing, key)) = wanted.get(index) else {
            continue;
        };
        let weight = match thing {
            Wanted::Pattern(hir) => weight(hir),
            Wanted::Phrases(_) => 1,
        };
        if weight > STATES / 2 {
            continue;
        }
        let fits = |chunk: &Vec<usize>| {
            chunk
                .first()
                .and_then(|first| wanted.get(*first))
                .is_some_and(|(other, other_key)| {
                    other_key == key && std::mem::discriminant(other) == std::mem::discriminant(thing)
                })
                && chunk.len() < PATTERNS
        };
        match chunks.last_mut().filter(|chunk| fits(chunk) && size + weight <= STATES) {
            Some(chunk) => {
                chunk.push(index);
                size += weight;
            }
            None => {
                chunks.push(vec![index]);
                size = weight;
            }
        }
    }
    let (mut groups, mut group_of, mut bits) = (Vec::new(), Vec::new(), vec![None; wanted.len()]);
    // One pattern by itself is what its own search is for.
    let is_phrases = |chunk: &[usize]| {
        chunk
            .first()
            .and_then(|first| wanted.get(*first))
            .is_some_and(|(thing, _)| matches!(thing, Wanted::Phrases(_)))
    };
    for chunk in chunks.iter().filter(|chunk| chunk.len() > 1 || is_phrases(chunk)) {
        let first_bit = group_of.len();
        let mut of_chunk = Vec::new();
        let mut hirs: Vec<&Hir> = Vec::new();
        let mut lists: Vec<(&[Vec<u8>], u8)> = Vec::new();
        for index in chunk {
            match wanted.get(*index) {
                Some((Wanted::Pattern(hir), _)) => {
                    hirs.push(hir);
                    of_chunk.push((*index, first_bit));
                }
                Some((Wanted::Phrases(list), _)) => {
                    let bit = first_bit + lists.len();
                    lists.push((list, bit as u8));
                    of_chunk.push((*index, bit));
                }
                None => {}
            }
        }
        let count = lists.len().max(1);
        if first_bit + count > BITS {
            break;
        }
        let made = if lists.is_empty() {
            Group::of_patterns(&hirs, first_bit as u8)
        } else {
            Group::of_phrases(&lists)
        };
        let Some(group) = made else { continue };
        group_of.extend(std::iter::repeat_n(groups.len() as u8, count));
        groups.push(group);
        for (index, bit) in of_chunk {
            if let Some(place) = bits.get_mut(index) {
                *place = Some(bit as u8);
            }
        }
    }
    (groups, group_of, bits)
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

    fn pattern(pattern: &str, key: &str) -> (Wanted, String) {
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(false)
            .build()
            .parse(pattern)
            .unwrap();
        (Wanted::Pattern(hir), key.to_owned())
    }

    #[test]
    fn a_group_says_none_only_where_no_pattern_matches() {
        let wanted = [
            pattern("union.*select", "a"),
            pattern("^ab+$", "a"),
            pattern("<script", "a"),
            pattern("lone", "b"),
        ];
        let (groups, group_of, bits) = group(&wanted);
        assert_eq!(groups.len(), 1);
        assert_eq!(group_of, [0]);
        assert_eq!(bits, [Some(0), Some(0), Some(0), None]);
        assert_eq!(groups[0].scan(b"x union all select y"), 1);
        assert_eq!(groups[0].scan(b"abbb"), 1);
        assert_eq!(groups[0].scan(b"abbb "), 0);
        assert_eq!(groups[0].scan(b"plain"), 0);
        assert_eq!(groups[0].scan(b""), 0);
    }

    #[test]
    fn phrases_of_many_lists_are_told_apart_in_one_pass() {
        let list = |words: &[&str]| Wanted::Phrases(words.iter().map(|word| word.as_bytes().to_vec()).collect());
        let wanted = [
            (list(&["bin/sh", "sh"]), "a".to_owned()),
            (list(&["sh", "curl"]), "a".to_owned()),
            (list(&["php"]), "a".to_owned()),
        ];
        let (groups, group_of, bits) = group(&wanted);
        assert_eq!((groups.len(), group_of), (1, vec![0, 0, 0]));
        assert_eq!(bits, [Some(0), Some(1), Some(2)]);
        assert_eq!(groups[0].scan(b"plain"), 0);
        assert_eq!(groups[0].scan(b"CURL x"), 0b010);
        assert_eq!(groups[0].scan(b"/bin/sh"), 0b011, "phrases within phrases are found");
        assert_eq!(groups[0].scan(b"sh.php"), 0b111);
    }

    #[test]
    fn a_group_whose_automaton_would_grow_without_bound_says_maybe_and_rests() {
        let (groups, _, _) = group(&[pattern("[ab]*a[ab]{60}c", "a"), pattern("[ab]*b[ab]{60}d", "a")]);
        let mut seed = 1_u32;
        let text: Vec<u8> = (0..200_000)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if seed >> 31 == 0 { b'a' } else { b'b' }
            })
            .collect();
        assert_eq!(groups[0].scan(&text), 1);
        assert_eq!(groups[0].overflows(), 1);
        assert_eq!(groups[0].scan(b"x"), 1, "it rests");
    }
}
