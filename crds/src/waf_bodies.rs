//! How much of a request's body rules see, by its type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{MediaType, OnExceed, Quantity};

/// How much of bodies of some types rules see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.inspect) || has(self.onExceed)",
    "message": "say what differs for these types: inspect or onExceed",
}]))]
pub struct BodyType {
    /// The media types of the request's Content-Type: application/json, or all of a type as video/*.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub content_types: Vec<MediaType>,
    /// Bytes of such a body that rules see, 16Mi at most; with 0 none, and nothing of it is held back. Absent: as for all
    /// bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspect: Option<Quantity>,
    /// What happens to a request whose body is longer. Absent: as for all bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exceed: Option<OnExceed>,
}
