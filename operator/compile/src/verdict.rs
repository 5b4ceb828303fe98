//! Verdicts: what the compile step has to say of each object.

use breakwater_snapshot::ObjectId;
use serde::Serialize;

/// What there is to say of one object. Verdicts are sorted by object, one for each object of the World.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Which object.
    pub id: ObjectId,
    /// The UID judged; none where it is not known. An object that is made again under its name is another one, and may
    /// have the same generation.
    #[serde(skip)]
    pub uid: Option<String>,
    /// The generation judged.
    pub generation: i64,
    /// Condition `Accepted`.
    pub accepted: Judgement,
    /// Condition `ResolvedRefs`; none for an object that is not valid enough to look at its references, and for kinds
    /// whose references are part of `Accepted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_refs: Option<Judgement>,
    /// The Secrets it names that can be used, sorted: a node that refuses one of them does not run the object as
    /// written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<ObjectId>,
    /// Whether nodes fetch by themselves for it, and say how far they are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prefetch: bool,
    /// Whether it uses the Core Rule Set, which nodes have in a version of their own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub crs: bool,
    /// Every finding, in the order of fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl Verdict {
    /// Whether it is about the object with this UID.
    pub fn is_about(&self, uid: &str) -> bool {
        self.uid.as_deref().is_none_or(|judged| judged == uid)
    }

    /// Whether nothing at all is wrong: accepted, resolved, no finding.
    pub fn is_clean(&self) -> bool {
        self.accepted.status && self.resolved_refs.as_ref().is_none_or(|r| r.status) && self.problems.is_empty()
    }
}

/// A condition without its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// `True` or `False`.
    pub status: bool,
    /// The machine's reason.
    pub reason: Reason,
    /// The person's reason.
    pub message: String,
}

impl Judgement {
    pub(crate) fn new(status: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
        }
    }

    /// This one and what `other` has against it: the first reason counts, every message is told.
    pub(crate) fn and(mut self, other: Result<(), Self>) -> Self {
        match other {
            Ok(()) => self,
            Err(other) if self.status => other,
            Err(other) => {
                self.message = format!("{}; {}", self.message, other.message);
                self
            }
        }
    }
}

/// Reasons, as they stand in conditions (GEP-713 and Gateway API where they have one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Reason {
    /// Accepted: valid, and it holds what it claims (or part of it; the message says which part is lost).
    Accepted,
    /// Not accepted: older objects serve everything it claims.
    Conflicted,
    /// Not accepted: a field is wrong.
    Invalid,
    /// Not accepted: nothing it targets exists.
    TargetNotFound,
    /// Not accepted: more newer purges than are carried out.
    TooManyPurges,
    /// Resolved.
    ResolvedRefs,
    /// Not resolved: no such Service, or no such port of it.
    BackendNotFound,
    /// Not resolved: no such TLS Secret, or it cannot be used.
    InvalidCertificateRef,
    /// Not resolved: a reference leaves the object's namespace.
    RefNotPermitted,
}

impl Reason {
    /// The reason as it stands in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Conflicted => "Conflicted",
            Self::Invalid => "Invalid",
            Self::TargetNotFound => "TargetNotFound",
            Self::TooManyPurges => "TooManyPurges",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::BackendNotFound => "BackendNotFound",
            Self::InvalidCertificateRef => "InvalidCertificateRef",
            Self::RefNotPermitted => "RefNotPermitted",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where: `spec.addresses.deny[1]`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object, or part of it, does not do what it says.
    Error,
    /// It does, but perhaps not what was meant.
    Warning,
}
