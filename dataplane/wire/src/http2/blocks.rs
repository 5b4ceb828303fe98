//! Response heads as field blocks, put together by the caller.
//!
//! A block of ours refers to the static table and else has plain literals, so it is valid in every connection and may be
//! kept. [`Blocks`] keeps those of heads that are sent again and again: a stored response. Invariant: what is written for
//! some lines depends on the lines alone, whatever is kept.

use super::connection::write_lines;
use super::hpack::{encode, integer};

/// Heads that are kept: a power of two.
const SLOTS: usize = 512;

/// The longest head that is kept, in bytes of its lines and again of its block.
const LONGEST: usize = 1024;

/// Appends `:status`, which comes before all fields. `status` has three digits.
pub fn write_status(out: &mut Vec<u8>, status: u16) {
    let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
    encode::status(out, [digit(100), digit(10), digit(1)]);
}

/// Appends a field whose value is what `write` appends. `name` is a token in lower case, and the value one of ours: neither
/// is checked.
pub fn write_field(out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    encode::name(out, name.as_bytes());
    let at = out.len();
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    if let Some(place) = out.get_mut(at).filter(|_| length < 0x7f) {
        *place = length as u8;
    } else {
        // It does not fit the byte that was left for it.
        let value = out.split_off(at + 1);
        out.truncate(at);
        integer::write(out, 0, 7, length);
        out.extend_from_slice(&value);
    }
}

/// Blocks of heads that were sent more than once. At most 512 heads of at most 1 KiB: 1 MiB.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Empty, or [`SLOTS`].
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    lines: Box<[u8]>,
    block: Box<[u8]>,
    /// Where the lines were that were asked for last and are not these. Zero: these were.
    missed: usize,
}

impl Blocks {
    /// Appends the block of field lines, which end in CRLF each, by the rules of
    /// [`Connection::send_head`](super::Connection::send_head). None, and `out` as it was, when they are no lines.
    ///
    /// Lines that lie where they lay the last time are found without being read twice; any others are put together anew.
    pub fn write(&mut self, lines: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Slot::default);
        }
        let address = lines.as_ptr().addr();
        let slot = self.slots.get_mut(slot_of(address))?;
        if *slot.lines == *lines {
            slot.missed = 0;
            out.extend_from_slice(&slot.block);
            return Some(());
        }
        let from = out.len();
        if write_lines(lines, out).is_none() {
            out.truncate(from);
            return None;
        }
        // Most heads are sent once. And two that share a slot do not drive each other out.
        if std::mem::replace(&mut slot.missed, address) == address {
            let block = out.get(from..).unwrap_or_default();
            if lines.len().max(block.len()) <= LONGEST {
                *slot = Slot {
                    lines: lines.into(),
                    block: block.into(),
                    missed: 0,
                };
            }
        }
        Some(())
    }

    /// Bytes of heap.
    #[must_use]
    pub fn heap(&self) -> usize {
        let kept = self.slots.iter().map(|slot| slot.lines.len() + slot.block.len());
        self.slots.capacity() * size_of::<Slot>() + kept.sum::<usize>()
    }
}

/// Spread by a factor: allocations begin at multiples of some power of two.
fn slot_of(address: usize) -> usize {
    let spread = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (64 - SLOTS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(lines: &[u8]) -> Option<Vec<u8>> {
        let mut block = Vec::new();
        write_lines(lines, &mut block).map(|()| block)
    }

    #[test]
    fn a_kept_block_is_the_one_that_would_be_made() {
        let mut blocks = Blocks::default();
        let heads: Vec<_> = (0..2000)
            .map(|n| format!("date: x\r\nConnection: x\r\nETag: \"{n}\"\r\nx-{n}: y\r\n"))
            .collect();
        for round in 0..5 {
            for head in &heads {
                let mut out = b"before".to_vec();
                assert_eq!(blocks.write(head.as_bytes(), &mut out), Some(()));
                assert_eq!(Some(&out[6..]), fresh(head.as_bytes()).as_deref(), "round {round}");
            }
        }
    }

    #[test]
    fn other_lines_at_the_same_place_have_their_own_block() {
        let mut blocks = Blocks::default();
        let mut lines = *b"etag: 0\r\n";
        for n in 0..20 {
            lines[6] = b'0' + n / 4;
            let mut out = Vec::new();
            blocks.write(&lines, &mut out);
            assert_eq!(Some(out), fresh(&lines));
        }
    }

    #[test]
    fn a_head_is_kept_when_it_is_sent_again_and_one_that_is_not_sent_again_drives_it_not_out() {
        let mut blocks = Blocks::default();
        let heads: Vec<_> = (0..2000).map(|n| format!("etag: {n}\r\n")).collect();
        let slot = |head: &String| slot_of(head.as_ptr().addr());
        let hot = &heads[0];
        let rare = heads[1..]
            .iter()
            .find(|rare| slot(rare) == slot(hot))
            .expect("more than slots");
        let kept = |blocks: &Blocks| blocks.slots[slot(hot)].lines.to_vec();
        blocks.write(hot.as_bytes(), &mut Vec::new());
        assert_eq!(kept(&blocks), b"");
        blocks.write(hot.as_bytes(), &mut Vec::new());
        assert_eq!(kept(&blocks), hot.as_bytes());
        for _ in 0..10 {
            blocks.write(rare.as_bytes(), &mut Vec::new());
            blocks.write(hot.as_bytes(), &mut Vec::new());
        }
        assert_eq!(kept(&blocks), hot.as_bytes());
        for _ in 0..2 {
            blocks.write(rare.as_bytes(), &mut Vec::new());
        }
        assert_eq!(kept(&blocks), rare.as_bytes());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut blocks = Blocks::default();
        let heads: Vec<_> = (0..3000)
            .map(|n| format!("{n}: {}\r\n", "x".repeat(n % 1500)))
            .collect();
        for head in &heads {
            for _ in 0..3 {
                blocks.write(head.as_bytes(), &mut Vec::new());
            }
        }
        assert!(blocks.heap() > SLOTS * 500, "{}", blocks.heap());
        assert!(blocks.heap() <= SLOTS * (2 * LONGEST + size_of::<Slot>()));
        assert!(blocks.slots.iter().all(|slot| slot.lines.len() <= LONGEST));
    }

    #[test]
    fn what_is_no_line_is_written_neither_at_first_nor_later() {
        let mut blocks = Blocks::default();
        let lines = b"good: x\r\nbad\r\n";
        for _ in 0..3 {
            let mut out = b"before".to_vec();
            assert_eq!(blocks.write(lines, &mut out), None);
            assert_eq!(out, b"before");
        }
    }

    #[test]
    fn a_value_of_any_length_is_written_as_a_field_is() {
        for length in [0, 1, 126, 127, 128, 254, 255, 300, 20_000] {
            let value = vec![b'v'; length];
            for name in ["age", "x-own", "cache-status"] {
                let (mut ours, mut expected) = (vec![1, 2], vec![1, 2]);
                write_field(&mut ours, name, |out| out.extend_from_slice(&value));
                encode::field(&mut expected, name.as_bytes(), &value);
                assert_eq!(ours, expected, "{name}, {length}");
            }
        }
    }
}
