//! The rest of a stored response whose content turns out not to be readable while it is sent: from the origin, by range.
//!
//! Invariant: what is joined has the same strong entity tag and length as what was sent, and is the range that was asked
//! for; all else is of no use, and the answer is cut short as if nothing had been tried.

use breakwater_cache::object::Object;
use breakwater_cache::policy::validate;
use breakwater_snapshot::unit::{FirstLevel, Tiering};
use breakwater_wire::http1::OwnedResponse;
use breakwater_wire::range::ContentRange;
use http::{HeaderValue, header};

use super::Request;
use crate::handler::client::Client;
use crate::handler::{Failure, forward, proxy};
use crate::upstream::{Body, OriginError, ResponseBody};

impl Request<'_> {
    /// Sends the bytes from `at` to `end` of an object's content, behind a head and content that are sent.
    ///
    /// # Errors
    /// The origin does not have them, or not any more.
    pub(super) async fn send_rest<C: Client>(
        &self,
        client: &mut C,
        object: &Object,
        at: u64,
        end: u64,
    ) -> Result<(), Failure> {
        let gone = || OriginError::Unexpected("what is stored of it cannot be read, nor fetched again");
        let mut body = self.rest(object, at, end).await.ok_or_else(gone)?;
        let mut left = end - at;
        while left > 0 {
            let mut piece = body.next().await?.ok_or_else(gone)?;
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= piece.len() as u64;
            client.send_body(piece).await?;
        }
        // What ends the message, so that the connection can be used again.
        let _ = body.next().await;
        tracing::debug!(
            path = self.job.path,
            at,
            end,
            "content that could not be read was fetched again"
        );
        Ok(())
    }

    async fn rest(&self, object: &Object, at: u64, end: u64) -> Option<ResponseBody> {
        object.meta.strong_tag()?;
        // What is compressed here has other bytes than the origin's.
        if self.site.compresses() || object.status != 200 || !self.may_ask_origin() {
            return None;
        }
        let last = end.checked_sub(1)?;
        let mut fields = forward::fields(self.job, self.peer).ok()?;
        validate::rest(&mut fields, object, at, Some(last));
        let head = forward::head(&self.job.target, "GET", fields, Body::None);
        let (by, result) = self.job.local().request(&head, &self.job.asker(), async |_| {}).await;
        let result = result.map_err(Failure::from);
        proxy::count(self.job, by, &result);
        let (response, body) = result.ok()?;
        let range = ContentRange {
            first: at,
            last,
            complete: Some(object.body.len()),
        };
        is_of(object, &response, range).then_some(body)
    }

    /// Whether the origin is for this node to ask.
    fn may_ask_origin(&self) -> bool {
        match &self.site.tiering {
            Tiering::Parent(parent) => match parent.level {
                FirstLevel::Nodes(_) => parent.fallback || self.job.asked_by.is_some(),
                FirstLevel::Servers(_) => true,
            },
            Tiering::Local | Tiering::Owner => true,
        }
    }
}

/// Whether a response is this range of the object's content.
fn is_of(object: &Object, response: &OwnedResponse, range: ContentRange) -> bool {
    let fields = &response.headers;
    let says = ContentRange::parse_only(fields.get_all(header::CONTENT_RANGE).iter().map(HeaderValue::as_bytes));
    let tag = fields.get(header::ETAG).map(HeaderValue::as_bytes);
    response.status.as_u16() == 206 && says == Some(range) && tag.is_some() && object.meta.strong_tag() == tag
}
