//! The answer to a client that has to work first: a page for browsers, and for others a refusal that says so.
//!
//! Invariant: it is never stored, and nothing of the route changes it: fields of filters and error pages of a site would
//! keep the script from running.

use breakwater_waf::block;
use breakwater_waf::policy::Work;
use breakwater_wire::http1::Framing;
use http::header;

use super::pages::Ours;
use super::{Answer, Routed};
use crate::challenge::{self, About};
use crate::config::ResourceKind;
use crate::worker::Worker;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

/// Answers with the challenge of `policy`.
pub(super) fn answer(
    worker: &Worker,
    routed: &Routed<'_, '_>,
    out: &mut Vec<u8>,
    (status, retry_after): (u16, Option<u64>),
    policy: &str,
    work: Work,
) -> Answer {
    let head = routed.head;
    let accept = head.field("accept").and_then(|value| std::str::from_utf8(value).ok());
    let shows_pages = matches!(routed.resource().kind, ResourceKind::Cache(_))
        && matches!(head.method, "GET" | "HEAD")
        && head.framing == Framing::None
        && !head.upgrade
        && accept.is_some_and(challenge::shows_pages);
    let csp = [(header::CONTENT_SECURITY_POLICY, challenge::content_security_policy())];
    let (content, fields) = if shows_pages {
        let host = head.host.name().to_ascii_lowercase();
        let about = About {
            policy,
            host: &host,
            client: routed.client,
        };
        let keys = &worker.metrics.peering.challenges;
        let page = challenge::page(keys, about, work, routed.request_id, worker.clock.unix());
        ((HTML, page), &csp[..])
    } else {
        let body = block::challenged(status, routed.request_id);
        ((JSON, body.into()), &[][..])
    };
    let ours = Ours {
        status,
        message: None,
        content: Some(content),
        retry_after,
        detail: "refused",
        fields,
        waf: Some("challenge"),
    };
    ours.answer(worker, routed, out)
}
