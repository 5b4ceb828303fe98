//! Sets of paths: exact, by prefix of path elements, or by regular expression.
//!
//! Paths are compared as given: the caller normalises (percent-encoding, dot segments, doubled slashes) before it asks,
//! and drops the query. Invariant: a lookup takes time linear in the path for each distinct length of prefix and each
//! expression of the set; both come from configuration, so no path can make it worse.

use std::{collections::HashMap, sync::Arc};

use regex::{Regex, RegexBuilder};

use crate::ConfigError;

/// Longest value of one pattern, in bytes.
pub const MAX_VALUE: usize = 4096;

/// Largest compiled regular expression, in bytes of its program. Each thread that matches it has a cache of at most the
/// same size besides.
pub const MAX_REGEX_SIZE: usize = 1 << 20;

/// How a pattern is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The whole path, byte for byte.
    Exact,
    /// Path elements, as in Gateway API: `/a` and `/a/` match `/a`, `/a/` and `/a/b`, not `/ab`. `/` matches every path.
    Prefix,
    /// A regular expression that must match the whole path. No look-around and no back-references; time is linear in
    /// the path. `(?i)` at the front ignores case. A comment of `(?x)` must end with a line feed.
    Regex,
}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// How it is compared.
    pub kind: Kind,
    /// A path that begins with `/`, or a regular expression. At most [`MAX_VALUE`] bytes.
    pub value: String,
}

impl Pattern {
    /// A pattern of `kind` with `value`, not yet checked.
    pub fn new(kind: Kind, value: impl Into<String>) -> Self {
        Self {
            kind,
            value: value.into(),
        }
    }
}

/// Patterns, compiled.
#[derive(Clone, Debug, Default)]
pub struct UriSet {
    /// Values as they were written, by index.
    values: Vec<Arc<str>>,
    exact: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    /// Without their trailing slash; `/` is the empty string.
    prefixes: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    /// The distinct lengths of `prefixes`, ascending.
    prefix_lengths: Vec<usize>,
    regexes: Vec<(u32, Regex)>,
}

impl UriSet {
    /// Compiles `patterns`; their order gives the indices that [`UriSet::matches`] returns.
    ///
    /// # Errors
    /// Names the first pattern that cannot be used, as `[index].value`: a path without leading slash, a value that is
    /// too long, a regular expression that does not parse or is larger than [`MAX_REGEX_SIZE`].
    pub fn new(patterns: &[Pattern]) -> Result<Self, ConfigError> {
        let mut set = Self::default();
        for (position, pattern) in patterns.iter().enumerate() {
            let error = |message: String| ConfigError::new(format!("[{position}].value"), message);
            let index = u32::try_from(position).map_err(|_| error("more patterns than a set can hold".into()))?;
            let value = pattern.value.as_str();
            if value.len() > MAX_VALUE {
                return Err(error(format!(
                    "{} bytes long; the longest allowed is {MAX_VALUE}",
                    value.len()
                )));
            }
            match pattern.kind {
                Kind::Regex => set.regexes.push((index, compile(value).map_err(error)?)),
                Kind::Exact | Kind::Prefix if !value.starts_with('/') => {
                    return Err(error(format!("`{value}` is not a path: a path begins with `/`")));
                }
                Kind::Exact => {
                    set.exact.entry(value.into()).or_insert(index);
                }
                Kind::Prefix => {
                    let elements = value.strip_suffix('/').unwrap_or(value);
                    set.prefixes.entry(elements.into()).or_insert(index);
                    set.prefix_lengths.push(elements.len());
                }
            }
            set.values.push(value.into());
        }
        set.prefix_lengths.sort_unstable();
        set.prefix_lengths.dedup();
        Ok(set)
    }

