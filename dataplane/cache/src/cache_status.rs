//! `Cache-Status` (RFC 9211) for what became of a request.
//!
//! `ttl` and ages are milliseconds here and seconds in the field.

use breakwater_wire::cache_status::{CacheStatus, Forward};

use crate::cache::Lookup;
use crate::policy::request::Bypass;

/// The name of this cache in the field.
pub const NAME: &str = "breakwater";

/// A hit; `collapsed` if the request waited for the fetch of another.
pub fn hit(ttl: i64, collapsed: bool) -> CacheStatus<'static> {
    CacheStatus {
        hit: true,
        ttl: Some(ttl.div_euclid(1000)),
        collapsed,
        ..CacheStatus::default()
    }
}

/// A request that went to the origin because of what `lookup` found; add `forward_status` and `stored` when
/// known.
pub fn forwarded(lookup: &Lookup) -> CacheStatus<'static> {
    let (forward, ttl) = match lookup {
        Lookup::Hit { .. } => {
            return CacheStatus {
                hit: true,
                ..CacheStatus::default()
            };
        }
        Lookup::Stale { requested: true, .. } => (Forward::Request, None),
        Lookup::Stale { ttl, .. } => (Forward::Stale, Some(ttl.div_euclid(1000))),
        Lookup::Miss | Lookup::Unavailable => (Forward::Miss, None),
        Lookup::Bypass(Bypass::Method) => (Forward::Method, None),
        Lookup::Bypass(Bypass::NoStore | Bypass::Content) => (Forward::Request, None),
        Lookup::Bypass(Bypass::Rule) => (Forward::Bypass, None),
    };
    CacheStatus {
        forward: Some(forward),
        ttl,
        ..CacheStatus::default()
    }
}

/// Appends `Cache-Status: breakwater; …` and a CRLF.
pub fn write_line(status: &CacheStatus<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"cache-status: ");
    status.write(NAME, out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &CacheStatus<'_>) -> String {
        let mut out = Vec::new();
        write_line(status, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_way_of_a_request_has_its_text() {
        assert_eq!(text(&hit(59_999, false)), "cache-status: breakwater; hit; ttl=59\r\n");
        assert_eq!(
            text(&hit(-1, true)),
            "cache-status: breakwater; hit; ttl=-1; collapsed\r\n"
        );
        let miss = CacheStatus {
            stored: true,
            ..forwarded(&Lookup::Miss)
        };
        assert_eq!(text(&miss), "cache-status: breakwater; fwd=miss; stored\r\n");
        assert_eq!(
            text(&forwarded(&Lookup::Bypass(Bypass::Rule))),
            "cache-status: breakwater; fwd=bypass\r\n"
        );
        assert_eq!(
            text(&forwarded(&Lookup::Bypass(Bypass::Method))),
            "cache-status: breakwater; fwd=method\r\n"
        );
        assert_eq!(
            text(&forwarded(&Lookup::Bypass(Bypass::NoStore))),
            "cache-status: breakwater; fwd=request\r\n"
        );
    }
}
