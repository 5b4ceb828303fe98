//! Rules and limits: who gets which code, and when.

use super::*;

const MASKED: &[u8] = b"\x81\x82\x01\x02\x03\x04ik";
const UNMASKED: &[u8] = b"\x81\x02hi";

fn sizes(max_frame: u64, max_message: u64) -> Settings {
    let sizes = Sizes { max_frame, max_message };
    Settings {
        from_client: sizes,
        from_backend: sizes,
        ..Settings::default()
    }
}

/// Waits for the end, when both ends have gone.
async fn outcome(open: Open) -> Closed {
    drop((open.client, open.backend));
    open.relay.await.unwrap()
}

#[test]
fn a_client_that_does_not_mask_gets_1002_after_what_the_backend_still_said() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.client.send_text("first").await.unwrap();
        open.client.stream().write_all(UNMASKED).await.unwrap();
        assert_eq!(open.backend.next().await.unwrap(), text("first"));
        assert_eq!(closed_with(&mut open.backend).await, Some(1001));
        open.backend.send_text("echo of first").await.unwrap();
        open.backend.close(Some(1001), "").await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), text("echo of first"));
        assert_eq!(closed_with(&mut open.client).await, Some(1002));
        assert!(matches!(open.client.next().await, Err(Error::Eof)));
        let closed = outcome(open).await;
        assert_eq!(
            closed.reason,
            Reason::Violation(Side::Client, breakwater_wire::websocket::frame::Violation::Unmasked)
        );
        assert_eq!((closed.code, closed.reason.label()), (Some(1002), "client_protocol"));
    });
}

#[test]
fn a_backend_that_masks_gets_1002_and_the_client_1011() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.backend.stream().write_all(MASKED).await.unwrap();
        assert_eq!(closed_with(&mut open.client).await, Some(1011));
        open.client.close(Some(1011), "").await.unwrap();
        assert_eq!(closed_with(&mut open.backend).await, Some(1002));
        let closed = outcome(open).await;
        assert_eq!((closed.code, closed.reason.label()), (Some(1002), "backend_protocol"));
    });
}

#[test]
fn an_offender_waits_for_its_code_no_longer_than_the_grace() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(Settings::default(), 1 << 16);
        open.client.stream().write_all(UNMASKED).await.unwrap();
        assert_eq!(closed_with(&mut open.backend).await, Some(1001));
        // The backend goes on sending and never answers the close frame.
        open.backend.send_text("still here").await.unwrap();
        assert_eq!(open.client.next().await.unwrap(), text("still here"));
        bench.pass(GRACE_MS).await;
        assert_eq!(closed_with(&mut open.client).await, Some(1002));
        assert!(!open.relay.is_finished());
        bench.pass(4_000).await;
        assert_eq!(open.relay.await.unwrap().code, Some(1002));
    });
}

#[test]
fn who_sends_too_much_gets_1009() {
    run(async {
        for (settings, frames, label) in [
            (sizes(10, 100), 1, "frame_too_big"),
            (sizes(100, 25), 3, "message_too_big"),
        ] {
            let bench = Bench::new();
            let mut open = bench.open(settings, 1 << 16);
            for number in 0..frames {
                let opcode = if number == 0 {
                    Opcode::Binary
                } else {
                    Opcode::Continuation
                };
                open.client.send_frame(frames == 1, opcode, &[0; 11]).await.unwrap();
            }
            // Towards the backend the close frame comes between the fragments that still fitted and the one that
            // did not.
            let mut frames_seen = 0;
            let code = loop {
                let mut head = [0; 2];
                open.backend.stream().read_exact(&mut head).await.unwrap();
                let mut rest = vec![0; 4 + usize::from(head[1] & 0x7F)];
                open.backend.stream().read_exact(&mut rest).await.unwrap();
                if head[0] == 0x88 {
                    break u16::from_be_bytes([rest[4] ^ rest[0], rest[5] ^ rest[1]]);
                }
                frames_seen += 1;
            };
            assert_eq!((code, frames_seen), (1001, frames - 1));
            open.backend.close(Some(1001), "").await.unwrap();
            assert_eq!(closed_with(&mut open.client).await, Some(1009));
            let closed = outcome(open).await;
            assert_eq!(
                (closed.code, closed.reason.label(), closed.code_label()),
                (Some(1009), label, "1009")
            );
        }
    });
}

