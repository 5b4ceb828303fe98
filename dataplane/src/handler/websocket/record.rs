//! What the access log says of a WebSocket when it ends.
//!
//! Kept only where there is an access log, so that an idle WebSocket costs nothing for it elsewhere.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use breakwater_waf::audit::cut;
use breakwater_waf::geo::Country;
use breakwater_websocket::Closed;
use breakwater_wire::http1::Version;

use crate::handler::Job;
use crate::handler::exchange::host_name;
use crate::telemetry::access_log::{self, Ended, MAX_URI};
use crate::worker::Worker;

/// What was known when it opened.
pub(super) struct Record {
    worker: Rc<Worker>,
    request_id: Box<str>,
    client: IpAddr,
    country: Option<Country>,
    version: Version,
    method: Box<str>,
    host: Box<str>,
    uri: Box<str>,
    resource: Box<str>,
    upstream: Option<Box<str>>,
    started: Instant,
}

impl Record {
    /// None without an access log.
    pub(super) fn new(worker: &Rc<Worker>, job: &Job) -> Option<Box<Self>> {
        worker.metrics.access_log.as_ref()?;
        let upstream = job
            .asked
            .server
            .borrow()
            .as_ref()
            .map(|server| server.to_string().into());
        Some(Box::new(Self {
            worker: Rc::clone(worker),
            request_id: job.request_id.as_str().into(),
            client: job.client,
            country: worker.country(job.client),
            version: job.request.version,
            method: job.request.method.as_str().into(),
            host: host_name(&job.request.host).into(),
            uri: cut(&job.request.target, MAX_URI).into(),
            resource: job.resource().label.as_str().into(),
            upstream,
            started: job.started,
        }))
    }

    /// Writes the line of the end.
    pub(super) fn write(&self, closed: &Closed) {
        let Some(log) = &self.worker.metrics.access_log else {
            return;
        };
        log.write(access_log::line(&access_log::Entry {
            unix_ms: self.worker.clock.timestamp().as_millis(),
            request_id: &self.request_id,
            client: self.client,
            country: self.country,
            version: self.version,
            method: &self.method,
            host: &self.host,
            uri: &self.uri,
            status: 101,
            bytes: closed.bytes_out,
            duration: self.started.elapsed(),
            resource: &self.resource,
            cache: None,
            upstream: self.upstream.as_deref(),
            waf: None,
            aborted: false,
            error: None,
            websocket: Some(Ended {
                code: closed.code,
                reason: closed.reason.label(),
                messages_in: closed.messages_in,
                messages_out: closed.messages_out,
                bytes_in: closed.bytes_in,
                bytes_out: closed.bytes_out,
            }),
        }));
    }
}
