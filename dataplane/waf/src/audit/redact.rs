//! What never reaches a log: the values of named query arguments and request fields.
//!
//! When in doubt a value is replaced: names are compared without case and with percent-encoding undone, `user[password]`
//! and `password[]` count as `password`, and so does what follows a `;` in a server's eyes. The names stay, so that a
//! reader sees that something was there.

use std::borrow::Cow;

use crate::transform::Transformation;

/// What a value is replaced by.
const REPLACEMENT: &str = "***";

/// Collections that rules name with what they matched, and whether their names are arguments', request fields', or
/// cookies'.
const COLLECTIONS: [(&str, Option<bool>); 6] = [
    ("ARGS:", Some(true)),
    ("ARGS_GET:", Some(true)),
    ("ARGS_POST:", Some(true)),
    ("FILES:", Some(true)),
    ("REQUEST_HEADERS:", Some(false)),
    ("REQUEST_COOKIES:", None),
];

/// What holds arguments as they were sent, and is not taken apart here: in upper case.
const WHOLE: [&str; 8] = [
    "REQUEST_URI",
    "REQUEST_LINE",
    "REQUEST_BODY",
    "QUERY_STRING",
    "FULL_REQUEST",
    "XML",
    "MULTIPART_PART_HEADERS",
    "REQUEST_HEADERS:REFERER",
];

/// Names whose values are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redaction {
    arguments: Vec<String>,
    headers: Vec<String>,
}

impl Redaction {
    /// From the names of query arguments and of request fields, in any case.
    #[must_use]
    pub fn new(arguments: impl IntoIterator<Item = String>, headers: impl IntoIterator<Item = String>) -> Self {
        Self {
            arguments: arguments.into_iter().collect(),
            headers: headers.into_iter().collect(),
        }
    }

    /// Path and query joined, with the values of named arguments replaced.
    #[must_use]
    pub fn uri<'a>(&self, path: &'a str, query: Option<&str>) -> Cow<'a, str> {
        let Some(query) = query else { return path.into() };
        let mut uri = String::with_capacity(path.len() + 1 + query.len());
        uri.push_str(path);
        let mut separator = '?';
        for argument in query.split('&') {
            uri.push(separator);
            separator = '&';
            match self.kept(argument) {
                Some(kept) => {
                    uri.push_str(kept);
                    uri.push_str(REPLACEMENT);
                }
                None => uri.push_str(argument),
            }
        }
        uri.into()
    }

    /// `value`, or its replacement if fields of `name` are redacted.
    #[must_use]
    pub fn header_value<'a>(&self, name: &str, value: &'a str) -> &'a str {
        if self.hides_header(name) { REPLACEMENT } else { value }
    }

    fn hides_header(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header.eq_ignore_ascii_case(name))
    }

    /// Whether the value of the query or form argument `name` is replaced.
    #[must_use]
    pub fn hides_argument(&self, name: &str) -> bool {
        if self.arguments.is_empty() {
            return false;
        }
        let name = decode(name);
        let matches = |part: &str| {
            self.arguments
                .iter()
                .any(|argument| argument.eq_ignore_ascii_case(part.trim()))
        };
        matches(&name) || name.split(['[', ']']).any(matches)
    }

    /// A rule's log data or message, or its replacement if it speaks of a hidden argument or field: what it matched may be
    /// part of the value. `Matched Data: x found within ARGS:password: xyz` becomes `*** within ARGS:password`. What holds
    /// all arguments, such as a query, is hidden as soon as any argument is.
    #[must_use]
    pub fn data<'a>(&self, data: &'a str) -> Cow<'a, str> {
        let found = COLLECTIONS.into_iter().find_map(|(collection, of_arguments)| {
            data.match_indices(collection).find_map(|(at, _)| {
                let name = data.get(at + collection.len()..)?;
                let end = name.find([':', ' ', ',', '"', '\'']).unwrap_or(name.len());
                let name = name.get(..end)?;
                let hidden = match of_arguments {
                    Some(true) => name.split('.').any(|part| self.hides_argument(part)),
                    Some(false) => self.hides_header(name),
                    None => self.hides_header("cookie"),
                };
                hidden.then(|| format!("{REPLACEMENT} within {collection}{name}"))
            })
        });
        let found = found.or_else(|| {
            if self.arguments.is_empty() {
                return None;
            }
            let upper = data.to_ascii_uppercase();
            let name = WHOLE.iter().find(|name| upper.contains(**name))?;
            Some(format!("{REPLACEMENT} within {name}"))
        });
        found.map_or(Cow::Borrowed(data), Cow::Owned)
    }

    /// The part of an argument up to its first hidden value, `=` included; none if there is nothing to hide. All after
    /// it goes: a value may hold a `;` itself.
    fn kept<'q>(&self, argument: &'q str) -> Option<&'q str> {
        let mut start = 0;
        for part in argument.split(';') {
            if let Some((name, value)) = part.split_once('=')
                && !value.is_empty()
                && self.hides_argument(name)
            {
                return argument.get(..=start + name.len());
            }
            start += part.len() + 1;
        }
        None
    }
}

