//! Macros in texts: `Matched Data: %{TX.0}`.

use super::{Transaction, Val, bytes_of};
use crate::engine::bound::Bound;
use crate::engine::program::{Piece, Program, Target, Text};
use crate::seclang::Variable;

impl Transaction {
    /// Puts a text with its macros expanded after what `out` holds, at most `limit` bytes in all.
    pub(super) fn expand(&mut self, bound: &Bound, program: &Program, text: &Text, limit: usize, out: &mut Vec<u8>) {
        for piece in &text.0 {
            let room = limit.saturating_sub(out.len());
            match piece {
                Piece::Bytes(bytes) => extend(out, bytes, room),
                Piece::Slot(slot) => {
                    let val = self.tx.get(*slot);
                    self.write_val(bound, program, val, room, out);
                }
                Piece::Macro(target) => self.expand_macro(bound, program, target, room, out),
            }
            if out.len() >= limit {
                return;
            }
        }
    }

    fn expand_macro(&mut self, bound: &Bound, program: &Program, target: &Target, room: usize, out: &mut Vec<u8>) {
        match target.variable {
            Variable::MatchedVar => {
                if let Some(last) = self.matched.last {
                    self.write_val(bound, program, last.val, room, out);
                }
            }
            Variable::MatchedVarName => {
                if let Some(last) = self.matched.last {
                    let start = out.len();
                    self.write_name(program, &last, out);
                    out.truncate(start + room);
                }
            }
            _ => {
                let mut found = Vec::new();
                self.resolve(program, target, &[], &mut found);
                if let Some(first) = found.first() {
                    self.write_val(bound, program, first.val, room, out);
                }
            }
        }
    }

    fn write_val(&self, bound: &Bound, program: &Program, val: Val, room: usize, out: &mut Vec<u8>) {
        extend(out, bytes_of(program, bound, &self.values, val, &mut [0; 24]), room);
    }
}

fn extend(out: &mut Vec<u8>, bytes: &[u8], room: usize) {
    out.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
}
