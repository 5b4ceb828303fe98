//! The result does not depend on how the bytes are cut.

use super::*;

/// A connection with a bit of everything.
fn session() -> Vec<u8> {
    let mut padded = vec![4];
    padded.extend(b"body\0\0\0\0");
    let mut first = vec![2, 0, 0, 0, 0, 15];
    first.extend(&block(&POST)[..7]);
    first.extend([0, 0]);
    [
        PREFACE.to_vec(),
        setting(INITIAL_WINDOW_SIZE, 1000),
        frame(SETTINGS, ACK, 0, b""),
        frame(HEADERS, PADDED | WITH_PRIORITY, 1, &first),
        frame(CONTINUATION, END_HEADERS, 1, &block(&POST)[7..]),
        data(1, b"some", false),
        frame(DATA, PADDED, 1, &padded),
        headers(3, &GET, true),
        headers(1, &[("x", "y")], true),
        frame(PING, 0, 0, &[7; 8]),
        headers(5, &[(":path", "")], false),
        data(5, b"ignored", true),
        frame(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 3, b'i']),
        frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        frame(0xcc, 0, 0, b"unknown"),
        headers(7, &POST, false),
        frame(DATA, END_STREAM | PADDED, 7, &[1, 0]),
        data(9, b"x", false),
    ]
    .concat()
}

/// Pieces of the same body are put together.
fn join(seen: Vec<Seen>) -> Vec<Seen> {
    let mut joined: Vec<Seen> = Vec::new();
    for event in seen {
        match (joined.last_mut(), &event) {
            (Some(Seen::Data(stream, body, end @ false)), Seen::Data(other, more, ended)) if stream == other => {
                body.extend(more);
                *end = *ended;
            }
            _ => joined.push(event),
        }
    }
    joined
}

fn run<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> (Vec<Seen>, Vec<u8>) {
    let mut peer = Peer::silent(Limits::DEFAULT);
    let mut seen = Vec::new();
    for piece in pieces {
        seen.extend(peer.feed(piece));
    }
    seen.dedup_by(|a, b| matches!((a, b), (Seen::Closed(_), Seen::Closed(_))));
    (join(seen), peer.out)
}

#[test]
fn a_session_is_the_same_however_it_is_cut() {
    let bytes = session();
    let whole = run([&bytes[..]]);
    assert_eq!(whole.0.last(), Some(&Seen::Closed(ConnectionError::IdleStream)));
    assert_eq!(whole.0.len(), 9, "{:?}", whole.0);
    for cut in 1..bytes.len() {
        assert_eq!(run([&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    for size in 1..20 {
        assert_eq!(run(bytes.chunks(size)), whole, "pieces of {size}");
    }
}
