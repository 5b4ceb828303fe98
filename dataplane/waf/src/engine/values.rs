//! The bytes of a transaction: every value that rules see, and what transformations make of it, each made once.
//!
//! All bytes lie in one buffer; a value is a range of it. A transformation that changes nothing gives the same value
//! back, so that most values of most requests have one form however many pipelines rules ask for, and whatever is known
//! about a value (see [`super::scan`]) is known about all of its equal forms.
//!
//! Invariant: the buffer stays below [`ROOM`], what one rule makes, and what the collections and variables of the
//! transaction hold. Over the room what transformations make is worked out each time; when its rule is done, all of it is
//! forgotten but what the rule put into variables ([`Values::keep`]). A value that something holds on to is never
//! forgotten: whoever asks to keep some names all that are held.

use std::borrow::Cow;
use std::ops::Range;

use super::byteset::ByteSet;
use super::hits::Hits;
use super::operator::Filter;
use super::program::Program;

/// A value of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ValueId(pub(super) u32);

/// Over so many bytes, transformed values are not kept.
const ROOM: usize = 64 << 20;

/// The buffer and the values in it.
#[derive(Debug)]
pub(super) struct Values {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Rows of a table: for one value, what each pipeline and each step makes of it (plus one; 0: not known yet).
    rows: Vec<u32>,
    seen: Vec<Seen>,
    room: usize,
    /// Where the room was used up: what is made from there on is kept only if something holds on to it.
    over: Option<Mark>,
}

/// What is known about a value: its bytes, which groups looked at it, and what may be in it of all that they look for.
#[derive(Clone, Copy, Debug)]
struct Seen {
    bytes: ByteSet,
    done: u128,
    maybe: Hits,
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

/// A point in the buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    bytes: usize,
    entries: usize,
}

/// The new ids of values that were kept.
pub(super) struct Moved {
    since: usize,
    /// Old ids, in order.
    kept: Vec<ValueId>,
}

impl Moved {
    /// The id of a value that was named when others were forgotten.
    pub(super) fn of(&self, id: ValueId) -> ValueId {
        match self.kept.binary_search(&id) {
            Ok(index) => ValueId((self.since + index) as u32),
            Err(_) => id,
        }
    }
}

