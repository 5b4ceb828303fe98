//! What is done with a request: the way through route and access to a handler.
//!
//! [`answer`] runs within a poll of the connection, over borrowed bytes: it refuses, answers a cache hit, or lets the
//! request leave as a [`Job`]. [`exchange()`] takes the job and the socket and does the rest.

mod cache;
mod challenged;
mod client;
mod exchange;
mod filtered;
mod forward;
pub(crate) mod hit;
mod https;
mod inspected;
mod job;
mod pages;
mod peer;
mod proxy;
pub(crate) mod replayed;
mod stored;
mod websocket;
mod withdrawn;

use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use breakwater_waf::limit::ConnectionGuard;
use breakwater_waf::policy::{Identity, Work};
use breakwater_wire::hop::strip_named;
use breakwater_wire::http1::{Framing, RequestHead};
use breakwater_wire::path::{NormalPath, normalize};
use bytes::Bytes;
use http::header;

use crate::access::{self, Judgement, Subject};
use crate::config::{Local, Resource, ResourceKind, WorkerConfig};
use crate::conn::Shared;
use crate::inspect::{Inspection, Refusal};
use crate::request_id::{self, acceptable};
use crate::tls::{HostTls, Hsts};
use crate::worker::Worker;
use breakwater_wire::peer as envelope;
pub(crate) use cache::prefetch;
pub(crate) use client::{Channel, Link, Outgoing, Over, split_head};
use exchange::{End, Failure, Outcome, after, conclude, count, host_name, public};
pub(crate) use exchange::{begin_on_a_stream, exchange, never_begun};
pub(crate) use job::{Asked, Job};
use pages::{Ours, entry, overloaded, page, page_with, unrouted, unrouted_but_open, unrouted_page};
pub(crate) use websocket::Relaying;
pub(crate) use withdrawn::withdrawn;

/// What became of a request within the poll.
pub(crate) enum Answer {
    /// Answered: the head, and perhaps the body, is in the output; the rest of the body is in `body`.
    Written {
        /// The head is a field block of HTTP/2, which it may be in answer to a request over HTTP/2: so many bytes. None: it
        /// is in HTTP/1 form.
        block: Option<usize>,
        body: Vec<Bytes>,
        close: bool,
    },
    /// It needs more than memory.
    Leave(Box<Job>),
}

/// What a connection does after an exchange.
pub(crate) enum After<S> {
    /// It waits for the next request, of which some bytes may be there.
    Next { stream: S, received: Vec<u8> },
    /// It became a WebSocket.
    Relay(Pin<Box<Relaying<S>>>),
    /// It closes once the client had time to read.
    Linger(S),
    /// It is over.
    Close,
}

/// What is known of a request once it is routed.
struct Routed<'a, 'b> {
    head: &'a RequestHead<'b>,
    path: &'a NormalPath<'b>,
    config: &'a Rc<WorkerConfig>,
    index: u32,
    client: IpAddr,
    trusted: bool,
    request_id: &'a str,
    started: Instant,
    /// It came over TLS.
    secure: bool,
    /// For [`WorkerConfig::host_tls`].
    tls: Option<u32>,
    /// Another node asks for its client: the other end of that client's connection.
    asked_by: Option<IpAddr>,
}

impl<'a> Routed<'a, '_> {
    fn resource(&self) -> &'a Resource {
        self.config.resource(self.index)
    }

    fn local(&self) -> &'a Local {
        self.config.local(self.index)
    }

    /// How the host that the route claims is served over TLS, if it is.
    fn host_tls(&self) -> Option<&'a HostTls> {
        self.config.host_tls(self.tls)
    }

    /// What goes with answers over TLS (RFC 6797 section 7.2).
    fn hsts(&self) -> Option<&'a Hsts> {
        self.host_tls().filter(|_| self.secure)?.hsts.as_ref()
    }
}

