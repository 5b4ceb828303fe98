//! Compiles the filters of an EdgeCache: header fields, redirects, compression, limits, error pages.

use breakwater_crds as crds;
use breakwater_snapshot::unit::{
    Coding, Compression, ErrorPage, Field, FieldEdit, Filters, PathKind, PathRewrite, Redirect,
};

use crate::findings::Findings;
use crate::value;

/// Fields that frame a message or belong to one connection (RFC 9110 section 7.6.1): whoever could change them could
/// make one message look like two.
pub(crate) const FRAMING: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

pub(crate) fn read(spec: &crds::EdgeCacheSpec, findings: &mut Findings) -> Filters {
    let size = |findings: &mut Findings, name: &str, size: Option<&crds::Quantity>| {
        size.and_then(|size| findings.take(format!("spec.limits.{name}"), value::positive_bytes(size)))
    };
    let compresses = spec.compression.is_some();
    Filters {
        request_fields: edit(Side::Request, &spec.headers.request, compresses, findings),
        response_fields: edit(Side::Response, &spec.headers.response, compresses, findings),
        redirects: redirects(&spec.redirects, findings),
        compression: spec.compression.as_ref().map(|spec| compression(spec, findings)),
        max_request_body: size(findings, "requestBody", spec.limits.request_body.as_ref()),
        max_response_body: size(findings, "responseBody", spec.limits.response_body.as_ref()),
        error_pages: error_pages(&spec.error_pages, findings),
    }
}

/// Whose fields are edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// What is done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit<'a> {
    Remove,
    Set(&'a str),
    Add(&'a str),
}

fn edit(side: Side, spec: &crds::HeaderEdit, compresses: bool, findings: &mut Findings) -> FieldEdit {
    let field = match side {
        Side::Request => "spec.headers.request",
        Side::Response => "spec.headers.response",
    };
    let judge = |name: &str, edit: Edit<'_>| {
        let name = editable(name, side)?;
        match compresses.then(|| fools_compression(&name, side, edit)).flatten() {
            Some(reason) => Err(format!("`{name}` {reason}: leave it out, or leave compression out")),
            None => Ok(name),
        }
    };
    let mut fields = |which: &str, list: &[crds::HeaderField]| -> Vec<Field> {
        let mut out = Vec::with_capacity(list.len());
        for (i, one) in list.iter().enumerate() {
            let at = format!("{field}.{which}[{i}]");
            let edit = match which {
                "set" => Edit::Set(&one.value),
                _ => Edit::Add(&one.value),
            };
            let name = findings.take(format!("{at}.name"), judge(one.name.as_str(), edit));
            let value = findings.take(format!("{at}.value"), field_value(one.name.as_str(), &one.value));
            if let (Some(name), Some(value)) = (name, value) {
                out.push(Field { name, value });
            }
        }
        out
    };
    let set = fields("set", &spec.set);
    let add = fields("add", &spec.add);
    for (i, one) in set.iter().enumerate() {
        if set.iter().take(i).any(|earlier| earlier.name == one.name) {
            findings.error(
                format!("{field}.set[{i}].name"),
                format!("`{}` is set twice: leave one out, or use add", one.name),
            );
        }
    }
    let remove = spec
        .remove
        .iter()
        .enumerate()
        .filter_map(|(i, name)| findings.take(format!("{field}.remove[{i}]"), judge(name.as_str(), Edit::Remove)));
    let remove = remove.collect();
    FieldEdit { remove, set, add }
}

/// The name of a field that may be changed, in lower case.
fn editable(name: &str, side: Side) -> Result<String, String> {
    let name = value::header(name)?;
    if FRAMING.contains(&name.as_str()) {
        return Err(format!(
            "`{name}` frames the message or belongs to one connection and cannot be changed: leave it out"
        ));
    }
    // What the data plane writes itself (its `filter::fields`).
    let reason = match (side, name.as_str()) {
        (Side::Request, "host") => "chose this object and goes to the origin as it came",
        (Side::Request, "via" | "cdn-loop") => "shows requests that go round in circles",
        (Side::Response, "date") => "tells caches when the response was made",
        // An edit is for every response, our own pages among them, and changes no byte of their content.
        (Side::Response, "content-encoding") => "says how the content is encoded",
        (Side::Response, "content-range") => "says which part of the content it is",
        _ => return Ok(name),
    };
    Err(format!("`{name}` {reason}, and cannot be changed: leave it out"))
}

