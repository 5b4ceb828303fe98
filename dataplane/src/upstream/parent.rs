//! The way to the origin through another edge, where a site has one before it.
//!
//! Invariants: an answer of the parent is believed, whatever its status; the origin is asked only when there was none,
//! the site allows it, and asking again does no more than asking once. A parent that does not answer rests, so that it
//! costs time once in a while and not each time. Where the origin may not be asked, the parent is, rest or not.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use breakwater_wire::http1::OwnedResponse;

use super::{Asker, Exchange, Head, Origin, OriginError, ResponseBody, Upstream, idempotent};
use crate::config::Local;
use crate::peer::rest::Rest;
use crate::telemetry::{ParentResult, ResourceCells};

/// Another edge before the origin of a site, as all workers see it.
pub(crate) struct Parent {
    pub(crate) origin: Arc<Origin>,
    /// Whether the origin is asked when it does not answer.
    pub(crate) fallback: bool,
    rest: Rest,
}

impl Parent {
    pub(crate) fn new(origin: Arc<Origin>, fallback: bool) -> Self {
        Self {
            origin,
            fallback,
            rest: Rest::default(),
        }
    }
}

/// One worker's way to it.
pub(crate) struct ParentWay {
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) parent: Arc<Parent>,
}

/// Who was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Parent,
    Origin,
}

/// An answer and what it came from.
pub(crate) type Answer = Result<(OwnedResponse, ResponseBody), OriginError>;

impl Local {
    /// Sends a request that has no body, as [`Upstream::request`]: to the parent, if there is one, and to the origin
    /// where that does not answer.
    pub(crate) async fn request(
        &self,
        head: &Head,
        asker: &Asker<'_>,
        mut interim: impl AsyncFnMut(OwnedResponse),
    ) -> (By, Answer) {
        if let Some(way) = self.parent_to_ask() {
            let passed = Cell::new(false);
            let on_the_way = async |response| {
                passed.set(true);
                interim(response).await;
            };
            let answer = way.upstream.request(head, asker, on_the_way).await;
            let answer = match way.noted(answer, &self.cells) {
                Err(error) if way.parent.fallback && !passed.get() && may_repeat(&error, &head.method) => None,
                answer => Some(answer),
            };
            if let Some(answer) = answer {
                return (By::Parent, answer);
            }
        }
        (By::Origin, self.upstream.request(head, asker, interim).await)
    }

    /// Sends the head of a request whose body follows, as [`Upstream::begin`], and says by what way: to the origin where
    /// the parent certainly has nothing of it.
    pub(crate) async fn begin(
        &self,
        head: &Head,
        asker: &Asker<'_>,
    ) -> (By, Result<(Exchange, &Rc<Upstream>), OriginError>) {
        if let Some(way) = self.parent_to_ask() {
            let begun = way.upstream.begin(head, asker).await;
            match way.noted(begun, &self.cells) {
                Err(error) if way.parent.fallback && is_unsent(&error) => {}
                begun => return (By::Parent, begun.map(|exchange| (exchange, &way.upstream))),
            }
        }
        let begun = self.upstream.begin(head, asker).await;
        (By::Origin, begun.map(|exchange| (exchange, &self.upstream)))
    }

    fn parent_to_ask(&self) -> Option<&ParentWay> {
        let way = self.parent.as_ref()?;
        if way.parent.fallback && way.parent.rest.rests(way.upstream.origin.now_ms()) {
            self.cells.parent(ParentResult::Resting).add(1);
            return None;
        }
        Some(way)
    }
}

impl ParentWay {
    /// Counts what became of a request, and has the parent rest after a failure.
    fn noted<T>(&self, result: Result<T, OriginError>, cells: &ResourceCells) -> Result<T, OriginError> {
        let rest = &self.parent.rest;
        match &result {
            Ok(_) => {
                rest.answered();
                cells.parent(ParentResult::Answered).add(1);
            }
            Err(error) => {
                rest.failed(self.upstream.origin.now_ms());
                cells.parent(ParentResult::Failed).add(1);
                let (resource, reason) = (self.parent.origin.label.as_str(), error.label());
                tracing::debug!(resource, reason, "the parent does not answer: {error}");
            }
        }
        result
    }
}

fn is_unsent(error: &OriginError) -> bool {
    error.is_unsent()
        || matches!(
            error,
            OriginError::NoEndpoints | OriginError::Resolve { .. } | OriginError::Overloaded(_)
        )
}

/// Whether the origin may be asked for what the parent failed.
fn may_repeat(error: &OriginError, method: &str) -> bool {
    is_unsent(error) || idempotent(method)
}
