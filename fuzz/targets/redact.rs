//! Redaction of request targets: whatever stands around a named argument, its value is not told; a text that speaks of no
//! hidden name is told as it is.
#![no_main]

use breakwater_waf::audit::Redaction;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "geHeim-4711";

fuzz_target!(|around: (&str, &str, bool)| {
    let (before, after, escaped) = around;
    let redaction = Redaction::new(["password".to_owned()], []);
    let untouched = redaction.uri(before, Some(after));
    if !redaction.speaks_of(before.as_bytes()) && !redaction.speaks_of(after.as_bytes()) {
        assert_eq!(untouched, format!("{before}?{after}"));
    }
    if before.contains(SECRET) || after.contains(SECRET) {
        return;
    }
    let name = if escaped { "p%61ssword" } else { "password" };
    let query = format!("{before}&{name}={SECRET}{after}");
    let told = redaction.uri("/", Some(&query));
    assert!(!told.contains(SECRET), "{told:?}");
});
