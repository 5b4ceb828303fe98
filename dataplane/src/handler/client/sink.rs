//! A client that is none: takes a response because it is to be stored.

use bytes::Bytes;
use http::{HeaderMap, header};

use super::http2::split_head;
use super::{Client, ClientError, RequestBody, ResponseHead};

/// Takes a response to its end, and keeps its content if that is wanted. Leaves early when the response will not be
/// stored: nobody reads it.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    /// Content is kept, up to so many bytes.
    most: Option<usize>,
    kept: Vec<u8>,
    sent: u64,
    answered: Option<u16>,
    /// Why it left.
    left: Option<&'static str>,
}

impl Sink {
    /// A sink that keeps up to `most` bytes of content, or none of it.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// Why it did not take the whole.
    pub(crate) const fn left(&self) -> Option<&'static str> {
        self.left
    }

    /// The content that was kept.
    pub(crate) fn into_content(self) -> Vec<u8> {
        self.kept
    }

    fn leave(&mut self, why: &'static str) -> Result<(), ClientError> {
        self.left = Some(why);
        Err(ClientError::Gone)
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), ClientError> {
        self.sent = self.sent.saturating_add(piece.len() as u64);
        let Some(most) = self.most else { return Ok(()) };
        if self.kept.len().saturating_add(piece.len()) > most {
            return self.leave("it is too large");
        }
        self.kept.extend_from_slice(piece);
        Ok(())
    }
}

impl Client for Sink {
    fn has_body(&self) -> bool {
        false
    }

    fn answered(&self) -> Option<u16> {
        self.answered
    }

    fn close_after(&mut self) {}

    fn keeps_alive(&self) -> bool {
        true
    }

    async fn next_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        Ok(None)
    }

    fn unread(&mut self, _: Bytes) {}

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        None
    }

    fn split_body(&mut self) -> Option<RequestBody> {
        None
    }

    async fn send_interim(&mut self, _: u16, _: &HeaderMap) -> Result<(), ClientError> {
        Ok(())
    }

    async fn send_head(&mut self, head: ResponseHead<'_>) -> Result<(), ClientError> {
        self.answered = Some(head.status);
        // Other codings than gzip were not asked for, and gzip shows itself.
        let coded = head.fields.get(header::CONTENT_ENCODING).is_some_and(|coding| {
            !["gzip", "x-gzip", "identity"]
                .iter()
                .any(|known| coding.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
        });
        if self.most.is_some() && coded {
            return self.leave("it has a content coding that was not asked for");
        }
        let stored = head.cache_status.is_some_and(|status| status.stored);
        if self.most.is_none() && !stored && head.status < 400 {
            return self.leave("it may not be stored");
        }
        Ok(())
    }

    async fn send_body(&mut self, piece: Bytes) -> Result<(), ClientError> {
        self.keep(&piece)
    }

    async fn finish(&mut self, _: Option<HeaderMap>) -> Result<(), ClientError> {
        Ok(())
    }

    async fn send_whole(&mut self, start: &[u8], rest: Vec<Bytes>, _: u64) -> Result<(), ClientError> {
        let (head, content) = split_head(start);
        self.begin_whole(head, 0).await?;
        self.keep(content)?;
        rest.iter().try_for_each(|piece| self.keep(piece))
    }

    async fn begin_whole(&mut self, head: &[u8], _: u64) -> Result<(), ClientError> {
        // `HTTP/1.1 200 ...`: written by us.
        self.answered = head
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}
