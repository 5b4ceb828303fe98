//! The rule engine: a compiled set of rules, shared by all routes, and the transactions that run through it.
//!
//! A [`RuleSet`] is compiled once and never changes. What one policy has of its own (thresholds, exclusions, modes) is a
//! small [`Overlay`] beside it. A [`Transaction`] is one request and its response.

use std::net::IpAddr;
use std::sync::Arc;

mod bits;
mod bound;
mod byteset;
mod compile;
mod finder;
mod fragments;
mod hits;
mod location;
mod names;
mod operator;
mod parts;
mod program;
mod scan;
mod store;
mod transaction;
mod values;

pub use bound::{Bound, BoundExclusion};
pub(crate) use compile::{Effect, How, link};
pub use parts::Parts;
pub use store::Stores;
pub use transaction::Transaction;

use program::Program;

use crate::audit::Mask;
use crate::seclang::{Directive, Phase, Position, RuleRange, Severity, Target};
use crate::told::Remark;

/// A data file for `@pmFromFile` and `@ipMatchFromFile`: by its name as written and where it is named.
pub type ReadFile<'f> = dyn Fn(&str, &Position) -> Result<Vec<u8>, String> + 'f;

/// Why rules cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct CompileError {
    /// Where.
    pub position: Position,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Remark for CompileError {
    fn position(&self) -> &Position {
        &self.position
    }

    fn new(position: Position, message: String) -> Self {
        Self { position, message }
    }
}

/// Compiled rules.
#[derive(Debug, Default)]
pub struct RuleSet {
    program: Program,
    signatures: Vec<String>,
    warnings: Vec<CompileError>,
    left_out: Vec<CompileError>,
    lookups: Vec<CompileError>,
}

impl RuleSet {
    /// Compiles directives, in order; patterns and data files are read here.
    ///
    /// # Errors
    /// Every mistake: after a hundred one more says where compiling stopped.
    pub fn compile(directives: &[Directive], read: &ReadFile<'_>) -> Result<Self, Vec<CompileError>> {
        compile::compile(directives, read, &|_| true, &mut Parts::default())
    }

    /// As [`RuleSet::compile`], but a rule that cannot be run here is a mistake, except at positions that `may_lack` it. What
    /// other rule sets hold of `parts` is shared with them.
    ///
    /// # Errors
    /// As above.
    pub fn compile_whole(
        directives: &[Directive],
        read: &ReadFile<'_>,
        may_lack: &dyn Fn(&Position) -> bool,
        parts: &mut Parts,
    ) -> Result<Self, Vec<CompileError>> {
        compile::compile(directives, read, may_lack, parts)
    }

    /// `SecComponentSignature`, such as `OWASP_CRS/4.28.0`.
    #[must_use]
    pub fn signatures(&self) -> &[String] {
        &self.signatures
    }

    /// How many rules it has.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.program.rules.len()
    }

    /// What follows nothing, and changes nothing: a removal of a rule that is not there. What else of a text has no effect
    /// is said by [`crate::review`].
    #[must_use]
    pub fn warnings(&self) -> &[CompileError] {
        &self.warnings
    }

    /// Rules that cannot be run here and never match, and why: rule sets written for others have some.
    #[must_use]
    pub fn left_out(&self) -> &[CompileError] {
        &self.left_out
    }

    /// Rules that ask where an address is (`@geoLookup`): they match nothing in a transaction without
    /// [`Transaction::with_locations`].
    #[must_use]
    pub fn lookups(&self) -> &[CompileError] {
        &self.lookups
    }

    fn program(&self) -> &Program {
        &self.program
    }
}

/// What one policy has of its own over a rule set it shares.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// TX variables that are set before phase 1: `("blocking_paranoia_level", "2")`.
    pub variables: Vec<(String, String)>,
    /// What never runs, or does not see a target, and where.
    pub exclusions: Vec<Exclusion>,
    /// Rules that report but do not block or score.
    pub detect_only: Vec<RuleRange>,
}

/// One exclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// Which rules.
    pub rules: Vec<RuleRange>,
    /// What they do not see; none: they do not run.
    pub targets: Vec<Target>,
}

/// Whether a target of an exclusion can be used: a pattern in it has to compile.
pub(crate) fn check_target(target: &Target) -> Result<(), String> {
    compile::select_target(target).map(drop)
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The client, behind trusted proxies.
    pub client: IpAddr,
    /// Its port; 0 where it is not known.
    pub client_port: u16,
    /// Our address.
    pub server: IpAddr,
    /// Our port.
    pub server_port: u16,
    /// The transaction's name in logs.
    pub unique_id: &'a str,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// What a rule does to the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervention {
    /// The status to answer with: 400 to 599, or with `redirect` one that redirects.
    pub status: u16,
    /// Where to send the client instead: a URI reference of ASCII that can be seen.
    pub redirect: Option<String>,
    /// Close without answer.
    pub drop: bool,
    /// The rule that did it.
    pub rule: u32,
}

/// A rule that matched and wants to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMatch {
    /// Its id.
    pub id: u32,
    /// Its message, macros expanded.
    pub msg: String,
    /// Its log data, macros expanded; bounded.
    pub data: String,
    /// Its severity.
    pub severity: Option<Severity>,
    /// Its tags, shared with the rule.
    pub tags: Arc<[Arc<str>]>,
    /// The phase it ran in.
    pub phase: Phase,
}

/// What is to be said about a transaction.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rules that matched and are not `nolog`, in order; bounded.
    pub matches: Vec<RuleMatch>,
    /// TX:blocking_inbound_anomaly_score.
    pub inbound: u32,
    /// TX:blocking_outbound_anomaly_score.
    pub outbound: u32,
    /// What refused it, or would have under `DetectionOnly`.
    pub intervention: Option<Intervention>,
    /// What is kept out of the texts above, and of whatever else is told of this request.
    pub mask: Mask,
    /// A rule asked for no audit line (`ctl:auditEngine=Off`).
    pub silent: bool,
}

#[cfg(test)]
mod tests;
