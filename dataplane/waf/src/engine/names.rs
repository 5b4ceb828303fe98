//! The names of TX that rules name: each gets a slot, so that most reads and writes of TX are an index.

use std::collections::HashMap;

use super::transaction::Limit;

/// Names of TX variables, in lower case, and their slots.
#[derive(Debug)]
pub(super) struct TxNames {
    slots: HashMap<Box<[u8]>, u16, foldhash::fast::FixedState>,
    names: Vec<Box<[u8]>>,
}

/// TX:0 to TX:9, what an operator captured, are the first slots.
pub(super) const CAPTURES: u16 = 10;

impl TxNames {
    /// The first slot of the bounds that a transaction may reach, behind the captures.
    pub(super) const LIMITS: u16 = CAPTURES;
}

impl Default for TxNames {
    fn default() -> Self {
        let mut this = Self {
            slots: HashMap::default(),
            names: Vec::new(),
        };
        for digit in 0..CAPTURES {
            let _ = this.intern(digit.to_string().as_bytes());
        }
        for name in Limit::NAMES {
            let _ = this.intern(name);
        }
        this
    }
}

impl TxNames {
    /// The slot of a name; none when there are more names than slots.
    pub(super) fn intern(&mut self, name: &[u8]) -> Option<u16> {
        let name = name.to_ascii_lowercase().into_boxed_slice();
        if let Some(slot) = self.slots.get(&name) {
            return Some(*slot);
        }
        let slot = u16::try_from(self.names.len()).ok()?;
        self.slots.insert(name.clone(), slot);
        self.names.push(name);
        Some(slot)
    }

    /// The slot of a name in lower case.
    pub(super) fn slot(&self, name: &[u8]) -> Option<u16> {
        self.slots.get(name).copied()
    }

    pub(super) fn name(&self, slot: u16) -> &[u8] {
        self.names.get(usize::from(slot)).map_or(&[], |name| name)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
