//! Age (RFC 9111 section 5.1).

use crate::cache_control::parse_delta;
use crate::http1::fields::trim_ows;

/// The age in seconds from the lines of the field: the first member of the first line, if it is digits
/// only; saturates at [`crate::cache_control::MAX_DELTA`], which is stale for every lifetime.
#[must_use]
pub fn parse<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Option<u64> {
    let first = lines.into_iter().next()?;
    parse_delta(trim_ows(first.split(|&b| b == b',').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_control::MAX_DELTA;

    #[test]
    fn only_the_first_member_of_the_first_line_counts() {
        assert_eq!(parse([&b"0, 7200"[..], b"5"]), Some(0));
        assert_eq!(parse([&b"7200"[..]]), Some(7200));
        assert_eq!(parse([&b"99999999999999999999"[..]]), Some(MAX_DELTA));
    }

    #[test]
    fn what_is_not_digits_is_ignored() {
        for bad in [&b""[..], b"-1", b"7200.0", b"abc", b"7200 foo", b"\"5\"", b", 5"] {
            assert_eq!(parse([bad]), None);
        }
        assert_eq!(parse([]), None);
    }
}
