//! Dates, ages, tags, ranges, Vary, Accept-Encoding, preconditions, addresses: what is parsed is within its bounds and
//! survives being written again.
#![no_main]

use breakwater_wire::conditional::{Outcome, Preconditions, Validators, evaluate};
use breakwater_wire::http1::Host;
use breakwater_wire::http1::encode::imf_fixdate;
use breakwater_wire::range::{ContentRange, if_range_holds};
use breakwater_wire::vary::{Vary, normalize_value};
use breakwater_wire::{accept_encoding, age, cache_control, etag, forwarded, hop, http_date, range};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_800_000_000;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let lines = || data.split(|&byte| byte == b'\n');
    match choice % 9 {
        0 => {
            if let Some(time) = http_date::parse(data, NOW) {
                assert_eq!(http_date::parse(&imf_fixdate(time), NOW), Some(time));
                assert_eq!(http_date::parse(&data.to_ascii_lowercase(), NOW), Some(time));
            }
        }
        8 => {
            let offered = ["zstd", "br", "gzip"];
            let chosen = accept_encoding::choose(lines(), &offered);
            assert!(chosen.is_none_or(|at| at < offered.len()));
            // What is chosen is chosen again when it is all there is, as it is when an origin is asked for it.
            let again = chosen.and_then(|at| accept_encoding::choose([offered[at].as_bytes()], &offered));
            assert_eq!(again, chosen);
        }
        1 => assert!(age::parse(lines()).is_none_or(|age| age <= cache_control::MAX_DELTA)),
        2 => {
            if let Some(tag) = etag::EntityTag::parse(data) {
                assert!(tag.weak_eq(&tag) && tag.strong_eq(&tag) != tag.weak);
                assert_eq!(if_range_holds(data, Some(data), None, NOW), !tag.weak);
                let list = [b"\"other\", garbage, ", data].concat();
                assert!(
                    etag::TagList::parse(&list).any(|member| member.opaque == tag.opaque && member.weak == tag.weak)
                );
                let preconditions = Preconditions {
                    if_none_match: Some(&list),
                    ..Default::default()
                };
                let stored = Validators {
                    etag: Some(data),
                    ..Default::default()
                };
                assert_eq!(evaluate("GET", &preconditions, &stored, NOW), Outcome::NotModified);
            }
            if let etag::TagList::Tags(tags) = etag::TagList::parse(data) {
                assert!(tags.count() <= data.len() / 2);
            }
        }
        3 => {
            if let Some(ranges) = range::parse(data) {
                assert!((1..=range::MAX_RANGES).contains(&ranges.len()));
                for len in [0, 1, 10, u64::MAX] {
                    for (first, last) in ranges.iter().filter_map(|range| range.resolve(len)) {
                        assert!(first <= last && last < len);
                    }
                }
            }
            let single = range::parse(data)
                .filter(|ranges| ranges.len() == 1)
                .map(|ranges| ranges[0]);
            assert_eq!(range::parse_single(data), single);
        }
        4 => {
            if let Some(parsed) = ContentRange::parse(data) {
                let mut written = Vec::new();
                parsed.write(&mut written);
                assert_eq!(ContentRange::parse(&written), Some(parsed));
            }
        }
        5 => {
            if let Vary::Names(names) = Vary::parse(lines()) {
                assert_eq!(
                    Vary::parse(names.iter().map(String::as_bytes)),
                    Vary::Names(names.clone())
                );
            }
            assert_eq!(Vary::parse(lines().chain([&b"*"[..]])), Vary::Star);
            for name in ["foo", "accept-language"] {
                let form = normalize_value(name, lines()).expect("there is a line");
                if name == "foo" {
                    assert_eq!(normalize_value(name, [form.as_slice()]), Some(form));
                }
            }
        }
        6 => {
            let Ok(text) = std::str::from_utf8(data) else { return };
            if let Some(host) = Host::parse(text) {
                assert_eq!(Host::parse(host.as_str()), Some(host));
                let mut normal = String::new();
                host.write_normalized(&mut normal);
                assert!(Host::parse(&normal).is_some_and(|again| again.name() == normal && again.is_lowercase()));
            }
        }
        _ => {
            let peer = std::net::IpAddr::from([192, 0, 2, 1]);
            assert_eq!(forwarded::client_address(peer, lines(), |_| false), peer);
            let mut headers = http::HeaderMap::new();
            if let Ok(value) = http::HeaderValue::from_bytes(data) {
                headers.insert("connection", value);
                headers.insert("content-length", http::HeaderValue::from_static("5"));
                headers.insert("x-forwarded-for", http::HeaderValue::from_static("192.0.2.1"));
                hop::strip_hop_by_hop(&mut headers);
                assert_eq!(headers.len(), 2);
            }
            if let Ok(value) = http::HeaderValue::from_bytes(data) {
                let mut headers = http::HeaderMap::new();
                headers.insert("cdn-loop", value);
                let before = forwarded::cdn_loop_count(&headers, "breakwater");
                let marked = forwarded::cdn_loop_has(&headers, "breakwater", "0f");
                assert!(!marked || before > 0);
                forwarded::append_cdn_loop(&mut headers, "breakwater;id=0f");
                // An open quotation at the end takes in what follows it.
                if !data.contains(&b'"') {
                    assert_eq!(forwarded::cdn_loop_count(&headers, "breakwater"), before + 1);
                    assert!(forwarded::cdn_loop_has(&headers, "breakwater", "0f"));
                }
            }
            // Whoever asks, what was asked for is the same.
            let claims = |client: &str| {
                let own = format!("for={client}, ").into_bytes();
                let values: Vec<_> = lines().map(|line| [own.as_slice(), line].concat()).collect();
                let mut given = Vec::new();
                forwarded::claims_of_request(
                    || values.iter().map(|value| ("forwarded", value.as_slice())),
                    |_, place, value| given.push((place, value.to_vec())),
                );
                (given, values.iter().any(|value| value.iter().any(|b| matches!(b, b'"' | b'\\'))))
            };
            let ((one, quoted), (other, _)) = (claims("192.0.2.1"), claims("198.51.100.7"));
            assert!(quoted || one == other);
        }
    }
});
