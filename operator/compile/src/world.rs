//! The World: everything the compile step may look at, as plain values.
//!
//! Order means nothing: any permutation of the same objects compiles to the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use breakwater_crds::{CachePurgeSpec, EdgeCacheSpec, RecordedPurge, WafPolicySpec, WsRouteSpec};
use breakwater_snapshot::{Kind, ObjectId};
use breakwater_waf::address::list;
use breakwater_waf::catalog::Catalog;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::UrlLists;

/// Everything the compile step may look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// Every EdgeCache.
    pub edge_caches: Vec<Object<EdgeCacheSpec>>,
    /// Every WafPolicy.
    pub waf_policies: Vec<Object<WafPolicySpec>>,
    /// Every WsRoute.
    pub ws_routes: Vec<Object<WsRouteSpec>>,
    /// Every CachePurge.
    pub cache_purges: Vec<Object<CachePurgeSpec>>,
    /// What the statuses of EdgeCaches have recorded of purges; those without a record may be left out.
    pub purge_records: Vec<(ObjectId, Vec<RecordedPurge>)>,
    /// Objects that are there but could not be read.
    pub broken: Vec<Broken>,
    /// Services that objects may name; others may be left out.
    pub services: Vec<Service>,
    /// EndpointSlices of these Services.
    pub endpoint_slices: Vec<EndpointSlice>,
    /// TLS Secrets that objects may name; others may be left out.
    pub secrets: Vec<Secret>,
    /// ConfigMaps that policies may name; others may be left out.
    pub config_maps: Vec<ConfigMap>,
    /// Lists of addresses that policies name by URL.
    pub url_lists: UrlLists,
    /// The Core Rule Set that nodes probably have: own rules are looked at beside it; none: it is not known here.
    pub crs: Option<Arc<Catalog>>,
    /// Labels of Nodes cannot be seen, so that none is selected by them.
    pub blind_to_nodes: bool,
}

/// An object a user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<S> {
    /// Whose it is.
    pub meta: Meta,
    /// What it says.
    pub spec: S,
}

/// What the compile step reads of an object's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; it tells a purge from an earlier one of the same name.
    pub uid: String,
    /// Its generation; 0 outside Kubernetes.
    pub generation: i64,
    /// When it was created, Unix seconds. Outside Kubernetes its position among the manifests: only the order counts.
    /// An object without one comes after all that have one.
    pub created: Option<i64>,
}

impl Meta {
    /// The object's identity.
    pub fn id(&self, kind: Kind) -> ObjectId {
        ObjectId::new(kind, self.namespace.as_str(), self.name.as_str())
    }
}

/// An object that is there but could not be read. Each node keeps the last good unit it has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which object.
    pub id: ObjectId,
    /// Its generation; 0 outside Kubernetes.
    pub generation: i64,
    /// Where the fault is, such as `spec.limits[0].requests.count`; empty when it has no place.
    pub field: String,
    /// What is wrong, for a person.
    pub message: String,
    /// The objects that a broken policy names, as far as they could be made out: where no node has a last good unit,
    /// these are what it fails closed on.
    pub targets: Vec<ObjectId>,
    /// The Secrets that a broken object names, as far as they could be made out: nodes go on with its last good unit,
    /// which needs them.
    pub secrets: Vec<ObjectId>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty when the Service has one unnamed port. An EndpointSlice's port of the same name carries the
    /// number to connect to, with `targetPort` already resolved.
    pub name: String,
    /// Its number.
    pub port: u16,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: String,
    /// The Service it belongs to: its label `kubernetes.io/service-name`.
    pub service: String,
    /// Its ports, TCP only.
    pub ports: Vec<ServicePort>,
    /// The addresses of its ready endpoints.
    pub ready: Vec<String>,
}

/// A Secret, its keys as `kubernetes.io/tls` names them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its type; only `kubernetes.io/tls` can be used.
    pub kind: String,
    /// `tls.crt`; empty when it is missing.
    pub certificate: Vec<u8>,
    /// `tls.key`; empty when it is missing.
    pub key: Vec<u8>,
    /// `tls.ocsp-staple`: an OCSP response, DER.
    pub ocsp: Option<Vec<u8>>,
}

