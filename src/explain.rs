//! `breakwater explain`: which object serves a URL, which policies apply, the cache key and the rules in force.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use breakwater_compile::{
    CacheView, Explanation, Note, PolicyView, Request, Severity, TlsView, WebSocketView, compile, explain,
};
use breakwater_dataplane::geo::Locations;
use breakwater_snapshot::unit::{self, Mode};
use breakwater_waf::geo::{Country, Locate as _, UNKNOWN_ASN};
use breakwater_wire::device::{self, Classes};
use breakwater_wire::etag::EntityTag;
use breakwater_wire::path::normalize;
use breakwater_wire::{accept_encoding, forwarded};
use clap::Args;

use crate::check::{self, Format};
use crate::crs::{catalog, read_crs};
use crate::exit::{self, Failure};
use crate::manifests::{Diagnostic, Loaded, Services};

/// The request to explain.
#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Directory of manifests: its *.yaml and *.yml files, not those of directories below; or one file
    #[arg(short = 'f', long = "filename", value_name = "DIR")]
    dir: PathBuf,
    /// Absolute URL of the request, such as `https://shop.example.com/cart?id=1`
    #[arg(value_name = "URL")]
    url: String,
    /// Request method
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Request header field; may be given several times
    #[arg(short = 'H', long = "header", value_name = "K: V")]
    headers: Vec<String>,
    /// The client's address, to see what lists say to it
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Directory of the OWASP Core Rule Set that nodes have, to name its version and to look at exclusions [default: as for `up`]
    #[arg(long, value_name = "DIR")]
    crs_dir: Option<PathBuf>,
    /// Database of countries that nodes have, to see what lists of them say to the client
    #[arg(long, value_name = "FILE", requires = "client")]
    geo_db: Option<PathBuf>,
    /// Database of autonomous systems that nodes have, likewise
    #[arg(long, value_name = "FILE", requires = "client")]
    asn_db: Option<PathBuf>,
    /// How to print the explanation
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<ExitCode, Failure> {
    let (loaded, found, explanation) = explained(args)?;
    found
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error || concerns(&explanation, diagnostic))
        .for_each(exit::complain);
    exit::print(&match args.output {
        Format::Json => check::to_json(&explanation)?,
        Format::Text => text(&explanation),
    })?;
    Ok(check::code(&loaded, &found))
}

/// The manifests, what is found in them, and what they do with the request.
fn explained(args: &ExplainArgs) -> Result<(Loaded, Vec<Diagnostic>, Explanation), Failure> {
    let mut request = request(args)?;
    let crs = read_crs(args.crs_dir.clone())?;
    request.crs = crs.as_ref().and_then(|crs| crs.version()).map(str::to_owned);
    locate(args, &mut request)?;
    let loaded = check::load(&args.dir)?;
    let mut world = loaded.world();
    world.crs = catalog(crs);
    let output = compile(&world);
    let found = loaded.report(&output, Services::Elsewhere);
    let explanation = explain(
        &output.snapshot,
        &request,
        |codings| coding(&request, codings),
        |told_apart| class(&request, told_apart),
    );
    Ok((loaded, found, explanation))
}

/// Whether a finding is about an object that has to do with the request.
fn concerns(explanation: &Explanation, found: &Diagnostic) -> bool {
    let object = format!("{}/{}/{}", found.kind, found.namespace, found.name);
    let resource = explanation.route.iter().map(|route| &route.resource);
    let policies = explanation.policies.iter().map(|policy| &policy.policy);
    resource.chain(policies).any(|known| *known == object)
}

/// Where the client is, as far as databases are given.
fn locate(args: &ExplainArgs, request: &mut Request) -> Result<(), Failure> {
    let Some(client) = args.client else { return Ok(()) };
    let locations = Locations::open(args.geo_db.as_deref(), args.asn_db.as_deref())
        .map_err(|error| Failure::environment(error.to_string(), ""))?;
    if args.geo_db.is_some() {
        request.country = Some(locations.country(client).unwrap_or(Country::UNKNOWN));
    }
    if args.asn_db.is_some() {
        request.asn = Some(locations.asn(client).unwrap_or(UNKNOWN_ASN));
    }
    Ok(())
}

