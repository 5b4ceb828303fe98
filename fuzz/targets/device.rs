//! Classes of devices: letter case and what is beyond the bound count for nothing, and fewer classes make no other.
#![no_main]

use breakwater_wire::device::{Classes, Device, MAX_READ};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (hint, user_agent) = data.split_at(data.len().min(2));
    let all = Classes {
        mobile: true,
        tablet: true,
        bot: true,
    };
    let class = all.of(Some(user_agent), Some(hint));
    let longer = [&user_agent[..user_agent.len().min(MAX_READ)], b" iPad Googlebot".as_slice()].concat();
    if user_agent.len() >= MAX_READ {
        assert_eq!(all.of(Some(&longer), Some(hint)), class);
    }
    // The models of one maker are told by their upper case.
    if !user_agent.windows(3).any(|bytes| bytes == b"AFT") {
        assert_eq!(all.of(Some(&user_agent.to_ascii_lowercase()), Some(hint)), class);
    }
    let screens = Classes { bot: false, ..all };
    let screen = screens.of(Some(user_agent), Some(hint));
    assert!(screen == class || class == Device::Bot && screen != Device::Bot);
    let mobile = Classes {
        mobile: true,
        ..Classes::default()
    };
    let phone = mobile.of(Some(user_agent), Some(hint)) == Device::Mobile;
    assert_eq!(phone, screen == Device::Mobile);
    assert_eq!(Classes::default().of(Some(user_agent), Some(hint)), Device::Desktop);
});
