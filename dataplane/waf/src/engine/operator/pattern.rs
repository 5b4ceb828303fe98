//! `@rx`: regular expressions as PCRE understands them without UTF-8, put so that the `regex` crate reads the same.

use std::sync::atomic::{AtomicUsize, Ordering};

use regex::bytes::{Regex, RegexBuilder};
use regex_automata::meta;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;

use fault::Fault;

mod fault;

/// Most memory that one pattern's program may take.
pub(crate) const SIZE: usize = 16 << 20;

/// Compiles a pattern of `@rx` whose program takes no more than `size` bytes: bytes, a dot is any byte, `$` is the end.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn compile(pattern: &str, ignore_case: bool, size: usize) -> Result<Regex, String> {
    RegexBuilder::new(&rewrite(pattern))
        .unicode(false)
        .dot_matches_new_line(true)
        .case_insensitive(ignore_case)
        .size_limit(size)
        .dfa_size_limit(1 << 20)
        .build()
        .map_err(|_| match tree(pattern) {
            Err(fault) => fault.into(),
            Ok(_) => format!("its program takes more than {size} bytes: write a shorter pattern, or smaller counts"),
        })
}

/// Compiles the syntax trees of many patterns, on as many threads as there are processors, up to four, and meanwhile runs
/// `beside`. A place is empty where a pattern's program would be too large.
pub(crate) fn compile_all<T: Send>(trees: &[&Hir], beside: impl FnOnce() -> T + Send) -> (Vec<Option<meta::Regex>>, T) {
    let threads = std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .min(4);
    if threads == 1 {
        return (trees.iter().map(|tree| compile_tree(tree)).collect(), beside());
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        while let Some((index, tree)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, trees.get(at)?)))
        {
            made.push((index, compile_tree(tree)));
        }
        made
    };
    let mut all = vec![None; trees.len()];
    let (parts, beside) = std::thread::scope(|scope| {
        let handles: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let beside = beside();
        let mut parts = vec![work()];
        // A thread that panicked leaves its places empty, which is an error of the rules that need them.
        parts.extend(handles.into_iter().filter_map(|handle| handle.join().ok()));
        (parts, beside)
    });
    for (index, regex) in parts.into_iter().flatten() {
        if let Some(place) = all.get_mut(index) {
            *place = regex;
        }
    }
    (all, beside)
}

/// Compiles a syntax tree; none where its program would be too large.
pub(crate) fn compile_tree(tree: &Hir) -> Option<meta::Regex> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(SIZE))
        .hybrid_cache_capacity(512 << 10);
    meta::Builder::new().configure(config).build_from_hir(tree).ok()
}

/// The syntax tree of a pattern that [`compile`] takes.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn tree(pattern: &str) -> Result<Hir, Fault> {
    let mut parser = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .dot_matches_new_line(true)
        .build();
    parser
        .parse(&rewrite(pattern))
        .map_err(|error| Fault::new(pattern, &error))
}

/// The pattern as the `regex` crate writes what PCRE means by it: a byte that is not ASCII is that byte and not a part of a
/// character, a brace or bracket that begins nothing stands for itself, and so does an escaped mark.
pub(crate) fn rewrite(pattern: &str) -> String {
    rewrite_and(pattern, &mut |_, _| {})
}

/// As [`rewrite`]; `note` is told where in the pattern, and where in what comes out, each piece begins.
fn rewrite_and(pattern: &str, note: &mut dyn FnMut(usize, usize)) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let bytes = pattern.as_bytes();
    let mut at = 0;
    let mut class = None;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        note(at, out.len());
        let taken = match class {
            None => outside(rest, &mut out, &mut class),
            Some(state) => inside(rest, state, &mut out, &mut class),
        };
        at += taken.max(1);
    }
    out
}

/// What came last within brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Nothing, or the end of a range.
    Nothing,
    /// A byte, which a range may begin with.
    Byte,
    /// A set such as `\w`, which no range begins with.
    Set,
    /// The dash of a range.
    Dash,
}

/// Rewrites what stands first outside of brackets; how much of it was taken.
fn outside(rest: &[u8], out: &mut String, class: &mut Option<Last>) -> usize {
    match rest {
        [b'\\', ..] => escape(rest, out, false).0,
        [b'[', after @ ..] => {
            *class = Some(Last::Nothing);
            out.push('[');
            let negated = after.first() == Some(&b'^');
            if negated {
                out.push('^');
            }
            // A closing bracket that comes first stands for itself.
            let first = after.get(usize::from(negated)) == Some(&b']');
            if first {
                out.push_str("\\]");
                *class = Some(Last::Byte);
            }
            1 + usize::from(negated) + usize::from(first)
        }
        [b'{', after @ ..] if !is_count(after) => {
            out.push_str("\\{");
            1
        }
        [byte, ..] => {
            push(*byte, out);
            1
        }
        [] => 1,
    }
}

