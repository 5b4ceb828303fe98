//! Which of several stored responses a request selects (RFC 9111 section 4.1).
//!
//! A response's `Vary` makes a [`Rule`]; the request's values of the named fields make a [`Fingerprint`] under
//! it. Invariant: equal fingerprints mean that the values match after normalisation: lines joined, blanks around
//! list members dropped, `Accept-Language` and `Accept-Encoding` as sets without regard to case. An absent field matches only an absent
//! one. Nothing is allocated to compute one, except for languages.
//!
//! A response in the one language that a request wants most is selected too, whatever else the two requests accept.

use std::hash::Hasher;
use std::sync::Arc;

use breakwater_wire::accept_encoding;
use breakwater_wire::http1::RequestHead;
use breakwater_wire::vary::{self, Vary, normalize_value};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::key::{Key, Keyer};

/// Calls its second argument with each line's value of the named request field, in order.
///
/// The hit path has no header map: its owner looks the name up in what it parsed.
pub type FieldValues<'a> = dyn Fn(&HeaderName, &mut dyn FnMut(&[u8])) + 'a;

/// Fields that the origin gets from us and not from the client, whose values are in every key.
const IN_THE_KEY: [&str; 3] = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port"];

/// Fields that the origin gets from us and not from the client, whose values no request of another client has.
const OF_ONE_CLIENT: [&str; 2] = ["x-forwarded-for", "forwarded"];

/// The fields that select among the responses of one key. Empty: all requests match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule(Option<Arc<[HeaderName]>>);

/// The normalised values of a rule's fields in one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

/// A `Vary` that no request matches: it has `*`, what is no field name, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaryError;

impl Rule {
    /// From a response's `Vary` lines; `*` anywhere among them counts.
    pub fn from_response(fields: &HeaderMap) -> Result<Self, VaryError> {
        match Vary::parse(fields.get_all(header::VARY).iter().map(HeaderValue::as_bytes)) {
            Vary::Star => Err(VaryError),
            Vary::Names(names) => {
                let names: Result<Vec<_>, _> = names
                    .iter()
                    .filter(|name| !IN_THE_KEY.iter().any(|known| name.eq_ignore_ascii_case(known)))
                    .map(|name| HeaderName::from_bytes(name.as_bytes()))
                    .collect();
                let names = names.map_err(|_| VaryError)?;
                if names.iter().any(|name| OF_ONE_CLIENT.contains(&name.as_str())) {
                    return Err(VaryError);
                }
                Ok(Self((!names.is_empty()).then(|| names.into())))
            }
        }
    }

    /// From the names of a rule that was made before, in their order.
    pub(crate) fn from_names(names: Vec<HeaderName>) -> Self {
        Self((!names.is_empty()).then(|| names.into()))
    }

    /// Whether every request matches.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> &[HeaderName] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The request's values under this rule.
    pub fn fingerprint(&self, keyer: &Keyer, values: &FieldValues<'_>) -> Fingerprint {
        if self.is_empty() {
            return Fingerprint(0);
        }
        self.print(keyer, values, None)
    }

    /// As [`Self::fingerprint`], with the language the request wants most, or the one that a response is in, in place of all
    /// that a request accepts. `None` if the rule is not about languages.
    pub fn fingerprint_in(&self, keyer: &Keyer, values: &FieldValues<'_>, language: &[u8]) -> Option<Fingerprint> {
        let concerned = self.names().contains(&header::ACCEPT_LANGUAGE);
        concerned.then(|| self.print(keyer, values, Some(language)))
    }

    fn print(&self, keyer: &Keyer, values: &FieldValues<'_>, language: Option<&[u8]>) -> Fingerprint {
        let mut hasher = keyer.hasher(if language.is_some() { b'l' } else { b'v' });
        for name in self.names() {
            hasher.write_u8(0);
            hasher.write(name.as_str().as_bytes());
            hasher.write_u8(0);
            if name == header::ACCEPT_LANGUAGE {
                match language {
                    Some(language) => hasher.write(language),
                    None => hash_languages(&mut hasher, values),
                }
            } else if name == header::ACCEPT_ENCODING {
                hash_codings(&mut hasher, keyer, values);
            } else {
                hash_list(&mut hasher, name, values);
            }
        }
        Fingerprint(hasher.finish128().as_u128())
    }
}

