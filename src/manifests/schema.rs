//! Checks a document against its CustomResourceDefinition's schema: fields, types, required fields, ranges, lists.
//!
//! The schema is the one the API server gets, so the two agree. Values that only CEL judges are left to the compile
//! step.

use std::collections::HashSet;

use serde_json::Value;

use super::nearest::nearest;
use super::yaml::{Content, Key, Node};

/// Something that the schema does not allow.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) line: usize,
    pub(super) field: String,
    pub(super) message: String,
}

/// Checks `node` and everything below it. `line` is where the node's name stands.
pub(super) fn check(node: &Node, schema: &Value, field: &str, line: usize, out: &mut Vec<Violation>) {
    let mut wrong = |message: String| {
        out.push(Violation {
            line,
            field: field.to_owned(),
            message,
        });
    };
    if schema["x-kubernetes-int-or-string"] == Value::Bool(true) {
        match node.content {
            Content::Int(number) => range(number, schema, &mut wrong),
            Content::Text(_) => {}
            _ => wrong(format!("expected a whole number or a text, found {}", node.describe())),
        }
        return;
    }
    match (schema["type"].as_str().unwrap_or_default(), &node.content) {
        ("object", Content::Map(_)) => object(node, schema, field, line, out),
        ("array", Content::Seq(items)) => array(items, schema, field, line, out),
        ("string", Content::Text(text)) => {
            let length = text.chars().count() as u64;
            if schema["maxLength"].as_u64().is_some_and(|most| length > most) {
                wrong(format!(
                    "the text has {length} characters; at most {} are allowed",
                    schema["maxLength"]
                ));
            } else if schema["minLength"].as_u64().is_some_and(|least| length < least) {
                wrong(format!(
                    "`{text}` is too short: at least {} characters",
                    schema["minLength"]
                ));
            }
            one_of(&Value::String(text.clone()), schema, &mut wrong);
        }
        ("integer", Content::Int(number)) => {
            range(*number, schema, &mut wrong);
            one_of(&Value::from(*number), schema, &mut wrong);
        }
        ("boolean", Content::Bool(_)) => {}
        ("string", Content::Int(_) | Content::Float(_) | Content::Bool(_)) => {
            wrong(format!("expected a text, found {}: put it in quotes", node.describe()));
        }
        (expected, _) => {
            let expected = match expected {
                "object" => "a mapping",
                "array" => "a list",
                "string" => "a text",
                "integer" => "a whole number",
                "boolean" => "true or false",
                other => other,
            };
            wrong(format!("expected {expected}, found {}", node.describe()));
        }
    }
}

fn object(node: &Node, schema: &Value, field: &str, line: usize, out: &mut Vec<Violation>) {
    let Content::Map(entries) = &node.content else {
        return;
    };
    if schema["additionalProperties"].is_object() {
        map(entries, schema, field, line, out);
    }
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    for (key, value) in entries {
        let child = format!("{field}.{}", key.name);
        match properties.get(&key.name) {
            // An API server drops a field without value; where that means another thing than the field with nothing in it,
            // it is not what was meant.
            Some(schema) if matches!(value.content, Content::Null) => {
                if let Some(message) = no_value(&key.name, schema) {
                    let (line, field) = (key.line, child);
                    out.push(Violation { line, field, message });
                }
            }
            Some(schema) => check(value, schema, &child, key.line, out),
            None => out.push(Violation {
                line: key.line,
                field: child,
                message: unknown(&key.name, properties.keys().map(String::as_str)),
            }),
        }
    }
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        let given = node
            .get(name)
            .is_some_and(|value| !matches!(value.content, Content::Null));
        if !given {
            out.push(Violation {
                line,
                field: format!("{field}.{name}"),
                message: format!("the field `{name}` is missing"),
            });
        }
    }
}

/// What to say of an object without a value, as in `crs:`, unless it means the same as `{}`.
fn no_value(name: &str, schema: &Value) -> Option<String> {
    if schema["type"] != "object" || !schema["properties"].is_object() || schema.get("default").is_some() {
        return None;
    }
    let needs_more = schema["required"]
        .as_array()
        .is_some_and(|required| !required.is_empty());
    Some(match needs_more {
        true => format!("`{name}:` has no value, so it counts as left out: give it its fields, or remove the line"),
        false => format!("`{name}:` has no value, so it counts as left out: write `{name}: {{}}`, or remove the line"),
    })
}