fn request(args: &ExplainArgs) -> Result<Request, Failure> {
    let usage = |what: String| Failure::environment(what, "write https://host/path");
    let uri: http::Uri = args
        .url
        .split('#')
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|error| usage(format!("`{}` is not a URL: {error}", args.url)))?;
    let (Some("http" | "https" | "ws" | "wss"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        return Err(usage(format!("`{}` is not an absolute URL", args.url)));
    };
    let mut headers = Vec::new();
    for header in &args.headers {
        let Some((name, value)) = header.split_once(':') else {
            return Err(Failure::environment(
                format!("`{header}` is not a header field"),
                "write -H 'Name: value'",
            ));
        };
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let path = normalize(uri.path())
        .map_err(|error| Failure::environment(format!("`{}` is answered 400: {error}", uri.path()), ""))?;
    let secure = matches!(uri.scheme_str(), Some("https" | "wss"));
    let fields = || headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut claims = Vec::new();
    forwarded::claims_of_request(fields, |name, _, value| {
        claims.push((name.to_owned(), String::from_utf8_lossy(value).into_owned()));
    });
    claims.sort();
    Ok(Request {
        method: args.method.clone(),
        secure,
        host: host.trim_end_matches('.').to_ascii_lowercase(),
        port: uri.port_u16().filter(|port| *port != if secure { 443 } else { 80 }),
        claims,
        other_paths: path.other_readings(),
        path: path.as_str().to_owned(),
        query: uri.query().map(str::to_owned),
        headers,
        client: args.client,
        country: None,
        asn: None,
        crs: None,
    })
}

/// Which of the codings a route has its client gets, as nodes choose it: parts are parts of the plain response.
fn coding(request: &Request, codings: &[&'static str]) -> Option<usize> {
    let named = |wanted: &'static str| {
        let fields = request.headers.iter().filter(move |(name, _)| name == wanted);
        fields.map(|(_, value)| value.as_bytes())
    };
    let dated = named("if-range")
        .next()
        .is_some_and(|value| EntityTag::parse(value).is_none());
    if named("range").next().is_some() && !dated {
        return None;
    }
    accept_encoding::choose(named("accept-encoding"), codings)
}

/// The class of the device that a request comes from, as nodes find it.
fn class(request: &Request, told_apart: &[unit::Device]) -> &'static str {
    let value = |wanted: &str| {
        let field = request.headers.iter().find(|(name, _)| name == wanted);
        field.map(|(_, value)| value.as_bytes())
    };
    let classes = Classes {
        mobile: told_apart.contains(&unit::Device::Mobile),
        tablet: told_apart.contains(&unit::Device::Tablet),
        bot: told_apart.contains(&unit::Device::Bot),
    };
    classes
        .of(value("user-agent"), value(device::MOBILE_HINT.as_str()))
        .as_str()
}

fn text(explanation: &Explanation) -> String {
    let mut out = String::new();
    match &explanation.route {
        None => line(&mut out, 0, "resource", "none"),
        Some(route) => {
            line(&mut out, 0, "resource", &route.resource);
            let path = format!("host {}, path {:?} {}", route.host, route.path.kind, route.path.value);
            line(&mut out, 1, "matched by", &path);
            let servers = match route.servers.as_slice() {
                [] => "none known here".to_owned(),
                servers => servers.join(", "),
            };
            line(&mut out, 1, "servers", &servers);
            notes(&mut out, &route.upstream);
        }
    }
    tls_text(&mut out, explanation.tls.as_ref());
    if let Some(route) = explanation.route.as_ref().filter(|route| !route.filters.is_empty()) {
        line(&mut out, 0, "filters", &route.filters.len().to_string());
        notes(&mut out, &route.filters);
    }
    for policy in &explanation.policies {
        policy_text(&mut out, policy);
    }
    if let Some(cache) = &explanation.cache {
        cache_text(&mut out, cache);
    }
    if let Some(web_socket) = &explanation.web_socket {
        web_socket_text(&mut out, web_socket);
    }
    if let Some(refused) = &explanation.refused {
        line(&mut out, 0, "refused", refused);
    }
    out
}

