//! What nodes say to each other beside HTTP: what is understood can be said again, and is understood alike.
#![no_main]

use breakwater_wire::peer::{AnswerNote, RequestNote, spent};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(letter) = RequestNote::parse(data) {
        assert_eq!(RequestNote::parse(letter.write().as_bytes()), Some(letter));
    }
    if let Some(word) = AnswerNote::parse(data) {
        assert_eq!(AnswerNote::parse(word.write().as_bytes()), Some(word));
    }
    if let Some(mut entries) = spent::parse(data) {
        assert!(entries.len() <= spent::MOST);
        let (value, written) = spent::write(&entries);
        assert_eq!(written, entries.len());
        entries.sort_by_key(|entry| entry.limit);
        assert_eq!(spent::parse(value.as_bytes()), Some(entries));
    }
});
