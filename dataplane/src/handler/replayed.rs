//! A request that was, as far as a log knows it: taken through gate, path, route and policies, and no further.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use breakwater_wire::http1::{Limits, Parsed, RequestHead, parse_request};
use breakwater_wire::path::normalize;

use super::Routed;
use crate::worker::Worker;

/// Why nothing was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unjudged {
    /// It would be refused before any policy.
    Malformed(String),
    /// No resource serves it.
    Unrouted,
}

/// Judges the request in `head`, of which only `known` fields are from the log. Objections go to the worker's audit log.
pub(crate) fn judge(
    worker: &Rc<Worker>,
    head: &[u8],
    known: &[&str],
    client: IpAddr,
    request_id: &str,
) -> Result<(), Unjudged> {
    let malformed = |error: &dyn ToString| Unjudged::Malformed(error.to_string());
    let head: RequestHead<'_> = match parse_request(head, &Limits::default()) {
        Ok(Parsed::Complete(head)) => head,
        Ok(Parsed::Partial) => return Err(malformed(&"it is no request")),
        Err(error) => return Err(malformed(&error)),
    };
    if head.method == "TRACE" {
        return Err(malformed(&"TRACE is not served"));
    }
    let path = normalize(head.path).map_err(|error| malformed(&error))?;
    let config = Rc::clone(&worker.config.borrow());
    let route = config.route(head.host.name(), path.as_str());
    let route = route.ok_or(Unjudged::Unrouted)?;
    let routed = Routed {
        head: &head,
        path: &path,
        config: &config,
        index: route.resource,
        client,
        trusted: false,
        request_id,
        started: Instant::now(),
        secure: false,
        tls: route.tls,
        asked_by: None,
    };
    // Which connection carried it is not known, so that limits on connections are not asked. What is left to be judged
    // is told of when it is dropped; whether something is refused is in the audit log as well.
    let _ = super::judge(worker, None, &routed, Some(known));
    Ok(())
}
