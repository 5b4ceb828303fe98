//! What the scheme of a request decides before anything else does: a redirect to `https`, or a refusal of a connection
//! whose client has not proved what the host asks for.

use breakwater_wire::http1::Framing;
use http::header::{HeaderName, LOCATION};

use super::{Answer, Routed, entry};
use crate::respond::Page;
use crate::telemetry::access_log;
use crate::tls::{HostTls, Realm};
use crate::worker::Worker;

const MISDIRECTED: &str = "this host wants a connection of its own, begun with its own name and a client certificate";

/// Answers a request that must not go on over this connection; `realm` is what its handshake proved.
pub(super) fn answer(
    worker: &Worker,
    tls: &HostTls,
    realm: Option<Realm>,
    routed: &Routed<'_, '_>,
    out: &mut Vec<u8>,
) -> Option<Answer> {
    if let Some(port) = tls.redirect.filter(|_| realm.is_none() && !came_by_https(routed)) {
        // A method other than these two must not change on the way (RFC 9110 section 15.4.9).
        let status = if matches!(routed.head.method, "GET" | "HEAD") {
            301
        } else {
            308
        };
        let location = location(routed, port);
        let fields = [(LOCATION, location.as_str())];
        return Some(own(
            worker,
            routed,
            out,
            status,
            "this address is served over https",
            &fields,
        ));
    }
    if tls.admits(realm) {
        return None;
    }
    worker.cells.refuse("misdirected");
    Some(own(worker, routed, out, 421, MISDIRECTED, &[]))
}

/// A trusted proxy before us ended the client's TLS: a redirect would lead here again.
fn came_by_https(routed: &Routed<'_, '_>) -> bool {
    let proto = routed.head.field("x-forwarded-proto").filter(|_| routed.trusted);
    proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
}

fn location(routed: &Routed<'_, '_>, port: u16) -> String {
    let host = routed.head.host.name();
    let path = routed.path.forward();
    let mut location = format!("https://{host}");
    if port != 443 {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(path);
    if let Some(query) = routed.head.query {
        location.push('?');
        location.push_str(query);
    }
    location
}

/// Answers, counts and logs.
fn own(
    worker: &Worker,
    routed: &Routed<'_, '_>,
    out: &mut Vec<u8>,
    status: u16,
    message: &str,
    fields: &[(HeaderName, &str)],
) -> Answer {
    let head = routed.head;
    // A body that nobody will read ends the connection.
    let close = !head.keep_alive || head.framing != Framing::None || worker.draining.get();
    let before = out.len();
    Page {
        status,
        request_id: routed.request_id,
        message: Some(message),
        wants_json: false,
        retry_after: None,
        cache_status: routed.resource().kind.detail("refused"),
        fields,
        hsts: routed.hsts(),
        head_only: head.method == "HEAD",
        close,
    }
    .write(out, worker);
    let local = routed.local();
    local.cells.requests.add(status);
    local.cells.durations.observe(routed.started.elapsed());
    if let Some(log) = &worker.metrics.access_log {
        log.write(access_log::line(&access_log::Entry {
            bytes: (out.len() - before) as u64,
            status,
            ..entry(worker, routed)
        }));
    }
    Answer::Written {
        body: Vec::new(),
        close,
    }
}
