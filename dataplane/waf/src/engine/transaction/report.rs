//! What is to be said about a transaction.

use std::sync::Arc;

use super::trace::Said;
use super::{Limit, Transaction};
use crate::engine::bound::Bound;
use crate::engine::program::{Program, Rule};
use crate::engine::{Report, RuleMatch};
use crate::seclang::Phase;

/// Most matches of one transaction that are told.
const MATCHES: usize = 200;

/// So many of them are for the last phase, so that what tells of bounds is told.
const LAST: usize = 8;

/// Longest message and longest data of one match.
const TEXT: usize = 1024;

/// So much more is put together, so that a hidden value at the end is not cut before it is known.
const SLACK: usize = 512;

impl Transaction {
    /// Phase 5, and what is to be said.
    pub fn finish(&mut self) -> Report {
        let _ = self.run(Phase::Logging);
        let bound = self.program();
        let program = bound.program();
        self.report.inbound = self.score(&bound, program, b"blocking_inbound_anomaly_score");
        self.report.outbound = self.score(&bound, program, b"blocking_outbound_anomaly_score");
        let said = std::mem::take(&mut self.said);
        if !said.is_empty() || self.report.intervention.is_some() {
            let mask = self.mask();
            for (found, said) in self.report.matches.iter_mut().zip(&said) {
                found.msg = said.msg.shown(&mask, TEXT);
                found.data = said.data.shown(&mask, TEXT);
            }
            self.report.mask = mask;
        }
        std::mem::take(&mut self.report)
    }

    fn score(&self, bound: &Bound, program: &Program, name: &[u8]) -> u32 {
        let score = self.number_of(bound, program, self.tx.get_named(program, name));
        u32::try_from(score.max(0)).unwrap_or(u32::MAX)
    }

    /// Notes that a rule matched, with what it says about it.
    pub(super) fn report_match(&mut self, bound: &Bound, program: &Program, rule: &Rule) {
        if self.repeats() {
            return;
        }
        let most = if self.state.phase == Phase::Logging {
            MATCHES
        } else {
            MATCHES - LAST
        };
        if self.report.matches.len() >= most {
            return self.reached(Limit::Matches);
        }
        let said = Said {
            msg: self.traced(bound, program, rule, &rule.msg, TEXT + SLACK),
            data: self.traced(bound, program, rule, &rule.data, TEXT + SLACK),
        };
        self.said.push(said);
        self.report.matches.push(RuleMatch {
            id: rule.id,
            msg: String::new(),
            data: String::new(),
            severity: rule.severity,
            tags: Arc::clone(&rule.tags),
            phase: rule.phase,
        });
    }
}
