//! Purges as bytes: what a store that outlives the process keeps beside its records.
//!
//! A journal is a header and records of [`RECORD`] bytes, each with a checksum. [`super::Epochs::export`] writes a
//! whole one; [`super::Epochs::take_journal`] gives what has to be appended since; [`super::Epochs::restore`] reads
//! it. Writing, syncing and naming files is the caller's: a purge is proven when what was taken after it is synced.
//!
//! Invariants: a response is only alive when the journal knows its site, so a journal that is lost or damaged
//! forgets everything. A tail that was not written whole is left out: a purge in it was never acknowledged. Reading
//! the same record twice changes nothing. Bytes of another version or another secret are refused.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::Mode;

/// Bytes of the header, and of each record.
pub const RECORD: usize = 32;

/// The largest journal that is read: 4,194,303 records.
pub const MAX_BYTES: usize = 128 << 20;

const MAGIC: [u8; 8] = *b"bwpurge\n";
const VERSION: u32 = 1;

/// No clock comes so far by itself; from beyond it could not go on.
const LATEST: u64 = u64::MAX / 2;

/// Why a journal cannot be read. What it was about has to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than [`MAX_BYTES`].
    #[error("the purge journal is larger than any that is written")]
    TooLarge,
    /// The header is damaged, or it is no journal.
    #[error("this is no purge journal, or its header is damaged")]
    Header,
    /// Written by another version.
    #[error("the purge journal is of version {0}")]
    Version(u32),
    /// Its hashes were made with another secret.
    #[error("the purge journal was written under another secret")]
    Secret,
    /// A record is damaged, and later ones are not.
    #[error("record {0} of the purge journal is damaged")]
    Damaged(usize),
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// Every response of a site that was asked for before `at`; also how a site becomes known.
    Everything {
        /// The site.
        site: u64,
        /// The logical time.
        at: u64,
        /// What happens to them.
        mode: Mode,
    },
    /// Every response with a tag that was asked for before `at`.
    Tag {
        /// The site.
        site: u64,
        /// The tag's hash.
        tag: u64,
        /// The logical time.
        at: u64,
        /// What happens to them.
        mode: Mode,
    },
    /// A site is no longer served: nothing of it may come back.
    Closed {
        /// The site.
        site: u64,
        /// The logical time.
        at: u64,
    },
    /// A purge was carried out, by the caller's name for it.
    Done {
        /// The name.
        uid: u128,
        /// The logical time.
        at: u64,
    },
}

impl Record {
    /// Its bytes.
    pub fn encode(&self) -> [u8; RECORD] {
        let (kind, mode, at, a, b) = match *self {
            Self::Everything { site, at, mode } => (1, mode, at, site, 0),
            Self::Tag { site, tag, at, mode } => (2, mode, at, site, tag),
            Self::Closed { site, at } => (3, Mode::Hard, at, site, 0),
            Self::Done { uid, at } => (4, Mode::Hard, at, (uid >> 64) as u64, uid as u64),
        };
        let mut out = [0; RECORD];
        out[..8].copy_from_slice(&at.to_be_bytes());
        out[8..16].copy_from_slice(&a.to_be_bytes());
        out[16..24].copy_from_slice(&b.to_be_bytes());
        out[24] = kind;
        out[25] = u8::from(mode == Mode::Soft);
        seal(&mut out);
        out
    }

    /// From bytes of [`Self::encode`].
    pub fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        if !is_sealed(bytes) || bytes[26] != 0 || bytes[27] != 0 {
            return None;
        }
        let mode = match bytes[25] {
            0 => Mode::Hard,
            1 => Mode::Soft,
            _ => return None,
        };
        let (at, a, b) = (number(bytes, 0), number(bytes, 8), number(bytes, 16));
        if at > LATEST {
            return None;
        }
        match (bytes[24], mode, b) {
            (1, _, 0) => Some(Self::Everything { site: a, at, mode }),
            (2, ..) => Some(Self::Tag {
                site: a,
                tag: b,
                at,
                mode,
            }),
            (3, Mode::Hard, 0) => Some(Self::Closed { site: a, at }),
            (4, Mode::Hard, _) => Some(Self::Done {
                uid: u128::from(a) << 64 | u128::from(b),
                at,
            }),
            _ => None,
        }
    }
}

/// The header of a journal: `secret` identifies the secret under which tags were hashed
/// ([`crate::key::Keyer::identity`]), `clock` is the present.
pub fn header(secret: u64, clock: u64) -> [u8; RECORD] {
    let mut out = [0; RECORD];
    out[..8].copy_from_slice(&MAGIC);
    out[8..16].copy_from_slice(&secret.to_be_bytes());
    out[16..24].copy_from_slice(&clock.to_be_bytes());
    out[24..28].copy_from_slice(&VERSION.to_be_bytes());
    seal(&mut out);
    out
}