/// Rewrites what stands first within brackets; how much of it was taken.
fn inside(rest: &[u8], last: Last, out: &mut String, class: &mut Option<Last>) -> usize {
    let next = |last| if last == Last::Dash { Last::Nothing } else { Last::Byte };
    match rest {
        [b']', ..] => {
            out.push(']');
            *class = None;
            1
        }
        [b'\\', ..] => {
            let (taken, is_set) = escape(rest, out, true);
            *class = Some(if is_set { Last::Set } else { next(last) });
            taken
        }
        [b'[', b':', after @ ..] if after.windows(2).take(12).any(|pair| pair == b":]") => {
            let len = after.windows(2).position(|pair| pair == b":]").unwrap_or(0) + 4;
            rest.get(..len)
                .unwrap_or_default()
                .iter()
                .for_each(|byte| out.push(char::from(*byte)));
            *class = Some(Last::Set);
            len
        }
        [b'-', after @ ..] => {
            let is_range = last == Last::Byte && !after.starts_with(b"]");
            out.push_str(if is_range { "-" } else { "\\-" });
            *class = Some(if is_range { Last::Dash } else { next(last) });
            1
        }
        [byte @ (b'[' | b'&' | b'~'), ..] => {
            out.push('\\');
            out.push(char::from(*byte));
            *class = Some(next(last));
            1
        }
        [byte, ..] => {
            push(*byte, out);
            *class = Some(next(last));
            1
        }
        [] => 1,
    }
}

/// Rewrites an escape; how much of it was taken, and whether it is a set of bytes.
fn escape(rest: &[u8], out: &mut String, in_class: bool) -> (usize, bool) {
    if let Some((value, len)) = braced(rest) {
        out.push_str(&format!("\\x{value:02x}"));
        return (len, false);
    }
    match rest.get(1).copied() {
        // NUL, or with more digits the byte of that number in base eight.
        Some(b'0') => {
            let digits = rest
                .iter()
                .skip(2)
                .take(2)
                .take_while(|byte| matches!(byte, b'0'..=b'7'));
            let (value, len) = digits.fold((0, 2), |(value, len), digit| (value * 8 + (digit - b'0'), len + 1));
            out.push_str(&format!("\\x{value:02x}"));
            (len, false)
        }
        Some(b'h') => {
            out.push_str(if in_class { "\\t\\x20\\xa0" } else { "[\\t\\x20\\xa0]" });
            (2, true)
        }
        Some(b'Z') if !in_class => {
            out.push_str("\\z");
            (2, false)
        }
        Some(b'b') if in_class => {
            out.push_str("\\x08");
            (2, false)
        }
        Some(b'e') => {
            out.push_str("\\x1b");
            (2, false)
        }
        Some(byte) if byte.is_ascii_punctuation() || byte == b' ' => {
            if matches!(
                byte,
                b'\\'
                    | b'.'
                    | b'+'
                    | b'*'
                    | b'?'
                    | b'('
                    | b')'
                    | b'|'
                    | b'['
                    | b']'
                    | b'{'
                    | b'}'
                    | b'^'
                    | b'$'
                    | b'#'
                    | b'&'
                    | b'-'
                    | b'~'
            ) {
                out.push('\\');
            }
            out.push(char::from(byte));
            (2, false)
        }
        Some(byte) if byte.is_ascii() => {
            out.push('\\');
            out.push(char::from(byte));
            (2, matches!(byte, b'w' | b'W' | b'd' | b'D' | b's' | b'S'))
        }
        _ => {
            out.push_str("\\\\");
            (1, false)
        }
    }
}

/// Whether what follows a brace makes it a count: `3}`, `3,}`, `3,5}`.
fn is_count(after: &[u8]) -> bool {
    let Some(end) = after.iter().take(16).position(|byte| *byte == b'}') else {
        return false;
    };
    let inner = after.get(..end).unwrap_or_default();
    let mut parts = inner.splitn(2, |byte| *byte == b',');
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    parts.next().is_some_and(|low| !low.is_empty() && digits(low)) && parts.next().is_none_or(digits)
}

