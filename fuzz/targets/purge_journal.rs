//! The purge journal: whatever the bytes, reading ends, and what was read is written as it was.
#![no_main]

use breakwater_cache::purge::{Epochs, journal};
use libfuzzer_sys::fuzz_target;

const SECRET: u64 = 5;

fuzz_target!(|data: &[u8]| {
    let _ = journal::read(data, SECRET);
    // Behind a good header, and each record with a good checksum: by chance neither comes up.
    let mut file = journal::header(SECRET, 1).to_vec();
    for chunk in data.chunks(journal::RECORD) {
        let mut record = [0; journal::RECORD];
        record[..chunk.len()].copy_from_slice(chunk);
        journal::seal(&mut record);
        file.extend(record);
    }
    let Ok(read) = journal::read(&file, SECRET) else {
        return;
    };
    let mut again = journal::header(SECRET, 1).to_vec();
    read.records.iter().for_each(|record| again.extend(record.encode()));
    assert_eq!(again, file[..read.end]);
    let epochs = Epochs::new(8);
    assert_eq!(epochs.restore(&file, SECRET, 0), Ok(read.end));
    let exported = epochs.export(SECRET);
    let once_more = Epochs::new(8);
    assert_eq!(once_more.restore(&exported, SECRET, 0), Ok(exported.len()));
});
