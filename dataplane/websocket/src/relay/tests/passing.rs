//! What is passed on, whole and in order, and what is held meanwhile.

use std::io::Write as _;

use super::*;

#[test]
fn messages_pass_both_ways_and_are_counted_while_open() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.client.send_text("hello").await.unwrap();
        assert_eq!(open.backend.next().await.unwrap(), text("hello"));
        open.backend.send(&Message::Binary(vec![7; 200])).await.unwrap();
        open.backend.send(&Message::Ping(b"?".to_vec())).await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), Message::Binary(vec![7; 200]));
        assert_eq!(open.client.next().await.unwrap(), Message::Ping(b"?".to_vec()));
        assert_eq!(
            (
                bench.counters.messages(Side::Client),
                bench.counters.bytes(Side::Client)
            ),
            (1, 11)
        );
        assert_eq!(
            (
                bench.counters.messages(Side::Backend),
                bench.counters.bytes(Side::Backend)
            ),
            (1, 207)
        );

        open.client.close(Some(4001), "done").await.unwrap();
        assert_eq!(
            open.backend.next().await.unwrap(),
            Message::Close(Some(4001), "done".into())
        );
        open.backend.close(Some(4001), "").await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), close(4001));
        assert!(matches!(open.client.next().await, Err(Error::Eof)));
        assert!(matches!(open.backend.next().await, Err(Error::Eof)));
        drop((open.client, open.backend));
        let closed = open.relay.await.unwrap();
        assert_eq!((closed.reason, closed.code), (Reason::Closed(Side::Client), Some(4001)));
        assert_eq!((closed.messages_in, closed.messages_out), (1, 1));
        assert_eq!((closed.bytes_in, closed.bytes_out), (11 + 12, 207 + 4));
        assert_eq!((closed.reason.label(), closed.code_label()), ("client_closed", "4xxx"));
        assert!(bench.worker.wheel().is_empty());
    });
}

/// A few messages as a client sends them, on the wire.
async fn frames_on_the_wire() -> Vec<u8> {
    let (near, mut far) = duplex(1 << 20);
    let mut sender = Connection::new(near, Sender::Client, Vec::new());
    sender.send_text("hello").await.unwrap();
    sender.send_frame(false, Opcode::Binary, &[1; 130]).await.unwrap();
    sender.send(&Message::Ping(b"!".to_vec())).await.unwrap();
    sender.send_frame(true, Opcode::Continuation, b"").await.unwrap();
    sender.close(Some(1000), "bye").await.unwrap();
    drop(sender);
    let mut wire = Vec::new();
    far.read_to_end(&mut wire).await.unwrap();
    wire
}

#[test]
fn frames_cut_at_every_byte_arrive_as_they_were() {
    run(async {
        let wire = frames_on_the_wire().await;
        for cut in 0..=wire.len() {
            let bench = Bench::new();
            let mut open = bench.open(Settings::default(), 1 << 16);
            open.client.stream().write_all(&wire[..cut]).await.unwrap();
            settle().await;
            open.client.stream().write_all(&wire[cut..]).await.unwrap();
            let mut arrived = vec![0; wire.len()];
            open.backend.stream().read_exact(&mut arrived).await.unwrap();
            assert_eq!(arrived, wire, "cut at {cut}");
        }
    });
}

#[test]
fn early_bytes_are_kept_whole_or_cut_at_every_byte() {
    run(async {
        let wire = frames_on_the_wire().await;
        for cut in 0..=wire.len() {
            let bench = Bench::new();
            let (mut client, relay_client) = duplex(1 << 16);
            let (mut backend, relay_backend) = duplex(1 << 16);
            let settings = Rc::new(Settings::default());
            let session = Session::new(&bench.worker, &settings, &bench.drain)
                .early(Side::Client, &wire[..cut])
                .early(Side::Backend, b"\x81\x02hi");
            let relay = tokio::task::spawn_local(Relay::new(relay_client, relay_backend, session));
            client.write_all(&wire[cut..]).await.unwrap();
            let mut arrived = vec![0; wire.len()];
            backend.read_exact(&mut arrived).await.unwrap();
            assert_eq!(arrived, wire, "cut at {cut}");
            let mut greeting = [0; 4];
            client.read_exact(&mut greeting).await.unwrap();
            assert_eq!(&greeting, b"\x81\x02hi");
            relay.abort();
        }
    });
}

#[test]
fn a_pipe_of_one_byte_is_wide_enough() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1);
        let long = "x".repeat(3_000);
        let echo = async {
            let message = open.backend.next().await.unwrap();
            open.backend.send(&message).await.unwrap();
        };
        let ask = async {
            open.client.send_text(&long).await.unwrap();
            assert_eq!(open.client.next().await.unwrap(), Message::Text(long.clone()));
        };
        tokio::join!(echo, ask);
    });
}

