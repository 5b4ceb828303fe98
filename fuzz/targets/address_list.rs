//! Lists of addresses: a text that reads packs to what holds the same addresses, and packed bytes never make more
//! prefixes than there are bytes.
#![no_main]

use breakwater_waf::address::{AddressSet, list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(nets) = list::unpack(data) {
        assert!(nets.len() <= data.len() && nets.is_sorted());
        assert!(list::unpack(&list::pack(&nets)).is_ok());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(nets) = list::parse(text) else { return };
    assert!(list::looks_like_a_list(text));
    let unpacked = list::unpack(&list::pack(&nets)).expect("what was packed unpacks");
    assert!(unpacked.len() <= nets.len());
    let (before, after): (AddressSet, AddressSet) =
        (nets.iter().copied().collect(), unpacked.iter().copied().collect());
    for net in nets.iter().chain(&unpacked).take(64) {
        for address in [net.network(), net.broadcast()] {
            assert!(before.contains(address).is_some() && after.contains(address).is_some());
        }
    }
});
