//! Remarks on a text: so many are kept, and of the rest it is said how many there are.

use crate::seclang::Position;

/// Most remarks that are kept.
const MOST: usize = 100;

/// Something to say about a place.
pub(crate) trait Remark {
    fn position(&self) -> &Position;

    fn new(position: Position, message: String) -> Self;
}

/// Remarks in the order in which they came.
#[derive(Debug)]
pub(crate) struct Told<R> {
    kept: Vec<R>,
    /// Where the first stands that is not kept, and how many are not.
    more: Option<(Position, usize)>,
}

impl<R> Default for Told<R> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            more: None,
        }
    }
}

impl<R: Remark> Told<R> {
    pub(crate) fn push(&mut self, remark: R) {
        match &mut self.more {
            Some((_, more)) => *more += 1,
            None if self.kept.len() < MOST => self.kept.push(remark),
            None => self.more = Some((remark.position().clone(), 1)),
        }
    }

    /// Those that are kept, and one about those that are not.
    pub(crate) fn told(self) -> Vec<R> {
        let mut told = self.kept;
        told.extend(self.more.map(|(position, more)| {
            let message = match more {
                1 => "1 more is not listed: it stands here".to_owned(),
                _ => format!("{more} more are not listed: the first stands here"),
            };
            R::new(position, message)
        }));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::CompileError;

    #[test]
    fn what_is_not_kept_is_counted() {
        let told = |count: u32| {
            let mut told = Told::default();
            for line in 1..=count {
                let source = "x".into();
                told.push(CompileError::new(Position { source, line }, String::new()));
            }
            told.told()
        };
        assert_eq!(told(100).len(), 100);
        for (count, last) in [
            (101, "x:101: 1 more is not listed: it stands here"),
            (350, "x:101: 250 more are not listed: the first stands here"),
        ] {
            let told = told(count);
            assert_eq!(told.len(), 101);
            assert_eq!(told[100].to_string(), last);
        }
    }
}
