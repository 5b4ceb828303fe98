//! Finding what targets name: from a list of targets to values, each with the name it goes by.

use std::io::Write as _;

use super::lists::{self, Item, List};
use super::{Transaction, Val};
use crate::engine::program::{Program, Select, Target, TargetList};
use crate::engine::values::ValueId;
use crate::seclang::Variable;

/// A value and the name it goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) variable: Variable,
    pub(super) key: FoundKey,
    pub(super) val: Val,
}

/// The part of a name after the colon.
#[derive(Clone, Copy, Debug)]
pub(super) enum FoundKey {
    None,
    Id(ValueId),
    Slot(u16),
    Fixed(&'static str),
}

impl Transaction {
    /// All values of a list of targets, without what the list leaves out.
    pub(super) fn resolve_list(&mut self, program: &Program, list: &TargetList, out: &mut Vec<Found>) {
        for target in &list.targets {
            if target.count {
                let start = out.len();
                self.resolve(program, target, &list.excluded, out);
                let count = (out.len() - start) as i64;
                out.truncate(start);
                let key = match &target.key {
                    Select::Slot(slot) => FoundKey::Slot(*slot),
                    Select::Name(name) => FoundKey::Id(self.values.push(name)),
                    _ => FoundKey::None,
                };
                out.push(Found {
                    variable: target.variable,
                    key,
                    val: Val::Int(count),
                });
            } else {
                self.resolve(program, target, &list.excluded, out);
            }
        }
    }

    /// All values of a target, but for those that are left out.
    pub(super) fn resolve(&mut self, program: &Program, target: &Target, excluded: &[Target], out: &mut Vec<Found>) {
        let variable = target.variable;
        if let Some((lists, names)) = lists::of(variable) {
            for list in lists {
                self.resolve_items(variable, *list, names, &target.key, excluded, out);
            }
            return;
        }
        let start = out.len();
        match variable {
            Variable::Tx => self.resolve_tx(program, &target.key, out),
            Variable::Xml => {
                let attributes = matches!(&target.key, Select::Name(name) if name.starts_with(b"//@"));
                let (list, name) = if attributes {
                    (List::XmlAttributes, "//@*")
                } else {
                    (List::XmlText, "/*")
                };
                let key = FoundKey::Fixed(name);
                out.extend(self.lists.get(list).iter().map(|item| Found {
                    variable,
                    key,
                    val: Val::Id(item.value),
                }));
            }
            Variable::MatchedVars => out.extend_from_slice(&self.matched.all),
            Variable::MatchedVarsNames => {
                for found in self.matched.all.clone() {
                    let name = self.name_value(program, &found);
                    out.push(Found {
                        variable,
                        key: FoundKey::None,
                        val: Val::Id(name),
                    });
                }
            }
            Variable::MatchedVar => out.extend(self.matched.last.map(|last| Found {
                variable,
                key: FoundKey::None,
                ..last
            })),
            Variable::MatchedVarName => {
                if let Some(last) = self.matched.last {
                    let name = self.name_value(program, &last);
                    out.push(Found {
                        variable,
                        key: FoundKey::None,
                        val: Val::Id(name),
                    });
                }
            }
            Variable::Ip | Variable::Global | Variable::Session | Variable::User | Variable::Resource => {
                self.resolve_stored(variable, &target.key, out);
            }
            _ => {
                let val = match self.scalar(variable) {
                    Val::Unset => self.compute(variable),
                    val => val,
                };
                if val != Val::Unset {
                    out.push(Found {
                        variable,
                        key: FoundKey::None,
                        val,
                    });
                }
            }
        }
        if excluded.iter().any(|target| target.variable == variable) {
            let mut kept = start;
            for at in start..out.len() {
                let Some(found) = out.get(at).copied() else { break };
                if !excluded.iter().any(|target| self.is_meant(program, target, &found)) {
                    if let Some(place) = out.get_mut(kept) {
                        *place = found;
                    }
                    kept += 1;
                }
            }
            out.truncate(kept);
        }
    }

    fn resolve_items(
        &self,
        variable: Variable,
        list: List,
        names: bool,
        select: &Select,
        excluded: &[Target],
        out: &mut Vec<Found>,
    ) {
        for Item { name, value } in self.lists.get(list).iter().copied() {
            let text = self.values.get(name);
            if !selects(select, text)
                || excluded
                    .iter()
                    .any(|target| target.variable == variable && selects(&target.key, text))
            {
                continue;
            }
            let val = Val::Id(if names { name } else { value });
            out.push(Found {
                variable,
                key: FoundKey::Id(name),
                val,
            });
        }
    }

