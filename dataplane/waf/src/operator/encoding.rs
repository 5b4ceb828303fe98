//! `@validateUrlEncoding`, `@validateUtf8Encoding`.

/// Whether every `%` begins two hexadecimal digits. `@validateUrlEncoding` matches what is not.
#[must_use]
pub fn is_url_encoded(input: &[u8]) -> bool {
    let mut rest = input;
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest.get(at + 1..) {
            Some([a, b, tail @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest = tail,
            _ => return false,
        }
    }
    true
}

/// What is wrong with a text that should be UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Utf8Fault {
    /// It ends within a character.
    Missing,
    /// A byte that begins no character, or one that does not continue the one begun.
    Invalid,
    /// A character that fewer bytes could write.
    Overlong,
    /// A surrogate, or a character beyond U+10FFFF.
    Restricted,
}

/// The first fault and where its character begins; none: it is UTF-8. `@validateUtf8Encoding` matches a fault.
#[must_use]
pub fn utf8_fault(input: &[u8]) -> Option<(Utf8Fault, usize)> {
    let at = std::str::from_utf8(input).err()?.valid_up_to();
    Some((fault(input.get(at..).unwrap_or_default()), at))
}

/// Why `rest` begins with no character; ModSecurity's order of tests.
fn fault(rest: &[u8]) -> Utf8Fault {
    let Some((&first, tail)) = rest.split_first() else {
        return Utf8Fault::Missing;
    };
    let length = match first {
        0xc0..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf4 => 3,
        0xf5..=0xf7 => return Utf8Fault::Restricted,
        _ => return Utf8Fault::Invalid,
    };
    let Some(continuation) = tail.get(..length) else {
        return Utf8Fault::Missing;
    };
    if !continuation.iter().all(|byte| byte & 0xc0 == 0x80) {
        return Utf8Fault::Invalid;
    }
    match (first, continuation.first()) {
        (0xed, Some(0xa0..)) | (0xf4, Some(0x90..)) => Utf8Fault::Restricted,
        _ => Utf8Fault::Overlong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_needs_two_digits() {
        for good in [&b""[..], b"%41%fF", b"a+b", b"%00"] {
            assert!(is_url_encoded(good), "{good:?}");
        }
        for bad in [&b"%"[..], b"%4", b"%4g", b"%41%%41", b"a%u0041"] {
            assert!(!is_url_encoded(bad), "{bad:?}");
        }
    }

    #[test]
    fn utf8_faults_are_named_with_their_place() {
        let cases = [
            (&b"plain\0"[..], None),
            ("é€😀".as_bytes(), None),
            (b"a\xc3", Some((Utf8Fault::Missing, 1))),
            (b"\xe2\x82", Some((Utf8Fault::Missing, 0))),
            (b"ab\x80", Some((Utf8Fault::Invalid, 2))),
            (b"\xc3(", Some((Utf8Fault::Invalid, 0))),
            (b"\xf8aaaa", Some((Utf8Fault::Invalid, 0))),
            (b"\xc0\xaf", Some((Utf8Fault::Overlong, 0))),
            (b"\xe0\x80\xaf", Some((Utf8Fault::Overlong, 0))),
            (b"\xf0\x80\x80\xaf", Some((Utf8Fault::Overlong, 0))),
            (b"\xed\xa0\x80", Some((Utf8Fault::Restricted, 0))),
            (b"\xf4\x90\x80\x80", Some((Utf8Fault::Restricted, 0))),
            (b"\xf5\x80\x80\x80", Some((Utf8Fault::Restricted, 0))),
        ];
        for (input, expected) in cases {
            assert_eq!(utf8_fault(input), expected, "{}", input.escape_ascii());
        }
    }
}
