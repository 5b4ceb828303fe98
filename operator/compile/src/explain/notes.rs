//! What `explain` says in words: TLS of a host, how requests reach servers, and filters.

use breakwater_snapshot::ObjectId;
use breakwater_snapshot::unit::{
    BalanceStrategy, Claim, FieldEdit, Filters, FirstLevel, HashBy, Origin, OriginProtocol, PathKind, PathMatch,
    PathRewrite, Prefetch, Redirect, Retries, Tiering, Tls, TlsVersion, Unit,
};

use super::{Note, Request, TlsView, first};
use crate::claims::describe;
use crate::route;

fn note(about: &str, effect: impl Into<String>) -> Note {
    Note {
        about: about.to_owned(),
        effect: effect.into(),
    }
}

/// Who is asked before the servers.
pub(super) fn tiering(tiering: &Tiering) -> Option<Note> {
    match tiering {
        Tiering::Local => None,
        Tiering::Owner => Some(note(
            "tiering",
            "what is not stored is asked of the node that owns the URL, and of the servers when that does not answer",
        )),
        Tiering::Parent(parent) => {
            let otherwise = match parent.fallback {
                true => "of the servers when there is no answer",
                false => "never of the servers",
            };
            let asked = match &parent.level {
                FirstLevel::Nodes(labels) => {
                    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    format!(
                        "what is not stored and may be shared is asked of nodes with {}, which ask the servers",
                        labels.join(", ")
                    )
                }
                FirstLevel::Servers(origin) => {
                    let servers: Vec<_> = origin.endpoints.iter().map(ToString::to_string).collect();
                    let tls = if origin.tls.is_some() { " over TLS" } else { "" };
                    format!(
                        "what is not stored is asked of another edge, {}{tls}",
                        servers.join(", ")
                    )
                }
            };
            Some(note("tiering", format!("{asked}; {otherwise}")))
        }
    }
}

/// How a host is served over TLS, by the most specific host on which an object decides.
pub(super) fn tls(units: &[(ObjectId, Unit)], host: &str) -> Option<TlsView> {
    let decisions: Vec<(Claim, &ObjectId, &Tls)> = units
        .iter()
        .filter_map(|(id, unit)| match unit {
            Unit::EdgeCache(site) => Some((id, site.tls.as_ref()?)),
            Unit::WsRoute(route) => Some((id, route.tls.as_ref()?)),
            _ => None,
        })
        .flat_map(|(id, tls)| {
            tls.hosts.iter().map(move |host| {
                let path = PathMatch {
                    kind: PathKind::Prefix,
                    value: "/".to_owned(),
                };
                let host = host.clone();
                (Claim { host, path }, id, tls)
            })
        })
        .collect();
    let claims = decisions.iter().map(|(claim, id, tls)| (claim, (*id, *tls)));
    let (claim, (id, tls)) = route::find(claims, host, "/")?;
    let mut settings = vec![note(
        "versions",
        match tls.min_version {
            TlsVersion::Tls12 => "TLS 1.2 and 1.3",
            TlsVersion::Tls13 => "TLS 1.3",
        },
    )];
    if tls.redirect {
        settings.push(note("redirect", "requests in clear text are redirected to https"));
    }
    if let Some(hsts) = tls.hsts {
        let sub = if hsts.include_sub_domains {
            ", names below too"
        } else {
            ""
        };
        let preload = if hsts.preload { ", preload" } else { "" };
        settings.push(note("hsts", format!("{} s{sub}{preload}", hsts.max_age_s)));
    }
    if let Some(clients) = &tls.clients {
        let effect = match clients.required {
            true => "a handshake without a certificate fails",
            false => "a certificate that is shown is checked",
        };
        settings.push(note("client certificates", effect));
    }
    Some(TlsView {
        host: claim.host.clone(),
        decided_by: id.to_string(),
        certificate: tls.certificate.to_string(),
        usable: units.iter().any(|(id, _)| *id == tls.certificate),
        settings,
    })
}

/// How requests reach servers.
pub(super) fn upstream(origin: &Origin) -> Vec<Note> {
    let balance = match origin.balance.strategy {
        BalanceStrategy::RoundRobin => "one server after the other".to_owned(),
        BalanceStrategy::LeastConnections => "the server with the fewest requests in progress".to_owned(),
        BalanceStrategy::PowerOfTwo => "the less busy of two servers chosen by chance".to_owned(),
        BalanceStrategy::Hash => match &origin.balance.hash_by {
            HashBy::ClientAddress => "the same server for a client address".to_owned(),
            HashBy::Header(name) => format!("the same server for a value of header {name}"),
            HashBy::Cookie(name) => format!("the same server for a value of cookie {name}"),
            HashBy::Path => "the same server for a path".to_owned(),
        },
    };
    let weights: Vec<String> = origin
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.weight != 1)
        .map(|endpoint| format!("{endpoint} has weight {}", endpoint.weight))
        .collect();
    let mut notes = vec![note(
        "balance",
        std::iter::once(balance).chain(weights).collect::<Vec<_>>().join("; "),
    )];
    if origin.balance.slow_start_ms > 0 {
        let effect = format!(
            "{} ms until a server that came back has its share",
            origin.balance.slow_start_ms
        );
        notes.push(note("slow start", effect));
    }
    let tls = origin.tls.as_ref().map(|tls| {
        let name = tls.server_name.as_deref().unwrap_or("the server's own name");
        let checked = if tls.insecure {
            "no certificate is checked"
        } else {
            "certificates are checked"
        };
        let own = tls.certificate.as_ref().map(|id| format!(", our own from {id}"));
        format!(" over TLS for {name}, {checked}{}", own.unwrap_or_default())
    });
    let version = match origin.protocol {
        OriginProtocol::Http1 => "HTTP/1.1",
        OriginProtocol::Http2 => "HTTP/2",
    };
    notes.push(note("protocol", format!("{version}{}", tls.unwrap_or_default())));
    if let Some(health) = &origin.health {
        let effect = format!(
            "GET {} every {} ms; {} bad answers take a server out, {} good ones bring it back",
            health.path, health.interval_ms, health.unhealthy_after, health.healthy_after
        );
        notes.push(note("health", effect));
    }
    if let Some(ejection) = origin.ejection {
        let effect = format!(
            "{} failures in a row, then {} ms of rest; at most {} % of the servers",
            ejection.consecutive_failures, ejection.base_ms, ejection.max_percent
        );
        notes.push(note("ejection", effect));
    }
    let circuit = [
        ("connections to each server", origin.circuit.connections_per_server),
        ("requests in progress", origin.circuit.requests),
        ("requests that wait", origin.circuit.pending),
    ];
    for (what, count) in circuit {
        notes.extend(count.map(|count| note("circuit", format!("at most {count} {what}"))));
    }
    notes.push(note("retries", retries(&origin.retries)));
    notes
}

