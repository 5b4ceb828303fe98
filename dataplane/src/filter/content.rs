//! An origin's content on its way through the filters of a route.

use breakwater_wire::http1::{OwnedResponse, ResponseFraming};
use bytes::Bytes;

use super::Filters;
use crate::upstream::{OriginError, ResponseBody};

const TOO_LARGE: OriginError = OriginError::Unexpected("its content is larger than this route allows");

/// Content that is read through filters.
pub(crate) struct Content {
    body: ResponseBody,
    /// Bytes that may still come.
    left: u64,
}

impl Content {
    /// The content of `response`.
    ///
    /// # Errors
    /// It is announced to be larger than the route allows.
    pub(crate) fn new(
        filters: Option<&Filters>,
        response: &OwnedResponse,
        body: ResponseBody,
    ) -> Result<Self, OriginError> {
        let left = filters
            .and_then(|filters| filters.max_response_body)
            .unwrap_or(u64::MAX);
        match response.framing {
            ResponseFraming::Length(length) if length > left => Err(TOO_LARGE),
            _ => Ok(Self { body, left }),
        }
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The content is cut short, or is larger than the route allows.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        let piece = self.body.next().await?;
        let length = piece.as_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.checked_sub(length).ok_or(TOO_LARGE)?;
        Ok(piece)
    }
}
