//! Lists of addresses: a text that reads packs to what holds the same addresses, and packed bytes never make more
//! prefixes than there are bytes; a text that comes in pieces is read as the whole is.
#![no_main]

use breakwater_waf::address::{AddressSet, list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(nets) = list::unpack(data) {
        assert!(nets.len() <= data.len() && nets.is_sorted());
        assert!(list::unpack(&list::pack(&nets)).is_ok());
    }
    let by_bytes = read(data, 1);
    assert!(by_bytes == read(data, 7) && by_bytes == read(data, data.len()));
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(nets) = list::parse(text) else { return };
    assert!(list::looks_like_a_list(text));
    assert!(by_bytes.is_none_or(|read| read == list::pack(&nets)));
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

fn read(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut reader = list::Reader::new(1 << 20, 1 << 16);
    data.chunks(size.max(1)).try_for_each(|piece| reader.push(piece)).ok()?;
    Some(list::pack(&reader.finish().ok()?))
}
