//! Compression of responses (RFC 9110 section 8.4): which coding a client wants, and what it does to a response.
//!
//! What a client accepts is made one coding, or identity, as soon as the request is routed, and written back as the
//! request's `Accept-Encoding`: cache and origin see nothing else. A response that was, or could have been, compressed
//! varies on that field, so its codings are variants of one key, as `Vary` makes them: what cannot be compressed is
//! stored once for everybody, and a purge, which is of keys and tags, reaches all. A fill compresses before it stores.
//!
//! A part of a compressed response is of no use to who has another part, because the same content may compress to
//! other bytes the next time: requests for ranges are for identity ([`Compression::negotiate`]).

use breakwater_snapshot::unit::{self, Coding};
use breakwater_wire::accept_encoding::choose;
use breakwater_wire::cache_control::CacheControl;
use breakwater_wire::etag::{EntityTag, TagList};
use breakwater_wire::vary::Vary;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

/// What speaks of the bytes as they were.
const OF_BYTES: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

const IDENTITY: &str = "identity";

/// Server-sent events: too small to gain, and every one is waited for. Compressed only where it is named.
const EVENTS: &str = "text/event-stream";

/// How the responses of a route are compressed.
pub(crate) struct Compression {
    codings: Vec<Coding>,
    /// Of `codings`, for the choice.
    names: Vec<&'static str>,
    types: Vec<String>,
    min_size: u64,
}

impl Compression {
    /// None if there is nothing to do.
    pub(super) fn new(unit: Option<&unit::Compression>) -> Option<Self> {
        let unit = unit?;
        let mut codings = unit.codings.clone();
        let mut seen = Vec::new();
        codings.retain(|coding| {
            !seen.contains(coding) && {
                seen.push(*coding);
                true
            }
        });
        (!codings.is_empty() && !unit.types.is_empty()).then(|| Self {
            names: codings.iter().map(|coding| name(*coding)).collect(),
            codings,
            types: unit.types.clone(),
            min_size: unit.min_size,
        })
    }

    /// The coding for a client: its name, as it takes the place of the client's `Accept-Encoding`. None if the request
    /// must be seen without its `Range`, because what `If-Range` asks can be true of two codings: a date says nothing
    /// of bytes.
    pub(crate) fn coding<'v>(
        &self,
        accept: impl IntoIterator<Item = &'v [u8]>,
        range: Option<&[u8]>,
        if_range: Option<&[u8]>,
    ) -> Option<&'static str> {
        let chosen = choose(accept, &self.names).and_then(|at| self.names.get(at).copied());
        match (chosen, range) {
            (Some(_), Some(_)) if if_range.is_some_and(|value| EntityTag::parse(value).is_none()) => None,
            (Some(name), None) => Some(name),
            _ => Some(IDENTITY),
        }
    }

    /// Makes what a client accepts one coding, or identity.
    pub(crate) fn negotiate(&self, fields: &mut HeaderMap) {
        let choice = {
            let accept = fields
                .get_all(header::ACCEPT_ENCODING)
                .iter()
                .map(HeaderValue::as_bytes);
            let value = |name| fields.get(name).map(HeaderValue::as_bytes);
            self.coding(accept, value(header::RANGE), value(header::IF_RANGE))
        };
        let name = choice.unwrap_or_else(|| {
            fields.remove(header::RANGE);
            fields.remove(header::IF_RANGE);
            let accept = fields
                .get_all(header::ACCEPT_ENCODING)
                .iter()
                .map(HeaderValue::as_bytes);
            self.coding(accept, None, None).unwrap_or(IDENTITY)
        });
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(name));
    }

    /// Whether a response to a request with the fields `asked`, negotiated, is to be compressed, and how. Its `Vary`
    /// is completed either way. `length` is that of its content, if it is known.
    pub(super) fn judge(
        &self,
        asked: &HeaderMap,
        status: u16,
        fields: &mut HeaderMap,
        length: Option<u64>,
    ) -> Option<Coding> {
        if status == 304 {
            not_modified(asked, fields);
            return None;
        }
        if is_encoded(fields) {
            vary(fields);
            return None;
        }
        if !self.applies(status, fields, length) {
            return None;
        }
        vary(fields);
        let wanted = asked.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        let at = self.names.iter().position(|name| *name == wanted)?;
        self.codings.get(at).copied()
    }

    fn applies(&self, status: u16, fields: &HeaderMap, length: Option<u64>) -> bool {
        !matches!(status, 100..200 | 204..=206 | 304)
            && length.is_none_or(|length| length > 0 && length >= self.min_size)
            && !fields.contains_key(header::CONTENT_RANGE)
            && fields
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| self.lists(kind.as_bytes()))
            && !forbidden(fields)
    }

    fn lists(&self, kind: &[u8]) -> bool {
        let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.types.iter().any(|listed| match listed.strip_suffix('*') {
            Some(start) => {
                let same = essence
                    .get(..start.len())
                    .is_some_and(|part| part.eq_ignore_ascii_case(start.as_bytes()));
                same && !essence.eq_ignore_ascii_case(EVENTS.as_bytes())
            }
            None => essence.eq_ignore_ascii_case(listed.as_bytes()),
        })
    }
}

