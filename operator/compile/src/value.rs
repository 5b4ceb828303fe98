//! Judges single values: host names, paths, addresses, URLs, field names, methods.
//!
//! Each function takes what the user wrote and gives the form the data plane compares, or a message that holds the
//! value and says what to write instead.

use std::net::IpAddr;

use breakwater_crds as crds;
use breakwater_snapshot::unit::{Endpoint, PathKind, PathMatch};
use http::{HeaderName, Uri};
use ipnet::IpNet;

use crate::findings::Findings;

/// Largest compiled size of one regular expression, bytes: enough for any list of paths, small enough for thousands.
pub const REGEX_SIZE_LIMIT: usize = 256 * 1024;

pub(crate) fn hostname(name: &str) -> Result<String, String> {
    let rest = match name {
        "*" => return Ok(name.to_owned()),
        _ => name.strip_prefix("*.").unwrap_or(name),
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if name.len() <= 253 && rest.split('.').all(label) {
        return Ok(name.to_owned());
    }
    let hint = if name.contains("://") {
        "leave the scheme out"
    } else if name.bytes().any(|b| b.is_ascii_uppercase()) {
        "write it in lower case"
    } else if rest.contains('*') {
        "a * stands alone or as the first label (*.example.com)"
    } else if name.contains([':', '/']) {
        "leave port and path out"
    } else {
        "write a name such as shop.example.com, a wildcard such as *.example.com, or *"
    };
    Err(format!("`{name}` is not a host name: {hint}"))
}

pub(crate) fn path(path: &crds::PathMatch) -> Result<PathMatch, String> {
    let value = path.value.as_str();
    let kind = match path.kind {
        crds::PathType::Exact => PathKind::Exact,
        crds::PathType::Prefix => PathKind::Prefix,
        crds::PathType::Regex => PathKind::Regex,
    };
    if value.len() > 1024 {
        return Err(format!("a path of {} bytes is too long: 1024 at most", value.len()));
    }
    if kind == PathKind::Regex {
        path_regex(value)?;
        return Ok(PathMatch {
            kind,
            value: value.to_owned(),
        });
    }
    if !value.starts_with('/') {
        return Err(format!("`{value}` is not a path: a path begins with /"));
    }
    if value.contains(['?', '#']) {
        return Err(format!(
            "`{value}` is not a path: leave out the query and what follows #"
        ));
    }
    if !value.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "`{value}` is not a path: write spaces and other characters percent-encoded (%20)"
        ));
    }
    if value.split('/').any(|element| matches!(element, "." | "..")) {
        return Err(format!(
            "`{value}` is never a request's path: leave out the elements . and .."
        ));
    }
    let value = match kind {
        PathKind::Prefix => match value.trim_end_matches('/') {
            "" => "/",
            trimmed => trimmed,
        },
        _ => value,
    };
    Ok(PathMatch {
        kind,
        value: value.to_owned(),
    })
}

/// Reads a regular expression as the data plane does: over the whole path, linear time, bounded size.
///
/// # Errors
/// A message with the expression and what is wrong with it.
pub fn path_regex(expression: &str) -> Result<regex::Regex, String> {
    // The user's part is parsed alone first: `)(` must not become valid by what is put around it.
    let build = |text: &str| {
        regex::RegexBuilder::new(text)
            .size_limit(REGEX_SIZE_LIMIT)
            .dfa_size_limit(REGEX_SIZE_LIMIT)
            .build()
    };
    build(expression)
        .and_then(|_| build(&format!("^(?:{expression})$")))
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("the regular expression `{expression}` needs more than {limit} bytes: use smaller repetitions")
            }
            error => {
                // The parser draws the expression with a mark below; its last line says what is wrong.
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                format!("`{expression}` is not a regular expression: {reason} (RE2 syntax, no backreferences or look-around)")
            }
        })
}

pub(crate) fn paths(findings: &mut Findings, field: &str, list: &[crds::PathMatch]) -> Vec<PathMatch> {
    list.iter()
        .enumerate()
        .filter_map(|(i, one)| findings.take(format!("{field}[{i}].value"), path(one)))
        .collect()
}

