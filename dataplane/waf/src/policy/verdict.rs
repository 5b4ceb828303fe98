//! What a policy is shown, and what it says.

use std::{fmt, net::IpAddr, ops::ControlFlow, sync::Arc};

use ipnet::IpNet;

use super::{FieldSource, Mode};
use crate::{
    audit::{Action, Redaction},
    geo::{Country, Locate},
    limit::ConnectionGuard,
};

/// The parts of a request that a policy reads.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestView<'a> {
    /// The client, behind all trusted proxies.
    pub client: IpAddr,
    /// The method, as sent.
    pub method: &'a str,
    /// The host asked for, lower case, without port.
    pub host: &'a str,
    /// The path, normalised.
    pub path: &'a str,
    /// What the server behind may take the path for instead. What a policy objects to in one of them it objects to, and an
    /// exception holds for the reading it matches alone.
    pub other_paths: &'a [String],
    /// The query, without its question mark, as sent.
    pub query: Option<&'a str>,
    /// The header fields; rules over them see none where they are not shown.
    pub fields: Option<&'a dyn FieldSource>,
    /// Who knows where clients are; where nobody does, every client is at an unknown place.
    pub locations: Option<&'a dyn Locate>,
    /// The work that its client has done; none where nobody can say.
    pub clearance: Option<&'a dyn Clearance>,
}

/// Work that a client has to do before it is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// How many zero bits a hash has to begin with.
    pub bits: u8,
    /// For how long who has done it is let through, seconds.
    pub lasts_s: u64,
}

/// Knows of the work that the client of a request has done.
pub trait Clearance: fmt::Debug {
    /// Whether it has done what the policy of this name asks for. None: it does not say so.
    fn proves(&self, policy: &str, work: Work) -> Option<bool>;
}

impl<'a> RequestView<'a> {
    /// A view of a request.
    #[must_use]
    pub fn new(client: IpAddr, method: &'a str, host: &'a str, path: &'a str, query: Option<&'a str>) -> Self {
        Self {
            client,
            method,
            host,
            path,
            other_paths: &[],
            query,
            fields: None,
            locations: None,
            clearance: None,
        }
    }

    /// The same with what else its path may be.
    #[must_use]
    pub fn with_other_paths(self, other_paths: &'a [String]) -> Self {
        Self { other_paths, ..self }
    }

    /// The path in each reading.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'a str> {
        std::iter::once(self.path).chain(self.other_paths.iter().map(String::as_str))
    }

    /// The same with what is known of its client's work.
    #[must_use]
    pub fn with_clearance(self, clearance: &'a dyn Clearance) -> Self {
        Self {
            clearance: Some(clearance),
            ..self
        }
    }

    /// The same with its header fields.
    #[must_use]
    pub fn with_fields(self, fields: &'a dyn FieldSource) -> Self {
        Self {
            fields: Some(fields),
            ..self
        }
    }

    /// The same with someone who knows where its client is.
    #[must_use]
    pub fn with_locations(self, locations: &'a dyn Locate) -> Self {
        Self {
            locations: Some(locations),
            ..self
        }
    }

    /// The country its client is in, if anybody knows.
    #[must_use]
    pub fn country(&self) -> Option<Country> {
        self.locations?.country(self.client)
    }

    /// The autonomous system its client is in, if anybody knows.
    #[must_use]
    pub fn asn(&self) -> Option<u32> {
        self.locations?.asn(self.client)
    }
}

/// What a policy, or several, say of a request.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Whether it passes.
    pub outcome: Outcome,
    /// What policies, or parts of them, that only detect object to. Takes no memory while empty.
    pub detections: Vec<Finding>,
}

/// Whether a request passes.
#[derive(Clone, Debug, Default)]
pub enum Outcome {
    /// It passes.
    #[default]
    Pass,
    /// It is refused; answer with the finding's status.
    Block(Finding),
}

