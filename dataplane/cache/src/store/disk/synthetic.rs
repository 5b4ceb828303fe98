//! A store that is full and has nothing in it, for measuring how long starts take.

use std::io;
use std::sync::Arc;

use super::io::{Dir, write_all_at};
use super::record::{Kind, UNIT};
use super::segment::{Listed, encode_header, encode_seal, list_units, name_of, units_of};
use super::{DiskConfig, open};
use crate::key::Keyer;

/// Fills a directory with sealed segments whose lists name records of so many units; the records are not there. Returns
/// their number.
///
/// # Errors
/// The disk's.
pub fn synthesize(dir: &Arc<dyn Dir>, config: &DiskConfig, units: u32) -> io::Result<u64> {
    let opened = open(Arc::clone(dir), config, [1, 2])?;
    let block = *opened.store.superblock();
    let keyer = Keyer::new(block.seed);
    let units = units.max(1);
    let mut total = 0;
    for sequence in 0..config.bytes / block.segment {
        let mut listed = Vec::new();
        let mut end = 1;
        while end + units + list_units(listed.len() + 1) <= units_of(block.segment) {
            total += 1;
            listed.push(Listed {
                kind: Kind::Object,
                key: keyer.start(total).finish(),
                unit: end,
                units,
                expiry: u32::MAX,
            });
            end += units;
        }
        let file = dir.create(&name_of(sequence), block.segment)?;
        write_all_at(&*file, &encode_header(block.id, sequence, block.segment), 0)?;
        let (list, seal) = encode_seal(sequence, block.segment, end, &listed);
        write_all_at(&*file, &list, u64::from(end) * UNIT)?;
        write_all_at(&*file, &seal, u64::from(units_of(block.segment) - 1) * UNIT)?;
    }
    Ok(total)
}
