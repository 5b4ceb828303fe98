//! Late comers at a response that is too large for memory, one poll at a time.

use std::io;

use super::*;
use crate::fill::{Behind, Disposition, FillConfig, FillHead, FillReader, FillWriter, Fills, HeadOutcome, Join};
use crate::key::Key;
use crate::object::Object;
use crate::policy::store::Storable;
use crate::purge::Epochs;
use crate::time::Timestamp;
use crate::vary::Fingerprint;

const PIECE: usize = SPOOL_PIECE as usize;

#[derive(Debug, Default)]
struct Memory(Mutex<Vec<u8>>);

impl File for Memory {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let bytes = self.0.lock();
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn read_cached_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut all = self.0.lock();
        let at = at as usize;
        let end = at + bytes.len();
        if all.len() < end {
            all.resize(end, 0);
        }
        all[at..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }
}

/// Fills with a window of two pieces, and room for `max_spooled` bytes in files.
fn fills(max_spooled: u64) -> Fills {
    Fills::new(FillConfig {
        window: 2 * SPOOL_PIECE,
        max_spooled,
        ..FillConfig::default()
    })
}

fn join_at(fills: &Fills, since: u64, now: u64) -> Join {
    let stamp = Epochs::default().stamp(1);
    fills.join(Key(1), &stamp, &[], since, Timestamp::from_secs(now))
}

fn join(fills: &Fills) -> Join {
    join_at(fills, 0, 0)
}

fn lead(fills: &Fills) -> (FillWriter, FillReader) {
    match join(fills) {
        Join::Leader(writer, reader) => (writer, reader),
        other => panic!("expected to lead: {other:?}"),
    }
}

fn behind(fills: &Fills) -> Follower {
    match join(fills) {
        Join::Behind(_, Behind::Spool(follower)) => follower,
        other => panic!("expected what is kept: {other:?}"),
    }
}

