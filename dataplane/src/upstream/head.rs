//! A request without its body, as it goes to a server.

use breakwater_wire::http1::encode::write_request_head;
use http::HeaderMap;
use http::header::{self, HeaderValue};

use super::OriginError;

/// How the body of a request goes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Length(u64),
    /// Until it ends; in chunks, where the protocol does not frame it itself.
    Unknown,
}

/// A request without its body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// In origin form.
    pub(crate) target: String,
    /// With `Host`, without what frames the body.
    pub(crate) fields: HeaderMap,
    pub(crate) body: Body,
    /// The client takes trailers. Only HTTP/2 says so: towards an HTTP/1.1 server it would be a matter of the connection.
    pub(crate) trailers: bool,
}

impl Head {
    /// The head in HTTP/1.1, to its final empty line.
    ///
    /// # Errors
    /// When it cannot be written: nothing of what the gate lets through.
    pub(super) fn encode(&self) -> Result<Vec<u8>, OriginError> {
        let framing = match self.body {
            Body::None => None,
            Body::Length(length) => Some((header::CONTENT_LENGTH, HeaderValue::from(length))),
            Body::Unknown => Some((header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
        };
        let framing = framing.as_ref().map(|(name, value)| (name, value));
        let mut bytes = Vec::with_capacity(1024);
        write_request_head(
            &mut bytes,
            &self.method,
            &self.target,
            self.fields.iter().chain(framing),
        )
        .map_err(|_| OriginError::Unexpected("the request cannot be written"))?;
        Ok(bytes)
    }
}
