//! What of a request a choice of server may depend on.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use breakwater_snapshot::unit::HashBy;
use foldhash::quality::FixedState;
use http::{HeaderMap, header};

/// The side of a request that makes it look like others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// The client behind trusted proxies.
    pub(crate) client: IpAddr,
    /// The request's fields.
    pub(crate) fields: &'a HeaderMap,
    /// The normalised path.
    pub(crate) path: &'a str,
}

impl Asker<'_> {
    /// A hash of what `by` looks at: the same on every worker and node.
    pub(super) fn hash(&self, by: &HashBy) -> u64 {
        let mut hasher = FixedState::with_seed(1).build_hasher();
        let found = match by {
            HashBy::Path => Some(self.path.as_bytes()),
            HashBy::Header(name) => self.fields.get(name.as_str()).map(http::HeaderValue::as_bytes),
            HashBy::Cookie(name) => self.cookie(name.as_bytes()),
            HashBy::ClientAddress => None,
        };
        match (found, self.client) {
            (Some(bytes), _) => hasher.write(bytes),
            (None, IpAddr::V4(address)) => hasher.write(&address.octets()),
            (None, IpAddr::V6(address)) => hasher.write(&address.octets()),
        }
        hasher.finish()
    }

    fn cookie(&self, name: &[u8]) -> Option<&[u8]> {
        let lines = self.fields.get_all(header::COOKIE).into_iter();
        lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
            .find_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn hash(by: &HashBy, client: [u8; 4], cookie: &'static str, path: &str) -> u64 {
        let mut fields = HeaderMap::new();
        if !cookie.is_empty() {
            fields.insert(header::COOKIE, HeaderValue::from_static(cookie));
        }
        Asker {
            client: client.into(),
            fields: &fields,
            path,
        }
        .hash(by)
    }

    #[test]
    fn only_what_is_looked_at_counts() {
        let (a, b) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let by = HashBy::Cookie("session".to_owned());
        let one = hash(&by, a, "x=1; session=abc", "/");
        assert_eq!(one, hash(&by, b, "session=abc; y=2", "/other"));
        assert_ne!(one, hash(&by, a, "session=abd", "/"));
        assert_eq!(
            hash(&by, a, "xsession=abc", "/"),
            hash(&HashBy::ClientAddress, a, "", "/")
        );
        assert_ne!(
            hash(&HashBy::ClientAddress, a, "", "/"),
            hash(&HashBy::ClientAddress, b, "", "/")
        );
        assert_eq!(hash(&HashBy::Path, a, "", "/p"), hash(&HashBy::Path, b, "", "/p"));
        let header = HashBy::Header("cookie".to_owned());
        assert_eq!(hash(&header, a, "q=1", "/"), hash(&header, b, "q=1", "/p"));
    }
}
