use super::*;

const CLIENT: Rules = Rules {
    sender: Sender::Client,
    compression: false,
    max_frame: 1 << 20,
    max_message: 1 << 20,
};
const SERVER: Rules = Rules {
    sender: Sender::Server,
    ..CLIENT
};

const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;

/// A frame with this first byte, masked with zeros if a client sends it.
fn frame(rules: &Rules, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mask = if rules.sender == Sender::Client { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => bytes.push(mask | short as u8),
        medium @ 126..=0xFFFF => {
            bytes.push(mask | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(mask | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    if mask != 0 {
        bytes.extend([0; 4]);
    }
    bytes.extend(payload);
    bytes
}

fn violation(rules: &Rules, bytes: &[u8]) -> Option<Violation> {
    match FrameTracker::new().feed(rules, bytes, Until::END).stop {
        Stop::Violation(violation) => Some(violation),
        _ => None,
    }
}

/// Feeds `stream` in pieces that end at `cuts`, as a relay does: what is left over comes again.
fn feed_in_pieces(rules: &Rules, stream: &[u8], cuts: &[usize]) -> (FrameTracker, Fed) {
    let mut tracker = FrameTracker::new();
    let mut total = tracker.feed(rules, &[], Until::END);
    let mut from = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        let fed = tracker.feed(rules, &stream[from..cut], Until::END);
        if fed.stop == Stop::More {
            assert!(cut - from - fed.consumed <= MAX_HELD);
        }
        total.boundary = fed.boundary.map(|at| from + at).or(total.boundary);
        from += fed.consumed;
        total.consumed = from;
        total.messages += fed.messages;
        total.frames += fed.frames;
        total.charged += fed.charged;
        total.payload += fed.payload;
        total.stop = fed.stop;
    }
    (tracker, total)
}

#[test]
fn the_state_of_a_direction_is_24_bytes() {
    assert_eq!(size_of::<FrameTracker>(), 24);
}

#[test]
fn frames_of_every_length_encoding_are_followed() {
    for rules in [CLIENT, SERVER] {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let bytes = frame(&rules, FIN | TEXT, &vec![7; length]);
            let mut tracker = FrameTracker::new();
            let fed = tracker.feed(&rules, &bytes, Until::END);
            let charged = 1;
            assert_eq!(
                fed,
                Fed {
                    consumed: bytes.len(),
                    boundary: Some(bytes.len()),
                    messages: 1,
                    frames: 1,
                    charged,
                    payload: length as u64,
                    stop: Stop::More
                },
                "{length} bytes from the {:?}",
                rules.sender
            );
            assert!(tracker.at_boundary() && !tracker.in_message());
        }
    }
}

#[test]
fn it_does_not_matter_where_a_stream_is_cut() {
    for rules in [CLIENT, SERVER] {
        let mut good = Vec::new();
        good.extend(frame(&rules, FIN | TEXT, b"hello"));
        good.extend(frame(&rules, TEXT, &[1; 130]));
        good.extend(frame(&rules, FIN | 9, b"ping"));
        good.extend(frame(&rules, CONTINUATION, b""));
        good.extend(frame(&rules, FIN | CONTINUATION, &[2; 140]));
        let mut closed = good.clone();
        closed.extend(frame(&rules, FIN | 8, b"\x03\xe9bye"));
        closed.extend(frame(&rules, FIN | TEXT, b"late"));
        let mut broken = good.clone();
        broken.extend(frame(&rules, FIN | 3, b"reserved"));
        for stream in [&good, &closed, &broken] {
            let whole = feed_in_pieces(&rules, stream, &[]);
            for cut in 0..=stream.len() {
                assert_eq!(feed_in_pieces(&rules, stream, &[cut]), whole, "cut at {cut}");
            }
            let everywhere: Vec<usize> = (0..stream.len()).collect();
            assert_eq!(feed_in_pieces(&rules, stream, &everywhere), whole);
        }
    }
}

#[test]
fn a_frame_from_the_wrong_side_of_the_mask_is_refused() {
    assert_eq!(
        violation(&CLIENT, &frame(&SERVER, FIN | TEXT, b"x")),
        Some(Violation::Unmasked)
    );
    assert_eq!(
        violation(&SERVER, &frame(&CLIENT, FIN | TEXT, b"x")),
        Some(Violation::Masked)
    );
    assert_eq!(violation(&CLIENT, &frame(&CLIENT, FIN | TEXT, b"x")), None);
    assert_eq!(violation(&SERVER, &frame(&SERVER, FIN | TEXT, b"x")), None);
}

#[test]
fn every_opcode_is_followed_or_refused() {
    for opcode in 0..=15 {
        let expected = match opcode {
            0 => Some(Violation::UnexpectedContinuation),
            1 | 2 | 8 | 9 | 10 => None,
            _ => Some(Violation::ReservedOpcode),
        };
        assert_eq!(
            violation(&SERVER, &frame(&SERVER, FIN | opcode, b"ab")),
            expected,
            "opcode {opcode}"
        );
    }
}

#[test]
fn reserved_bits_are_refused_but_for_compression_where_it_belongs() {
    let compressed = Rules {
        compression: true,
        ..SERVER
    };
    for bits in [0x10, 0x20, 0x40, 0x70] {
        let first = frame(&SERVER, FIN | bits | TEXT, b"x");
        assert_eq!(violation(&SERVER, &first), Some(Violation::ReservedBit));
        let expected = (bits != 0x40).then_some(Violation::ReservedBit);
        assert_eq!(violation(&compressed, &first), expected, "{bits:#x}");
    }
    let mut fragments = frame(&SERVER, 0x40 | TEXT, b"x");
    fragments.extend(frame(&SERVER, FIN | 0x40, b"y"));
    assert_eq!(violation(&compressed, &fragments), Some(Violation::ReservedBit));
    assert_eq!(
        violation(&compressed, &frame(&SERVER, FIN | 0x40 | 9, b"x")),
        Some(Violation::ReservedBit)
    );
}

#[test]
fn control_frames_are_whole_and_short() {
    for opcode in [8, 9, 10] {
        assert_eq!(
            violation(&SERVER, &frame(&SERVER, opcode, b"ab")),
            Some(Violation::ControlFragmented)
        );
        let longest = frame(&SERVER, FIN | opcode, &[3; 125]);
        assert_eq!(violation(&SERVER, &longest), None);
        let longer = frame(&SERVER, FIN | opcode, &[3; 126]);
        assert_eq!(violation(&SERVER, &longer), Some(Violation::ControlTooLong));
    }
    assert_eq!(
        violation(&SERVER, &frame(&SERVER, FIN | 8, b"a")),
        Some(Violation::CloseLength)
    );
    assert_eq!(violation(&SERVER, &frame(&SERVER, FIN | 9, b"a")), None);
}

#[test]
fn a_message_does_not_begin_within_another() {
    let mut bytes = frame(&SERVER, TEXT, b"x");
    bytes.extend(frame(&SERVER, FIN | 10, b"pong"));
    assert_eq!(violation(&SERVER, &bytes), None);
    bytes.extend(frame(&SERVER, FIN | TEXT, b"y"));
    assert_eq!(violation(&SERVER, &bytes), Some(Violation::ExpectedContinuation));
}

#[test]
fn lengths_are_encoded_as_short_as_they_can_be() {
    for bad in [
        &[0x82, 126, 0, 125][..],
        &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(violation(&SERVER, bad), Some(Violation::Length));
    }
    assert_eq!(
        violation(&SERVER, &[0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        Some(Violation::FrameTooBig)
    );
}

#[test]
fn the_largest_length_does_not_overflow_an_unlimited_tracker() {
    let unlimited = Rules {
        max_frame: u64::MAX,
        max_message: u64::MAX,
        ..SERVER
    };
    let mut tracker = FrameTracker::new();
    let fed = tracker.feed(
        &unlimited,
        &[0x02, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        Until::END,
    );
    assert_eq!((fed.consumed, fed.stop), (11, Stop::More));
    assert!(tracker.in_message() && !tracker.at_boundary());
}

#[test]
fn frames_and_messages_are_held_to_their_sizes() {
    let rules = Rules {
        max_frame: 10,
        max_message: 15,
        ..SERVER
    };
    assert_eq!(violation(&rules, &frame(&rules, FIN | TEXT, &[0; 10])), None);
    assert_eq!(
        violation(&rules, &frame(&rules, FIN | TEXT, &[0; 11])),
        Some(Violation::FrameTooBig)
    );
    let mut message = frame(&rules, TEXT, &[0; 10]);
    message.extend(frame(&rules, FIN | 9, &[0; 100]));
    let mut fits = message.clone();
    fits.extend(frame(&rules, FIN, &[0; 5]));
    fits.extend(frame(&rules, FIN | TEXT, &[0; 10]));
    assert_eq!(violation(&rules, &fits), None);
    message.extend(frame(&rules, FIN, &[0; 6]));
    assert_eq!(violation(&rules, &message), Some(Violation::MessageTooBig));
    assert_eq!(Violation::MessageTooBig.close_code(), 1009);
    assert_eq!(Violation::FrameTooBig.close_code(), 1009);
    assert_eq!(Violation::Unmasked.close_code(), 1002);
}

#[test]
fn nothing_of_a_bad_frame_is_passed_and_nothing_after_it() {
    let mut bytes = frame(&CLIENT, FIN | TEXT, b"good");
    let good = bytes.len();
    bytes.extend(frame(&CLIENT, FIN | 0x10 | TEXT, b"bad"));
    let mut tracker = FrameTracker::new();
    let fed = tracker.feed(&CLIENT, &bytes, Until::END);
    assert_eq!((fed.consumed, fed.boundary, fed.messages), (good, Some(good), 1));
    assert_eq!(fed.stop, Stop::Violation(Violation::ReservedBit));
    let again = tracker.feed(&CLIENT, &frame(&CLIENT, FIN | TEXT, b"good"), Until::END);
    assert_eq!(
        (again.consumed, again.stop),
        (0, Stop::Violation(Violation::ReservedBit))
    );
}

#[test]
fn the_code_of_a_close_frame_is_read_under_its_mask() {
    for (payload, code) in [(&b""[..], None), (b"\x0f\xa0bye", Some(4000))] {
        let mut tracker = FrameTracker::new();
        let fed = tracker.feed(&SERVER, &frame(&SERVER, FIN | 8, payload), Until::END);
        assert_eq!(
            (fed.stop, tracker.close_code(), tracker.is_closed()),
            (Stop::Closed, code, true)
        );
    }
    let close = close_frame(1001, "bye", Some([0xAA, 0xBB, 0xCC, 0xDD]));
    let mut tracker = FrameTracker::new();
    for length in 0..8 {
        let fed = tracker.feed(&CLIENT, &close.as_bytes()[..length], Until::END);
        assert_eq!((fed.consumed, tracker.close_code()), (0, None));
    }
    let fed = tracker.feed(&CLIENT, &close.as_bytes()[..8], Until::END);
    assert_eq!(
        (fed.consumed, tracker.close_code(), tracker.is_closed()),
        (8, Some(1001), false)
    );
}

#[test]
fn it_stops_where_it_is_told_to() {
    let mut bytes = frame(&SERVER, FIN | TEXT, b"one");
    let first = bytes.len();
    bytes.extend(frame(&SERVER, FIN | TEXT, b"two"));
    let second = bytes.len();
    bytes.extend(frame(&SERVER, FIN | 8, b""));

    let mut tracker = FrameTracker::new();
    let boundary = Until {
        boundary: true,
        ..Until::END
    };
    assert_eq!(tracker.feed(&SERVER, &bytes[..1], Until::END).consumed, 0);
    let fed = tracker.feed(&SERVER, &bytes, boundary);
    assert_eq!((fed.consumed, fed.stop), (0, Stop::Boundary));
    assert_eq!(tracker.feed(&SERVER, &bytes[..3], Until::END).consumed, 3);
    let fed = tracker.feed(&SERVER, &bytes[3..], boundary);
    assert_eq!((fed.consumed, fed.stop), (first - 3, Stop::Boundary));

    let fed = FrameTracker::new().feed(
        &SERVER,
        &bytes,
        Until {
            charge: 1,
            ..Until::END
        },
    );
    assert_eq!((fed.consumed, fed.charged, fed.stop), (first, 1, Stop::Charge));
    let fed = FrameTracker::new().feed(
        &SERVER,
        &bytes,
        Until {
            charge: 2,
            before_close: true,
            ..Until::END
        },
    );
    assert_eq!((fed.consumed, fed.charged, fed.stop), (second, 2, Stop::BeforeClose));
    let fed = FrameTracker::new().feed(
        &SERVER,
        &bytes,
        Until {
            charge: 2,
            ..Until::END
        },
    );
    assert_eq!((fed.consumed, fed.stop), (bytes.len(), Stop::Closed));
}

#[test]
fn fragments_as_small_as_messages_count_like_messages() {
    let mut bytes = frame(&SERVER, TEXT, b"a");
    bytes.extend(frame(&SERVER, CONTINUATION, b""));
    bytes.extend(frame(&SERVER, CONTINUATION, &[0; 125]));
    bytes.extend(frame(&SERVER, CONTINUATION, &[0; 126]));
    bytes.extend(frame(&SERVER, FIN | 9, b""));
    bytes.extend(frame(&SERVER, FIN, &[0; 200]));
    let fed = FrameTracker::new().feed(&SERVER, &bytes, Until::END);
    assert_eq!((fed.frames, fed.charged, fed.messages), (6, 4, 1));
}

#[test]
fn the_answer_to_a_ping_of_ours_is_found_wherever_it_is_cut_and_no_other_pong_is() {
    let ping = *b"ping";
    let asked = Until {
        answer: Some(ping),
        ..Until::END
    };
    for rules in [CLIENT, SERVER] {
        let answer = frame(&rules, FIN | 10, &ping);
        for cut in 0..answer.len() {
            let fed = FrameTracker::new().feed(&rules, &answer[..cut], asked);
            assert_eq!((fed.consumed, fed.stop), (0, Stop::More), "cut at {cut}");
            assert!(cut <= MAX_HELD);
        }
        let mut tracker = FrameTracker::new();
        let fed = tracker.feed(&rules, &answer, asked);
        assert_eq!(
            (fed.consumed, fed.charged, fed.stop),
            (0, 0, Stop::Answer(answer.len()))
        );
        assert!(tracker.at_boundary());
        for other in [&b"pong"[..], b"", b"pin", b"pings"] {
            let pong = frame(&rules, FIN | 10, other);
            let fed = FrameTracker::new().feed(&rules, &pong, asked);
            assert_eq!((fed.consumed, fed.stop), (pong.len(), Stop::More));
        }
        let fed = FrameTracker::new().feed(&rules, &answer, Until::END);
        assert_eq!(fed.consumed, answer.len());
    }
}
