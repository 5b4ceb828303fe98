//! What the scheme of a request decides before anything else does: a redirect to `https`, or a refusal of a connection
//! whose handshake has not proved, or agreed on, what the host asks for.

use http::header::{HeaderName, LOCATION};

use super::{Answer, Ours, Routed};
use crate::tls::{HostTls, Proof};
use crate::worker::Worker;

const MISDIRECTED: &str = "this host wants a connection of its own, begun with its own name and with what it asks for: a \
     client certificate, or a later version of TLS";

/// Answers a request that must not go on over this connection; `proof` is what its handshake proved.
pub(super) fn answer(
    worker: &Worker,
    tls: &HostTls,
    proof: Option<Proof>,
    routed: &Routed<'_, '_>,
    out: &mut Vec<u8>,
) -> Option<Answer> {
    if let Some(port) = tls.redirect.filter(|_| proof.is_none() && !came_by_https(routed)) {
        // A method other than these two must not change on the way (RFC 9110 section 15.4.9).
        let status = if matches!(routed.head.method, "GET" | "HEAD") {
            301
        } else {
            308
        };
        let location = location(routed, port);
        let fields = [(LOCATION, location.as_str())];
        return Some(own(status, "this address is served over https", &fields).answer(worker, routed, out));
    }
    if tls.admits(proof) {
        return None;
    }
    worker.cells.refuse("misdirected");
    Some(own(421, MISDIRECTED, &[]).answer(worker, routed, out))
}

const fn own<'a>(status: u16, message: &'a str, fields: &'a [(HeaderName, &'a str)]) -> Ours<'a> {
    Ours {
        status,
        message: Some(message),
        content: None,
        retry_after: None,
        detail: "refused",
        fields,
        waf: None,
    }
}

/// A trusted proxy before us ended the client's TLS: a redirect would lead here again.
pub(super) fn came_by_https(routed: &Routed<'_, '_>) -> bool {
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