/// The fields of a response that is compressed.
pub(super) fn encoded(fields: &mut HeaderMap, coding: Coding) {
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name(coding)));
    for name in &OF_BYTES {
        fields.remove(name);
    }
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    weaken(fields);
}

/// A 304 of the origin that confirms a stored response, which was compressed if its tag is weak, speaks of the origin's
/// bytes: its fields are made those of ours.
pub(crate) fn confirms(stored_tag: Option<&[u8]>, varies: bool, fields: &mut HeaderMap) {
    if stored_tag.and_then(EntityTag::parse).is_some_and(|tag| tag.weak) {
        weaken(fields);
        fields.remove(header::ACCEPT_RANGES);
        for name in &OF_BYTES {
            fields.remove(name);
        }
    }
    if varies && fields.contains_key(header::VARY) {
        vary(fields);
    }
}

/// A 304 to a client's own condition: the tag of what it has, which is weak if we compressed it.
fn not_modified(asked: &HeaderMap, fields: &mut HeaderMap) {
    let tag = fields.get(header::ETAG).cloned();
    let Some(tag) = tag.as_ref().and_then(|value| EntityTag::parse(value.as_bytes())) else {
        return;
    };
    let mut conditions = asked.get_all(header::IF_NONE_MATCH).iter();
    let has_weak = |value: &HeaderValue| match TagList::parse(value.as_bytes()) {
        TagList::Any => false,
        list => list.any(|other| other.weak && other.opaque == tag.opaque),
    };
    if conditions.any(has_weak) {
        weaken(fields);
    }
}

/// Makes the entity tag weak: the same content in other bytes (RFC 9110 section 8.8.1).
fn weaken(fields: &mut HeaderMap) {
    let strong = fields
        .get(header::ETAG)
        .filter(|value| value.as_bytes().starts_with(b"\""));
    let weak = strong.and_then(|value| HeaderValue::from_bytes(&[b"W/", value.as_bytes()].concat()).ok());
    if let Some(weak) = weak {
        fields.insert(header::ETAG, weak);
    }
}

