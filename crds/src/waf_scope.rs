//! Where a WafPolicy's limit holds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a limit holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LimitScope {
    /// On each node by itself.
    #[default]
    Node,
    /// Over all nodes that know each other.
    Fleet,
}
