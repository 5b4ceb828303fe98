//! What rules are compiled to: plain tables that a transaction only reads.
//!
//! Invariant: every index in here (of a rule, a constant, a TX name, a pipeline, a list of targets) is within its table,
//! for [`super::compile`] made both.

use std::sync::Arc;

use regex::bytes::Regex;

use super::bits::Bits;
use super::names::TxNames;
use super::operator::{Compare, Test};
use super::scan::Group;
use crate::seclang::{AllowScope, AuditEngine, BodyProcessor, Engine, Phase, Sanitise, Severity, Variable};
use crate::transform::Transformation;

/// All that rules come to.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// Starters with their chains, in the order of the text.
    pub(super) rules: Vec<Rule>,
    /// The rules of each phase, in order.
    pub(super) phases: [Vec<u32>; 5],
    /// Bytes that rules name: values of `setvar`, texts.
    pub(super) constants: Vec<Box<[u8]>>,
    /// The names of TX that rules name.
    pub(super) tx: TxNames,
    /// Distinct sequences of transformations; the first is empty.
    pub(super) pipelines: Vec<Box<[u8]>>,
    /// The transformations that occur, by the numbers that `pipelines` uses.
    pub(super) steps: Vec<Transformation>,
    /// Rules that never run, for they ask for what cannot be done here.
    pub(super) left_out: Bits,
    /// Distinct lists of targets.
    pub(super) lists: Vec<TargetList>,
    /// Distinct pairs of a steady list and a pipeline: values that many rules look at in the same form.
    pub(super) buckets: Vec<(u32, u32)>,
    /// Patterns that are looked for at once.
    pub(super) groups: Vec<Group>,
    /// The group of each bit.
    pub(super) group_of: Vec<u8>,
    /// Rules that `ctl` is about.
    pub(super) selections: Vec<Bits>,
    /// What `ctl` hides: from the rules of a selection, a target.
    pub(super) hidden: Vec<(u32, Target)>,
    /// Settings.
    pub(super) settings: Settings,
    /// Whether any rule of phase 2 or later reads what comes of a request's body, and of a response's.
    pub(super) reads_request_body: bool,
    pub(super) reads_response_body: bool,
    /// Whether any rule reads what uploaded files hold.
    pub(super) reads_files: bool,
}

impl Program {
    /// A constant's bytes.
    pub(super) fn constant(&self, index: u32) -> &[u8] {
        self.constants.get(index as usize).map_or(&[], |bytes| bytes)
    }
}

/// Settings that matter to transactions.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) engine: Option<Engine>,
    pub(super) request_access: Option<bool>,
    pub(super) response_access: Option<bool>,
    pub(super) response_types: Vec<String>,
    pub(super) arguments: usize,
    pub(super) json_depth: usize,
    pub(super) separator: u8,
    pub(super) collection_timeout: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: None,
            request_access: None,
            response_access: None,
            response_types: Vec::new(),
            arguments: 1000,
            json_depth: 512,
            separator: b'&',
            collection_timeout: 3600,
        }
    }
}

/// A rule with its chain.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: u32,
    pub(super) phase: Phase,
    pub(super) links: Box<[Link]>,
    /// What its first link comes to, if that is a comparison of one TX variable.
    pub(super) gate: Option<Gate>,
    pub(super) msg: Text,
    pub(super) data: Text,
    pub(super) tags: Arc<[Arc<str>]>,
    pub(super) severity: Option<Severity>,
    pub(super) log: bool,
    pub(super) disruptive: Disrupt,
    pub(super) status: u16,
    pub(super) skip: Skip,
}

/// A comparison of one TX variable with a number, by far the most common rule: it needs none of what other tests need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    pub(super) slot: u16,
    /// Whether it is set (1 or 0) is compared, not its value.
    pub(super) count: bool,
    pub(super) compare: Compare,
    pub(super) than: i64,
    pub(super) negated: bool,
}

/// One test of a chain and what its match does.
#[derive(Debug)]
pub(super) struct Link {
    /// Index into [`Program::lists`]; none for `SecAction`.
    pub(super) list: Option<u32>,
    pub(super) test: Test,
    pub(super) negated: bool,
    /// Index into [`Program::pipelines`].
    pub(super) pipeline: u32,
    /// Index into [`Program::buckets`].
    pub(super) bucket: Option<u32>,
    pub(super) multi_match: bool,
    pub(super) capture: bool,
    pub(super) acts: Box<[Act]>,
}

/// What a rule whose chain matched does to the transaction.
#[derive(Debug, Clone)]
pub(super) enum Disrupt {
    Pass,
    Allow(Option<AllowScope>),
    Deny,
    Drop,
    Redirect(Text),
}

/// Where evaluation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    No,
    /// Over so many rules of the phase.
    Count(u32),
    /// At this place of the phase's list.
    To(u32),
}

/// What each match of a link does at once.
#[derive(Debug)]
pub(super) enum Act {
    Setvar {
        collection: Variable,
        name: Name,
        op: VarOp,
    },
    Expire {
        collection: Variable,
        name: Text,
        seconds: Text,
    },
    OpenCollection(Variable, Text),
    Engine(Engine),
    Audit(AuditEngine),
    RequestBodyAccess(bool),
    ResponseBodyAccess(bool),
    ForceRequestBody(bool),
    Processor(BodyProcessor),
    Sanitise(Sanitise),
    /// Index into [`Program::selections`].
    Remove(u32),
    /// Index into [`Program::hidden`].
    RemoveTarget(u32),
}

/// A variable's name within its collection.
#[derive(Debug)]
pub(super) enum Name {
    /// Of TX, known when rules were compiled.
    Slot(u16),
    Text(Text),
}

/// What `setvar` does.
#[derive(Debug)]
pub(super) enum VarOp {
    Set(Value),
    Add(Value, bool),
    Unset,
}

/// A value that rules name.
#[derive(Debug)]
pub(super) enum Value {
    Number(i64),
    Constant(u32),
    /// One macro and nothing else, of TX.
    Slot(u16),
    Text(Text),
}

/// Text with macros.
#[derive(Debug, Clone, Default)]
pub(super) struct Text(pub(super) Box<[Piece]>);

/// A part of a [`Text`].
#[derive(Debug, Clone)]
pub(super) enum Piece {
    Bytes(Box<[u8]>),
    Slot(u16),
    Macro(Box<Target>),
}

/// Targets of a link, as written and without what is left out.
#[derive(Debug, Default)]
pub(super) struct TargetList {
    pub(super) targets: Vec<Target>,
    pub(super) excluded: Vec<Target>,
    /// All are collections of the request or the response, which change between phases only.
    pub(super) steady: bool,
    /// MATCHED_VARS is among them.
    pub(super) matched: bool,
}

/// One target.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) count: bool,
    pub(super) variable: Variable,
    pub(super) key: Select,
}

/// Which of a collection's values.
#[derive(Debug, Clone)]
pub(super) enum Select {
    All,
    /// In lower case.
    Name(Box<[u8]>),
    Slot(u16),
    Pattern(Box<Regex>),
    /// Of TX: the slots whose names match are known, other names are asked.
    Slots(Box<Regex>, Box<[u16]>),
}

impl Text {
    /// As it was written, but for macros.
    pub(super) fn written(&self) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            if let Piece::Bytes(bytes) = piece {
                out.push_str(&String::from_utf8_lossy(bytes));
            }
        }
        out
    }
}