pub(crate) fn networks(findings: &mut Findings, field: &str, list: &[crds::Cidr]) -> Vec<IpNet> {
    let mut out = Vec::with_capacity(list.len());
    for (i, one) in list.iter().enumerate() {
        let Some(net) = findings.take(format!("{field}[{i}]"), network(one.as_str())) else {
            continue;
        };
        if net != net.trunc() {
            findings.warning(
                format!("{field}[{i}]"),
                format!("`{one}` has bits set beyond its length and is read as {}", net.trunc()),
            );
        }
        out.push(net.trunc());
    }
    out.sort();
    out.dedup();
    out
}

fn network(text: &str) -> Result<IpNet, String> {
    let parsed = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>().ok(),
    };
    let net = parsed.ok_or_else(|| {
        format!("`{text}` is not an address or prefix: write 203.0.113.0/24, 2001:db8::/32 or 198.51.100.7")
    })?;
    match net {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
            Err(format!("`{text}` is an IPv4 address in IPv6 form: write it as IPv4"))
        }
        net => Ok(net),
    }
}

pub(crate) fn header(name: &str) -> Result<String, String> {
    HeaderName::from_bytes(name.as_bytes())
        .map(|name| name.as_str().to_owned())
        .map_err(|_| {
            format!("`{name}` is not a header field name: write one such as Accept-Language, without colon or spaces")
        })
}

pub(crate) fn token(name: &str, what: &str) -> Result<String, String> {
    let good = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&b));
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "`{name}` is not {what}: letters, digits and punctuation without spaces, commas or ="
        ))
    }
}

/// Reads a label of a Kubernetes object: a name, perhaps with the domain of who gave it, and a value.
pub(crate) fn label(name: &str, value: &str) -> Result<(), String> {
    let word = |text: &str| {
        let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let ends = [text.bytes().next(), text.bytes().next_back()];
        text.len() <= 63 && text.bytes().all(|b| legal(&b)) && ends.iter().flatten().all(u8::is_ascii_alphanumeric)
    };
    let (domain, short) = name.rsplit_once('/').unwrap_or(("example.com", name));
    let named = !short.is_empty()
        && word(short)
        && domain.len() <= 253
        && domain.split('.').all(|part| !part.is_empty() && word(part));
    match (named, word(value)) {
        (true, true) => Ok(()),
        (false, _) => Err(format!(
            "`{name}` is not the name of a label: write it as `kubectl label` takes it, such as tier or example.com/tier"
        )),
        (true, false) => Err(format!(
            "`{value}` is not a value that a label can have: at most 63 letters, digits, `-`, `_` and `.`"
        )),
    }
}

pub(crate) fn method(name: &str) -> Result<String, String> {
    let good = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "`{name}` is not a request method: methods are upper case, such as GET"
        ))
    }
}

pub(crate) fn query_pattern(pattern: &str) -> Result<String, String> {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    if pattern.is_empty() || name.contains(['*', '&', '=', '#']) {
        return Err(format!(
            "`{pattern}` is not a query parameter: write its name, or the beginning of names and one * (utm_*)"
        ));
    }
    Ok(pattern.to_owned())
}

pub(crate) fn web_origin(origin: &str) -> Result<String, String> {
    let wrong = |hint: &str| Err(format!("`{origin}` is not an origin: {hint}"));
    let Some((scheme, rest)) = origin.split_once("://") else {
        return wrong("write scheme://host, such as https://chat.example.com");
    };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b)) {
        return wrong("write a scheme such as https before ://");
    }
    if rest.is_empty() || rest.contains(['/', '?', '#', '@', '*']) || !rest.bytes().all(|b| b.is_ascii_graphic()) {
        return wrong("write scheme://host or scheme://host:port and nothing behind it; wildcards are not known");
    }
    Ok(origin.to_ascii_lowercase())
}