/// A head that is fresh for a second from zero on.
fn head(length: Option<u64>) -> FillHead {
    FillHead {
        status: 200,
        fields: http::HeaderMap::new(),
        head: Bytes::from_static(b"HTTP/1.1 200 OK\r\n"),
        content_length: length,
        stored: true,
        storable: Some(Box::new(Storable {
            metadata: Object::for_tests().meta,
            omit: Vec::new(),
        })),
        variant: Fingerprint::default(),
        in_language: None,
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The content piece by piece: each has its number as its bytes.
fn piece(number: u8) -> Bytes {
    vec![number; PIECE].into()
}

/// A response of `count` pieces that is too large for memory, of which so many came that its own reader has read.
struct Coming {
    writer: FillWriter,
    own: FillReader,
    spooler: Option<Spooler>,
    file: Arc<Memory>,
}

impl Coming {
    fn begin(fills: &Fills, count: u8, come: u8) -> Self {
        let (mut writer, mut own) = lead(fills);
        let length = u64::from(count) * SPOOL_PIECE;
        let limit = length - 1;
        writer.publish(head(Some(length)), Disposition::Store { limit, shared: true });
        assert!(matches!(
            own.poll_head(&mut context()),
            Poll::Ready(HeadOutcome::Head(_))
        ));
        let mut coming = Self {
            writer,
            own,
            spooler: None,
            file: Arc::default(),
        };
        coming.go_on(0, come);
        coming
    }

    /// Pieces come, and are read and written.
    fn go_on(&mut self, from: u8, to: u8) {
        for number in from..to {
            assert_eq!(self.writer.poll_ready(&mut context()), Poll::Ready(Ok(())));
            self.writer.push(piece(number));
            assert!(self.own.poll_chunk(&mut context()).is_ready());
            self.spool();
        }
    }

    /// Writes what there is.
    fn spool(&mut self) {
        if let Some(spooler) = self.writer.take_spooler() {
            spooler.write_to(Arc::clone(&self.file) as Arc<dyn File>);
            self.spooler = Some(spooler);
        }
        if let Some(spooler) = &mut self.spooler {
            write(spooler, &self.file);
        }
    }

    /// The rest came, and is written.
    fn finish(mut self, fills: &Fills, come: u8, count: u8) -> FillReader {
        self.go_on(come, count);
        self.writer.finish().unwrap();
        let mut spooler = self.spooler.unwrap();
        assert!(write(&mut spooler, &self.file));
        spooler.end();
        assert_eq!(fills.stats().buffered, 0);
        self.own
    }
}

/// Writes what there is; whether that is all.
fn write(spooler: &mut Spooler, file: &Memory) -> bool {
    while let Poll::Ready(pieces) = spooler.poll_pieces(&mut context()) {
        let pieces = pieces.unwrap();
        if pieces.is_empty() {
            return true;
        }
        for piece in &pieces {
            let end = file.size().unwrap();
            file.write_at(piece, end).unwrap();
        }
        spooler.wrote(&pieces);
    }
    false
}

/// The numbers of the pieces that can be read at once, and how it goes on then.
fn read(follower: &Follower) -> (Vec<u8>, Poll<Result<(), SpoolLost>>) {
    let mut all = Vec::new();
    loop {
        match follower.poll_at(all.len() as u64 * SPOOL_PIECE, &context()) {
            Poll::Ready(Ok(Some((file, length)))) => {
                let mut bytes = vec![0; length];
                file.read_at(&mut bytes, all.len() as u64 * SPOOL_PIECE).unwrap();
                assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                all.push(bytes[0]);
            }
            Poll::Ready(Ok(None)) => return (all, Poll::Ready(Ok(()))),
            Poll::Ready(Err(lost)) => return (all, Poll::Ready(Err(lost))),
            Poll::Pending => return (all, Poll::Pending),
        }
    }
}

#[test]
fn who_comes_late_reads_from_the_beginning_what_is_written_and_then_what_comes() {
    let fills = fills(1 << 30);
    let coming = Coming::begin(&fills, 10, 5);
    let late = behind(&fills);
    assert_eq!(read(&late), (vec![0, 1, 2, 3, 4], Poll::Pending));
    let own = coming.finish(&fills, 5, 10);
    assert_eq!(read(&late), ((0..10).collect(), Poll::Ready(Ok(()))));
    drop((own, late));
    let _ = lead(&fills);
    assert_eq!((fills.stats().spools, fills.stats().spools_lost), (1, 0));
}

#[test]
fn what_fits_the_window_is_not_written() {
    let fills = fills(1 << 30);
    let mut coming = Coming::begin(&fills, 10, 1);
    assert!(coming.spooler.is_none());
    assert!(matches!(join(&fills), Join::Follower(_)), "memory has all of it");
    coming.go_on(1, 3);
    assert!(coming.spooler.is_some());
}

#[test]
fn the_end_of_a_response_begins_no_file() {
    let fills = fills(1 << 30);
    let Coming {
        mut writer, mut own, ..
    } = Coming::begin(&fills, 2, 1);
    assert!(writer.poll_ready(&mut context()).is_ready());
    writer.push_last(piece(1));
    assert!(writer.take_spooler().is_none());
    writer.finish().unwrap();
    for _ in 0..2 {
        assert!(own.poll_chunk(&mut context()).is_ready());
    }
    assert_eq!((fills.stats().spools, fills.stats().spooled), (0, 0));
}

#[test]
fn a_response_of_unknown_length_that_outgrows_its_room_is_kept_from_its_beginning() {
    let fills = fills(1 << 30);
    let (mut writer, own) = lead(&fills);
    writer.publish(
        head(None),
        Disposition::Store {
            limit: 4 * SPOOL_PIECE,
            shared: true,
        },
    );
    let mut coming = Coming {
        writer,
        own,
        spooler: None,
        file: Arc::default(),
    };
    assert!(matches!(
        coming.own.poll_head(&mut context()),
        Poll::Ready(HeadOutcome::Head(_))
    ));
    coming.go_on(0, 7);
    let late = behind(&fills);
    let own = coming.finish(&fills, 7, 9);
    assert_eq!(read(&late), ((0..9).collect(), Poll::Ready(Ok(()))));
    drop(own);
}

#[test]
fn what_is_over_is_given_to_others_while_somebody_reads_it_and_it_is_fresh() {
    let fills = fills(1 << 30);
    let own = Coming::begin(&fills, 10, 5).finish(&fills, 5, 10);
    let first = behind(&fills);
    drop(own);
    let second = behind(&fills);
    drop(first);
    assert_eq!(read(&second).0.len(), 10);
    assert!(matches!(join_at(&fills, 0, 2), Join::Leader(..)), "it is stale by then");
    assert_eq!(read(&second).0.len(), 10);
}

#[test]
fn what_is_over_goes_with_its_last_reader() {
    let fills = fills(1 << 30);
    let own = Coming::begin(&fills, 10, 5).finish(&fills, 5, 10);
    assert_eq!(fills.stats().spooled, 10 * SPOOL_PIECE);
    drop(own);
    assert_eq!(fills.stats().spooled, 0);
    assert_eq!(fills.stats().in_flight, 0);
    let _ = lead(&fills);
}

#[test]
fn what_was_forgotten_since_is_not_given_to_others() {
    let fills = fills(1 << 30);
    let mut coming = Coming::begin(&fills, 10, 5);
    let early = behind(&fills);
    assert!(matches!(join_at(&fills, 1 << 40, 0), Join::Leader(..)));
    coming.go_on(5, 6);
    assert_eq!(read(&early).0.len(), 6);
}

#[test]
fn a_fetch_goes_on_for_who_reads_what_is_kept() {
    let fills = fills(1 << 30);
    let Coming {
        mut writer,
        own,
        mut spooler,
        file,
    } = Coming::begin(&fills, 10, 5);
    let late = behind(&fills);
    drop(own);
    for number in 5..10 {
        assert_eq!(writer.poll_ready(&mut context()), Poll::Ready(Ok(())));
        writer.push(piece(number));
        write(spooler.as_mut().unwrap(), &file);
    }
    writer.finish().unwrap();
    assert!(write(spooler.as_mut().unwrap(), &file));
    spooler.unwrap().end();
    assert_eq!(read(&late).0.len(), 10);
}

#[test]
fn a_fetch_is_no_faster_than_the_disk_for_who_reads_what_is_kept() {
    let fills = fills(1 << 30);
    let Coming {
        mut writer,
        own,
        spooler,
        ..
    } = Coming::begin(&fills, 100, 5);
    let late = behind(&fills);
    drop(own);
    let came = (5..100)
        .take_while(|number| {
            let ready = writer.poll_ready(&mut context()).is_ready();
            if ready {
                writer.push(piece(*number));
            }
            ready
        })
        .count();
    assert!(came <= 4, "{came} pieces wait in memory for a disk that writes none");
    drop((spooler, late));
}

#[test]
fn a_fetch_that_nobody_reads_ends_and_is_not_kept() {
    let fills = fills(1 << 30);
    let mut coming = Coming::begin(&fills, 10, 5);
    drop(coming.own);
    assert!(matches!(coming.writer.poll_ready(&mut context()), Poll::Ready(Err(_))));
    let _ = lead(&fills);
}

#[test]
fn a_fetch_waits_for_what_is_not_written_and_goes_on_when_that_is_given_up() {
    let fills = fills(1 << 30);
    let (mut writer, mut own) = lead(&fills);
    let length = 10 * SPOOL_PIECE;
    writer.publish(head(Some(length)), Disposition::Store { limit: 1, shared: true });
    assert!(own.poll_head(&mut context()).is_ready());
    for number in 0..2 {
        assert!(writer.poll_ready(&mut context()).is_ready());
        writer.push(piece(number));
        assert!(own.poll_chunk(&mut context()).is_ready());
    }
    let spooler = writer.take_spooler().unwrap();
    assert!(!spooler.holds_up());
    assert!(writer.poll_ready(&mut context()).is_pending());
    assert!(spooler.holds_up());
    drop(spooler);
    assert!(writer.poll_ready(&mut context()).is_ready());
    assert_eq!(fills.stats().spools_lost, 1);
    let _ = lead(&fills);
}

#[test]
fn a_fetch_goes_on_until_who_has_to_write_was_taken() {
    let fills = Fills::new(FillConfig {
        max_buffered: SPOOL_PIECE,
        max_spooled: 1 << 30,
        ..FillConfig::default()
    });
    let (mut writer, mut own) = lead(&fills);
    let length = 100 * SPOOL_PIECE;
    writer.publish(head(Some(length)), Disposition::Store { limit: 1, shared: true });
    assert!(own.poll_head(&mut context()).is_ready());
    for number in 0..2 {
        assert!(writer.poll_ready(&mut context()).is_ready());
        writer.push(piece(number));
    }
    assert!(
        writer.poll_ready(&mut context()).is_ready(),
        "there is no memory for a whole window"
    );
    let _spooler = writer.take_spooler().unwrap();
    assert!(writer.poll_ready(&mut context()).is_pending());
}

#[test]
fn when_the_disk_fails_those_in_memory_read_on_and_who_comes_late_fetches() {
    let fills = fills(1 << 30);
    let mut coming = Coming::begin(&fills, 10, 5);
    let late = behind(&fills);
    coming.spooler = None;
    assert_eq!(read(&late), ((0..5).collect(), Poll::Ready(Err(SpoolLost))));
    coming.go_on(5, 10);
    let Coming { writer, own, .. } = coming;
    assert_eq!(writer.finish(), Ok(()));
    drop(own);
    let _ = lead(&fills);
}

#[test]
fn a_fetch_that_fails_fails_who_reads_what_is_kept() {
    let fills = fills(1 << 30);
    let Coming {
        writer,
        own: _own,
        mut spooler,
        ..
    } = Coming::begin(&fills, 10, 5);
    let late = behind(&fills);
    drop(writer);
    assert!(matches!(
        spooler.as_mut().unwrap().poll_pieces(&mut context()),
        Poll::Ready(Err(Failure::ABANDONED))
    ));
    drop(spooler);
    assert_eq!(read(&late), ((0..5).collect(), Poll::Ready(Err(SpoolLost))));
    let _ = lead(&fills);
}

#[test]
fn files_take_no_more_room_than_they_may_and_give_it_back() {
    let fills = fills(15 * SPOOL_PIECE);
    let coming = Coming::begin(&fills, 10, 5);
    let stamp = Epochs::default().stamp(1);
    let Join::Leader(mut writer, mut reader) = fills.join(Key(2), &stamp, &[], 0, Timestamp::default()) else {
        panic!("expected to lead")
    };
    writer.publish(
        head(Some(6 * SPOOL_PIECE)),
        Disposition::Store { limit: 1, shared: true },
    );
    assert!(reader.poll_head(&mut context()).is_ready());
    for number in 0..3 {
        writer.push(piece(number));
        assert!(reader.poll_chunk(&mut context()).is_ready());
    }
    assert!(writer.take_spooler().is_none(), "there is no room for it");
    assert_eq!(fills.stats().spooled, 10 * SPOOL_PIECE);
    drop(coming);
    assert_eq!(fills.stats().spooled, 0);
}

#[test]
fn files_are_no_more_than_they_may_be() {
    let fills = fills(1 << 40);
    let all: Vec<_> = (0..=MAX_SPOOLS)
        .map(|key| {
            let stamp = Epochs::default().stamp(1);
            let key = Key(key as u128);
            let Join::Leader(mut writer, reader) = fills.join(key, &stamp, &[], 0, Timestamp::default()) else {
                panic!("expected to lead")
            };
            let length = 6 * SPOOL_PIECE;
            writer.publish(head(Some(length)), Disposition::Store { limit: 1, shared: true });
            (0..2).for_each(|number| writer.push(piece(number)));
            (writer.take_spooler(), writer, reader)
        })
        .collect();
    let kept = all.iter().filter(|(spooler, ..)| spooler.is_some()).count();
    assert_eq!(kept, MAX_SPOOLS);
}

#[test]
fn what_is_for_one_only_is_not_kept() {
    let fills = fills(1 << 30);
    for shared in [true, false] {
        let (mut writer, mut reader) = match shared {
            // Shared, but nobody can join it.
            true => fills.alone(Key(1), &Epochs::default().stamp(1)).unwrap(),
            false => lead(&fills),
        };
        let length = 6 * SPOOL_PIECE;
        writer.publish(head(Some(length)), Disposition::Store { limit: 1, shared });
        assert!(reader.poll_head(&mut context()).is_ready());
        (0..3).for_each(|number| writer.push(piece(number)));
        assert!(writer.take_spooler().is_none());
    }
}
