//! What a sitemap lists is bounded by its limits and its length, whatever the document; the verdict does not change when
//! a limit has more room; a document that was cut is never taken for the whole.
#![no_main]

use breakwater_wire::sitemap::{Limits, MAX_URL, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { bytes: 4096, urls: 4 };
    let Ok(sitemap) = parse(data, &limits) else {
        return;
    };
    assert!(sitemap.urls.len() <= limits.urls);
    let bytes: usize = sitemap.urls.iter().map(String::len).sum();
    assert!(bytes <= data.len(), "more came out than went in");
    for url in &sitemap.urls {
        assert!((1..=MAX_URL).contains(&url.len()) && url.bytes().all(|b| b.is_ascii_graphic()), "{url:?}");
    }
    let roomy = parse(data, &Limits { urls: usize::MAX, ..limits }).expect("it was read with less room");
    assert_eq!((roomy.kind, roomy.beyond), (sitemap.kind, 0));
    assert_eq!(roomy.urls.len(), sitemap.urls.len() + sitemap.beyond);
    assert!(roomy.urls.starts_with(&sitemap.urls));
    // The last element that is not blank ends the root: without it the document is open.
    if let Some(last) = data.iter().rposition(|b| *b == b'>')
        && data.get(last + 1..).is_some_and(<[u8]>::is_empty)
        && data.ends_with(b"set>")
    {
        assert!(parse(&data[..last], &limits).is_err(), "an open document was read");
    }
});
