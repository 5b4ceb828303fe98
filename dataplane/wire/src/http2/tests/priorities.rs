//! Who sends first (RFC 9218).

use super::*;

fn waiting(peer: &mut Peer, stream: u32, priority: &str) {
    let fields = [&GET[..], &[("priority", priority)]].concat();
    peer.request(stream, if priority.is_empty() { &GET } else { &fields }, true);
    peer.connection
        .send_head(stream, OK, false, &mut peer.out)
        .expect("open");
    peer.connection.set_waiting(stream, true);
}

/// Who sends, a byte each.
fn order(peer: &mut Peer, turns: usize) -> Vec<u32> {
    let mut order = Vec::new();
    for _ in 0..turns {
        let stream = peer.connection.next_writable().expect("one waits");
        peer.connection
            .send_data(stream, b"x", false, &mut peer.out)
            .expect("open");
        order.push(stream);
    }
    order
}

fn update(stream: u32, value: &str) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend(value.as_bytes());
    frame(PRIORITY_UPDATE, 0, 0, &payload)
}

#[test]
fn the_urgent_come_first_and_the_incremental_take_turns() {
    let mut peer = Peer::new();
    waiting(&mut peer, 1, "");
    waiting(&mut peer, 3, "u=5, i");
    waiting(&mut peer, 5, "i, u=5");
    waiting(&mut peer, 7, "u=1");
    waiting(&mut peer, 9, "u=5");
    assert_eq!(order(&mut peer, 2), [7, 7]);
    peer.connection.set_waiting(7, false);
    assert_eq!(order(&mut peer, 2), [1, 1]);
    peer.connection.set_waiting(1, false);
    assert_eq!(order(&mut peer, 2), [9, 9]);
    peer.connection.set_waiting(9, false);
    assert_eq!(order(&mut peer, 5), [3, 5, 3, 5, 3]);
    peer.connection.set_waiting(3, false);
    peer.connection.set_waiting(5, false);
    assert_eq!(peer.connection.next_writable(), None);
}

#[test]
fn an_update_changes_the_order_even_before_its_stream_is_open() {
    let mut peer = Peer::new();
    waiting(&mut peer, 1, "");
    assert_eq!(peer.feed(&update(3, "u=0")), []);
    waiting(&mut peer, 3, "u=7");
    assert_eq!(peer.connection.next_writable(), Some(3));
    assert_eq!(peer.feed(&update(3, "u=6")), []);
    assert_eq!(peer.connection.next_writable(), Some(1));
    assert_eq!(peer.feed(&update(1, "not a, dictionary;;")), []);
    assert_eq!(peer.connection.next_writable(), Some(1));
}

#[test]
fn updates_for_streams_that_never_come_are_forgotten() {
    let mut peer = Peer::new();
    let many: Vec<_> = (0..50).flat_map(|round| update(2 * round + 101, "u=0")).collect();
    assert_eq!(peer.feed(&many), []);
    assert_eq!(peer.connection.heap(), 0);
}

#[test]
fn a_stream_whose_window_is_shut_does_not_hold_up_others() {
    let mut peer = Peer::new();
    waiting(&mut peer, 1, "u=0");
    waiting(&mut peer, 3, "");
    let body = vec![b'x'; 65_535];
    peer.connection.send_data(1, &body, false, &mut peer.out).expect("open");
    assert_eq!(peer.feed(&window_update(0, 100)), [Seen::Writable(None)]);
    assert_eq!(peer.connection.next_writable(), Some(3));
}
