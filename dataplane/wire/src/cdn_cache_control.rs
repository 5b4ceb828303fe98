//! CDN-Cache-Control (RFC 9213): a dictionary that replaces Cache-Control and Expires for this cache.

use crate::cache_control::{CacheControl, MAX_DELTA, Scope, field_scope};
use crate::structured::{Value, parse_dictionary};

/// Parses all lines of a targeted field. `None` if there is no member, if it is not a valid dictionary, or
/// if a directive we know has a value of the wrong type: then Cache-Control applies.
#[must_use]
pub fn parse<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Option<CacheControl> {
    let members = parse_dictionary(lines)?;
    if members.is_empty() {
        return None;
    }
    let mut out = CacheControl::default();
    for (key, value) in members {
        match key.as_str() {
            "max-age" => out.max_age = Some(seconds(&value)?),
            "s-maxage" => out.s_maxage = Some(seconds(&value)?),
            "stale-while-revalidate" => out.stale_while_revalidate = Some(seconds(&value)?),
            "stale-if-error" => out.stale_if_error = Some(seconds(&value)?),
            "private" => out.private = scope(value)?,
            "no-cache" => out.no_cache = scope(value)?,
            "no-store" => out.no_store = flag(&value)?,
            "no-transform" => out.no_transform = flag(&value)?,
            "public" => out.public = flag(&value)?,
            "must-revalidate" => out.must_revalidate = flag(&value)?,
            "proxy-revalidate" => out.proxy_revalidate = flag(&value)?,
            "must-understand" => out.must_understand = flag(&value)?,
            "immutable" => out.immutable = flag(&value)?,
            _ => {}
        }
    }
    Some(out)
}

/// A negative number counts as zero: stale.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => Some(u64::try_from(*number).unwrap_or(0).min(MAX_DELTA)),
        _ => None,
    }
}

fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Boolean(flag) => Some(*flag),
        _ => None,
    }
}

#[expect(
    clippy::option_option,
    reason = "outside: is the type right; inside: is the directive on"
)]
fn scope(value: Value) -> Option<Option<Scope>> {
    match value {
        Value::Boolean(on) => Some(on.then_some(Scope::Whole)),
        Value::String(names) => Some(Some(field_scope(names.as_bytes()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Option<CacheControl> {
        parse([text.as_bytes()])
    }

    #[test]
    fn directives_are_read_with_their_types() {
        let cc = one("max-age=600, no-cache=\"Set-Cookie\", foo=bar;x, must-revalidate").expect("valid");
        assert_eq!(cc.max_age, Some(600));
        assert_eq!(cc.no_cache, Some(Scope::Fields(vec!["set-cookie".into()])));
        assert!(cc.must_revalidate);
        assert_eq!(one("max-age=-5").and_then(|cc| cc.max_age), Some(0));
        assert_eq!(
            one("max-age=999999999999999").and_then(|cc| cc.max_age),
            Some(MAX_DELTA)
        );
        assert_eq!(one("private=?0").map(|cc| cc.private), Some(None));
    }

    #[test]
    fn a_parse_error_or_a_wrong_type_voids_the_field() {
        for bad in [
            "",
            "max-age = 60",
            "max-age=\"60\"",
            "max-age=1.5",
            "max-age",
            "no-store=1",
            "MAX-AGE=60",
            "max-age=60,",
        ] {
            assert_eq!(one(bad), None, "{bad}");
        }
    }
}