/// A journal that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The logical time at which it was begun.
    pub clock: u64,
    /// What happened, oldest first.
    pub records: Vec<Record>,
    /// Where new records go: behind the last whole one.
    pub end: usize,
}

/// Reads a journal.
///
/// # Errors
/// See [`Error`].
pub fn read(bytes: &[u8], secret: u64) -> Result<Journal, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    let (header, rest) = bytes.split_first_chunk::<RECORD>().ok_or(Error::Header)?;
    if header[..8] != MAGIC {
        return Err(Error::Header);
    }
    let version = (number(header, 24) >> 32) as u32;
    if version != VERSION {
        return Err(Error::Version(version));
    }
    if !is_sealed(header) || number(header, 16) > LATEST {
        return Err(Error::Header);
    }
    if number(header, 8) != secret {
        return Err(Error::Secret);
    }
    let mut journal = Journal {
        clock: number(header, 16),
        records: Vec::with_capacity(rest.len() / RECORD),
        end: RECORD,
    };
    let (chunks, _) = rest.as_chunks::<RECORD>();
    let mut damaged = None;
    for (index, chunk) in chunks.iter().enumerate() {
        match (Record::decode(chunk), damaged) {
            (Some(record), None) => {
                journal.records.push(record);
                journal.end += RECORD;
            }
            // What was written after it is there: it was whole once.
            (Some(_), Some(index)) => return Err(Error::Damaged(index)),
            (None, _) => damaged = damaged.or(Some(index)),
        }
    }
    Ok(journal)
}

/// Writes the checksum of a header or record into its place.
pub fn seal(bytes: &mut [u8; RECORD]) {
    let sum = checksum(bytes);
    bytes[28..].copy_from_slice(&sum.to_be_bytes());
}

fn is_sealed(bytes: &[u8; RECORD]) -> bool {
    bytes[28..] == checksum(bytes).to_be_bytes()
}

/// Against accidents, not against people.
fn checksum(bytes: &[u8; RECORD]) -> u32 {
    let mut hasher = SipHasher13::new_with_keys(0x6272_6561_6b77_6174, 1);
    hasher.write(&bytes[..28]);
    hasher.finish() as u32
}

fn number(bytes: &[u8; RECORD], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |n, &byte| n << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Record; 5] = [
        Record::Everything {
            site: 1,
            at: 2,
            mode: Mode::Soft,
        },
        Record::Tag {
            site: u64::MAX,
            tag: 4,
            at: 5,
            mode: Mode::Hard,
        },
        Record::Tag {
            site: 1,
            tag: u64::MAX,
            at: 6,
            mode: Mode::Soft,
        },
        Record::Closed { site: 9, at: 7 },
        Record::Done {
            uid: u128::MAX / 3,
            at: 8,
        },
    ];

    fn journal() -> Vec<u8> {
        let mut bytes = header(77, 3).to_vec();
        ALL.iter().for_each(|record| bytes.extend(record.encode()));
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let read = read(&journal(), 77).unwrap();
        assert_eq!(read.clock, 3);
        assert_eq!(read.records, ALL);
        assert_eq!(read.end, journal().len());
    }

    #[test]
    fn a_tail_that_was_not_written_whole_is_left_out() {
        let whole = journal();
        for cut in RECORD..whole.len() {
            let read = read(&whole[..cut], 77).unwrap();
            assert_eq!(read.records.len(), cut / RECORD - 1);
            assert_eq!(read.end, cut / RECORD * RECORD);
        }
        let mut zeros = whole;
        zeros.extend([0; 100]);
        assert_eq!(read(&zeros, 77).unwrap().records, ALL);
    }

    #[test]
    fn any_flipped_bit_before_the_last_record_is_noticed() {
        let whole = journal();
        for bit in 0..(whole.len() - RECORD) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes, 77).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_time_after_which_the_clock_could_not_go_on_is_no_record() {
        let record = |at| Record::Closed { site: 1, at }.encode();
        assert!(Record::decode(&record(LATEST)).is_some());
        assert!(Record::decode(&record(LATEST + 1)).is_none());
        assert_eq!(read(&header(1, LATEST + 1), 1), Err(Error::Header));
    }

    #[test]
    fn another_version_or_secret_and_what_is_no_journal_are_refused() {
        let mut bytes = journal();
        assert_eq!(read(&bytes, 78), Err(Error::Secret));
        assert_eq!(read(&bytes[..31], 77), Err(Error::Header));
        assert_eq!(read(b"", 77), Err(Error::Header));
        bytes[27] = 2;
        assert_eq!(read(&bytes, 77), Err(Error::Version(2)));
        assert_eq!(read(&vec![0; MAX_BYTES + 1], 77), Err(Error::TooLarge));
    }
}
