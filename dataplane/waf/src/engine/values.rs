//! The bytes of a transaction: every value that rules see, and what transformations make of it, each made once.
//!
//! All bytes lie in one buffer; a value is a range of it. A transformation that changes nothing gives the same value
//! back, so that most values of most requests have one form however many pipelines rules ask for, and whatever is known
//! about a value (see [`super::scan`]) is known about all of its equal forms.
//!
//! Invariant: the buffer stays below [`ROOM`] and what one more transformation makes; what does not fit is worked out again
//! each time and forgotten when its rule is done ([`Values::mark`], [`Values::forget`]).

use std::borrow::Cow;
use std::ops::Range;

use super::byteset::ByteSet;
use super::operator::Filter;
use super::program::Program;

/// A value of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ValueId(pub(super) u32);

/// Over so many bytes, transformed values are not kept.
const ROOM: usize = 64 << 20;

/// The buffer and the values in it.
#[derive(Debug, Default)]
pub(super) struct Values {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Rows of a table: for one value, what each pipeline and each step makes of it (plus one; 0: not known yet).
    rows: Vec<u32>,
    seen: Vec<Seen>,
}

/// What is known about a value: its bytes, and for each bit whether it was looked for and may be there.
#[derive(Clone, Copy, Debug)]
struct Seen {
    bytes: ByteSet,
    done: u128,
    maybe: u128,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
    /// Its row (plus one; 0: none).
    row: u32,
    /// What is known about its bytes (plus one; 0: nothing).
    seen: u32,
}

/// A point to come back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    bytes: usize,
    entries: usize,
}