    /// The index of the first pattern, in the order they were given, that `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> Option<usize> {
        let mut first = if self.exact.is_empty() {
            None
        } else {
            self.exact.get(path).copied()
        };
        for &length in &self.prefix_lengths {
            // The prefix must end where an element does. Bytes, so that a length inside a character is no panic.
            match path.as_bytes().get(length) {
                None if path.len() < length => break,
                None | Some(b'/') => {}
                Some(_) => continue,
            }
            let found = path.get(..length).and_then(|prefix| self.prefixes.get(prefix)).copied();
            first = earlier(first, found);
        }
        for (index, regex) in &self.regexes {
            if first.is_some_and(|first| first < *index) {
                break;
            }
            if regex.is_match(path) {
                first = Some(*index);
                break;
            }
        }
        first.map(|index| index as usize)
    }

    /// The pattern at `index` as it was written.
    #[must_use]
    pub fn value(&self, index: usize) -> Option<&Arc<str>> {
        self.values.get(index)
    }

    /// Whether there is no pattern, so that nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

fn earlier(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (found, None) | (None, found) => found,
    }
}

fn compile(value: &str) -> Result<Regex, String> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX_SIZE)
            .dfa_size_limit(MAX_REGEX_SIZE)
            .build()
    };
    anchored(value, build).map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("regular expression `{value}` compiles to more than {limit} bytes: shorten its repetitions")
        }
        other => format!("regular expression `{value}` does not parse: {}", reason(&other)),
    })
}

/// What `build` makes of `value` anchored at both ends, and of nothing that is no expression alone: `a)|(b` is none, but
/// would be one between parentheses.
pub(crate) fn anchored<R>(value: &str, build: impl Fn(&str) -> Result<R, regex::Error>) -> Result<R, regex::Error> {
    build(value)?;
    build(&format!(r"\A(?:{value})\z"))
}

