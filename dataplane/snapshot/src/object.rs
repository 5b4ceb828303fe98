//! Names of the objects users write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kinds of `breakwater.dev/v1alpha1`, and those of Kubernetes that become units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A cached site.
    EdgeCache,
    /// A security policy attached to other objects.
    WafPolicy,
    /// A WebSocket route.
    WsRoute,
    /// A request to forget stored responses.
    CachePurge,
    /// A Kubernetes Secret that other objects name.
    Secret,
}

impl Kind {
    /// Every kind, in the order objects are sorted in a manifest.
    pub const ALL: [Self; 5] = [
        Self::EdgeCache,
        Self::WafPolicy,
        Self::WsRoute,
        Self::CachePurge,
        Self::Secret,
    ];

    /// The kinds of `breakwater.dev`, which users write.
    pub const CUSTOM: [Self; 4] = [Self::EdgeCache, Self::WafPolicy, Self::WsRoute, Self::CachePurge];

    /// The kind's name as users write it in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdgeCache => "EdgeCache",
            Self::WafPolicy => "WafPolicy",
            Self::WsRoute => "WsRoute",
            Self::CachePurge => "CachePurge",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = ObjectIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == s)
            .ok_or_else(|| ObjectIdError(s.to_owned()))
    }
}

/// The identity of one object: printed as `Kind/namespace/name`, which is also the `resource` label of metrics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectId {
    /// Names an object.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let wrong = || ObjectIdError(s.to_owned());
        let mut parts = s.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(kind), Some(namespace), Some(name), None) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::new(kind.parse()?, namespace, name))
            }
            _ => Err(wrong()),
        }
    }
}

/// A text that is not `Kind/namespace/name`.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an object name: write Kind/namespace/name, such as EdgeCache/default/shop")]
pub struct ObjectIdError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_printing_and_parsing() {
        let id = ObjectId::new(Kind::WsRoute, "default", "chat");
        assert_eq!(id.to_string(), "WsRoute/default/chat");
        assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
    }

    #[test]
    fn a_name_with_missing_or_extra_parts_is_refused() {
        for bad in [
            "",
            "EdgeCache",
            "EdgeCache/a",
            "EdgeCache//b",
            "EdgeCache/a/",
            "EdgeCache/a/b/c",
            "Pod/a/b",
        ] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
    }
}