fn tls_text(out: &mut String, tls: Option<&TlsView>) {
    let Some(tls) = tls else {
        line(out, 0, "tls", "none: no object has tls for this host");
        return;
    };
    line(
        out,
        0,
        "tls",
        &format!("host {}, decided by {}", tls.host, tls.decided_by),
    );
    let fault = if tls.usable {
        ""
    } else {
        " (missing or broken: handshakes fail)"
    };
    line(out, 1, "certificate", &format!("{}{fault}", tls.certificate));
    notes(out, &tls.settings);
}

fn notes(out: &mut String, notes: &[Note]) {
    for note in notes {
        line(out, 1, &note.about, &note.effect);
    }
}

fn policy_text(out: &mut String, policy: &PolicyView) {
    let mode = match policy.mode {
        Mode::Enforce => "Enforce",
        Mode::DetectOnly => "DetectOnly",
    };
    line(out, 0, "policy", &format!("{} ({mode})", policy.policy));
    for list in &policy.lists {
        let entry = list
            .entry
            .as_ref()
            .map(|entry| format!(" (by {entry})"))
            .unwrap_or_default();
        line(out, 1, &list.list, &format!("{}{entry}", list.effect));
    }
    for limit in &policy.limits {
        line(out, 1, &format!("limit {}", limit.name), &limit.limit);
    }
    if let Some(penalty) = &policy.penalty {
        line(out, 1, "penalty", penalty);
    }
    if let Some(challenge) = &policy.challenge {
        line(out, 1, "challenge", challenge);
    }
    notes(out, &policy.rules);
}

fn cache_text(out: &mut String, cache: &CacheView) {
    let answer = if cache.looked_up { "looked up" } else { "passed by" };
    line(out, 0, "cache", &format!("{answer}: {}", cache.reason));
    for (part, value) in &cache.key {
        line(out, 1, &format!("key {part}"), value.as_deref().unwrap_or("(absent)"));
    }
    if let Some(coding) = cache.coding {
        line(
            out,
            1,
            "variant accept-encoding",
            &format!("{coding}, of what is compressed"),
        );
    }
    if cache.rules.is_empty() {
        line(out, 1, "rule", "none: the origin's headers decide");
    }
    for rule in &cache.rules {
        let effect = match rule.ttl_ms {
            _ if rule.bypass && cache.looked_up => "not stored".to_owned(),
            _ if rule.bypass => "goes past the cache".to_owned(),
            Some(ttl) => format!("fresh for {ttl} ms"),
            None => "the origin's headers decide".to_owned(),
        };
        let windows = [
            ("while it is revalidated", rule.stale_while_revalidate_ms),
            ("if the origin fails", rule.stale_if_error_ms),
        ];
        let stale = windows
            .iter()
            .filter_map(|(when, millis)| Some(format!("; stale for {} ms {when}", (*millis)?)));
        let effect = effect + &stale.collect::<String>();
        let statuses: Vec<String> = rule.statuses.iter().map(u16::to_string).collect();
        let when = match statuses.as_slice() {
            [] => String::new(),
            statuses => format!("status {}: ", statuses.join(", ")),
        };
        line(out, 1, &rule.rule, &format!("{when}{effect}"));
    }
    for (name, millis) in [
        ("stale while revalidate", cache.stale_while_revalidate_ms),
        ("stale if error", cache.stale_if_error_ms),
    ] {
        if let Some(millis) = millis {
            line(out, 1, name, &format!("{millis} ms"));
        }
    }
    if let Some(prefetch) = &cache.prefetch {
        line(out, 1, "prefetch", prefetch);
    }
}

fn web_socket_text(out: &mut String, web_socket: &WebSocketView) {
    line(out, 0, "websocket", &web_socket.origin);
    let subprotocols = match web_socket.subprotocols.as_slice() {
        [] => "any".to_owned(),
        names => names.join(", "),
    };
    line(out, 1, "subprotocols", &subprotocols);
    for limit in &web_socket.limits {
        line(out, 1, "limit", limit);
    }
}