/// Gives one frame of 16 MiB, then waits; takes nothing.
struct Source {
    given: usize,
}

/// Takes one byte at a time and checks it; gives nothing.
struct Sink {
    taken: usize,
}

const HEADER: [u8; 10] = [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0];
const STREAM: usize = HEADER.len() + (16 << 20);

fn byte_at(position: usize) -> u8 {
    HEADER.get(position).copied().unwrap_or((position % 251) as u8)
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given == STREAM {
            return Poll::Pending;
        }
        let piece = buffer.remaining().min(STREAM - self.given);
        let bytes: Vec<u8> = (self.given..self.given + piece).map(byte_at).collect();
        buffer.put_slice(&bytes);
        self.given += piece;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Source {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        panic!("{} bytes for the source", bytes.len());
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Sink {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Sink {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        assert_eq!(bytes[0], byte_at(self.taken), "at {}", self.taken);
        self.taken += 1;
        Poll::Ready(Ok(1))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn sixteen_mebibytes_pass_by_writes_of_one_byte_in_bounded_polls() {
    let bench = Bench::new();
    let mut relay = bench.relay(Sink { taken: 0 }, Source { given: 0 }, Settings::default());
    let mut context = Context::from_waker(Waker::noop());
    let mut polls = 0;
    while relay.client.taken < STREAM {
        let before = relay.client.taken;
        assert!(Pin::new(&mut relay).poll(&mut context).is_pending());
        let moved = relay.client.taken - before;
        assert!(
            (1..=ROUNDS as usize * SharedBuffer::DEFAULT_SIZE).contains(&moved),
            "{moved} bytes in one poll"
        );
        polls += 1;
    }
    assert_eq!(relay.client.taken, STREAM);
    assert!(polls > 1);
    assert_eq!(relay.from_backend.messages, 1);
    assert_eq!(relay.from_backend.pending(), b"");
}

#[test]
fn a_relay_with_much_to_do_is_polled_behind_a_socket_that_became_ready() {
    run_with_sockets(async {
        let (mut far, near) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut near = tokio::net::UnixStream::from_std(near).unwrap();
        let reader = tokio::task::spawn_local(async move { near.read_u8().await });
        let busy = tokio::task::spawn_local(async move {
            let bench = Bench::new();
            let mut relay = bench.relay(Sink { taken: 0 }, Source { given: 0 }, Settings::default());
            let mut polls = 0;
            poll_fn(|context| {
                polls += 1;
                if polls == 2 {
                    far.write_all(b"x").unwrap();
                }
                assert!(Pin::new(&mut relay).poll(context).is_pending());
                match reader.is_finished() || relay.client.taken == STREAM {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
            relay.client.taken
        });
        assert!(
            busy.await.unwrap() < STREAM,
            "the reader waited until everything had passed"
        );
    });
}

#[test]
fn a_reader_that_does_not_read_makes_the_relay_hold_one_buffer_and_stop_reading() {
    run(async {
        let bench = Bench::new();
        let (mut client, relay_client) = duplex(4_096);
        let (mut backend, relay_backend) = duplex(1 << 20);
        let mut relay = bench.relay(relay_client, relay_backend, Settings::default());
        backend.write_all(&HEADER).await.unwrap();
        let mut offered = 0;
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..64 {
            let piece = [0; 1 << 16];
            if let Poll::Ready(written) = Pin::new(&mut backend).poll_write(&mut context, &piece) {
                offered += written.unwrap();
            }
            assert!(Pin::new(&mut relay).poll(&mut context).is_pending());
            assert!(relay.from_backend.pending().len() <= SharedBuffer::DEFAULT_SIZE);
        }
        assert!(
            offered <= (1 << 20) + 2 * SharedBuffer::DEFAULT_SIZE,
            "{offered} bytes were taken"
        );
        assert!(relay.from_backend.pending().len() > SharedBuffer::DEFAULT_SIZE / 2);

        // Once the client reads, all of it comes, and nothing is held.
        let mut read = vec![0; HEADER.len() + offered];
        let mut reading = std::pin::pin!(client.read_exact(&mut read));
        poll_fn(|context| {
            let _pending = Pin::new(&mut relay).poll(context);
            reading.as_mut().poll(context)
        })
        .await
        .unwrap();
        assert_eq!(relay.from_backend.pending(), b"");
        assert_eq!(relay.from_backend.bytes, read.len() as u64);
    });
}

#[test]
fn a_relay_whose_buffer_is_lent_tries_again() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 64);
        let lent = bench.worker.buffer().borrow();
        open.client.send_text("hello").await.unwrap();
        settle().await;
        drop(lent);
        assert_eq!(open.backend.next().await.unwrap(), text("hello"));
    });
}
