//! What the objects of a zipf run contain: as many bytes as their URL says, different for each key.
//!
//! Invariant: the same URL has the same bytes, at the origin and where they are compared.

use crate::Error;

/// The largest object, bytes.
pub(super) const LARGEST: usize = 1 << 20;

/// Bytes that look random; an object is a stretch of them.
#[derive(Debug)]
pub(super) struct Bodies(Vec<u8>);

impl Bodies {
    /// Makes them.
    #[must_use]
    pub(super) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(2 * LARGEST);
        while bytes.len() < 2 * LARGEST {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        Self(bytes)
    }

    /// The content of an object; nothing when it is larger than any is.
    #[must_use]
    pub(super) fn of(&self, key: u64, size: usize) -> &[u8] {
        let start = usize::try_from(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44).unwrap_or(0);
        self.0
            .get(start..start + size)
            .filter(|_| size <= LARGEST)
            .unwrap_or_default()
    }
}

impl Default for Bodies {
    fn default() -> Self {
        Self::new()
    }
}

/// The path of an object.
#[must_use]
pub(super) fn path(key: u64, size: usize) -> String {
    format!("/z/{key}/{size}")
}

/// Key and size in a path.
///
/// # Errors
/// When it is no path of [`path`].
pub(super) fn parse(path: &str) -> Result<(u64, usize), Error> {
    let parsed = || {
        let (key, size) = path.strip_prefix("/z/")?.split_once('/')?;
        Some((key.parse().ok()?, size.parse().ok()?))
    };
    parsed().ok_or_else(|| Error::Wrong {
        server: "the origin".to_owned(),
        path: path.to_owned(),
        why: "it is no object of this run".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_which_bytes_and_every_key_has_its_own() {
        let bodies = Bodies::new();
        assert_eq!(parse(&path(7, 5000)).expect("a path"), (7, 5000));
        assert!(parse("/ready/1").is_err() && parse("/z/7").is_err());
        assert_eq!(bodies.of(7, 5000).len(), 5000);
        assert_eq!(bodies.of(7, 5000), bodies.of(7, 5000));
        assert_ne!(bodies.of(7, 5000), bodies.of(8, 5000));
        for key in [0, 1, u64::MAX] {
            assert_eq!(bodies.of(key, LARGEST).len(), LARGEST);
        }
        assert!(bodies.of(1, LARGEST + 1).is_empty());
    }
}