/// An objection of one policy.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Whose it is.
    pub policy: Arc<Identity>,
    /// Whether it blocks: the policy's mode, or that of the part that objects if it only detects.
    pub mode: Mode,
    /// Which part of the policy objects.
    pub reason: Reason,
    /// The status to answer with, if the policy blocks.
    pub status: u16,
    /// The work that lets the client through, if there is any.
    pub work: Option<Work>,
    /// `Retry-After` in seconds: for a request rate, never 0. Nobody knows when a connection will close.
    pub retry_after: Option<u32>,
    /// What exactly objects.
    pub detail: Detail,
}

impl Finding {
    /// What is done about it: `action` in audit lines and metrics.
    #[must_use]
    pub fn action(&self) -> Action {
        match (self.mode, self.work) {
            (Mode::Enforce, Some(_)) => Action::Challenge,
            (mode, _) => mode.into(),
        }
    }

    /// Goes where its mode puts it, and breaks if that decides.
    pub(super) fn put(self, verdict: &mut Verdict) -> ControlFlow<()> {
        match self.mode {
            Mode::Enforce => {
                verdict.outcome = Outcome::Block(self);
                ControlFlow::Break(())
            }
            Mode::DetectOnly => {
                verdict.detections.push(self);
                ControlFlow::Continue(())
            }
        }
    }
}

/// A connection that was admitted.
#[derive(Debug)]
pub struct Admitted {
    /// Keep it as long as the connection is open.
    pub guard: ConnectionGuard,
    /// What a policy, or a limit, that only detects objects to.
    pub detections: Vec<Finding>,
}

/// Who a policy is, for those who report what it said.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Whether it blocks.
    pub mode: Mode,
    /// What is left out of its audit lines.
    pub redaction: Arc<Redaction>,
}

/// Which part of a policy objects; `reason` in audit lines and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The address lists.
    Address,
    /// The lists of countries.
    Country,
    /// The lists of autonomous systems.
    Asn,
    /// The path lists.
    Uri,
    /// The rules over header fields.
    Header,
    /// A limit.
    Limit,
    /// The client was refused too often.
    Penalty,
    /// The client has not done the work that is asked for.
    Challenge,
    /// A rule.
    Rule,
    /// The request is not what the protocol allows.
    Protocol,
    /// The body is larger than may be inspected, or cannot be read as what it claims to be.
    Body,
    /// The policy itself is not valid.
    Policy,
}

impl Reason {
    /// As in audit lines: lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Country => "country",
            Self::Asn => "asn",
            Self::Uri => "uri",
            Self::Header => "header",
            Self::Limit => "limit",
            Self::Penalty => "penalty",
            Self::Challenge => "challenge",
            Self::Rule => "rule",
            Self::Protocol => "protocol",
            Self::Body => "body",
            Self::Policy => "policy",
        }
    }
}

/// What exactly objects; for people, through [`fmt::Display`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// This prefix of the deny list.
    Prefix(IpNet),
    /// The default of a pair of lists.
    Default,
    /// This country of the deny list.
    Country(Country),
    /// This autonomous system of the deny list.
    Asn(u32),
    /// This pattern of the deny list.
    Path(Arc<str>),
    /// This rule over header fields.
    Field(Arc<str>),
    /// The limit of this name.
    Limit(Arc<str>),
    /// The penalty, for so many more seconds.
    Penalty(u64),
    /// What is wrong with the policy.
    Message(Arc<str>),
}

impl Detail {
    /// The limit's name, if a limit objects: the label `limit` of a metric.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        match self {
            Self::Limit(name) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(net) => net.fmt(f),
            Self::Default => f.write_str("default"),
            Self::Country(country) => country.fmt(f),
            Self::Asn(asn) => write!(f, "AS{asn}"),
            Self::Penalty(seconds) => write!(f, "for {seconds} s more"),
            Self::Path(text) | Self::Field(text) | Self::Limit(text) | Self::Message(text) => f.write_str(text),
        }
    }
}
