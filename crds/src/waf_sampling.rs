//! Rules over a share of the requests only.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// On which share of requests rules run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sampling {
    /// Of 100 requests, drawn at random, so many are judged by the rules of crs and seclang, with their responses. The
    /// others pass unseen by rules, and take none of their time. Lists and limits hold for all.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u8,
}
