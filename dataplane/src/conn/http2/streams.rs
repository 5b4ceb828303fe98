//! The streams of a connection that have something to wait for: a handler, or the client's windows.
//!
//! A request answered from memory whose answer the windows allow never becomes one. Invariant: the queue of a stream with
//! a handler is bounded by the handler's side ([`Channel`]); that of an answer from memory points into the store.
//! And a client that keeps windows shut, or opens them by a few bytes now and then, loses what waits for them
//! ([`Windows`]).

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use breakwater_wire::http2::{Connection as Codec, ErrorCode, StreamId};
use bytes::Bytes;
use http::HeaderMap;

use super::output::{BATCH, Output};
use super::windows::{UPLOAD_WINDOWS, Wider, Windows};
use crate::handler::{Channel, Link, Outgoing, Over};
use crate::worker::Worker;

/// Bodies that do not move are looked for this often, milliseconds.
const LOOK_MS: u64 = 1000;

/// The response of a stream cannot be completed.
struct Broken;

struct Stream {
    id: StreamId,
    /// None once a request was answered from memory.
    channel: Option<Rc<Channel>>,
    /// Body bytes that wait for the client's windows.
    queue: VecDeque<Bytes>,
    queued: usize,
    /// The response ends behind the queue,
    ended: bool,
    /// with these field lines, if there are any.
    trailers: Option<Vec<u8>>,
    /// How the client treats the stream's window.
    windows: Windows,
}

impl Stream {
    /// Takes `bytes` from the queue into `output`.
    fn pass(&mut self, mut bytes: usize, output: &mut Output<'_>) {
        self.queued = self.queued.saturating_sub(bytes);
        while bytes > 0
            && let Some(mut piece) = self.queue.pop_front()
        {
            if piece.len() > bytes {
                self.queue.push_front(piece.split_off(bytes));
            }
            bytes -= piece.len();
            output.splice(piece);
        }
    }

    /// Ends the response in a frame of its own.
    fn end(&mut self, codec: &mut Codec, output: &mut Output<'_>) -> Result<(), Broken> {
        let ended = match self.trailers.take() {
            Some(lines) => codec.send_trailers(self.id, &lines, &mut output.frames),
            None => codec.data_frame_header(self.id, 0, true, &mut output.frames).map(drop),
        };
        ended.map_err(|_| Broken)
    }
}

/// The streams of one connection.
#[derive(Default)]
pub(super) struct Streams {
    /// By id.
    open: Vec<Stream>,
    /// With the exchanges, while there are any.
    link: Option<Rc<Link>>,
    exchanges: usize,
    /// How the client treats the connection's window, while bodies wait for it.
    windows: Windows,
    looked_ms: u64,
}

impl Streams {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether a body waits for the client's windows.
    pub(super) fn any_waits(&self) -> bool {
        self.open.iter().any(|stream| stream.queued > 0)
    }

    /// Exchanges that have something to send wake this.
    pub(super) fn listen(&self, waker: &Waker) {
        if let Some(link) = &self.link {
            link.listen(waker);
        }
    }

    /// Whether a request is with a handler.
    pub(super) const fn is_active(&self) -> bool {
        self.exchanges > 0
    }

    /// A request that leaves for a handler: what both sides share.
    pub(super) fn begin_exchange(&mut self, id: StreamId, ended: bool, waker: &Waker) -> Rc<Channel> {
        let link = self.link.get_or_insert_default();
        link.listen(waker);
        let channel = Channel::new(link, id, ended);
        self.exchanges += 1;
        self.insert(id, Some(Rc::clone(&channel)));
        channel
    }

    /// Bytes of an answer from memory that the windows do not allow yet. They end the response.
    pub(super) fn wait(&mut self, id: StreamId, bodies: impl Iterator<Item = Bytes>, codec: &mut Codec) {
        let stream = self.insert(id, None);
        stream.queue.extend(bodies);
        stream.queued = stream.queue.iter().map(Bytes::len).sum();
        stream.ended = true;
        codec.set_waiting(id, true);
    }

    fn insert(&mut self, id: StreamId, channel: Option<Rc<Channel>>) -> &mut Stream {
        let at = self.open.partition_point(|stream| stream.id < id);
        self.open.insert(
            at,
            Stream {
                id,
                channel,
                queue: VecDeque::new(),
                queued: 0,
                ended: false,
                trailers: None,
                windows: Windows::default(),
            },
        );
        &mut self.open[at]
    }

    fn find(&mut self, id: StreamId) -> Option<&mut Stream> {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok()?;
        self.open.get_mut(at)
    }

    /// A piece of a request body. False when nobody wants it.
    pub(super) fn receive(&mut self, id: StreamId, bytes: &[u8], ended: bool) -> bool {
        let Some(channel) = self.find(id).and_then(|stream| stream.channel.as_ref()) else {
            return false;
        };
        channel.push(bytes, ended);
        true
    }

    /// The end of a request body, with the fields behind it.
    pub(super) fn end_request(&mut self, id: StreamId, trailers: Option<HeaderMap>) {
        if let Some(channel) = self.find(id).and_then(|stream| stream.channel.as_ref()) {
            channel.end_with(trailers);
        }
    }

    /// The stream is gone before its time: its work is dropped.
    pub(super) fn abandon(&mut self, id: StreamId, over: Over) {
        if let Some(channel) = self.remove(id) {
            channel.abandon(over);
        }
    }

    /// Forgets a stream, and with the last one everything that streams need.
    fn remove(&mut self, id: StreamId) -> Option<Rc<Channel>> {
        let at = self.open.binary_search_by_key(&id, |stream| stream.id).ok()?;
        let stream = self.open.remove(at);
        if stream.channel.is_some() {
            self.exchanges -= 1;
        }
        if self.open.is_empty() {
            *self = Self::default();
        }
        stream.channel
    }