/// Why an edit and compression do not go together: it says to the client, or to caches on the way, what is true of one
/// coding only; or it asks the origin for a coding that nobody asked for.
fn fools_compression(name: &str, side: Side, edit: Edit<'_>) -> Option<&'static str> {
    match (side, name, edit) {
        (Side::Response, "vary", Edit::Remove | Edit::Set(_)) => {
            Some("tells caches which responses are compressed (add puts something beside it)")
        }
        (Side::Response, "etag", Edit::Set(_) | Edit::Add(_)) => {
            Some("tells the compressed and the plain form of a response apart, and one value would not")
        }
        (Side::Response, "accept-ranges", Edit::Set(_) | Edit::Add(_)) => {
            Some("tells that parts of a compressed response are not to be had")
        }
        (Side::Request, "accept-encoding", Edit::Set(value) | Edit::Add(value))
            if !value.eq_ignore_ascii_case("identity") =>
        {
            Some(
                "asks the origin for the coding that the client was found to want (set it to identity, or remove it, where the origin is not to compress)",
            )
        }
        _ => None,
    }
}

/// A value that one field line can carry (RFC 9110 section 5.5).
pub(crate) fn field_value(name: &str, value: &str) -> Result<String, String> {
    if value.len() > 4096 {
        return Err(format!("the value of {name} has {} bytes: 4096 at most", value.len()));
    }
    if value.trim_matches([' ', '\t']) != value {
        return Err(format!("the value of {name} begins or ends with a space: leave it out"));
    }
    let good = |b: u8| b.is_ascii_graphic() || matches!(b, b' ' | b'\t');
    if !value.bytes().all(good) {
        return Err(format!(
            "the value of {name} holds a line break, a control character or one that is not ASCII: percent-encode or leave it out"
        ));
    }
    Ok(value.to_owned())
}

fn redirects(list: &[crds::Redirect], findings: &mut Findings) -> Vec<Redirect> {
    let mut out: Vec<Redirect> = Vec::with_capacity(list.len());
    for (i, redirect) in list.iter().enumerate() {
        let field = format!("spec.redirects[{i}]");
        if redirect.scheme.is_none()
            && redirect.hostname.is_none()
            && redirect.port.is_none()
            && redirect.path.is_none()
        {
            findings.error(
                &field,
                "the redirect leads to where it came from: give scheme, hostname, port or path",
            );
        }
        if !matches!(redirect.status, 301 | 302 | 303 | 307 | 308) {
            findings.error(
                format!("{field}.status"),
                format!(
                    "`{}` is not the status of a redirect: write 301, 302, 303, 307 or 308",
                    redirect.status
                ),
            );
        }
        if redirect.port == Some(0) {
            findings.error(format!("{field}.port"), "`0` is not a port: write 1 to 65535");
        }
        if let Some(earlier) = out.iter().position(|earlier| earlier.paths.is_empty()) {
            findings.warning(
                &field,
                format!("the redirect is never reached: spec.redirects[{earlier}] matches everything"),
            );
        }
        let paths = value::paths(findings, &format!("{field}.paths"), &redirect.paths);
        let path = redirect.path.as_ref().and_then(|path| {
            let field = format!("{field}.path");
            let target = |findings: &mut Findings, name: &str, text: &str| {
                findings.take(format!("{field}.{name}"), target_path(text))
            };
            match (&path.replace_full_path, &path.replace_prefix) {
                (Some(full), None) => target(findings, "replaceFullPath", full).map(PathRewrite::Full),
                (None, Some(prefix)) => {
                    if paths.is_empty() || paths.iter().any(|path| path.kind != PathKind::Prefix) {
                        findings.error(
                            format!("{field}.replacePrefix"),
                            "it takes the place of what a path of type Prefix matched: give such paths, and only such",
                        );
                    }
                    target(findings, "replacePrefix", prefix).map(PathRewrite::Prefix)
                }
                _ => {
                    findings.error(&field, "give exactly one of replaceFullPath and replacePrefix");
                    None
                }
            }
        });
        out.push(Redirect {
            paths,
            scheme: redirect.scheme.map(|scheme| {
                match scheme {
                    crds::RedirectScheme::Http => "http",
                    crds::RedirectScheme::Https => "https",
                }
                .to_owned()
            }),
            hostname: redirect.hostname.as_ref().and_then(|name| {
                let name = value::hostname(name.as_str()).and_then(|name| match name.contains('*') {
                    true => Err(format!(
                        "`{name}` is not one host: a redirect leads to a name without *"
                    )),
                    false => Ok(name),
                });
                findings.take(format!("{field}.hostname"), name)
            }),
            port: redirect.port,
            path,
            status: redirect.status,
        });
    }
    out
}

fn target_path(path: &str) -> Result<String, String> {
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(format!("`{path}` is not a path: a path begins with one /"));
    }
    if path.len() > 1024 || !path.bytes().all(|b| b.is_ascii_graphic()) || path.contains(['?', '#', '\\']) {
        return Err(format!(
            "`{path}` is not a path: up to 1024 characters, percent-encoded, without query and fragment"
        ));
    }
    Ok(path.to_owned())
}

