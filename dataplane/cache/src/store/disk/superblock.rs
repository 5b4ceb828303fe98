//! What a store says of itself: its format, its name, and the secret under which its keys are hashed.
//!
//! Invariant: a store whose superblock is missing, damaged or of another format is not read. It is emptied, and begun
//! anew under another name, so that a segment that was left behind is not taken for one of the new store.

use crc32c::crc32c;

use super::wire::{Fields, WriteFields};

/// The file.
pub(super) const SUPERBLOCK: &str = "store";

const MAGIC: u64 = u64::from_le_bytes(*b"BWstore1");
const LENGTH: usize = 72;

/// Processes that one store is opened by; the next begins anew.
const MAX_BOOT: u32 = 1 << 22;

/// The content of the superblock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Names this store.
    pub id: u128,
    /// For [`crate::key::Keyer`]: a random number that nobody outside knows.
    pub seed: u128,
    /// Bytes of a segment.
    pub segment: u64,
    /// Processes that have opened the store.
    pub boot: u32,
}

impl Superblock {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH);
        out.put_u64(MAGIC);
        out.put_u32(super::FORMAT);
        out.put_u32(self.boot);
        out.put_u128(self.id);
        out.put_u128(self.seed);
        out.put_u64(self.segment);
        out.put_u64(0);
        let crc = crc32c(&out);
        out.put_u32(crc);
        out.put_u32(0);
        out
    }

    /// From bytes; says what is wrong with them.
    ///
    /// # Errors
    /// Why the store cannot be used, for people.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut fields = Fields(bytes);
        let damaged = || "its superblock is damaged".to_owned();
        if fields.u64() != Some(MAGIC) {
            return Err(damaged());
        }
        let format = fields.u32().ok_or_else(damaged)?;
        if format != super::FORMAT {
            return Err(format!(
                "it is of format {format}, and this version reads format {}",
                super::FORMAT
            ));
        }
        let covered = bytes.get(..LENGTH - 8).ok_or_else(damaged)?;
        let crc = bytes.get(LENGTH - 8..LENGTH - 4).ok_or_else(damaged)?;
        if bytes.len() != LENGTH || crc != crc32c(covered).to_le_bytes() {
            return Err(damaged());
        }
        let mut read = || {
            Some(Self {
                boot: fields.u32()?,
                id: fields.u128()?,
                seed: fields.u128()?,
                segment: fields.u64()?,
            })
        };
        read()
            .filter(|read| super::is_segment_size(read.segment) && read.boot < MAX_BOOT)
            .ok_or_else(damaged)
    }
}

impl std::fmt::Debug for Superblock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Superblock")
            .field("id", &self.id)
            .field("segment", &self.segment)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Superblock = Superblock {
        id: 1,
        seed: 2,
        segment: 1 << 20,
        boot: 3,
    };

    #[test]
    fn it_is_read_as_it_was_written() {
        assert_eq!(Superblock::decode(&BLOCK.encode()), Ok(BLOCK));
    }

    #[test]
    fn any_change_is_noticed_and_another_format_is_named() {
        let bytes = BLOCK.encode();
        for bit in 0..(LENGTH - 4) * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&changed).is_err(), "bit {bit}");
        }
        for length in 0..LENGTH {
            assert!(Superblock::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut other = bytes;
        other[8] += 1;
        assert!(
            Superblock::decode(&other)
                .unwrap_err()
                .contains(&format!("format {}", crate::store::disk::FORMAT))
        );
    }

    #[test]
    fn its_secret_is_not_shown() {
        assert!(!format!("{BLOCK:?}").contains("seed"));
    }
}
