//! Rules over requests and responses: the OWASP Core Rule Set and SecLang of one's own, as a WafPolicy takes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BodyType, CrsGroup, CrsGroups, Method, PathMatch, Quantity};

/// The OWASP Core Rule Set, which nodes have on disk (`--crs-dir`). `crs: {}` turns it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.detectionParanoiaLevel) || self.detectionParanoiaLevel >= self.paranoiaLevel",
    "message": "detectionParanoiaLevel is paranoiaLevel or higher: rules above it only report",
    "fieldPath": ".detectionParanoiaLevel",
}]))]
pub struct Crs {
    /// How suspicious the rules are that count towards a refusal: 1 finds few false positives, 4 many.
    #[serde(default = "Crs::paranoia_level")]
    #[schemars(range(min = 1, max = 4))]
    pub paranoia_level: u8,
    /// Rules up to this level run and report, but only those up to paranoiaLevel count; the default is paranoiaLevel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4))]
    pub detection_paranoia_level: Option<u8>,
    /// The anomaly scores from which on a request or a response is refused.
    #[serde(default)]
    pub thresholds: Thresholds,
    /// Refuse after the head where its score suffices, before the body is read.
    #[serde(default)]
    pub early_blocking: bool,
    /// Which groups of rules run; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<CrsGroups>,
    /// What rules do not look at, where. They hold for the rules of `seclang` as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub exclusions: Vec<RuleExclusion>,
    /// Rules with a mode of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub modes: Vec<RuleMode>,
}

impl Crs {
    const fn paranoia_level() -> u8 {
        1
    }
}

impl Default for Crs {
    fn default() -> Self {
        Self {
            paranoia_level: Self::paranoia_level(),
            detection_paranoia_level: None,
            thresholds: Thresholds::default(),
            early_blocking: false,
            groups: None,
            exclusions: Vec::new(),
            modes: Vec::new(),
        }
    }
}

/// The anomaly scores from which on something is refused. A critical match counts 5, an error 4, a warning 3, a notice 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Thresholds {
    /// Of a request.
    #[serde(default = "Thresholds::inbound")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub inbound: u32,
    /// Of a response, where responses are inspected.
    #[serde(default = "Thresholds::outbound")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub outbound: u32,
}

impl Thresholds {
    const fn inbound() -> u32 {
        5
    }

    const fn outbound() -> u32 {
        4
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            inbound: Self::inbound(),
            outbound: Self::outbound(),
        }
    }
}

/// Which rules: those with one of the ids, in one of the ranges, with one of the tags, or in one of the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.ids) || has(self.ranges) || has(self.tags) || has(self.groups)",
    "message": "say which rules: ids, ranges, tags or groups",
}]))]
pub struct RuleSelector {
    /// Rule ids, such as 942100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(range(min = 1, max = 4_294_967_295_u32)), extend("x-kubernetes-list-type" = "set"))]
    pub ids: Vec<u32>,
    /// Ranges of rule ids, both ends included, such as "942000-942999".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 32)), extend("x-kubernetes-list-type" = "set"))]
    pub ranges: Vec<String>,
    /// Tags, such as attack-sqli: rules that have exactly this tag.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "set"))]
    pub tags: Vec<String>,
    /// Groups of the Core Rule Set, such as SQLi.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 14), extend("x-kubernetes-list-type" = "set"))]
    pub groups: Vec<CrsGroup>,
}

/// What rules do not look at, where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleExclusion {
    /// Which rules.
    pub rules: RuleSelector,
    /// What they do not see, such as `ARGS:q` or `REQUEST_COOKIES:/^sess/`; none: they do not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub targets: Vec<String>,
    /// The paths it is for; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<PathMatch>,
    /// The request methods it is for; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub methods: Vec<Method>,
}

/// Rules with a mode of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleMode {
    /// Which rules.
    pub rules: RuleSelector,
    /// DetectOnly: they report, and neither refuse nor count towards a refusal.
    pub mode: RuleModeKind,
}

/// What rules with a mode of their own do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RuleModeKind {
    /// Report only.
    DetectOnly,
}

/// Rules of one's own, in SecLang, the language of ModSecurity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.inline) || has(self.configMaps)",
    "message": "give rules: inline or configMaps",
}]))]
pub struct SecLang {
    /// Directives, one under the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub inline: Option<String>,
    /// ConfigMaps of the policy's namespace that hold directives, read in this order before `inline`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub config_maps: Vec<ConfigMapKey>,
}

/// One value of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKey {
    /// The ConfigMap's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How much of bodies rules see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BodyInspection {
    /// Bytes of a request's body that rules see, 16Mi at most. So much of it is held back until they have judged it; what
    /// no rule reads is not held back.
    #[serde(default = "BodyInspection::inspect")]
    pub inspect: Quantity,
    /// What happens to a request whose body is longer.
    #[serde(default)]
    pub on_exceed: OnExceed,
    /// Other limits for bodies of some types; the first entry that has a request's type counts. What the type is, is said by
    /// the client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub types: Vec<BodyType>,
    /// Responses are inspected as well: their heads, and the beginning of bodies of type text/plain, text/html, text/xml
    /// and application/json that have no content coding. Absent: rules of phases 3 and 4 do not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseInspection>,
}

impl BodyInspection {
    fn inspect() -> Quantity {
        "128Ki".into()
    }
}

impl Default for BodyInspection {
    fn default() -> Self {
        Self {
            inspect: Self::inspect(),
            on_exceed: OnExceed::default(),
            types: Vec::new(),
            response: None,
        }
    }
}

/// What happens to a request whose body is longer than what is inspected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExceed {
    /// Rules judge the beginning, and the rest passes unseen.
    #[default]
    ProcessPartial,
    /// It is refused with 413.
    Reject,
}

/// How much of responses rules see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResponseInspection {
    /// Bytes of a response's body that rules see, 16Mi at most. So much of it is held back until they have judged it; the
    /// rest passes unseen.
    #[serde(default = "ResponseInspection::inspect")]
    pub inspect: Quantity,
}

impl ResponseInspection {
    fn inspect() -> Quantity {
        "512Ki".into()
    }
}

impl Default for ResponseInspection {
    fn default() -> Self {
        Self {
            inspect: Self::inspect(),
        }
    }
}