fn compression(spec: &crds::Compression, findings: &mut Findings) -> Compression {
    if spec.codings.is_empty() {
        findings.error(
            "spec.compression.codings",
            "the list is empty: leave it out for the default, or leave compression out",
        );
    }
    if spec.types.is_empty() {
        findings.error(
            "spec.compression.types",
            "the list is empty: leave it out for the default, or leave compression out",
        );
    }
    let mut codings: Vec<Coding> = Vec::with_capacity(spec.codings.len());
    for coding in &spec.codings {
        let coding = match coding {
            crds::Coding::Zstd => Coding::Zstd,
            crds::Coding::Brotli => Coding::Brotli,
            crds::Coding::Gzip => Coding::Gzip,
        };
        if !codings.contains(&coding) {
            codings.push(coding);
        }
    }
    let mut types: Vec<String> = Vec::with_capacity(spec.types.len());
    for (i, media_type) in spec.types.iter().enumerate() {
        let read = value::media_type(media_type.as_str());
        types.extend(findings.take(format!("spec.compression.types[{i}]"), read));
    }
    types.sort();
    types.dedup();
    Compression {
        codings,
        types,
        min_size: findings
            .take("spec.compression.minSize", spec.min_size.bytes())
            .unwrap_or_default(),
    }
}

fn error_pages(list: &[crds::ErrorPage], findings: &mut Findings) -> Vec<ErrorPage> {
    let mut out: Vec<ErrorPage> = Vec::with_capacity(list.len());
    for (i, page) in list.iter().enumerate() {
        let field = format!("spec.errorPages[{i}]");
        let statuses = value::statuses(findings, &format!("{field}.statuses"), &page.statuses, 400..=599);
        if page.statuses.is_empty() {
            findings.error(
                format!("{field}.statuses"),
                "the list is empty: name the statuses it is for",
            );
        }
        for status in &statuses {
            if let Some(earlier) = out.iter().position(|earlier| earlier.statuses.contains(status)) {
                findings.warning(
                    format!("{field}.statuses"),
                    format!("{status} is answered by spec.errorPages[{earlier}] already"),
                );
            }
        }
        if page.body.len() > 65_536 {
            findings.error(
                format!("{field}.body"),
                format!("the page has {} bytes: 65536 at most", page.body.len()),
            );
        }
        let content_type = field_value("contentType", &page.content_type);
        out.push(ErrorPage {
            statuses,
            content_type: findings
                .take(format!("{field}.contentType"), content_type)
                .unwrap_or_default(),
            body: page.body.clone(),
            intercept: page.intercept,
        });
    }
    out
}
