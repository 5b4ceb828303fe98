//! What is done to requests and responses on the way: header fields, redirects, compression, limits, error pages.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{HeaderName, Hostname, MediaType, PathMatch, Quantity};

/// Changes to header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderEdits {
    /// Fields of the request as the origin gets it.
    #[serde(default)]
    pub request: HeaderEdit,
    /// Fields of every response as the client gets it, those from the cache and our own errors included.
    #[serde(default)]
    pub response: HeaderEdit,
}

/// Changes to the header fields of a message, in this order: remove, set, add. Fields that frame a message or belong to
/// one connection (Content-Length, Transfer-Encoding, Connection and the like) cannot be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderEdit {
    /// Fields that take the place of what was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub set: Vec<HeaderField>,
    /// Fields that come beside what was there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub add: Vec<HeaderField>,
    /// Names of fields that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "set"))]
    pub remove: Vec<HeaderName>,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderField {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A redirect. What it does not name stays as it was in the request; the query stays always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.scheme) || has(self.hostname) || has(self.port) || has(self.path)",
        "message": "a redirect leads elsewhere: give scheme, hostname, port or path",
    },
    {
        "rule": "!has(self.path) || !has(self.path.replacePrefix) || has(self.paths) && self.paths.size() > 0 && self.paths.all(path, !has(path.type) || path.type == 'Prefix')",
        "message": "replacePrefix takes the place of what a path of type Prefix matched: give such paths, and only such",
    },
]))]
pub struct Redirect {
    /// The paths that are redirected; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<PathMatch>,
    /// The scheme of the new URL: http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<RedirectScheme>,
    /// The host of the new URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Hostname>,
    /// The port of the new URL. The default is the scheme's own when scheme is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// The path of the new URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<RedirectPath>,
    /// The status: 301, 302, 303, 307 or 308.
    #[serde(default = "Redirect::status")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
}

impl Redirect {
    const fn status() -> u16 {
        302
    }
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RedirectScheme {
    /// `http`.
    #[serde(rename = "http")]
    Http,
    /// `https`.
    #[serde(rename = "https")]
    Https,
}

/// What becomes of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.replaceFullPath) != has(self.replacePrefix)",
    "message": "give exactly one of replaceFullPath and replacePrefix",
}]))]
pub struct RedirectPath {
    /// Takes the place of the whole path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('/')",
        "message": "a path begins with /",
    }]))]
    pub replace_full_path: Option<String>,
    /// Takes the place of the part that the redirect's own path matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), extend("x-kubernetes-validations" = [{
        "rule": "self.startsWith('/')",
        "message": "a path begins with /",
    }]))]
    pub replace_prefix: Option<String>,
}

/// Compression of responses that come without it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compression {
    /// The codings to use, best first, for clients that like several alike.
    #[serde(default = "Compression::codings")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub codings: Vec<Coding>,
    /// The media types to compress: text/html, or all of a type as text/*. Images, video and archives are small
    /// already; text/* leaves event streams out, which gain little: name them to compress them.
    #[serde(default = "Compression::types")]
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub types: Vec<MediaType>,
    /// Smaller responses go as they are.
    #[serde(default = "Compression::min_size")]
    pub min_size: Quantity,
}

impl Compression {
    fn codings() -> Vec<Coding> {
        vec![Coding::Zstd, Coding::Brotli, Coding::Gzip]
    }

    fn types() -> Vec<MediaType> {
        [
            "application/atom+xml",
            "application/javascript",
            "application/json",
            "application/ld+json",
            "application/manifest+json",
            "application/problem+json",
            "application/rss+xml",
            "application/wasm",
            "application/xhtml+xml",
            "application/xml",
            "font/otf",
            "font/ttf",
            "image/bmp",
            "image/svg+xml",
            "image/vnd.microsoft.icon",
            "text/calendar",
            "text/css",
            "text/csv",
            "text/html",
            "text/javascript",
            "text/markdown",
            "text/plain",
            "text/vcard",
            "text/vtt",
            "text/xml",
        ]
        .into_iter()
        .map(MediaType::from)
        .collect()
    }

    fn min_size() -> Quantity {
        "1Ki".into()
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            codings: Self::codings(),
            types: Self::types(),
            min_size: Self::min_size(),
        }
    }
}

/// Content codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Coding {
    /// `zstd`.
    Zstd,
    /// `br`.
    Brotli,
    /// `gzip`.
    Gzip,
}

/// Limits of what passes. What is not given is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BodyLimits {
    /// Requests with a larger body are refused with 413.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_body: Option<Quantity>,
    /// Responses with a larger body are refused with 502; one whose size shows only on the way is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_body: Option<Quantity>,
}

/// A page in place of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorPage {
    /// The statuses it is for. The first page that has the status is sent.
    #[schemars(length(min = 1, max = 64), inner(range(min = 400, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub statuses: Vec<u16>,
    /// Its Content-Type.
    #[serde(default = "ErrorPage::content_type")]
    #[schemars(length(min = 3, max = 256))]
    pub content_type: String,
    /// Its content. {status}, {reason} and {request_id} are filled in.
    #[schemars(length(max = 65_536))]
    pub body: String,
    /// Send it in place of the origin's own error content too.
    #[serde(default)]
    pub intercept: bool,
}

impl ErrorPage {
    fn content_type() -> String {
        "text/html; charset=utf-8".to_owned()
    }
}
