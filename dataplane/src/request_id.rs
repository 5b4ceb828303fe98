//! Request ids: unique, short, and made without a system call.

use std::cell::Cell;

use crate::server::random;

/// A request id: 32 hexadecimal digits when we made it.
pub(crate) const LEN: usize = 32;

/// Longest id that is accepted from a trusted proxy.
const MAX_ACCEPTED: usize = 128;

/// A worker's source of ids.
pub(crate) struct RequestIds {
    /// Unique for the worker's life, with overwhelming probability among all nodes.
    prefix: [u8; LEN / 2],
    next: Cell<u64>,
}

impl RequestIds {
    /// A source that no other source repeats: seeded from the process's random state.
    pub(crate) fn new() -> Self {
        let random = random();
        Self {
            prefix: digits((random >> 64) as u64),
            next: Cell::new(random as u64),
        }
    }

    /// The next id.
    pub(crate) fn next(&self) -> [u8; LEN] {
        let n = self.next.get().wrapping_add(1);
        self.next.set(n);
        // Neighbours differ in many digits, so that people can tell them apart: an odd factor is a bijection.
        let mut id = [0; LEN];
        let (first, last) = id.split_at_mut(LEN / 2);
        first.copy_from_slice(&self.prefix);
        last.copy_from_slice(&digits(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        id
    }
}

/// The hexadecimal digits of a number, without a branch for each.
fn digits(number: u64) -> [u8; LEN / 2] {
    let bytes = number.to_be_bytes();
    let mut digits = [0; LEN / 2];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [byte >> 4, byte & 15];
    }
    for digit in &mut digits {
        *digit += if *digit < 10 { b'0' } else { b'a' - 10 };
    }
    digits
}

/// An id as text.
pub(crate) fn text(id: &[u8; LEN]) -> &str {
    std::str::from_utf8(id).unwrap_or_default()
}

/// Whether an id that a trusted proxy sent can be kept: it goes into logs and fields as it is.
pub(crate) fn acceptable(id: &[u8]) -> bool {
    (1..=MAX_ACCEPTED).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b'+' | b'/' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_repeat_within_or_among_sources() {
        let sources = [RequestIds::new(), RequestIds::new()];
        let mut seen: Vec<_> = sources.iter().flat_map(|s| (0..1000).map(|_| s.next())).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2000);
        assert!(seen.iter().all(|id| acceptable(id)));
    }

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(digits(number), *format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn an_id_that_could_forge_a_log_line_is_not_kept() {
        for bad in [&b""[..], b"a b", b"a\"b", b"a\nb", &[b'a'; 129]] {
            assert!(!acceptable(bad), "{bad:?}");
        }
    }
}