/// Completes `Vary`.
fn vary(fields: &mut HeaderMap) {
    let varies = match Vary::parse(fields.get_all(header::VARY).iter().map(HeaderValue::as_bytes)) {
        Vary::Star => true,
        Vary::Names(names) => names.iter().any(|name| name == header::ACCEPT_ENCODING.as_str()),
    };
    if !varies {
        fields.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

fn is_encoded(fields: &HeaderMap) -> bool {
    let codings = fields.get_all(header::CONTENT_ENCODING).iter();
    codings
        .map(|value| value.as_bytes().trim_ascii())
        .any(|value| !value.is_empty() && !value.eq_ignore_ascii_case(IDENTITY.as_bytes()))
}

fn forbidden(fields: &HeaderMap) -> bool {
    let lines = fields.get_all(header::CACHE_CONTROL).iter().map(HeaderValue::as_bytes);
    fields.contains_key(header::CACHE_CONTROL) && CacheControl::parse(lines).no_transform
}

const fn name(coding: Coding) -> &'static str {
    match coding {
        Coding::Zstd => "zstd",
        Coding::Brotli => "br",
        Coding::Gzip => "gzip",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compression(types: &[&str]) -> Compression {
        let unit = unit::Compression {
            codings: vec![Coding::Brotli, Coding::Gzip, Coding::Brotli],
            types: types.iter().map(|kind| (*kind).to_owned()).collect(),
            min_size: 100,
        };
        Compression::new(Some(&unit)).unwrap()
    }

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, value.parse().unwrap());
        }
        fields
    }

    fn negotiated(lines: &[(&'static str, &str)]) -> (String, bool) {
        let mut fields = map(lines);
        compression(&["text/*"]).negotiate(&mut fields);
        assert_eq!(fields.get_all("accept-encoding").iter().count(), 1);
        let coding = fields["accept-encoding"].to_str().unwrap().to_owned();
        (coding, fields.contains_key("range"))
    }

    #[test]
    fn what_a_client_accepts_becomes_one_coding() {
        assert_eq!(negotiated(&[("accept-encoding", "gzip, deflate, br, zstd")]).0, "br");
        assert_eq!(
            negotiated(&[("accept-encoding", "gzip"), ("accept-encoding", "zstd")]).0,
            "gzip"
        );
        assert_eq!(negotiated(&[("accept-encoding", "zstd")]).0, "identity");
        assert_eq!(negotiated(&[]).0, "identity");
    }

    #[test]
    fn a_range_is_of_identity_unless_a_date_has_to_tell_one_coding_from_another() {
        let br = ("accept-encoding", "br");
        let range = ("range", "bytes=5-");
        assert_eq!(negotiated(&[br, range]), ("identity".to_owned(), true));
        assert_eq!(
            negotiated(&[br, range, ("if-range", "\"1\"")]),
            ("identity".to_owned(), true)
        );
        let date = ("if-range", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(negotiated(&[br, range, date]), ("br".to_owned(), false));
        assert_eq!(
            negotiated(&[range, date]),
            ("identity".to_owned(), true),
            "it never had anything else"
        );
    }

    fn judged(status: u16, fields: &[(&'static str, &str)], length: Option<u64>) -> (Option<Coding>, bool) {
        let mut fields = map(fields);
        let coding = compression(&["text/*", "application/json"]).judge(
            &map(&[("accept-encoding", "br")]),
            status,
            &mut fields,
            length,
        );
        (coding, fields.contains_key("vary"))
    }

    #[test]
    fn a_response_of_a_listed_type_that_is_large_enough_is_compressed() {
        let html = ("content-type", "Text/HTML; charset=utf-8");
        for length in [None, Some(100)] {
            assert_eq!(judged(200, &[html], length), (Some(Coding::Brotli), true));
        }
        assert_eq!(judged(404, &[html], None), (Some(Coding::Brotli), true));
        assert_eq!(
            judged(200, &[("content-type", "application/json")], None),
            (Some(Coding::Brotli), true)
        );
        assert_eq!(
            judged(200, &[html, ("content-encoding", "identity")], None),
            (Some(Coding::Brotli), true)
        );
    }

    #[test]
    fn others_go_as_they_are_and_do_not_vary() {
        let html = ("content-type", "text/html");
        assert_eq!(judged(200, &[html], Some(99)), (None, false));
        assert_eq!(judged(200, &[("content-type", "image/png")], None), (None, false));
        assert_eq!(
            judged(200, &[("content-type", "text/event-stream")], None),
            (None, false)
        );
        assert_eq!(judged(200, &[], None), (None, false));
        assert_eq!(
            judged(200, &[html, ("cache-control", "public, no-transform")], None),
            (None, false)
        );
        for status in [204, 205, 206, 304] {
            assert_eq!(judged(status, &[html], None), (None, false), "{status}");
        }
        assert_eq!(
            judged(200, &[html, ("content-range", "bytes 0-1/2")], None),
            (None, false)
        );
    }

    #[test]
    fn what_the_origin_encoded_varies_even_if_it_forgot_to_say_so() {
        let html = ("content-type", "text/html");
        assert_eq!(judged(200, &[html, ("content-encoding", "gzip")], None), (None, true));
    }

    #[test]
    fn a_type_that_is_named_is_compressed_even_if_a_star_leaves_it_out() {
        let fields = |kind| map(&[("content-type", kind)]);
        assert!(compression(&[EVENTS]).applies(200, &fields(EVENTS), None));
        assert!(!compression(&["text/html"]).applies(200, &fields("text/html5"), None));
    }

    #[test]
    fn vary_names_the_field_once() {
        for (before, after) in [
            (&[][..], 1),
            (&["Cookie"], 2),
            (&["accept-ENCODING, cookie"], 1),
            (&["*"], 1),
        ] {
            let mut fields = HeaderMap::new();
            for line in before {
                fields.append(header::VARY, line.parse().unwrap());
            }
            vary(&mut fields);
            assert_eq!(fields.get_all(header::VARY).iter().count(), after, "{before:?}");
        }
    }

    #[test]
    fn the_fields_of_a_compressed_response_speak_of_it() {
        let mut fields = map(&[
            ("content-length", "5"),
            ("content-md5", "x"),
            ("content-digest", "x"),
            ("accept-ranges", "bytes"),
            ("etag", "\"1\""),
        ]);
        encoded(&mut fields, Coding::Gzip);
        let left = map(&[
            ("content-encoding", "gzip"),
            ("accept-ranges", "none"),
            ("etag", "W/\"1\""),
        ]);
        assert_eq!(fields, left);
        encoded(&mut fields, Coding::Gzip);
        assert_eq!(fields, left, "a weak tag stays as it is");
    }

    #[test]
    fn a_304_has_the_tag_of_what_the_client_has() {
        let tag = |condition| {
            let mut fields = map(&[("etag", "\"1\"")]);
            not_modified(&map(&[("if-none-match", condition)]), &mut fields);
            fields["etag"].to_str().unwrap().to_owned()
        };
        assert_eq!(tag("W/\"0\", W/\"1\""), "W/\"1\"");
        assert_eq!(tag("\"1\""), "\"1\"");
        assert_eq!(tag("*"), "\"1\"");
    }

    #[test]
    fn a_304_of_the_origin_does_not_make_a_compressed_response_what_it_is_not() {
        let from = [("etag", "\"1\""), ("accept-ranges", "bytes"), ("vary", "Cookie")];
        let mut fields = map(&from);
        confirms(Some(b"W/\"1\""), true, &mut fields);
        assert_eq!(fields["etag"], "W/\"1\"");
        assert!(!fields.contains_key("accept-ranges"));
        assert_eq!(fields.get_all("vary").iter().count(), 2);
        let mut fields = map(&from);
        confirms(Some(b"\"1\""), false, &mut fields);
        assert_eq!(fields, map(&from));
        let mut fields = map(&[]);
        confirms(None, true, &mut fields);
        assert!(fields.is_empty(), "the stored `Vary` stays");
    }
}
