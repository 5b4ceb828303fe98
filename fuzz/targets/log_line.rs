//! Lines of logs that are replayed: what is read is bounded, a request goes through the window once, and a time that is
//! read writes itself so that it is read alike.
#![no_main]

use breakwater_waf::audit::Rfc3339;
use breakwater_waf::replay::{Line, Tally, Window};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(time) = text.parse::<Rfc3339>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    let mut window = Window::default();
    let mut tally = Tally::default();
    let mut read = 0;
    for (number, text) in (1..).zip(text.lines()) {
        match Line::parse(text) {
            Ok(line) => {
                assert!(line.target.len() <= text.len() && line.path().len() <= line.target.len());
                assert!(line.objections.len() <= 1 && line.fields.len() <= 2);
                read += 1;
                window.push(line, number);
            }
            Err(error) => tally.unread(number, error.to_string()),
        }
    }
    window.end();
    while let Some((past, at_ms)) = window.pop() {
        assert!(at_ms >= past.line.unix_ms && at_ms - past.line.unix_ms < 1000);
        let before = past.line.objections.clone();
        tally.judged(&past, "host", &before, &[], false);
    }
    tally.finish();
    assert!(tally.judged <= read);
    let grouped = tally.no_longer_blocked.count + tally.unknown.count;
    assert_eq!(tally.judged, grouped + tally.passed);
});
