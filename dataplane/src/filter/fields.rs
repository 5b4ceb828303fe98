//! Changes to the fields of a message: some go, some are set, some are added, in this order.
//!
//! Invariant: what frames a message or steers a connection is not touched, whatever the configuration says.

use breakwater_snapshot::unit;
use breakwater_wire::hop::is_hop_by_hop;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Whose fields are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

impl Side {
    /// Fields that are ours to write.
    fn owns(self, name: &HeaderName) -> bool {
        let name = name.as_str();
        is_hop_by_hop(name)
            || match self {
                // `Via` and `CDN-Loop` show requests that go round in circles.
                Self::Request => matches!(name, "content-length" | "host" | "expect" | "via" | "cdn-loop"),
                // Every response has a date (RFC 9110 section 6.6.1). What content is, no edit changes.
                Self::Response => matches!(name, "content-length" | "date" | "content-encoding" | "content-range"),
            }
    }
}

/// Changes that do something.
pub(super) struct FieldEdits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl FieldEdits {
    /// None if nothing changes.
    ///
    /// # Errors
    /// What is no field, for a person.
    pub(super) fn new(unit: &unit::FieldEdit, side: Side) -> Result<Option<Self>, String> {
        let mut remove = unit
            .remove
            .iter()
            .map(|name| field_name(name))
            .collect::<Result<Vec<_>, _>>()?;
        remove.retain(|name| !side.owns(name));
        let edits = Self {
            remove,
            set: fields(&unit.set, side)?,
            add: fields(&unit.add, side)?,
        };
        let empty = edits.remove.is_empty() && edits.set.is_empty() && edits.add.is_empty();
        Ok((!empty).then_some(edits))
    }

    pub(super) fn apply(&self, fields: &mut HeaderMap) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (name, value) in &self.set {
            fields.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            fields.append(name, value.clone());
        }
    }

    /// As [`Self::apply`], for the lines of a head: all of `out` from `from` on, which ends with the empty line.
    pub(super) fn apply_to_head(&self, out: &mut Vec<u8>, from: usize) {
        let old = out.split_off(from);
        let mut lines = old.split_inclusive(|byte| *byte == b'\n');
        out.extend_from_slice(lines.next().unwrap_or_default());
        for line in lines {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if line != b"\r\n" && !self.replaces(name) {
                out.extend_from_slice(line);
            }
        }
        for (name, value) in self.set.iter().chain(&self.add) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn replaces(&self, line: &[u8]) -> bool {
        let same = |name: &HeaderName| name.as_str().as_bytes().eq_ignore_ascii_case(line);
        self.remove.iter().any(same) || self.set.iter().any(|(name, _)| same(name))
    }
}

fn fields(fields: &[unit::Field], side: Side) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut read = Vec::with_capacity(fields.len());
    for field in fields {
        let name = field_name(&field.name)?;
        let value = HeaderValue::from_str(&field.value)
            .map_err(|_| format!("the value of `{name}` has characters that a field cannot have"))?;
        if !side.owns(&name) {
            read.push((name, value));
        }
    }
    Ok(read)
}

fn field_name(name: &str) -> Result<HeaderName, String> {
    name.parse().map_err(|_| format!("`{name}` is not a field name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> unit::FieldEdit {
        let fields = |fields: &[(&str, &str)]| {
            let field = |(name, value): &(&str, &str)| unit::Field {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            };
            fields.iter().map(field).collect()
        };
        unit::FieldEdit {
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
            set: fields(set),
            add: fields(add),
        }
    }

    fn edits(unit: &unit::FieldEdit) -> FieldEdits {
        FieldEdits::new(unit, Side::Response).unwrap().unwrap()
    }

    #[test]
    fn a_head_and_a_map_are_changed_alike() {
        let edits = edits(&unit(
            &["server"],
            &[("x-frame-options", "DENY"), ("x-new", "1")],
            &[("vary", "Cookie")],
        ));
        let mut out =
            b"before HTTP/1.1 200 OK\r\nServer: a\r\nX-Frame-Options: b\r\nx-frame-options: c\r\nvary: d\r\n\r\n"
                .to_vec();
        edits.apply_to_head(&mut out, 7);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "before HTTP/1.1 200 OK\r\nvary: d\r\nx-frame-options: DENY\r\nx-new: 1\r\nvary: Cookie\r\n\r\n"
        );
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("server", "a"),
            ("x-frame-options", "b"),
            ("x-frame-options", "c"),
            ("vary", "d"),
        ] {
            fields.append(name, HeaderValue::from_static(value));
        }
        edits.apply(&mut fields);
        let mut lines: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, ["vary: Cookie", "vary: d", "x-frame-options: DENY", "x-new: 1"]);
    }

    #[test]
    fn what_frames_a_message_is_left_alone() {
        let framing = unit(
            &["transfer-encoding", "connection"],
            &[("content-length", "0")],
            &[("upgrade", "x"), ("keep-alive", "1")],
        );
        for side in [Side::Request, Side::Response] {
            assert!(FieldEdits::new(&framing, side).unwrap().is_none());
        }
        let coding = unit(&["content-encoding"], &[("content-range", "bytes 0-1/2")], &[]);
        assert!(FieldEdits::new(&coding, Side::Response).unwrap().is_none());
        let date = unit(&["date"], &[], &[]);
        assert!(FieldEdits::new(&date, Side::Response).unwrap().is_none());
        assert!(FieldEdits::new(&date, Side::Request).unwrap().is_some());
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for bad in [
            unit(&["a b"], &[], &[]),
            unit(&[], &[("a", "x\r\nevil: 1")], &[]),
            unit(&[], &[], &[("", "x")]),
        ] {
            assert!(FieldEdits::new(&bad, Side::Response).is_err());
        }
    }
}
