//! How much of a request's body the rules of a policy see, by its type.
//!
//! Invariant: a type is what a request says plainly, in one field; one that says it twice, or in another form, is judged
//! as bodies of no known type are.

use breakwater_snapshot::unit;

/// How much of one body is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimit {
    /// Bytes that rules see; 0: none, and nothing is held back.
    pub(crate) inspect: usize,
    /// A longer one is refused.
    pub(crate) reject_larger: bool,
}

impl BodyLimit {
    /// Bytes to read before a request goes on; none: it goes on at once.
    pub(crate) fn wants(self) -> Option<usize> {
        (self.inspect > 0 || self.reject_larger).then_some(self.inspect)
    }
}

/// How much of bodies is inspected.
#[derive(Debug)]
pub(crate) struct BodyLimits {
    /// The first one that has the type counts.
    types: Vec<(Vec<String>, BodyLimit)>,
    otherwise: BodyLimit,
}

impl BodyLimits {
    pub(super) fn new(unit: &unit::Rules) -> Self {
        let limit = |inspect, reject_larger| BodyLimit {
            inspect: usize::try_from(inspect).unwrap_or(usize::MAX),
            reject_larger,
        };
        let types = unit.body_types.iter();
        Self {
            types: types
                .map(|kind| (kind.content_types.clone(), limit(kind.inspect, kind.reject_larger)))
                .collect(),
            otherwise: limit(unit.inspect, unit.reject_larger),
        }
    }

    /// What holds for a request with these `Content-Type` fields.
    pub(crate) fn of<'f>(&self, mut content_types: impl Iterator<Item = &'f [u8]>) -> BodyLimit {
        let known = match (content_types.next(), content_types.next()) {
            _ if self.types.is_empty() => None,
            (Some(one), None) => media_type(one),
            _ => None,
        };
        let found = known.and_then(|media_type| {
            self.types
                .iter()
                .find(|(listed, _)| listed.iter().any(|listed| matches(listed, &media_type)))
        });
        found.map_or(self.otherwise, |(_, limit)| *limit)
    }
}

/// `type/subtype` of a field, in lower case, if it has that form.
fn media_type(field: &[u8]) -> Option<String> {
    let essence = field.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = std::str::from_utf8(essence.trim_ascii()).ok()?;
    let (kind, subtype) = essence.split_once('/')?;
    let is_token = |text: &str| {
        let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
    };
    (is_token(kind) && is_token(subtype)).then(|| essence.to_ascii_lowercase())
}

/// Whether a type is one that is listed, `video/mp4` or `video/*`.
fn matches(listed: &str, media_type: &str) -> bool {
    match listed.strip_suffix('*') {
        Some(prefix) => media_type.starts_with(prefix),
        None => media_type == listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERWISE: usize = 7;

    /// `json`: 1 byte; all of `video`: 0 bytes; `video/mp4`: 2, never reached.
    fn limits() -> BodyLimits {
        let limit = |inspect| BodyLimit {
            inspect,
            reject_larger: false,
        };
        BodyLimits {
            types: [("application/json", 1), ("video/*", 0), ("video/mp4", 2)]
                .map(|(kind, inspect)| (vec![kind.to_owned()], limit(inspect)))
                .into(),
            otherwise: limit(OTHERWISE),
        }
    }

    #[test]
    fn the_first_entry_that_has_the_type_counts() {
        let cases: [(&[&[u8]], usize); 7] = [
            (&[b"application/json"], 1),
            (&[b"Application/JSON ; charset=utf-8"], 1),
            (&[b"video/mp4"], 0),
            (&[b"video/x-anything"], 0),
            (&[b"application/jsonx"], OTHERWISE),
            (&[b"videos/mp4"], OTHERWISE),
            (&[], OTHERWISE),
        ];
        for (fields, inspect) in cases {
            assert_eq!(limits().of(fields.iter().copied()).inspect, inspect, "{fields:?}");
        }
    }

    #[test]
    fn a_type_that_is_not_said_plainly_is_no_known_one() {
        let cases: [&[&[u8]]; 7] = [
            &[b"video/mp4", b"application/x-www-form-urlencoded"],
            &[b"video/mp4, application/x-www-form-urlencoded"],
            &[b"video/mp4 application/x-www-form-urlencoded"],
            &[b"video/"],
            &[b"video"],
            &[b"video/mp\xff4"],
            &[b"video//mp4"],
        ];
        for fields in cases {
            assert_eq!(limits().of(fields.iter().copied()).inspect, OTHERWISE, "{fields:?}");
        }
    }

    #[test]
    fn a_body_is_waited_for_where_it_is_seen_or_may_be_too_long() {
        let limit = |inspect, reject_larger| BodyLimit { inspect, reject_larger };
        assert_eq!(limit(5, false).wants(), Some(5));
        assert_eq!(limit(0, true).wants(), Some(0));
        assert_eq!(limit(0, false).wants(), None);
    }
}
