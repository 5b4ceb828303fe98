//! YAML with positions: documents as trees whose nodes know their lines.
//!
//! The events of `saphyr-parser` are put together without recursion and within limits: a file cannot make a tree that
//! is deeper than [`MOST_DEPTH`] or larger than [`MOST_NODES`], by aliases or otherwise. Scalars are read by the core
//! schema of YAML 1.2.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// Deepest nesting of a document.
const MOST_DEPTH: usize = 64;

/// Most nodes of a file, aliases counted as what they stand for.
const MOST_NODES: usize = 1_000_000;

/// Most fields of one mapping.
const MOST_FIELDS: usize = 10_000;

/// A node of a document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) content: Content,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Seq(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) line: usize,
}

/// Why a file is no YAML, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads all documents of a file; empty ones are left out.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, Fault> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Fault {
            line: error.marker().line(),
            message: format!("not valid YAML: {}", error.info()),
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// A collection that has begun.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<Key>,
    /// Nodes before this one, to know its size.
    before: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = span.start.line();
        let fault = |message: &str| Fault {
            line,
            message: message.to_owned(),
        };
        match event {
            Event::SequenceStart(anchor, _) => self.begin(Content::Seq(Vec::new()), anchor, line)?,
            Event::MappingStart(anchor, _) => self.begin(Content::Map(Vec::new()), anchor, line)?,
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(done) = self.open.pop() else {
                    return Err(fault("not valid YAML: a collection ends that has not begun"));
                };
                if done.anchor > 0 {
                    let size = self.nodes - done.before;
                    self.anchors.insert(done.anchor, (done.node.clone(), size));
                }
                self.put(done.node)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, line)?;
                let text_tag = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
                let content = if style == ScalarStyle::Plain && !text_tag {
                    plain(&text)
                } else {
                    Content::Text(text.into_owned())
                };
                let node = Node { line, content };
                if anchor > 0 {
                    self.anchors.insert(anchor, (node.clone(), 1));
                }
                self.put(node)?;
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(fault("an alias has no anchor"));
                };
                let (node, size) = (node.clone(), *size);
                self.count(size, line)?;
                self.put(Node { line, ..node })?;
            }
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(Fault {
                line,
                message: format!("the file holds more than {MOST_NODES} values: split it"),
            });
        }
        Ok(())
    }

    fn begin(&mut self, content: Content, anchor: usize, line: usize) -> Result<(), Fault> {
        let before = self.nodes;
        self.count(1, line)?;
        if self.open.len() >= MOST_DEPTH {
            return Err(Fault {
                line,
                message: format!("values are nested deeper than {MOST_DEPTH}"),
            });
        }
        self.open.push(Open {
            node: Node { line, content },
            anchor,
            key: None,
            before,
        });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn put(&mut self, node: Node) -> Result<(), Fault> {
        let Some(parent) = self.open.last_mut() else {
            if !matches!(node.content, Content::Null) {
                self.documents.push(node);
            }
            return Ok(());
        };
        match &mut parent.node.content {
            Content::Seq(items) => items.push(node),
            Content::Map(entries) => match parent.key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let key = key(node)?;
                    if let Some((first, _)) = entries.iter().find(|(known, _)| known.name == key.name) {
                        return Err(Fault {
                            line: key.line,
                            message: format!(
                                "the field `{}` is given twice, first in line {}: remove one",
                                key.name, first.line
                            ),
                        });
                    }
                    if entries.len() >= MOST_FIELDS {
                        return Err(Fault {
                            line: key.line,
                            message: format!("a mapping has more than {MOST_FIELDS} fields"),
                        });
                    }
                    parent.key = Some(key);
                }
            },
            _ => {}
        }
        Ok(())
    }
}

fn key(node: Node) -> Result<Key, Fault> {
    let line = node.line;
    let name = match node.content {
        Content::Text(text) => text,
        Content::Int(number) => number.to_string(),
        Content::Float(number) => number.to_string(),
        Content::Bool(value) => value.to_string(),
        Content::Null => "null".to_owned(),
        Content::Seq(_) | Content::Map(_) => {
            return Err(Fault {
                line,
                message: "the name of a field is a text, not a list or mapping".to_owned(),
            });
        }
    };
    Ok(Key { name, line })
}

/// A plain scalar by the core schema.
fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    let radix = |prefix, radix| {
        let digits: &str = text.strip_prefix(prefix)?;
        i64::from_str_radix(digits, radix).ok()
    };
    let integer = text.parse().ok().or_else(|| radix("0x", 16)).or_else(|| radix("0o", 8));
    if let Some(number) = integer {
        return Content::Int(number);
    }
    let numeric = text.bytes().any(|b| b.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Content::Float(number),
        _ => Content::Text(text.to_owned()),
    }
}

