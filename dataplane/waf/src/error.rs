//! The crate's one error: a configuration that cannot be used. Judging a request never fails.

/// A configuration that cannot be used: which field, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ConfigError {
    /// Path of the field as its author wrote it, such as `limits[2].requests.count`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }

    /// The same error one level further out: `field` is put before the path.
    pub(crate) fn below(mut self, parent: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') {
            ""
        } else {
            "."
        };
        self.field = format!("{parent}{dot}{}", self.field);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_grows_from_the_inside_out() {
        let error = ConfigError::new("[3]", "bad").below("uris.deny");
        assert_eq!(error.to_string(), "uris.deny[3]: bad");
        assert_eq!(
            ConfigError::new("count", "bad").below("limits[0]").field,
            "limits[0].count"
        );
        assert_eq!(ConfigError::new("", "bad").below("name").field, "name");
    }
}
