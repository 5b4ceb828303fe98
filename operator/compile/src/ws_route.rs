//! Compiles WsRoutes.

use breakwater_crds as crds;
use breakwater_snapshot::unit::{Drain, Keepalive, WsLimits, WsRoute};

use crate::claims::Claims;
use crate::edge_cache::collect;
use crate::findings::Findings;
use crate::index::{optional, positive};
use crate::origin::Servers;
use crate::{Object, tls, value};

/// Reads every field but claims. The unit has no claims yet, and the servers its URLs name; its `tls` has no hosts.
pub(crate) fn read(object: &Object<crds::WsRouteSpec>, findings: &mut Findings) -> (Claims, WsRoute) {
    let spec = &object.spec;
    let claims = Claims::read(&spec.hostnames, &spec.paths, findings);
    let tls = spec
        .tls
        .as_ref()
        .map(|spec| tls::read(&object.meta.namespace, spec, findings));
    let mut origins = collect(findings, "spec.handshake.origins", &spec.handshake.origins, |o| {
        value::web_origin(o.as_str())
    });
    origins.sort();
    origins.dedup();
    let subprotocols = collect(
        findings,
        "spec.handshake.subprotocols",
        &spec.handshake.subprotocols,
        |name| value::token(name.as_str(), "a subprotocol"),
    );
    let handshake = positive(findings, "spec.handshake.timeout", &spec.handshake.timeout);
    let limits = limits(&spec.limits, findings);
    let idle = positive(findings, "spec.timeouts.idle", &spec.timeouts.idle);
    let mut backend = servers(object).read(handshake, findings);
    backend.connect_timeout_ms = backend.connect_timeout_ms.min(handshake.max(1));
    let lifetime = spec.timeouts.lifetime.as_ref();
    let unit = WsRoute {
        claims: Vec::new(),
        backend,
        origins,
        subprotocols,
        handshake_timeout_ms: handshake,
        limits,
        idle_timeout_ms: idle,
        lifetime_ms: lifetime.map(|lifetime| positive(findings, "spec.timeouts.lifetime", lifetime)),
        keepalive: keepalive(&spec.keepalive, findings),
        drain: Drain {
            close: spec.drain.mode == crds::WsDrainMode::Close,
            spread_ms: positive(findings, "spec.drain.spread", &spec.drain.spread),
        },
        tls,
    };
    (claims, unit)
}

pub(crate) fn servers(object: &Object<crds::WsRouteSpec>) -> Servers<'_> {
    Servers::of_backend(&object.meta.namespace, &object.spec.backend)
}

fn keepalive(spec: &crds::WsKeepalive, findings: &mut Findings) -> Option<Keepalive> {
    let interval = optional(findings, "spec.keepalive.interval", Some(&spec.interval));
    let timeout_ms = positive(findings, "spec.keepalive.timeout", &spec.timeout);
    interval.filter(|ms| *ms > 0).map(|interval_ms| Keepalive {
        interval_ms,
        timeout_ms,
    })
}

fn limits(spec: &crds::WsLimits, findings: &mut Findings) -> WsLimits {
    let counts = [
        ("connections", Some(spec.connections)),
        ("connectionsPerClient", spec.connections_per_client),
        ("messagesPerSecond", spec.messages_per_second),
    ];
    for (name, count) in counts {
        if count == Some(0) {
            findings.error(
                format!("spec.limits.{name}"),
                "`0` allows nothing: write at least 1, or leave it out",
            );
        }
    }
    let size = |findings: &mut Findings, name: &str, size: Option<&crds::Quantity>| {
        size.and_then(|size| findings.take(format!("spec.limits.{name}"), value::positive_bytes(size)))
    };
    let frame_size = size(findings, "frameSize", spec.frame_size.as_ref());
    let message_size = size(findings, "messageSize", spec.message_size.as_ref());
    if let (Some(frame), Some(message)) = (frame_size, message_size)
        && frame > message
    {
        findings.warning(
            "spec.limits.frameSize",
            "a frame cannot be larger than its message: messageSize is the limit that is felt",
        );
    }
    WsLimits {
        connections: Some(spec.connections),
        connections_per_client: spec.connections_per_client,
        frame_size,
        message_size,
        messages_per_second: spec.messages_per_second,
    }
}
