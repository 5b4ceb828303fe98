//! Collects what is wrong with one object, in the order of its fields.

use std::fmt::Display;

use crate::{Problem, Severity};

/// Findings of one object. After its fields have been read, [`Findings::invalid`] says whether it can be used.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
    /// How many of the errors will pass by themselves.
    waiting: usize,
    /// The first warning of what its author wrote, and how many there are besides.
    warned: Option<(String, usize)>,
}

/// Most findings reported of one object; the rest is counted.
const MOST: usize = 64;

impl Findings {
    pub(crate) fn error(&mut self, field: impl Into<String>, message: impl Display) {
        self.push(Severity::Error, field.into(), message);
    }

    /// An error that passes by itself.
    pub(crate) fn waits(&mut self, field: impl Into<String>, message: impl Display) {
        self.waiting += 1;
        self.error(field, message);
    }

    /// Whether there are errors, and all of them will pass by themselves.
    pub(crate) fn only_waits(&self) -> bool {
        let errors = self.problems.iter().filter(|p| p.severity == Severity::Error);
        self.waiting > 0 && errors.count() == self.waiting
    }

    pub(crate) fn warning(&mut self, field: impl Into<String>, message: impl Display) {
        let field = field.into();
        match &mut self.warned {
            Some((_, more)) => *more += 1,
            None => self.warned = Some((format!("{field}: {message}"), 0)),
        }
        self.push(Severity::Warning, field, message);
    }

    /// A warning about what is fetched, which comes and goes while the object stays the same.
    pub(crate) fn fetched(&mut self, field: impl Into<String>, message: impl Display) {
        self.push(Severity::Warning, field.into(), message);
    }

    fn push(&mut self, severity: Severity, field: String, message: impl Display) {
        self.problems.push(Problem {
            severity,
            field,
            message: message.to_string(),
        });
    }

    /// Takes a value, or the reason why there is none.
    pub(crate) fn take<T, E: Display>(&mut self, field: impl Into<String>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.error(field, error)).ok()
    }

    /// The first error, as a condition's message, if there is one.
    pub(crate) fn invalid(&self) -> Option<String> {
        let mut errors = self.problems.iter().filter(|p| p.severity == Severity::Error);
        let first = errors.next()?;
        let place = if first.field.is_empty() {
            String::new()
        } else {
            format!("{}: ", first.field)
        };
        Some(match errors.count() {
            0 => format!("{place}{}", first.message),
            1 => format!("{place}{} (and 1 more error)", first.message),
            more => format!("{place}{} (and {more} more errors)", first.message),
        })
    }

    /// The first warning of what its author wrote and how many there are besides, for a condition's message.
    pub(crate) fn warned(&self) -> Option<String> {
        let (first, more) = self.warned.as_ref()?;
        Some(match more {
            0 => first.clone(),
            more => format!("{first} (and {more} more)"),
        })
    }

    pub(crate) fn finish(mut self) -> Vec<Problem> {
        let more = self.problems.len().saturating_sub(MOST);
        if more > 0 {
            self.problems.truncate(MOST);
            self.error("spec", format!("{more} more findings are not listed"));
        }
        self.problems
    }
}