    fn resolve_tx(&mut self, program: &Program, select: &Select, out: &mut Vec<Found>) {
        let variable = Variable::Tx;
        let mut put = |slot, val| {
            if val != Val::Unset {
                let key = FoundKey::Slot(slot);
                out.push(Found { variable, key, val });
            }
        };
        match select {
            Select::Slot(slot) => return put(*slot, self.tx.get(*slot)),
            Select::Slots(_, slots) => slots.iter().for_each(|slot| put(*slot, self.tx.get(*slot))),
            _ => {
                let slots = self
                    .tx
                    .slots()
                    .filter(|(slot, _)| selects(select, program.tx.name(*slot)));
                slots.for_each(|(slot, val)| put(slot, val));
            }
        }
        let others = self.tx.others().filter(|(name, _)| selects(select, name));
        let values = &mut self.values;
        out.extend(others.map(|(name, val)| Found {
            variable,
            key: FoundKey::Id(values.push(name)),
            val,
        }));
    }

    fn resolve_stored(&mut self, variable: Variable, select: &Select, out: &mut Vec<Found>) {
        let Some(stores) = self.stores.clone() else { return };
        let Some((_, key)) = self.state.opened.iter().find(|(opened, _)| *opened == variable) else {
            return;
        };
        for (name, value) in stores.read(variable, key, self.state.now_ms) {
            if selects(select, &name) {
                let key = FoundKey::Id(self.values.push(&name));
                let val = Val::Id(self.values.push(&value));
                out.push(Found { variable, key, val });
            }
        }
    }

    /// Whether a target names a value that was found.
    pub(super) fn is_meant(&self, program: &Program, target: &Target, found: &Found) -> bool {
        if target.variable != found.variable {
            return false;
        }
        match (&target.key, found.key) {
            (Select::All, _) => true,
            (_, FoundKey::None) => false,
            (Select::Slot(slot), FoundKey::Slot(other)) => *slot == other,
            (select, FoundKey::Slot(slot)) => selects(select, program.tx.name(slot)),
            (Select::Slot(slot), FoundKey::Id(id)) => self.values.get(id).eq_ignore_ascii_case(program.tx.name(*slot)),
            (select, FoundKey::Id(id)) => selects(select, self.values.get(id)),
            (select, FoundKey::Fixed(name)) => selects(select, name.as_bytes()),
        }
    }

    /// A value as bytes in the buffer.
    pub(super) fn value_id(&mut self, program: &Program, val: Val) -> ValueId {
        match val {
            Val::Id(id) => id,
            Val::Int(value) => self.values.push(digits(value, &mut [0; 24])),
            Val::Unset => self.values.push(b""),
            Val::Constant(index) => self.values.push(program.constant(index)),
            Val::Bound(index) => self.values.push(self.bound.constant(index)),
        }
    }

    /// Puts the name of a value, such as `ARGS:q`, after what `out` holds.
    pub(super) fn write_name(&self, program: &Program, found: &Found, out: &mut Vec<u8>) {
        out.extend_from_slice(found.variable.name().as_bytes());
        let key = match found.key {
            FoundKey::None => return,
            FoundKey::Id(id) => self.values.get(id),
            FoundKey::Slot(slot) => program.tx.name(slot),
            FoundKey::Fixed(name) => name.as_bytes(),
        };
        out.push(b':');
        out.extend_from_slice(key);
    }

    fn name_value(&mut self, program: &Program, found: &Found) -> ValueId {
        let mut text = Vec::new();
        self.write_name(program, found, &mut text);
        self.values.push(&text)
    }
}

/// Whether a selector takes a name.
pub(super) fn selects(select: &Select, name: &[u8]) -> bool {
    match select {
        Select::All => true,
        Select::Name(wanted) => name.eq_ignore_ascii_case(wanted),
        Select::Pattern(regex) | Select::Slots(regex, _) => regex.is_match(name),
        Select::Slot(_) => false,
    }
}

/// A number in decimal, in a buffer.
pub(super) fn digits(value: i64, buffer: &mut [u8; 24]) -> &[u8] {
    let mut rest = &mut buffer[..];
    let _ = write!(rest, "{value}");
    let left = rest.len();
    let used = buffer.len() - left;
    buffer.get(..used).unwrap_or_default()
}
