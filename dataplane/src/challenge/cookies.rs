//! What `Cookie` fields say without the cookies of challenges: those are for this proxy, and no origin gets them.
//!
//! Invariant: every other pair is left as it came, byte for byte and in its place. A pair goes with the `;` in front of
//! it, the first with the one behind it; a field with nothing left goes whole.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};

/// The cookies of the challenges of a resource.
#[derive(Debug, Default)]
pub(crate) struct Cookies(Box<[String]>);

impl Cookies {
    /// Those of these names.
    pub(crate) fn new(names: impl Iterator<Item = String>) -> Self {
        Self(names.collect())
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a `Cookie` field without them; none when nothing is left.
    pub(crate) fn without<'v>(&self, value: &'v [u8]) -> Option<Cow<'v, [u8]>> {
        if !self.are_in(value) {
            return Some(Cow::Borrowed(value));
        }
        let mut left = Vec::with_capacity(value.len());
        let mut pairs = pairs(value).enumerate().filter(|(_, pair)| !self.is_one(pair));
        if let Some((place, first)) = pairs.next() {
            left.extend_from_slice(if place == 0 { first } else { first.trim_ascii_start() });
        }
        for (_, pair) in pairs {
            left.push(b';');
            left.extend_from_slice(pair);
        }
        (!left.is_empty()).then_some(Cow::Owned(left))
    }

    /// Takes them out of a request's fields.
    pub(crate) fn strip(&self, fields: &mut HeaderMap) {
        let mut lines = fields.get_all(header::COOKIE).iter();
        if self.is_empty() || !lines.any(|line| self.are_in(line.as_bytes())) {
            return;
        }
        let left: Vec<_> = fields
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| HeaderValue::from_bytes(&self.without(line.as_bytes())?).ok())
            .collect();
        fields.remove(header::COOKIE);
        for line in left {
            fields.append(header::COOKIE, line);
        }
    }

    fn are_in(&self, value: &[u8]) -> bool {
        pairs(value).any(|pair| self.is_one(pair))
    }

    fn is_one(&self, pair: &[u8]) -> bool {
        let pair = pair.trim_ascii_start();
        let named = |name: &String| {
            pair.strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"="))
        };
        self.0.iter().any(named)
    }
}

fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b';')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies() -> Cookies {
        Cookies::new(["bw_1", "bw_2"].map(str::to_owned).into_iter())
    }

    #[test]
    fn one_pair_goes_and_the_rest_stays_as_it_came() {
        for (value, left) in [
            ("bw_1=x", None),
            ("bw_1=x;", None),
            (" bw_1=x; bw_2=y", None),
            ("a=b", Some("a=b")),
            ("a=b; bw_1=x", Some("a=b")),
            ("bw_1=x; a=b", Some("a=b")),
            ("a=b;bw_1=x;  c=\"d\"; e;", Some("a=b;  c=\"d\"; e;")),
            (
                "a=bw_1=x; bw_1; bw_11=2; xbw_1=3",
                Some("a=bw_1=x; bw_1; bw_11=2; xbw_1=3"),
            ),
            ("bw_1=; bw_2=; a=\u{e9}; bw_1=2", Some("a=\u{e9}")),
            ("; ;a=b; bw_2=x", Some("; ;a=b")),
            ("", Some("")),
        ] {
            let found = cookies().without(value.as_bytes());
            assert_eq!(found.as_deref(), left.map(str::as_bytes), "{value:?}");
            let unchanged = Some(value) == left;
            assert_eq!(matches!(found, Some(Cow::Borrowed(_))), unchanged, "{value:?}");
        }
    }

    #[test]
    fn whatever_is_sent_every_other_pair_is_left_and_none_of_these() {
        let pieces = [";", " ", "=", "a=b", "bw_1=", "bw_2=x", "bw_", "1", "\"", "\t"];
        let mut random = fastrand::Rng::with_seed(7);
        let cookies = cookies();
        let others = |value: &[u8]| -> Vec<Vec<u8>> {
            let others = pairs(value).filter(|pair| !cookies.is_one(pair));
            others.map(|pair| pair.trim_ascii().to_vec()).collect()
        };
        for _ in 0..20_000 {
            let count = random.usize(0..12);
            let value: String = (0..count).map(|_| pieces[random.usize(..pieces.len())]).collect();
            let left = cookies.without(value.as_bytes());
            let left = left.as_deref().unwrap_or_default();
            assert!(!cookies.are_in(left), "{value:?}");
            let (mut before, mut after) = (others(value.as_bytes()), others(left));
            before.retain(|pair| !pair.is_empty());
            after.retain(|pair| !pair.is_empty());
            assert_eq!(before, after, "{value:?}");
        }
    }

    #[test]
    fn of_several_fields_those_with_nothing_left_go() {
        let mut fields = HeaderMap::new();
        for line in ["a=b", "bw_1=x", "c=d; bw_2=y"] {
            fields.append(header::COOKIE, HeaderValue::from_static(line));
        }
        Cookies::default().strip(&mut fields);
        assert_eq!(fields.get_all(header::COOKIE).iter().count(), 3);
        cookies().strip(&mut fields);
        let left: Vec<_> = fields.get_all(header::COOKIE).iter().collect();
        assert_eq!(left, ["a=b", "c=d"]);
    }
}
