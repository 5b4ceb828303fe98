//! What a transaction holds on to: while it waits, and when the room for its values is used up.
//!
//! Invariant: every value id that outlives a rule is visited here. What is not (of buckets, of the rule that runs) is
//! cleared.

use super::buckets::Buckets;
use super::resolve::FoundKey;
use super::{Transaction, Val, trace};
use crate::engine::values::{Mark, ValueId};

impl Transaction {
    /// To be called before a wait, such as for a body or for the response: what can be worked out again is forgotten, which
    /// under the Core Rule Set is nine tenths of a small request. About how many bytes it takes then.
    pub fn rest(&mut self) -> usize {
        self.buckets = Buckets::default();
        self.scratch = super::Scratch::default();
        self.matched.all = Vec::new();
        self.matched.captured = None;
        let mut live = Vec::new();
        self.each_held(&mut |id| live.push(*id));
        let moved = self.values.compact(live);
        self.each_held(&mut |id| *id = moved.of(*id));
        self.memory()
    }

    /// About how many bytes it takes.
    pub(in crate::engine) fn memory(&self) -> usize {
        let said: usize = self.said.iter().map(trace::Said::memory).sum();
        self.values.memory()
            + self.lists.memory()
            + self.buckets.memory()
            + self.tx.memory()
            + self.scratch.memory()
            + said
            + size_of::<Self>()
    }

    /// Forgets what a rule made over the room, but for what it put into variables.
    pub(super) fn tidy(&mut self, since: Mark) {
        self.matched.all.clear();
        self.matched.captured = None;
        let mut live = Vec::new();
        self.each_variable(&mut |id| live.push(*id));
        let moved = self.values.keep(since, live);
        self.each_variable(&mut |id| *id = moved.of(*id));
    }

    /// Every value that anything holds on to between phases.
    fn each_held(&mut self, visit: &mut dyn FnMut(&mut ValueId)) {
        for item in self.lists.items_mut() {
            visit(&mut item.name);
            visit(&mut item.value);
        }
        let types = [&mut self.state.content_type, &mut self.state.response_type];
        types.into_iter().flatten().for_each(&mut *visit);
        self.each_variable(visit);
    }

    /// Every value that a rule may have put somewhere.
    fn each_variable(&mut self, visit: &mut dyn FnMut(&mut ValueId)) {
        for val in self.scalars.iter_mut().chain(self.tx.vals_mut()) {
            if let Val::Id(id) = val {
                visit(id);
            }
        }
        if let Some(last) = &mut self.matched.last {
            if let Val::Id(id) = &mut last.val {
                visit(id);
            }
            if let FoundKey::Id(id) = &mut last.key {
                visit(id);
            }
        }
    }
}
