//! How many interim responses (1xx) a server may send before its answer.
//!
//! Each is cheap and passed on at once; without a bound a server could keep a request, and its client, busy with them until
//! the deadline.

use breakwater_wire::http1::OwnedResponse;

use super::OriginError;

/// Interim responses to one request: more than an application has hints, and one every ten seconds for ten minutes.
const MOST: u8 = 64;

/// Those that came to one request.
#[derive(Debug, Default)]
pub(super) struct Interims(u8);

impl Interims {
    /// Passes a head on, unless it is one interim response too many.
    pub(super) fn pass(&mut self, head: OwnedResponse) -> Result<OwnedResponse, OriginError> {
        if !head.status.is_informational() || head.status == http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(head);
        }
        if self.0 == MOST {
            return Err(OriginError::Interim);
        }
        self.0 += 1;
        Ok(head)
    }
}
