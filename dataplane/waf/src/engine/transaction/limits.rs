//! Bounds that a transaction reached: TX variables, so that rules can tell of it or refuse, as ModSecurity has it
//! (`TX:/^MSC_/`). Rule 200005 of the base configuration tells of each.

use super::{Transaction, Val};
use crate::engine::names::TxNames;

/// A bound, beyond which rules see or do less than they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Limit {
    /// Fields of a head that rules see.
    Fields,
    /// Matches that are told.
    Matches,
    /// Values in MATCHED_VARS.
    MatchedVars,
    /// Names of TX that rules put together.
    Names,
    /// Patterns with macros that are compiled for one transaction, and how long they are.
    Patterns,
    /// Bytes that rules put into variables, names and arguments of operators.
    Text,
}

impl Limit {
    /// In the order of their slots.
    pub(in crate::engine) const NAMES: [&[u8]; 6] = [
        b"msc_fields_limit",
        b"msc_matches_limit",
        b"msc_matched_vars_limit",
        b"msc_names_limit",
        b"msc_patterns_limit",
        b"msc_text_limit",
    ];

    /// Its variable.
    pub(super) const fn slot(self) -> u16 {
        TxNames::LIMITS + self as u16
    }
}

impl Transaction {
    /// Notes that a bound was reached.
    pub(super) fn reached(&mut self, limit: Limit) {
        self.tx.set(limit.slot(), Val::Int(1));
    }
}
