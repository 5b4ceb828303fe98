//! Keys that are forgotten, in the log: what was removed is not found again after a restart.
//!
//! Invariant: a removal is written before anything that was queued after it. While the disk rests, or fails, removals wait;
//! when too many do, or the process ends before they are written, the store is not used again.

use super::super::codec::{self, MAX_REMOVED};
use super::super::record::{Header, Kind};
use super::{Log, Unwritten};
use crate::key::Key;

/// Removals that wait while the disk rests.
const MAX_WAITING: usize = 65_536;

impl Log {
    /// Notes in the log that keys are forgotten: this one and those behind it in the queue.
    pub(super) fn remove(&mut self, key: Key, order: u64) -> Result<(), Unwritten> {
        let mut removed = vec![(key, order)];
        while removed.len() < MAX_REMOVED
            && let Some(next) = self.store.queue.take_removal()
        {
            removed.push(next);
        }
        let result = self.write_removed(&removed);
        if result.is_err() {
            // The first is its caller's.
            removed.drain(..1);
            removed.into_iter().for_each(|(key, order)| self.wait_with(key, order));
        }
        result
    }

    pub(super) fn write_removed(&mut self, removed: &[(Key, u64)]) -> Result<(), Unwritten> {
        let keys: Vec<_> = removed.iter().map(|(key, _)| *key).collect();
        let first = keys.first().copied().unwrap_or(Key(0));
        self.append(
            Header::new(Kind::Remove, first),
            &codec::encode_removed(&keys),
            std::iter::empty(),
        )?;
        for &(key, order) in removed {
            self.store.index.remove(key);
            self.store.queue.removal_done(key, order);
        }
        self.unsynced.get_or_insert(self.now);
        Ok(())
    }

    pub(super) fn write_waiting(&mut self) -> Result<(), Unwritten> {
        while !self.waiting.is_empty() {
            let from = self.waiting.len().saturating_sub(MAX_REMOVED);
            let some = self.waiting.split_off(from);
            if let Err(error) = self.write_removed(&some) {
                self.waiting.extend(some);
                return Err(error);
            }
        }
        Ok(())
    }

    pub(super) fn wait_with(&mut self, key: Key, order: u64) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push((key, order));
        } else {
            self.store.distrust("removals cannot be noted");
        }
    }
}
