//! What the parser makes of SecLang: plain values, each where it matters with its position.

use std::fmt;
use std::sync::Arc;

#[cfg(doc)]
use super::Standing;
use super::{OperatorKind, Variable};
use crate::transform::Transformation;

/// Where something stands: a file or another source, and the line in it, from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The source's name: a path, or what the caller calls it.
    pub source: Arc<str>,
    /// The line, from 1; of a directive over several lines, the line that the word stands on.
    pub line: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub position: Position,
}

/// One directive.
pub type Directive = Located<DirectiveKind>;

/// What a directive says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectiveKind {
    /// `SecRule` with the links of its chain; `SecAction` is a rule without targets whose operator always matches.
    Rule(Box<Rule>),
    /// `SecMarker`: where `skipAfter` goes on.
    Marker(String),
    /// `SecDefaultAction`: the actions of the rules of a phase that follow it.
    DefaultAction(Phase, Vec<Located<Action>>),
    /// `SecRuleRemoveById`, `ByTag`, `ByMsg`: rules that stand before it no longer run.
    Remove(RuleRange),
    /// `SecRuleUpdateTargetById`, `ByTag`, `ByMsg`: more or fewer targets for rules before it.
    UpdateTarget(RuleRange, TargetUpdate),
    /// `SecRuleUpdateActionById`: other actions for one rule that stands before it.
    UpdateAction {
        /// The rule.
        id: u32,
        /// Which rule of its chain; 0 is the first.
        link: u32,
        /// The actions that take the place of those of the same kind.
        actions: Vec<Located<Action>>,
    },
    /// Everything that sets one value for the whole configuration.
    Setting(Setting),
    /// `SecComponentSignature`: the name and version of a rule set.
    ComponentSignature(String),
}

/// A rule and the rest of its chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What is inspected; empty for `SecAction`.
    pub targets: Vec<Target>,
    /// The test; [`OperatorKind::UnconditionalMatch`] for `SecAction`.
    pub operator: Operator,
    /// As written, in order; `t`, `chain` and `phase` are among them.
    pub actions: Vec<Located<Action>>,
    /// The next rule of the chain, if `actions` has `chain`.
    pub next: Option<Box<Located<Self>>>,
}

/// One target: `ARGS`, `&TX:x`, `!REQUEST_COOKIES:/^__utm/`, `XML://@*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `!`: what is left out of the targets before it.
    pub exclude: bool,
    /// `&`: how many there are, instead of the values.
    pub count: bool,
    /// Which variable.
    pub variable: Variable,
    /// Which of a collection's values; none: all.
    pub key: Option<Key>,
}

/// A selector within a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A name, compared without regard to case; for `XML` an XPath, `/*` or `//@*`.
    Name(String),
    /// `/…/`: names that match the pattern.
    Regex(String),
}

/// A test of each value: `!@rx ^x`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// `!`: it matches where the test does not.
    pub negated: bool,
    /// Which test.
    pub kind: OperatorKind,
    /// What stands after it, as written; macros are not expanded.
    pub argument: String,
}

/// The phases of a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// 1: after the request head.
    RequestHeaders,
    /// 2: after the request body; where no phase is written.
    #[default]
    RequestBody,
    /// 3: after the response head.
    ResponseHeaders,
    /// 4: after the response body.
    ResponseBody,
    /// 5: after everything is sent; nothing can be refused any more.
    Logging,
}

/// One action of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// `id`
    Id(u32),
    /// `phase`
    Phase(Phase),
    /// `allow`, `block`, `deny`, `drop`, `pass`, `redirect`
    Disruptive(Disruptive),
    /// `status`
    Status(u16),
    /// `t:none` forgets the transformations before it
    TransformNone,
    /// `t:`
    Transform(Transformation),
    /// `multiMatch`: the test is made after every transformation, not only after the last
    MultiMatch,
    /// `capture`: groups go to TX:0 to TX:9
    Capture,
    /// `chain`
    Chain,
    /// `skip`, `skipAfter`
    Skip(SkipTo),
    /// `setvar`
    Setvar(Setvar),
    /// `ctl`
    Ctl(Ctl),
    /// `initcol:ip=%{REMOTE_ADDR}`: collection, key
    Initcol(Variable, Expr),
    /// `setsid`, `setuid`, `setrsc`: the collection that it opens and its key
    SetCollection(Variable, Expr),
    /// `expirevar:ip.x=60`: collection, name, seconds
    Expirevar(Variable, Expr, Expr),
    /// `msg`
    Msg(Expr),
    /// `logdata`
    Logdata(Expr),
    /// `tag`
    Tag(Expr),
    /// `rev`
    Rev(String),
    /// `ver`
    Ver(String),
    /// `maturity`
    Maturity(u8),
    /// `accuracy`
    Accuracy(u8),
    /// `severity`
    Severity(Severity),
    /// `log`
    Log,
    /// `nolog`
    NoLog,
    /// `auditlog`
    AuditLog,
    /// `noauditlog`
    NoAuditLog,
    /// `sanitiseArg` and its like: what is left out of the audit log
    Sanitise(Sanitise),
}

/// What `sanitise…` keeps out of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sanitise {
    /// `sanitiseArg`: the values of arguments of this name.
    Argument(String),
    /// `sanitiseRequestHeader`, `sanitiseResponseHeader`: the values of fields of this name.
    Header(String),
    /// `sanitiseMatched`: the values of what matched.
    Matched,
    /// `sanitiseMatchedBytes`: what the operator captured, or the value that matched.
    MatchedBytes,
}

