//! What is done to requests and responses on the way.

use serde::{Deserialize, Serialize};

use super::{PathMatch, is_default};

/// The filters of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filters {
    /// Fields of the request as the origin gets it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request_fields: FieldEdit,
    /// Fields of every response of this route as the client gets it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub response_fields: FieldEdit,
    /// Redirects; the first that matches answers, before the cache is asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirects: Vec<Redirect>,
    /// Compression of responses; none means they go as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Larger request bodies are refused with 413, bytes; none means unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_request_body: Option<u64>,
    /// Larger response bodies are refused with 502 or cut, bytes; none means unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_response_body: Option<u64>,
    /// Pages in place of ours; the first that has the status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error_pages: Vec<ErrorPage>,
}

/// Changes to the fields of a message, in this order: remove, set, add. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldEdit {
    /// Fields that go.
    pub remove: Vec<String>,
    /// Fields that take the place of what was there.
    pub set: Vec<Field>,
    /// Fields that come beside what was there.
    pub add: Vec<Field>,
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name, lower case.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A redirect. What it does not name stays as it was in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Which paths; empty means all.
    pub paths: Vec<PathMatch>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// What becomes of a path; the query stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewrite {
    /// All of it.
    Full(String),
    /// The part that a path of type Prefix matched.
    Prefix(String),
}

/// Compression of responses (RFC 9110 section 8.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    /// Codings in order of preference, for clients that rate several alike.
    pub codings: Vec<Coding>,
    /// Media types that are compressed: `text/html`, or all of a type as `text/*`; lower case.
    pub types: Vec<String>,
    /// Smaller responses go as they are, bytes.
    pub min_size: u64,
}

/// Content codings (RFC 9110 section 8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Coding {
    /// `zstd`.
    Zstd,
    /// `br`.
    Brotli,
    /// `gzip`.
    Gzip,
}

/// A page in place of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorPage {
    /// For which statuses.
    pub statuses: Vec<u16>,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Its content. `{status}`, `{reason}` and `{request_id}` are filled in.
    pub body: String,
    /// In place of the origin's own error content too.
    pub intercept: bool,
}
