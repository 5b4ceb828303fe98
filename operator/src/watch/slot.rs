//! The objects of one kind, kept up to date by watch events.
//!
//! Invariant: a relist replaces the contents at once when it is complete; until then the former contents stay.

use std::collections::BTreeMap;
use std::collections::btree_map::{Iter, Values};

/// Namespace and name.
pub(super) type Key = (String, String);

/// One event of a watch, with the object already turned into a plain value.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// The object is there.
    Apply(Key, T),
    /// The object is gone.
    Delete(Key),
    /// A list begins.
    Init,
    /// One object of the list.
    InitApply(Key, T),
    /// The list is complete.
    InitDone,
}

/// What an event changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Something the compile step sees.
    pub(super) seen: bool,
    /// Something that status writing sees.
    pub(super) facts: bool,
}

/// A value that can tell what changed.
pub(super) trait Item: PartialEq {
    /// What differs between an object and its successor.
    fn change(&self, next: &Self) -> Change {
        let differs = self != next;
        Change {
            seen: differs,
            facts: false,
        }
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Slot<T> {
    items: BTreeMap<Key, T>,
    incoming: Option<BTreeMap<Key, T>>,
    synced: bool,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            incoming: None,
            synced: false,
        }
    }
}

const ALL: Change = Change {
    seen: true,
    facts: true,
};

impl<T: Item> Slot<T> {
    pub(super) fn event(&mut self, event: Event<T>) -> Change {
        match event {
            Event::Apply(key, item) => match self.items.insert(key.clone(), item) {
                Some(before) => self.items.get(&key).map_or(ALL, |now| before.change(now)),
                None => ALL,
            },
            Event::Delete(key) => self.items.remove(&key).map_or_else(Change::default, |_| ALL),
            Event::Init => {
                self.incoming = Some(BTreeMap::new());
                Change::default()
            }
            Event::InitApply(key, item) => {
                self.incoming.get_or_insert_default().insert(key, item);
                Change::default()
            }
            Event::InitDone => {
                self.synced = true;
                let next = self.incoming.take().unwrap_or_default();
                let same =
                    next.len() == self.items.len() && next.iter().all(|(key, item)| self.items.get(key) == Some(item));
                self.items = next;
                if same { Change::default() } else { ALL }
            }
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&T> {
        self.items.get(key)
    }

    pub(super) fn entries(&self) -> Iter<'_, Key, T> {
        self.items.iter()
    }

    pub(super) fn values(&self) -> Values<'_, Key, T> {
        self.items.values()
    }

    pub(super) const fn synced(&self) -> bool {
        self.synced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Item for u32 {}

    fn key(name: &str) -> Key {
        ("default".to_owned(), name.to_owned())
    }

    #[test]
    fn a_relist_drops_what_is_gone_and_only_when_it_is_complete() {
        let mut slot = Slot::default();
        for event in [
            Event::Init,
            Event::InitApply(key("a"), 1),
            Event::InitApply(key("b"), 1),
        ] {
            assert_eq!(slot.event(event), Change::default());
        }
        assert!(!slot.synced());
        assert_eq!(slot.event(Event::InitDone), ALL);
        assert!(slot.synced());
        slot.event(Event::Init);
        slot.event(Event::InitApply(key("b"), 1));
        assert_eq!(slot.values().count(), 2);
        assert_eq!(slot.event(Event::InitDone), ALL);
        assert_eq!(slot.values().count(), 1);
    }

    #[test]
    fn what_is_the_same_is_no_change() {
        let mut slot = Slot::default();
        slot.event(Event::Apply(key("a"), 1));
        assert_eq!(slot.event(Event::Apply(key("a"), 1)), Change::default());
        assert!(slot.event(Event::Apply(key("a"), 2)).seen);
        assert_eq!(slot.event(Event::Delete(key("z"))), Change::default());
        slot.event(Event::Init);
        slot.event(Event::InitApply(key("a"), 2));
        assert_eq!(slot.event(Event::InitDone), Change::default());
    }
}
