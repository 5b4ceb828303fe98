//! Reads a directory of manifests into a [`World`], with file and line of every fault.
//!
//! The files directly in the directory whose names end in `.yaml` or `.yml` are read, in the order of their names;
//! directories below it and names beginning with a dot are not (as `kubectl apply -f DIR`). What a file may say is
//! taken from the schemas of the CustomResourceDefinitions, so a manifest that is read here is one that an API server
//! takes, but for CEL rules, which the compile step checks again.
//!
//! An object with a wrong field is broken alone: its neighbours are used, and nodes keep its last good unit. A file
//! whose objects cannot be told (broken YAML, a document without name, an unknown kind) is broken as a whole:
//! [`Loaded::keep_last_good`] goes on with the objects of its last good version, so that a slip of the pen never takes
//! a policy away. Applying and judging are left to the compile step; watching the directory to `up`.
//!
//! TLS Secrets are read like other objects; nothing of their content is ever told. ConfigMaps are read for the rules that
//! policies name.
//!
//! Outside Kubernetes objects have no age: a conflict goes to the object that comes first, by file name and then by
//! position in the file.

mod config_map;
mod document;
mod nearest;
mod part;
mod read;
mod schema;
mod secret;
mod yaml;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use breakwater_compile::{Broken, ConfigMap, Object, Output, Reason, Secret, Severity, Verdict, World, compile};
use breakwater_crds::{CachePurgeSpec, EdgeCacheSpec, WafPolicySpec, WsRouteSpec};
use breakwater_snapshot::{Kind, ObjectId};
use serde::Serialize;

use part::Part;
pub(crate) use read::{bounded, load};
use yaml::Node;

/// A directory, read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    /// Every manifest file by its path, in the order of precedence.
    pub(crate) files: BTreeMap<PathBuf, FileState>,
    /// What was found while reading, in the order of files and lines.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileState {
    /// Its objects, in their order.
    pub(crate) objects: Vec<Parsed>,
    /// Its ConfigMaps.
    pub(crate) config_maps: Vec<ConfigMap>,
    /// Whether it holds something whose object cannot be told; then `objects` may lack some.
    pub(crate) broken: bool,
    /// Whether the operating system would not give it.
    pub(crate) unreadable: bool,
}

/// One object of a file.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    /// Its identity.
    pub(crate) id: ObjectId,
    /// Its content, or why it cannot be decoded.
    pub(crate) spec: Spec,
    /// What can be judged of it all the same, when it cannot be decoded.
    part: Option<Box<Part>>,
    /// The document, for the lines of its fields.
    node: Node,
}

/// The spec of an object of either kind.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    EdgeCache(Box<EdgeCacheSpec>),
    WafPolicy(Box<WafPolicySpec>),
    WsRoute(Box<WsRouteSpec>),
    CachePurge(Box<CachePurgeSpec>),
    Secret(Box<Secret>),
    Broken(Box<Broken>),
}

/// Something to tell the author of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Diagnostic {
    /// How bad it is.
    pub(crate) severity: Severity,
    /// In which file.
    pub(crate) file: PathBuf,
    /// In which line, from 1; 0 when it has none.
    pub(crate) line: usize,
    /// The object's kind, as far as it is known; so for namespace, name and field.
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The field, such as `spec.hostnames[0]`.
    pub(crate) field: String,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {} ({}", printable(&self.message), self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.name.is_empty() {
            let object = format!("{}/{}/{}", self.kind, self.namespace, self.name);
            write!(f, ", {}", printable(&object))?;
        }
        if !self.field.is_empty() {
            write!(f, ", {}", printable(&self.field))?;
        }
        f.write_str(")")
    }
}

/// Longest text of a manifest that a message repeats, in characters; the rest is cut.
const PRINTED: usize = 512;

/// Text from a manifest as a terminal may have it: no control characters, no more than can be read.
fn printable(text: &str) -> String {
    let mut out: String = text.chars().take(PRINTED).flat_map(shown).collect();
    if text.chars().nth(PRINTED).is_some() {
        out.push('…');
    }
    out
}

fn shown(c: char) -> impl Iterator<Item = char> {
    let (escaped, plain) = if c.is_control() {
        (Some(c.escape_default()), None)
    } else {
        (None, Some(c))
    };
    escaped.into_iter().flatten().chain(plain)
}

/// Most objects that cannot be decoded of which the rest is judged: each takes a compilation.
const MOST_PARTS: usize = 64;

