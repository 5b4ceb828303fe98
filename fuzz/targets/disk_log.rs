//! What a segment of the disk tier, and what is in its records, are believed to say.
#![no_main]

use breakwater_cache::searches::kept;
use breakwater_cache::store::disk::{Record, Superblock, believed, decode_object, decode_removed, decode_variants};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(block) = Superblock::decode(data) {
        assert_eq!(Superblock::decode(&block.encode()).as_ref(), Ok(&block));
    }
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(record) = Record::parse(&bytes, 1) {
        assert!(record.header.size() <= data.len() as u64);
        assert_eq!(record.head.len() + record.content.len() + 72, record.header.size() as usize);
    }
    // Head sections behind their checksum are from us, but nothing hangs on that.
    if let Some(object) = decode_object(&bytes) {
        assert!((200..600).contains(&object.status));
        assert!(object.meta.tags.len() * 8 <= data.len());
        if let Some(extents) = &object.extents {
            assert!(extents.size() <= 64 + data.len() as u64);
        }
    }
    if let Some(variants) = decode_variants(data) {
        assert!(variants.rules.len() <= 8);
    }
    if let Some(rules) = kept::decode(data, 7) {
        assert!(rules.iter().all(|rule| rule.text.len() <= kept::MAX_TEXT));
        assert_eq!(kept::encode(7, rules.into_iter()), data);
    }
    if let Some(keys) = decode_removed(data) {
        assert_eq!(keys.len() * 16, data.len());
    }
    // As records from the beginning, and as the seal and the list of a segment of four units.
    let units = |bytes: &[u8], units: usize| {
        let mut bytes = bytes.to_vec();
        bytes.resize(units * 4096, 0);
        bytes
    };
    let (seal, list) = data.split_at(data.len().min(44));
    let sealed = [units(&[], 2), units(list, 1), units(seal, 1)].concat();
    for segment in [units(data, 4), sealed] {
        let Some(contents) = believed(&segment) else { continue };
        let end = u64::from(contents.end) * 4096;
        assert!(end <= segment.len() as u64);
        for entry in &contents.listed {
            assert!((u64::from(entry.unit) + u64::from(entry.units)) * 4096 <= end);
        }
    }
});
