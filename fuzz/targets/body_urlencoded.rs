//! Arguments stay within the limit and the bytes they came from, and encoded again they are the same arguments.
#![no_main]

use breakwater_waf::body::{Limits, urlencoded};
use breakwater_waf::operator::is_url_encoded;
use breakwater_waf::transform::Transformation::UrlEncode;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { items: 32, depth: 1 };

fuzz_target!(|data: &[u8]| {
    let arguments = urlencoded(data, b'&', LIMITS);
    assert!(arguments.pairs.len() <= LIMITS.items);
    assert!(!arguments.truncated || arguments.pairs.len() == LIMITS.items);
    assert!(arguments.truncated || arguments.invalid_encoding != is_url_encoded(data));
    let bytes: usize = arguments
        .pairs
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    assert!(bytes <= data.len());
    let mut written = Vec::new();
    for (name, value) in &arguments.pairs {
        written.extend_from_slice(&UrlEncode.apply(name));
        written.push(b'=');
        written.extend_from_slice(&UrlEncode.apply(value));
        written.push(b'&');
    }
    let again = urlencoded(&written, b'&', LIMITS);
    assert_eq!(again.pairs, arguments.pairs);
    assert!(!again.invalid_encoding && !again.truncated);
});
