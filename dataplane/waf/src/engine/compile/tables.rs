//! What rules share, each once: names of TX, constants, sequences of transformations, lists of targets.

use std::collections::HashMap;
use std::sync::Arc;

use regex_syntax::hir::Hir;

use super::select::Ranges;
use super::{CompileError, Depth, ReadFile};
use crate::engine::bits::Bits;
use crate::engine::names::TxNames;
use crate::engine::operator::{Test, number, pattern};
use crate::engine::parts::Parts;
use crate::engine::program::{Name, Piece, Program, Select, Target, TargetList, Text, Value};
use crate::engine::scan::{self, Keys, Wanted};
use crate::geo;
use crate::seclang::{self, Expr, ExprPart, Key, RuleRange, Variable};
use crate::transform::Transformation;

/// Most pipelines and steps that a program has; CRS has 41 and 20.
const PIPELINES: usize = 1024;

/// Why a pattern cannot be compiled.
pub(super) const TOO_LARGE: &str =
    "the pattern's program would be too large; write it with fewer or shorter repetitions";

/// Most times as long as a value that a pipeline may make of it: what it makes is held in memory and searched.
const GROWTH: usize = 16;

/// Most states of all patterns together; CRS has some hundred thousand.
const STATES: usize = 1 << 20;

/// What a pattern takes besides its states, in states.
const PATTERN: usize = 64;

/// Tables in the making.
pub(super) struct Tables<'r> {
    pub(super) read: &'r ReadFile<'r>,
    /// What other rule sets hold too.
    pub(super) parts: &'r mut Parts,
    pub(super) files: HashMap<String, Vec<u8>>,
    pub(super) tx: TxNames,
    constants: Vec<Box<[u8]>>,
    constant_index: HashMap<Vec<u8>, u32>,
    pipelines: Vec<Box<[u8]>>,
    pipeline_index: HashMap<Vec<Transformation>, u32>,
    steps: Vec<Transformation>,
    lists: Vec<TargetList>,
    list_index: HashMap<String, u32>,
    selections: Vec<Ranges>,
    hidden: Vec<(u32, Target)>,
    buckets: Vec<(u32, u32)>,
    bucket_index: HashMap<(u32, u32), u32>,
    /// All patterns and lists of phrases, and which may be looked for together.
    wanted: Vec<(Wanted, Keys)>,
    wanted_at: Vec<seclang::Position>,
    /// Patterns that no other rule set holds: their numbers among `wanted`, and their texts.
    pub(super) uncompiled: Vec<(u32, Box<str>)>,
    /// States of all patterns so far.
    states: usize,
    /// Why the rule that is compiled cannot run.
    pub(super) left_out: Option<String>,
    /// The rule that is compiled asks where an address is.
    pub(super) looks_up: bool,
}

impl<'r> Tables<'r> {
    pub(super) fn new(read: &'r ReadFile<'r>, parts: &'r mut Parts) -> Self {
        Self {
            read,
            parts,
            files: HashMap::new(),
            tx: TxNames::default(),
            constants: Vec::new(),
            constant_index: HashMap::new(),
            pipelines: vec![Box::default()],
            pipeline_index: HashMap::from([(Vec::new(), 0)]),
            steps: Vec::new(),
            lists: Vec::new(),
            list_index: HashMap::new(),
            selections: Vec::new(),
            hidden: Vec::new(),
            buckets: Vec::new(),
            bucket_index: HashMap::new(),
            wanted: Vec::new(),
            wanted_at: Vec::new(),
            uncompiled: Vec::new(),
            states: 0,
            left_out: None,
            looks_up: false,
        }
    }

    /// Counts a pattern.
    ///
    /// # Errors
    /// There are too many, or they are too large together.
    pub(super) fn weigh(&mut self, tree: &Hir) -> Result<(), String> {
        let weight = scan::weight(tree).saturating_add(PATTERN);
        self.states = self.states.saturating_add(weight);
        if self.states > STATES {
            return Err(format!(
                "the patterns of all rules up to this have more than {STATES} states together; use fewer, with fewer or shorter repetitions"
            ));
        }
        Ok(())
    }

