//! The whole way over TCP: a client, the handshake's two judges, the relay, an echo server.

use std::net::SocketAddr;

use breakwater_wire::http1::{Limits, Parsed, parse_request, parse_response};
use breakwater_wire::websocket::handshake::{Rules as HandshakeRules, check_request, check_response};
use http::{Method, Version};
use tokio::net::TcpListener;

use super::*;
use crate::testing::{connect, serve_echo};

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: chat.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads until `complete` finds a head; returns what it made of it, and what came after it.
async fn read_head<T>(stream: &mut TcpStream, complete: impl Fn(&[u8]) -> Option<(T, usize)>) -> (T, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        assert!(
            stream.read_buf(&mut bytes).await.unwrap() > 0,
            "the stream ended within the head"
        );
        if let Some((head, length)) = complete(&bytes) {
            return (head, bytes.split_off(length));
        }
    }
}

/// Carries one client through the handshake and relays it, as a data plane does. None if it was refused.
async fn carry(bench: Bench, mut client: TcpStream, backend: SocketAddr, origins: Vec<String>) -> Option<Closed> {
    let (request, early_client) = read_head(&mut client, |bytes| match parse_request(bytes, &Limits::DEFAULT) {
        Ok(Parsed::Complete(head)) => Some((head.to_owned().unwrap(), head.len)),
        Ok(Parsed::Partial) => None,
        Err(error) => panic!("{error:?}"),
    })
    .await;
    let rules = HandshakeRules {
        origins,
        ..HandshakeRules::default()
    };
    let offer = match check_request(&Method::GET, Version::HTTP_11, &request.headers, &rules) {
        Ok(offer) => offer,
        Err(refusal) => {
            let answer = format!(
                "HTTP/1.1 {} Refused\r\nContent-Length: 0\r\n\r\n",
                refusal.status().as_u16()
            );
            client.write_all(answer.as_bytes()).await.unwrap();
            return None;
        }
    };
    let mut backend = TcpStream::connect(backend).await.unwrap();
    let sent = HANDSHAKE.replace("dGhlIHNhbXBsZSBub25jZQ==", offer.key.to_str().unwrap());
    backend.write_all(sent.as_bytes()).await.unwrap();
    let (response, early_backend) = read_head(&mut backend, |bytes| {
        match parse_response(bytes, "GET", &Limits::DEFAULT) {
            Ok(Parsed::Complete(head)) => Some((head.to_owned().unwrap(), head.len)),
            Ok(Parsed::Partial) => None,
            Err(error) => panic!("{error:?}"),
        }
    })
    .await;
    let agreed = check_response(response.status, &response.headers, offer.key.as_bytes(), &offer).unwrap();
    let accept = breakwater_wire::websocket::accept(offer.key.as_bytes());
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
    answer.extend(b"Sec-WebSocket-Accept: ".iter().chain(&accept).chain(b"\r\n\r\n"));
    client.write_all(&answer).await.unwrap();
    let settings = Rc::new(Settings::default());
    let session = Session::new(&bench.worker, &settings, &bench.drain)
        .counters(&bench.counters)
        .compression(agreed.compression)
        .early(Side::Client, &early_client)
        .early(Side::Backend, &early_backend);
    Some(Relay::new(client, backend, session).await)
}

/// A relay for one client in front of `backend`, and its address.
async fn front(backend: SocketAddr, origins: &[&str]) -> (SocketAddr, JoinHandle<Option<Closed>>) {
    let (listener, address) = listen().await;
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let carried = tokio::task::spawn_local(async move {
        let (client, _) = listener.accept().await.unwrap();
        carry(Bench::new(), client, backend, origins).await
    });
    (address, carried)
}

