//! Requests that were judged, by their ids: a line of one that comes late does not make a second request of it.
//!
//! Bounded: of the last [`MOST`] requests with an id it is known that they were judged.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Requests that are remembered: 20 MiB or so.
const MOST: usize = 512 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By a hash of the id: whether the access line of the request was among its lines.
    judged: HashMap<u64, bool>,
    order: VecDeque<u64>,
}

impl Seen {
    /// Remembers a request that is judged; `access`: its access line was there.
    pub(super) fn remember(&mut self, id: &str, access: bool) {
        let id = hash(id);
        if self.judged.insert(id, access).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.judged.remove(&oldest);
        }
    }

    /// Whether a line is of a request that was judged. A request has one access line: a second one with its id is of
    /// another request, whose client chose the same.
    pub(super) fn has(&mut self, id: &str, is_access: bool) -> bool {
        let Some(access) = self.judged.get_mut(&hash(id)) else {
            return false;
        };
        let same = !(is_access && *access);
        *access |= is_access;
        same
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_access_line_and_any_number_of_audit_lines() {
        let mut seen = Seen::default();
        assert!(!seen.has("a", true) && !seen.has("a", false));
        seen.remember("a", false);
        assert!(seen.has("a", false) && seen.has("a", true));
        assert!(!seen.has("a", true) && seen.has("a", false));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let mut seen = Seen::default();
        for n in 0..=MOST {
            seen.remember(&n.to_string(), true);
        }
        assert_eq!((seen.judged.len(), seen.order.len()), (MOST, MOST));
        assert!(!seen.has("0", false) && seen.has("1", false));
    }
}
