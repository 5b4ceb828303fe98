//! How a connection ends: by time, by order, by a side that leaves.

use super::*;

async fn answer(open: &mut Open, code: u16) {
    open.client.close(Some(code), "").await.unwrap();
    open.backend.close(Some(code), "").await.unwrap();
}

#[test]
fn silence_ends_with_1001_and_anything_sent_ends_the_silence() {
    run(async {
        let bench = Bench::new();
        let settings = Settings {
            idle_ms: Some(10_000),
            ..Settings::default()
        };
        let mut open = bench.open(settings, 1 << 16);
        settle().await;
        bench.pass(9_900).await;
        open.backend.send(&Message::Ping(Vec::new())).await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), Message::Ping(Vec::new()));
        bench.pass(9_900).await;
        assert!(!open.relay.is_finished());
        bench.pass(200).await;
        assert_eq!(closed_with(&mut open.client).await, Some(1001));
        assert_eq!(closed_with(&mut open.backend).await, Some(1001));
        answer(&mut open, 1001).await;
        drop((open.client, open.backend));
        let closed = open.relay.await.unwrap();
        assert_eq!((closed.reason, closed.code), (Reason::Idle, Some(1001)));
        assert_eq!(closed.duration_ms, 20_000);
    });
}

#[test]
fn one_silent_side_may_be_enough() {
    run(async {
        for silent in [Side::Client, Side::Backend] {
            let bench = Bench::new();
            let mut settings = Settings {
                idle_ms: None,
                ..Settings::default()
            };
            match silent {
                Side::Client => settings.client_idle_ms = Some(5_000),
                Side::Backend => settings.backend_idle_ms = Some(5_000),
            }
            let mut open = bench.open(settings, 1 << 16);
            for _ in 0..4 {
                let talking = match silent {
                    Side::Client => &mut open.backend,
                    Side::Backend => &mut open.client,
                };
                talking.send(&Message::Pong(Vec::new())).await.unwrap();
                bench.pass(1_000).await;
            }
            assert!(!open.relay.is_finished());
            bench.pass(1_200 + 5_000).await;
            assert_eq!(open.relay.await.unwrap().reason, Reason::Idle);
        }
    });
}

#[test]
fn a_long_life_ends_with_1000() {
    run(async {
        let bench = Bench::new();
        let settings = Settings {
            lifetime_ms: Some(60_000),
            idle_ms: None,
            keepalive: None,
            ..Settings::default()
        };
        let mut open = bench.open(settings, 1 << 16);
        settle().await;
        bench.pass(60_000).await;
        assert_eq!(closed_with(&mut open.client).await, Some(1000));
        assert_eq!(closed_with(&mut open.backend).await, Some(1000));
        answer(&mut open, 1000).await;
        drop((open.client, open.backend));
        assert_eq!(open.relay.await.unwrap().reason, Reason::Lifetime);
    });
}

#[test]
fn an_order_to_drain_waits_for_the_end_of_the_frame() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        // Two bytes of a frame of five.
        open.backend.stream().write_all(b"\x01\x05he").await.unwrap();
        settle().await;
        bench.order(Cause::ServerRemoved, 0);
        assert_eq!(closed_with(&mut open.backend).await, Some(1012));
        open.backend.stream().write_all(b"llo\x80\x01!").await.unwrap();
        let mut seen = [0; 9];
        open.client.stream().read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen[..7], b"\x01\x05hello");
        assert_eq!(seen[7], 0x88, "a close frame between the fragments");
        answer(&mut open, 1012).await;
        drop((open.client, open.backend));
        let closed = open.relay.await.unwrap();
        assert_eq!(
            (closed.reason, closed.code, closed.bytes_out),
            (Reason::Drain(Cause::ServerRemoved), Some(1012), 7)
        );
    });
}

#[test]
fn a_frame_that_never_ends_does_not_hold_up_the_end() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.backend.stream().write_all(b"\x81\x05he").await.unwrap();
        settle().await;
        bench.order(Cause::Shutdown, 0);
        assert_eq!(closed_with(&mut open.backend).await, Some(1001));
        bench.pass(5_100).await;
        assert_eq!(open.relay.await.unwrap().reason, Reason::Drain(Cause::Shutdown));
        let mut rest = Vec::new();
        open.client.stream().read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\x81\x05he");
    });
}

#[test]
fn an_order_spreads_the_group_over_its_time() {
    run(async {
        let bench = Bench::new();
        let open: Vec<Open> = (0..20).map(|_| bench.open(Settings::default(), 1 << 10)).collect();
        settle().await;
        bench.order(Cause::RouteDeleted, 10_000);
        let mut closing = Vec::new();
        let mut clients: Vec<_> = open
            .into_iter()
            .map(|open| (open.client, open.backend, open.relay))
            .collect();
        for _ in 0..10 {
            bench.pass(1_000).await;
            let before = clients.len();
            let mut open = Vec::new();
            for (mut client, backend, relay) in clients {
                let mut byte = [0];
                let mut free = ReadBuf::new(&mut byte);
                let mut context = Context::from_waker(Waker::noop());
                if Pin::new(client.stream())
                    .poll_read(&mut context, &mut free)
                    .is_pending()
                {
                    open.push((client, backend, relay));
                }
            }
            clients = open;
            closing.push(before - clients.len());
        }
        assert_eq!(closing.iter().sum::<usize>(), 20);
        assert!(closing.iter().all(|count| (1..=3).contains(count)), "{closing:?}");
    });
}

