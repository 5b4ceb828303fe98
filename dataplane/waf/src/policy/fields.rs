//! Rules over single header fields: those that must not be there, and those that must.
//!
//! Invariant: a look at a request goes over its fields once for each rule, and allocates nothing. Expressions are linear in
//! a value, and their number and size come from configuration.

use std::{fmt, sync::Arc};

use regex::bytes::{Regex, RegexBuilder};

use crate::{
    ConfigError,
    uri::{Kind, MAX_REGEX_SIZE, MAX_VALUE, anchored, reason},
};

/// Most rules of one policy.
pub const MAX_RULES: usize = 128;

/// The header fields of a request.
pub trait FieldSource: fmt::Debug {
    /// Shows `look` the values of the fields called `name`, letter case aside, until it says yes; whether it did.
    fn any(&self, name: &str, look: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// Whether it can say anything of `name`: a field that is not known to be there is not known to be missing either.
    fn knows(&self, _name: &str) -> bool {
        true
    }
}

impl FieldSource for &[(&str, &[u8])] {
    fn any(&self, name: &str, look: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter()
            .any(|(held, value)| held.eq_ignore_ascii_case(name) && look(value))
    }
}

/// Rules over header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// A request with one of these is refused.
    pub deny: Vec<FieldRule>,
    /// A request without one of these is refused.
    pub require: Vec<FieldRule>,
}

impl Headers {
    /// What these rules object to in `fields`, in words, for tools that judge one request.
    ///
    /// # Errors
    /// Names the first rule that cannot be used.
    pub fn objection(&self, fields: &dyn FieldSource) -> Result<Option<Arc<str>>, ConfigError> {
        Ok(FieldSet::new(self)?.objection(Some(fields)))
    }
}

/// A field, by name and perhaps by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRule {
    /// Its name, in any letter case.
    pub name: String,
    /// What a value is compared with; none means any value. [`Kind::Prefix`] is the beginning of the value, byte by byte.
    pub value: Option<(Kind, String)>,
}

/// [`Headers`], compiled.
#[derive(Debug, Default)]
pub(super) struct FieldSet {
    deny: Vec<Rule>,
    require: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    value: Value,
    /// For people.
    text: Arc<str>,
}

#[derive(Debug)]
enum Value {
    Any,
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Regex(Regex),
}

