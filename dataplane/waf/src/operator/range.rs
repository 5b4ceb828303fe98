//! `@validateByteRange`: a set of bytes such as `9,10,13,32-126`.

use std::str::FromStr;

/// Bytes that are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ByteRange([u128; 2]);

/// Why a text is no set of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a byte from 0 to 255 nor a range such as `32-126`")]
pub struct ByteRangeError(pub String);

impl ByteRange {
    /// Whether it has `byte`.
    #[must_use]
    pub fn has(&self, byte: u8) -> bool {
        let Self([low, high]) = self;
        let half = if byte < 128 { low } else { high };
        half >> (byte & 127) & 1 == 1
    }

    /// Where the first byte stands that it does not have. `@validateByteRange` matches such a value.
    #[must_use]
    pub fn first_outside(&self, input: &[u8]) -> Option<usize> {
        input.iter().position(|&byte| !self.has(byte))
    }

    fn add(&mut self, byte: u8) {
        let Self([low, high]) = self;
        let half = if byte < 128 { low } else { high };
        *half |= 1 << (byte & 127);
    }
}

/// ModSecurity ignores the parts that it does not understand; here they are errors.
impl FromStr for ByteRange {
    type Err = ByteRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim) {
            let bytes = match part.split_once('-') {
                Some((first, last)) => first.trim().parse().ok().zip(last.trim().parse().ok()),
                None => part.parse().ok().map(|byte: u8| (byte, byte)),
            };
            let (first, last) = bytes
                .filter(|(first, last)| first <= last)
                .ok_or_else(|| ByteRangeError(part.into()))?;
            (first..=last).for_each(|byte| set.add(byte));
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_bytes_that_it_names() {
        let set: ByteRange = "9, 10,13 ,32-126 , 128-255".parse().unwrap();
        for byte in 0..=255_u8 {
            let named = matches!(byte, 9 | 10 | 13 | 32..=126 | 128..=255);
            assert_eq!(set.has(byte), named, "{byte}");
        }
        assert_eq!(set.first_outside(b"ab\x7fc"), Some(2));
        assert_eq!(set.first_outside(b"ab\xff"), None);
        assert_eq!(set.first_outside(b""), None);
    }

    #[test]
    fn a_part_that_is_no_byte_is_an_error_that_names_it() {
        for (text, part) in [
            ("256", "256"),
            ("", ""),
            ("1-", "1-"),
            ("1,x,3", "x"),
            ("9-5", "9-5"),
            ("1-256", "1-256"),
            ("1,", ""),
        ] {
            assert_eq!(text.parse::<ByteRange>(), Err(ByteRangeError(part.into())));
        }
    }
}
