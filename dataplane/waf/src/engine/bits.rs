//! A set of small numbers.

/// A set of small numbers, such as indices of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// A set with room for numbers below `size`.
    pub(super) fn with_size(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    /// Adds one; what is beyond its size is dropped.
    pub(super) fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Adds all of another.
    pub(super) fn union(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_in_and_nothing_else() {
        let mut bits = Bits::with_size(130);
        bits.insert(0);
        bits.insert(129);
        bits.insert(5000);
        assert!(bits.contains(0) && bits.contains(129));
        assert!(!bits.contains(1) && !bits.contains(5000));
        let mut other = Bits::default();
        other.union(&bits);
        assert_eq!(other, bits);
    }
}
