//! PROXY headers: the verdict does not depend on where the bytes are cut, nothing behind a header changes it, and no
//! header is longer than it may be.
#![no_main]

use breakwater_wire::proxy_protocol::{MAX, Parsed, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let verdict = parse(data);
    if data.len() >= MAX {
        assert_ne!(verdict, Ok(Parsed::Partial));
    }
    // From the first byte on, the verdict is partial until it is the last.
    for end in 0..data.len().min(MAX) {
        match parse(&data[..end]) {
            Ok(Parsed::Partial) => {}
            early => assert_eq!(early, verdict, "{end}"),
        }
    }
    if let Ok(Parsed::Complete(header)) = verdict {
        assert!(header.len <= data.len() && header.len <= MAX);
        assert_eq!(parse(&data[..header.len]), verdict);
        let mut longer = data[..header.len].to_vec();
        longer.extend_from_slice(b"\r\nPROXY \n");
        assert_eq!(parse(&longer), verdict);
    }
});