/// Whether nodes fetch what `request` asks for by themselves, and when.
pub(super) fn prefetch(prefetch: &Prefetch, request: &Request) -> String {
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    let is_it = |url: &String| {
        let rest = url.split_once("//").map_or(url.as_str(), |(_, rest)| rest);
        let (authority, listed) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        authority[..port.unwrap_or(authority.len())] == request.host && listed == target
    };
    if !prefetch.list.urls.iter().any(is_it) {
        return match prefetch.list.sitemaps.len() {
            0 => "not in spec.prefetch.urls".to_owned(),
            count => format!("not in spec.prefetch.urls; {count} sitemaps may list it"),
        };
    }
    let schedule = prefetch.schedule.as_ref();
    let schedule = schedule.map_or_else(String::new, |schedule| format!(", and at {schedule} (UTC)"));
    let variants = match prefetch.list.variants.len() {
        0 | 1 => String::new(),
        count => format!("; in {count} variants"),
    };
    format!(
        "each node fetches it when it starts, when the list changes, after a purge of everything{schedule}; {} requests a second, {} at once{variants}",
        prefetch.requests_per_second, prefetch.concurrency
    )
}

fn retries(retries: &Retries) -> String {
    if retries.attempts == 0 {
        return "none".to_owned();
    }
    let statuses = match retries.statuses.as_slice() {
        [] => String::new(),
        statuses => format!(", on {} too", list(statuses)),
    };
    format!(
        "{} after the first where it is safe, {} % of requests{statuses}",
        retries.attempts, retries.budget_percent
    )
}

/// What is done to a request for `path`, and to its response.
pub(super) fn filters(filters: &Filters, path: &str) -> Vec<Note> {
    let mut notes = Vec::new();
    let redirect = filters
        .redirects
        .iter()
        .enumerate()
        .find(|(_, redirect)| redirect.paths.is_empty() || first(&redirect.paths, path).is_some());
    if let Some((index, redirect)) = redirect {
        notes.push(note(
            "redirect",
            format!(
                "spec.redirects[{index}] answers {}: {}",
                redirect.status,
                target(redirect, path)
            ),
        ));
    }
    if let Some(size) = filters.max_request_body {
        notes.push(note(
            "request body",
            format!("more than {size} bytes are refused with 413"),
        ));
    }
    edits("request", &filters.request_fields, &mut notes);
    edits("response", &filters.response_fields, &mut notes);
    if let Some(size) = filters.max_response_body {
        notes.push(note(
            "response body",
            format!("more than {size} bytes are refused with 502 or cut"),
        ));
    }
    if let Some(compression) = &filters.compression {
        let codings: Vec<String> = compression.codings.iter().map(|coding| format!("{coding:?}")).collect();
        let effect = format!(
            "{} from {} bytes on, {} media types",
            codings.join(", "),
            compression.min_size,
            compression.types.len()
        );
        notes.push(note("compression", effect));
    }
    for (index, page) in filters.error_pages.iter().enumerate() {
        let whose = if page.intercept {
            "ours and the origin's"
        } else {
            "ours"
        };
        let effect = format!("spec.errorPages[{index}] in place of {whose}, {}", list(&page.statuses));
        notes.push(note("error page", effect));
    }
    notes
}

fn target(redirect: &Redirect, path: &str) -> String {
    let path = match &redirect.path {
        None => None,
        Some(PathRewrite::Full(full)) => Some(format!("path {full}")),
        Some(PathRewrite::Prefix(prefix)) => {
            let matched = first(&redirect.paths, path).map(describe).unwrap_or_default();
            Some(format!("{prefix} in place of {matched}"))
        }
    };
    let parts = [
        redirect.scheme.as_ref().map(|scheme| format!("scheme {scheme}")),
        redirect.hostname.as_ref().map(|name| format!("host {name}")),
        redirect.port.map(|port| format!("port {port}")),
        path,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn edits(message: &str, edit: &FieldEdit, notes: &mut Vec<Note>) {
    let about = format!("{message} fields");
    let removed = edit.remove.iter().map(|name| format!("remove {name}"));
    let set = edit
        .set
        .iter()
        .map(|field| format!("set {}: {}", field.name, field.value));
    let added = edit
        .add
        .iter()
        .map(|field| format!("add {}: {}", field.name, field.value));
    notes.extend(removed.chain(set).chain(added).map(|effect| note(&about, effect)));
}

fn list(statuses: &[u16]) -> String {
    statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}
