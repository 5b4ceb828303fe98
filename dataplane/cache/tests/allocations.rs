//! What is made of every request costs no allocation.

use allocation_counter::measure;
use breakwater_cache::key::{Keyer, QueryFilter};

#[test]
fn a_key_with_fields_and_cookies_in_it_costs_no_allocation() {
    let (keyer, ignored) = (Keyer::new(7), QueryFilter::new(["utm_*"]));
    let mut key = None;
    let allocations = measure(|| {
        let start = keyer.start(1);
        let target = start.target(b"http", b"shop.example", b"/a/b", Some(b"a=1&utm_source=x"), &ignored);
        let with_fields = target.headers("accept-language", |give| [&b"de"[..], b"en"].into_iter().for_each(give));
        let with_cookies = with_fields.cookies("lang", |give| give(b"session=1; lang=de; lang=en"));
        key = Some(with_cookies.finish());
    });
    assert_eq!((key.is_some(), allocations.count_total), (true, 0));
    assert!(measure(|| drop(vec![key])).count_total > 0, "it counts");
}
