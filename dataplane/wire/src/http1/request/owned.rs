//! A request head that outlives the buffer it came in.

use http::{HeaderMap, HeaderValue, Method, header};

use super::{Framing, RequestHead, Version};

/// A request head that outlives the buffer.
#[derive(Debug, Clone)]
pub struct OwnedRequest {
    /// The method.
    pub method: Method,
    /// Path and query as received, in origin-form (or `*`). Not normalised.
    pub target: String,
    /// Bytes of [`OwnedRequest::target`] that are the path.
    path_len: usize,
    /// Host and port of the authority to use; empty for HTTP/1.0 without Host.
    pub host: String,
    /// The version of the message.
    pub version: Version,
    /// The fields as received, hop-by-hop ones included, Host replaced by the authority to use.
    pub headers: HeaderMap,
    /// How the body ends.
    pub framing: Framing,
    /// The client lets the connection be used again.
    pub keep_alive: bool,
    /// `Connection: upgrade` and Upgrade.
    pub upgrade: bool,
    /// The client waits for `100 Continue`.
    pub expect_continue: bool,
}

impl OwnedRequest {
    /// The path as received.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.get(..self.path_len).unwrap_or(&self.target)
    }

    /// What follows `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.get(self.path_len + 1..)
    }

    /// Replaces the path and keeps the query.
    pub fn set_path(&mut self, path: &str) {
        self.target.replace_range(..self.path_len.min(self.target.len()), path);
        self.path_len = path.len();
    }
}

impl RequestHead<'_> {
    /// Owned types for a request that leaves the hit path. Host in the map is the authority to use. The
    /// values share one copy of the head.
    ///
    /// # Errors
    /// None that the gate does not catch first; the `http` crate's checks are kept as a second opinion.
    pub fn to_owned(&self) -> Result<OwnedRequest, http::Error> {
        let mut headers = self.fields().to_map()?;
        if !self.host.is_empty() {
            headers.insert(header::HOST, HeaderValue::from_str(self.host.as_str())?);
        }
        let mut target = String::with_capacity(self.target.len());
        target.push_str(self.path);
        if let Some(query) = self.query {
            target.push('?');
            target.push_str(query);
        }
        Ok(OwnedRequest {
            method: Method::from_bytes(self.method.as_bytes())?,
            path_len: self.path.len(),
            target,
            host: self.host.as_str().to_owned(),
            version: self.version,
            headers,
            framing: self.framing,
            keep_alive: self.keep_alive,
            upgrade: self.upgrade,
            expect_continue: self.expect_continue,
        })
    }
}