    /// How many rules and names of TX [`Tables::into_program`] looks at for what names some of them.
    pub(super) fn work(&self, program: &Program) -> usize {
        let of_tx = |target: &&Target| matches!((target.variable, &target.key), (Variable::Tx, Select::Pattern(_)));
        let tx_patterns = self.lists.iter().flat_map(|list| &list.targets).filter(of_tx).count();
        self.selections.len() * program.rules.len() + tx_patterns * self.tx.len()
    }

    /// Puts the tables into a program whose rules are there, and compiles its patterns, if it goes as deep as that.
    pub(super) fn into_program(self, program: &mut Program, depth: Depth) -> Vec<CompileError> {
        program.selections = self.selections.iter().map(|ranges| rules_in(program, ranges)).collect();
        program.hidden = self.hidden;
        program.constants = self.constants;
        program.tx = self.tx;
        program.pipelines = self.pipelines;
        program.steps = self.steps;
        program.lists = self.lists;
        for target in program.lists.iter_mut().flat_map(|list| list.targets.iter_mut()) {
            if let (Variable::Tx, Select::Pattern(regex)) = (target.variable, &target.key) {
                let slots = (0..program.tx.len()).filter_map(|slot| u16::try_from(slot).ok());
                let slots = slots.filter(|slot| regex.is_match(program.tx.name(*slot))).collect();
                target.key = Select::Slots(regex.clone(), slots);
            }
        }
        program.buckets = self.buckets;
        if depth == Depth::Links {
            return Vec::new();
        }
        let tree = |number: &u32| match self.wanted.get(*number as usize) {
            Some((Wanted::Pattern(tree), _)) => Some(tree),
            _ => None,
        };
        let trees: Vec<&Hir> = self.uncompiled.iter().filter_map(|(number, _)| tree(number)).collect();
        let (regexes, groups) = pattern::compile_all(&trees, || scan::group(&self.wanted));
        let mut compiled = HashMap::with_capacity(regexes.len());
        let mut errors = Vec::new();
        for ((number, text), regex) in self.uncompiled.iter().zip(regexes) {
            if let Some(regex) = regex {
                compiled.insert(*number, (text, Arc::new(regex)));
            } else {
                let position = self.wanted_at.get(*number as usize);
                errors.extend(position.map(|position| CompileError::from((position, TOO_LARGE.to_owned()))));
            }
        }
        program.groups = groups.all;
        program.group_of = groups.of_bit;
        for link in program.rules.iter_mut().flat_map(|rule| rule.links.iter_mut()) {
            if let Some(filter) = link.test.filter_mut() {
                filter.bit = groups.bits.get(filter.number as usize).copied().flatten();
            }
            if let Test::Pattern(pattern) = &mut link.test
                && let Some((text, regex)) = compiled.remove(&pattern.filter.number)
            {
                self.parts.add_pattern(text, &regex, &pattern.filter.needs);
                pattern.regex = Some(regex);
            }
        }
        super::links::mark_readers(program);
        errors
    }

    pub(super) fn constant(&mut self, bytes: &[u8]) -> u32 {
        if let Some(index) = self.constant_index.get(bytes) {
            return *index;
        }
        let index = self.constants.len() as u32;
        self.constants.push(bytes.into());
        self.constant_index.insert(bytes.to_vec(), index);
        index
    }

