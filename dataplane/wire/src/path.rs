//! The one form of a path that routes, lists and rules compare, and what is sent to the origin.
//!
//! Invariant: what was matched is what the origin sees. The normal form has unreserved characters decoded,
//! other percent-encodings in upper case, and no dot segments; duplicate slashes stay. If the path had dot
//! segments the origin gets the normal form ([`NormalPath::forward`]), because it might resolve them itself,
//! or not; otherwise it gets the bytes as received, which every origin reads the same way.
//!
//! What cannot be made unambiguous is refused: encoded NUL, an invalid percent-encoding, and segments that
//! are `.` or `..` only to some origins: behind an encoded slash or a backslash (`/a/..%2fb`, `/a\..\b`) or
//! in front of a path parameter (`/..;x/`). `%2F`, `%5C`, `\`, `//` and `;` elsewhere are legitimate and are kept.
//! Servers differ in what they make of them: many take the first three for `/`, and several slashes for one, and many cut
//! a segment at its `;` (Tomcat, Jetty). [`NormalPath::other_readings`] are the paths they come to: what protects a path
//! has to match any of them, what makes an exception has to match all. One level of decoding only: `%252e` is the text
//! `%2e`.

use std::borrow::Cow;
use std::fmt;

/// A normalised path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'p> {
    path: Cow<'p, str>,
    raw: &'p str,
    had_dot_segments: bool,
    /// It has what servers read in different ways.
    has_readings: bool,
}

impl<'p> NormalPath<'p> {
    /// The normal form: what routes, keys and rules compare.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The path for the origin.
    #[must_use]
    pub fn forward(&self) -> &str {
        if self.had_dot_segments { &self.path } else { self.raw }
    }

    /// The normal form, borrowed if the path was normal already.
    #[must_use]
    pub fn into_cow(self) -> Cow<'p, str> {
        self.path
    }

    /// The paths that other servers take it for, without the normal form itself: with `%2F`, `%5C` and `\` as `/` and
    /// several slashes as one, with each segment cut at its first `;` or `%3B`, and both, in either order. None has a dot
    /// segment. At most four, and no allocation where there is none.
    #[must_use]
    pub fn other_readings(&self) -> Vec<String> {
        let mut readings = Vec::new();
        if !self.has_readings {
            return readings;
        }
        let separated = with_separators(&self.path);
        let cut = without_parameters(&self.path);
        let all = [
            merge_slashes(&without_parameters(&separated)),
            merge_slashes(&with_separators(&cut)),
            merge_slashes(&cut),
            merge_slashes(&separated),
        ];
        for reading in all {
            if reading != *self.path && !readings.contains(&reading) {
                readings.push(reading);
            }
        }
        readings
    }
}

/// Why a path is refused; answer 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PathError {
    /// Neither `/...` nor `*`.
    NotAbsolute,
    /// `%` without two hexadecimal digits.
    Percent,
    /// `%00`.
    Nul,
    /// A dot segment that only some origins would see.
    AmbiguousDots,
}

impl PathError {
    /// A stable name for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().0
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::NotAbsolute => ("path-not-absolute", "the path does not start with `/`"),
            Self::Percent => ("path-percent", "the path has `%` without two hexadecimal digits"),
            Self::Nul => ("path-nul", "the path has an encoded NUL"),
            Self::AmbiguousDots => (
                "path-ambiguous-dots",
                "the path has `..` behind an encoded slash, a backslash or before `;`",
            ),
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

impl std::error::Error for PathError {}

/// The path and the query of a target in origin form.
#[must_use]
pub fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// Normalises the path of a target (without query). Does not allocate if it is normal already.
///
/// # Errors
/// See [`PathError`].
pub fn normalize(raw: &str) -> Result<NormalPath<'_>, PathError> {
    if raw == "*" {
        return Ok(NormalPath {
            path: Cow::Borrowed(raw),
            raw,
            had_dot_segments: false,
            has_readings: false,
        });
    }
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    let Some(double_slash) = scan(raw.as_bytes()) else {
        return normalize_marked(raw);
    };
    Ok(NormalPath {
        path: Cow::Borrowed(raw),
        raw,
        had_dot_segments: false,
        has_readings: double_slash,
    })
}

/// One pass over a path as nearly all are: without encodings, backslashes, parameters, and segments that begin with a
/// dot. Tells whether it has `//`. None: there is more to look at.
fn scan(path: &[u8]) -> Option<bool> {
    let (mut before, mut double_slash) = (0, false);
    for &byte in path {
        match byte {
            b'%' | b'\\' | b';' => return None,
            b'.' if before == b'/' => return None,
            b'/' => double_slash |= before == b'/',
            _ => {}
        }
        before = byte;
    }
    Some(double_slash)
}

