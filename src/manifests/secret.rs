//! Secrets: TLS certificates among the manifests.
//!
//! Invariants: no message holds anything of a Secret's content, and what is kept of the document for its lines has lost
//! it. A Secret is never an object of its own: what is wrong with it is told here, or with the objects that name it.

use breakwater_compile::Secret;
use breakwater_snapshot::ObjectId;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::schema::{Violation, unknown};
use super::yaml::{Content, Node};

/// The only type whose content is looked at.
const TLS: &str = "kubernetes.io/tls";

/// The fields of a Secret beside `apiVersion`, `kind` and `metadata`.
pub(super) const FIELDS: [&str; 4] = ["data", "immutable", "stringData", "type"];

/// Reads a Secret and takes its content out of `node`.
pub(super) fn read(id: &ObjectId, node: &mut Node, out: &mut Vec<Violation>) -> Secret {
    let kind = node.get("type").and_then(Node::text).unwrap_or("Opaque").to_owned();
    let mut values: Vec<(String, Vec<u8>)> = Vec::new();
    // As an API server does: stringData is laid over data.
    for (field, encoded) in [("data", true), ("stringData", false)] {
        let Some(content) = node.get_mut(field) else { continue };
        let line = content.line;
        match std::mem::replace(&mut content.content, Content::Null) {
            Content::Map(entries) if kind == TLS => {
                for (key, value) in entries {
                    let mut wrong = |message: &str| {
                        out.push(Violation {
                            line: key.line,
                            field: format!("{field}[{}]", key.name),
                            message: message.to_owned(),
                        });
                    };
                    let bytes = match value.content {
                        Content::Null => Vec::new(),
                        Content::Text(text) if encoded => {
                            let text: String = text.split_ascii_whitespace().collect();
                            match STANDARD.decode(text) {
                                Ok(bytes) => bytes,
                                Err(_) => {
                                    wrong("the value is not base64: encode it, or write it as it is under stringData");
                                    continue;
                                }
                            }
                        }
                        Content::Text(text) => text.into_bytes(),
                        _ => {
                            wrong("the value is not a text: put it in quotes or behind |");
                            continue;
                        }
                    };
                    values.retain(|(known, _)| *known != key.name);
                    values.push((key.name, bytes));
                }
            }
            // Other types are nobody's here, and so is what they hold.
            Content::Map(_) | Content::Null => {}
            _ => out.push(Violation {
                line,
                field: field.to_owned(),
                message: format!("`{field}` is not a mapping of keys and values"),
            }),
        }
    }
    if let Content::Map(entries) = &node.content {
        let top = ["apiVersion", "kind", "metadata"];
        let known = || top.into_iter().chain(FIELDS);
        for (key, _) in entries {
            if !known().any(|name| name == key.name) {
                let names: Vec<&str> = known().collect();
                out.push(Violation {
                    line: key.line,
                    field: key.name.clone(),
                    message: unknown(&key.name, names.into_iter()),
                });
            }
        }
    }
    Secret::new(id.namespace.as_str(), id.name.as_str(), kind, |key| {
        let found = values.iter().position(|(known, _)| known == key)?;
        Some(values.swap_remove(found).1)
    })
}