/// What a reference to a Service or a Secret means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Services {
    /// There are none, and the manifests are to be served: an error.
    Absent,
    /// The manifests are for a cluster, which has them: a warning.
    Elsewhere,
}

impl Loaded {
    /// The objects as the compile step takes them. The earlier of two objects of one name counts.
    pub(crate) fn world(&self) -> World {
        let mut world = World::default();
        let mut seen = std::collections::HashSet::new();
        let objects = self.files.values().flat_map(|file| &file.objects);
        for (position, parsed) in (0i64..).zip(objects.filter(|parsed| seen.insert(&parsed.id))) {
            parsed.spec.put(document::meta(parsed, position), &mut world);
        }
        world.config_maps = self.config_maps();
        world
    }

    /// The earlier of two of one name counts.
    fn config_maps(&self) -> Vec<ConfigMap> {
        let mut seen = std::collections::HashSet::new();
        let all = self.files.values().flat_map(|file| &file.config_maps);
        all.filter(|map| seen.insert((&map.namespace, &map.name)))
            .cloned()
            .collect()
    }

    fn has_config_map(&self, namespace: &str, name: &str) -> bool {
        let mut all = self.files.values().flat_map(|file| &file.config_maps);
        all.any(|map| map.namespace == namespace && map.name == name)
    }

    /// What would be found of the rest of an object that cannot be decoded.
    fn judge_part(&self, parsed: &Parsed, part: &Part) -> Option<Verdict> {
        let mut world = match part.spec {
            // These refer to others.
            Spec::WafPolicy(_) | Spec::CachePurge(_) => self.world(),
            // By itself: others' claims may be told of once its own are known.
            _ => World {
                secrets: self.world().secrets,
                ..World::default()
            },
        };
        world.broken.retain(|broken| broken.id != parsed.id);
        part.spec.put(document::meta(parsed, i64::MAX), &mut world);
        let mut verdict = compile(&world).verdicts.into_iter().find(|v| v.id == parsed.id)?;
        verdict.problems.retain(|problem| part.vouches_for(problem));
        Some(verdict)
    }

    /// Everything to tell: what was found while reading, and what the compile step found, in the order of files and
    /// lines.
    pub(crate) fn report(&self, output: &Output, services: Services) -> Vec<Diagnostic> {
        let mut places: HashMap<&ObjectId, (&PathBuf, &Parsed)> = HashMap::new();
        for (path, file) in &self.files {
            for parsed in &file.objects {
                places.entry(&parsed.id).or_insert((path, parsed));
            }
        }
        let mut all = self.diagnostics.clone();
        let mut parts = 0;
        for verdict in &output.verdicts {
            let Some((path, parsed)) = places.get(&verdict.id) else {
                continue;
            };
            let of_part;
            let verdict = match (&parsed.spec, &parsed.part) {
                (Spec::Broken(_), None) => continue,
                // What it is broken by was told while reading.
                (Spec::Broken(_), Some(_)) if parts == MOST_PARTS => continue,
                (Spec::Broken(_), Some(part)) => match self.judge_part(parsed, part) {
                    Some(verdict) => {
                        parts += 1;
                        of_part = verdict;
                        &of_part
                    }
                    None => continue,
                },
                _ => verdict,
            };
            let unresolved = verdict
                .resolved_refs
                .as_ref()
                .is_some_and(|resolved| resolved.reason == Reason::BackendNotFound);
            for problem in &verdict.problems {
                let mut diagnostic = Diagnostic {
                    severity: problem.severity,
                    file: (*path).clone(),
                    line: parsed.node.line_of(&problem.field),
                    kind: verdict.id.kind.to_string(),
                    namespace: verdict.id.namespace.clone(),
                    name: verdict.id.name.clone(),
                    field: problem.field.clone(),
                    message: problem.message.clone(),
                };
                if unresolved && problem.field.ends_with(".service") {
                    services.retell(&mut diagnostic);
                }
                if let Some(name) = parsed.secret_named_by(&problem.field) {
                    let secret = ObjectId::new(Kind::Secret, verdict.id.namespace.as_str(), name);
                    if !places.contains_key(&secret) {
                        services.retell_secret(&mut diagnostic, &secret);
                    }
                }
                if let Some(name) = parsed.config_map_named_by(&problem.field)
                    && !self.has_config_map(&verdict.id.namespace, name)
                {
                    services.retell_config_map(&mut diagnostic, name);
                }
                all.push(diagnostic);
            }
        }
        all.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        all
    }

