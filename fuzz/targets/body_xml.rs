//! Text and attributes stay within the limit and the bytes they came from; more room never changes what was read.
#![no_main]

use breakwater_waf::body::{Limits, xml};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let narrow = Limits { items: 16, depth: 8 };
    let wide = Limits {
        items: usize::MAX,
        depth: usize::MAX,
    };
    let (some, all) = (xml(data, narrow), xml(data, wide));
    assert!(some.attributes.len() <= narrow.items);
    let bytes = all.text.len() + all.attributes.iter().map(Vec::len).sum::<usize>();
    // A byte of another encoding may become two, a byte that is none three.
    assert!(bytes <= 3 * data.len());
    assert!(all.text.starts_with(&some.text) && all.attributes.starts_with(&some.attributes));
    if some.error.is_none() {
        assert_eq!(some, all);
    }
    if all.error.is_none() {
        // Of its beginning nothing is wrong but that it ends.
        let half = xml(&data[..data.len() / 2], wide);
        assert!(half.error.is_none_or(|error| error.at_end));
        assert!(std::str::from_utf8(&all.text).is_ok());
    }
});
