//! Pings of our own: who is asked, who hears of the answer, who is found dead.

use super::*;

const KEEPALIVE: Keepalive = Keepalive {
    interval_ms: 2_000,
    timeout_ms: 1_000,
};

fn settings() -> Settings {
    Settings {
        keepalive: Some(KEEPALIVE),
        ..Settings::default()
    }
}

/// The next message must be a ping; its payload.
async fn pinged<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Connection<S>) -> Vec<u8> {
    match connection.next().await.unwrap() {
        Message::Ping(payload) => payload,
        other => panic!("not a ping: {other:?}"),
    }
}

#[test]
fn sides_that_answer_stay_and_the_other_side_hears_of_no_answer() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(settings(), 1 << 16);
        for _ in 0..5 {
            bench.pass(2_200).await;
            let (one, other) = (pinged(&mut open.client).await, pinged(&mut open.backend).await);
            bench.pass(300).await;
            open.client.send(&Message::Pong(one)).await.unwrap();
            open.backend.send(&Message::Pong(other)).await.unwrap();
            settle().await;
        }
        open.client.send_text("after").await.unwrap();
        assert_eq!(open.backend.next().await.unwrap(), Message::Text("after".to_owned()));
        open.backend.send_text("all").await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), Message::Text("all".to_owned()));
        let trips = bench.counters.round_trips(Side::Client);
        assert_eq!(trips.buckets.iter().sum::<u64>(), 5);
        assert!((1_500..=2_500).contains(&trips.sum_ms), "{} ms", trips.sum_ms);
    });
}

#[test]
fn a_side_that_does_not_answer_is_dead_and_the_other_is_told() {
    run(async {
        for dead in [Side::Client, Side::Backend] {
            let bench = Bench::new();
            let mut open = bench.open(settings(), 1 << 16);
            bench.pass(2_200).await;
            let living = match dead {
                Side::Client => &mut open.backend,
                Side::Backend => &mut open.client,
            };
            let payload = pinged(living).await;
            living.send(&Message::Pong(payload)).await.unwrap();
            bench.pass(1_200).await;
            assert_eq!(closed_with(living).await, Some(1001));
            living.close(Some(1001), "").await.unwrap();
            bench.pass(5_200).await;
            let closed = open.relay.await.unwrap();
            assert_eq!((closed.reason, closed.code), (Reason::Unresponsive(dead), Some(1001)));
        }
    });
}

#[test]
fn who_talks_is_not_asked_and_anything_said_after_a_ping_is_a_sign_of_life() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(settings(), 1 << 16);
        for _ in 0..5 {
            bench.pass(1_500).await;
            open.client.send_text("here").await.unwrap();
            open.backend.send_text("too").await.unwrap();
            settle().await;
            assert_eq!(open.client.next().await.unwrap(), Message::Text("too".to_owned()));
            assert_eq!(open.backend.next().await.unwrap(), Message::Text("here".to_owned()));
        }
        bench.pass(2_200).await;
        pinged(&mut open.client).await;
        pinged(&mut open.backend).await;
        // Not what was asked for, but who says something is there.
        open.client.send_text("busy").await.unwrap();
        open.backend.send_text("busy").await.unwrap();
        bench.pass(1_500).await;
        assert!(!open.relay.is_finished());
    });
}

#[test]
fn a_ping_waits_for_the_end_of_the_frame() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(settings(), 1 << 16);
        open.backend.stream().write_all(b"\x82\x05ab").await.unwrap();
        bench.pass(1_900).await;
        open.backend.stream().write_all(b"c").await.unwrap();
        bench.pass(400).await;
        open.backend.stream().write_all(b"de").await.unwrap();
        bench.pass(200).await;
        assert_eq!(open.client.next().await.unwrap(), Message::Binary(b"abcde".to_vec()));
        assert_eq!(pinged(&mut open.client).await.len(), 4);
    });
}

#[test]
fn answers_to_our_pings_end_no_silence() {
    run(async {
        let bench = Bench::new();
        let idle = Settings {
            idle_ms: Some(7_000),
            ..settings()
        };
        let mut open = bench.open(idle, 1 << 16);
        for _ in 0..3 {
            bench.pass(2_200).await;
            let (one, other) = (pinged(&mut open.client).await, pinged(&mut open.backend).await);
            open.client.send(&Message::Pong(one)).await.unwrap();
            open.backend.send(&Message::Pong(other)).await.unwrap();
        }
        bench.pass(1_000).await;
        assert_eq!(closed_with(&mut open.client).await, Some(1001));
        open.client.close(Some(1001), "").await.unwrap();
        open.backend.close(Some(1001), "").await.unwrap();
        drop((open.client, open.backend));
        assert_eq!(open.relay.await.unwrap().reason, Reason::Idle);
    });
}

#[test]
fn an_answer_between_messages_of_one_packet_is_taken_out_of_them() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(settings(), 1 << 16);
        bench.pass(2_200).await;
        pinged(&mut open.client).await;
        let payload = pinged(&mut open.backend).await;
        let mut packet = b"\x81\x03one\x8a\x04".to_vec();
        packet.extend(payload);
        packet.extend(b"\x81\x03two\x8a\x01x");
        open.backend.stream().write_all(&packet).await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), Message::Text("one".to_owned()));
        assert_eq!(open.client.next().await.unwrap(), Message::Text("two".to_owned()));
        assert_eq!(open.client.next().await.unwrap(), Message::Pong(b"x".to_vec()));
    });
}

#[test]
fn nobody_is_asked_while_a_side_does_not_take_what_it_is_sent() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(settings(), 64);
        for _ in 0..2 {
            open.backend.send(&Message::Binary(vec![7; 50])).await.unwrap();
            settle().await;
        }
        bench.pass(10_000).await;
        assert!(!open.relay.is_finished());
        for _ in 0..2 {
            assert_eq!(open.client.next().await.unwrap(), Message::Binary(vec![7; 50]));
        }
        bench.pass(2_200).await;
        assert_eq!(pinged(&mut open.client).await.len(), 4);
        assert_eq!(pinged(&mut open.backend).await.len(), 4);
    });
}