/// What is wrong, in one line: the parser's message quotes the expression over several, and the last says it.
pub(crate) fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn set(patterns: &[(Kind, &str)]) -> UriSet {
        let patterns: Vec<Pattern> = patterns
            .iter()
            .map(|(kind, value)| Pattern::new(*kind, *value))
            .collect();
        UriSet::new(&patterns).unwrap()
    }

    fn error(kind: Kind, value: &str) -> ConfigError {
        UriSet::new(&[Pattern::new(Kind::Exact, "/"), Pattern::new(kind, value)]).unwrap_err()
    }

    #[test]
    fn an_empty_set_matches_nothing() {
        assert_eq!(set(&[]).matches("/"), None);
        assert!(set(&[]).is_empty());
    }

    #[test]
    fn exact_is_the_whole_path() {
        let set = set(&[(Kind::Exact, "/login")]);
        assert_eq!(set.matches("/login"), Some(0));
        for other in ["/login/", "/Login", "/logi", "/login2", "/", ""] {
            assert_eq!(set.matches(other), None, "{other}");
        }
    }

    #[test]
    fn prefix_is_by_path_element_and_its_trailing_slash_is_ignored() {
        for value in ["/foo", "/foo/"] {
            let set = set(&[(Kind::Prefix, value)]);
            for inside in ["/foo", "/foo/", "/foo/bar", "/foo//"] {
                assert_eq!(set.matches(inside), Some(0), "{inside} below {value}");
            }
            for outside in ["/foobar", "/fo", "/", "/bar/foo", "/foo.html", ""] {
                assert_eq!(set.matches(outside), None, "{outside} below {value}");
            }
        }
    }

    #[test]
    fn the_root_prefix_matches_every_path() {
        let set = set(&[(Kind::Prefix, "/")]);
        for path in ["/", "/a", "/a/b", "//"] {
            assert_eq!(set.matches(path), Some(0), "{path}");
        }
    }

    #[test]
    fn a_regular_expression_must_match_the_whole_path() {
        let set = set(&[(Kind::Regex, r"/a|/ab|/user/\d+")]);
        for inside in ["/a", "/ab", "/user/7"] {
            assert_eq!(set.matches(inside), Some(0), "{inside}");
        }
        for outside in ["/abc", "/user/7/x", "x/a", "/user/", "/a\n"] {
            assert_eq!(set.matches(outside), None, "{outside:?}");
        }
    }

    #[test]
    fn inline_flags_work() {
        assert_eq!(set(&[(Kind::Regex, "(?i)/admin.*")]).matches("/ADMIN/x"), Some(0));
    }

    #[test]
    fn the_first_pattern_in_the_order_given_is_reported() {
        let set = set(&[
            (Kind::Regex, "/x/.*"),
            (Kind::Prefix, "/a"),
            (Kind::Regex, "/a/b/.*"),
            (Kind::Exact, "/a/b"),
            (Kind::Prefix, "/a/b"),
        ]);
        assert_eq!(set.matches("/a/b"), Some(1));
        assert_eq!(set.matches("/x/a"), Some(0));
        let behind = [
            (Kind::Regex, "/no"),
            (Kind::Regex, "/a.*"),
            (Kind::Prefix, "/a"),
            (Kind::Exact, "/a"),
        ];
        assert_eq!(self::set(&behind).matches("/a"), Some(1));
        assert_eq!(set.value(4).map(|value| &**value), Some("/a/b"));
        assert_eq!(set.value(5), None);
    }

    #[test]
    fn a_length_inside_a_character_is_no_match_and_no_panic() {
        let set = set(&[(Kind::Prefix, "/abcd"), (Kind::Prefix, "/é")]);
        assert_eq!(set.matches("/aé"), None);
        assert_eq!(set.matches("/é/x"), Some(1));
    }

    #[test]
    fn a_bad_expression_is_named_with_the_reason() {
        let unclosed = error(Kind::Regex, "/a(b");
        assert_eq!(unclosed.field, "[1].value");
        assert_eq!(
            unclosed.message,
            "regular expression `/a(b` does not parse: unclosed group"
        );
        assert!(error(Kind::Regex, "/a)|(/b").message.contains("unopened group"));
        assert!(error(Kind::Regex, r"/(?=a)").message.contains("look-around"));
        assert!(
            error(Kind::Regex, r"/(\w{1000}){1000}")
                .message
                .contains("compiles to more than 1048576 bytes")
        );
    }

    #[test]
    fn a_value_that_is_no_path_or_too_long_is_refused() {
        assert_eq!(
            error(Kind::Prefix, "admin").message,
            "`admin` is not a path: a path begins with `/`"
        );
        assert!(error(Kind::Exact, "").message.contains("not a path"));
        assert!(
            error(Kind::Exact, &"/a".repeat(MAX_VALUE))
                .message
                .contains("8192 bytes long")
        );
    }

    #[test]
    fn random_sets_agree_with_the_definition() {
        let mut random = Random::new(11);
        let path = |random: &mut Random| -> String {
            (0..random.below(4)).fold(String::from("/"), |path, _| {
                path + ["a", "b", "ab", "/", "a/", "é"].get(random.below(6) as usize).unwrap()
            })
        };
        for _ in 0..300 {
            let patterns: Vec<Pattern> = (0..random.below(12))
                .map(|_| {
                    let kind = if random.below(2) == 0 {
                        Kind::Exact
                    } else {
                        Kind::Prefix
                    };
                    Pattern::new(kind, path(&mut random))
                })
                .collect();
            let set = UriSet::new(&patterns).unwrap();
            for _ in 0..30 {
                let probe = path(&mut random);
                let expected = patterns.iter().position(|pattern| match pattern.kind {
                    Kind::Exact => probe == pattern.value,
                    _ => {
                        let stem = pattern.value.strip_suffix('/').unwrap_or(&pattern.value);
                        probe == stem || probe.starts_with(&format!("{stem}/"))
                    }
                });
                assert_eq!(set.matches(&probe), expected, "{probe} in {patterns:?}");
            }
        }
    }
}
