//! What nodes say to each other beside HTTP: what is understood can be said again, and is understood alike.
#![no_main]

use breakwater_wire::peer::{Letter, Word};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(letter) = Letter::parse(data) {
        assert_eq!(Letter::parse(letter.write().as_bytes()), Some(letter));
    }
    if let Some(word) = Word::parse(data) {
        assert_eq!(Word::parse(word.write().as_bytes()), Some(word));
    }
});
