//! Response heads and frames of body.

use super::*;

fn sent(head: &[u8]) -> Vec<(String, String)> {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.connection
        .send_head(1, head, false, &mut peer.out)
        .expect("a head");
    let frames = peer.frames();
    assert_eq!(
        (frames[0].kind, frames[0].flags, frames[0].stream),
        (HEADERS, END_HEADERS, 1)
    );
    peer.fields(&frames[0].payload)
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_head_of_http1_becomes_a_block() {
    let head = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html\r\nX-Own-Thing:  a b \r\n\
        Connection: close\r\nKeep-Alive: x\r\nTransfer-Encoding: chunked\r\nUpgrade: x\r\nProxy-Connection: x\r\nTE: x\r\n\
        Content-Length: 5\r\nSet-Cookie: a=b\r\nEmpty:\r\n\r\n";
    let expected = [
        (":status", "200"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("content-type", "text/html"),
        ("x-own-thing", "a b"),
        ("content-length", "5"),
        ("set-cookie", "a=b"),
        ("empty", ""),
    ];
    assert_eq!(sent(head), pairs(&expected));
}

#[test]
fn a_block_that_was_put_together_is_a_head() {
    let mut block = Vec::new();
    write_status(&mut block, 206);
    Blocks::default()
        .write(b"Date: x\r\nX-Own: y\r\nConnection: close\r\n", &mut block)
        .expect("lines");
    write_field(&mut block, "age", |out| out.extend_from_slice(b"5"));
    let expected = pairs(&[(":status", "206"), ("date", "x"), ("x-own", "y"), ("age", "5")]);
    let mut peer = Peer::new();
    // A client with a table of its own size is told that none is used, here as well.
    peer.feed(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 9]));
    peer.frames();
    for (stream, end) in [(1, false), (3, true)] {
        peer.request(stream, &GET, true);
        let send = |peer: &mut Peer| peer.connection.send_block(stream, &block, end, &mut peer.out);
        assert_eq!(send(&mut peer), Ok(()));
        let again = send(&mut peer);
        assert_eq!(again, Err(if end { SendError::Closed } else { SendError::Malformed }));
        let frames = peer.frames();
        assert_eq!(frames.len(), 1);
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        assert_eq!((frames[0].kind, frames[0].flags), (HEADERS, flags));
        assert_eq!(peer.fields(&frames[0].payload), expected);
        assert_eq!(frames[0].payload.len(), block.len() + usize::from(stream == 1));
    }
}

#[test]
fn every_status_arrives() {
    for status in [200, 204, 206, 301, 304, 400, 404, 421, 500, 503, 599] {
        let head = format!("HTTP/1.1 {status} Whatever\r\n\r\n");
        assert_eq!(sent(head.as_bytes()), pairs(&[(":status", &status.to_string())]));
    }
    assert_eq!(sent(b"HTTP/1.1 299\r\n\r\n"), pairs(&[(":status", "299")]));
}

#[test]
fn a_large_head_is_cut_into_frames() {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    let long = "v".repeat(20_000);
    let name = "n".repeat(200);
    let head = format!("HTTP/1.1 200 OK\r\nA: {long}\r\n{name}: {long}\r\n\r\n");
    peer.connection
        .send_head(1, head.as_bytes(), true, &mut peer.out)
        .expect("a head");
    let frames = peer.frames();
    let shape: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.flags)).collect();
    assert_eq!(
        shape,
        [(HEADERS, END_STREAM), (CONTINUATION, 0), (CONTINUATION, END_HEADERS)]
    );
    assert!(
        frames
            .iter()
            .all(|frame| frame.payload.len() <= MAX_FRAME && frame.stream == 1)
    );
    let block: Vec<_> = frames.iter().flat_map(|frame| frame.payload.clone()).collect();
    assert_eq!(
        peer.fields(&block),
        pairs(&[(":status", "200"), ("a", &long), (&name, &long)])
    );
}

#[test]
fn a_head_that_is_none_is_not_sent() {
    for head in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nbody\r\n",
    ] {
        let mut peer = Peer::new();
        peer.request(1, &GET, true);
        let text = String::from_utf8_lossy(head).into_owned();
        assert_eq!(
            peer.connection.send_head(1, head, true, &mut peer.out),
            Err(SendError::Malformed),
            "{text}"
        );
        assert_eq!(peer.out, b"");
        peer.connection
            .send_head(1, OK, true, &mut peer.out)
            .expect("the next one can be");
    }
}

