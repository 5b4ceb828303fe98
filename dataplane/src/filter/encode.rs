//! Encoders of the content codings (RFC 9110 section 8.4.1): bytes in, bytes out when there are enough.
//!
//! Invariant: a call compresses [`BLOCK`] bytes at most, which takes a millisecond at worst; and so many encoders at
//! most exist in one worker, because each takes up to a mebibyte.

use std::cell::Cell;
use std::io::{self, Write};

use breakwater_snapshot::unit::Coding;
use brotli::CompressorWriter;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::write::GzEncoder;

/// Encoders at once in one worker. Further responses go as they are.
const MAX_ENCODERS: usize = 128;

/// As small as 6 on text, in two thirds of its time.
const GZIP_LEVEL: u32 = 5;

/// The highest that keeps a block below a millisecond.
const BROTLI_QUALITY: i32 = 4;

const ZSTD_LEVEL: i32 = 3;

/// The window of brotli and zstd is 256 KiB: what a response gains from a larger one is not worth the memory.
const WINDOW_LOG: u8 = 18;

/// Brotli and zstd gather far more before they compress it all at once, for milliseconds, and take three times the
/// memory for that. Ended after so many bytes, blocks take a millisecond at most and are one or two per cent larger.
pub(super) const BLOCK: usize = 16 * 1024;

/// Output is handed on when there is this much, or when it is flushed. Bytes.
const ENOUGH: usize = 8 * 1024;

thread_local! {
    /// A worker is one thread.
    static ENCODERS: Cell<usize> = const { Cell::new(0) };
}

/// An encoder of one response.
pub(super) struct Encoder {
    kind: Kind,
    /// Bytes written since the last flush.
    held: usize,
}

enum Kind {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// It was finished, or is one too many.
    Done,
}

impl Encoder {
    /// None if there are too many, or there is no memory.
    pub(super) fn new(coding: Coding) -> Option<Self> {
        if ENCODERS.get() >= MAX_ENCODERS {
            return None;
        }
        let kind = match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Kind::Gzip(Box::new(GzEncoder::new(Vec::new(), level)))
            }
            Coding::Brotli => {
                let parameters = BrotliEncoderParams {
                    quality: BROTLI_QUALITY,
                    lgwin: i32::from(WINDOW_LOG),
                    ..BrotliEncoderParams::default()
                };
                Kind::Brotli(Box::new(CompressorWriter::with_params(Vec::new(), ENOUGH, &parameters)))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(u32::from(WINDOW_LOG)).ok()?;
                Kind::Zstd(encoder)
            }
        };
        ENCODERS.set(ENCODERS.get() + 1);
        Some(Self { kind, held: 0 })
    }

    /// Encodes a piece of at most [`BLOCK`] bytes; gives what came out if it is enough to be worth sending.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<Option<Bytes>> {
        if self.held + piece.len() > BLOCK && self.kind.gathers() {
            self.kind.encoder()?.flush()?;
            self.held = 0;
        }
        self.held += piece.len();
        self.kind.encoder()?.write_all(piece)?;
        Ok(self.kind.take(ENOUGH))
    }

    /// Gives all that was written so far, in a form that can be decoded.
    pub(super) fn flush(&mut self) -> io::Result<Option<Bytes>> {
        if std::mem::take(&mut self.held) > 0 {
            self.kind.encoder()?.flush()?;
        }
        Ok(self.kind.take(1))
    }

    /// Gives the rest.
    pub(super) fn finish(mut self) -> io::Result<Bytes> {
        match std::mem::replace(&mut self.kind, Kind::Done) {
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Brotli(encoder) => Ok(encoder.into_inner()),
            Kind::Zstd(encoder) => encoder.finish(),
            Kind::Done => Ok(Vec::new()),
        }
        .map(Bytes::from)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        ENCODERS.set(ENCODERS.get().saturating_sub(1));
    }
}

impl Kind {
    fn encoder(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Self::Gzip(encoder) => Ok(&mut **encoder),
            Self::Brotli(encoder) => Ok(&mut **encoder),
            Self::Zstd(encoder) => Ok(encoder),
            Self::Done => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Whether it compresses when it has much rather than when it is given something.
    const fn gathers(&self) -> bool {
        matches!(self, Self::Brotli(_) | Self::Zstd(_))
    }

    /// What came out so far, if it is at least `enough`. A copy, so that what is stored owns no spare room.
    fn take(&mut self, enough: usize) -> Option<Bytes> {
        let out = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Done => return None,
        };
        (out.len() >= enough).then(|| {
            let bytes = Bytes::copy_from_slice(out);
            out.clear();
            bytes
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    /// As much as can be decoded: the end may be missing.
    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut reader: Box<dyn Read + '_> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        };
        let (mut all, mut some) = (Vec::new(), [0; 512]);
        while let Ok(n @ 1..) = reader.read(&mut some) {
            all.extend_from_slice(&some[..n]);
        }
        all
    }

    fn text(words: usize) -> Vec<u8> {
        (0..words)
            .flat_map(|i| format!("word {} ", i * 7919 % 1000).into_bytes())
            .collect()
    }

    #[test]
    fn what_goes_in_comes_out_smaller_and_decodes_to_the_same() {
        let text = text(50_000);
        for coding in ALL {
            let mut encoder = Encoder::new(coding).unwrap();
            let mut out = Vec::new();
            for piece in text.chunks(10_000) {
                out.extend(encoder.write(piece).unwrap().into_iter().flatten());
            }
            out.extend(encoder.finish().unwrap());
            assert!(out.len() < text.len() / 2, "{coding:?}: {}", out.len());
            assert_eq!(decoded(coding, &out), text, "{coding:?}");
        }
    }

    #[test]
    fn what_is_flushed_can_be_decoded_before_the_end() {
        for coding in ALL {
            let mut encoder = Encoder::new(coding).unwrap();
            let mut out = Vec::new();
            for (count, piece) in ["first", "second"].into_iter().enumerate() {
                assert_eq!(encoder.write(piece.as_bytes()).unwrap(), None, "too little to send");
                out.extend(encoder.flush().unwrap().unwrap());
                assert_eq!(
                    decoded(coding, &out),
                    ["first", "firstsecond"][count].as_bytes(),
                    "{coding:?}"
                );
                assert_eq!(encoder.flush().unwrap(), None, "nothing new");
            }
        }
    }

    #[test]
    fn nothing_encodes_to_something_that_decodes_to_nothing() {
        for coding in ALL {
            let out = Encoder::new(coding).unwrap().finish().unwrap();
            assert!(!out.is_empty() && decoded(coding, &out).is_empty(), "{coding:?}");
        }
    }

    #[test]
    fn a_worker_has_so_many_encoders_at_most() {
        let mut held: Vec<_> = (0..MAX_ENCODERS).map(|_| Encoder::new(Coding::Zstd).unwrap()).collect();
        assert!(Encoder::new(Coding::Gzip).is_none());
        held.pop().unwrap().finish().unwrap();
        assert!(Encoder::new(Coding::Gzip).is_some());
        drop(held);
        assert_eq!(ENCODERS.get(), 0);
    }
}