impl FieldSet {
    pub(super) fn new(headers: &Headers) -> Result<Self, ConfigError> {
        let set = |list: &[FieldRule], name: &str, does: &str| {
            let rules = list.iter().enumerate();
            rules
                .map(|(index, rule)| {
                    Rule::new(rule, does).map_err(|error| error.below(&format!("headers.{name}[{index}]")))
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let count = headers.deny.len() + headers.require.len();
        if count > MAX_RULES {
            let message = format!("{count} rules are too many: {MAX_RULES} at most");
            return Err(ConfigError::new("headers", message));
        }
        Ok(Self {
            deny: set(&headers.deny, "deny", "")?,
            require: set(&headers.require, "require", " is missing")?,
        })
    }

    /// What the rules object to, in words. A request whose fields are not shown has none.
    pub(super) fn objection(&self, fields: Option<&dyn FieldSource>) -> Option<Arc<str>> {
        let has =
            |rule: &Rule| fields.is_some_and(|fields| fields.any(&rule.name, &mut |value| rule.value.matches(value)));
        let denied = self.deny.iter().find(|rule| has(rule));
        let known = |rule: &Rule| fields.is_none_or(|fields| fields.knows(&rule.name));
        let missing = || self.require.iter().find(|rule| !has(rule) && known(rule));
        denied.or_else(missing).map(|rule| Arc::clone(&rule.text))
    }
}

impl Rule {
    fn new(rule: &FieldRule, does: &str) -> Result<Self, ConfigError> {
        let name = rule.name.to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(ConfigError::new("name", format!("`{name}` is not a field name")));
        }
        let value = match &rule.value {
            None => Value::Any,
            Some((_, text)) if text.len() > MAX_VALUE => {
                let message = format!("{} bytes long; the longest allowed is {MAX_VALUE}", text.len());
                return Err(ConfigError::new("value.value", message));
            }
            Some((Kind::Exact, text)) => Value::Exact(text.as_bytes().to_vec()),
            Some((Kind::Prefix, text)) => Value::Prefix(text.as_bytes().to_vec()),
            Some((Kind::Regex, text)) => {
                let regex = compile(text).map_err(|message| ConfigError::new("value.value", message))?;
                Value::Regex(regex)
            }
        };
        let shown = rule
            .value
            .as_ref()
            .map(|(_, text)| format!(": {text}"))
            .unwrap_or_default();
        Ok(Self {
            text: format!("{name}{shown}{does}").into(),
            name,
            value,
        })
    }
}

impl Value {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(whole) => value == whole,
            Self::Prefix(beginning) => value.starts_with(beginning),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// Compiles an expression that must match a whole value, as a path's must the path.
///
/// # Errors
/// Why it cannot be used.
pub fn compile(value: &str) -> Result<Regex, String> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX_SIZE)
            .dfa_size_limit(MAX_REGEX_SIZE)
            .build()
    };
    anchored(value, build).map_err(|error| format!("regular expression `{value}` cannot be used: {}", reason(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, value: Option<(Kind, &str)>) -> FieldRule {
        FieldRule {
            name: name.into(),
            value: value.map(|(kind, text)| (kind, text.into())),
        }
    }

    fn set(deny: Vec<FieldRule>, require: Vec<FieldRule>) -> Result<FieldSet, ConfigError> {
        FieldSet::new(&Headers { deny, require })
    }

    fn objection(set: &FieldSet, fields: &[(&str, &[u8])]) -> Option<String> {
        set.objection(Some(&fields)).map(|text| text.to_string())
    }

    #[test]
    fn a_field_is_denied_by_name_by_value_by_beginning_and_by_expression() {
        let set = set(
            vec![
                rule("X-Debug", None),
                rule("user-agent", Some((Kind::Prefix, "sqlmap/"))),
                rule("x-mode", Some((Kind::Exact, "raw"))),
                rule(
                    "referer",
                    Some((Kind::Regex, "(?i)https?://[^/]*\\.bad\\.example(/.*)?")),
                ),
            ],
            vec![],
        )
        .unwrap();
        for (name, value, expected) in [
            ("x-debug", "", Some("x-debug")),
            ("X-DEBUG", "1", Some("x-debug")),
            ("User-Agent", "sqlmap/1.7", Some("user-agent: sqlmap/")),
            ("User-Agent", "not sqlmap/1.7", None),
            ("X-Mode", "raw", Some("x-mode: raw")),
            ("X-Mode", "raw ", None),
            (
                "Referer",
                "HTTP://www.BAD.example/x",
                Some("referer: (?i)https?://[^/]*\\.bad\\.example(/.*)?"),
            ),
            ("Referer", "http://good.example/?http://www.bad.example/", None),
        ] {
            let found = objection(&set, &[("accept", b"*/*"), (name, value.as_bytes())]);
            assert_eq!(found.as_deref(), expected, "{name}: {value}");
        }
        let repeated: [(&str, &[u8]); 2] = [("x-mode", b"plain"), ("x-mode", b"raw")];
        assert_eq!(objection(&set, &repeated).as_deref(), Some("x-mode: raw"));
    }

    #[test]
    fn a_field_that_is_required_must_be_there_with_such_a_value() {
        let set = set(vec![], vec![rule("X-Api-Key", Some((Kind::Regex, "[0-9a-f]{4}")))]).unwrap();
        assert_eq!(objection(&set, &[("x-api-key", b"00ff")]), None);
        let expected = Some("x-api-key: [0-9a-f]{4} is missing");
        assert_eq!(objection(&set, &[("x-api-key", b"00ff0")]).as_deref(), expected);
        assert_eq!(objection(&set, &[]).as_deref(), expected);
        assert!(set.objection(None).is_some());
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_compared_too() {
        let set = set(vec![rule("x", Some((Kind::Regex, "(?-u:\\xff)+")))], vec![]).unwrap();
        assert!(objection(&set, &[("x", b"\xff\xff")]).is_some());
        assert!(objection(&set, &[("x", b"\xff.")]).is_none());
    }

    #[test]
    fn a_bad_rule_names_the_field() {
        let bad = |rule| set(vec![], vec![rule]).unwrap_err().to_string();
        let message = bad(rule("x", Some((Kind::Regex, "a)|(b"))));
        assert!(
            message.starts_with("headers.require[0].value.value: regular expression"),
            "{message}"
        );
        assert!(bad(rule("a b", None)).starts_with("headers.require[0].name: "));
        let long = "x".repeat(MAX_VALUE + 1);
        assert!(bad(rule("x", Some((Kind::Exact, &long)))).contains("longest allowed"));
        let many = set(vec![rule("x", None); MAX_RULES + 1], vec![]).unwrap_err();
        assert!(many.to_string().starts_with("headers: 129 rules"), "{many}");
    }
}
