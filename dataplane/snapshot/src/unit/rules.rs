//! The rules of a WafPolicy: the Core Rule Set, SecLang of its own, and what differs from policy to policy.
//!
//! The text of SecLang is here, that of the Core Rule Set is not: nodes have it on disk.

use serde::{Deserialize, Serialize};

use super::{PathMatch, is_default};

/// The rules of a WafPolicy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The Core Rule Set; none: it is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crs: Option<Crs>,
    /// Groups of the Core Rule Set that do not run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disabled_groups: Vec<RuleGroup>,
    /// SecLang of the policy's own, in the order it is read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seclang: Vec<SecLangSource>,
    /// What rules do not look at, where.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusions: Vec<RuleExclusion>,
    /// Rules that only report.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detect_only: Vec<RuleSelection>,
    /// Bytes of a request's body that rules see.
    pub inspect: u64,
    /// A request with a longer body is refused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reject_larger: bool,
    /// Other limits for bodies of some types; the first that has a body's type counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub body_types: Vec<BodyType>,
    /// Bytes of a response's body that rules see; none: responses are not inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect_response: Option<u64>,
    /// Of 100 requests so many are judged; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_percent: Option<u8>,
}

/// How much of bodies of some types rules see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyType {
    /// Media types in lower case, without parameters, or all of a type as `video/*`; sorted.
    pub content_types: Vec<String>,
    /// Bytes that rules see; 0: none.
    pub inspect: u64,
    /// A request with a longer body is refused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reject_larger: bool,
}

/// How the Core Rule Set is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crs {
    /// Rules up to this level count, 1 to 4.
    pub paranoia_level: u8,
    /// Rules up to this level run.
    pub detection_paranoia_level: u8,
    /// The score from which on a request is refused.
    pub inbound: u32,
    /// The score from which on a response is refused.
    pub outbound: u32,
    /// Scores are looked at after heads too.
    pub early_blocking: bool,
}

/// A group of the Core Rule Set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleGroup {
    /// What it is called: `SQLi`.
    pub name: String,
    /// The ids of its rules, both ends included, sorted.
    pub ids: Vec<(u32, u32)>,
}

/// One text of SecLang.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecLangSource {
    /// What messages call it: `spec.seclang.inline`.
    pub name: String,
    /// Its directives.
    pub text: String,
}

/// Which rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RuleSelection {
    /// Those whose ids are in these ranges, both ends included, sorted.
    Ids(Vec<(u32, u32)>),
    /// Those with this tag.
    Tag(String),
}

/// What rules do not look at, where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleExclusion {
    /// Which rules.
    pub rules: Vec<RuleSelection>,
    /// What they do not see, such as `ARGS:q`; empty: they do not run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub targets: Vec<String>,
    /// Which paths; empty means all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paths: Vec<PathMatch>,
    /// Which request methods, sorted; empty means all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub methods: Vec<String>,
}
