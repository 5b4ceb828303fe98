//! What a match does at once: variables set, collections opened, the transaction's course changed.

use super::{Limit, Transaction, Val, bytes_of};
use crate::engine::bound::Bound;
use crate::engine::names::CAPTURES;
use crate::engine::operator::number;
use crate::engine::program::{Act, Name, Program, Text, Value, VarOp};
use crate::engine::store::Change;
use crate::seclang::{AuditEngine, Engine, Phase, Variable};

/// Longest value that a rule puts into a variable, or compares one with.
pub(super) const VALUE: usize = 64 << 10;

/// Longest name that a rule puts together.
const NAME: usize = 1024;

impl Transaction {
    /// Does all that a link's match does.
    pub(super) fn act_all(&mut self, bound: &Bound, program: &Program, index: usize, acts: &[Act]) {
        for act in acts {
            self.act(bound, program, index, act);
        }
    }

    fn act(&mut self, bound: &Bound, program: &Program, index: usize, act: &Act) {
        match act {
            Act::Setvar { collection, name, op } => {
                // A rule that only reports does not score.
                if matches!(op, VarOp::Add(..)) && bound.detect_only.contains(index) {
                    return;
                }
                match collection {
                    Variable::Tx => self.set_tx(bound, program, name, op),
                    _ => self.set_stored(bound, program, *collection, name, op),
                }
            }
            Act::Expire {
                collection,
                name,
                seconds,
            } => {
                let name = self.name_of(bound, program, name);
                let mut out = Vec::new();
                self.expand(bound, program, seconds, 32, &mut out);
                let seconds = u64::try_from(number(&out)).unwrap_or(0);
                let now = self.state.now_ms;
                self.change_stored(
                    program,
                    *collection,
                    &name,
                    Change::ExpireAt(now.saturating_add(seconds.saturating_mul(1000))),
                );
            }
            Act::OpenCollection(collection, key) => {
                let key = self.name_of(bound, program, key);
                self.state.opened.retain(|(opened, _)| opened != collection);
                self.state.opened.push((*collection, key.into_boxed_slice()));
            }
            Act::Engine(Engine::On) if self.state.only_detects => self.state.engine = Engine::DetectionOnly,
            Act::Engine(engine) => self.state.engine = *engine,
            Act::Audit(engine) => self.report.silent = matches!(engine, AuditEngine::Off),
            Act::RequestBodyAccess(on) => self.state.request_access = Some(*on),
            Act::ResponseBodyAccess(on) => self.state.response_access = Some(*on),
            Act::ForceRequestBody(on) => self.state.force_body = *on,
            Act::Sanitise(what) => self.sanitise(bound, program, what),
            Act::Processor(processor) => self.set_processor(*processor),
            Act::Remove(selection) => {
                if let Some(rules) = program.selections.get(*selection as usize) {
                    self.state.removed.union(rules);
                }
            }
            Act::RemoveTarget(index) => {
                let hidden = program.hidden.get(*index as usize);
                let rules = hidden.and_then(|(selection, _)| program.selections.get(*selection as usize));
                if let Some(rules) = rules.filter(|_| !self.state.untargeted.contains(index)) {
                    self.state.untargeted_rules.union(rules);
                    self.state.untargeted.push(*index);
                }
            }
        }
    }

    fn set_tx(&mut self, bound: &Bound, program: &Program, name: &Name, op: &VarOp) {
        match name {
            Name::Slot(slot) => {
                if *slot < CAPTURES {
                    self.matched.captured = None;
                }
                let old = self.tx.get(*slot);
                let new = self.changed(bound, program, old, op);
                self.tx.set(*slot, new);
            }
            Name::Text(text) => {
                let name = self.name_of(bound, program, text);
                if matches!(*name, [b'0'..=b'9']) {
                    self.matched.captured = None;
                }
                let old = self.tx.get_named(program, &name);
                let new = self.changed(bound, program, old, op);
                self.tx.set_named(program, &name, new);
            }
        }
    }

    fn changed(&mut self, bound: &Bound, program: &Program, old: Val, op: &VarOp) -> Val {
        match op {
            VarOp::Unset => Val::Unset,
            VarOp::Set(Value::Number(number)) => Val::Int(*number),
            VarOp::Set(Value::Constant(index)) => Val::Constant(*index),
            VarOp::Set(Value::Slot(slot)) => match self.tx.get(*slot) {
                // A macro of what is not set leaves nothing.
                Val::Unset => Val::Id(self.values.push(b"")),
                val => val,
            },
            VarOp::Set(Value::Text(text)) => {
                if self.state.room == 0 {
                    return old;
                }
                let mut out = std::mem::take(&mut self.scratch.text);
                out.clear();
                if !self.expand(bound, program, text, VALUE, &mut out) {
                    self.reached(Limit::Text);
                }
                let Some(room) = self.state.room.checked_sub(out.len()) else {
                    // Rules have put together more than a transaction may: what was there stays, and no more is put together.
                    self.state.room = 0;
                    self.reached(Limit::Text);
                    self.scratch.text = out;
                    return old;
                };
                self.state.room = room;
                let id = self.values.push(&out);
                self.scratch.text = out;
                Val::Id(id)
            }
            VarOp::Add(value, negative) => {
                let value = self.operand(bound, program, value);
                let old = self.number_of(bound, program, old);
                Val::Int(if *negative {
                    old.saturating_sub(value)
                } else {
                    old.saturating_add(value)
                })
            }
        }
    }

    fn operand(&mut self, bound: &Bound, program: &Program, value: &Value) -> i64 {
        match value {
            Value::Number(number) => *number,
            Value::Constant(index) => number(program.constant(*index)),
            Value::Slot(slot) => self.number_of(bound, program, self.tx.get(*slot)),
            Value::Text(text) => {
                let mut out = Vec::new();
                self.expand(bound, program, text, 32, &mut out);
                number(&out)
            }
        }
    }

    fn set_stored(&mut self, bound: &Bound, program: &Program, collection: Variable, name: &Name, op: &VarOp) {
        let name = match name {
            Name::Slot(slot) => program.tx.name(*slot).to_vec(),
            Name::Text(text) => self.name_of(bound, program, text),
        };
        let change = match op {
            VarOp::Unset => Change::Unset,
            VarOp::Add(value, negative) => {
                let value = self.operand(bound, program, value);
                Change::Add(if *negative { value.saturating_neg() } else { value })
            }
            VarOp::Set(_) => {
                let val = self.changed(bound, program, Val::Unset, op);
                Change::Set(bytes_of(program, bound, &self.values, val, &mut [0; 24]).to_vec())
            }
        };
        self.change_stored(program, collection, &name, change);
    }

    fn change_stored(&self, program: &Program, collection: Variable, name: &[u8], change: Change) {
        if self.repeats() || (self.state.only_response && self.state.phase == Phase::Logging) {
            return;
        }
        let opened = self.state.opened.iter().find(|(opened, _)| *opened == collection);
        if let (Some(stores), Some((_, key))) = (&self.stores, opened) {
            let timeout = u64::from(program.settings.collection_timeout).saturating_mul(1000);
            stores.change(collection, key, name, change, self.state.now_ms, timeout);
        }
    }

    /// A name that a rule puts together, in lower case and bounded.
    fn name_of(&mut self, bound: &Bound, program: &Program, text: &Text) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.expand(bound, program, text, NAME, &mut out) {
            self.reached(Limit::Text);
        }
        out.make_ascii_lowercase();
        out
    }
}
