//! How resources say which paths they mean.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A set of paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.type == 'Regex' || self.value.startsWith('/')",
    "message": "a path begins with /",
    "fieldPath": ".value",
}]))]
pub struct PathMatch {
    /// How the value is compared. Exact: the whole path. Prefix: whole path elements, so that /a matches /a and /a/b
    /// but not /ab. Regex: a regular expression that must match the whole path (RE2 syntax, linear time).
    #[serde(rename = "type", default)]
    pub kind: PathType,
    /// The path, or the regular expression. The query is no part of a path.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

impl PathMatch {
    /// Every path: the default of the resources that serve.
    pub fn everything() -> Vec<Self> {
        vec![Self {
            kind: PathType::Prefix,
            value: "/".to_owned(),
        }]
    }
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathType {
    /// The whole path.
    Exact,
    /// Whole path elements from the beginning.
    #[default]
    Prefix,
    /// A regular expression that must match the whole path.
    Regex,
}
