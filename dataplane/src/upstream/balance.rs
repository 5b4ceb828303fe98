//! Which server gets the next request.

use std::cell::Cell;

/// Each in turn.
#[derive(Debug)]
pub(crate) struct RoundRobin(Cell<usize>);

impl RoundRobin {
    pub(crate) fn starting_at(turn: usize) -> Self {
        Self(Cell::new(turn))
    }

    /// The next of `items`; none when there are none.
    pub(crate) fn pick<'i, T>(&self, items: &'i [T]) -> Option<&'i T> {
        let turn = self.0.get();
        self.0.set(turn.wrapping_add(1));
        items.get(turn.checked_rem(items.len())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_its_turn() {
        let turns = RoundRobin::starting_at(usize::MAX - 1);
        let picked: Vec<_> = (0..6).filter_map(|_| turns.pick(&['a', 'b', 'c'])).collect();
        for server in ['a', 'b', 'c'] {
            assert!(picked.iter().filter(|p| ***p == server).count() >= 1, "{picked:?}");
        }
        assert_eq!(turns.pick::<char>(&[]), None);
    }
}
