//! A request that left the poll: what is known of it, for its handler and for the log.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use breakwater_wire::device;
use breakwater_wire::http1::OwnedRequest;

use crate::config::{Local, Resource, WorkerConfig};
use crate::filter::Filters;
use crate::inspect::{Held, Inspection};
use crate::tls::Hsts;
use crate::upstream::{Asker, OriginError, Server};

/// A request on its way to a handler.
pub(crate) struct Job {
    pub(crate) request: OwnedRequest,
    /// The normalised path, which routes, rules and keys compare.
    pub(crate) path: String,
    /// The request target for the origin: what was matched is what it sees, the bytes as received unless the path had
    /// dot segments.
    pub(crate) target: String,
    pub(crate) client: IpAddr,
    /// The peer is a proxy whose word about the client is believed.
    pub(crate) trusted: bool,
    pub(crate) request_id: String,
    pub(crate) started: Instant,
    pub(crate) config: Rc<WorkerConfig>,
    pub(crate) index: u32,
    /// It came over TLS.
    pub(crate) secure: bool,
    /// For [`WorkerConfig::host_tls`].
    pub(super) tls: Option<u32>,
    pub(crate) asked: Rc<Asked>,
    /// What rules have still to judge.
    pub(super) inspection: RefCell<Option<Box<Inspection>>>,
    /// The room of the body that was held back, until it has left.
    pub(super) held: RefCell<Option<Held>>,
    /// It is no client's, and counted as none.
    pub(super) prefetch: bool,
    /// Another node asks for its client: the other end of that client's connection.
    pub(crate) asked_by: Option<IpAddr>,
}

/// What is known, for the log, of a request's way to its origin. Shared with the fetch that the request leads, if it does.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The server that answered.
    pub(super) server: RefCell<Option<Arc<Server>>>,
    /// Why there is no whole answer.
    pub(super) error: Cell<Option<&'static str>>,
    /// A rule refused what was sent or answered.
    pub(super) refused: Cell<bool>,
}

impl Asked {
    pub(super) fn answered_by(&self, server: &Arc<Server>) {
        self.server.replace(Some(Arc::clone(server)));
    }

    pub(super) fn failed(&self, error: &OriginError) {
        self.error.set(Some(error.label()));
    }
}

impl Job {
    pub(crate) fn resource(&self) -> &Resource {
        self.config.resource(self.index)
    }

    pub(crate) fn local(&self) -> &Local {
        self.config.local(self.index)
    }

    /// The scheme the client used.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// What goes with answers over TLS (RFC 6797 section 7.2).
    pub(crate) fn hsts(&self) -> Option<&Hsts> {
        let tls = self.config.host_tls(self.tls.filter(|_| self.secure))?;
        tls.hsts.as_ref()
    }

    /// What a choice of server may depend on.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker {
            client: self.client,
            fields: &self.request.headers,
            path: &self.path,
        }
    }

    /// The class of the client's device, where keys tell devices apart: a request has it in place of what the client said.
    pub(crate) fn device(&self) -> Option<&str> {
        if self.resource().devices().is_empty() {
            return None;
        }
        self.request.headers.get(device::FIELD)?.to_str().ok()
    }

    /// What is done to the answer, if anything is. Not when another node asks, which does it.
    pub(crate) fn filters(&self) -> Option<&Filters> {
        self.resource().filters().filter(|_| self.asked_by.is_none())
    }
}
