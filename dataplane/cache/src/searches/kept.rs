//! Rules as bytes: what a store that outlives the process keeps of them, so that what was stored under one is found again.
//!
//! Invariant: what is damaged, of another version or of another secret is no list. Nothing is known then, and nothing that
//! was stored under a rule is found.

use crc32c::crc32c;

use crate::key::Key;
use crate::store::disk::wire::{Fields, WriteFields};

/// The longest list that is read, bytes. None that is written comes near it.
pub const MAX_BYTES: usize = 32 << 20;

/// A rule whose text is longer is not kept, bytes.
pub const MAX_TEXT: usize = 1024;

const MAGIC: u64 = u64::from_le_bytes(*b"BWsearch");
const VERSION: u32 = 1;

/// A rule that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The path it is for.
    pub path: Key,
    /// Which rule it is, of all that ever were.
    pub number: u64,
    /// As the origin wrote it.
    pub text: Box<[u8]>,
}

/// A list under the secret that `identity` stands for ([`crate::key::Keyer::identity`]).
pub fn encode(identity: u64, rules: impl Iterator<Item = Kept>) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(MAGIC);
    out.put_u32(VERSION);
    out.put_u64(identity);
    for rule in rules {
        out.put_u128(rule.path.0);
        out.put_u64(rule.number);
        out.put_counted(&rule.text);
    }
    let crc = crc32c(&out);
    out.put_u32(crc);
    out
}

/// What a list says; `None` if it is none.
pub fn decode(bytes: &[u8], identity: u64) -> Option<Vec<Kept>> {
    let (covered, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc != crc32c(covered).to_le_bytes() {
        return None;
    }
    let mut fields = Fields(covered);
    if fields.u64() != Some(MAGIC) || fields.u32() != Some(VERSION) || fields.u64() != Some(identity) {
        return None;
    }
    let mut rules = Vec::new();
    while !fields.0.is_empty() {
        rules.push(Kept {
            path: Key(fields.u128()?),
            number: fields.u64()?,
            text: fields.counted().filter(|text| text.len() <= MAX_TEXT)?.into(),
        });
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<Kept> {
        let rule = |n: u64, text: &str| Kept {
            path: Key(u128::from(n) << 70),
            number: n,
            text: text.as_bytes().into(),
        };
        vec![rule(1, "params"), rule(u64::MAX, "key-order"), rule(3, "")]
    }

    #[test]
    fn what_was_written_is_read_under_the_same_secret_only() {
        let bytes = encode(7, list().into_iter());
        assert_eq!(decode(&bytes, 7), Some(list()));
        assert_eq!(decode(&bytes, 8), None);
        assert_eq!(decode(&encode(7, std::iter::empty()), 7), Some(Vec::new()));
    }

    #[test]
    fn any_change_or_cut_is_noticed() {
        let bytes = encode(7, list().into_iter());
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&changed, 7), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length], 7), None, "{length} bytes");
        }
    }
}
