//! One link of a chain: its operator compiled, its transformations and what each match does.

use super::CompileError;
use parking_lot::Mutex;

use super::tables::{TOO_LARGE, Tables};
use crate::engine::byteset::{ByteSet, Needs};
use crate::engine::operator::{Compare, Expanded, Filter, Number, Pattern, Phrases, Test, TextTest, networks, pattern};
use crate::engine::program::{Act, Gate, Link, Program, Select, Text, Value, VarOp};
use crate::engine::scan::{Keys, Wanted};
use crate::operator::{ByteRange, ByteRangeError, data_file, is_card_number, is_cpf, is_ssn, phrases, shortest};
use crate::seclang::{Action, Ctl, Expr, Located, OperatorKind, Phase, Position, Rule, SetvarOp, Variable};
use crate::transform::Transformation;

impl Tables<'_> {
    /// Compiles one link; `starter` is its chain's first rule, `defaults` the actions of its phase.
    pub(super) fn link(
        &mut self,
        rule: &Rule,
        position: &Position,
        starter: &Rule,
        defaults: &[Located<Action>],
    ) -> Result<Link, Vec<CompileError>> {
        let mut errors = Vec::new();
        let list = if rule.targets.is_empty() {
            None
        } else {
            self.list(&rule.targets)
                .map_err(|message| errors.push((position, message).into()))
                .ok()
        };
        let mut steps: Vec<Transformation> = Vec::new();
        let (mut multi_match, mut capture) = (false, false);
        let mut acts = Vec::new();
        let only_steps =
            |action: &&Located<Action>| matches!(action.value, Action::Transform(_) | Action::TransformNone);
        for action in defaults.iter().filter(only_steps).chain(&rule.actions) {
            match &action.value {
                Action::TransformNone => steps.clear(),
                Action::Transform(step) => steps.push(*step),
                Action::MultiMatch => multi_match = true,
                Action::Capture => capture = true,
                other => match self.act(other) {
                    Ok(Some(act)) => acts.push(act),
                    Ok(None) => {}
                    Err(message) => errors.push((&action.position, message).into()),
                },
            }
        }
        let pipeline = self.pipeline(&steps).unwrap_or_else(|message| {
            errors.push((position, message).into());
            0
        });
        let keys = keys(rule, starter, &steps);
        let test = self.test(rule, position, keys).unwrap_or_else(|message| {
            errors.push((position, message).into());
            Test::Never
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let bucket = if multi_match {
            None
        } else {
            list.and_then(|list| self.bucket(list, pipeline))
        };
        let negated = rule.operator.negated;
        Ok(Link {
            list,
            test,
            negated,
            pipeline,
            bucket,
            multi_match,
            capture,
            acts: acts.into_boxed_slice(),
        })
    }

    fn act(&mut self, action: &Action) -> Result<Option<Act>, String> {
        Ok(Some(match action {
            Action::Setvar(setvar) => Act::Setvar {
                collection: setvar.collection,
                name: self.name(setvar.collection, &setvar.name)?,
                op: match &setvar.op {
                    SetvarOp::Set(value) => VarOp::Set(self.value(value)?),
                    SetvarOp::Add(value) => VarOp::Add(self.value(value)?, false),
                    SetvarOp::Subtract(value) => VarOp::Add(self.value(value)?, true),
                    SetvarOp::Unset => VarOp::Unset,
                },
            },
            Action::Expirevar(collection, name, seconds) => Act::Expire {
                collection: *collection,
                name: self.text(name)?,
                seconds: self.text(seconds)?,
            },
            Action::Initcol(collection, key) | Action::SetCollection(collection, key) => {
                if !is_persistent(*collection) {
                    return Err(format!("{} is no collection that can be opened", collection.name()));
                }
                Act::OpenCollection(*collection, self.text(key)?)
            }
            Action::Ctl(ctl) => return self.ctl(ctl),
            Action::Sanitise(what) => Act::Sanitise(what.clone()),
            // Of the rule as a whole, or of the test.
            Action::Id(_)
            | Action::Phase(_)
            | Action::Disruptive(_)
            | Action::Status(_)
            | Action::TransformNone
            | Action::Transform(_)
            | Action::MultiMatch
            | Action::Capture
            | Action::Chain
            | Action::Skip(_)
            | Action::Msg(_)
            | Action::Logdata(_)
            | Action::Tag(_)
            | Action::Severity(_)
            | Action::Log
            | Action::NoLog => return Ok(None),
            // What `log` and `nolog` say: there is one log.
            Action::AuditLog | Action::NoAuditLog => return Ok(None),
            // They describe the rule to its readers.
            Action::Rev(_) | Action::Ver(_) | Action::Maturity(_) | Action::Accuracy(_) => return Ok(None),
        }))
    }

    fn ctl(&mut self, ctl: &Ctl) -> Result<Option<Act>, String> {
        Ok(Some(match ctl {
            Ctl::RuleEngine(engine) => Act::Engine(*engine),
            Ctl::AuditEngine(engine) => Act::Audit(*engine),
            Ctl::RequestBodyAccess(on) => Act::RequestBodyAccess(*on),
            Ctl::ResponseBodyAccess(on) => Act::ResponseBodyAccess(*on),
            Ctl::ForceRequestBodyVariable(on) => Act::ForceRequestBody(*on),
            Ctl::RequestBodyProcessor(processor) => Act::Processor(*processor),
            Ctl::Remove(range) => Act::Remove(self.selection(range)),
            Ctl::RemoveTarget(range, target) => Act::RemoveTarget(self.hide(range, target)?),
            // Limits are the host's, and audit lines have one form.
            Ctl::AuditLogParts(_) | Ctl::RequestBodyLimit(_) | Ctl::ResponseBodyLimit(_) => return Ok(None),
        }))
    }

    fn test(&mut self, rule: &Rule, position: &Position, keys: Keys) -> Result<Test, String> {
        let argument = rule.operator.argument.as_str();
        Ok(match rule.operator.kind {
            OperatorKind::UnconditionalMatch => Test::Always,
            OperatorKind::NoMatch => Test::Never,
            OperatorKind::Rx => {
                let text = Expr::parse(argument).ok().filter(|text| text.literal().is_none());
                if let Some(text) = text {
                    return Ok(Test::Expanded(Box::new(Expanded {
                        text: self.text(&text)?,
                        known: Mutex::default(),
                    })));
                }
                let tree = match pattern::tree(argument) {
                    Err(fault) if fault.is_not_regular => return Ok(self.leave_out(fault.into())),
                    tree => tree?,
                };
                self.weigh(&tree)?;
                let (regex, needs) = match self.parts.pattern(argument) {
                    Some((regex, needs)) => (Some(regex), needs),
                    None => (None, Needs::of_pattern(&tree)),
                };
                let number = self.want(Wanted::Pattern(tree), keys, position);
                if regex.is_none() {
                    self.uncompiled.push((number, argument.into()));
                }
                Test::Pattern(Box::new(Pattern {
                    regex,
                    filter: Filter {
                        needs,
                        bit: None,
                        number,
                    },
                }))
            }
            OperatorKind::Pm => {
                let phrases = phrases(argument).map_err(|error| error.to_string())?;
                self.phrases(&phrases, keys, position)?
            }
            OperatorKind::PmFromFile => {
                let mut all = Vec::new();
                for name in argument.split_ascii_whitespace() {
                    all.extend(data_file(self.file(name, position)?).map(<[u8]>::to_vec));
                }
                self.phrases(&all, keys, position)?
            }
            OperatorKind::Eq => self.compare(Compare::Eq, argument)?,
            OperatorKind::Ge => self.compare(Compare::Ge, argument)?,
            OperatorKind::Gt => self.compare(Compare::Gt, argument)?,
            OperatorKind::Le => self.compare(Compare::Le, argument)?,
            OperatorKind::Lt => self.compare(Compare::Lt, argument)?,
            OperatorKind::BeginsWith => Test::Text(TextTest::BeginsWith, self.argument(argument)?),
            OperatorKind::Contains | OperatorKind::StrMatch => Test::Text(TextTest::Contains, self.argument(argument)?),
            OperatorKind::ContainsWord => Test::Text(TextTest::ContainsWord, self.argument(argument)?),
            OperatorKind::EndsWith => Test::Text(TextTest::EndsWith, self.argument(argument)?),
            OperatorKind::StrEq => Test::Text(TextTest::Equals, self.argument(argument)?),
            OperatorKind::Within => Test::Text(TextTest::Within, self.argument(argument)?),
            OperatorKind::IpMatch => Test::Addresses(networks::networks(argument.split([',', ' ', '\t']))?),
            OperatorKind::IpMatchFromFile => {
                let mut all = Vec::new();
                for name in argument.split_ascii_whitespace() {
                    let text = String::from_utf8_lossy(self.file(name, position)?).into_owned();
                    all.extend(networks::networks(text.lines())?);
                }
                Test::Addresses(all.into_boxed_slice())
            }
            OperatorKind::ValidateByteRange => {
                let range: ByteRange = argument.parse().map_err(|error: ByteRangeError| error.to_string())?;
                let mut allowed = ByteSet::default();
                (0..=255)
                    .filter(|byte| range.has(*byte))
                    .for_each(|byte| allowed.insert(byte));
                Test::ByteRange(allowed)
            }
            OperatorKind::ValidateUrlEncoding => Test::UrlEncoding,
            OperatorKind::ValidateUtf8Encoding => Test::Utf8,
            OperatorKind::GeoLookup => {
                self.looks_up = true;
                Test::Place
            }
            OperatorKind::DetectSqli => Test::Sqli,
            OperatorKind::DetectXss => Test::Xss,
            OperatorKind::VerifyCc => self.numbers(argument, is_card_number)?,
            OperatorKind::VerifySsn => self.numbers(argument, is_ssn)?,
            OperatorKind::VerifyCpf => self.numbers(argument, is_cpf)?,
            other => {
                let message = format!("@{}: rules make no look-ups in the DNS here", other.name());
                return Ok(self.leave_out(message));
            }
        })
    }

    fn phrases(&mut self, phrases: &[Vec<u8>], keys: Keys, position: &Position) -> Result<Test, String> {
        let phrases = shortest(phrases);
        let (set, needs) = self.parts.phrases(&phrases).map_err(|error| error.to_string())?;
        let number = self.want(Wanted::Phrases(phrases), keys, position);
        Ok(Test::Phrases(Box::new(Phrases {
            set,
            filter: Filter {
                needs,
                bit: None,
                number,
            },
        })))
    }

    /// A test of numbers that a pattern finds.
    fn numbers(&mut self, argument: &str, is_one: fn(&[u8]) -> bool) -> Result<Test, String> {
        let tree = pattern::tree(argument)?;
        self.weigh(&tree)?;
        let regex = pattern::compile_tree(&tree).ok_or_else(|| TOO_LARGE.to_owned())?;
        Ok(Test::Numbers(Box::new(regex), is_one))
    }

    /// A test that cannot be made here: its rule is left out, and a warning says so.
    fn leave_out(&mut self, message: String) -> Test {
        self.left_out.get_or_insert(message);
        Test::Never
    }

    fn compare(&mut self, compare: Compare, argument: &str) -> Result<Test, String> {
        let number = match self.value(&Expr::parse(argument.trim())?)? {
            Value::Number(number) => Number::Constant(number),
            Value::Slot(slot) => Number::Slot(slot),
            Value::Text(text) => Number::Text(text),
            Value::Constant(_) => {
                return Err(format!("`{argument}` is no number"));
            }
        };
        Ok(Test::Compare(compare, number))
    }

    fn argument(&mut self, argument: &str) -> Result<Text, String> {
        self.text(&Expr::parse(argument)?)
    }
}

/// What is looked for together. Fragments: those of all rules that run together, whatever they look at, for a pass costs
/// the same for few and for many. Patterns: those of rules that look at the same values in like forms besides;
/// transformations that seldom change a value do not count, nor do those that only undo encodings.
fn keys(rule: &Rule, starter: &Rule, steps: &[Transformation]) -> Keys {
    let changing: Vec<_> = steps
        .iter()
        .filter(|step| {
            matches!(
                step,
                Transformation::Lowercase
                    | Transformation::Uppercase
                    | Transformation::CmdLine
                    | Transformation::CompressWhitespace
                    | Transformation::RemoveWhitespace
                    | Transformation::ReplaceComments
                    | Transformation::RemoveComments
                    | Transformation::RemoveCommentsChar
                    | Transformation::NormalizePath
                    | Transformation::NormalizePathWin
                    | Transformation::Base64Decode
                    | Transformation::Base64DecodeExt
                    | Transformation::HexEncode
                    | Transformation::Sha1
                    | Transformation::Md5
                    | Transformation::Length
            )
        })
        .collect();
    let mut level = "";
    let mut phase = Phase::default();
    for action in &starter.actions {
        match &action.value {
            Action::Tag(tag) => {
                level = tag
                    .literal()
                    .filter(|tag| tag.starts_with("paranoia-level/"))
                    .unwrap_or(level);
            }
            Action::Phase(value) => phase = *value,
            _ => {}
        }
    }
    // Values of most rules are arguments and cookies, with or without something more.
    let arguments = rule.targets.iter().any(|target| target.variable == Variable::Args);
    let mut targets = if arguments {
        "arguments".to_owned()
    } else {
        format!("{:?}", rule.targets)
    };
    if rule.operator.negated || !std::ptr::eq(rule, starter) {
        // No answer for all at once helps these.
        targets = format!("{:p}", rule);
    }
    let side = match phase {
        Phase::RequestHeaders | Phase::RequestBody => "request",
        Phase::ResponseHeaders | Phase::ResponseBody | Phase::Logging => "response",
    };
    Keys {
        fragments: format!("{side} {level}"),
        patterns: format!("{phase:?} {level} {targets} {changing:?}"),
    }
}

/// The comparison that a link comes to, if it is one of a TX variable with a number.
pub(super) fn gate(link: &Link, lists: &Tables<'_>) -> Option<Gate> {
    let Test::Compare(compare, Number::Constant(than)) = &link.test else {
        return None;
    };
    let list = lists.targets(link.list?)?;
    let ([target], [], 0) = (&*list.targets, &*list.excluded, link.pipeline) else {
        return None;
    };
    let (Variable::Tx, Select::Slot(slot)) = (target.variable, &target.key) else {
        return None;
    };
    Some(Gate {
        slot: *slot,
        count: target.count,
        compare: *compare,
        than: *than,
        negated: link.negated,
    })
}

/// Whether a collection outlives a transaction.
pub(super) fn is_persistent(variable: Variable) -> bool {
    matches!(
        variable,
        Variable::Ip | Variable::Global | Variable::Session | Variable::User | Variable::Resource
    )
}

/// Notes whether rules read bodies, so that hosts need not wait for bodies that nobody reads.
pub(super) fn mark_readers(program: &mut Program) {
    let mut reads = |variable: Variable| match variable {
        Variable::FilesTmpContent => {
            program.reads_request_body = true;
            program.reads_files = true;
        }
        Variable::ResponseBody | Variable::ResponseContentLength | Variable::OutboundDataError => {
            program.reads_response_body = true;
        }
        Variable::Args
        | Variable::ArgsCombinedSize
        | Variable::ArgsNames
        | Variable::ArgsPost
        | Variable::ArgsPostNames
        | Variable::Files
        | Variable::FilesCombinedSize
        | Variable::FilesNames
        | Variable::FilesSizes
        | Variable::FullRequest
        | Variable::FullRequestLength
        | Variable::InboundDataError
        | Variable::ReqbodyError
        | Variable::ReqbodyProcessorError
        | Variable::RequestBody
        | Variable::RequestBodyLength
        | Variable::Xml => program.reads_request_body = true,
        variable if variable.name().starts_with("MULTIPART") => program.reads_request_body = true,
        _ => {}
    };
    for rule in &program.rules {
        for list in rule
            .links
            .iter()
            .filter_map(|link| program.lists.get(link.list? as usize))
        {
            list.targets.iter().for_each(|target| reads(target.variable));
        }
    }
}