fn normalize_marked(raw: &str) -> Result<NormalPath<'_>, PathError> {
    let (path, has_separators) = decode(raw)?;
    let mut dots = false;
    for segment in path.split('/') {
        dots |= is_dots(segment);
        if (has_separators && hides_dots(segment)) || has_dots_parameter(segment) {
            return Err(PathError::AmbiguousDots);
        }
    }
    let path = if dots {
        Cow::Owned(remove_dot_segments(&path))
    } else {
        path
    };
    Ok(NormalPath {
        has_readings: has_separators || path.contains("//") || path.contains(';') || path.contains("%3B"),
        path,
        raw,
        had_dot_segments: dots,
    })
}

/// Decodes unreserved characters and puts other encodings in upper case. Also tells whether there is a
/// backslash, or an encoded one, or an encoded slash.
fn decode(raw: &str) -> Result<(Cow<'_, str>, bool), PathError> {
    let mut separators = memchr::memchr(b'\\', raw.as_bytes()).is_some();
    let Some(first) = memchr::memchr(b'%', raw.as_bytes()) else {
        return Ok((Cow::Borrowed(raw), separators));
    };
    let (mut rest, mut out) = (raw, String::with_capacity(raw.len()));
    let mut at = first;
    loop {
        let (plain, encoded) = rest.split_at_checked(at).ok_or(PathError::Percent)?;
        out.push_str(plain);
        let (Some(code), Some(tail)) = (encoded.get(1..3), encoded.get(3..)) else {
            return Err(PathError::Percent);
        };
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(PathError::Percent);
        }
        match u8::from_str_radix(code, 16).map_err(|_| PathError::Percent)? {
            0 => return Err(PathError::Nul),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(byte))
            }
            byte => {
                separators |= matches!(byte, b'/' | b'\\');
                out.push('%');
                out.extend(code.chars().map(|digit| digit.to_ascii_uppercase()));
            }
        }
        rest = tail;
        match memchr::memchr(b'%', rest.as_bytes()) {
            Some(next) => at = next,
            None => break,
        }
    }
    out.push_str(rest);
    if out == raw {
        Ok((Cow::Borrowed(raw), separators))
    } else {
        Ok((Cow::Owned(out), separators))
    }
}

fn with_separators(path: &str) -> String {
    path.replace("%2F", "/").replace("%5C", "/").replace('\\', "/")
}

/// Each segment without its parameters (RFC 3986 section 3.3).
fn without_parameters(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for segment in path.split_inclusive('/') {
        let (name, end) = segment.strip_suffix('/').map_or((segment, ""), |name| (name, "/"));
        let cut = [name.find(';'), name.find("%3B")].into_iter().flatten().min();
        out.push_str(cut.and_then(|at| name.get(..at)).unwrap_or(name));
        out.push_str(end);
    }
    out
}

