//! The challenge: work that clients have to do before they are let through.
//!
//! Which work, and whether a client has done it, is the caller's: a policy asks a [`Clearance`].

use std::sync::Arc;

use super::{Challenge, Clearance, Detail, Finding, Live, Policy, Reason, RequestView, Work};
use crate::ConfigError;
use crate::uri::UriSet;

/// The status of a request whose client has to work first, where everybody has to.
const FORBIDDEN: u16 = 403;

/// The challenge.
#[derive(Debug)]
pub(super) struct WorkBox {
    /// For these paths everybody gets it.
    paths: UriSet,
    pub(super) work: Work,
}

impl WorkBox {
    pub(super) fn new(config: &Challenge) -> Result<Self, ConfigError> {
        Ok(Self {
            paths: UriSet::new(&config.paths).map_err(|error| error.below("challenge.paths"))?,
            work: config.work,
        })
    }
}

impl Policy {
    /// Whether it has a challenge, for some paths or for who exceeds a limit.
    #[must_use]
    pub fn has_challenge(&self) -> bool {
        self.live().is_some_and(|live| live.challenge.is_some())
    }

    /// The policy's challenge, if it is in the way of `request`. Nobody on the allow list is asked.
    pub(super) fn challenged(&self, live: &Live, request: &RequestView<'_>) -> Option<Finding> {
        let challenge = live.challenge.as_ref()?;
        let pattern = request.paths().find_map(|path| challenge.paths.matches(path))?;
        let pattern = challenge.paths.value(pattern)?;
        if live.addresses.allow.contains(request.client).is_some() || self.is_cleared(challenge, request) {
            return None;
        }
        let detail = Detail::Path(Arc::clone(pattern));
        let finding = self.finding(self.identity.mode, Reason::Challenge, FORBIDDEN, detail);
        Some(Finding {
            work: Some(challenge.work),
            ..finding
        })
    }

    pub(super) fn is_cleared(&self, challenge: &WorkBox, request: &RequestView<'_>) -> bool {
        let proves = |clearance: &dyn Clearance| clearance.proves(&self.identity.name, challenge.work);
        request.clearance.and_then(proves) == Some(true)
    }
}