    pub(super) fn pipeline(&mut self, steps: &[Transformation]) -> Result<u32, String> {
        if let Some(index) = self.pipeline_index.get(steps) {
            return Ok(*index);
        }
        if self.pipelines.len() >= PIPELINES {
            return Err(format!(
                "there are more than {PIPELINES} different sequences of transformations"
            ));
        }
        let growth = steps
            .iter()
            .fold(1, |growth: usize, step| growth.saturating_mul(step.growth()));
        if growth > GROWTH {
            return Err(format!(
                "these transformations may make a value {growth} times as long; use fewer that encode, {GROWTH} times is the most"
            ));
        }
        let numbers = steps
            .iter()
            .map(|step| {
                let known = self.steps.iter().position(|known| known == step);
                known.unwrap_or_else(|| {
                    self.steps.push(*step);
                    self.steps.len() - 1
                }) as u8
            })
            .collect();
        let index = self.pipelines.len() as u32;
        self.pipelines.push(numbers);
        self.pipeline_index.insert(steps.to_vec(), index);
        Ok(index)
    }

    /// The bucket of a list and a pipeline; none if the list's values change within a phase.
    pub(super) fn bucket(&mut self, list: u32, pipeline: u32) -> Option<u32> {
        if !self.lists.get(list as usize)?.steady {
            return None;
        }
        let key = (list, pipeline);
        Some(*self.bucket_index.entry(key).or_insert_with(|| {
            self.buckets.push(key);
            self.buckets.len() as u32 - 1
        }))
    }

    /// Notes something to look for; its number.
    pub(super) fn want(&mut self, wanted: Wanted, keys: Keys, position: &seclang::Position) -> u32 {
        self.wanted.push((wanted, keys));
        self.wanted_at.push(position.clone());
        self.wanted.len() as u32 - 1
    }

    /// The list of a rule's targets.
    pub(super) fn list(&mut self, targets: &[seclang::Target]) -> Result<u32, String> {
        let name = format!("{targets:?}");
        if let Some(index) = self.list_index.get(&name) {
            return Ok(*index);
        }
        let mut list = TargetList {
            steady: true,
            ..TargetList::default()
        };
        for target in targets {
            let made = self.target(target)?;
            if target.exclude {
                list.excluded.push(made);
            } else {
                list.steady &= is_steady(target.variable);
                list.matched |= target.variable == Variable::MatchedVars;
                list.targets.push(made);
            }
        }
        let index = self.lists.len() as u32;
        self.lists.push(list);
        self.list_index.insert(name, index);
        Ok(index)
    }

    pub(super) fn targets(&self, list: u32) -> Option<&TargetList> {
        self.lists.get(list as usize)
    }

    pub(super) fn target(&mut self, target: &seclang::Target) -> Result<Target, String> {
        if let (Variable::Tx, Some(Key::Name(name))) = (target.variable, &target.key) {
            let slot = self.tx_slot(name)?;
            return Ok(Target {
                count: target.count,
                variable: Variable::Tx,
                key: Select::Slot(slot),
            });
        }
        if let Some(Key::Regex(text)) = &target.key {
            self.weigh(&pattern::tree(text)?)?;
        }
        select_target(target)
    }

    pub(super) fn tx_slot(&mut self, name: &str) -> Result<u16, String> {
        self.tx
            .intern(name.as_bytes())
            .ok_or_else(|| "there are too many names of TX variables".to_owned())
    }

    pub(super) fn text(&mut self, expr: &Expr) -> Result<Text, String> {
        let mut pieces = Vec::with_capacity(expr.0.len());
        for part in &expr.0 {
            pieces.push(match part {
                ExprPart::Text(text) => Piece::Bytes(text.as_bytes().into()),
                ExprPart::Macro(Variable::Tx, Some(name)) => Piece::Slot(self.tx_slot(name)?),
                ExprPart::Macro(variable, key) => {
                    let key = key.clone().map(Key::Name);
                    let target = seclang::Target {
                        exclude: false,
                        count: false,
                        variable: *variable,
                        key,
                    };
                    Piece::Macro(Box::new(select_target(&target)?))
                }
            });
        }
        Ok(Text(pieces.into_boxed_slice()))
    }

