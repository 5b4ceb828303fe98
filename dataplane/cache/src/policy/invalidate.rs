//! What a successful change makes out of date (RFC 9111 section 4.4).
//!
//! The target itself, and what `Location` and `Content-Location` name, if it is of the same origin.

use breakwater_wire::structured;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Uri};

use super::request::MethodClass;

/// Names the groups that a change makes out of date (RFC 9875 section 3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// Whether an answer with `status` to such a method invalidates its target: 2xx and 3xx to any unsafe method,
/// unknown ones included.
pub const fn invalidates(method: MethodClass, status: u16) -> bool {
    matches!(method, MethodClass::Post | MethodClass::Unsafe) && status >= 200 && status < 400
}

/// Path and query of what the response's `Location` and `Content-Location` name, for those of the origin
/// `scheme`, `host`. `path` is the target's, against which relative references are read.
pub fn related(scheme: &str, host: &str, path: &str, response: &HeaderMap) -> Vec<String> {
    [header::LOCATION, header::CONTENT_LOCATION]
        .iter()
        .filter_map(|name| resolve(scheme, host, path, response.get(name)?.to_str().ok()?))
        .collect()
}

/// The groups that a change made out of date (RFC 9875 section 3), none if the field cannot be read.
pub fn groups(response: &HeaderMap) -> Vec<String> {
    let lines = response.get_all(CACHE_GROUP_INVALIDATION).iter();
    groups_of(lines.map(HeaderValue::as_bytes))
}

/// As [`groups`], of the lines of the field.
pub fn groups_of<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Vec<String> {
    structured::parse_strings(lines).unwrap_or_default()
}

/// Groups as the value of a field: what [`groups`] reads again. None: no such value.
pub fn write_groups(groups: &[String]) -> Option<HeaderValue> {
    let quoted = |group: &String| format!("\"{}\"", group.replace('\\', "\\\\").replace('"', "\\\""));
    let all: Vec<_> = groups.iter().map(quoted).collect();
    HeaderValue::from_str(&all.join(", ")).ok()
}

/// Path and query of what `Content-Location` names, if it is of the same origin.
pub fn content_location(scheme: &str, host: &str, path: &str, response: &HeaderMap) -> Option<String> {
    resolve(
        scheme,
        host,
        path,
        response.get(header::CONTENT_LOCATION)?.to_str().ok()?,
    )
}

fn resolve(scheme: &str, host: &str, path: &str, reference: &str) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or(reference).trim();
    let same_origin = |uri: &Uri| {
        uri.scheme_str().is_none_or(|other| other.eq_ignore_ascii_case(scheme))
            && uri
                .authority()
                .is_some_and(|other| authority(scheme, other.as_str()) == authority(scheme, host))
    };
    if let Some(rest) = reference.strip_prefix("//") {
        let uri: Uri = format!("{scheme}://{rest}").parse().ok()?;
        return same_origin(&uri).then(|| path_of(&uri));
    }
    if reference.starts_with('/') {
        return Some(reference.to_owned());
    }
    if reference
        .split(['/', '?'])
        .next()
        .is_some_and(|first| first.contains(':'))
    {
        let uri: Uri = reference.parse().ok()?;
        return (uri.scheme().is_some() && same_origin(&uri)).then(|| path_of(&uri));
    }
    if reference.is_empty() {
        return Some(path.to_owned());
    }
    if reference.starts_with('?') {
        return Some(format!("{path}{reference}"));
    }
    let directory = path.rfind('/').map_or("/", |slash| &path[..=slash]);
    let (relative, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
    Some(remove_dots(&format!("{directory}{relative}")) + query)
}

/// `remove_dot_segments` (RFC 3986 section 5.2.4) of an absolute path.
fn remove_dots(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.pop();
                }
                if last {
                    out.push("");
                }
            }
            _ => out.push(segment),
        }
    }
    format!("/{}", out.join("/"))
}

/// Host and port without a port that is the scheme's own.
fn authority(scheme: &str, text: &str) -> String {
    let own = if scheme.eq_ignore_ascii_case("https") {
        ":443"
    } else {
        ":80"
    };
    text.strip_suffix(own).unwrap_or(text).to_ascii_lowercase()
}

fn path_of(uri: &Uri) -> String {
    uri.path_and_query().map_or("/", |target| target.as_str()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn related_to(name: &'static str, value: &str) -> Vec<String> {
        let fields = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        related("http", "a.example", "/dir/item?x", &fields)
    }

    #[test]
    fn a_success_of_any_unsafe_method_invalidates_and_an_error_does_not() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
            let class = MethodClass::from(&method.parse().unwrap());
            assert!(invalidates(class, 200) && invalidates(class, 303), "{method}");
            assert!(!invalidates(class, 404) && !invalidates(class, 500), "{method}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert!(
                !invalidates(MethodClass::from(&method.parse().unwrap()), 200),
                "{method}"
            );
        }
    }

    #[test]
    fn groups_that_are_written_are_read() {
        let all = ["a", "with \"quotes\"", "back\\slash\\", "", "two, three"].map(str::to_owned);
        let value = write_groups(&all).unwrap();
        assert_eq!(groups_of([value.as_bytes()]), all);
        let fields = HeaderMap::from_iter([(CACHE_GROUP_INVALIDATION, value)]);
        assert_eq!(groups(&fields), all);
        assert_eq!(write_groups(&["line\r\nbreak".to_owned()]), None);
    }

    #[test]
    fn locations_of_the_same_origin_are_related() {
        for (value, path) in [
            ("http://a.example/x?y#z", "/x?y"),
            ("http://A.EXAMPLE:80/x", "/x"),
            ("//a.example/x", "/x"),
            ("/x", "/x"),
            ("x", "/dir/x"),
            ("../x?a=/../b", "/x?a=/../b"),
        ] {
            assert_eq!(related_to("location", value), [path], "{value}");
            assert_eq!(related_to("content-location", value), [path], "{value}");
        }
    }

    #[test]
    fn locations_of_another_origin_are_not() {
        for value in [
            "http://b.example/x",
            "https://a.example/x",
            "http://a.example:81/x",
            "//b.example/x",
            "mailto:a@b",
        ] {
            assert!(related_to("location", value).is_empty(), "{value}");
        }
    }
}
