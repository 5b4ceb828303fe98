//! Field lines of a head that the gate has already accepted, and the byte classes of RFC 9110 section 5.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

/// An iterator over `(name, value)` in the order received. Names keep their case; values are trimmed of
/// optional whitespace and may contain obs-text.
#[derive(Debug, Clone, Default)]
pub struct Fields<'b> {
    lines: &'b [u8],
}

impl<'b> Fields<'b> {
    /// `lines` must be field lines that the gate accepted, each with its CRLF, without the final empty line.
    pub(crate) fn over(lines: &'b [u8]) -> Self {
        Self { lines }
    }

    /// The first value of this name, compared without regard to case.
    pub(crate) fn first(mut self, name: &str) -> Option<&'b [u8]> {
        self.find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Copies the lines once and makes a map whose values share that copy.
    ///
    /// # Errors
    /// When a name or a value cannot be in a map: none that the gate accepted.
    pub fn to_map(&self) -> Result<HeaderMap, http::Error> {
        let shared = Bytes::copy_from_slice(self.lines);
        let mut map = HeaderMap::with_capacity(16);
        for (name, value) in self.clone() {
            let start = offset_in(self.lines, value);
            let value = shared.slice(start..start + value.len());
            map.try_append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_maybe_shared(value)?,
            )?;
        }
        Ok(map)
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = (&'b str, &'b [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (line, rest) = self.lines.split_at_checked(memchr(b'\n', self.lines)? + 1)?;
        self.lines = rest;
        let colon = memchr(b':', line)?;
        let name = std::str::from_utf8(line.get(..colon)?).ok()?;
        Some((name, trim_ows(line.get(colon + 1..line.len().checked_sub(2)?)?)))
    }
}

/// Where `part`, a slice of `whole`, begins in it.
pub(crate) fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}

/// Removes optional whitespace (SP, HTAB) on both sides.
pub(crate) fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `tchar` of RFC 9110 section 5.6.2.
#[inline]
pub(crate) const fn is_tchar(byte: u8) -> bool {
    // One look-up: every byte of every name is asked about.
    TCHARS[byte as usize]
}

/// A `tchar` in lower case. Zero: it is none.
#[inline]
pub(crate) const fn lower_tchar(byte: u8) -> u8 {
    LOWER_TCHARS[byte as usize]
}

const LOWER_TCHARS: [u8; 256] = {
    let mut lower = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if TCHARS[byte] {
            lower[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    lower
};

const TCHARS: [bool; 256] = {
    let mut chars = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        chars[byte] = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    chars
};

/// A non-empty token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_tchar)
}

/// A byte that a field value may contain: HTAB, SP, visible ASCII, obs-text.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// The members of a comma-separated list without quoted strings, trimmed, empty members skipped.
pub(crate) fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(trim_ows)
        .filter(|member| !member.is_empty())
}

/// `1*DIGIT` as a number. `Err(true)` if it is digits but does not fit in 63 bits, `Err(false)` if it is
/// anything else.
pub(crate) fn parse_length(value: &[u8]) -> Result<u64, bool> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(false);
    }
    value
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|&length| length <= i64::MAX as u64)
        .ok_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_in_order_with_trimmed_values() {
        let fields: Vec<_> = Fields::over(b"Host: a\r\nX: \t b: c \r\nEmpty:\r\n").collect();
        assert_eq!(fields, [("Host", &b"a"[..]), ("X", &b"b: c"[..]), ("Empty", &b""[..])]);
    }

    #[test]
    fn a_map_keeps_repeated_fields_and_obs_text() {
        let map = Fields::over(b"A: 1\r\na: \xff\r\nB:\r\n").to_map().expect("valid");
        let values: Vec<_> = map.get_all("a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"1"[..], &b"\xff"[..]]);
        assert_eq!(map["b"], "");
    }

    #[test]
    fn lengths_are_digits_only_and_bounded() {
        assert_eq!(parse_length(b"0"), Ok(0));
        assert_eq!(parse_length(b"00042"), Ok(42));
        assert_eq!(parse_length(b"9223372036854775807"), Ok(i64::MAX as u64));
        assert_eq!(parse_length(b"9223372036854775808"), Err(true));
        assert_eq!(parse_length(b"99999999999999999999999999"), Err(true));
        for bad in [&b""[..], b"+5", b"-1", b"5, 5", b"5 5", b"0x5", b"5a", b"5.0"] {
            assert_eq!(parse_length(bad), Err(false));
        }
    }
}