/// What a rule that matches does to the transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disruptive {
    /// No rule of any phase (none), of this phase, or of the request's phases runs any more.
    Allow(Option<AllowScope>),
    /// What the default action of the phase says.
    Block,
    /// Refuse with the status.
    Deny,
    /// Close without answer.
    Drop,
    /// Go on.
    Pass,
    /// Send elsewhere.
    Redirect(Expr),
}

/// How far `allow` reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowScope {
    /// `allow:phase`
    Phase,
    /// `allow:request`
    Request,
}

/// Where evaluation goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipTo {
    /// `skip:N`: over so many rules.
    Count(u32),
    /// `skipAfter:X`: after the marker, or the rule with that id.
    After(String),
}

/// `setvar:tx.score=+%{tx.critical_anomaly_score}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setvar {
    /// `TX`, `IP`, `SESSION`, …
    pub collection: Variable,
    /// The name within it.
    pub name: Expr,
    /// What is done.
    pub op: SetvarOp,
}

/// What `setvar` does to its variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetvarOp {
    /// `=`, or nothing, which sets `1`
    Set(Expr),
    /// `=+`
    Add(Expr),
    /// `=-`
    Subtract(Expr),
    /// `!`
    Unset,
}

/// Text with macros: `Matched Data: %{TX.0}`. A `%{` that names no known variable is an error of the parser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expr(pub Vec<ExprPart>);

/// A part of an [`Expr`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExprPart {
    /// As it is.
    Text(String),
    /// `%{VARIABLE}` or `%{COLLECTION.key}`
    Macro(Variable, Option<String>),
}

/// `ctl`: what changes for the rest of this transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ctl {
    /// `ruleEngine`
    RuleEngine(Engine),
    /// `auditEngine`
    AuditEngine(AuditEngine),
    /// `auditLogParts`: taken, without effect, for audit lines have one form
    AuditLogParts(String),
    /// `requestBodyAccess`
    RequestBodyAccess(bool),
    /// `responseBodyAccess`
    ResponseBodyAccess(bool),
    /// `forceRequestBodyVariable`
    ForceRequestBodyVariable(bool),
    /// `requestBodyProcessor`: `URLENCODED`, `MULTIPART`, `JSON`, `XML`, in capitals
    RequestBodyProcessor(BodyProcessor),
    /// `requestBodyLimit`
    RequestBodyLimit(u64),
    /// `responseBodyLimit`
    ResponseBodyLimit(u64),
    /// `ruleRemoveById`, `ByTag`, `ByMsg`
    Remove(RuleRange),
    /// `ruleRemoveTargetById`, `ByTag`, `ByMsg`
    RemoveTarget(RuleRange, Target),
}

/// Which parser a request body goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are SecLang's own")]
pub enum BodyProcessor {
    Urlencoded,
    Multipart,
    Json,
    Xml,
}

/// `SecRuleEngine`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Rules run and refuse.
    On,
    /// No rule runs.
    Off,
    /// Rules run and refuse nothing.
    DetectionOnly,
}

/// `SecAuditEngine`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are SecLang's own")]
pub enum AuditEngine {
    On,
    Off,
    RelevantOnly,
}

/// Which rules a removal or an update is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleRange {
    /// Ids, as inclusive ranges.
    Ids(Vec<(u32, u32)>),
    /// A tag: whole in `ctl`, a pattern in the directives.
    Tag(String),
    /// A message; as with tags.
    Msg(String),
}

/// What `SecRuleUpdateTarget…` changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUpdate {
    /// More targets, or exclusions.
    pub targets: Vec<Target>,
    /// What they take the place of, if anything.
    pub replaces: Option<Target>,
}

/// How bad a rule thinks a match is; lower is worse (syslog).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are SecLang's own")]
pub enum Severity {
    Emergency = 0,
    Alert = 1,
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

/// What happens to a body over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAction {
    /// The request is refused.
    Reject,
    /// What is within the limit is inspected.
    ProcessPartial,
}

/// A directive that sets one value, or has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Setting {
    /// `SecRuleEngine`
    RuleEngine(Engine),
    /// `SecRequestBodyAccess`
    RequestBodyAccess(bool),
    /// `SecResponseBodyAccess`
    ResponseBodyAccess(bool),
    /// `SecRequestBodyLimit`
    RequestBodyLimit(u64),
    /// `SecRequestBodyNoFilesLimit`
    RequestBodyNoFilesLimit(u64),
    /// `SecRequestBodyLimitAction`
    RequestBodyLimitAction(LimitAction),
    /// `SecRequestBodyJsonDepthLimit`
    RequestBodyJsonDepthLimit(u32),
    /// `SecResponseBodyLimit`
    ResponseBodyLimit(u64),
    /// `SecResponseBodyMimeType`
    ResponseBodyMimeType(Vec<String>),
    /// `SecResponseBodyMimeTypesClear`
    ResponseBodyMimeTypesClear,
    /// `SecArgumentsLimit`
    ArgumentsLimit(u32),
    /// `SecArgumentSeparator`
    ArgumentSeparator(u8),
    /// `SecCollectionTimeout`, seconds
    CollectionTimeout(u32),
    /// `SecAuditEngine`
    AuditEngine(AuditEngine),
    /// Known to ModSecurity and without effect here ([`Standing::Idle`]): its name.
    Idle(&'static str),
    /// It says what is done here anyway ([`Standing::Only`]): its name.
    AsHere(&'static str),
}
