//! Pages in place of ours, and where asked for in place of the origin's error content.
//!
//! A page is a text with places to fill. What is filled in is ours (a status, its reason, a request id), and is escaped
//! for HTML all the same: a trusted proxy may choose the id.

use breakwater_snapshot::unit;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{self, HeaderName};

use super::reason;

/// Fields of an origin's response that speak of its content, and go with it.
const OF_CONTENT: [HeaderName; 12] = [
    header::ACCEPT_RANGES,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
];

/// The pages of a route, in order.
pub(super) struct ErrorPages(Vec<ErrorPage>);

struct ErrorPage {
    statuses: Vec<u16>,
    content_type: HeaderValue,
    html: bool,
    parts: Vec<Part>,
    intercept: bool,
}

enum Part {
    Text(String),
    Status,
    Reason,
    RequestId,
}

const PLACES: [(&str, Part); 3] = [
    ("{status}", Part::Status),
    ("{reason}", Part::Reason),
    ("{request_id}", Part::RequestId),
];

/// A page for one answer.
pub(crate) struct FilledPage<'a> {
    pub(crate) content_type: &'a HeaderValue,
    pub(crate) body: Bytes,
}

impl FilledPage<'_> {
    /// Makes the fields of an origin's response those of this page.
    pub(crate) fn replace(&self, fields: &mut http::HeaderMap) {
        for name in &OF_CONTENT {
            fields.remove(name);
        }
        for name in ["content-digest", "repr-digest"] {
            fields.remove(name);
        }
        fields.insert(header::CONTENT_TYPE, self.content_type.clone());
    }
}

impl ErrorPages {
    /// # Errors
    /// What cannot be used, for a person.
    pub(super) fn new(units: &[unit::ErrorPage]) -> Result<Self, String> {
        units.iter().map(ErrorPage::new).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a page stands in for the origin's content.
    pub(super) fn intercepts(&self, status: u16) -> bool {
        self.find(status, true).is_some()
    }

    pub(super) fn fill(&self, status: u16, request_id: &str, intercept: bool) -> Option<FilledPage<'_>> {
        self.find(status, intercept).map(|page| page.fill(status, request_id))
    }

    fn find(&self, status: u16, intercept: bool) -> Option<&ErrorPage> {
        let fits = |page: &&ErrorPage| page.statuses.contains(&status) && (page.intercept || !intercept);
        self.0.iter().find(fits)
    }
}

impl ErrorPage {
    fn new(unit: &unit::ErrorPage) -> Result<Self, String> {
        let kind = &unit.content_type;
        if let Some(status) = unit.statuses.iter().find(|status| !(400..600).contains(*status)) {
            return Err(format!("{status} is not the status of an error"));
        }
        let essence = kind.split(';').next().unwrap_or_default().trim();
        Ok(Self {
            statuses: unit.statuses.clone(),
            content_type: HeaderValue::from_str(kind).map_err(|_| format!("`{kind}` is not a media type"))?,
            html: essence.eq_ignore_ascii_case("text/html") || essence.eq_ignore_ascii_case("application/xhtml+xml"),
            parts: parts(&unit.body),
            intercept: unit.intercept,
        })
    }

    fn fill(&self, status: u16, request_id: &str) -> FilledPage<'_> {
        let mut body = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => body.push_str(text),
                Part::Status => body.push_str(&status.to_string()),
                Part::Reason => self.push(&mut body, reason(status)),
                Part::RequestId => self.push(&mut body, request_id),
            }
        }
        FilledPage {
            content_type: &self.content_type,
            body: body.into(),
        }
    }

    fn push(&self, body: &mut String, value: &str) {
        if !self.html {
            return body.push_str(value);
        }
        for character in value.chars() {
            match character {
                '&' => body.push_str("&amp;"),
                '<' => body.push_str("&lt;"),
                '>' => body.push_str("&gt;"),
                '"' => body.push_str("&quot;"),
                '\'' => body.push_str("&#39;"),
                other => body.push(other),
            }
        }
    }
}

fn parts(mut text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    loop {
        let places = PLACES
            .into_iter()
            .filter_map(|(name, part)| Some((text.find(name)?, name, part)));
        let Some((at, name, part)) = places.min_by_key(|(at, ..)| *at) else {
            break;
        };
        parts.push(Part::Text(text.get(..at).unwrap_or_default().to_owned()));
        parts.push(part);
        text = text.get(at + name.len()..).unwrap_or_default();
    }
    parts.push(Part::Text(text.to_owned()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(content_type: &str, intercept: bool, body: &str) -> unit::ErrorPage {
        unit::ErrorPage {
            statuses: vec![404, 503],
            content_type: content_type.to_owned(),
            body: body.to_owned(),
            intercept,
        }
    }

    fn filled(unit: unit::ErrorPage, id: &str) -> String {
        let pages = ErrorPages::new(&[unit]).unwrap();
        let page = pages.fill(503, id, false).unwrap();
        String::from_utf8(page.body.to_vec()).unwrap()
    }

    #[test]
    fn places_are_filled_as_often_as_they_come() {
        let body = "{status} {status} {reason}: {request_id} {other} {";
        assert_eq!(
            filled(page("text/plain", false, body), "a<b"),
            "503 503 Service Unavailable: a<b {other} {"
        );
    }

    #[test]
    fn html_is_escaped_and_nothing_is_filled_twice() {
        let body = "<p>{request_id}</p>";
        assert_eq!(
            filled(page("text/html; charset=utf-8", false, body), "<\"'&>{status}"),
            "<p>&lt;&quot;&#39;&amp;&gt;{status}</p>"
        );
    }

    #[test]
    fn only_a_page_that_says_so_stands_in_for_the_origin() {
        let pages = ErrorPages::new(&[page("text/plain", false, "ours"), page("text/plain", true, "all")]).unwrap();
        assert_eq!(pages.fill(404, "", false).unwrap().body, "ours");
        assert_eq!(pages.fill(404, "", true).unwrap().body, "all");
        assert!(pages.intercepts(503) && !pages.intercepts(500));
    }

    #[test]
    fn a_content_type_that_is_no_field_and_a_status_that_is_no_error_are_refused() {
        let mut good = page("text/plain", false, "");
        good.statuses.push(204);
        assert!(ErrorPages::new(&[good]).is_err());
        assert!(ErrorPages::new(&[page("a\r\nb", false, "")]).is_err());
    }
}
