//! What of the input is still to come: whether a client has taken back a request that is being read.
//!
//! A client that opens streams and resets them at once makes a server work for nobody. Mostly the reset lies behind the
//! request, among the bytes that were read with it, and to look there is far cheaper than what would be done else.
//! Invariant: the codec's state does not depend on it. The reset is a frame like any other when its turn comes.

use super::Connection;
use crate::http2::StreamId;
use crate::http2::frame::{Frame, HEADER, RST_STREAM};

/// Frames that are looked at for one request at most: more than streams may be open.
const LOOK: usize = 128;

/// Bytes of a RST_STREAM's payload.
const CODE: usize = 4;

impl Connection {
    /// Whether `input`, which begins with a frame, has a RST_STREAM for this stream.
    ///
    /// What was found to have none for any stream is not looked at again, so that for clients that reset nothing each
    /// frame costs one look.
    pub(super) fn is_reset_within(&mut self, input: &[u8], stream: StreamId) -> bool {
        let mut at = self.without_reset;
        let mut none_yet = true;
        for _ in 0..LOOK {
            let rest = input.get(at..).unwrap_or_default();
            let Some(frame) = Frame::parse(rest) else { break };
            if frame.kind == RST_STREAM {
                if frame.stream == stream && frame.len == CODE && rest.len() >= HEADER + CODE {
                    return true;
                }
                none_yet = false;
            }
            at += HEADER + frame.len;
            if none_yet {
                self.without_reset = at;
            }
        }
        false
    }
}
