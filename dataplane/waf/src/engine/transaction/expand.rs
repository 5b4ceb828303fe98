//! Macros in texts: `Matched Data: %{TX.0}`.

use super::resolve::selects;
use super::{Transaction, Val, bytes_of, lists};
use crate::engine::bound::Bound;
use crate::engine::program::{Piece, Program, Target, Text};
use crate::seclang::Variable;

impl Transaction {
    /// Puts a text with its macros expanded after what `out` holds, at most `limit` bytes in all; whether all of it is there.
    pub(super) fn expand(
        &mut self,
        bound: &Bound,
        program: &Program,
        text: &Text,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        text.0
            .iter()
            .all(|piece| self.expand_piece(bound, program, piece, limit, out))
    }

    /// The same of a piece of a text.
    pub(super) fn expand_piece(
        &mut self,
        bound: &Bound,
        program: &Program,
        piece: &Piece,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let room = limit.saturating_sub(out.len());
        match piece {
            Piece::Bytes(bytes) => extend(out, bytes, room),
            Piece::Slot(slot) => {
                let val = self.tx.get(*slot);
                self.write_val(bound, program, val, room, out)
            }
            Piece::Macro(target) => self.expand_macro(bound, program, target, room, out),
        }
    }

    /// Of a collection, a macro means the first value: no other is looked for, as a macro may be expanded for each match.
    fn expand_macro(
        &mut self,
        bound: &Bound,
        program: &Program,
        target: &Target,
        room: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let named = match target.variable {
            Variable::MatchedVarName => self.matched.last,
            Variable::MatchedVarsNames => self.matched.all.first().copied(),
            _ => None,
        };
        if let Some(found) = named {
            let end = out.len() + room;
            self.write_name(program, &found, out);
            let whole = out.len() <= end;
            out.truncate(end);
            return whole;
        }
        let val = match target.variable {
            Variable::MatchedVar => self.matched.last.map(|last| last.val),
            Variable::MatchedVars => self.matched.all.first().map(|first| first.val),
            Variable::MatchedVarName | Variable::MatchedVarsNames => None,
            variable => match lists::of(variable) {
                Some((lists, names)) => lists
                    .iter()
                    .flat_map(|list| self.lists.get(*list))
                    .find(|item| selects(&target.key, self.values.get(item.name)))
                    .map(|item| Val::Id(if names { item.name } else { item.value })),
                None => {
                    let mut found = Vec::new();
                    self.resolve(program, target, &[], &mut found);
                    found.first().map(|first| first.val)
                }
            },
        };
        val.is_none_or(|val| self.write_val(bound, program, val, room, out))
    }

    fn write_val(&self, bound: &Bound, program: &Program, val: Val, room: usize, out: &mut Vec<u8>) -> bool {
        extend(out, bytes_of(program, bound, &self.values, val, &mut [0; 24]), room)
    }
}

/// Puts as much of `bytes` behind `out` as there is room for; whether that is all.
fn extend(out: &mut Vec<u8>, bytes: &[u8], room: usize) -> bool {
    out.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    bytes.len() <= room
}
