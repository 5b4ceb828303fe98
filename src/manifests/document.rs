//! One document: which object it is, and what it says.

use std::sync::LazyLock;

use breakwater_compile::{Broken, ConfigMap, Meta, Severity, decode, raw_secrets, raw_targets};
use breakwater_crds::{GROUP, VERSION};
use breakwater_snapshot::{Digest, Kind, ObjectId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::nearest::nearest;
use super::part::Part;
use super::yaml::{Content, Node};
use super::{Diagnostic, Parsed, Spec, config_map, schema, secret};

/// What became of a document.
pub(super) enum Read {
    /// An object of ours.
    Object(Box<Parsed>),
    /// A ConfigMap: perhaps rules.
    ConfigMap(ConfigMap),
    /// Nothing of ours.
    Foreign,
    /// Perhaps something of ours, but which object it is cannot be told.
    Lost,
}

/// The fields of `metadata` that Kubernetes knows.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The schema of each kind's `spec`, as the API server gets it.
static SCHEMAS: LazyLock<Vec<(Kind, Value)>> = LazyLock::new(|| {
    breakwater_crds::all()
        .into_iter()
        .filter_map(|crd| {
            let kind = crd.spec.names.kind.parse().ok()?;
            let version = crd.spec.versions.into_iter().next()?;
            let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
            Some((kind, schema["properties"]["spec"].clone()))
        })
        .collect()
});

/// What the compile step reads of an object's metadata.
pub(super) fn meta(parsed: &Parsed, position: i64) -> Meta {
    // A purge is done once for each UID. Here it is the purge's content, so that an edited purge is another one.
    let content = (&parsed.id, parsed.node.get("spec").map(Node::to_json));
    let uid = serde_json::to_vec(&content).unwrap_or_default();
    Meta {
        namespace: parsed.id.namespace.clone(),
        name: parsed.id.name.clone(),
        uid: Digest::of(&uid).to_string(),
        generation: 0,
        created: Some(position),
    }
}

/// Reads one document of `file`; what is wrong with it goes to `out`.
pub(super) fn read(node: Node, file: &std::path::Path, out: &mut Vec<Diagnostic>) -> Read {
    let text = |field: &str| node.get(field).and_then(Node::text).unwrap_or_default();
    let metadata = |field: &str| {
        let value = node.get("metadata").and_then(|metadata| metadata.get(field));
        value.and_then(Node::text).unwrap_or_default()
    };
    let (kind, api_version) = (text("kind").to_owned(), text("apiVersion").to_owned());
    let name = metadata("name").to_owned();
    let namespace = match metadata("namespace") {
        "" => "default".to_owned(),
        namespace => namespace.to_owned(),
    };
    let mut tell = |severity, line, field: &str, message: String| {
        out.push(Diagnostic {
            severity,
            file: file.to_owned(),
            line,
            kind: kind.clone(),
            namespace: if name.is_empty() {
                String::new()
            } else {
                namespace.clone()
            },
            name: name.clone(),
            field: field.to_owned(),
            message,
        });
    };
    let error = Severity::Error;
    if !matches!(node.content, Content::Map(_)) {
        let message = format!(
            "a manifest is a mapping with apiVersion, kind, metadata and spec; found {}",
            node.describe()
        );
        tell(error, node.line, "", message);
        return Read::Lost;
    }
    if kind.is_empty() {
        tell(
            error,
            node.line_of("kind"),
            "kind",
            "`kind` is missing: write EdgeCache, WafPolicy, WsRoute or CachePurge".to_owned(),
        );
        return Read::Lost;
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let known = kind.parse::<Kind>().ok().filter(|kind| Kind::CUSTOM.contains(kind));
    let group_line = node.line_of("apiVersion");
    let (ours, expected) = (group == GROUP, format!("{GROUP}/{VERSION}"));
    let kind = match (known, ours) {
        (Some(_), _) if api_version.is_empty() => {
            tell(
                error,
                group_line,
                "apiVersion",
                format!("`apiVersion` is missing: write {expected}"),
            );
            return Read::Lost;
        }
        (Some(known), true) if version == VERSION => known,
        (_, true) if version != VERSION => {
            tell(
                error,
                group_line,
                "apiVersion",
                format!("`{api_version}` is not a version of {GROUP}: write {expected}"),
            );
            return Read::Lost;
        }
        (None, true) => {
            let hint = match nearest(&kind, Kind::CUSTOM.map(Kind::as_str)) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "known are EdgeCache, WafPolicy, WsRoute and CachePurge".to_owned(),
            };
            tell(
                error,
                node.line_of("kind"),
                "kind",
                format!("`{kind}` is not a kind of {GROUP}: {hint}"),
            );
            return Read::Lost;
        }
        (_, false) => {
            // A group that was meant to be ours must not pass as somebody else's: its policy would silently be gone.
            if known.is_some() || nearest(group, [GROUP]).is_some() {
                tell(
                    error,
                    group_line,
                    "apiVersion",
                    format!("`{api_version}` is not the group of this kind: write {expected}"),
                );
                return Read::Lost;
            }
            if api_version == "v1" && kind == Kind::Secret.as_str() {
                return secret(node, &namespace, &name, &mut tell);
            }
            if api_version == "v1" && kind == "ConfigMap" {
                let mut violations = Vec::new();
                let map = config_map::read(&namespace, &name, &node, &mut violations);
                for violation in violations {
                    tell(error, violation.line, &violation.field, violation.message);
                }
                return Read::ConfigMap(map);
            }
            let plain = group.is_empty() && matches!(kind.as_str(), "ConfigMap" | "Secret");
            if !plain {
                tell(
                    Severity::Warning,
                    node.line_of("kind"),
                    "kind",
                    format!("{api_version} {kind} is not of {GROUP} and is ignored"),
                );
            }
            return Read::Foreign;
        }
        (Some(known), true) => known,
    };

    let mut violations = Vec::new();
    let top = ["apiVersion", "kind", "metadata", "spec", "status"];
    if let Content::Map(entries) = &node.content {
        for (key, _) in entries.iter().filter(|(key, _)| !top.contains(&key.name.as_str())) {
            violations.push(schema::Violation {
                line: key.line,
                field: key.name.clone(),
                message: schema::unknown(&key.name, top.into_iter()),
            });
        }
    }
    if !envelope(&node, &mut violations) {
        for violation in violations {
            tell(error, violation.line, &violation.field, violation.message);
        }
        return Read::Lost;
    }
    let id = ObjectId::new(kind, namespace.as_str(), name.as_str());
    let schema = SCHEMAS
        .iter()
        .find(|(known, _)| *known == kind)
        .map(|(_, schema)| schema);
    match (node.get("spec"), schema) {
        (Some(spec), Some(schema)) => schema::check(spec, schema, "spec", node.line_of("spec"), &mut violations),
        _ => violations.push(schema::Violation {
            line: node.line,
            field: "spec".to_owned(),
            message: "the field `spec` is missing".to_owned(),
        }),
    }
    let json = node.get("spec").map(Node::to_json).unwrap_or_default();
    let decoded = |json: &Value| match kind {
        Kind::EdgeCache => typed(&id, json, Spec::EdgeCache),
        Kind::WafPolicy => typed(&id, json, Spec::WafPolicy),
        Kind::WsRoute => typed(&id, json, Spec::WsRoute),
        Kind::CachePurge | Kind::Secret => typed(&id, json, Spec::CachePurge),
    };
    let spec = match violations.first() {
        Some(first) => Spec::Broken(Box::new(Broken {
            field: first.field.clone(),
            message: first.message.clone(),
            ..broken(&id, &json)
        })),
        None => decoded(&json),
    };
    let mut faulty: Vec<String> = violations.iter().map(|violation| violation.field.clone()).collect();
    if let (Spec::Broken(fault), true) = (&spec, violations.is_empty()) {
        tell(error, node.line_of(&fault.field), &fault.field, fault.message.clone());
        faulty.push(fault.field.clone());
    }
    for violation in violations {
        tell(error, violation.line, &violation.field, violation.message);
    }
    let part = matches!(spec, Spec::Broken(_)).then(|| {
        Part::new(json, faulty, decoded, |fault| {
            tell(error, node.line_of(&fault.field), &fault.field, fault.message.clone());
        })
    });
    let part = part.flatten().map(Box::new);
    Read::Object(Box::new(Parsed { id, spec, part, node }))
}

/// Reads a Secret. What is wrong with it leaves it without the value in question: the objects that name it say so.
fn secret(mut node: Node, namespace: &str, name: &str, tell: &mut impl FnMut(Severity, usize, &str, String)) -> Read {
    let mut violations = Vec::new();
    let named = envelope(&node, &mut violations);
    let id = ObjectId::new(Kind::Secret, namespace, name);
    let secret = secret::read(&id, &mut node, &mut violations);
    for violation in violations {
        tell(Severity::Error, violation.line, &violation.field, violation.message);
    }
    if !named {
        return Read::Lost;
    }
    Read::Object(Box::new(Parsed {
        id,
        spec: Spec::Secret(Box::new(secret)),
        part: None,
        node,
    }))
}

/// Checks `metadata`. False when the object cannot be named.
fn envelope(node: &Node, out: &mut Vec<schema::Violation>) -> bool {
    let mut wrong = |line, field: &str, message: String| {
        out.push(schema::Violation {
            line,
            field: field.to_owned(),
            message,
        });
    };
    let Some(metadata) = node.get("metadata") else {
        wrong(
            node.line,
            "metadata.name",
            "the field `metadata` is missing: an object needs a name".to_owned(),
        );
        return false;
    };
    if let Content::Map(entries) = &metadata.content {
        for (key, _) in entries.iter().filter(|(key, _)| !METADATA.contains(&key.name.as_str())) {
            let field = format!("metadata.{}", key.name);
            wrong(key.line, &field, schema::unknown(&key.name, METADATA.into_iter()));
        }
    }
    let name = metadata.get("name");
    let line = node.line_of("metadata.name");
    let Some(name) = name.and_then(Node::text) else {
        let message = match name {
            Some(name) => format!("expected a text, found {}: put it in quotes", name.describe()),
            None => "the field `metadata.name` is missing".to_owned(),
        };
        wrong(line, "metadata.name", message);
        return false;
    };
    let namespace = metadata.get("namespace");
    let mut good = true;
    if !subdomain(name) {
        wrong(line, "metadata.name", not_a_name(name));
        good = false;
    }
    if let Some(namespace) = namespace {
        let line = node.line_of("metadata.namespace");
        match namespace.text() {
            Some(namespace) if subdomain(namespace) && !namespace.contains('.') => {}
            Some(namespace) => {
                wrong(line, "metadata.namespace", not_a_name(namespace));
                good = false;
            }
            None => {
                wrong(
                    line,
                    "metadata.namespace",
                    format!("expected a text, found {}", namespace.describe()),
                );
                good = false;
            }
        }
    }
    good
}

fn not_a_name(name: &str) -> String {
    format!("`{name}` cannot be a name: lower-case letters, digits and -, beginning and ending with a letter or digit")
}

fn subdomain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn typed<S: DeserializeOwned + Serialize>(id: &ObjectId, json: &Value, wrap: fn(Box<S>) -> Spec) -> Spec {
    match decode(id, 0, json) {
        Ok(spec) => wrap(Box::new(spec)),
        Err(fault) => Spec::Broken(fault),
    }
}

fn broken(id: &ObjectId, json: &Value) -> Broken {
    Broken {
        id: id.clone(),
        generation: 0,
        field: String::new(),
        message: String::new(),
        targets: raw_targets(id, json),
        secrets: raw_secrets(id, json),
    }
}