impl Secret {
    /// A Secret with that data, of which it takes what is needed.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        kind: impl Into<String>,
        mut data: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            kind: kind.into(),
            certificate: data("tls.crt").unwrap_or_default(),
            key: data("tls.key").unwrap_or_default(),
            ocsp: data("tls.ocsp-staple").filter(|der| !der.is_empty()),
        }
    }

    /// An order among Secrets of one name.
    pub(crate) fn rank(&self) -> (&str, &[u8], &[u8], Option<&[u8]>) {
        (&self.kind, &self.certificate, &self.key, self.ocsp.as_deref())
    }
}

impl std::fmt::Debug for Secret {
    /// Without its content: it must never reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A ConfigMap, as far as it may hold rules or lists of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMap {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its keys, each with its text where that may hold directives.
    pub data: BTreeMap<String, Option<String>>,
    /// Those of its keys that may be lists of addresses: packed, in base64, or what is wrong with them.
    pub lists: BTreeMap<String, Result<String, String>>,
}

impl ConfigMap {
    /// A ConfigMap with that data. Texts that are neither rules nor a list of addresses are not kept: a cluster has many
    /// ConfigMaps, and few hold these.
    pub fn new<'a>(
        namespace: impl Into<String>,
        name: impl Into<String>,
        data: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut map = Self {
            namespace: namespace.into(),
            name: name.into(),
            data: BTreeMap::new(),
            lists: BTreeMap::new(),
        };
        for (key, text) in data {
            if list::looks_like_a_list(text) {
                let packed = list::parse(text).map(|nets| STANDARD.encode(list::pack(&nets)));
                map.lists
                    .insert(key.to_owned(), packed.map_err(|error| error.to_string()));
            }
            let kept = text.contains("Sec").then(|| text.to_owned());
            map.data.insert(key.to_owned(), kept);
        }
        map
    }
}

/// Reads an object's `spec` from JSON.
///
/// # Errors
/// A [`Broken`] that says which field cannot be read, with the policy targets that can be made out.
pub fn decode<S: DeserializeOwned + Serialize>(id: &ObjectId, generation: i64, spec: &Value) -> Result<S, Box<Broken>> {
    serde_path_to_error::deserialize(spec).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." {
            "spec".to_owned()
        } else {
            format!("spec.{path}")
        };
        Box::new(Broken {
            id: id.clone(),
            generation,
            field,
            message: error.into_inner().to_string(),
            targets: raw_targets(id, spec),
            secrets: raw_secrets(id, spec),
        })
    })
}

/// The targets a policy names, read from JSON that need not be valid.
pub fn raw_targets(id: &ObjectId, spec: &Value) -> Vec<ObjectId> {
    if id.kind != Kind::WafPolicy {
        return Vec::new();
    }
    let refs = spec.get("targetRefs").and_then(Value::as_array);
    let mut targets: Vec<ObjectId> = refs
        .into_iter()
        .flatten()
        .filter_map(|target| {
            let kind = match target.get("kind")?.as_str()? {
                "EdgeCache" => Kind::EdgeCache,
                "WsRoute" => Kind::WsRoute,
                _ => return None,
            };
            Some(ObjectId::new(
                kind,
                id.namespace.as_str(),
                target.get("name")?.as_str()?,
            ))
        })
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

/// The Secrets an object names, read from JSON that need not be valid.
pub fn raw_secrets(id: &ObjectId, spec: &Value) -> Vec<ObjectId> {
    const FIELDS: [&str; 4] = [
        "/tls/secretName",
        "/origin/tls/certificateSecretName",
        "/backend/tls/certificateSecretName",
        "/tiering/parent/tls/certificateSecretName",
    ];
    let names = FIELDS.iter().filter_map(|field| spec.pointer(field)?.as_str());
    names
        .filter(|name| !name.is_empty())
        .map(|name| ObjectId::new(Kind::Secret, id.namespace.as_str(), name))
        .collect()
}
