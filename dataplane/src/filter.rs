//! The filters of a route: what is done to requests and responses on the way.
//!
//! Built once, when a snapshot is applied. A route without filters has none of this: the handlers pay one `Option`.
//! Nothing that is filtered on the way to a client is stored filtered, so a change of configuration shows at once; the
//! one exception is compression ([`compress`]), whose results are variants of their own.

mod compress;
mod content;
mod encode;
mod error_page;
mod fields;
mod redirect;

use breakwater_snapshot::unit;
use http::{HeaderMap, StatusCode};

pub(crate) use compress::{Compression, confirms};
pub(crate) use content::Content;
use error_page::ErrorPages;
use error_page::FilledPage;
use fields::{FieldEdits, Side};
pub(crate) use redirect::Asked;
use redirect::Redirects;

/// The filters of one route.
pub(crate) struct Filters {
    request: Option<FieldEdits>,
    response: Option<FieldEdits>,
    redirects: Redirects,
    pub(crate) compression: Option<Compression>,
    pub(crate) max_request_body: Option<u64>,
    pub(crate) max_response_body: Option<u64>,
    error_pages: ErrorPages,
}

impl Filters {
    /// None if there is nothing to do.
    ///
    /// # Errors
    /// What cannot be used, for a person.
    pub(crate) fn new(unit: &unit::Filters) -> Result<Option<Box<Self>>, String> {
        if *unit == unit::Filters::default() {
            return Ok(None);
        }
        Ok(Some(Box::new(Self {
            request: FieldEdits::new(&unit.request_fields, Side::Request)?,
            response: FieldEdits::new(&unit.response_fields, Side::Response)?,
            redirects: Redirects::new(&unit.redirects)?,
            compression: Compression::new(unit.compression.as_ref()),
            max_request_body: unit.max_request_body,
            max_response_body: unit.max_response_body,
            error_pages: ErrorPages::new(&unit.error_pages)?,
        })))
    }

    /// Changes the fields of a request as the origin gets it.
    pub(crate) fn edit_request(&self, fields: &mut HeaderMap) {
        if let Some(edits) = &self.request {
            edits.apply(fields);
        }
    }

    /// Whether the fields of responses are changed.
    pub(crate) const fn edits_responses(&self) -> bool {
        self.response.is_some()
    }

    /// Changes the fields of a response as the client gets it.
    pub(crate) fn edit_response(&self, fields: &mut HeaderMap) {
        if let Some(edits) = &self.response {
            edits.apply(fields);
        }
    }

    /// As [`Self::edit_response`], for an encoded head: all of `out` from `from` on, its empty line included.
    pub(crate) fn edit_head(&self, out: &mut Vec<u8>, from: usize) {
        if let Some(edits) = &self.response {
            edits.apply_to_head(out, from);
        }
    }

    /// The status and the `Location` of the first redirect that is for this request.
    pub(crate) fn redirect(&self, asked: &Asked<'_>) -> Option<(u16, String)> {
        self.redirects.find(asked)
    }

    /// The page in place of ours for `status`.
    pub(crate) fn page(&self, status: u16, request_id: &str) -> Option<FilledPage<'_>> {
        self.error_pages.fill(status, request_id, false)
    }

    /// The page in place of the origin's content for `status`.
    pub(crate) fn intercept(&self, status: u16, request_id: &str) -> Option<FilledPage<'_>> {
        self.error_pages.fill(status, request_id, true)
    }

    /// Whether a page stands in for the origin's content.
    pub(crate) fn intercepts(&self, status: u16) -> bool {
        self.error_pages.intercepts(status)
    }

    /// Whether a stored response can go out as it is, but for its fields: no page stands in, and it is not too large.
    pub(crate) fn passes(&self, status: u16, length: u64) -> bool {
        !self.intercepts(status) && self.max_response_body.is_none_or(|most| length <= most)
    }
}

/// The reason phrase of a status, or a word that fits.
pub(crate) fn reason(status: u16) -> &'static str {
    let known = StatusCode::from_u16(status).ok();
    known.and_then(|status| status.canonical_reason()).unwrap_or("Error")
}
