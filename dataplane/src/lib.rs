//! The data plane: listeners, routing, handlers, upstreams, telemetry.
