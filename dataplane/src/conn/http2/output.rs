//! What a connection writes: frames put together in the worker's buffer, with body pieces spliced in where they lie.

use std::cell::RefMut;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::conn::Transport;
use crate::pace::{Least, Pace};

/// Output is put together up to this size before it is written, bytes.
pub(super) const BATCH: usize = 64 * 1024;

/// Pieces up to this size are copied: cheaper than one more slice for the kernel.
const COPY: usize = 1024;

/// Slices handed to the kernel at once.
const SLICES: usize = 64;

/// A piece of a body, and how many bytes of frames come before it.
type Splice = (usize, Bytes);

/// Output that is being put together.
pub(super) struct Output<'w> {
    /// The worker's buffer: frames, without the spliced pieces.
    pub(super) frames: RefMut<'w, Vec<u8>>,
    splices: Vec<Splice>,
    spliced: usize,
}

impl<'w> Output<'w> {
    pub(super) fn new(mut frames: RefMut<'w, Vec<u8>>) -> Self {
        frames.clear();
        Self {
            frames,
            splices: Vec::new(),
            spliced: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len() + self.spliced
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= BATCH
    }

    /// A piece of a body.
    pub(super) fn splice(&mut self, piece: Bytes) {
        if piece.len() <= COPY {
            self.frames.extend_from_slice(&piece);
        } else {
            self.spliced += piece.len();
            self.splices.push((self.frames.len(), piece));
        }
    }

    /// Writes what the socket takes; returns what is left.
    pub(super) fn write<S: Transport>(self, stream: &mut S, cx: &mut Context<'_>) -> Option<Unsent> {
        if self.len() == 0 {
            return None;
        }
        let mut sent = 0;
        // An error shows itself again when the rest is sent.
        let written = write_all(stream, cx, &self.frames, &self.splices, &mut sent);
        (!matches!(written, Poll::Ready(Ok(())))).then(|| Unsent {
            frames: self.frames.clone(),
            splices: self.splices,
            sent,
            pace: Pace::new(Least::SEND),
        })
    }
}

/// Output that the kernel has not taken yet.
pub(super) struct Unsent {
    frames: Vec<u8>,
    splices: Vec<Splice>,
    sent: usize,
    pub(super) pace: Pace,
}

impl Unsent {
    pub(super) const fn new(frames: Vec<u8>) -> Self {
        Self {
            frames,
            splices: Vec::new(),
            sent: 0,
            pace: Pace::new(Least::SEND),
        }
    }

    /// Goes on writing. The second value says how many bytes left.
    pub(super) fn poll_write<S: Transport>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> (Poll<io::Result<()>>, usize) {
        let before = self.sent;
        let written = write_all(stream, cx, &self.frames, &self.splices, &mut self.sent);
        (written, self.sent - before)
    }
}

/// Ready when everything behind `sent` was taken, and handed on by a layer that may hold it back, such as TLS.
fn write_all<S: Transport>(
    stream: &mut S,
    cx: &mut Context<'_>,
    frames: &[u8],
    splices: &[Splice],
    sent: &mut usize,
) -> Poll<io::Result<()>> {
    while splices.is_empty() {
        let rest = frames.get(*sent..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(stream).poll_flush(cx);
        }
        *sent += wrote(ready!(Pin::new(&mut *stream).poll_write(cx, rest)))?;
    }
    loop {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = slices_behind(frames, splices, *sent, &mut slices);
        let written = match &slices[..count] {
            [] => return Pin::new(stream).poll_flush(cx),
            [only] => Pin::new(&mut *stream).poll_write(cx, only),
            several => Pin::new(&mut *stream).poll_write_vectored(cx, several),
        };
        *sent += wrote(ready!(written))?;
    }
}

fn wrote(written: io::Result<usize>) -> io::Result<usize> {
    match written? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        n => Ok(n),
    }
}

/// Fills `slices` with what comes behind `sent` bytes; returns how many it filled.
fn slices_behind<'b>(frames: &'b [u8], splices: &'b [Splice], sent: usize, slices: &mut [IoSlice<'b>]) -> usize {
    let mut skip = sent;
    let mut free = slices.iter_mut();
    let mut count = 0;
    let mut add = |piece: &'b [u8]| {
        if let Some(rest) = piece.get(skip..).filter(|rest| !rest.is_empty())
            && let Some(slot) = free.next()
        {
            *slot = IoSlice::new(rest);
            count += 1;
        }
        skip = skip.saturating_sub(piece.len());
    };
    let mut at = 0;
    for (offset, piece) in splices {
        add(frames.get(at..*offset).unwrap_or_default());
        add(piece);
        at = *offset;
    }
    add(frames.get(at..).unwrap_or_default());
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_continue_behind_what_was_sent_in_frames_and_in_pieces() {
        let splices = [(2, Bytes::from_static(b"one")), (4, Bytes::from_static(b"two"))];
        let whole = b"aaonebbtwocc";
        for sent in 0..=whole.len() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = slices_behind(b"aabbcc", &splices, sent, &mut slices);
            let rest: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(rest, &whole[sent..]);
        }
    }

    #[test]
    fn no_more_slices_are_filled_than_there_are() {
        let splices: Vec<_> = (0..9).map(|n| (n, Bytes::from_static(b"x"))).collect();
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(slices_behind(&[0; 9], &splices, 0, &mut slices), 4);
        assert!(slices.iter().all(|slice| slice.len() == 1));
    }
}
