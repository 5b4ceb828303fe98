//! A fetch on behalf of everyone who waits for the same response.
//!
//! Runs as a task of its worker: a client that leaves does not stop it. It gives every reader the head as soon as it is
//! there, then the content, and stores both if it may.

mod owner;
mod rest;
mod tell;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use breakwater_cache::fill::{Failure, FillWriter, Interim};
use breakwater_cache::object::Object;
use breakwater_cache::policy::fresh::OnError;
use breakwater_cache::policy::request::RequestMeta;
use breakwater_cache::policy::store::Candidate;
use breakwater_cache::policy::validate;
use breakwater_cache::purge::Purged;
use breakwater_cache::vary::values_of;
use breakwater_cache::{Target, Timestamp};
use breakwater_wire::hop::strip_hop_by_hop;
use breakwater_wire::http1::{OwnedResponse, ResponseFraming, Version};
use bytes::Bytes;
use http::{HeaderMap, header};

use crate::config::{Local, ResourceKind, Site, WorkerConfig};
use crate::filter::{self, Content};
use crate::handler::hit::{self, Authority};
use crate::handler::{self, Asked, forward, inspected, public};
use crate::inspect::{About, Inspection};
use crate::telemetry::ResourceCells;
use crate::upstream::{Asker, Body, By, OriginError, ResponseBody};
use crate::worker::Worker;
pub(super) use owner::Question;
pub(super) use tell::{tell_all, tell_owner};

/// What the origin is asked for.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Whole,
    /// That what is stored is still right, or else the whole.
    Confirmation(&'a Object),
    /// What follows what is stored, or else the whole.
    Rest(&'a Object),
}

/// The authority of the request that began a fetch.
pub(super) struct OwnedAuthority {
    host: String,
    port: Option<u16>,
    claims: u128,
    secure: bool,
}

impl From<Authority<'_>> for OwnedAuthority {
    fn from(authority: Authority<'_>) -> Self {
        Self {
            host: authority.name.to_owned(),
            port: authority.port,
            claims: authority.claims,
            secure: authority.secure,
        }
    }
}

impl OwnedAuthority {
    fn get(&self) -> Authority<'_> {
        Authority {
            name: &self.host,
            port: self.port,
            claims: self.claims,
            secure: self.secure,
        }
    }
}

/// Everything a fetch needs of the request that began it.
pub(super) struct Fetch {
    pub(super) worker: Rc<Worker>,
    pub(super) config: Rc<WorkerConfig>,
    pub(super) index: u32,
    /// Who began it.
    pub(super) client: IpAddr,
    /// For the origin.
    pub(super) fields: HeaderMap,
    /// As the client sent them: `Vary` selects among these.
    pub(super) asked_with: HeaderMap,
    /// The request target.
    pub(super) line: String,
    /// Normalised.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) authority: OwnedAuthority,
    pub(super) meta: RequestMeta,
    pub(super) target: Target,
    /// Where it tells, for the log, whom it asked.
    pub(super) asked: Rc<Asked>,
    /// The response's tags for purges by prefix.
    pub(super) prefixes: Vec<u64>,
    /// What is stored and needs confirmation.
    pub(super) stale: Option<(Arc<Object>, OnError)>,
    /// What rules have still to judge.
    pub(super) inspection: RefCell<Option<Box<Inspection>>>,
    /// For the audit line of what they find.
    pub(super) request_id: String,
    /// For the node that owns the URL, where it is asked before the origin.
    pub(super) question: Option<Box<Question>>,
}

impl Fetch {
    /// Starts the fetch.
    pub(super) fn start(self, writer: FillWriter) {
        tokio::task::spawn_local(self.run(writer));
    }

