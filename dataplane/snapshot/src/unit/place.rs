//! Lists of where clients are.

use serde::{Deserialize, Serialize};

/// Lists of countries or autonomous systems; `allow` is read first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places<T> {
    /// Clients of these pass.
    pub allow: Vec<T>,
    /// Clients of these are refused.
    pub deny: Vec<T>,
    /// Whether a client of neither passes.
    pub default_allow: bool,
}

impl<T> Places<T> {
    /// Whether everyone passes, wherever they are: then no database is needed.
    pub fn pass_all(&self) -> bool {
        self.deny.is_empty() && self.default_allow
    }
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            default_allow: true,
        }
    }
}