/// Routes and judges a request; answers it if that takes no waiting.
pub(crate) fn answer(shared: &mut Shared, head: &RequestHead<'_>, out: &mut Vec<u8>) -> Answer {
    if shared.door.is_of_nodes() {
        return peer::answer(shared, head, out);
    }
    let worker = Rc::clone(&shared.worker);
    let started = Instant::now();
    if head.method == "TRACE" {
        // It would show cookies and credentials to whoever reads the answer (RFC 9110 section 9.3.8).
        worker.cells.refuse("trace");
        // What an origin does with its other methods is not known (RFC 9110 section 15.5.6).
        let allow = (header::ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        return unrouted_page(&worker, head, out, (405, "TRACE is not served"), &[allow], true);
    }
    let path = match normalize(head.path) {
        Ok(path) => path,
        Err(error) => {
            worker.cells.refuse(error.label());
            return unrouted(&worker, out, 400, &error.to_string());
        }
    };
    let config = worker.config.borrow();
    let Some(route) = config.route(head.host.name(), path.as_str()) else {
        return unrouted_but_open(&worker, head, out);
    };
    let resource = config.resource(route.resource);
    let (client, trusted) = resource.client.find(shared.peer, head.fields());
    let made = worker.ids.next();
    let request_id = request_id_of(head, trusted, &made);
    let routed = Routed {
        head,
        path: &path,
        config: &config,
        index: route.resource,
        client,
        trusted,
        request_id,
        started,
        secure: shared.proof.is_some(),
        tls: route.tls,
        asked_by: None,
    };
    if let Some(tls) = routed.host_tls()
        && let Some(answer) = https::answer(&worker, tls, shared.proof, &routed, out)
    {
        return answer;
    }
    let inspection = match judge(&worker, Some(&mut shared.guard), &routed, None) {
        Ok(rest) => rest,
        Err(Refused::ByPolicy {
            status,
            retry_after,
            work,
        }) => match work {
            None => return refuse(&worker, &routed, out, status, retry_after),
            Some((policy, work)) => {
                return challenged::answer(&worker, &routed, out, (status, retry_after), &policy.name, work);
            }
        },
        Err(Refused::ByRule(refusal)) => return refuse_by_rule(&worker, &routed, out, &refusal),
    };
    if let Some(filters) = resource.filters()
        && let Some(answer) = filtered::answer(&worker, filters, &routed, out)
    {
        return answer;
    }
    if let ResourceKind::Cache(site) = &resource.kind
        && head.framing == Framing::None
        && let Some(hit) = hit::answer(&worker, site, &routed, out)
    {
        return Answer::Written {
            block: hit.block,
            body: hit.body,
            close: !head.keep_alive || worker.draining.get(),
        };
    }
    leave(&worker, &routed, out, inspection)
}

/// The id of a request: that of a trusted proxy, else the one that was `made`.
fn request_id_of<'a>(head: &RequestHead<'a>, trusted: bool, made: &'a [u8; request_id::LEN]) -> &'a str {
    match head.x_request_id {
        Some(id) if trusted && acceptable(id) => std::str::from_utf8(id).unwrap_or_default(),
        _ => request_id::text(made),
    }
}

/// What refuses a request.
enum Refused {
    ByPolicy {
        status: u16,
        retry_after: Option<u64>,
        work: Option<(Arc<Identity>, Work)>,
    },
    ByRule(Refusal),
}

/// What policies say of a routed request: what is left to be judged, if anything is. `known_fields`: see [`Subject`].
fn judge<'a>(
    worker: &Rc<Worker>,
    guard: Option<&mut Option<Box<ConnectionGuard>>>,
    routed: &Routed<'a, 'a>,
    known_fields: Option<&'a [&'a str]>,
) -> Result<Option<Box<Inspection>>, Refused> {
    judge_without_rules(worker, guard, routed, known_fields)?;
    match routed.resource().has_rules {
        true => inspected::head(worker, routed).map_err(Refused::ByRule),
        false => Ok(None),
    }
}

/// [`judge`], without what takes the request apart.
fn judge_without_rules<'a>(
    worker: &Worker,
    guard: Option<&mut Option<Box<ConnectionGuard>>>,
    routed: &Routed<'a, 'a>,
    known_fields: Option<&'a [&'a str]>,
) -> Result<(), Refused> {
    let resource = routed.resource();
    if !resource.protections.is_empty()
        && let Judgement::Refuse {
            status,
            retry_after,
            work,
        } = access::judge(worker, guard, resource, &subject(routed, known_fields))
    {
        return Err(Refused::ByPolicy {
            status,
            retry_after,
            work,
        });
    }
    Ok(())
}

fn subject<'a>(routed: &Routed<'a, 'a>, known_fields: Option<&'a [&'a str]>) -> Subject<'a> {
    Subject {
        known_fields,
        client: routed.client,
        method: routed.head.method,
        host: routed.head.host.name(),
        path: routed.path,
        query: routed.head.query,
        fields: routed.head.fields(),
        request_id: routed.request_id,
    }
}

fn leave(worker: &Worker, routed: &Routed<'_, '_>, out: &mut Vec<u8>, inspection: Option<Box<Inspection>>) -> Answer {
    let Ok(mut request) = routed.head.to_owned() else {
        worker.cells.refuse("head");
        return unrouted(worker, out, 400, "the request head is malformed");
    };
    if routed.head.names_fields {
        // Keys and `Vary` are about what the origin sees.
        strip_named(&mut request.headers);
    }
    routed.resource().settle(&mut request.headers);
    request.headers.remove(envelope::FIELD);
    Answer::Leave(Box::new(Job {
        request,
        path: routed.path.as_str().to_owned(),
        target: match routed.head.query {
            Some(query) => format!("{}?{query}", routed.path.forward()),
            None => routed.path.forward().to_owned(),
        },
        client: routed.client,
        trusted: routed.trusted,
        request_id: routed.request_id.to_owned(),
        started: routed.started,
        config: Rc::clone(routed.config),
        index: routed.index,
        secure: routed.secure,
        tls: routed.tls,
        asked: Rc::default(),
        inspection: RefCell::new(inspection),
        held: RefCell::default(),
        prefetch: false,
        asked_by: routed.asked_by,
    }))
}

fn refuse_by_rule(worker: &Worker, routed: &Routed<'_, '_>, out: &mut Vec<u8>, refusal: &Refusal) -> Answer {
    let location = refusal.location.as_deref().map(|location| (header::LOCATION, location));
    let refusal = Ours {
        status: refusal.status,
        message: None,
        content: None,
        retry_after: None,
        detail: "refused",
        fields: location.as_slice(),
        waf: Some("block"),
    };
    refusal.answer(worker, routed, out)
}

fn refuse(
    worker: &Worker,
    routed: &Routed<'_, '_>,
    out: &mut Vec<u8>,
    status: u16,
    retry_after: Option<u64>,
) -> Answer {
    let refusal = Ours {
        status,
        message: None,
        content: None,
        retry_after,
        detail: "refused",
        fields: &[],
        waf: Some("block"),
    };
    refusal.answer(worker, routed, out)
}