    pub(super) fn value(&mut self, expr: &Expr) -> Result<Value, String> {
        Ok(match expr.0.as_slice() {
            [] => Value::Constant(self.constant(b"")),
            [ExprPart::Text(text)] => {
                let value = number(text.as_bytes());
                if value.to_string() == *text {
                    Value::Number(value)
                } else {
                    Value::Constant(self.constant(text.as_bytes()))
                }
            }
            [ExprPart::Macro(Variable::Tx, Some(name))] => Value::Slot(self.tx_slot(name)?),
            _ => Value::Text(self.text(expr)?),
        })
    }

    /// A name within a collection.
    pub(super) fn name(&mut self, collection: Variable, expr: &Expr) -> Result<Name, String> {
        match (collection, expr.0.as_slice()) {
            (Variable::Tx, [ExprPart::Text(name)]) => Ok(Name::Slot(self.tx_slot(name)?)),
            _ => Ok(Name::Text(self.text(expr)?)),
        }
    }

    pub(super) fn selection(&mut self, range: &RuleRange) -> u32 {
        self.selections.push(Ranges::whole(range));
        self.selections.len() as u32 - 1
    }

    /// Something to hide from the rules of a range.
    pub(super) fn hide(&mut self, range: &RuleRange, target: &seclang::Target) -> Result<u32, String> {
        let target = self.target(target)?;
        let selection = self.selection(range);
        self.hidden.push((selection, target));
        Ok(self.hidden.len() as u32 - 1)
    }

    /// A data file, read once.
    pub(super) fn file(&mut self, name: &str, position: &seclang::Position) -> Result<&[u8], String> {
        if !self.files.contains_key(name) {
            let bytes = (self.read)(name, position)?;
            self.files.insert(name.to_owned(), bytes);
        }
        Ok(self.files.get(name).map_or(&[], |bytes| bytes))
    }
}

/// The rules that a range is about.
pub(in crate::engine) fn rules_in(program: &Program, ranges: &Ranges) -> Bits {
    let mut bits = Bits::with_size(program.rules.len());
    for (index, rule) in program.rules.iter().enumerate() {
        if ranges.has_rule(rule) {
            bits.insert(index);
        }
    }
    bits
}

/// A target whose name needs no slot.
pub(in crate::engine) fn select_target(target: &seclang::Target) -> Result<Target, String> {
    let key = match &target.key {
        None => Select::All,
        Some(Key::Name(name)) if target.variable == Variable::Geo && !is_member_of_geo(name) => {
            return Err(format!(
                "GEO:{name} is not known here: GEO has {}",
                geo::MEMBERS.join(", ")
            ));
        }
        Some(Key::Name(name)) => Select::Name(name.to_ascii_lowercase().into_bytes().into_boxed_slice()),
        Some(Key::Regex(text)) => {
            let regex =
                pattern::compile(text, true, pattern::SIZE).map_err(|error| format!("the name /{text}/: {error}"))?;
            Select::Pattern(Box::new(regex))
        }
    };
    Ok(Target {
        count: target.count,
        variable: target.variable,
        key,
    })
}

fn is_member_of_geo(name: &str) -> bool {
    geo::MEMBERS.iter().any(|member| member.eq_ignore_ascii_case(name))
}

/// Whether a variable changes between phases only.
fn is_steady(variable: Variable) -> bool {
    !matches!(
        variable,
        Variable::Tx
            | Variable::Ip
            | Variable::Global
            | Variable::Session
            | Variable::User
            | Variable::Resource
            | Variable::MatchedVar
            | Variable::MatchedVarName
            | Variable::MatchedVars
            | Variable::MatchedVarsNames
            | Variable::Geo
            | Variable::HighestSeverity
            | Variable::ReqbodyProcessor
            | Variable::Sessionid
            | Variable::Userid
            | Variable::Rule
    )
}

impl From<(&seclang::Position, String)> for CompileError {
    fn from((position, message): (&seclang::Position, String)) -> Self {
        Self {
            position: position.clone(),
            message,
        }
    }
}