fn push(byte: u8, out: &mut String) {
    if byte.is_ascii() {
        out.push(char::from(byte));
    } else {
        out.push_str(&format!("\\x{byte:02x}"));
    }
}

/// `\x{HH}` at the beginning: its value and length.
fn braced(text: &[u8]) -> Option<(u8, usize)> {
    let inner = text.strip_prefix(b"\\x{")?;
    let end = inner.iter().take(9).position(|byte| *byte == b'}')?;
    let digits = std::str::from_utf8(inner.get(..end)?).ok()?;
    Some((u8::from_str_radix(digits, 16).ok()?, end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braced_and_raw_bytes_are_single_bytes() {
        assert_eq!(rewrite(r"\x{bc}a\x{BE}"), r"\xbca\xbe");
        assert_eq!(rewrite("\u{e9}"), r"\xc3\xa9");
        assert_eq!(rewrite(r"a\\x{41}"), r"a\\x{41}");
        let regex = compile(r"\x{bc}[^>\x{be}]*\x{be}", false, SIZE).unwrap();
        assert!(regex.is_match(b"\xbcscript\xbe"));
    }

    #[test]
    fn a_dot_takes_line_ends_and_a_dollar_is_the_very_end() {
        assert!(compile("a.b$", false, SIZE).unwrap().is_match(b"a\nb"));
        assert!(!compile("a$", false, SIZE).unwrap().is_match(b"a\n"));
    }

    #[test]
    fn escapes_that_mean_nothing_are_taken_as_they_stand() {
        assert!(
            compile(r#"^\"\'\/\!\@\`\,\:$"#, false, SIZE)
                .unwrap()
                .is_match(b"\"'/!@`,:")
        );
    }

    #[test]
    fn braces_and_brackets_that_begin_nothing_stand_for_themselves() {
        assert!(
            compile(r"^\${x{1,2}{,3}{$", false, SIZE)
                .unwrap()
                .is_match(b"${xx{,3}{")
        );
        assert!(compile(r"{{.*?}}", false, SIZE).unwrap().is_match(b"a{{b}}"));
        assert!(compile(r"^[([]$", false, SIZE).unwrap().is_match(b"["));
        assert!(compile(r"^[]a]+$", false, SIZE).unwrap().is_match(b"]a"));
        assert!(compile(r"^[^]a]$", false, SIZE).unwrap().is_match(b"b"));
        assert!(compile(r"^[\w-.]+$", false, SIZE).unwrap().is_match(b"a-."));
        assert!(compile(r"^[a&&b]+$", false, SIZE).unwrap().is_match(b"a&b"));
        assert!(compile(r"^[\b]$", false, SIZE).unwrap().is_match(b"\x08"));
        assert!(compile(r"^[[:alpha:]_]+$", false, SIZE).unwrap().is_match(b"a_"));
        assert!(compile(r"^[+--]+$", false, SIZE).unwrap().is_match(b"+,-"));
    }

    #[test]
    fn an_escaped_angle_bracket_is_one() {
        assert!(compile(r"^\<a\>[\<\>]$", false, SIZE).unwrap().is_match(b"<a><"));
    }

    #[test]
    fn what_cannot_run_in_linear_time_is_refused_with_a_reason() {
        assert!(compile("(?=x)", false, SIZE).unwrap_err().contains("linear time"));
        assert!(tree("(?=x)").unwrap_err().is_not_regular);
        assert!(tree(r"(a)\1").unwrap_err().is_not_regular);
        assert!(!tree("look-around|backreferences|(").unwrap_err().is_not_regular);
    }

    #[test]
    fn a_pattern_that_is_too_large_is_told_as_such() {
        let message = compile("(?:a{1000}){1000}", false, 1 << 20).unwrap_err();
        assert!(message.contains("takes more than 1048576 bytes"), "{message}");
    }

    #[test]
    fn a_zero_behind_a_backslash_is_the_byte_nul_or_begins_a_number_in_base_eight() {
        for (pattern, bytes) in [
            (r"^a\0b$", &b"a\0b"[..]),
            (r"^[\0]$", b"\0"),
            (r"^\012$", b"\n"),
            (r"^\0123$", b"\n3"),
            (r"^\08$", b"\x008"),
            (r"^[\000-\037]+$", b"\0\x1f"),
        ] {
            assert!(compile(pattern, false, SIZE).unwrap().is_match(bytes), "{pattern}");
        }
    }
}
