//! What can go wrong on the way to a server and back.

use std::io;

use breakwater_wire::http1::{BodyError, ResponseError};
use rustix::io::Errno;

use super::origin::Refusal;
use super::tls::TlsFault;

/// A server that could not be reached, or whose answer is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    /// The resource has no server; its Service has no ready endpoint.
    #[error("the origin has no ready endpoint")]
    NoEndpoints,
    /// More is going on than the origin's limits let through.
    #[error("the origin's limit of {} is reached", .0.limit())]
    Overloaded(Refusal),
    /// A name without address.
    #[error("the origin's name {name} cannot be resolved: {reason}")]
    Resolve { name: String, reason: String },
    /// No connection.
    #[error("the origin cannot be connected to: {0}")]
    Connect(io::Error),
    /// No connection in time.
    #[error("the origin did not accept a connection in time")]
    ConnectTimeout,
    /// Nothing, or not enough, was answered in time.
    #[error("the origin did not answer in time")]
    ResponseTimeout,
    /// The connection ended before a byte of the answer: perhaps it was idle too long, perhaps the server crashed.
    #[error("the origin closed the connection without an answer")]
    Closed,
    /// The connection failed.
    #[error("the connection to the origin failed: {0}")]
    Io(io::Error),
    /// The connection cannot be secured.
    #[error("TLS with the origin failed: {0}")]
    Tls(TlsFault),
    /// The server ended the secured connection with an alert before a byte of the answer: it does not want us.
    #[error("the origin refuses the connection: {0}")]
    TlsRefused(TlsFault),
    /// The server said that it did nothing of the request.
    #[error("the origin refused the request before it did anything")]
    Unprocessed,
    /// HTTP/2 was spoken wrongly, or the server reset the request.
    #[error("the origin failed the request: {0}")]
    Http2(String),
    /// The answer is not HTTP.
    #[error("the origin's answer is malformed: {0}")]
    Head(#[from] ResponseError),
    /// The answer's body is malformed or cut short.
    #[error("the origin's answer is malformed: {0}")]
    Body(#[from] BodyError),
    /// Interim responses, and no end of them.
    #[error("the origin sent more interim responses than one request may have")]
    Interim,
    /// The request has passed us too often.
    #[error("the request came back to us: there is a loop")]
    Loop,
    /// The answer is HTTP but not one that can be passed on.
    #[error("the origin's answer cannot be used: {0}")]
    Unexpected(&'static str),
    /// The fetch that a request waited for, its own or another's, failed; in public words.
    #[error("the fetch failed: {0}")]
    Fetch(&'static str),
}

impl OriginError {
    /// The status the client gets (RFC 9110 section 15.6).
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::NoEndpoints | Self::Overloaded(_) => 503,
            Self::ConnectTimeout | Self::ResponseTimeout => 504,
            Self::Loop => 508,
            _ => 502,
        }
    }

    /// A stable name for `Proxy-Status`-like uses: logs and metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::NoEndpoints => "no_endpoints",
            Self::Overloaded(_) => "overloaded",
            Self::Resolve { .. } => "resolve",
            Self::Connect(_) => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Tls(fault) | Self::TlsRefused(fault) => fault.kind.label(),
            Self::Unprocessed => "unprocessed",
            Self::Http2(_) => "http2",
            Self::Head(_) => "malformed_head",
            Self::Body(_) => "malformed_body",
            Self::Interim => "interim",
            Self::Loop => "loop",
            Self::Unexpected(_) => "unexpected",
            Self::Fetch(_) => "fetch",
        }
    }

    /// What is wrong with TLS, if that is it.
    pub(super) const fn tls_fault(&self) -> Option<&TlsFault> {
        match self {
            Self::Tls(fault) | Self::TlsRefused(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether another attempt may do better: nothing was answered.
    pub(crate) const fn retryable(&self) -> bool {
        self.is_unsent() || matches!(self, Self::Closed | Self::TlsRefused(_) | Self::Io(_))
    }

    /// Whether the server certainly has nothing of the request: trying again is safe whatever the method.
    pub(crate) const fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::Connect(_) | Self::ConnectTimeout | Self::Tls(_) | Self::Unprocessed
        )
    }

    /// The fault is ours, and says nothing of the server: this process has no descriptor or port left.
    pub(crate) fn is_ours(&self) -> bool {
        let Self::Connect(error) = self else { return false };
        let ours = [
            Errno::MFILE,
            Errno::NFILE,
            Errno::ADDRNOTAVAIL,
            Errno::NOBUFS,
            Errno::NOMEM,
        ];
        Errno::from_io_error(error).is_some_and(|errno| ours.contains(&errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_lacks_is_not_the_servers_fault() {
        let connect = |errno: Errno| OriginError::Connect(errno.into());
        for errno in [Errno::MFILE, Errno::ADDRNOTAVAIL] {
            assert!(connect(errno).is_ours());
        }
        assert!(!connect(Errno::CONNREFUSED).is_ours());
        assert!(!OriginError::ConnectTimeout.is_ours());
    }
}
