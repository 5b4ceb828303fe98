//! The verdict is the same again and in capitals, and costs linear time (the detector counts what it looks at and fails
//! where debug assertions are on, as they are here).
#![no_main]

use breakwater_waf::detect::xss;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let verdict = xss(data);
    assert_eq!(verdict, xss(data));
    if !data.contains(&b'<') && !data.contains(&b'=') {
        assert!(!verdict);
    }
    // All but the beginning of raw text is the same to a browser in capitals.
    let capitals = data.to_ascii_uppercase();
    if !capitals.windows(5).any(|word| word == b"CDATA") {
        assert_eq!(verdict, xss(&capitals));
    }
});