impl Fingerprint {
    /// The key under which requests with these values wait for one fill.
    pub fn fill_key(self, key: Key) -> Key {
        Key(key.0 ^ self.0)
    }

    pub(crate) const fn to_bits(self) -> u128 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

/// Gives a header map's values, for requests that have one.
#[expect(clippy::type_complexity, reason = "the closure form of `FieldValues`")]
pub fn values_of(fields: &HeaderMap) -> impl Fn(&HeaderName, &mut dyn FnMut(&[u8])) + '_ {
    move |name, give| fields.get_all(name).iter().for_each(|value| give(value.as_bytes()))
}

/// Gives the values of a parsed head, for the hit path.
#[expect(clippy::type_complexity, reason = "the closure form of `FieldValues`")]
pub fn values_of_head<'a>(head: &'a RequestHead<'_>) -> impl Fn(&HeaderName, &mut dyn FnMut(&[u8])) + 'a {
    move |name, give| {
        let lines = head
            .fields()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_str()));
        lines.for_each(|(_, value)| give(value));
    }
}

/// The language that a request wants more than every other, in lower case.
pub fn most_wanted_language(values: &FieldValues<'_>) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    values(&header::ACCEPT_LANGUAGE, &mut |line| lines.push(line.to_vec()));
    vary::most_wanted_language(lines.iter().map(Vec::as_slice))
}

/// The one language that a response says it is in, in lower case.
pub fn language_of(fields: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = fields.get_all(header::CONTENT_LANGUAGE).iter();
    let language = lines.next()?.as_bytes().trim_ascii().to_ascii_lowercase();
    let one = lines.next().is_none() && !language.is_empty() && !language.contains(&b',');
    one.then_some(language)
}

/// Hashes the members of all lines, in order.
fn hash_list(hasher: &mut SipHasher13, name: &HeaderName, values: &FieldValues<'_>) {
    let mut present = false;
    values(name, &mut |line| {
        present = true;
        each_member(line, |member| {
            hasher.write(member);
            hasher.write_u8(b',');
        });
    });
    hasher.write_u8(u8::from(present));
}

