//! ConfigMaps among the manifests: rules that policies name.
//!
//! Everything else that ConfigMaps hold is nobody's here, and nothing is said of it.

use breakwater_compile::ConfigMap;

use super::schema::Violation;
use super::yaml::{Content, Node};

/// Reads a ConfigMap. A value that is no text is told, and left out.
pub(super) fn read(namespace: &str, name: &str, node: &Node, out: &mut Vec<Violation>) -> ConfigMap {
    let mut data = Vec::new();
    match node.get("data").map(|data| (data.line, &data.content)) {
        Some((_, Content::Map(entries))) => {
            for (key, value) in entries {
                match &value.content {
                    Content::Text(text) => data.push((key.name.as_str(), text.as_str())),
                    Content::Null => data.push((key.name.as_str(), "")),
                    _ => out.push(Violation {
                        line: key.line,
                        field: format!("data[{}]", key.name),
                        message: "the value is not a text: put it in quotes or behind |".to_owned(),
                    }),
                }
            }
        }
        Some((_, Content::Null)) | None => {}
        Some((line, _)) => out.push(Violation {
            line,
            field: "data".to_owned(),
            message: "`data` is not a mapping of keys and values".to_owned(),
        }),
    }
    ConfigMap::new(namespace, name, data)
}
