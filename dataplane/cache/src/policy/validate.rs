//! Asking the origin whether a stored response still holds (RFC 9111 section 4.3).

use breakwater_wire::etag::EntityTag;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::head;
use crate::object::Object;
use crate::time::Timestamp;

/// Fields of the stored response that a 304 does not replace: they describe the stored content as it is (RFC 9111
/// section 3.2).
const KEPT: [HeaderName; 8] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::ETAG,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// The client's own conditions, which a validation of ours replaces.
const CONDITIONS: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];

/// What no origin calls its content. Parts without a strong tag cannot be joined (RFC 9110 section 15.3.7.3), so an
/// origin that looks at `If-Range` sends the whole at once.
const NO_TAG: HeaderValue = HeaderValue::from_static("\"breakwater-has-none\"");

/// The 304 is about another representation than the stored one, which therefore is not confirmed: fetch again
/// without conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the 304 has another entity tag than the stored response")]
pub struct Mismatch;

/// Whether there is anything to validate `object` with.
pub fn can_validate(object: &Object) -> bool {
    object.meta.etag.is_some() || object.meta.last_modified.is_some()
}

/// Makes a request to the origin one for the whole response, without the client's conditions.
pub fn unconditional(request: &mut HeaderMap) {
    for name in &CONDITIONS {
        request.remove(name);
    }
}

/// Makes a request to the origin conditional on `object` being out of date, in place of the client's conditions.
pub fn conditional(request: &mut HeaderMap, object: &Object) {
    unconditional(request);
    let fields = [
        (header::IF_NONE_MATCH, object.meta.etag.as_ref()),
        (
            header::IF_MODIFIED_SINCE,
            object.meta.last_modified.as_ref().map(|modified| &modified.text),
        ),
    ];
    for (name, value) in fields {
        if let Some(value) = value.and_then(|value| HeaderValue::from_maybe_shared(value.clone()).ok()) {
            request.insert(name, value);
        }
    }
}

/// Makes a request to the origin one for the content of `object` from byte `first` on, up to `last` if that is given, in
/// place of the client's conditions: of what has the same strong tag, or else for the whole.
pub fn rest(request: &mut HeaderMap, object: &Object, first: u64, last: Option<u64>) {
    unconditional(request);
    let last = last.map_or_else(String::new, |last| last.to_string());
    let Ok(range) = HeaderValue::try_from(format!("bytes={first}-{last}")) else {
        return;
    };
    let tag = object.meta.strong_tag();
    let tag = tag.and_then(|tag| HeaderValue::from_bytes(tag).ok());
    request.insert(header::RANGE, range);
    request.insert(header::IF_RANGE, tag.unwrap_or(NO_TAG));
}

/// Whether a 200 with these fields, as a HEAD brings it, is about the stored response: no validator or length that it has
/// is another (RFC 9111 section 4.3.5).
pub fn is_same(object: &Object, fields: &HeaderMap) -> bool {
    let same = |name: &HeaderName, ours: Option<&[u8]>| {
        let theirs = fields.get(name).map(HeaderValue::as_bytes);
        theirs.is_none_or(|theirs| ours == Some(theirs))
    };
    let length = object.body.len().to_string();
    let last_modified = object.meta.last_modified.as_ref().map(|modified| &modified.text[..]);
    same(&header::ETAG, object.meta.etag.as_deref())
        && same(&header::LAST_MODIFIED, last_modified)
        && same(&header::CONTENT_LENGTH, Some(length.as_bytes()))
}

/// The stored fields as a 304 that was received at `received` changes them.
///
/// # Errors
/// [`Mismatch`]: the 304's entity tag is not the stored one, and the date we asked with besides may be what the origin
/// judged by (section 4.3.4). Where the tag was all we asked with, the 304 can only mean that one.
pub fn update(object: &Object, not_modified: &HeaderMap, received: Timestamp) -> Result<HeaderMap, Mismatch> {
    let tag = |value: &'_ [u8]| EntityTag::parse(value).map(|tag| (tag.weak, tag.opaque.to_vec()));
    let theirs = not_modified.get(header::ETAG).and_then(|value| tag(value.as_bytes()));
    let ours = object.meta.etag.as_deref().and_then(tag);
    if let (Some((_, theirs)), Some((_, ours))) = (theirs, ours)
        && theirs != ours
        && object.meta.last_modified.is_some()
    {
        return Err(Mismatch);
    }
    let mut news = not_modified.clone();
    head::strip(&mut news);
    let mut fields = object.fields();
    for name in &KEPT {
        // One that was not there says more than there was.
        if *name != header::ETAG || fields.contains_key(name) {
            news.remove(name);
        }
    }
    // A date is a 304's own.
    head::date(&mut news, received);
    for name in news.keys() {
        fields.remove(name);
    }
    for (name, value) in &news {
        fields.append(name, value.clone());
    }
    Ok(fields)
}
