//! A normalised path is a fixed point, has no dot segments under any reading, and the origin that gets the
//! forwarded path sees what was matched.
#![no_main]

use breakwater_wire::path::normalize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Ok(path) = normalize(raw) else { return };
    assert!(path.as_str() == "*" || path.as_str().starts_with('/'));
    let others = path.other_readings();
    assert!(others.len() <= 4);
    for reading in others.iter().map(String::as_str).chain([path.as_str()]) {
        assert!(
            !reading.split('/').any(|segment| matches!(segment, "." | "..")),
            "{reading:?}"
        );
    }
    let again = normalize(path.as_str()).expect("normal paths are valid");
    assert_eq!(again.as_str(), path.as_str());
    let forwarded = normalize(path.forward()).expect("forwarded paths are valid");
    assert_eq!(forwarded.as_str(), path.as_str());
    assert_eq!(forwarded.forward(), path.forward());
    assert!(!path.as_str().contains("%00"));
});