    async fn run(self, mut writer: FillWriter) {
        let local = self.config.local(self.index);
        let ResourceKind::Cache(site) = &self.config.resource(self.index).kind else {
            return;
        };
        let _counted = UnderWay::new(&local.cells);
        if let Some(question) = &self.question {
            match self.ask_owner(question, site, local, writer).await {
                Some(unanswered) => writer = unanswered,
                None => return,
            }
        }
        let asked = self.worker.clock.timestamp();
        let stale = self.stale.as_ref().filter(|(object, _)| validate::can_validate(object));
        // What is compressed here has other bytes than what the origin would go on with, and rules want to see the whole.
        let may_go_on = !site.compresses() && !self.config.resource(self.index).inspects_responses;
        let begun = match &self.stale {
            None if may_go_on => rest::begun(&self),
            _ => None,
        };
        let wanted = match (stale, &begun) {
            (Some((object, _)), _) => Wanted::Confirmation(object),
            (None, Some(object)) => Wanted::Rest(object),
            (None, None) => Wanted::Whole,
        };
        let answer = self.ask(local, wanted, &writer).await;
        let received = self.worker.clock.timestamp();
        match answer {
            Err(error) => self.failed(&error, writer),
            Ok((response, body)) if response.status.as_u16() == 304 => {
                let Some((object, _)) = stale else {
                    return self.failed(&OriginError::Unexpected("304 to a request without conditions"), writer);
                };
                drop(body);
                self.confirmed(site, local, object, response, (asked, received), writer)
                    .await;
            }
            Ok((mut response, body)) => {
                let beginning = match &begun {
                    Some(object) => rest::join(object, &mut response),
                    None => Some(Vec::new()),
                };
                match beginning {
                    Some(beginning) => {
                        self.answered(site, local, response, (beginning, body), (asked, received), writer)
                            .await;
                    }
                    // Not what follows what is stored.
                    None => {
                        drop(body);
                        self.worker.cache.forget_parts(self.target.key);
                        self.anew(site, local, asked, writer).await;
                    }
                }
            }
        }
    }

    /// Asks for the whole after an answer that was of no use.
    async fn anew(&self, site: &Site, local: &Local, asked: Timestamp, writer: FillWriter) {
        match self.ask(local, Wanted::Whole, &writer).await {
            Err(error) => self.failed(&error, writer),
            Ok((response, body)) => {
                let received = self.worker.clock.timestamp();
                self.answered(site, local, response, (Vec::new(), body), (asked, received), writer)
                    .await;
            }
        }
    }

    /// Stores a response that came to one request alone, while its client reads it from the fill.
    pub(super) fn keep(
        self,
        (mut response, body): (OwnedResponse, ResponseBody),
        times: (Timestamp, Timestamp),
        writer: FillWriter,
    ) {
        tokio::task::spawn_local(async move {
            let local = self.config.local(self.index);
            let ResourceKind::Cache(site) = &self.config.resource(self.index).kind else {
                return;
            };
            response.headers.remove(forward::X_REQUEST_ID);
            self.answered(site, local, response, (Vec::new(), body), times, writer)
                .await;
        });
    }

    /// Asks the origin.
    async fn ask(
        &self,
        local: &Local,
        wanted: Wanted<'_>,
        writer: &FillWriter,
    ) -> Result<(OwnedResponse, ResponseBody), OriginError> {
        let mut fields = self.fields.clone();
        match wanted {
            Wanted::Confirmation(object) => validate::conditional(&mut fields, object),
            Wanted::Rest(object) => rest::ask(&mut fields, object),
            Wanted::Whole => validate::unconditional(&mut fields),
        }
        let head = forward::head(&self.line, "GET", fields, Body::None);
        let asker = Asker {
            client: self.client,
            fields: &self.asked_with,
            path: &self.path,
        };
        // They concern the client that asked; this fetch is everybody's.
        let interim = async |mut response: OwnedResponse| {
            let status = response.status.as_u16();
            if status != 100 {
                strip_hop_by_hop(&mut response.headers);
                let fields = response.headers;
                writer.interim(Interim { status, fields });
            }
        };
        let (by, mut result) = local.request(&head, &asker, interim).await;
        if let Ok((response, _)) = &mut result {
            // The id of the request that fetched: each answer has its own.
            response.headers.remove(forward::X_REQUEST_ID);
        }
        if let Ok((_, body)) = &result {
            self.asked.answered_by(body.server());
        }
        match (&result, by) {
            (Ok((response, _)), By::Origin) => local.cells.origin.add(response.status.as_u16()),
            (Err(error), By::Origin) => local.cells.origin_failed(error.label()),
            (_, By::Parent) => {}
        }
        result
    }

