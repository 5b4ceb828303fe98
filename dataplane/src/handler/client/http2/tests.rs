use super::*;

#[test]
fn a_body_that_comes_byte_by_byte_costs_no_more_than_one_that_comes_in_large_frames() {
    const WINDOW: usize = 64 * 1024;
    let channel = Channel::new(&Rc::default(), 1, false);
    let body: Vec<u8> = (0..WINDOW).map(|n| (n % 251) as u8).collect();
    body.chunks(1).for_each(|byte| channel.push(byte, false));
    channel.push(&[], true);
    let pieces = channel.inner.borrow().incoming.len();
    assert_eq!(pieces, WINDOW / PIECE);
    let mut taken = Vec::new();
    let cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok(Some(piece))) = channel.poll_incoming(&cx) {
        taken.extend(piece);
    }
    assert_eq!(taken, body);
    assert!(matches!(channel.poll_incoming(&cx), Poll::Ready(Ok(None))));
    assert_eq!(channel.take_consumed(), WINDOW);
}