fn line(out: &mut String, depth: usize, name: &str, value: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{}{name}: {value}", "  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> ExplainArgs {
        ExplainArgs {
            dir: PathBuf::new(),
            url: url.to_owned(),
            method: "GET".to_owned(),
            headers: Vec::new(),
            client: None,
            crs_dir: None,
            geo_db: None,
            asn_db: None,
            output: Format::Text,
        }
    }

    fn asked(url: &str) -> Result<Request, Failure> {
        request(&args(url))
    }

    #[test]
    fn warnings_about_what_serves_the_request_are_told_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let site = |name: &str| {
            format!(
                "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: {name}}}\n\
                 spec: {{hostnames: [{name}.example.com], origin: {{urls: [\"http://127.0.0.1:3000\"]}}}}\n---\n\
                 apiVersion: breakwater.dev/v1alpha1\nkind: WafPolicy\nmetadata: {{name: {name}}}\nspec:\n\
                 \x20 targetRefs: [{{kind: EdgeCache, name: {name}}}]\n\
                 \x20 seclang: {{inline: 'SecRule REMOTE_USER x \"id:1,phase:1,deny\"'}}\n"
            )
        };
        std::fs::write(dir.path().join("site.yaml"), site("shop") + "---\n" + &site("other")).unwrap();
        let mut args = args("http://shop.example.com/");
        args.dir = dir.path().to_owned();
        let (_, found, explanation) = explained(&args).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        let told: Vec<&Diagnostic> = found.iter().filter(|found| concerns(&explanation, found)).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let told = told[0].to_string();
        assert!(
            told.starts_with("warning: rule 1 never matches") && told.contains("WafPolicy/default/shop"),
            "{told}"
        );
    }

    #[test]
    fn paths_are_read_as_the_data_plane_reads_them() {
        for (url, path, others) in [
            ("http://a/%61dmin", "/admin", &[][..]),
            ("http://a/x/../admin?q", "/admin", &[]),
            ("http://a//admin", "//admin", &["/admin"]),
            ("http://a/%2fadmin", "/%2Fadmin", &["/admin"]),
            ("http://a/;x/admin;y", "/;x/admin;y", &["/admin"]),
        ] {
            let request = asked(url).unwrap();
            assert_eq!(request.path, path, "{url}");
            assert_eq!(request.other_paths, others, "{url}");
        }
        for url in ["http://a/%zz", "http://a/%00", "http://a/x/%2e%2e%2fadmin"] {
            assert!(asked(url).unwrap_err().to_string().contains("400"), "{url}");
        }
    }

    #[test]
    fn the_port_and_the_claims_of_a_request_are_read() {
        let mut args = args("https://A.example.:8443/");
        args.headers = vec!["X-Forwarded-Host: b".to_owned(), "Forwarded: for=1;host=c".to_owned()];
        let asked = request(&args).unwrap();
        assert_eq!(
            (asked.secure, asked.host.as_str(), asked.port),
            (true, "a.example", Some(8443))
        );
        let claims = [("forwarded", "host=c"), ("x-forwarded-host", "b")];
        assert_eq!(
            asked.claims,
            claims.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(request(&self::args("http://a:80/")).unwrap().port, None);
    }

    #[test]
    fn the_coding_is_that_of_the_client_but_parts_are_plain() {
        let coding = |fields: &[&str]| {
            let mut args = args("http://a/");
            args.headers = fields.iter().map(|field| (*field).to_owned()).collect();
            coding(&request(&args).unwrap(), &["zstd", "br", "gzip"])
        };
        assert_eq!(coding(&["Accept-Encoding: gzip, br"]), Some(1));
        assert_eq!(coding(&[]), None);
        assert_eq!(coding(&["Accept-Encoding: gzip", "Range: bytes=0-1"]), None);
        let dated = "If-Range: Sat, 28 Nov 2026 00:00:00 GMT";
        assert_eq!(coding(&["Accept-Encoding: gzip", "Range: bytes=0-1", dated]), Some(2));
    }
}