/// A server's URL: whether it is reached by TLS, and where it is.
pub(crate) fn server(url: &str) -> Result<(bool, Endpoint), String> {
    const FORM: &str = "write http://host:port or https://host:port";
    let wrong = |hint: &str| format!("`{url}` cannot be used as a server: {hint}");
    if url.contains('#') {
        return Err(wrong("leave out what follows #"));
    }
    let uri: Uri = url.parse().map_err(|_| wrong(FORM))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(wrong(FORM)),
    };
    let authority = uri.authority().ok_or_else(|| wrong(FORM))?;
    if authority.as_str().contains('@') {
        return Err(wrong("leave out user and password"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("leave out path and query; requests keep their own"));
    }
    let host = authority.host();
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6.to_owned(),
        Some(_) => return Err(wrong("the address in brackets is not an IPv6 address")),
        None => host.to_ascii_lowercase(),
    };
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(known) {
        return Err(wrong(FORM));
    }
    let has_port = authority.as_str().len() > authority.host().len();
    let port = match authority.port_u16() {
        Some(0) => return Err(wrong("port 0 cannot be connected to")),
        Some(port) => port,
        None if has_port => return Err(wrong("a port is a number from 1 to 65535")),
        None if secure => 443,
        None => 80,
    };
    Ok((secure, Endpoint { host, port, weight: 1 }))
}

/// The URL of a list: with a path and a query, without user and password. The query is not repeated: it may be a secret.
pub(crate) fn list_url(url: &str) -> Result<(), String> {
    const FORM: &str = "write https://host/path or http://host/path";
    let shown = crate::url_list::shown(url);
    let wrong = |hint: &str| format!("`{shown}` cannot be used as the URL of a list: {hint}");
    if url.contains('#') {
        return Err(wrong("leave out what follows #"));
    }
    let uri: Uri = url.parse().map_err(|_| wrong(FORM))?;
    let authority = uri.authority().ok_or_else(|| wrong(FORM))?;
    if authority.as_str().contains('@') {
        // Not even repeated.
        return Err("user and password cannot be in the URL of a list: leave them out".to_owned());
    }
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let scheme = scheme.ok_or_else(|| wrong(FORM))?;
    server(&format!("{scheme}://{authority}")).map(|_| ())
}

/// The name of a server as a certificate has it: a host name without wildcard, or an address.
pub(crate) fn server_name(name: &str) -> Result<String, String> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(name.to_owned());
    }
    match hostname(name)? {
        name if name.contains('*') => Err(format!("`{name}` is not the name of one server: leave * out")),
        name => Ok(name),
    }
}

/// A `Host`: a name or an address, with or without port.
pub(crate) fn authority(text: &str) -> Result<String, String> {
    match text.parse::<http::uri::Authority>() {
        Ok(authority) if !text.contains('@') && !authority.host().is_empty() => Ok(text.to_owned()),
        _ => Err(format!(
            "`{text}` is not a Host: write a name, with :port where it needs one"
        )),
    }
}

pub(crate) fn media_type(text: &str) -> Result<String, String> {
    let good = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    match text.split_once('/') {
        Some((kind, sub)) if good(kind) && (good(sub) || sub == "*") => Ok(text.to_ascii_lowercase()),
        _ => Err(format!(
            "`{text}` is not a media type: write one such as text/html, without parameters, or all of a type as text/*"
        )),
    }
}

/// Statuses, sorted; each outside of `range` is a finding.
pub(crate) fn statuses(
    findings: &mut Findings,
    field: &str,
    list: &[u16],
    range: std::ops::RangeInclusive<u16>,
) -> Vec<u16> {
    for (i, status) in list.iter().enumerate().filter(|(_, status)| !range.contains(status)) {
        findings.error(
            format!("{field}[{i}]"),
            format!(
                "`{status}` cannot stand here: write {} to {}",
                range.start(),
                range.end()
            ),
        );
    }
    let mut out = list.to_vec();
    out.sort_unstable();
    out.dedup();
    out
}

/// A duration that must be longer than nothing.
pub(crate) fn positive_millis(duration: &crds::Duration) -> Result<u64, String> {
    match duration.millis() {
        Ok(0) => Err(format!(
            "`{duration}` is no time at all: write a duration longer than 0s"
        )),
        Ok(millis) => Ok(millis),
        Err(error) => Err(error.to_string()),
    }
}

/// A size that must be more than nothing.
pub(crate) fn positive_bytes(quantity: &crds::Quantity) -> Result<u64, String> {
    match quantity.bytes() {
        Ok(0) => Err(format!("`{quantity}` is no size at all: write a size of at least 1")),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}