#[test]
fn interim_heads_come_before_the_final_one_and_trailers_behind_the_body() {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    assert_eq!(
        peer.connection.send_data(1, b"x", false, &mut peer.out),
        Err(SendError::Malformed)
    );
    assert_eq!(
        peer.connection.send_trailers(1, b"a: b\r\n", &mut peer.out),
        Err(SendError::Malformed)
    );
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    assert_eq!(
        peer.connection.send_head(1, hints, true, &mut peer.out),
        Err(SendError::Malformed)
    );
    peer.connection
        .send_head(1, hints, false, &mut peer.out)
        .expect("interim");
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("final");
    assert_eq!(
        peer.connection.send_head(1, OK, false, &mut peer.out),
        Err(SendError::Malformed)
    );
    peer.connection
        .send_trailers(1, b"Grpc-Status: 0\r\n", &mut peer.out)
        .expect("trailers");
    let frames = peer.frames();
    assert_eq!(frames.len(), 3);
    let link = ("link", "</a>; rel=preload");
    assert_eq!(peer.fields(&frames[0].payload), pairs(&[(":status", "103"), link]));
    assert_eq!(frames[2].flags, END_HEADERS | END_STREAM);
    assert_eq!(peer.fields(&frames[2].payload), pairs(&[("grpc-status", "0")]));
    assert!(!peer.connection.contains(1));
}

#[test]
fn a_client_with_a_smaller_table_is_told_once_that_none_is_used() {
    let mut peer = Peer::new();
    peer.feed(&setting(1, 100));
    peer.request(1, &GET, true);
    peer.request(3, &GET, true);
    peer.frames();
    for stream in [1, 3] {
        peer.connection
            .send_head(stream, OK, true, &mut peer.out)
            .expect("open");
    }
    let blocks: Vec<_> = peer.frames().into_iter().map(|frame| frame.payload).collect();
    assert_eq!(blocks, [vec![encode::NO_TABLE, 0x88], vec![0x88]]);
}

#[test]
fn a_frame_header_alone_leaves_the_payload_to_the_caller() {
    let mut peer = Peer::new();
    peer.request(1, &GET, true);
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    peer.frames();
    let sent = peer
        .connection
        .data_frame_header(1, 20_000, true, &mut peer.out)
        .expect("open");
    assert_eq!(
        sent,
        Sent {
            bytes: MAX_FRAME,
            ended: false
        }
    );
    assert_eq!(
        Frame::parse(&peer.out),
        Some(Frame {
            len: MAX_FRAME,
            kind: DATA,
            flags: 0,
            stream: 1
        })
    );
    peer.out.clear();
    let sent = peer
        .connection
        .data_frame_header(1, 20_000 - MAX_FRAME, true, &mut peer.out)
        .expect("open");
    assert_eq!(
        sent,
        Sent {
            bytes: 20_000 - MAX_FRAME,
            ended: true
        }
    );
    assert_eq!(peer.out.len(), HEADER);
}

#[test]
fn a_frame_header_never_has_a_reset_between_it_and_its_payload() {
    let mut peer = Peer::new();
    peer.request(1, &POST, false);
    peer.connection.send_head(1, OK, false, &mut peer.out).expect("open");
    peer.frames();
    let sent = peer
        .connection
        .data_frame_header(1, 5, true, &mut peer.out)
        .expect("open");
    assert_eq!((sent, peer.out.len()), (Sent { bytes: 5, ended: false }, HEADER));
    peer.out.clear();
    let sent = peer
        .connection
        .data_frame_header(1, 0, true, &mut peer.out)
        .expect("open");
    assert_eq!(sent, Sent { bytes: 0, ended: true });
    let kinds: Vec<_> = peer.frames().iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [DATA, RST_STREAM]);
}

#[test]
fn a_head_with_a_bare_cr_or_lf_is_malformed_wherever_it_is() {
    for bad in [
        "a: x\ry\r\n",
        "a: x\ny\r\n",
        "a\r: x\r\n",
        "a: x\r\r\n",
        "a: x\ny: z\r\r\n",
    ] {
        for before in [0, 1, 111, 112, 300] {
            let head = format!("HTTP/1.1 200 OK\r\nb: {}\r\n{bad}\r\n", "v".repeat(before));
            let mut peer = Peer::new();
            peer.request(1, &GET, true);
            let sent = peer.connection.send_head(1, head.as_bytes(), true, &mut peer.out);
            assert_eq!(sent, Err(SendError::Malformed), "{head:?}");
            assert_eq!(peer.out, b"");
        }
    }
}

#[test]
fn a_name_of_any_length_is_sent_in_lower_case() {
    for length in [1, 63, 64, 65, 300] {
        let name = "N".repeat(length);
        let head = format!("HTTP/1.1 200 OK\r\n{name}: v\r\n\r\n");
        let mut peer = Peer::new();
        peer.request(1, &GET, true);
        let sent = peer.connection.send_head(1, head.as_bytes(), true, &mut peer.out);
        assert_eq!(sent, Ok(()));
        let block = peer.frames().remove(0).payload;
        assert!(block.windows(length).any(|part| part == name.to_lowercase().as_bytes()));
    }
}