impl Node {
    /// A field of a mapping.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, node)| node)
    }

    /// A field of a mapping, to change it.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        match &mut self.content {
            Content::Map(entries) => {
                let entry = entries.iter_mut().find(|(key, _)| key.name == name);
                entry.map(|(_, node)| node)
            }
            _ => None,
        }
    }

    fn entry(&self, name: &str) -> Option<&(Key, Self)> {
        match &self.content {
            Content::Map(entries) => entries.iter().find(|(key, _)| key.name == name),
            _ => None,
        }
    }

    /// The text of a scalar text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, for a person.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(value) => format!("`{value}`, which is true or false"),
            Content::Int(number) => format!("the number `{number}`"),
            Content::Float(number) => format!("the number `{number}`"),
            Content::Text(text) => format!("the text `{}`", text.chars().take(80).collect::<String>()),
            Content::Seq(_) => "a list".to_owned(),
            Content::Map(_) => "a mapping".to_owned(),
        }
    }

    /// The line of a field such as `spec.hostnames[0]`, or of the nearest field above it that is there.
    pub(super) fn line_of(&self, field: &str) -> usize {
        // `spec.seclang.inline:3` is the third line of a text.
        if let Some((field, within)) = field.rsplit_once(':')
            && field.starts_with("spec.")
            && let Ok(within) = within.parse::<usize>()
        {
            return self.line_of(field) + within;
        }
        let mut node = self;
        let mut line = self.line;
        for step in steps(field) {
            let Some((at, child)) = node.step(step) else {
                break;
            };
            line = at;
            node = child;
        }
        line
    }

    /// The node of a field such as `spec.hostnames[0]`.
    pub(super) fn at(&self, field: &str) -> Option<&Self> {
        steps(field).try_fold(self, |node, step| Some(node.step(step)?.1))
    }

    /// A field of a mapping, or an item of a list (`0]`), and its line.
    fn step(&self, step: &str) -> Option<(usize, &Self)> {
        match (step.strip_suffix(']'), &self.content) {
            (Some(index), Content::Seq(items)) => {
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item.line, item))
            }
            (None, Content::Map(_)) => self.entry(step).map(|(key, value)| (key.line, value)),
            _ => None,
        }
    }

    /// The node as JSON. Fields without value are left out, as an API server leaves them out.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Int(number) => Value::Number((*number).into()),
            Content::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Content::Text(text) => Value::String(text.clone()),
            Content::Seq(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Content::Map(entries) => Value::Object(
                entries
                    .iter()
                    .filter(|(_, node)| !matches!(node.content, Content::Null))
                    .map(|(key, node)| (key.name.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// The steps of `spec.hostnames[0]`: `spec`, `hostnames` and `0]`.
fn steps(field: &str) -> impl Iterator<Item = &str> {
    let steps = field.split('.').flat_map(|part| part.split_inclusive('['));
    steps.map(|step| step.trim_end_matches('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_lines() {
        let nodes = documents("a: 1\n---\n# comment\nb:\n  c: [x,\n    y]\n---\n").unwrap();
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[1].line_of("b.c[1]"), 6);
        assert_eq!(nodes[1].line_of("b.c"), 5);
        assert_eq!(nodes[1].line_of("b.missing.deeper"), 4);
        assert_eq!(nodes[1].at("b.c[1]").and_then(Node::text), Some("y"));
        assert!(nodes[1].at("b.c[2]").is_none() && nodes[1].at("b.missing.deeper").is_none());
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let node = documents("[1, 0x10, 1.5, true, yes, '1', !!str 1, ~, 1.2.3.4, 1e3, 0o17]").unwrap();
        assert_eq!(
            node[0].to_json(),
            serde_json::json!([1, 16, 1.5, true, "yes", "1", "1", null, "1.2.3.4", 1000.0, 15])
        );
    }

    #[test]
    fn aliases_stand_for_their_anchors() {
        let node = documents("a: &x {b: [1]}\nc: *x").unwrap();
        assert_eq!(node[0].to_json(), serde_json::json!({"a": {"b": [1]}, "c": {"b": [1]}}));
    }

    #[test]
    fn a_file_that_grows_by_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..10 {
            let alias = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} [{alias}]\n"));
        }
        assert!(documents(&text).unwrap_err().message.contains("more than"));
    }

    #[test]
    fn a_file_that_nests_too_deep_is_refused() {
        assert!(documents(&"[".repeat(100)).unwrap_err().message.contains("deeper"));
    }

    #[test]
    fn a_field_given_twice_names_both_lines() {
        let fault = documents("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!(fault.line, 3);
        assert!(
            fault.message.contains("`a` is given twice, first in line 1"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn broken_yaml_has_a_line() {
        assert_eq!(documents("a: 1\nb: [1,\nc: 2\n").unwrap_err().line, 3);
    }
}
