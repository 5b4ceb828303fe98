//! WebSocket frames: what the tracker sees does not depend on where the stream is cut, nothing passes that it
//! refused, and where it stops a control frame may be put in.
//!
//! The first byte chooses the rules, the second the size of the pieces; the rest is the stream.
#![no_main]

use breakwater_wire::websocket::frame::{FrameTracker, MAX_HELD, Rules, Sender, Stop, Until};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Default, PartialEq)]
struct Seen {
    consumed: usize,
    messages: u64,
    frames: u64,
    charged: u64,
    payload: u64,
    stop: Option<Stop>,
}

fn follow(rules: &Rules, stream: &[u8], piece: usize, charge: u32) -> (FrameTracker, Seen) {
    let mut tracker = FrameTracker::new();
    let mut seen = Seen::default();
    let mut end = 0;
    while end < stream.len() {
        end = (end + piece).min(stream.len());
        let left = charge - seen.charged as u32;
        let input = &stream[seen.consumed..end];
        let fed = tracker.feed(
            rules,
            input,
            Until {
                charge: left,
                ..Until::END
            },
        );
        assert!(fed.consumed <= input.len() && fed.boundary.is_none_or(|at| at <= fed.consumed));
        assert!(fed.charged <= left && fed.charged <= fed.frames && fed.payload <= fed.consumed as u64);
        if fed.stop == Stop::More {
            assert!(input.len() - fed.consumed <= MAX_HELD);
        } else {
            assert!(tracker.at_boundary() && fed.boundary == Some(fed.consumed));
        }
        seen.consumed += fed.consumed;
        seen.messages += u64::from(fed.messages);
        seen.frames += u64::from(fed.frames);
        seen.charged += u64::from(fed.charged);
        seen.payload += fed.payload;
        seen.stop = Some(fed.stop);
    }
    (tracker, seen)
}

fuzz_target!(|data: &[u8]| {
    let &[choice, piece, ref stream @ ..] = data else {
        return;
    };
    let rules = Rules {
        sender: if choice & 1 == 0 {
            Sender::Client
        } else {
            Sender::Server
        },
        compression: choice & 2 != 0,
        max_frame: if choice & 4 == 0 { 200 } else { u64::MAX },
        max_message: if choice & 8 == 0 { 300 } else { u64::MAX },
    };
    let charge = if choice & 16 == 0 { u32::MAX } else { 3 };
    let whole = follow(&rules, stream, usize::MAX / 2, charge);
    assert_eq!(follow(&rules, stream, 1, charge), whole);
    assert_eq!(follow(&rules, stream, usize::from(piece).max(1), charge), whole);

    // What was passed on is good by itself.
    let (_, passed) = follow(&rules, &stream[..whole.1.consumed], usize::MAX / 2, u32::MAX);
    assert_eq!(passed.consumed, whole.1.consumed);
    assert!(!matches!(passed.stop, Some(Stop::Violation(_))));

    // A tracker told to stop at a boundary passes no byte of another frame.
    let mut tracker = FrameTracker::new();
    let fed = tracker.feed(
        &rules,
        stream,
        Until {
            boundary: true,
            ..Until::END
        },
    );
    assert_eq!((fed.consumed, fed.stop), (0, Stop::Boundary));
});