/// Percent-encoding and `+` undone once; what is not UTF-8 then is replaced, what is not an escape is kept.
fn decode(text: &str) -> Cow<'_, str> {
    match Transformation::UrlDecode.apply(text.as_bytes()) {
        Cow::Borrowed(_) => text.into(),
        Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn redaction() -> Redaction {
        Redaction::new(
            ["password".to_owned(), "token".to_owned()],
            ["Authorization".to_owned(), "cookie".to_owned()],
        )
    }

    fn uri(query: &str) -> String {
        redaction().uri("/p", Some(query)).into_owned()
    }

    #[test]
    fn without_a_query_the_path_is_borrowed() {
        assert!(matches!(redaction().uri("/p", None), Cow::Borrowed("/p")));
    }

    #[test]
    fn values_of_named_arguments_are_replaced_and_the_rest_is_kept_as_sent() {
        assert_eq!(
            uri("a=1&password=secret&b=%20x&token=t"),
            "/p?a=1&password=***&b=%20x&token=***"
        );
        assert_eq!(uri(""), "/p?");
        assert_eq!(uri("&&a&=b&"), "/p?&&a&=b&");
        assert_eq!(uri("password"), "/p?password");
        assert_eq!(uri("password="), "/p?password=");
        assert_eq!(uri("mypassword=1&passwords=2"), "/p?mypassword=1&passwords=2");
    }

    #[test]
    fn what_holds_all_arguments_is_hidden_as_soon_as_one_is() {
        for name in [
            "REQUEST_URI_RAW",
            "QUERY_STRING",
            "REQUEST_BODY",
            "REQUEST_LINE",
            "REQUEST_HEADERS:referer",
        ] {
            let data = format!("Matched Data: ../ found within {name}: /?password=hunter2&f=../");
            let shown = redaction().data(&data).into_owned();
            let known = WHOLE
                .iter()
                .find(|known| name.to_ascii_uppercase().starts_with(**known));
            assert_eq!(shown, format!("*** within {}", known.unwrap()));
            assert_eq!(Redaction::default().data(&data), data);
        }
        assert!(redaction().data("found within ARGS:q: x").contains("ARGS:q: x"));
    }

    #[test]
    fn disguised_names_are_seen_through() {
        for (query, hidden) in [
            ("PassWord=secret", "PassWord=***"),
            ("%70assword=secret", "%70assword=***"),
            ("pass%77ord=secret", "pass%77ord=***"),
            ("+password=secret", "+password=***"),
            ("password[]=secret", "password[]=***"),
            ("user[password]=secret", "user[password]=***"),
            ("user%5Bpassword%5D=secret", "user%5Bpassword%5D=***"),
            ("password=a=secret", "password=***"),
            ("password=a;secret", "password=***"),
            ("a=1;password=secret", "a=1;password=***"),
        ] {
            assert_eq!(uri(query), format!("/p?{hidden}"));
        }
    }

    #[test]
    fn broken_escapes_are_kept_and_do_not_panic() {
        for query in ["%=1", "%7=1", "%zz=1", "%ff%fe=1", "a=%", "é%é=1"] {
            assert_eq!(uri(query), format!("/p?{query}"));
        }
    }

    #[test]
    fn header_values_are_replaced_by_name_without_case() {
        let redaction = redaction();
        assert_eq!(redaction.header_value("authorization", "Basic x"), "***");
        assert_eq!(redaction.header_value("COOKIE", "a=b"), "***");
        assert_eq!(redaction.header_value("accept", "text/html"), "text/html");
    }

    #[test]
    fn log_data_about_a_hidden_argument_field_or_cookie_is_replaced() {
        let redaction = redaction();
        let shown = |data: &str| redaction.data(data).into_owned();
        for (data, hidden) in [
            (
                "Matched Data: x found within ARGS:password: xyz",
                "*** within ARGS:password",
            ),
            (
                "x within ARGS_POST:user[password]: xyz",
                "*** within ARGS_POST:user[password]",
            ),
            ("xyz ARGS:json.login.PassWord", "*** within ARGS:json.login.PassWord"),
            (
                "a found within REQUEST_HEADERS:Authorization: a",
                "*** within REQUEST_HEADERS:Authorization",
            ),
            (
                "a found within REQUEST_COOKIES:session: a",
                "*** within REQUEST_COOKIES:session",
            ),
        ] {
            assert_eq!(shown(data), hidden);
        }
        let data = "Matched Data: x found within ARGS:q: xyz";
        assert!(matches!(redaction.data(data), Cow::Borrowed(same) if same == data));
    }

    #[test]
    fn no_random_query_leaks_a_secret_or_loses_anything_else() {
        let mut random = Random::new(13);
        let pieces = ["a", "=", "&", ";", "%", "+", "[", "]", "x=1", "é", "%41", "&b"];
        for _ in 0..20_000 {
            let noise = |random: &mut Random| -> String {
                (0..random.below(6))
                    .map(|_| pieces[random.below(pieces.len() as u64) as usize])
                    .collect()
            };
            let (before, after) = (noise(&mut random), noise(&mut random));
            let query = format!("{before}&password=SECRET&{after}");
            let shown = redaction().uri("/", Some(&query)).into_owned();
            // Noise may itself hold no hidden name, so exactly the secret is gone.
            assert_eq!(shown, format!("/?{before}&password=***&{after}"));
            assert_eq!(
                redaction().uri("/", Some(&format!("{before}{after}"))),
                format!("/?{before}{after}")
            );
        }
    }
}