    /// The connection is gone.
    pub(super) fn abandon_all(&mut self) {
        while let Some(stream) = self.open.last() {
            self.abandon(stream.id, Over::Gone);
        }
    }

    /// Takes what exchanges have: heads leave at once, bodies as windows allow.
    pub(super) fn take_from_exchanges(
        &mut self,
        codec: &mut Codec,
        wider: &mut Wider,
        output: &mut Output<'_>,
        worker: &Worker,
    ) {
        while !output.is_full()
            && let Some(id) = self.link.as_ref().and_then(|link| link.next())
        {
            let room = UPLOAD_WINDOWS.saturating_sub(worker.cells.upload_windows.get());
            let room = u32::try_from(room).unwrap_or(u32::MAX);
            match self.take_from(id, room, codec, output) {
                Ok(false) => {}
                Ok(true) => drop(self.remove(id)),
                Err(Broken) => {
                    codec.send_reset(id, ErrorCode::InternalError, &mut output.frames);
                    self.abandon(id, Over::Gone);
                }
            }
            wider.count(codec.wider(), worker);
        }
    }

    /// True when the response is complete.
    fn take_from(
        &mut self,
        id: StreamId,
        room: u32,
        codec: &mut Codec,
        output: &mut Output<'_>,
    ) -> Result<bool, Broken> {
        let Some(stream) = self.find(id) else { return Ok(false) };
        let Some(channel) = stream.channel.clone() else {
            return Ok(false);
        };
        codec.consume(id, channel.take_consumed(), room, &mut output.frames);
        while let Some(outgoing) = channel.take_outgoing() {
            match outgoing {
                Outgoing::Head { bytes, end } => {
                    codec
                        .send_head(id, &bytes, end, &mut output.frames)
                        .map_err(|_| Broken)?;
                    channel.sent(bytes.len());
                    if end {
                        return Ok(true);
                    }
                }
                Outgoing::Body(piece) => {
                    stream.queued += piece.len();
                    stream.queue.push_back(piece);
                }
                Outgoing::End => stream.ended = true,
                Outgoing::Trailers(lines) => {
                    stream.ended = true;
                    stream.trailers = Some(lines);
                }
                Outgoing::Reset => return Err(Broken),
            }
        }
        if stream.ended && stream.queued == 0 {
            stream.end(codec, output)?;
            return Ok(true);
        }
        codec.set_waiting(id, stream.queued > 0);
        Ok(false)
    }

    /// Puts bodies into `output` as far as windows and the batch allow, in the order of RFC 9218. True when any moved.
    pub(super) fn fill(&mut self, codec: &mut Codec, output: &mut Output<'_>, worker: &Worker) -> bool {
        let now = worker.clock.now_ms();
        let mut moved = false;
        while !output.is_full()
            && let Some(id) = codec.next_writable()
        {
            let Some(stream) = self.find(id) else {
                codec.set_waiting(id, false);
                continue;
            };
            let available = stream.queued.min(BATCH - output.len());
            let last = stream.ended && stream.trailers.is_none() && available == stream.queued;
            let Ok(sent) = codec.data_frame_header(id, available, last, &mut output.frames) else {
                self.abandon(id, Over::Gone);
                continue;
            };
            if sent.bytes == 0 && !sent.ended {
                break;
            }
            moved = true;
            stream.pass(sent.bytes, output);
            stream.windows.moved(sent.bytes, now);
            if let Some(channel) = &stream.channel {
                channel.sent(sent.bytes);
            }
            let mut ended = sent.ended;
            if !ended && stream.queued == 0 {
                codec.set_waiting(id, false);
                // Fields behind the body, and the end of a response that is done before its request, take a frame.
                ended = stream.ended && stream.end(codec, output).is_ok();
            }
            self.windows.moved(sent.bytes, now);
            if ended {
                drop(self.remove(id));
            }
        }
        self.note_waiting(codec, now);
        moved
    }

    /// Notes which bodies wait for the client, and not for their turn or the socket.
    fn note_waiting(&mut self, codec: &Codec, now: u64) {
        let mut any = false;
        for stream in &mut self.open {
            let waits = stream.queued > 0;
            any |= waits;
            stream.windows.waits(waits && codec.window_is_shut(stream.id), now);
        }
        self.windows.waits(any && codec.connection_window_is_shut(), now);
    }

    /// The next [`Streams::reset_stalled`] looks, however shortly after the last.
    pub(super) const fn look_now(&mut self) {
        self.looked_ms = 0;
    }

    /// Resets streams whose body the client did not let move, or hardly, for too long.
    pub(super) fn reset_stalled(&mut self, codec: &mut Codec, output: &mut Output<'_>, worker: &Worker) {
        let now = worker.clock.now_ms();
        if now.saturating_sub(self.looked_ms) < LOOK_MS {
            return;
        }
        self.looked_ms = now;
        let connection = self.windows.too_slow(now);
        while let Some((id, reason)) = self.open.iter_mut().find_map(|stream| {
            let waits = stream.queued > 0;
            let reason = stream.windows.too_slow(now).or(connection)?;
            waits.then_some((stream.id, reason))
        }) {
            worker.cells.refuse(reason);
            codec.send_reset(id, ErrorCode::Cancel, &mut output.frames);
            self.abandon(id, Over::Slow);
        }
        if connection.is_some() {
            // Nothing waits any more: what comes next is judged by itself.
            self.windows = Windows::default();
        }
    }
}
