//! TX: the variables that rules set.
//!
//! Names that rules mention have slots; names that rules put together from what a client sent are kept beside them, at
//! most [`NAMES`] of them.

use std::collections::HashMap;

use super::{Limit, Val};
use crate::engine::bound::Bound;
use crate::engine::program::Program;

/// Most names that rules put together in one transaction.
const NAMES: usize = 4096;

/// The variables of one transaction.
#[derive(Debug)]
pub(super) struct TxVars {
    slots: Vec<Val>,
    others: Vec<(Box<[u8]>, Val)>,
    index: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
}

impl TxVars {
    /// What a policy sets before the first rule.
    pub(super) fn new(bound: &Bound) -> Self {
        Self {
            slots: bound.variables.clone(),
            others: Vec::new(),
            index: HashMap::default(),
        }
    }

    pub(super) fn get(&self, slot: u16) -> Val {
        self.slots.get(usize::from(slot)).copied().unwrap_or(Val::Unset)
    }

    pub(super) fn set(&mut self, slot: u16, val: Val) {
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = val;
        }
    }

    /// By a name in lower case.
    pub(super) fn get_named(&self, program: &Program, name: &[u8]) -> Val {
        match program.tx.slot(name) {
            Some(slot) => self.get(slot),
            None => self
                .index
                .get(name)
                .and_then(|index| self.others.get(*index as usize))
                .map_or(Val::Unset, |(_, val)| *val),
        }
    }

    /// By a name in lower case; beyond the bound, new names are dropped, and [`Limit::Names`] is set.
    pub(super) fn set_named(&mut self, program: &Program, name: &[u8], val: Val) {
        if let Some(slot) = program.tx.slot(name) {
            return self.set(slot, val);
        }
        if let Some(place) = self
            .index
            .get(name)
            .and_then(|index| self.others.get_mut(*index as usize))
        {
            place.1 = val;
        } else if val == Val::Unset {
            // Nothing is taken away.
        } else if self.others.len() < NAMES {
            self.index.insert(name.into(), self.others.len() as u32);
            self.others.push((name.into(), val));
        } else {
            self.set(Limit::Names.slot(), Val::Int(1));
        }
    }

    /// All values, to be given new ids.
    pub(super) fn vals_mut(&mut self) -> impl Iterator<Item = &mut Val> {
        self.slots.iter_mut().chain(self.others.iter_mut().map(|(_, val)| val))
    }

    /// About how many bytes it takes.
    pub(super) fn memory(&self) -> usize {
        let names: usize = self.others.iter().map(|(name, _)| 2 * name.len()).sum();
        let each = size_of::<(Box<[u8]>, Val)>() + size_of::<(Box<[u8]>, u32)>();
        names + self.others.capacity() * each + self.slots.capacity() * size_of::<Val>()
    }

    /// All that are set, by slot.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u16, Val)> {
        (0_u16..)
            .zip(self.slots.iter().copied())
            .filter(|(_, val)| *val != Val::Unset)
    }

    /// All that are set and have no slot.
    pub(super) fn others(&self) -> impl Iterator<Item = (&[u8], Val)> {
        self.others
            .iter()
            .map(|(name, val)| (&**name, *val))
            .filter(|(_, val)| *val != Val::Unset)
    }
}
