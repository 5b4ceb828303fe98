//! A request head that the gate accepts means the same after it was written again, and its bytes follow
//! the rules that the gate exists for.
#![no_main]

use breakwater_wire::http1::{Framing, Limits, Parsed, encode, parse_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let Ok(Parsed::Complete(first)) = parse_request(data, &limits) else {
        return;
    };
    let head = &data[..first.len];

    // Nothing in the head can be read as a line end but CRLF, and the head ends at its first empty line.
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(head[at - 1], b'\r'),
            b'\r' => assert_eq!(head[at + 1], b'\n'),
            0 => panic!("NUL"),
            _ => {}
        }
    }
    let end = head[2..].windows(4).position(|window| window == b"\r\n\r\n");
    assert_eq!(end.map(|at| at + 6), Some(head.len()));

    // One framing, said once.
    let count = |name: &str| {
        first
            .fields()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .count()
    };
    match first.framing {
        Framing::None => assert_eq!((count("content-length"), count("transfer-encoding")), (0, 0)),
        Framing::Length(_) => assert_eq!((count("content-length"), count("transfer-encoding")), (1, 0)),
        Framing::Chunked => assert_eq!((count("content-length"), count("transfer-encoding")), (0, 1)),
    }

    // What follows the head does not change it, and a shorter buffer is never complete.
    assert!(!matches!(
        parse_request(&head[..head.len() - 1], &limits),
        Ok(Parsed::Complete(_))
    ));
    let Ok(Parsed::Complete(alone)) = parse_request(head, &limits) else {
        panic!("not complete alone")
    };
    assert_eq!(
        (alone.len, alone.framing, alone.host),
        (first.len, first.framing, first.host)
    );

    // Written again, towards an origin, it is the same request.
    let owned = first.to_owned().expect("the gate is the stricter one");
    let mut written = Vec::new();
    encode::write_request_head(&mut written, owned.method.as_str(), &owned.target, &owned.headers)
        .expect("it was accepted");
    if first.host.is_empty() || written.len() > limits.head || first.framing == Framing::Chunked && count("host") == 0 {
        return;
    }
    let Ok(Parsed::Complete(second)) = parse_request(&written, &limits) else {
        panic!("refused when written again")
    };
    assert_eq!(second.len, written.len());
    assert_eq!(
        (second.method, second.path, second.query),
        (first.method, first.path, first.query)
    );
    assert_eq!((second.host, second.framing), (first.host, first.framing));
    assert_eq!(second.fields().count(), owned.headers.len());
});
