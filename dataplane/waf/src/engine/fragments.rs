//! Short texts of which a text must have one for a pattern to match in it.
//!
//! `union\s+select` needs `union`, or `select`; a list of phrases needs a part of one of them. They are looked for in one
//! pass, those of hundreds of patterns and of thousands of phrases ([`super::scan`]), and rule out what would otherwise go
//! over the text once each. Of all the texts that a pattern needs, those are chosen that are rarest in ordinary text; a
//! pattern that needs only what every text has gets none.
//!
//! Invariant: whatever matches has one of the fragments in it, but for the case of ASCII letters.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

use super::byteset::{frequency, frequency_of_all};

/// Most bytes of a fragment.
pub(super) const LENGTH: usize = 5;

/// Most fragments of a pattern.
const FRAGMENTS: usize = 512;

/// A pattern whose fragments are found more often than once in so many bytes of ordinary text gets none.
const RARE: f64 = 50_000.0;

/// Most texts that a part of a pattern is worked out to, most bytes of one, and most turns of a repetition.
const TEXTS: usize = 128;
const BYTES: usize = 24;
const TURNS: u32 = 4;

/// Fragments, in lower case, and how often one of them is found at a place in ordinary text.
#[derive(Clone, Debug)]
struct Fragments {
    texts: Vec<Vec<u8>>,
    chance: f64,
}

/// What is known of the matches of a part of a pattern.
#[derive(Default)]
struct Part {
    /// All of them, in lower case, if they are few.
    all: Option<Vec<Vec<u8>>>,
    /// What each has one of.
    needed: Option<Fragments>,
}

/// The fragments of a pattern, if it has any that are rare.
pub(super) fn of_pattern(tree: &Hir) -> Option<Vec<Vec<u8>>> {
    let fragments = part(tree).fragments()?;
    (fragments.chance * RARE <= 1.0).then_some(fragments.texts)
}

/// The fragments of phrases, one of each.
pub(super) fn of_phrases(phrases: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = phrases
        .iter()
        .map(|phrase| rarest(&phrase.to_ascii_lowercase()).to_vec())
        .collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

fn part(tree: &Hir) -> Part {
    let exactly = |texts| Part {
        all: Some(texts),
        needed: None,
    };
    match tree.kind() {
        HirKind::Empty | HirKind::Look(_) => exactly(vec![Vec::new()]),
        HirKind::Literal(literal) => exactly(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => Part {
            all: bytes_of(class),
            needed: None,
        },
        HirKind::Capture(capture) => part(&capture.sub),
        HirKind::Repetition(repetition) => repeated(repetition),
        HirKind::Concat(parts) => one_after_another(parts),
        HirKind::Alternation(branches) => one_of(branches),
    }
}

impl Part {
    /// The rarest that every match has one of.
    fn fragments(self) -> Option<Fragments> {
        let of_all = self.all.and_then(|all| Fragments::of(&all));
        rarer(self.needed, of_all)
    }
}

impl Fragments {
    /// One part of each text; none if a text is empty.
    fn of(texts: &[Vec<u8>]) -> Option<Self> {
        if texts.iter().any(Vec::is_empty) {
            return None;
        }
        Self::new(of_phrases(texts))
    }

    fn new(texts: Vec<Vec<u8>>) -> Option<Self> {
        let chance = texts.iter().map(|text| chance(text)).sum();
        (texts.len() <= FRAGMENTS).then_some(Self { texts, chance })
    }
}

fn rarer(one: Option<Fragments>, other: Option<Fragments>) -> Option<Fragments> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.chance <= other.chance { one } else { other }),
        (one, other) => one.or(other),
    }
}

/// The bytes of a class as texts, if they are few.
fn bytes_of(class: &Class) -> Option<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    match class {
        Class::Bytes(class) => {
            for range in class.ranges() {
                bytes.extend(range.start()..=range.end());
            }
        }
        // Only ASCII characters are bytes.
        Class::Unicode(class) => {
            for range in class.ranges() {
                let (start, end) = (u8::try_from(range.start()).ok()?, u8::try_from(range.end()).ok()?);
                if end > 127 {
                    return None;
                }
                bytes.extend(start..=end);
            }
        }
    }
    bytes.make_ascii_lowercase();
    bytes.sort_unstable();
    bytes.dedup();
    (bytes.len() <= 10).then(|| bytes.into_iter().map(|byte| vec![byte]).collect())
}

fn repeated(repetition: &Repetition) -> Part {
    let sub = part(&repetition.sub);
    if repetition.min == 0 {
        let all = sub.all.filter(|_| repetition.max == Some(1)).map(|mut all| {
            all.push(Vec::new());
            all
        });
        return Part { all, needed: None };
    }
    let turns = repetition.min.min(TURNS);
    let power = sub.all.as_ref().and_then(|once| {
        let mut power = once.clone();
        for _ in 1..turns {
            power = joined(&power, once)?;
        }
        Some(power)
    });
    if repetition.max == Some(turns) {
        return Part {
            all: power,
            needed: sub.fragments(),
        };
    }
    let of_power = power.and_then(|power| Fragments::of(&power));
    Part {
        all: None,
        needed: rarer(sub.fragments(), of_power),
    }
}

