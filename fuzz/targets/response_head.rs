//! A response head that is accepted means the same after it was written again.
#![no_main]

use breakwater_wire::http1::{Limits, Parsed, ResponseFraming, Version, encode, parse_response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let method = if choice % 2 == 0 { "GET" } else { "HEAD" };
    let limits = Limits::default();
    let Ok(Parsed::Complete(first)) = parse_response(data, method, &limits) else {
        return;
    };
    let head = &data[..first.len];
    let lines = head.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(head.windows(2).filter(|pair| pair == b"\r\n").count(), lines);
    assert_eq!(lines, first.fields().count() + 2);
    if first.framing == ResponseFraming::UntilClose {
        assert!(!first.keep_alive);
    }
    if method == "HEAD" {
        assert_eq!(first.framing, ResponseFraming::None);
    }
    assert!(!matches!(
        parse_response(&head[..head.len() - 1], method, &limits),
        Ok(Parsed::Complete(_))
    ));

    let owned = first.to_owned().expect("parsing is the stricter one");
    let mut written = Vec::new();
    encode::write_response_head(&mut written, first.status, Some(first.reason), &owned.headers)
        .expect("it was accepted");
    if written.len() > limits.head || first.version == Version::Http10 {
        return;
    }
    let Ok(Parsed::Complete(second)) = parse_response(&written, method, &limits) else {
        panic!("refused when written again")
    };
    assert_eq!(
        (second.status, second.reason, second.framing),
        (first.status, first.reason, first.framing)
    );
    assert_eq!(
        (second.content_length, second.keep_alive),
        (first.content_length, first.keep_alive)
    );
});
