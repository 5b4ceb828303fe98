//! What is JSON here is JSON to another reader, and the other way round where no limit is met; values and names stay
//! within their bounds.
#![no_main]

use breakwater_waf::body::{Limits, json};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { items: 64, depth: 16 };

fuzz_target!(|data: &[u8]| {
    let arguments = json(data, LIMITS);
    assert!(arguments.pairs.len() <= LIMITS.items);
    let names: usize = arguments.pairs.iter().map(|(name, _)| name.len()).sum();
    assert!(names <= 4 * data.len() + (256 << 10));
    let values: usize = arguments.pairs.iter().map(|(_, value)| value.len()).sum();
    assert!(values <= data.len());
    assert!(arguments.pairs.iter().all(|(name, _)| name.starts_with(b"json")));
    let blank = data.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    let other = serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
    match &arguments.error {
        None => {
            assert!(blank || other);
            // Of its beginning nothing is wrong but that it ends.
            let half = json(&data[..data.len() / 2], LIMITS);
            assert!(half.error.is_none_or(|error| error.at_end));
        }
        Some(error) => {
            let limited = !error.message.starts_with("not JSON");
            assert!(limited || !other || std::str::from_utf8(data).is_err(), "{error}");
        }
    }
});
