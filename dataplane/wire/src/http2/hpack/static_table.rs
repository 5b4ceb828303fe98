//! The static table (RFC 7541 appendix A) and a quick way from a name to its place in it.

/// Name and value of the entries 1 to 61.
pub(in crate::http2) const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The entry at `index`, which counts from 1.
pub(super) fn get(index: u32) -> Option<(&'static str, &'static str)> {
    STATIC.get((index as usize).checked_sub(1)?).copied()
}

/// The index of the entry whose name a response may use. `name` in lower case. Zero: none.
///
/// Only names that occur in responses: a request name that comes here is written as a literal.
pub(super) fn index_of(name: &[u8]) -> u8 {
    match name.len() {
        3 if name == b"age" => 21,
        3 if name == b"via" => 60,
        4 => match name {
            b"date" => 33,
            b"etag" => 34,
            b"vary" => 59,
            b"link" => 45,
            _ => 0,
        },
        5 if name == b"allow" => 22,
        6 if name == b"server" => 54,
        7 if name == b"expires" => 36,
        7 if name == b"refresh" => 52,
        8 if name == b"location" => 46,
        10 if name == b"set-cookie" => 55,
        11 if name == b"retry-after" => 53,
        12 if name == b"content-type" => 31,
        13 => match name {
            b"cache-control" => 24,
            b"last-modified" => 44,
            b"accept-ranges" => 18,
            b"content-range" => 30,
            _ => 0,
        },
        14 if name == b"content-length" => 28,
        16 => match name {
            b"content-encoding" => 26,
            b"content-language" => 27,
            b"content-location" => 29,
            b"www-authenticate" => 61,
            _ => 0,
        },
        19 if name == b"content-disposition" => 25,
        25 if name == b"strict-transport-security" => 56,
        27 if name == b"access-control-allow-origin" => 20,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_found_is_at_its_index() {
        let mut found = 0;
        for (name, _) in STATIC {
            let index = index_of(name.as_bytes());
            if index > 0 {
                found += 1;
                assert_eq!(get(u32::from(index)).map(|(other, _)| other), Some(name));
            }
        }
        assert_eq!(found, 26);
        assert_eq!(index_of(b"x-own"), 0);
    }
}
