//! `@contains`, `@strmatch`, `@containsWord`, `@within`. Letters are compared as they are.

use memchr::memmem;

/// Whether `input` holds `needle`: `@contains` and `@strmatch`.
#[must_use]
pub fn contains(input: &[u8], needle: &[u8]) -> bool {
    // A search costs as much as it looks for, which many short values would multiply.
    needle.len() <= input.len() && memmem::find(input, needle).is_some()
}

/// Whether `list` holds `input`, at any place; an empty value is within everything.
#[must_use]
pub fn within(input: &[u8], list: &[u8]) -> bool {
    contains(list, input)
}

/// Whether `input` holds `word` with no ASCII letter before it or behind it. An empty word is in everything.
#[must_use]
pub fn contains_word(input: &[u8], word: &[u8]) -> bool {
    if word.is_empty() {
        return true;
    }
    if !contains(input, word) {
        return false;
    }
    let letter = |at: Option<usize>| at.and_then(|at| input.get(at)).is_some_and(u8::is_ascii_alphabetic);
    // Knuth, Morris and Pratt, for occurrences may overlap and `word` may come from the request too.
    let borders = borders(word);
    let mut matched = 0;
    for (at, byte) in input.iter().enumerate() {
        matched = extend(word, &borders, matched, *byte);
        if matched == word.len() {
            let start = at + 1 - matched;
            if !letter(start.checked_sub(1)) && !letter(at.checked_add(1)) {
                return true;
            }
        }
    }
    false
}

/// For each prefix of `word` the length of its longest proper prefix that it also ends with.
fn borders(word: &[u8]) -> Vec<usize> {
    let mut borders = Vec::with_capacity(word.len());
    let mut matched = 0;
    for (at, byte) in word.iter().enumerate() {
        matched = if at == 0 {
            0
        } else {
            extend(word, &borders, matched, *byte)
        };
        borders.push(matched);
    }
    borders
}

/// How much of `word` the text ends with after `byte`, where it was `matched` before.
fn extend(word: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    loop {
        if word.get(matched) == Some(&byte) {
            return matched + 1;
        }
        match matched.checked_sub(1).and_then(|last| borders.get(last)) {
            Some(&border) => matched = border,
            None => return 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_no_letter_beside_it() {
        let cases = [
            ("x", "", true),
            ("", "abc", false),
            ("abc", "abc", true),
            ("abcx", "abc", false),
            ("xabc", "abc", false),
            ("x abc!", "abc", true),
            ("1abc_", "abc", true),
            ("xabc abc", "abc", true),
            ("abcabc", "abc", false),
            ("xa-a-a.", "a-a", true),
            ("xa-a-ay", "a-a", false),
            ("ABC", "abc", false),
            ("aabaab aabaaab", "aab", false),
            ("aaaa aaa", "aaa", true),
        ];
        for (input, word, found) in cases {
            assert_eq!(
                contains_word(input.as_bytes(), word.as_bytes()),
                found,
                "{word} in {input}"
            );
        }
    }

    #[test]
    fn within_is_contains_the_other_way_round() {
        assert!(within(b"GET", b"GET POST"));
        assert!(within(b"", b"GET POST"));
        assert!(within(b"", b""));
        assert!(!within(b"get", b"GET POST"));
        assert!(contains(b"abcdef", b"cde") && contains(b"", b"") && !contains(b"abc", b"abcd"));
    }
}