#[test]
fn messages_of_all_sizes_come_back_from_an_echo_server() {
    run_with_sockets(async {
        let (listener, echo) = listen().await;
        tokio::task::spawn_local(serve_echo(listener));
        let (address, carried) = front(echo, &["https://chat.example.com"]).await;
        let origin = Some("https://chat.example.com");
        let mut client = connect(address, "chat.example.com", "/ws", origin, "").await.unwrap();
        for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            let message = Message::Binary((0..length).map(|at| (at % 251) as u8).collect());
            client.send(&message).await.unwrap();
            assert!(client.next().await.unwrap() == message, "{length} bytes");
        }
        client.send(&Message::Ping(b"there?".to_vec())).await.unwrap();
        assert_eq!(client.next().await.unwrap(), Message::Pong(b"there?".to_vec()));
        client.close(Some(1000), "done").await.unwrap();
        assert_eq!(client.next().await.unwrap(), Message::Close(Some(1000), "done".into()));
        assert!(matches!(client.next().await, Err(Error::Eof)));
        drop(client);
        let closed = carried.await.unwrap().unwrap();
        assert_eq!((closed.reason, closed.code), (Reason::Closed(Side::Client), Some(1000)));
        assert_eq!((closed.messages_in, closed.messages_out), (7, 7));
    });
}

#[test]
fn another_origin_is_refused_before_the_backend_hears_of_it() {
    run_with_sockets(async {
        let (listener, echo) = listen().await;
        let (address, carried) = front(echo, &["https://chat.example.com"]).await;
        let refused = connect(address, "chat.example.com", "/ws", Some("https://evil.example"), "").await;
        assert!(
            matches!(refused, Err(Error::Refused { status: 403, .. })),
            "{refused:?}"
        );
        assert_eq!(carried.await.unwrap(), None);
        let mut accepting = std::pin::pin!(listener.accept());
        let accepted = poll_fn(|context| Poll::Ready(accepting.as_mut().poll(context).is_ready())).await;
        assert!(!accepted, "a connection reached the backend");
    });
}

#[test]
fn frames_in_the_packets_of_the_handshake_are_kept_both_ways() {
    run_with_sockets(async {
        let (listener, backend) = listen().await;
        let (address, carried) = front(backend, &[]).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut first = HANDSHAKE.as_bytes().to_vec();
        first.extend(b"\x81\x82\0\0\0\0hi");
        client.write_all(&first).await.unwrap();

        let (mut server, _) = listener.accept().await.unwrap();
        let (_, early) = read_head(&mut server, |bytes| {
            bytes.ends_with(b"\r\n\r\n").then_some(((), bytes.len()))
        })
        .await;
        assert_eq!(early, b"", "frames before the 101");
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
        answer.extend(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02ho");
        server.write_all(&answer).await.unwrap();
        let mut frame = [0; 8];
        server.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"\x81\x82\0\0\0\0hi");

        let head = |bytes: &[u8]| {
            bytes
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
                .map(|at| ((), at + 4))
        };
        let (_, mut rest) = read_head(&mut client, head).await;
        while rest.len() < 4 {
            assert!(client.read_buf(&mut rest).await.unwrap() > 0);
        }
        assert_eq!(rest, b"\x81\x02ho");
        drop((client, server));
        assert!(carried.await.unwrap().is_some());
    });
}

#[test]
fn a_client_that_resets_takes_its_backend_connection_with_it() {
    run_with_sockets(async {
        let (listener, backend) = listen().await;
        let (address, carried) = front(backend, &[]).await;
        let accepting = async {
            let (mut server, _) = listener.accept().await.unwrap();
            let (_, _) = read_head(&mut server, |bytes| {
                bytes.ends_with(b"\r\n\r\n").then_some(((), bytes.len()))
            })
            .await;
            let accept = breakwater_wire::websocket::accept(b"bm90IHNvIHJhbmRvbS4uLg==");
            let mut answer = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec();
            answer.extend(b"Sec-WebSocket-Accept: ".iter().chain(&accept).chain(b"\r\n\r\n"));
            server.write_all(&answer).await.unwrap();
            server
        };
        let (mut server, client) = tokio::join!(accepting, connect(address, "chat.example.com", "/ws", None, ""));
        let mut client = client.unwrap();
        client.stream().set_zero_linger().unwrap();
        drop(client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        drop(server);
        assert_eq!(carried.await.unwrap().unwrap().reason, Reason::Reset(Side::Client));
    });
}
