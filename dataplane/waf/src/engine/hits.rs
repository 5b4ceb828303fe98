//! Sets of bits: what may be in a text of all that is looked for.

/// Most bits.
pub(super) const BITS: usize = 512;

/// A set of bits below [`BITS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hits([u64; BITS / 64]);

impl Hits {
    pub(super) fn insert(&mut self, bit: u16) {
        if let Some(word) = self.0.get_mut(usize::from(bit >> 6)) {
            *word |= 1 << (bit & 63);
        }
    }

    pub(super) fn has(&self, bit: u16) -> bool {
        self.0
            .get(usize::from(bit >> 6))
            .is_some_and(|word| word >> (bit & 63) & 1 == 1)
    }

    pub(super) fn union(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }
}