    /// A 304: what is stored is still right.
    async fn confirmed(
        &self,
        site: &Site,
        local: &Local,
        object: &Arc<Object>,
        mut response: OwnedResponse,
        (asked, received): (Timestamp, Timestamp),
        writer: FillWriter,
    ) {
        if site.compresses() {
            let varies = object.meta.vary.names().contains(&header::ACCEPT_ENCODING);
            filter::confirms(object.meta.etag.as_deref(), varies, &mut response.headers);
        }
        let cache = &self.worker.cache;
        let rules: Vec<_> = self.rules(site).collect();
        let candidate = self.candidate(site, &response, &rules, asked, received);
        let values = values_of(&self.asked_with);
        let stamp = writer.stamp().clone();
        match cache.revalidated(self.target.key, object, &candidate, &values, &stamp) {
            Ok(revalidated) => {
                let object = revalidated.object;
                if let Some(reason) = revalidated.reason {
                    local.cells.not_stored(reason.as_str());
                }
                match revalidated.stored && object.meta.freshness.is_for_all_who_wait() {
                    true => writer.answer(object),
                    false => writer.answer_alone(object),
                }
            }
            // It is about something else: fetch that.
            Err(_) => self.anew(site, local, asked, writer).await,
        }
    }

    /// A new response. `beginning` is the content before what `body` brings.
    async fn answered(
        &self,
        site: &Site,
        local: &Local,
        mut response: OwnedResponse,
        (beginning, body): (Vec<Bytes>, ResponseBody),
        (asked, received): (Timestamp, Timestamp),
        mut writer: FillWriter,
    ) {
        let status = response.status.as_u16();
        if let Some((object, on_error)) = &self.stale
            && on_error.covers(Some(status))
        {
            return writer.answer(Arc::clone(object));
        }
        let body = match self.inspect(&response, body).await {
            Ok(body) => body,
            Err(failure) => return writer.fail(failure),
        };
        let filters = site.filters.as_deref();
        let mut content = match Content::new(filters, &self.asked_with, &mut response, body, &local.cells) {
            Ok(content) => content,
            Err(error) => return self.failed(&error, writer),
        };
        let cache = &self.worker.cache;
        let rules: Vec<_> = self.rules(site).collect();
        let length = match response.framing {
            ResponseFraming::Length(length) => Some(length),
            ResponseFraming::None => Some(0),
            _ => None,
        };
        let values = values_of(&self.asked_with);
        let candidate = self.candidate(site, &response, &rules, asked, received);
        let (mut head, reason) = cache.head(&candidate, length, &values);
        let target = match cache.may_keep(&head, &site.policy) {
            true => self.stored_at(site, &response),
            false => self.target,
        };
        if target.url != self.target.url {
            let url = target.url;
            (head, _) = cache.head(&Candidate { url, ..candidate }, length, &values);
        }
        if let Some(reason) = reason {
            local.cells.not_stored(reason.as_str());
            tracing::trace!(path = self.path, ?reason, "not stored");
            // What is gone is not served again because its absence cannot be stored.
            if let (Some((object, _)), 404 | 410) = (&self.stale, status) {
                cache.forget(self.target.key, object);
            }
        }
        let mut spill = cache.spill(target.key, &head, &site.policy);
        if let Some(spill) = &spill {
            writer.written_to(spill.trail());
        }
        cache.publish(&mut writer, head, &site.policy, received);
        let mut left = length;
        let mut beginning = beginning.into_iter();
        let last = loop {
            let piece = match beginning.next() {
                Some(piece) => Ok(Some(piece)),
                None => content.next().await,
            };
            match piece {
                Ok(Some(piece)) => {
                    writer.keep(spill.as_ref().is_some_and(|spill| spill.is_alive()));
                    if writer.ready().await.is_err() {
                        return;
                    }
                    self.spool(&mut writer);
                    left = left.map(|left| left.saturating_sub(piece.len() as u64));
                    if left == Some(0) {
                        break piece;
                    }
                    if let Some(spill) = &mut spill {
                        spill.push(&piece);
                        spill.room().await;
                    }
                    writer.push(piece);
                    self.spool(&mut writer);
                }
                Ok(None) => break Bytes::new(),
                Err(error) => {
                    local.cells.origin_failed(error.label());
                    self.asked.failed(&error);
                    return writer.fail(failure(&error));
                }
            }
        };
        // What may be stored and is not: why.
        let unkept = match reason {
            Some(_) => None,
            None if overtaken(&writer) => Some("purged"),
            None if spill.as_ref().is_some_and(|spill| spill.is_alive()) => None,
            None if writer.is_passing() => Some("size"),
            None => Some("store"),
        };
        match cache.complete_spilled(target.key, writer, last, spill) {
            Ok(stored) => {
                if let (None, Some(reason)) = (stored, unkept) {
                    local.cells.not_stored(reason);
                }
            }
            Err(error) => {
                local.cells.not_stored("truncated");
                tracing::debug!(path = self.path, %error, "a response is not stored");
            }
        }
        if left == Some(0) {
            // What ends the message, so that the connection can be used again.
            let _ = content.next().await;
        }
    }

