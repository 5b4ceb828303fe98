//! The verdict says itself by a pattern of known letters, is the same again, and costs linear time (the detector counts
//! what it looks at and fails where debug assertions are on, as they are here).
#![no_main]

use breakwater_waf::detect::sqli;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let verdict = sqli(data);
    assert_eq!(verdict, sqli(data));
    if let Some(fingerprint) = verdict {
        let pattern = fingerprint.as_str();
        assert!((1..=5).contains(&pattern.len()), "{pattern:?}");
        assert!(
            pattern.bytes().all(|letter| b"kUBEtfn1vso&cA(),;:TX".contains(&letter)),
            "{pattern:?}"
        );
    }
    // Letters and digits alone are never an injection.
    if data.iter().all(u8::is_ascii_alphanumeric) {
        assert_eq!(verdict, None);
    }
});
