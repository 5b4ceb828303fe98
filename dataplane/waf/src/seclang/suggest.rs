//! What messages show of a text, and the known name nearest to an unknown one.

/// As much of a text as a message shows: one line, bounded.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut out: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    format!("`{out}`")
}

/// `; did you mean X?`, or nothing when no name is near.
pub(super) fn did_you_mean<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> String {
    match nearest(word, names) {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

/// The name with the fewest letters changed, if those are few.
fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // No name is longer; the bound keeps the work for one message small.
    if word.len() > 48 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    // Beyond a third of the letters two names have little in common.
    let most = (word.len() / 3).clamp(1, 4);
    names
        .into_iter()
        .filter(|name| name.len().abs_diff(word.len()) <= most)
        .map(|name| (distance(word.as_bytes(), name.to_ascii_lowercase().as_bytes()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters are put in, left out, changed, or change places with their neighbour.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        let mut left = i + 1;
        let mut letter = None;
        for (j, to) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let changed = at(&last, j) + usize::from(from != to);
            let mut best = changed.min(left + 1).min(at(&last, j + 1) + 1);
            if previous == Some(to) && letter == Some(from) {
                best = best.min(at(&before, j.saturating_sub(1)) + 1);
            }
            letter = Some(to);
            left = best;
            row.push(best);
        }
        previous = Some(from);
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let names = ["SecRule", "SecRuleEngine", "SecAction"];
        assert_eq!(did_you_mean("SecRuleEngin", names), "; did you mean SecRuleEngine?");
        assert_eq!(did_you_mean("secrul", names), "; did you mean SecRule?");
        assert_eq!(did_you_mean("Listen", names), "");
        assert_eq!(did_you_mean(&"x".repeat(1000), names), "");
    }

    #[test]
    fn distance_counts_letters() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"abc", b""), 3);
        assert_eq!(distance(b"same", b"same"), 0);
        assert_eq!(distance(b"dney", b"deny"), 1);
        assert_eq!(distance(b"ab", b"ba"), 1);
        assert_eq!(distance(b"abcd", b"badc"), 2);
    }

    #[test]
    fn a_message_shows_one_bounded_line() {
        assert_eq!(shown("a\nb"), "`a\\nb`");
        assert_eq!(shown(&"é".repeat(61)), format!("`{}…`", "é".repeat(60)));
    }
}