    /// Has the response judged, where rules look at responses. What they refuse is not stored, and nobody gets it.
    async fn inspect(&self, response: &OwnedResponse, body: ResponseBody) -> Result<ResponseBody, Failure> {
        if !self.config.resource(self.index).inspects_responses {
            return Ok(body);
        }
        let mut inspection = self.inspection.take().unwrap_or_else(|| {
            let about = About {
                client: self.client,
                method: "GET".to_owned(),
                host: self.authority.host.to_ascii_lowercase(),
                path: self.path.clone(),
                query: self.query.clone(),
                request_id: self.request_id.clone(),
            };
            let line = (self.line.as_str(), Version::Http11);
            let fields = inspected::lines(&self.asked_with);
            let of_response = Inspection::of_response(&self.worker, &self.config, self.index, about, line, &fields);
            Box::new(of_response)
        });
        let judged = inspected::judge(&self.worker, &mut inspection, response, body).await;
        judged.map_err(|error| match inspected::failure_of(&error) {
            Some((status, reason)) => {
                self.asked.refused.set(matches!(error, handler::Failure::Refused(_)));
                Failure { status, reason }
            }
            None => failure(&inspected::origin_error(error)),
        })
    }

    /// Has what comes written to a file, if its time has come.
    fn spool(&self, writer: &mut FillWriter) {
        if let Some(spooler) = writer.take_spooler()
            && let Some(spools) = self.worker.spools.clone()
        {
            tokio::task::spawn_local(async move { spools.keep(spooler).await });
        }
    }

    /// Where the response is stored: where requests for the same look from now on, if it says that other queries are for
    /// the same.
    fn stored_at(&self, site: &Site, response: &OwnedResponse) -> Target {
        let worker = &self.worker;
        let authority = self.authority.get();
        let path = hit::path_key(worker, site, authority.name, &self.path);
        if response.status != http::StatusCode::OK || !worker.cache.learn_search(path, &response.headers) {
            return self.target;
        }
        let values = values_of(&self.asked_with);
        hit::target(worker, site, authority, &self.path, self.query.as_deref(), &values)
    }

    /// The rules for what it brings.
    pub(super) fn rules<'a>(
        &'a self,
        site: &'a Site,
    ) -> impl Iterator<Item = &'a breakwater_cache::policy::site::Rule> {
        site.rules(self.meta.method.stores_for(), &self.path)
    }

    pub(super) fn candidate<'a>(
        &'a self,
        site: &'a Site,
        response: &'a OwnedResponse,
        rules: &'a [&'a breakwater_cache::policy::site::Rule],
        asked: Timestamp,
        received: Timestamp,
    ) -> Candidate<'a> {
        Candidate {
            request: &self.meta,
            status: response.status.as_u16(),
            fields: &response.headers,
            asked,
            received,
            policy: &site.policy,
            rules,
            keyer: self.worker.cache.keyer(),
            site: site.id,
            url: self.target.url,
            prefixes: &self.prefixes,
            origin: hit::origin_key(&self.worker, site, self.authority.get()),
        }
    }

    /// No answer: what is stored stands in where it may.
    fn failed(&self, error: &OriginError, writer: FillWriter) {
        tracing::debug!(path = self.path, reason = error.label(), "{error}");
        self.asked.failed(error);
        match &self.stale {
            Some((object, on_error)) if on_error.covers(None) => writer.answer(Arc::clone(object)),
            _ => writer.fail(failure(error)),
        }
    }
}

/// A fetch that is counted while it is under way, however it ends.
struct UnderWay<'a>(&'a ResourceCells);

impl<'a> UnderWay<'a> {
    fn new(cells: &'a ResourceCells) -> Self {
        cells.fetches.add(1);
        Self(cells)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetches.sub(1);
    }
}

/// Whether a purge since the fetch began concerns what it brings.
fn overtaken(writer: &FillWriter) -> bool {
    let head = writer.head();
    let storable = head.as_ref().and_then(|head| head.storable.as_ref());
    storable.is_some_and(|storable| {
        let tags = &storable.metadata.tags;
        writer.stamp().purged(tags, &AtomicU64::default()) != Purged::No
    })
}

fn failure(error: &OriginError) -> Failure {
    Failure {
        status: error.status(),
        reason: public(error),
    }
}
