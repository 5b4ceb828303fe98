//! Small snapshots for the tests of this module.

use breakwater_snapshot::unit::{CachePurge, Certificate, PurgeMode, PurgeSelector, Unit};
use breakwater_snapshot::{Blob, Kind, ObjectId, Snapshot};

pub(super) type Object = (ObjectId, i64, Blob);

pub(super) fn snapshot<const N: usize>(objects: [Object; N]) -> Snapshot {
    Snapshot::build(objects)
}

pub(super) fn purge(name: &str, generation: i64) -> Object {
    let unit = Unit::CachePurge(CachePurge {
        uid: format!("{name}-{generation}"),
        target: ObjectId::new(Kind::EdgeCache, "default", "shop"),
        selector: PurgeSelector::Everything,
        mode: PurgeMode::default(),
    });
    let blob = Blob::Valid { unit: Box::new(unit) };
    (ObjectId::new(Kind::CachePurge, "default", name), generation, blob)
}

pub(super) fn invalid(name: &str, generation: i64) -> Object {
    let blob = Blob::Invalid {
        targets: Vec::new(),
        message: format!("generation {generation} is broken"),
    };
    (ObjectId::new(Kind::CachePurge, "default", name), generation, blob)
}

/// A route, as far as its identity goes: nothing here looks into units.
pub(super) fn ws(name: &str) -> Object {
    let (_, generation, blob) = purge(name, 1);
    (ObjectId::new(Kind::WsRoute, "default", name), generation, blob)
}

/// A policy, as far as its identity goes.
pub(super) fn waf(name: &str) -> Object {
    let (_, generation, blob) = purge(name, 2);
    (ObjectId::new(Kind::WafPolicy, "default", name), generation, blob)
}

/// What stands for a private key.
pub(super) const KEY: &str = "hunter2";

/// A Secret, as far as its identity goes.
pub(super) fn certificate(name: &str) -> Object {
    let unit = Unit::Certificate(Certificate {
        chain_pem: "chain".to_owned(),
        key_pem: KEY.to_owned(),
        ocsp: None,
        ocsp_until: None,
    });
    let blob = Blob::Valid { unit: Box::new(unit) };
    (ObjectId::new(Kind::Secret, "default", name), 0, blob)
}