impl Values {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(192),
            rows: Vec::with_capacity(2048),
            seen: Vec::with_capacity(64),
        }
    }

    /// A new value.
    pub(super) fn push(&mut self, value: &[u8]) -> ValueId {
        let start = self.bytes.len();
        // Bodies are bounded far below this by whoever reads them.
        if start.saturating_add(value.len()) > u32::MAX as usize / 2 {
            return self.entry(start, 0);
        }
        self.bytes.extend_from_slice(value);
        self.entry(start, value.len())
    }

    /// A part of a value.
    pub(super) fn part(&mut self, of: ValueId, range: Range<usize>) -> ValueId {
        let (start, len) = self.range(of);
        let from = range.start.min(len);
        let to = range.end.clamp(from, len);
        self.entry(start + from, to - from)
    }

    /// The bytes of a value.
    pub(super) fn get(&self, id: ValueId) -> &[u8] {
        let (start, len) = self.range(id);
        self.bytes.get(start..start + len).unwrap_or_default()
    }

    /// What a pipeline makes of a value.
    pub(super) fn transformed(&mut self, program: &Program, id: ValueId, pipeline: u32) -> ValueId {
        if pipeline == 0 {
            return id;
        }
        let width = program.pipelines.len() + program.steps.len();
        let known = self.cell(id, width, pipeline as usize);
        if known != 0 {
            return ValueId(known - 1);
        }
        let mut made = id;
        for step in program.pipelines.get(pipeline as usize).map_or(&[][..], |steps| steps) {
            made = self.step(program, made, *step);
        }
        if !self.full() {
            self.set_cell(id, width, pipeline as usize, made);
        }
        made
    }

    /// What one step makes of a value.
    pub(super) fn step(&mut self, program: &Program, id: ValueId, step: u8) -> ValueId {
        let width = program.pipelines.len() + program.steps.len();
        let column = program.pipelines.len() + usize::from(step);
        let known = self.cell(id, width, column);
        if known != 0 {
            return ValueId(known - 1);
        }
        let Some(transformation) = program.steps.get(usize::from(step)) else {
            return id;
        };
        let (start, len) = self.range(id);
        let input = self.bytes.get(start..start + len).unwrap_or_default();
        let made = match transformation.apply(input) {
            Cow::Borrowed(same) if same.len() == input.len() => id,
            Cow::Borrowed(part) => {
                // A part of the input, by where it lies in it.
                let from = (part.as_ptr() as usize).wrapping_sub(input.as_ptr() as usize);
                if part.is_empty() || from > len {
                    let owned = part.to_vec();
                    self.push(&owned)
                } else {
                    let to = from + part.len();
                    self.part(id, from..to)
                }
            }
            Cow::Owned(new) if new == input => id,
            Cow::Owned(new) => self.push(&new),
        };
        if !self.full() {
            self.set_cell(id, width, column, made);
        }
        made
    }

    /// Whether what is made from now on is forgotten.
    pub(super) fn full(&self) -> bool {
        self.bytes.len() > ROOM
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            entries: self.entries.len(),
        }
    }

    /// Forgets what was made since, if the buffer is full.
    pub(super) fn forget(&mut self, mark: Mark) {
        if self.full() && mark.bytes > ROOM {
            self.bytes.truncate(mark.bytes);
            self.entries.truncate(mark.entries);
        }
    }

    /// Which bytes a value has.
    pub(super) fn bytes(&mut self, id: ValueId) -> ByteSet {
        self.seen(id).bytes
    }

    /// Whether what has a bit may be in a value; false is exact.
    pub(super) fn may_hold(&mut self, program: &Program, id: ValueId, bit: u8) -> bool {
        let mask = 1_u128 << (bit & 127);
        let seen = self.seen(id);
        if seen.done & mask != 0 {
            return seen.maybe & mask != 0;
        }
        let group = program
            .group_of
            .get(usize::from(bit))
            .and_then(|group| program.groups.get(usize::from(*group)));
        let Some(group) = group else { return true };
        let hits = group.scan(self.get(id));
        let index = self.entries.get(id.0 as usize).map_or(0, |entry| entry.seen) as usize;
        if let Some(seen) = index.checked_sub(1).and_then(|index| self.seen.get_mut(index)) {
            seen.done |= group.members;
            seen.maybe |= hits;
        }
        hits & mask != 0
    }

    /// What a filter says about a value: false if no test can find anything in it.
    pub(super) fn may_pass(&mut self, program: &Program, id: ValueId, filter: &Filter) -> bool {
        filter.needs.may_match(&self.bytes(id)) && filter.bit.is_none_or(|bit| self.may_hold(program, id, bit))
    }

    fn seen(&mut self, id: ValueId) -> Seen {
        let index = self.entries.get(id.0 as usize).map_or(0, |entry| entry.seen) as usize;
        if let Some(seen) = index.checked_sub(1).and_then(|index| self.seen.get(index)) {
            return *seen;
        }
        let seen = Seen {
            bytes: ByteSet::of(self.get(id)),
            done: 0,
            maybe: 0,
        };
        self.seen.push(seen);
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.seen = self.seen.len() as u32;
        }
        seen
    }

    fn entry(&mut self, start: usize, len: usize) -> ValueId {
        let id = ValueId(self.entries.len() as u32);
        self.entries.push(Entry {
            start: start as u32,
            len: len as u32,
            row: 0,
            seen: 0,
        });
        id
    }

    fn range(&self, id: ValueId) -> (usize, usize) {
        self.entries
            .get(id.0 as usize)
            .map_or((0, 0), |entry| (entry.start as usize, entry.len as usize))
    }

    fn cell(&self, id: ValueId, width: usize, column: usize) -> u32 {
        let row = self.entries.get(id.0 as usize).map_or(0, |entry| entry.row) as usize;
        if row == 0 {
            return 0;
        }
        self.rows.get((row - 1) * width + column).copied().unwrap_or(0)
    }

    fn set_cell(&mut self, id: ValueId, width: usize, column: usize, made: ValueId) {
        let Some(entry) = self.entries.get_mut(id.0 as usize) else {
            return;
        };
        if entry.row == 0 {
            entry.row = (self.rows.len() / width) as u32 + 1;
            self.rows.resize(self.rows.len() + width, 0);
        }
        let index = (entry.row as usize - 1) * width + column;
        if let Some(cell) = self.rows.get_mut(index) {
            *cell = made.0 + 1;
        }
    }
}
