//! Values that many rules look at in the same form: found and transformed once in a phase, and often ruled out all at once.

use super::resolve::Found;
use super::{Transaction, Val};
use crate::engine::byteset::ByteSet;
use crate::engine::hits::Hits;
use crate::engine::operator::Test;
use crate::engine::program::{Link, Program};

/// What is known about the values of one bucket in this phase.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    known: bool,
    start: u32,
    end: u32,
    /// All bytes of all values.
    bytes: ByteSet,
    /// Which groups looked at all values, and what may be in any of all that they look for.
    done: u128,
    maybe: Hits,
}

/// The buckets of a transaction.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    all: Vec<Bucket>,
    found: Vec<Found>,
    /// How many of `found` stay until the phase ends; what is beyond is the bucket's that was asked for last.
    kept: usize,
}

impl Buckets {
    /// Forgets everything: collections have changed.
    pub(super) fn renew(&mut self, count: usize) {
        self.all.clear();
        self.all.resize(count, Bucket::default());
        self.found.clear();
        self.kept = 0;
    }

    /// About how many bytes they take.
    pub(super) fn memory(&self) -> usize {
        self.all.capacity() * size_of::<Bucket>() + self.found.capacity() * size_of::<Found>()
    }

    /// One of the values.
    pub(super) fn value(&self, index: u32) -> Option<Found> {
        self.found.get(index as usize).copied()
    }
}

impl Transaction {
    /// The values of a bucket, as a range for [`Buckets::value`].
    pub(super) fn bucket(&mut self, program: &Program, index: u32) -> std::ops::Range<u32> {
        let Some(bucket) = self.buckets.all.get(index as usize) else {
            return 0..0;
        };
        if bucket.known {
            return bucket.start..bucket.end;
        }
        let Some((list, pipeline)) = program.buckets.get(index as usize).copied() else {
            return 0..0;
        };
        self.buckets.found.truncate(self.buckets.kept);
        let start = self.buckets.found.len();
        let mut bytes = ByteSet::default();
        if let Some(list) = program.lists.get(list as usize) {
            let mut found = std::mem::take(&mut self.buckets.found);
            self.resolve_list(program, list, &mut found);
            for value in found.iter_mut().skip(start) {
                if pipeline == 0 && matches!(value.val, Val::Int(_)) {
                    // Digits are the only bytes of a number, but for its sign.
                    bytes.union(&ByteSet::of(b"-0123456789"));
                    continue;
                }
                let id = self.value_id(program, value.val);
                let made = self.values.transformed(program, id, pipeline);
                bytes.union(&self.values.bytes(made));
                value.val = Val::Id(made);
            }
            self.buckets.found = found;
        }
        let (start, end) = (start as u32, self.buckets.found.len() as u32);
        // What does not fit into the buffer of values is forgotten when its rule is done.
        let known = !self.values.full();
        if known {
            self.buckets.kept = self.buckets.found.len();
        }
        if let Some(bucket) = self.buckets.all.get_mut(index as usize) {
            *bucket = Bucket {
                known,
                start,
                end,
                bytes,
                done: 0,
                maybe: Hits::default(),
            };
        }
        start..end
    }

    /// Whether no value of a bucket, which was asked for before, passes a link's test.
    pub(super) fn is_ruled_out(&mut self, program: &Program, link: &Link, index: u32) -> bool {
        let Some(bucket) = self.buckets.all.get(index as usize) else {
            return false;
        };
        if bucket.start == bucket.end {
            return true;
        }
        if let Some(filter) = link.test.filter() {
            return !filter.needs.may_match(&bucket.bytes)
                || filter.bit.is_some_and(|bit| !self.bucket_may_hold(program, index, bit));
        }
        match &link.test {
            Test::ByteRange(allowed) => !bucket.bytes.leaves(allowed),
            Test::UrlEncoding => !bucket.bytes.has(b'%'),
            _ => false,
        }
    }

    fn bucket_may_hold(&mut self, program: &Program, index: u32, bit: u16) -> bool {
        let group = program.group_of.get(usize::from(bit)).copied();
        let (Some(group), Some(bucket)) = (group, self.buckets.all.get(index as usize).copied()) else {
            return true;
        };
        let mask = 1_u128 << (group & 127);
        if bucket.done & mask != 0 {
            return bucket.maybe.has(bit);
        }
        let mut maybe = bucket.maybe;
        for at in bucket.start..bucket.end {
            match self.buckets.value(at).map(|found| found.val) {
                Some(Val::Id(id)) => maybe.union(&self.values.hits(program, id, group)),
                // A number, or what was forgotten: tests are not spared by it.
                _ => maybe.union(
                    &program
                        .groups
                        .get(usize::from(group))
                        .map_or_else(Hits::default, |group| group.members),
                ),
            }
        }
        if let Some(bucket) = self.buckets.all.get_mut(index as usize) {
            bucket.done |= mask;
            bucket.maybe = maybe;
        }
        maybe.has(bit)
    }
}
