//! Text as a form encodes it (URL Standard section 5.1): `+` is a blank, percent-encoded bytes are what they stand for.

use std::borrow::Cow;

/// The bytes that `text` stands for; what is no encoding stands for itself. Borrowed where there is none.
#[must_use]
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let hex = |at: usize| {
        let digit = char::from(*text.get(at)?).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match (byte, hex(at), hex(at + 1)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_encoding_stands_for_itself() {
        for (text, bytes) in [
            ("plain", "plain"),
            ("a+b", "a b"),
            ("%69d%C3%bc", "idü"),
            ("%", "%"),
            ("%6", "%6"),
            ("%6x+", "%6x "),
        ] {
            assert_eq!(decode(text.as_bytes()), bytes.as_bytes(), "{text}");
        }
        assert!(matches!(decode(b"plain"), Cow::Borrowed(_)));
    }
}
