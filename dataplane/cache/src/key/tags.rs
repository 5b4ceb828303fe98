//! Purge tags: hashes by which stored responses are found again, without a list of their URLs.
//!
//! Invariant: a purge reaches what it names, and at worst more (paths deeper than [`MAX_DEPTH`]), never less.

use std::hash::Hasher;

use super::{Key, Keyer};

/// Segments of a path that a purge by prefix tells apart.
pub const MAX_DEPTH: usize = 16;

/// The most that [`Keyer::prefix_tags`] gives.
pub const MAX_PREFIX_TAGS: usize = 2 * (MAX_DEPTH + 1);

impl Keyer {
    /// The hash of a purge tag of `site`.
    pub fn tag(&self, site: u64, tag: &[u8]) -> u64 {
        let mut hasher = self.hasher(b't');
        hasher.write_u64(site);
        hasher.write(tag);
        hasher.finish()
    }

    /// The hash of a URL of `site` as a purge tag: the key without header and cookie values.
    pub fn url_tag(&self, url: Key) -> u64 {
        let mut hasher = self.hasher(b'u');
        hasher.write_u128(url.0);
        hasher.finish()
    }

    /// The hashes of `path` and of every path above it as purge tags of `site`: for its `host`, which is compared
    /// without case, and for any host. A path is above another as with `paths` of type `Prefix`: `/a` is above `/a/b`
    /// and `/a/`, not above `/ab`. Beyond [`MAX_DEPTH`] segments a path is as if it ended there.
    pub fn prefix_tags(&self, site: u64, host: &str, path: &str) -> Vec<u64> {
        let mut tags = Vec::with_capacity(16);
        for host in [Some(host), None] {
            self.each_prefix(site, host, path, |tag| tags.push(tag));
        }
        tags
    }

    /// The purge tag that everything below `path` carries: under `host`, or under any host.
    pub fn prefix_tag(&self, site: u64, host: Option<&str>, path: &str) -> u64 {
        let mut last = 0;
        self.each_prefix(site, host, path, |tag| last = tag);
        last
    }

    fn each_prefix(&self, site: u64, host: Option<&str>, path: &str, mut give: impl FnMut(u64)) {
        let mut hasher = self.hasher(b'p');
        hasher.write_u64(site);
        match host {
            Some(host) => {
                hasher.write_u64(host.len() as u64);
                host.bytes().for_each(|b| hasher.write_u8(b.to_ascii_lowercase()));
            }
            None => hasher.write_u64(u64::MAX),
        }
        give(hasher.finish());
        let path = path.trim_end_matches('/');
        let segments = path.strip_prefix('/').unwrap_or(path).split('/');
        for segment in segments.take(if path.is_empty() { 0 } else { MAX_DEPTH }) {
            hasher.write_u8(b'/');
            hasher.write(segment.as_bytes());
            give(hasher.finish());
        }
    }

    /// The hash of a group (RFC 9875) of the origin `origin` as a tag.
    pub fn group_tag(&self, origin: Key, group: &[u8]) -> u64 {
        let mut hasher = self.hasher(b'g');
        hasher.write_u128(origin.0);
        hasher.write(group);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_carries_the_tags_of_whole_segments_above_it_and_no_others() {
        let keyer = Keyer::new(7);
        let carries = |path: &str, host: Option<&str>, prefix: &str| {
            let tags = keyer.prefix_tags(1, "A.example", path);
            tags.contains(&keyer.prefix_tag(1, host, prefix))
        };
        for host in [Some("a.EXAMPLE"), None] {
            for prefix in ["/", "", "/a", "/a/", "/a/b", "/a/b.html"] {
                let below = if prefix == "/a/b.html" { "/a/b.html" } else { "/a/b/c" };
                assert!(carries(below, host, prefix), "{host:?} {prefix}");
            }
            for other in ["/ab", "/a/b/c/d", "/b", "/A", "/a/b.html"] {
                assert!(!carries("/a/b/c", host, other), "{host:?} {other}");
            }
            assert!(carries("/a/", host, "/a"));
            assert!(carries("/a", host, "/a/"));
            assert!(!carries("/ab", host, "/a"));
        }
        assert!(!carries("/a/b", Some("b.example"), "/a"));
        assert_ne!(keyer.prefix_tag(1, None, "/a"), keyer.prefix_tag(2, None, "/a"));
    }

    #[test]
    fn a_prefix_deeper_than_can_be_told_apart_reaches_more_never_less() {
        let keyer = Keyer::new(7);
        let deep = "/x".repeat(4000);
        let tags = keyer.prefix_tags(1, "a", &deep);
        assert_eq!(tags.len(), MAX_PREFIX_TAGS);
        let at_the_border = "/x".repeat(MAX_DEPTH);
        for prefix in [&deep, &"/x".repeat(MAX_DEPTH + 1), &at_the_border] {
            assert!(tags.contains(&keyer.prefix_tag(1, Some("a"), prefix)));
        }
        // A sibling below the border goes too.
        let sibling = format!("{at_the_border}/y");
        assert!(
            keyer
                .prefix_tags(1, "a", &sibling)
                .contains(&keyer.prefix_tag(1, None, &deep))
        );
    }
}
