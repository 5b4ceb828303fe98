//! Disjoint ranges over an integer address space, each with the length of the longest prefix that covers it.
//!
//! Invariant: `starts` ascends strictly, `lengths` has the same number of entries, and neighbours differ in length. A
//! prefix is not stored: its length and any address inside it give it back.

/// The length of "no prefix": longer than any address.
const NONE: u8 = u8::MAX;

/// Below this many ranges the binary search runs in the first levels of the cache anyway.
const INDEX_FROM: usize = 1024;

/// Addresses as unsigned integers.
pub(super) trait Bits: Copy + Ord {
    /// The address's upper 16 bits.
    fn top(self) -> usize;
    /// The highest address that shares its first `length` bits with `self`.
    fn last(self, length: u8) -> Self;
    /// The next address, unless this is the highest.
    fn next(self) -> Option<Self>;
}

impl Bits for u32 {
    fn top(self) -> usize {
        (self >> 16) as usize
    }

    fn last(self, length: u8) -> Self {
        self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bits for u128 {
    fn top(self) -> usize {
        (self >> 112) as usize
    }

    fn last(self, length: u8) -> Self {
        self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
    }

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges<A> {
    starts: Vec<A>,
    lengths: Vec<u8>,
    /// For a large set: how many ranges start below each value of the upper 16 bits; 65,537 entries. Else empty.
    index: Vec<u32>,
}

impl<A: Bits> Ranges<A> {
    /// From prefixes (first address, length) in any order, nested or repeated as they may be.
    pub(super) fn new(mut prefixes: Vec<(A, u8)>) -> Self {
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut ranges = Self {
            starts: Vec::new(),
            lengths: Vec::new(),
            index: Vec::new(),
        };
        // Prefixes nest or are disjoint, so those that hold the current address form a stack, innermost on top.
        let mut open: Vec<(A, u8)> = Vec::new();
        for (first, length) in prefixes {
            ranges.close(&mut open, Some(first));
            ranges.begin(first, length);
            open.push((first.last(length), length));
        }
        ranges.close(&mut open, None);
        ranges.starts.shrink_to_fit();
        ranges.lengths.shrink_to_fit();
        ranges.build_index();
        ranges
    }

    /// The length of the longest prefix that holds `address`.
    pub(super) fn find(&self, address: A) -> Option<u8> {
        let top = address.top();
        let (from, to) = match (self.index.get(top), self.index.get(top + 1)) {
            (Some(from), Some(to)) => (*from as usize, *to as usize),
            _ => (0, self.starts.len()),
        };
        let within = self.starts.get(from..to)?.partition_point(|start| *start <= address);
        let length = *self.lengths.get((from + within).checked_sub(1)?)?;
        (length != NONE).then_some(length)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.starts.capacity() * size_of::<A>() + self.lengths.capacity() + self.index.capacity() * size_of::<u32>()
    }

    /// Most steps of the binary search of [`Ranges::find`].
    pub(super) fn most_steps(&self) -> u32 {
        let windows = self.index.windows(2);
        let widest = windows.filter_map(|w| w.last()?.checked_sub(*w.first()?)).max();
        let widest = widest.map_or(self.starts.len(), |most| most as usize);
        usize::BITS - widest.leading_zeros()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Ends the open prefixes that end before `next`, or all of them.
    fn close(&mut self, open: &mut Vec<(A, u8)>, next: Option<A>) {
        while let Some((last, _)) = open.last().copied() {
            if next.is_some_and(|next| next <= last) {
                break;
            }
            open.pop();
            let outer = open.last().map_or(NONE, |(_, length)| *length);
            if let Some(after) = last.next() {
                self.begin(after, outer);
            }
        }
    }

    /// From `start` on, `length` holds, until something else begins.
    fn begin(&mut self, start: A, length: u8) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.lengths.pop();
        }
        if self.lengths.last().copied().unwrap_or(NONE) != length {
            self.starts.push(start);
            self.lengths.push(length);
        }
    }

    fn build_index(&mut self) {
        if self.starts.len() < INDEX_FROM || u32::try_from(self.starts.len()).is_err() {
            return;
        }
        let mut index = Vec::with_capacity(1 << 16 | 1);
        let mut below = 0u32;
        for top in 0..=1usize << 16 {
            while self.starts.get(below as usize).is_some_and(|start| start.top() < top) {
                below += 1;
            }
            index.push(below);
        }
        self.index = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_length_share_a_range() {
        let ranges = Ranges::new((0..256u32).map(|i| (i << 8, 24)).collect());
        assert_eq!(ranges.starts, [0, 1 << 16]);
        assert_eq!(ranges.lengths, [24, NONE]);
    }
}