fn merge_slashes(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// A part between `%2F`, `%5C` or `\` that is a dot segment.
fn hides_dots(segment: &str) -> bool {
    if is_dots(segment) {
        return false;
    }
    let parts = segment
        .split('\\')
        .flat_map(|part| part.split("%2F"))
        .flat_map(|part| part.split("%5C"));
    parts.into_iter().any(|part| is_dots(part) || has_dots_parameter(part))
}

/// `..;x`: a dot segment to servers that cut path parameters before they resolve.
fn has_dots_parameter(segment: &str) -> bool {
    let before = |mark| segment.split_once(mark).is_some_and(|(name, _)| is_dots(name));
    before(";") || before("%3B")
}

/// RFC 3986 section 5.2.4; `..` at the root stays at the root.
fn remove_dot_segments(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    out.truncate(out.rfind('/').unwrap_or(0));
                }
                if last {
                    out.push('/');
                }
            }
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(raw: &str) -> String {
        normalize(raw).expect(raw).as_str().to_owned()
    }

    #[test]
    fn the_first_question_mark_begins_the_query() {
        for (target, path, query) in [
            ("/a", "/a", None),
            ("/a?", "/a", Some("")),
            ("/a?b?c", "/a", Some("b?c")),
            ("?b", "", Some("b")),
        ] {
            assert_eq!(split_query(target), (path, query));
        }
    }

    #[test]
    fn what_a_glance_takes_for_normal_is_normal() {
        for raw in [
            "/", "/a/b.c", "/a//b", "//", "/a.", "/.", "/a/..", "/a;b", "/%41", "/a\\b", "/.a", "/a/.b/",
        ] {
            let normal = normalize_marked(raw);
            if scan(raw.as_bytes()).is_some() {
                assert_eq!(normalize(raw), normal, "{raw}");
            } else {
                assert!(raw.contains(['%', ';', '\\']) || raw.contains("/."), "{raw}");
            }
        }
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for raw in ["/", "/a/b.c", "/a//b", "/a%20b", "/%2F", "*", "/..."] {
            let path = normalize(raw).expect(raw);
            assert!(matches!(path.into_cow(), Cow::Borrowed(same) if same == raw), "{raw}");
        }
    }

    #[test]
    fn unreserved_characters_are_decoded_and_the_rest_is_in_upper_case() {
        assert_eq!(normal("/%61%7E%2d%c3%a9"), "/a~-%C3%A9");
        assert_eq!(normal("/%252e%252e/a"), "/%252e%252e/a");
        assert_eq!(normal("/a%0d%0ab"), "/a%0D%0Ab");
    }

    #[test]
    fn dot_segments_are_resolved_and_stay_below_the_root() {
        for (raw, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/..", "/"),
            ("/../../etc", "/etc"),
            ("/.", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a//../b", "/a/b"),
            ("/%2e%2E/x", "/x"),
            ("/a/%2e/b", "/a/b"),
            ("//../a", "/a"),
        ] {
            assert_eq!(normal(raw), expected, "{raw}");
        }
    }

    #[test]
    fn the_origin_gets_the_raw_path_unless_it_had_dot_segments() {
        assert_eq!(normalize("/%61%2f//b").expect("valid").forward(), "/%61%2f//b");
        assert_eq!(normalize("/%61/../b%2f").expect("valid").forward(), "/b%2F");
    }

    #[test]
    fn paths_that_origins_read_differently_are_refused() {
        for raw in [
            "/a/..%2fb",
            "/a%2f..%2fb",
            "/a/..%5cb",
            "/a\\..\\b",
            "/a/.%2e%2fb",
            "/%2e%2e%2fetc",
            "/a/..;/b",
            "/a/.;x=1/b",
            "/a/..%3b/b",
            "/a%2f..;x",
        ] {
            assert_eq!(normalize(raw), Err(PathError::AmbiguousDots), "{raw}");
        }
    }

    #[test]
    fn what_servers_read_in_different_ways_is_kept_and_has_other_readings() {
        for (raw, path, others) in [
            ("/a/b/", "/a/b/", &[][..]),
            ("//admin", "//admin", &["/admin"]),
            ("/a///b//", "/a///b//", &["/a/b/"]),
            ("/x/.//admin", "/x//admin", &["/x/admin"]),
            ("/group%2fproject", "/group%2Fproject", &["/group/project"]),
            ("/a\\b%5Cc", "/a\\b%5Cc", &["/a/b/c"]),
            ("/a%2f/b", "/a%2F/b", &["/a/b"]),
            ("/admin;x", "/admin;x", &["/admin"]),
            ("/admin%3bx;y", "/admin%3Bx;y", &["/admin"]),
            ("/;x/admin;a=b;c/s;", "/;x/admin;a=b;c/s;", &["/admin/s"]),
            ("/a/..b;/c", "/a/..b;/c", &["/a/..b/c"]),
            ("/;", "/;", &["/"]),
            ("/é;é/ü", "/é;é/ü", &["/é/ü"]),
            ("//a;b", "//a;b", &["/a", "/a;b"]),
            // What is cut depends on what comes first.
            ("/a;x%2Fb%2Fc", "/a;x%2Fb%2Fc", &["/a/b/c", "/a", "/a;x/b/c"]),
            (
                "/a%2Fb;x%2Fc/d",
                "/a%2Fb;x%2Fc/d",
                &["/a/b/c/d", "/a/b/d", "/a%2Fb/d", "/a/b;x/c/d"],
            ),
        ] {
            let normal = normalize(raw).expect(raw);
            assert_eq!(normal.as_str(), path);
            assert_eq!(normal.other_readings(), others, "{raw}");
        }
    }

    #[test]
    fn nul_and_broken_percent_encodings_are_refused() {
        for (raw, error) in [
            ("/%00", PathError::Nul),
            ("/a%", PathError::Percent),
            ("/a%4", PathError::Percent),
            ("/a%zz", PathError::Percent),
            ("/a%+1", PathError::Percent),
            ("/a%%41", PathError::Percent),
            ("/%e", PathError::Percent),
            ("a", PathError::NotAbsolute),
            ("", PathError::NotAbsolute),
        ] {
            assert_eq!(normalize(raw), Err(error), "{raw}");
        }
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        for raw in ["/a/./b/../c", "/%61%2f%41", "//a/..//b/.", "/a/b/../../.."] {
            let once = normal(raw);
            assert_eq!(normal(&once), once, "{raw}");
        }
    }
}
