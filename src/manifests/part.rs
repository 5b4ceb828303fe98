//! What can still be judged of an object that cannot be decoded: all but its faulty fields.
//!
//! So that one run tells everything, and nobody mends a manifest fault by fault. Nothing of it is ever put in force. It
//! must not invent faults: what may only be wrong because a field was left out is passed over.

use breakwater_compile::{Broken, Problem, Severity};
use serde_json::Value;

use super::Spec;

/// Most faults of decoding that are told of one object.
const MOST_FAULTS: usize = 32;

/// An object without its faulty fields.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) spec: Spec,
    /// The fields that were left out, such as `spec.cache.rules[0].ttl`.
    left_out: Vec<String>,
}

impl Part {
    /// Leaves out `faulty` fields of an object and decodes the rest with `decode`, again and again: faults that only this
    /// finds are given to `tell`. None when nothing is left that could be judged.
    pub(super) fn new(
        mut json: Value,
        mut faulty: Vec<String>,
        decode: impl Fn(&Value) -> Spec,
        mut tell: impl FnMut(&Broken),
    ) -> Option<Self> {
        for field in &faulty {
            leave_out(&mut json, field)?;
        }
        for _ in 0..MOST_FAULTS {
            match decode(&json) {
                Spec::Broken(fault) => {
                    // Perhaps what was left out was needed.
                    if fault.field.is_empty() || concerns(&fault.field, &faulty) {
                        return None;
                    }
                    tell(&fault);
                    leave_out(&mut json, &fault.field)?;
                    faulty.push(fault.field.clone());
                }
                spec => {
                    return Some(Self { spec, left_out: faulty });
                }
            }
        }
        None
    }

    /// Whether a finding about the part holds for the whole object.
    pub(super) fn vouches_for(&self, problem: &Problem) -> bool {
        // A warning says what the rest amounts to, and there is more than the rest.
        problem.severity == Severity::Error && !concerns(&problem.field, &self.left_out)
    }
}

/// Whether a field is, holds, lies in or stands beside one of `others`.
fn concerns(field: &str, others: &[String]) -> bool {
    let within = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    others.iter().any(|other| {
        let beside = parent(field) == parent(other) && parent(field) != "spec";
        beside || within(field, other) || within(other, field)
    })
}

fn parent(field: &str) -> &str {
    field
        .rfind(['.', '['])
        .and_then(|at| field.get(..at))
        .unwrap_or_default()
}

/// Removes a field of `spec`; one that is missing takes what lacks it along. Of a list, the items behind go as well:
/// their numbers would be others. None when the whole spec would go, or the field cannot be found.
fn leave_out(spec: &mut Value, field: &str) -> Option<()> {
    let Some(path) = field.strip_prefix("spec") else {
        // Outside the spec, such as `metadata.lables`: nothing that is judged depends on it.
        return Some(());
    };
    let steps = steps(path)?;
    let (last, before) = steps.split_last()?;
    let mut holder = &mut *spec;
    for step in before {
        let next = match holder {
            Value::Object(fields) => fields.get_mut(*step),
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
            _ => None,
        };
        match next {
            Some(next) => holder = next,
            // It is gone already, with something around it.
            None => return Some(()),
        }
    }
    match holder {
        Value::Object(fields) => match fields.remove(*last) {
            Some(_) => Some(()),
            None => leave_out(spec, parent(field)),
        },
        Value::Array(items) => {
            items.truncate(last.parse().ok()?);
            Some(())
        }
        _ => Some(()),
    }
}

/// `.cache.rules[0].ttl` as `cache`, `rules`, `0`, `ttl`.
fn steps(mut path: &str) -> Option<Vec<&str>> {
    let mut steps = Vec::new();
    while !path.is_empty() {
        let (step, rest) = match path.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => {
                let rest = path.strip_prefix('.')?;
                rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
            }
        };
        steps.push(step);
        path = rest;
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn without(mut spec: Value, field: &str) -> Option<Value> {
        leave_out(&mut spec, field).map(|()| spec)
    }

    #[test]
    fn a_field_is_left_out_with_what_depends_on_it() {
        let spec = json!({"a": {"b": [1, 2, {"c": 3}]}, "m": {"x.y": 1}});
        let out = |field| without(spec.clone(), field);
        assert_eq!(out("spec.a"), Some(json!({"m": {"x.y": 1}})));
        assert_eq!(out("spec.a.b[1]"), Some(json!({"a": {"b": [1]}, "m": {"x.y": 1}})));
        assert_eq!(out("spec.m[x.y]"), Some(json!({"a": {"b": [1, 2, {"c": 3}]}, "m": {}})));
        assert_eq!(out("spec.a.missing"), Some(json!({"m": {"x.y": 1}})));
        assert_eq!(out("spec.gone.already"), Some(spec.clone()));
        assert_eq!(out("metadata.lables"), Some(spec.clone()));
        assert_eq!(out("spec.missing"), None);
        assert_eq!(out("spec"), None);
        assert_eq!(out("spec.m[x"), None);
    }

    #[test]
    fn fields_around_and_beside_a_fault_are_not_vouched_for() {
        let others = ["spec.cache.rules[1].ttl".to_owned()];
        for field in [
            "spec.cache.rules[1].ttl",
            "spec.cache.rules[1].statuses",
            "spec.cache.rules[1]",
            "spec.cache.rules",
            "spec.cache",
            "spec",
        ] {
            assert!(concerns(field, &others), "{field}");
        }
        for field in [
            "spec.cache.rules[0].ttl",
            "spec.cache.rules[10]",
            "spec.cache.key",
            "spec.hostnames[0]",
        ] {
            assert!(!concerns(field, &others), "{field}");
        }
        assert!(!concerns("spec.hostnames", &["spec.paths".to_owned()]));
    }
}
