//! Parts are slices of the body, in order, within the limit; what follows the last boundary changes none of them; an
//! error leaves what was read. The first line is the Content-Type.
#![no_main]

use breakwater_waf::body::{Limits, multipart};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { items: 16, depth: 1 };

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(2, |&byte| byte == b'\n');
    let content_type = lines.next().unwrap_or_default();
    let body = lines.next().unwrap_or_default();
    let read = multipart(content_type, body, LIMITS);
    assert!(read.parts.len() <= LIMITS.items);
    let mut from = body.as_ptr() as usize;
    for part in read.parts.iter().filter(|part| !part.content.is_empty()) {
        let start = part.content.as_ptr() as usize;
        assert!(start >= from && start + part.content.len() <= body.as_ptr() as usize + body.len());
        from = start + part.content.len();
    }
    let headers: usize = read
        .parts
        .iter()
        .flat_map(|part| &part.headers)
        .map(|line| line.len())
        .sum();
    assert!(headers <= 2 * body.len());
    assert!(read.error.is_none() || read.is_strict_error());
    if read.error.is_none() && !body.is_empty() {
        assert!(read.parts.iter().all(|part| !part.name.is_empty()) || read.flags.invalid_part);
        let end: &[u8] = if body.ends_with(b"\n") {
            b"--x\r\n"
        } else {
            b"\r\n--x\r\n"
        };
        let longer = [body, end].concat();
        let again = multipart(content_type, &longer, LIMITS);
        // A last boundary without line end may stand where content must begin.
        if !read.flags.invalid_part {
            assert_eq!(again.parts, read.parts);
            assert!(again.flags.data_after);
        }
    }
});