/// A mapping whose keys the user chooses.
fn map(entries: &[(Key, Node)], schema: &Value, field: &str, line: usize, out: &mut Vec<Violation>) {
    let count = entries.len() as u64;
    if schema["maxProperties"].as_u64().is_some_and(|most| count > most) {
        out.push(Violation {
            line,
            field: field.to_owned(),
            message: format!(
                "the mapping has {count} entries; at most {} are allowed",
                schema["maxProperties"]
            ),
        });
    }
    for (key, value) in entries {
        let child = format!("{field}[{}]", key.name);
        check(value, &schema["additionalProperties"], &child, key.line, out);
    }
}

/// The message for a field that is not known.
pub(super) fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(meant) => format!("unknown field `{name}`: did you mean `{meant}`?"),
        None => {
            let mut known: Vec<&str> = known.collect();
            known.sort_unstable();
            format!("unknown field `{name}`: known here are {}", known.join(", "))
        }
    }
}

fn array(items: &[Node], schema: &Value, field: &str, line: usize, out: &mut Vec<Violation>) {
    let mut wrong = |line, field: String, message| out.push(Violation { line, field, message });
    let count = items.len() as u64;
    if schema["maxItems"].as_u64().is_some_and(|most| count > most) {
        wrong(
            line,
            field.to_owned(),
            format!(
                "the list has {count} entries; at most {} are allowed",
                schema["maxItems"]
            ),
        );
    } else if schema["minItems"].as_u64().is_some_and(|least| count < least) {
        wrong(
            line,
            field.to_owned(),
            format!("the list has {count} entries; at least {} needed", schema["minItems"]),
        );
    }
    let kind = schema["x-kubernetes-list-type"].as_str();
    if matches!(kind, Some("set" | "map")) {
        let keys = schema["x-kubernetes-list-map-keys"].as_array();
        let mut seen = HashSet::new();
        for (i, item) in items.iter().enumerate() {
            let value = item.to_json();
            let identity = match keys {
                Some(keys) => keys
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|key| {
                        value
                            .get(key)
                            .unwrap_or_else(|| &schema["items"]["properties"][key]["default"])
                            .to_string()
                    })
                    .collect::<Vec<_>>()
                    .join(", "),
                None => value.to_string(),
            };
            if !seen.insert(identity.clone()) {
                wrong(
                    item.line,
                    format!("{field}[{i}]"),
                    format!("{identity} is in the list twice: remove one"),
                );
            }
        }
    }
    for (i, item) in items.iter().enumerate() {
        check(item, &schema["items"], &format!("{field}[{i}]"), item.line, out);
    }
}

fn range(number: i64, schema: &Value, wrong: &mut impl FnMut(String)) {
    let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
    if least.is_some_and(|least| (number as f64) < least) || most.is_some_and(|most| number as f64 > most) {
        let bound = |bound: Option<f64>, word: &str| bound.map(|bound| format!("{word} {bound}"));
        let bounds = [bound(least, "at least"), bound(most, "at most")];
        let bounds: Vec<String> = bounds.into_iter().flatten().collect();
        wrong(format!("`{number}` is out of range: {}", bounds.join(" and ")));
    }
}

fn one_of(value: &Value, schema: &Value, wrong: &mut impl FnMut(String)) {
    let Some(allowed) = schema["enum"].as_array() else {
        return;
    };
    if allowed.contains(value) {
        return;
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let names: Vec<String> = allowed.iter().map(text).collect();
    let found = text(value);
    wrong(match nearest(&found, names.iter().map(String::as_str)) {
        Some(meant) if names.len() > 1 => {
            format!(
                "`{found}` is not known: did you mean `{meant}`? Possible are {}",
                names.join(", ")
            )
        }
        _ => format!("`{found}` is not known: possible is {}", names.join(", ")),
    });
}
