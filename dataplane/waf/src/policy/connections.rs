//! Connections under a policy: counting them against its limits.
//!
//! A request's own limits are asked when it is judged ([`Policy::evaluate`]); these hold for what carries it.

use std::ops::ControlFlow;

use super::limits::{Connections, Rate};
use super::{Admitted, Finding, Outcome, Policy, RequestView, Verdict};
use crate::ClientKey;
use crate::limit::{ConnectionGuard, Overdrawn};

impl Policy {
    /// Whether [`Policy::admit_request`] has anything to say.
    #[must_use]
    pub fn counts_connections(&self) -> bool {
        self.live().is_some_and(|live| !live.limits.connections.is_empty())
    }

    /// The limits on open connections: name and number.
    pub fn connection_limits(&self) -> impl Iterator<Item = (&str, u32)> {
        self.live()
            .into_iter()
            .flat_map(|live| &live.limits.connections)
            .filter_map(|limit| match limit {
                Connections::Open { scope, most, .. } => Some((&*scope.name, *most)),
                Connections::New(_) => None,
            })
    }

    /// Counts a new connection of `client` against those limits that have neither paths nor methods, until the guard is
    /// dropped. For a connection that carries one thing, such as a WebSocket; [`Policy::admit_request`] is for those
    /// that carry many.
    ///
    /// # Errors
    /// The limit that refuses it; then none counts it.
    pub fn admit_connection(&self, client: std::net::IpAddr, now_ms: u64) -> Result<Admitted, Finding> {
        let mut guard = ConnectionGuard::new();
        let mut verdict = Verdict::default();
        let _ = self.admit(client.into(), None, now_ms, &mut guard, &mut verdict);
        match verdict.outcome {
            Outcome::Pass => Ok(Admitted {
                guard,
                detections: verdict.detections,
            }),
            Outcome::Block(finding) => Err(finding),
        }
    }

    /// Counts the connection that carries `request` against every limit on connections that the request falls under and
    /// that `guard`, the connection's own, does not hold yet. A connection that came under a limit stays counted until
    /// the guard is dropped, whatever it carries later. A limit on new connections counts it once; one that it refuses
    /// may ask again with its next request.
    #[must_use]
    pub fn admit_request(&self, request: &RequestView<'_>, guard: &mut ConnectionGuard, now_ms: u64) -> Verdict {
        let mut verdict = Verdict::default();
        let _ = self.admit(request.client.into(), Some(request), now_ms, guard, &mut verdict);
        verdict
    }

    fn admit(
        &self,
        client: ClientKey,
        request: Option<&RequestView<'_>>,
        now_ms: u64,
        guard: &mut ConnectionGuard,
        verdict: &mut Verdict,
    ) -> ControlFlow<()> {
        let Some(live) = self.live() else {
            return ControlFlow::Continue(());
        };
        let table = &live.tables.connections;
        for limit in &live.limits.connections {
            let (Connections::New(Rate { scope, id, .. }) | Connections::Open { scope, id, .. }) = limit;
            if !request.map_or_else(|| scope.is_whole(), |request| scope.holds(request)) {
                continue;
            }
            match limit {
                Connections::New(rate) => {
                    if table.knows(guard, *id, client) {
                        continue;
                    }
                    if let Err(seconds) = rate.count(&live.tables, client, now_ms) {
                        self.over(scope, Some(seconds)).put(verdict)?;
                    }
                    table.pass_over(guard, *id, client);
                }
                Connections::Open { most, .. } => {
                    if table.open(guard, *id, client, *most) == Err(Overdrawn) {
                        self.over(scope, None).put(verdict)?;
                        table.pass_over(guard, *id, client);
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Counts a request's connection under several policies ([`Policy::admit_request`]), until one refuses it.
#[must_use]
pub fn admit_all<P: AsRef<Policy>>(
    policies: impl IntoIterator<Item = P>,
    request: &RequestView<'_>,
    guard: &mut ConnectionGuard,
    now_ms: u64,
) -> Verdict {
    let mut verdict = Verdict::default();
    for policy in policies {
        if policy
            .as_ref()
            .admit(request.client.into(), Some(request), now_ms, guard, &mut verdict)
            .is_break()
        {
            break;
        }
    }
    verdict
}
