//! Cache-Control and CDN-Cache-Control: bounded values, and restrictions that nothing can take back.
#![no_main]

use breakwater_wire::cache_control::{CacheControl, MAX_DELTA, MAX_FIELD_NAMES, Scope};
use breakwater_wire::no_vary_search::NoVarySearch;
use breakwater_wire::{cdn_cache_control, structured, surrogate_control};
use libfuzzer_sys::fuzz_target;

fn check(directives: &CacheControl) {
    for seconds in [
        directives.max_age,
        directives.s_maxage,
        directives.stale_if_error,
        directives.min_fresh,
    ] {
        assert!(seconds.is_none_or(|seconds| seconds <= MAX_DELTA));
    }
    for scope in [&directives.private, &directives.no_cache] {
        if let Some(Scope::Fields(names)) = scope {
            assert!(!names.is_empty() && names.len() <= MAX_FIELD_NAMES);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let lines = || data.split(|&byte| byte == b'\n');
    let directives = CacheControl::parse(lines());
    check(&directives);

    // One more line can only make a response less reusable.
    let more = CacheControl::parse(lines().chain([&b"no-store, private, no-cache, max-age=0"[..]]));
    assert!(more.no_store && more.max_age == Some(0));
    assert_eq!((more.private, more.no_cache), (Some(Scope::Whole), Some(Scope::Whole)));
    assert_eq!(more.s_maxage, directives.s_maxage);
    assert_eq!(more.public, directives.public);

    // Letter case does not matter to Cache-Control.
    assert_eq!(
        CacheControl::parse([data.to_ascii_uppercase().as_slice()]),
        CacheControl::parse([data])
    );

    // The first line is a rule, the rest queries: what is compared equal stays so with one more parameter.
    let mut parts = lines();
    if let (Some(rule), Some(a), Some(b)) = (parts.next(), parts.next(), parts.next())
        && let Some(rule) = NoVarySearch::parse([rule])
    {
        let more = |query: &[u8]| rule.normalize(&[query, b"&zz=1"].concat());
        assert!(rule.normalize(a) != rule.normalize(b) || more(a) == more(b));
    }
    let strings = structured::parse_strings(lines());
    assert!(strings.is_none_or(|strings| strings.len() <= structured::MAX_STRINGS));

    if let Some(targeted) = surrogate_control::parse(lines(), "breakwater") {
        check(&targeted);
    }
    // What is for us is found whatever stands on other lines.
    let more = surrogate_control::parse(lines().chain([&b"no-store;breakwater"[..]]), "breakwater");
    assert!(more.is_some_and(|more| more.no_store));

    if let Some(targeted) = cdn_cache_control::parse(lines()) {
        check(&targeted);
        assert!(structured::parse_dictionary(lines()).is_some_and(|members| members.len() <= structured::MAX_MEMBERS));
        // A valid dictionary stays valid with one more member, and an invalid one void.
        assert!(cdn_cache_control::parse(lines().chain([&b"zz"[..]])).is_some());
        assert_eq!(cdn_cache_control::parse(lines().chain([&b"zz="[..]])), None);
    }
});