/// Hashes a set of codings and weights: neither order nor case counts. A sum of what each member hashes to, so that nothing
/// is allocated: most responses that vary, vary on this.
fn hash_codings(hasher: &mut SipHasher13, keyer: &Keyer, values: &FieldValues<'_>) {
    let (mut present, mut sum) = (false, 0_u64);
    values(&header::ACCEPT_ENCODING, &mut |line| {
        present = true;
        for member in line
            .split(|b| *b == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
        {
            let mut one = keyer.hasher(b'c');
            match accept_encoding::weighted(member) {
                Some((coding, weight)) => {
                    coding.iter().for_each(|byte| one.write_u8(byte.to_ascii_lowercase()));
                    one.write_u16(weight);
                }
                None => one.write(member),
            }
            sum = sum.wrapping_add(one.finish());
        }
    });
    hasher.write_u64(sum);
    hasher.write_u8(u8::from(present));
}

/// Hashes a set of languages and weights, in a form in which neither order nor case counts.
fn hash_languages(hasher: &mut SipHasher13, values: &FieldValues<'_>) {
    let mut lines = Vec::new();
    values(&header::ACCEPT_LANGUAGE, &mut |line| lines.push(line.to_vec()));
    let form = normalize_value(header::ACCEPT_LANGUAGE.as_str(), lines.iter().map(Vec::as_slice));
    hasher.write(form.as_deref().unwrap_or_default());
    hasher.write_u8(u8::from(form.is_some()));
}

/// Splits at commas outside quoted strings; gives members without the blanks around them.
fn each_member(line: &[u8], mut give: impl FnMut(&[u8])) {
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (i, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                give(line[start..i].trim_ascii());
                start = i + 1;
            }
            _ => {}
        }
    }
    give(line[start..].trim_ascii());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(lines: &[&str]) -> Result<Rule, VaryError> {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(header::VARY, line.parse().unwrap());
        }
        Rule::from_response(&fields)
    }

    fn print(vary: &str, request: &[(&str, &str)]) -> Fingerprint {
        let mut fields = HeaderMap::new();
        for (name, value) in request {
            fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        rule(&[vary]).unwrap().fingerprint(&Keyer::new(1), &values_of(&fields))
    }

    #[test]
    fn fields_that_the_origin_gets_from_us_are_in_the_key_or_make_a_response_one_clients() {
        assert_eq!(rule(&["X-Forwarded-Proto, x-forwarded-host"]), Ok(Rule::default()));
        for vary in ["X-Forwarded-For", "Accept-Encoding, Forwarded"] {
            assert_eq!(rule(&[vary]), Err(VaryError), "{vary}");
        }
    }

    #[test]
    fn a_star_counts_wherever_it_stands() {
        for lines in [
            &["*"][..],
            &["*, *"],
            &["*", "*"],
            &["", "*"],
            &["foo, *"],
            &["*, foo"],
            &[", *"],
        ] {
            assert_eq!(rule(lines), Err(VaryError), "{lines:?}");
        }
    }

    #[test]
    fn names_are_a_set_without_regard_to_case() {
        assert_eq!(rule(&["Foo, bar", "BAR"]), rule(&["bar,foo"]));
        assert!(rule(&[""]).unwrap().is_empty());
        assert_eq!(rule(&["f oo"]), Err(VaryError));
        let many = (0..=vary::MAX_NAMES)
            .map(|i| format!("x{i}"))
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(rule(&[&many]), Err(VaryError));
    }

    #[test]
    fn equal_values_match_and_different_or_absent_ones_do_not() {
        assert_eq!(
            print("foo", &[("foo", "1")]),
            print("foo", &[("foo", "1"), ("other", "2")])
        );
        assert_ne!(print("foo", &[("foo", "1")]), print("foo", &[("foo", "2")]));
        assert_ne!(print("foo", &[("foo", "")]), print("foo", &[]));
        assert_ne!(
            print("foo, bar", &[("foo", "1"), ("bar", "2")]),
            print("foo, bar", &[("foo", "2"), ("bar", "1")])
        );
    }

    #[test]
    fn lines_are_joined_and_blanks_around_members_dropped() {
        assert_eq!(
            print("foo", &[("foo", "1, 2")]),
            print("foo", &[("foo", "1"), ("foo", "2")])
        );
        assert_eq!(print("foo", &[("foo", "1 ,2")]), print("foo", &[("foo", "1,2")]));
        assert_ne!(print("foo", &[("foo", "1, 2")]), print("foo", &[("foo", "2, 1")]));
        assert_ne!(
            print("foo", &[("foo", "\"1, 2\"")]),
            print("foo", &[("foo", "\"1,2\"")])
        );
    }

    #[test]
    fn accept_encoding_is_a_set_without_regard_to_case() {
        let with = |value: &str| print("accept-encoding", &[("accept-encoding", value)]);
        let base = with("gzip, br;q=0.5");
        for same in ["br;q=0.5,gzip", "BR; q=0.500 , GZip;q=1", "gzip,,br;q=0.5"] {
            assert_eq!(base, with(same), "{same}");
        }
        for other in [
            "gzip",
            "gzip, br",
            "gzip;q=0.5, br",
            "gzip, br;q=0.5, zstd",
            "gzip, br;q=x",
            "",
        ] {
            assert_ne!(base, with(other), "{other}");
        }
        assert_ne!(with(""), print("accept-encoding", &[]));
        let lines = [("accept-encoding", "br;q=0.5"), ("accept-encoding", "gzip")];
        assert_eq!(base, print("accept-encoding", &lines));
    }

    #[test]
    fn accept_language_is_a_set_without_regard_to_case() {
        let base = print("accept-language", &[("accept-language", "en, de;q=0.5")]);
        assert_eq!(base, print("accept-language", &[("accept-language", "DE; q=0.5,EN")]));
        assert_ne!(base, print("accept-language", &[("accept-language", "en, de;q=0.6")]));
        assert_ne!(base, print("accept-language", &[("accept-language", "en")]));
    }
}