    /// Whether a file holds, or may hold, objects that cannot be told.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.files.values().any(|file| file.broken || file.unreadable)
    }

    /// Lets each file that is broken as a whole go on with the objects that `previous` had of it, and says so. Objects
    /// that the broken file still shows are not used: half of a file may be worse than its last good version.
    pub(crate) fn keep_last_good(&mut self, previous: &Self) {
        for (path, file) in &mut self.files {
            if !file.broken && !file.unreadable {
                continue;
            }
            let Some(last) = previous.files.get(path) else {
                continue;
            };
            let objects = last.objects.len();
            file.objects.clone_from(&last.objects);
            file.config_maps.clone_from(&last.config_maps);
            self.diagnostics.push(Diagnostic {
                severity: Severity::Warning,
                file: path.clone(),
                line: 0,
                kind: String::new(),
                namespace: String::new(),
                name: String::new(),
                field: String::new(),
                message: format!("the file is broken: its last good version stays in force, {objects} object(s)"),
            });
        }
    }
}

impl Parsed {
    /// The Secret that a field names, if it is one that names a Secret.
    fn secret_named_by(&self, field: &str) -> Option<&str> {
        if !field.ends_with("ecretName") {
            return None;
        }
        self.node.at(field)?.text()
    }

    /// The ConfigMap that a field names, if it is one that names a ConfigMap.
    fn config_map_named_by(&self, field: &str) -> Option<&str> {
        let last = field.rsplit('.').next()?.split('[').next()?;
        if !matches!(last, "configMap" | "configMaps") {
            return None;
        }
        self.node.at(field)?.get("name")?.text()
    }
}

impl Services {
    /// Says of a Secret that is not among the manifests what that means here.
    fn retell_secret(self, diagnostic: &mut Diagnostic, secret: &ObjectId) {
        let place = format!("Secret {}/{}", secret.namespace, secret.name);
        diagnostic.message = match self {
            Self::Absent => format!(
                "there is no {place}: put its manifest (apiVersion: v1, type: kubernetes.io/tls) beside the others"
            ),
            Self::Elsewhere => {
                diagnostic.severity = Severity::Warning;
                format!(
                    "{place} is looked up in the cluster, not here; `breakwater up` wants its manifest beside the others"
                )
            }
        };
    }

    /// Says of a ConfigMap that is not among the manifests what that means here.
    fn retell_config_map(self, diagnostic: &mut Diagnostic, name: &str) {
        let place = format!("ConfigMap {}/{name}", diagnostic.namespace);
        diagnostic.message = match self {
            Self::Absent => format!("there is no {place}: put its manifest (apiVersion: v1) beside the others"),
            Self::Elsewhere => {
                diagnostic.severity = Severity::Warning;
                format!(
                    "{place} is looked up in the cluster, not here; `breakwater up` wants its manifest beside the others"
                )
            }
        };
    }

    /// Says of an unresolved reference what it means here.
    fn retell(self, diagnostic: &mut Diagnostic) {
        match self {
            Self::Absent => {
                diagnostic.message =
                    "there are no Services outside Kubernetes: use urls (urls: [http://127.0.0.1:8080]) in place of service"
                        .to_owned();
            }
            Self::Elsewhere => {
                diagnostic.severity = Severity::Warning;
                diagnostic.message =
                    "the Service is looked up in the cluster, not here; for `breakwater up` use urls in place of service"
                        .to_owned();
            }
        }
    }
}

impl Spec {
    /// Puts the object where it belongs.
    fn put(&self, meta: breakwater_compile::Meta, world: &mut World) {
        match self {
            Self::EdgeCache(spec) => world.edge_caches.push(object(meta, spec)),
            Self::WafPolicy(spec) => world.waf_policies.push(object(meta, spec)),
            Self::WsRoute(spec) => world.ws_routes.push(object(meta, spec)),
            Self::CachePurge(spec) => world.cache_purges.push(object(meta, spec)),
            Self::Secret(secret) => world.secrets.push((**secret).clone()),
            Self::Broken(broken) => world.broken.push((**broken).clone()),
        }
    }
}

fn object<S: Clone>(meta: breakwater_compile::Meta, spec: &S) -> Object<S> {
    Object {
        meta,
        spec: spec.clone(),
    }
}

#[cfg(test)]
mod tests;