#[test]
fn an_order_that_is_taken_back_leaves_those_whose_moment_has_not_come() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        settle().await;
        bench.order(Cause::ServerRemoved, 10_000);
        bench.pass(1_000).await;
        bench.drain.withdraw();
        bench.pass(20_000).await;
        open.client.send_text("here").await.unwrap();
        assert_eq!(open.backend.next().await.unwrap(), Message::Text("here".to_owned()));
    });
}

#[test]
fn a_side_that_does_not_answer_is_waited_for_five_seconds() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.client.close(Some(1000), "").await.unwrap();
        assert_eq!(closed_with(&mut open.backend).await, Some(1000));
        bench.pass(4_900).await;
        assert!(!open.relay.is_finished());
        bench.pass(200).await;
        assert_eq!(open.relay.await.unwrap().reason, Reason::Closed(Side::Client));
    });
}

#[test]
fn what_follows_a_close_frame_is_not_passed_on() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.client.close(Some(1000), "").await.unwrap();
        open.client.send_text("too late").await.unwrap();
        assert_eq!(closed_with(&mut open.backend).await, Some(1000));
        open.backend.send_text("in flight").await.unwrap();
        open.backend.close(Some(1000), "").await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), text("in flight"));
        assert_eq!(closed_with(&mut open.client).await, Some(1000));
        assert!(matches!(open.backend.next().await, Err(Error::Eof)));
    });
}

#[test]
fn a_close_frame_of_the_backend_is_delivered_before_its_end_of_stream() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.backend.send_text("last words").await.unwrap();
        open.backend.close(Some(1013), "later").await.unwrap();
        drop(open.backend);
        assert_eq!(open.client.next().await.unwrap(), text("last words"));
        assert_eq!(
            open.client.next().await.unwrap(),
            Message::Close(Some(1013), "later".into())
        );
        assert!(matches!(open.client.next().await, Err(Error::Eof)));
        drop(open.client);
        let closed = open.relay.await.unwrap();
        assert_eq!(
            (closed.reason, closed.code),
            (Reason::Closed(Side::Backend), Some(1013))
        );
    });
}

#[test]
fn an_end_of_stream_is_passed_on_without_inventing_a_close_frame() {
    run(async {
        for gone in [Side::Client, Side::Backend] {
            let bench = Bench::new();
            let open = bench.open(Settings::default(), 1 << 16);
            let (left, mut stays) = match gone {
                Side::Client => (open.client, open.backend),
                Side::Backend => (open.backend, open.client),
            };
            drop(left);
            assert!(matches!(stays.next().await, Err(Error::Eof)), "{gone} left");
            drop(stays);
            let closed = open.relay.await.unwrap();
            assert_eq!(
                (closed.reason, closed.code, closed.code_label()),
                (Reason::Eof(gone), None, "none")
            );
        }
    });
}

#[test]
fn half_a_connection_lasts_as_long_as_something_moves() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.client.send_text("one question").await.unwrap();
        open.client.stream().shutdown().await.unwrap();
        assert_eq!(open.backend.next().await.unwrap(), text("one question"));
        assert!(matches!(open.backend.next().await, Err(Error::Eof)));
        for number in 0..3 {
            bench.pass(4_000).await;
            open.backend.send_text(&format!("answer {number}")).await.unwrap();
            assert_eq!(open.client.next().await.unwrap(), text(&format!("answer {number}")));
        }
        bench.pass(5_100).await;
        let closed = open.relay.await.unwrap();
        assert_eq!((closed.reason, closed.messages_out), (Reason::Eof(Side::Client), 3));
    });
}

#[test]
fn an_order_to_drain_is_not_survived_by_half_a_connection() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.client.stream().shutdown().await.unwrap();
        assert!(matches!(open.backend.next().await, Err(Error::Eof)));
        bench.order(Cause::Shutdown, 0);
        for _ in 0..6 {
            open.backend.send_text("and on").await.unwrap();
            bench.pass(1_000).await;
            if open.relay.is_finished() {
                break;
            }
        }
        assert_eq!(open.relay.await.unwrap().reason, Reason::Eof(Side::Client));
    });
}

/// Fails every operation, as a socket does after a reset.
struct Broken;

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for Broken {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        reset()
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        reset()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        reset()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        reset()
    }
}

#[test]
fn a_socket_that_fails_ends_the_other_side_too() {
    run(async {
        let bench = Bench::new();
        let (client, relay_client) = duplex(64);
        let relay = tokio::task::spawn_local(bench.relay(relay_client, Broken, Settings::default()));
        let mut client = Connection::new(client, Sender::Client, Vec::new());
        assert!(matches!(client.next().await, Err(Error::Eof)));
        drop(client);
        assert_eq!(relay.await.unwrap().reason, Reason::Reset(Side::Backend));
    });
}

#[test]
fn a_dropped_relay_leaves_nothing_behind() {
    run(async {
        let bench = Bench::new();
        let open = bench.open(Settings::default(), 64);
        settle().await;
        assert_eq!(bench.worker.wheel().len(), 1);
        open.relay.abort();
        settle().await;
        assert!(bench.worker.wheel().is_empty());
    });
}
