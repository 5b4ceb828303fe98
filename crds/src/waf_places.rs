//! Lists of countries and autonomous systems, for WafPolicies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CountryCode, DefaultAction};

/// Lists of the countries that clients are in; allow is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Countries {
    /// Countries whose clients pass this policy's country lists. Read before deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 300), extend("x-kubernetes-list-type" = "set"))]
    pub allow: Vec<CountryCode>,
    /// Countries whose clients are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 300), extend("x-kubernetes-list-type" = "set"))]
    pub deny: Vec<CountryCode>,
    /// What happens to clients of countries on neither list.
    #[serde(default)]
    pub default: DefaultAction,
}

/// Lists of the autonomous systems that clients are in; allow is read first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Asns {
    /// Numbers of autonomous systems whose clients pass this policy's lists of them. Read before deny. 0 stands for
    /// clients that the database does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(range(min = 0, max = 4_294_967_295_u32)), extend("x-kubernetes-list-type" = "set"))]
    pub allow: Vec<u32>,
    /// Numbers of autonomous systems whose clients are refused. 0 stands for clients that the database does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096), inner(range(min = 0, max = 4_294_967_295_u32)), extend("x-kubernetes-list-type" = "set"))]
    pub deny: Vec<u32>,
    /// What happens to clients of autonomous systems on neither list.
    #[serde(default)]
    pub default: DefaultAction,
}