impl Values {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(192),
            rows: Vec::with_capacity(2048),
            seen: Vec::with_capacity(64),
            room: ROOM,
            over: None,
        }
    }

    #[cfg(test)]
    pub(super) fn set_room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// About how many bytes it takes.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.rows.capacity() * size_of::<u32>()
            + self.seen.capacity() * size_of::<Seen>()
    }

    /// A new value.
    pub(super) fn push(&mut self, value: &[u8]) -> ValueId {
        let start = self.bytes.len();
        // Bodies are bounded far below this by whoever reads them.
        if start.saturating_add(value.len()) > u32::MAX as usize / 2 {
            return self.entry(start, 0);
        }
        self.bytes.extend_from_slice(value);
        let id = self.entry(start, value.len());
        if self.over.is_none() && self.bytes.len() > self.room {
            self.over = Some(self.mark());
        }
        id
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

    /// How many bytes there are.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the room is used up.
    pub(super) fn full(&self) -> bool {
        self.over.is_some()
    }

    /// Where what a rule made over the room begins, if there is any.
    pub(super) fn loose(&self) -> Option<Mark> {
        self.over.filter(|over| over.entries < self.entries.len())
    }

    /// Between phases, when collections have grown: all that there is stays.
    pub(super) fn settle(&mut self) {
        if self.over.is_some() {
            self.over = Some(self.mark());
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            entries: self.entries.len(),
        }
    }

    /// Forgets all that was made since a point but these values, which get new ids.
    pub(super) fn keep(&mut self, since: Mark, mut live: Vec<ValueId>) -> Moved {
        live.retain(|id| id.0 as usize >= since.entries);
        live.sort_unstable();
        live.dedup();
        let runs = self.close_up(since, &live);
        let entry = |id: &ValueId| {
            let (start, len) = self.range(*id);
            let run = runs.partition_point(|(run, _)| run.start <= start).checked_sub(1);
            let start = match run.and_then(|run| runs.get(run)) {
                Some((run, to)) if start >= since.bytes => to + (start - run.start),
                _ => start,
            };
            Entry {
                start: start as u32,
                len: len as u32,
                row: 0,
                seen: 0,
            }
        };
        let kept: Vec<_> = live.iter().map(entry).collect();
        self.entries.truncate(since.entries);
        self.entries.extend(kept);
        Moved {
            since: since.entries,
            kept: live,
        }
    }

    /// Moves the bytes of these values together; where each run of them was, and where it is. Values that share bytes
    /// still do.
    fn close_up(&mut self, since: Mark, live: &[ValueId]) -> Vec<(Range<usize>, usize)> {
        let ranges = live.iter().map(|id| self.range(*id));
        let mut ranges: Vec<_> = ranges.filter(|(start, _)| *start >= since.bytes).collect();
        ranges.sort_unstable();
        let mut runs: Vec<(Range<usize>, usize)> = Vec::new();
        for (start, len) in ranges {
            match runs.last_mut() {
                Some((run, _)) if start <= run.end => run.end = run.end.max(start + len),
                _ => runs.push((start..start + len, 0)),
            }
        }
        let mut end = since.bytes;
        for (run, to) in &mut runs {
            self.bytes.copy_within(run.clone(), end);
            *to = end;
            end += run.len();
        }
        self.bytes.truncate(end);
        runs
    }

    /// Forgets all but these values, and all that is known about them.
    pub(super) fn compact(&mut self, live: Vec<ValueId>) -> Moved {
        let moved = self.keep(Mark::default(), live);
        self.rows = Vec::new();
        self.seen = Vec::new();
        self.over = None;
        self.bytes.shrink_to_fit();
        self.entries.shrink_to_fit();
        moved
    }

    /// Which bytes a value has.
    pub(super) fn bytes(&mut self, id: ValueId) -> ByteSet {
        self.see(id).0.bytes
    }

    /// What a group finds in a value: what is not among it is not there.
    pub(super) fn hits(&mut self, program: &Program, id: ValueId, group: u8) -> Hits {
        let (Seen { done, maybe, .. }, at) = self.see(id);
        let mask = 1_u128 << (group & 127);
        let Some(group) = program.groups.get(usize::from(group)).filter(|_| done & mask == 0) else {
            return maybe;
        };
        let mut hits = maybe;
        group.scan(self.get(id), &mut hits);
        if let Some(seen) = at.and_then(|at| self.seen.get_mut(at)) {
            seen.done |= mask;
            seen.maybe = hits;
        }
        hits
    }

    /// What a filter says about a value: false if no test can find anything in it.
    pub(super) fn may_pass(&mut self, program: &Program, id: ValueId, filter: &Filter) -> bool {
        let may_hold = |this: &mut Self, bit: u16| {
            let group = program.group_of.get(usize::from(bit));
            group.is_none_or(|group| this.hits(program, id, *group).has(bit))
        };
        filter.needs.may_match(&self.bytes(id)) && filter.bit.is_none_or(|bit| may_hold(self, bit))
    }

    /// What is known about a value, and where that stands.
    fn see(&mut self, id: ValueId) -> (Seen, Option<usize>) {
        let known = self.entries.get(id.0 as usize).map_or(0, |entry| entry.seen) as usize;
        let at = known.checked_sub(1);
        if let Some(seen) = at.and_then(|at| self.seen.get(at)) {
            return (*seen, at);
        }
        let seen = Seen {
            bytes: ByteSet::of(self.get(id)),
            done: 0,
            maybe: Hits::default(),
        };
        if self.over.is_some_and(|over| id.0 as usize >= over.entries) {
            // It is forgotten soon, and what is known about it would not be.
            return (seen, None);
        }
        self.seen.push(seen);
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.seen = self.seen.len() as u32;
        }
        (seen, Some(self.seen.len() - 1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_its_bytes_and_shares_them_as_before_and_the_rest_is_gone() {
        let mut values = Values::with_capacity(0);
        let first = values.push(b"first");
        let since = values.mark();
        let garbage = values.push(b"garbage");
        let whole = values.push(b"a whole value");
        let part = values.part(whole, 2..7);
        let other = values.part(first, 1..3);
        let empty = values.part(garbage, 3..3);
        values.push(b"more garbage");
        let moved = values.keep(since, vec![part, whole, first, part, other, empty]);
        let get = |id| values.get(moved.of(id));
        assert_eq!(get(first), b"first");
        assert_eq!((get(whole), get(part)), (&b"a whole value"[..], &b"whole"[..]));
        assert_eq!((get(other), get(empty)), (&b"ir"[..], &b""[..]));
        assert_eq!(values.bytes, b"firsta whole value");
        assert_eq!(values.entries.len(), 5);
    }

    #[test]
    fn what_is_made_over_the_room_is_loose_until_a_phase_ends() {
        let mut values = Values::with_capacity(0);
        values.set_room(4);
        values.push(b"1234");
        assert!(!values.full());
        values.push(b"5");
        assert!(values.full() && values.loose().is_none());
        let id = values.push(b"6");
        assert!(values.loose().is_some());
        values.bytes(id);
        assert!(values.seen.is_empty(), "nothing is noted of what is forgotten");
        values.settle();
        assert!(values.loose().is_none());
    }
}
