//! Compiled units with the defaults of the schema, for tests to change.

use std::net::SocketAddr;

use breakwater_snapshot::unit::{
    Addresses, CachePolicy, CachePurge, Claim, ClientAddress, Drain, EdgeCache, Endpoint, Field, FieldEdit, Filters,
    Limit, Mode, Origin, PathKind, PathMatch, Places, PurgeMode, PurgeSelector, Redact, Tiering, Unit, Uris, WafPolicy,
    WsLimits, WsRoute,
};
use breakwater_snapshot::{Blob, Kind, ObjectId};

/// The objects of a snapshot.
pub(crate) type Objects = Vec<(ObjectId, i64, Blob)>;

pub(crate) fn id(kind: Kind, name: &str) -> ObjectId {
    ObjectId::new(kind, "default", name)
}

/// Names units for a snapshot.
pub(crate) fn objects(units: impl IntoIterator<Item = (&'static str, Unit)>) -> Objects {
    let kind = |unit: &Unit| match unit {
        Unit::EdgeCache(_) => Kind::EdgeCache,
        Unit::WafPolicy(_) => Kind::WafPolicy,
        Unit::WsRoute(_) => Kind::WsRoute,
        Unit::CachePurge(_) => Kind::CachePurge,
        Unit::Certificate(_) => Kind::Secret,
    };
    units
        .into_iter()
        .map(|(name, unit)| (id(kind(&unit), name), 1, Blob::Valid { unit: Box::new(unit) }))
        .collect()
}

pub(crate) fn http_origin(endpoints: &[SocketAddr]) -> Origin {
    Origin {
        endpoints: endpoints
            .iter()
            .map(|address| Endpoint {
                host: address.ip().to_string(),
                port: address.port(),
                weight: 1,
            })
            .collect(),
        connect_timeout_ms: 10_000,
        response_timeout_ms: 20_000,
        ..Origin::default()
    }
}

/// Everything of every host, stored as the origin says.
pub(crate) fn edge_cache(endpoint: SocketAddr) -> EdgeCache {
    EdgeCache {
        claims: claims("*", "/"),
        origin: http_origin(&[endpoint]),
        cache: CachePolicy {
            rules: Vec::new(),
            ignore_query: Vec::new(),
            include_query: Vec::new(),
            sort_query: false,
            key_headers: Vec::new(),
            key_cookies: Vec::new(),
            key_devices: Vec::new(),
            stale_while_revalidate_ms: None,
            stale_if_error_ms: None,
            tag_header: Some("surrogate-key".to_owned()),
            max_object_size: 1 << 30,
        },
        tls: None,
        filters: Filters::default(),
        prefetch: None,
        tiering: Tiering::Local,
    }
}

/// Changes to fields.
pub(crate) fn edit(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> FieldEdit {
    let fields = |fields: &[(&str, &str)]| {
        let field = |(name, value): &(&str, &str)| Field {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        fields.iter().map(field).collect()
    };
    FieldEdit {
        remove: remove.iter().map(|name| (*name).to_owned()).collect(),
        set: fields(set),
        add: fields(add),
    }
}

pub(crate) fn ws_route(backend: SocketAddr) -> WsRoute {
    WsRoute {
        claims: claims("*", "/"),
        backend: http_origin(&[backend]),
        origins: Vec::new(),
        subprotocols: Vec::new(),
        handshake_timeout_ms: 10_000,
        limits: WsLimits::default(),
        idle_timeout_ms: 300_000,
        lifetime_ms: None,
        keepalive: None,
        drain: Drain::default(),
        tls: None,
    }
}

/// A policy that objects to nothing.
pub(crate) fn waf_policy(target: ObjectId) -> WafPolicy {
    WafPolicy {
        targets: vec![target],
        order: 0,
        mode: Mode::Enforce,
        client: ClientAddress::default(),
        addresses: Addresses {
            allow: Vec::new(),
            deny: Vec::new(),
            allow_lists: Vec::new(),
            deny_lists: Vec::new(),
            default_allow: true,
        },
        countries: Places::default(),
        asns: Places::default(),
        uris: Uris::default(),
        limits: Vec::new(),
        block_status: 403,
        headers: breakwater_snapshot::unit::HeaderRules::default(),
        penalty: None,
        challenge: None,
        rules: None,
        redact: Redact::default(),
    }
}

pub(crate) fn limit(name: &str) -> Limit {
    Limit {
        name: name.to_owned(),
        paths: Vec::new(),
        methods: Vec::new(),
        requests: None,
        connections: None,
        new_connections: None,
        fleet: false,
        detect_only: false,
        challenges: false,
    }
}

/// A purge of the EdgeCache `site`.
pub(crate) fn purge(uid: &str, selector: PurgeSelector) -> Unit {
    purge_by(uid, selector, PurgeMode::Hard)
}

/// A purge of the EdgeCache `site` in a mode.
pub(crate) fn purge_by(uid: &str, selector: PurgeSelector, mode: PurgeMode) -> Unit {
    Unit::CachePurge(CachePurge {
        uid: uid.to_owned(),
        target: id(Kind::EdgeCache, "site"),
        selector,
        mode,
    })
}

pub(crate) fn claims(host: &str, prefix: &str) -> Vec<Claim> {
    vec![Claim {
        host: host.to_owned(),
        path: path(PathKind::Prefix, prefix),
    }]
}

pub(crate) fn exact(value: &str) -> PathMatch {
    path(PathKind::Exact, value)
}

pub(crate) fn prefix(value: &str) -> PathMatch {
    path(PathKind::Prefix, value)
}

pub(crate) fn regex(value: &str) -> PathMatch {
    path(PathKind::Regex, value)
}

fn path(kind: PathKind, value: &str) -> PathMatch {
    PathMatch {
        kind,
        value: value.to_owned(),
    }
}