#[test]
fn a_backend_that_sends_too_much_gets_1009() {
    run(async {
        let bench = Bench::new();
        let mut open = bench.open(sizes(10, 10), 1 << 16);
        open.backend.send_text("12345678901").await.unwrap();
        assert_eq!(closed_with(&mut open.client).await, Some(1011));
        open.client.close(Some(1011), "").await.unwrap();
        assert_eq!(closed_with(&mut open.backend).await, Some(1009));
        assert_eq!(outcome(open).await.reason.label(), "frame_too_big");
    });
}

#[test]
fn messages_faster_than_allowed_end_with_1008_and_the_excess_does_not_pass() {
    run(async {
        let settings = Settings {
            messages_per_second: NonZeroU32::new(10),
            ..Settings::default()
        };
        let bench = Bench::new();
        let mut open = bench.open(settings, 1 << 16);
        for round in 0..3 {
            for number in 0..10 {
                open.client.send_text(&format!("{round} {number}")).await.unwrap();
            }
            for number in 0..10 {
                assert_eq!(open.backend.next().await.unwrap(), text(&format!("{round} {number}")));
            }
            bench.pass(1_000).await;
        }
        for _ in 0..10 {
            open.client.send(&Message::Ping(Vec::new())).await.unwrap();
        }
        open.client.send_text("one too many").await.unwrap();
        for _ in 0..10 {
            assert_eq!(open.backend.next().await.unwrap(), Message::Ping(Vec::new()));
        }
        assert_eq!(closed_with(&mut open.backend).await, Some(1001));
        open.backend.close(Some(1001), "").await.unwrap();
        assert_eq!(closed_with(&mut open.client).await, Some(1008));
        let closed = outcome(open).await;
        assert_eq!((closed.reason, closed.messages_in), (Reason::Rate, 30));
    });
}

#[test]
fn a_backend_is_not_held_to_the_rate() {
    run(async {
        let settings = Settings {
            messages_per_second: NonZeroU32::new(1),
            ..Settings::default()
        };
        let bench = Bench::new();
        let mut open = bench.open(settings, 1 << 16);
        for _ in 0..100 {
            open.backend.send_text("news").await.unwrap();
        }
        for _ in 0..100 {
            assert_eq!(open.client.next().await.unwrap(), text("news"));
        }
        assert!(!open.relay.is_finished());
    });
}

#[test]
fn early_bytes_are_held_to_the_rules_too() {
    run(async {
        let bench = Bench::new();
        let (client, relay_client) = duplex(1 << 16);
        let (backend, relay_backend) = duplex(1 << 16);
        let settings = Rc::new(Settings::default());
        let mut early = MASKED.to_vec();
        early.extend(UNMASKED);
        let session = Session::new(&bench.worker, &settings, &bench.drain).early(Side::Client, &early);
        let relay = tokio::task::spawn_local(Relay::new(relay_client, relay_backend, session));
        let mut backend = Connection::new(backend, Sender::Server, Vec::new());
        let mut client = Connection::new(client, Sender::Client, Vec::new());
        assert_eq!(backend.next().await.unwrap(), text("hi"));
        assert_eq!(closed_with(&mut backend).await, Some(1001));
        drop(backend);
        assert_eq!(closed_with(&mut client).await, Some(1002));
        drop(client);
        assert_eq!(relay.await.unwrap().reason.label(), "client_protocol");
    });
}

#[test]
fn compressed_messages_pass_only_where_compression_was_agreed_on() {
    run(async {
        for agreed in [false, true] {
            let bench = Bench::new();
            let (mut client, relay_client) = duplex(1 << 16);
            let (mut backend, relay_backend) = duplex(1 << 16);
            let settings = Rc::new(Settings::default());
            let session = Session::new(&bench.worker, &settings, &bench.drain).compression(agreed);
            let _relay = tokio::task::spawn_local(Relay::new(relay_client, relay_backend, session));
            backend.write_all(b"\xC1\x02\x4b\x04").await.unwrap();
            let mut first = [0];
            client.read_exact(&mut first).await.unwrap();
            assert_eq!(first, [if agreed { 0xC1 } else { 0x88 }]);
            client.write_all(b"\xC1\x81\0\0\0\0\x02").await.unwrap();
            backend.read_exact(&mut first).await.unwrap();
            assert_eq!(first, [if agreed { 0xC1 } else { 0x88 }]);
        }
    });
}
