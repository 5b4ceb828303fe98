//! Preconditions of a request against a stored response (RFC 9110 section 13.2).
//!
//! Range and If-Range are in [`crate::range`].

use http::{HeaderMap, HeaderName};

use crate::etag::{EntityTag, TagList};
use crate::http_date;
use crate::http1::RequestHead;

/// The precondition fields of a request. Where a field came on several lines the caller joins them: see
/// [`join_lines`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Preconditions<'v> {
    /// `If-Match`.
    pub if_match: Option<&'v [u8]>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'v [u8]>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'v [u8]>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'v [u8]>,
}

impl<'v> From<&RequestHead<'v>> for Preconditions<'v> {
    fn from(head: &RequestHead<'v>) -> Self {
        Self {
            if_match: head.if_match,
            if_none_match: head.if_none_match,
            if_modified_since: head.if_modified_since,
            if_unmodified_since: head.if_unmodified_since,
        }
    }
}

impl Preconditions<'_> {
    /// The request has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none()
            && self.if_none_match.is_none()
            && self.if_modified_since.is_none()
            && self.if_unmodified_since.is_none()
    }
}

/// What a stored response offers to compare with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'v> {
    /// ETag as stored.
    pub etag: Option<&'v [u8]>,
    /// Last-Modified as stored.
    pub last_modified: Option<&'v [u8]>,
    /// Used where there is no usable Last-Modified: Date or the time of reception (RFC 9111 section 4.3.2).
    pub date: Option<u64>,
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As if the request had no preconditions.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates in the order of RFC 9110 section 13.2.2. For methods other than GET and HEAD a failing
/// If-None-Match is 412 and If-Modified-Since is ignored. `now` is unix seconds.
#[must_use]
pub fn evaluate(method: &str, preconditions: &Preconditions<'_>, stored: &Validators<'_>, now: u64) -> Outcome {
    let reads = matches!(method, "GET" | "HEAD");
    let etag = stored.etag.and_then(EntityTag::parse);
    let modified = stored
        .last_modified
        .and_then(|value| http_date::parse(value, now))
        .or(stored.date);
    if let Some(list) = preconditions.if_match {
        if !TagList::parse(list).any(|tag| etag.is_some_and(|etag| etag.strong_eq(tag))) {
            return Outcome::PreconditionFailed;
        }
    } else if let Some(since) = preconditions
        .if_unmodified_since
        .and_then(|value| http_date::parse(value, now))
        && modified.is_some_and(|modified| modified > since)
    {
        return Outcome::PreconditionFailed;
    }
    if let Some(list) = preconditions.if_none_match {
        let found = TagList::parse(list).any(|tag| etag.is_some_and(|etag| etag.weak_eq(tag)));
        return match (found, reads) {
            (false, _) => Outcome::Proceed,
            (true, true) => Outcome::NotModified,
            (true, false) => Outcome::PreconditionFailed,
        };
    }
    let since = preconditions
        .if_modified_since
        .filter(|_| reads)
        .and_then(|value| http_date::parse(value, now));
    match (since, modified) {
        (Some(since), Some(modified)) if modified <= since => Outcome::NotModified,
        _ => Outcome::Proceed,
    }
}

/// All lines of a list field as one value, joined with `, `. `None` if there is none.
#[must_use]
pub fn join_lines(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: &[u8] = b"Sun, 06 Nov 1994 08:49:36 GMT";
    const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const DATE_850: &[u8] = b"Sunday, 06-Nov-94 08:49:37 GMT";
    const NOW: u64 = 1_800_000_000;

    fn stored() -> Validators<'static> {
        Validators {
            etag: Some(b"\"a\""),
            last_modified: Some(DATE),
            date: None,
        }
    }

    fn get(preconditions: Preconditions<'static>) -> Outcome {
        evaluate("GET", &preconditions, &stored(), NOW)
    }

    #[test]
    fn if_none_match_compares_weakly_and_wins_over_if_modified_since() {
        let inm = |value: &'static [u8]| Preconditions {
            if_none_match: Some(value),
            ..Default::default()
        };
        assert_eq!(get(inm(b"\"x\", W/\"a\"")), Outcome::NotModified);
        assert_eq!(get(inm(b"*")), Outcome::NotModified);
        assert_eq!(get(inm(b"\"x\"")), Outcome::Proceed);
        assert_eq!(get(inm(b"a")), Outcome::Proceed);
        assert_eq!(
            get(Preconditions {
                if_modified_since: Some(DATE),
                ..inm(b"\"x\"")
            }),
            Outcome::Proceed
        );
        assert_eq!(
            evaluate("PUT", &inm(b"\"a\""), &stored(), NOW),
            Outcome::PreconditionFailed
        );
    }

    #[test]
    fn if_modified_since_is_not_modified_at_the_same_second() {
        let ims = |value: &'static [u8]| Preconditions {
            if_modified_since: Some(value),
            ..Default::default()
        };
        assert_eq!(get(ims(DATE)), Outcome::NotModified);
        assert_eq!(get(ims(DATE_850)), Outcome::NotModified);
        assert_eq!(get(ims(EARLY)), Outcome::Proceed);
        assert_eq!(get(ims(b"garbage")), Outcome::Proceed);
        assert_eq!(evaluate("POST", &ims(DATE), &stored(), NOW), Outcome::Proceed);
        let undated = Validators {
            date: Some(784_111_777),
            ..Default::default()
        };
        assert_eq!(evaluate("GET", &ims(DATE), &undated, NOW), Outcome::NotModified);
        assert_eq!(
            evaluate("GET", &ims(DATE), &Validators::default(), NOW),
            Outcome::Proceed
        );
    }

    #[test]
    fn if_match_compares_strongly_and_wins_over_if_unmodified_since() {
        let im = |value: &'static [u8]| Preconditions {
            if_match: Some(value),
            ..Default::default()
        };
        assert_eq!(get(im(b"\"a\"")), Outcome::Proceed);
        assert_eq!(get(im(b"W/\"a\"")), Outcome::PreconditionFailed);
        assert_eq!(
            get(Preconditions {
                if_unmodified_since: Some(EARLY),
                ..im(b"\"a\"")
            }),
            Outcome::Proceed
        );
        assert_eq!(
            get(Preconditions {
                if_unmodified_since: Some(EARLY),
                ..Default::default()
            }),
            Outcome::PreconditionFailed
        );
        assert_eq!(
            get(Preconditions {
                if_unmodified_since: Some(DATE),
                ..Default::default()
            }),
            Outcome::Proceed
        );
    }
}
