//! An origin's content on its way through the filters of a route: held to a size, and compressed.
//!
//! Invariant: a worker compresses [`BLOCK`] bytes at most before it turns to its other connections, and what the origin
//! sent is never held back while it has nothing more: events flow.

use std::io;
use std::sync::Arc;

use breakwater_wire::http1::{OwnedResponse, ResponseFraming};
use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;

use super::Filters;
use super::compress::{self, Compression};
use super::encode::{BLOCK, Encoder};
use crate::telemetry::ResourceCells;
use crate::upstream::{OriginError, ResponseBody};

const TOO_LARGE: OriginError = OriginError::Unexpected("its content is larger than this route allows");

/// Content that is read through filters.
pub(crate) struct Content {
    source: Source,
    compressing: Option<Box<Compressing>>,
}

/// What the origin sends.
struct Source {
    body: ResponseBody,
    /// Bytes that may still come.
    left: u64,
}

struct Compressing {
    /// None at the end.
    encoder: Option<Encoder>,
    /// Read, and not compressed yet.
    input: Bytes,
    /// A slice was compressed since others had their turn.
    worked: bool,
    cells: Arc<ResourceCells>,
}

impl Content {
    /// The content of `response` to a request with the fields `asked`. Makes the response's fields and framing those of
    /// what will be read.
    ///
    /// # Errors
    /// It is announced to be larger than the route allows.
    pub(crate) fn new(
        filters: Option<&Filters>,
        asked: &HeaderMap,
        response: &mut OwnedResponse,
        body: ResponseBody,
        cells: &Arc<ResourceCells>,
    ) -> Result<Self, OriginError> {
        let left = filters.and_then(|filters| filters.max_response_body);
        let left = left.unwrap_or(u64::MAX);
        if matches!(response.framing, ResponseFraming::Length(length) if length > left) {
            return Err(TOO_LARGE);
        }
        let compression = filters.and_then(|filters| filters.compression.as_ref());
        Ok(Self {
            source: Source { body, left },
            compressing: compression.and_then(|compression| Compressing::new(compression, asked, response, cells)),
        })
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The content is cut short, or is larger than the route allows.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        match &mut self.compressing {
            None => self.source.next().await,
            Some(compressing) => compressing.next(&mut self.source).await,
        }
    }

    /// The fields that came behind the content, once it has ended. What was compressed on the way has none: they may be
    /// about the bytes as they were.
    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.source.body.take_trailers().filter(|_| self.compressing.is_none())
    }
}

impl Source {
    /// Cancel safe, as the body is.
    async fn next(&mut self) -> Result<Option<Bytes>, OriginError> {
        let piece = self.body.next().await?;
        let length = piece.as_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.checked_sub(length).ok_or(TOO_LARGE)?;
        Ok(piece)
    }
}

impl Compressing {
    fn new(
        compression: &Compression,
        asked: &HeaderMap,
        response: &mut OwnedResponse,
        cells: &Arc<ResourceCells>,
    ) -> Option<Box<Self>> {
        let length = match response.framing {
            ResponseFraming::Length(length) => Some(length),
            // What HEAD is told.
            ResponseFraming::None => response.content_length,
            _ => None,
        };
        let status = response.status.as_u16();
        let coding = compression.judge(asked, status, &mut response.headers, length)?;
        let mut encoder = None;
        if response.framing != ResponseFraming::None {
            encoder = Encoder::new(coding);
            if encoder.is_none() {
                cells.compression_skipped.add(1);
                return None;
            }
            response.framing = ResponseFraming::Chunked;
        }
        response.content_length = None;
        compress::encoded(&mut response.headers, coding);
        Some(Box::new(Self {
            encoder,
            input: Bytes::new(),
            worked: false,
            cells: Arc::clone(cells),
        }))
    }

    async fn next(&mut self, source: &mut Source) -> Result<Option<Bytes>, OriginError> {
        loop {
            let Some(encoder) = &mut self.encoder else {
                return Ok(None);
            };
            if std::mem::take(&mut self.worked) {
                tokio::task::yield_now().await;
            }
            if !self.input.is_empty() {
                let slice = self.input.split_to(self.input.len().min(BLOCK));
                self.worked = true;
                self.cells.compressed_in.add(slice.len() as u64);
                if let Some(out) = encoder.write(&slice).map_err(failed)? {
                    return Ok(Some(self.count(out)));
                }
                continue;
            }
            let piece = match source.next().now_or_never() {
                Some(piece) => piece?,
                None => {
                    if let Some(out) = encoder.flush().map_err(failed)? {
                        return Ok(Some(self.count(out)));
                    }
                    source.next().await?
                }
            };
            match (piece, self.encoder.take()) {
                (Some(piece), encoder) => {
                    self.input = piece;
                    self.encoder = encoder;
                }
                (None, Some(encoder)) => {
                    let rest = encoder.finish().map_err(failed)?;
                    return Ok(Some(self.count(rest)));
                }
                (None, None) => return Ok(None),
            }
        }
    }

    fn count(&self, out: Bytes) -> Bytes {
        self.cells.compressed_out.add(out.len() as u64);
        out
    }
}

/// Writing to memory fails when there is none.
fn failed(_: io::Error) -> OriginError {
    OriginError::Unexpected("its content cannot be compressed")
}