fn one_after_another(parts: &[Hir]) -> Part {
    let mut needed = None;
    let mut is_whole = true;
    // What stands together, up to here.
    let mut run = vec![Vec::new()];
    for tree in parts {
        let Part {
            all: here,
            needed: inside,
        } = part(tree);
        needed = rarer(needed, inside);
        let longer = here.as_ref().and_then(|here| joined(&run, here));
        run = longer.unwrap_or_else(|| {
            is_whole = false;
            needed = rarer(needed.take(), Fragments::of(&run));
            here.unwrap_or_else(|| vec![Vec::new()])
        });
    }
    needed = rarer(needed, Fragments::of(&run));
    Part {
        all: is_whole.then_some(run),
        needed,
    }
}

fn one_of(branches: &[Hir]) -> Part {
    let mut all = Some(Vec::new());
    let mut needed = Some(Vec::new());
    for branch in branches {
        let branch = part(branch);
        all = match (all, &branch.all) {
            (Some(mut all), Some(more)) if all.len() + more.len() <= TEXTS => {
                all.extend_from_slice(more);
                Some(all)
            }
            _ => None,
        };
        needed = match (needed, branch.fragments()) {
            (Some(mut needed), Some(more)) if needed.len() + more.texts.len() <= FRAGMENTS => {
                needed.extend(more.texts);
                Some(needed)
            }
            _ => None,
        };
    }
    let needed = needed.and_then(|mut needed| {
        needed.sort_unstable();
        needed.dedup();
        Fragments::new(needed)
    });
    Part { all, needed }
}

/// Each text of one list followed by each of another; none if that is too much.
fn joined(first: &[Vec<u8>], second: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let longest = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).max().unwrap_or(0);
    if first.len() * second.len() > TEXTS || longest(first) + longest(second) > BYTES {
        return None;
    }
    let each = first
        .iter()
        .flat_map(|start| second.iter().map(move |end| [start.as_slice(), end].concat()));
    Some(each.collect())
}

/// The part of a text that is rarest.
fn rarest(text: &[u8]) -> &[u8] {
    let parts = text.windows(LENGTH.min(text.len()).max(1));
    parts.min_by(|a, b| chance(a).total_cmp(&chance(b))).unwrap_or(text)
}

/// How often a text is found at a place in ordinary text.
fn chance(text: &[u8]) -> f64 {
    let product = |product, byte: &u8| product * f64::from(frequency(*byte));
    text.iter().fold(1.0, product) / ALL_BYTES.powi(text.len() as i32)
}

const ALL_BYTES: f64 = frequency_of_all() as f64;

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pattern: &str) -> Hir {
        regex_syntax::ParserBuilder::new()
            .utf8(false)
            .unicode(false)
            .build()
            .parse(pattern)
            .unwrap()
    }

    fn of(pattern: &str) -> Option<Vec<String>> {
        let texts = of_pattern(&tree(pattern))?;
        Some(
            texts
                .iter()
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect(),
        )
    }

    #[test]
    fn a_pattern_needs_the_rarest_of_what_stands_in_every_match() {
        assert_eq!(of(r"(?i)a.*UNION\s+all").unwrap(), ["union"]);
        assert_eq!(of(r"x(?:<script|<iframe)y+").unwrap(), ["x<ifr", "x<scr"]);
        assert_eq!(of(r"\b(?i:load_file|benchmark)\s*\(").unwrap(), ["bench", "d_fil"]);
        assert_eq!(of(r"/etc/(?:pass|shad)?wd").unwrap(), ["/etc/"]);
        assert_eq!(of(r"(?:;\$){2}").unwrap(), [";$;$"]);
    }

    #[test]
    fn what_every_text_has_or_may_be_left_out_is_no_fragment() {
        for pattern in ["a*", "[a-z]+", "x|", "(?:select)?", "[^0-9a-z]x", "a|union", "e"] {
            assert_eq!(of(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn whatever_matches_has_one_of_the_fragments() {
        let cases: [(&str, &[&str]); 6] = [
            (r"(?i)un?ion(?:\s|/\*)+(?:all|select)", &["UNION/*select", "uion all"]),
            (r"^\$\{(?:jndi|env)?:[a-z]{2,4}\}$", &["${:ab}", "${jndi:abcd}"]),
            (r"(?:ab){2,}<<|cd{3}>>", &["ababab<<", "cddd>>"]),
            (r"(?:\.\./){1,3}etc", &["../etc", "../../../etc"]),
            (r#"["'`]or["'`]=["'`]"#, &["'or'='", "\"or`=\""]),
            (r"\bfoo\Bbar_(?:x|yy|zzz)!", &["foobar_yy!"]),
        ];
        for (pattern, texts) in cases {
            let fragments = of_pattern(&tree(pattern)).unwrap_or_else(|| panic!("{pattern} has none"));
            let regex = regex::bytes::Regex::new(pattern).unwrap();
            for text in texts {
                assert!(regex.is_match(text.as_bytes()), "{pattern} {text}");
                let lower = text.to_ascii_lowercase();
                let has = |fragment: &Vec<u8>| memchr::memmem::find(lower.as_bytes(), fragment).is_some();
                assert!(fragments.iter().any(has), "{pattern} {text} {fragments:?}");
            }
        }
    }

    #[test]
    fn fragments_of_phrases_are_parts_of_each() {
        let phrases = ["etc/passwd", "sh", "Bin/sh"].map(|text| text.as_bytes().to_vec());
        let texts = of_phrases(&phrases);
        assert_eq!(texts.len(), 3);
        assert!(texts.contains(&b"sh".to_vec()) && texts.iter().all(|text| text.len() <= LENGTH));
    }
}
