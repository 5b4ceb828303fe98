//! Requests that their client has taken back by the time they are read.

use super::*;

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Feeds bytes; the requests that came, and whether each was withdrawn.
fn requests(peer: &mut Peer, bytes: &[u8]) -> Vec<(u32, bool)> {
    peer.kept.extend_from_slice(bytes);
    let all = std::mem::take(&mut peer.kept);
    let (mut input, mut seen) = (&all[..], Vec::new());
    while let Some(event) = peer
        .connection
        .next(&mut input, &mut peer.scratch, &mut peer.out, peer.now_ms)
        .expect("no error of the connection")
    {
        if let Event::Request { stream, withdrawn, .. } = event {
            seen.push((stream, withdrawn));
        }
    }
    peer.kept = input.to_vec();
    seen
}

#[test]
fn a_request_is_withdrawn_if_a_whole_reset_for_it_lies_behind_it_however_the_input_is_cut() {
    // Each frame, and the stream if it is one that opens or resets it.
    let frames = [
        (headers(1, &GET, true), Some((1, true))),
        (reset(1), Some((1, false))),
        (headers(3, &GET, true), Some((3, true))),
        (headers(5, &POST, false), Some((5, true))),
        (data(5, &[b'x'; 200], false), None),
        (window_update(0, 1), None),
        (reset(5), Some((5, false))),
        (headers(7, &POST, false), Some((7, true))),
        (data(7, &[b'x'; 50], true), None),
        (headers(9, &GET, true), Some((9, true))),
        (reset(3), Some((3, false))),
        (reset(9), Some((9, false))),
    ];
    let all: Vec<u8> = frames.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    for cut in 0..=all.len() {
        let mut ends = Vec::new();
        let mut end = 0;
        for (bytes, what) in &frames {
            end += bytes.len();
            ends.extend(what.map(|(stream, opens)| (stream, opens, end)));
        }
        let expected: Vec<_> = ends
            .iter()
            .filter(|(_, opens, _)| *opens)
            .map(|(stream, _, end)| {
                let reset = ends.iter().find(|(other, opens, _)| other == stream && !opens);
                let here = if *end <= cut { cut } else { all.len() };
                (*stream, reset.is_some_and(|(_, _, end)| *end <= here))
            })
            .collect();
        let mut peer = Peer::new();
        let (first, second) = all.split_at(cut);
        let mut seen = requests(&mut peer, first);
        seen.extend(requests(&mut peer, second));
        assert_eq!(seen, expected, "cut at {cut}");
        assert_eq!(peer.connection.open_streams(), 1, "stream 7");
    }
}

#[test]
fn a_reset_that_lies_very_far_behind_its_request_is_not_looked_for() {
    for (others, withdrawn) in [(127, true), (128, false)] {
        let mut peer = Peer::new();
        let mut bytes = headers(1, &GET, true);
        for _ in 0..others {
            bytes.extend(frame(PING, 0, 0, b"8 bytes."));
        }
        bytes.extend(reset(1));
        assert_eq!(requests(&mut peer, &bytes), [(1, withdrawn)]);
        assert_eq!(peer.connection.open_streams(), 0);
    }
}
