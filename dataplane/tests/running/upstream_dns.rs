//! Origins by name: a name server of the test's own answers.

use std::net::{Ipv4Addr, SocketAddr};

use breakwater_snapshot::unit::{EdgeCache, Endpoint, Unit};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::support::{Origin, Plane, answer, edge_cache, objects, until};

/// What the name server says of every name: addresses, or an error code (RFC 1035 section 4.1.1).
type Answers = Result<Vec<Ipv4Addr>, u8>;

const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;

/// A name server. Stops when it is dropped.
struct NameServer {
    address: SocketAddr,
    answers: watch::Sender<Answers>,
    /// How many questions came.
    asked: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NameServer {
    async fn start(answers: Answers) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (answers, now) = watch::channel(answers);
        let (count, asked) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut query).await.unwrap();
                let reply = reply(&query[..len], &now.borrow());
                socket.send_to(&reply, from).await.unwrap();
                count.send_modify(|count| *count += 1);
            }
        });
        Self {
            address,
            answers,
            asked,
            task,
        }
    }
}

/// Answers a question for A with a TTL of a second, any other with nothing.
fn reply(query: &[u8], answers: &Answers) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = &query[12..end + 5];
    let is_a = query[end + 2] == 1;
    let (code, addresses) = match answers {
        Ok(addresses) if is_a => (0, addresses.as_slice()),
        Ok(_) => (0, &[][..]),
        Err(code) => (*code, &[][..]),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    for address in addresses {
        // The name of the question; A, IN, one second, four bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

/// Two origins on one port, at 127.0.0.1 and 127.0.0.2, that say their names.
async fn pair() -> (Origin, Origin) {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let Ok(second) = TcpListener::bind(("127.0.0.2", port)).await else {
            continue;
        };
        let say = |listener, name: &'static str| {
            Origin::on(listener, move |mut peer| async move {
                while peer.request().await.is_some() {
                    peer.send(answer(200, "", name)).await;
                }
            })
        };
        return (say(first, "one"), say(second, "two"));
    }
}

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn site(port: u16) -> EdgeCache {
    let mut site = edge_cache(SocketAddr::from((ONE, port)));
    site.origin.endpoints = vec![Endpoint {
        host: "origin.example.net".to_owned(),
        port,
        weight: 1,
    }];
    site
}

async fn plane(names: &NameServer, port: u16) -> Plane {
    let plane = Plane::with(|options| options.name_servers = vec![names.address]).await;
    plane.apply(objects([("site", Unit::EdgeCache(site(port)))])).await;
    plane
}

async fn ask(plane: &Plane) -> (u16, String) {
    let response = plane.client().await.get("shop.test", "/a", "").await;
    (response.status, response.text())
}

#[tokio::test]
async fn each_address_of_a_name_has_its_turns() {
    let (one, _two) = pair().await;
    let names = NameServer::start(Ok(vec![TWO, ONE])).await;
    let plane = plane(&names, one.address.port()).await;
    let mut texts = Vec::new();
    for _ in 0..4 {
        texts.push(ask(&plane).await.1);
    }
    assert_eq!(texts, ["one", "two", "one", "two"]);
}

#[tokio::test]
async fn a_name_that_moves_is_followed_and_no_request_fails() {
    let (one, _two) = pair().await;
    let names = NameServer::start(Ok(vec![ONE])).await;
    let plane = plane(&names, one.address.port()).await;
    assert_eq!(ask(&plane).await, (200, "one".to_owned()));
    names.answers.send(Ok(vec![TWO])).unwrap();
    until("the name to be followed", async || {
        let (status, text) = ask(&plane).await;
        assert_eq!(status, 200);
        (text == "two").then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_a_name_server_fails_the_old_answer_stands() {
    let (one, _two) = pair().await;
    let names = NameServer::start(Ok(vec![ONE])).await;
    let plane = plane(&names, one.address.port()).await;
    assert_eq!(ask(&plane).await.0, 200);
    names.answers.send(Err(SERVER_FAILURE)).unwrap();
    let before = *names.asked.borrow();
    until("the name server to fail twice", async || {
        assert_eq!(ask(&plane).await, (200, "one".to_owned()));
        (*names.asked.borrow() >= before + 2).then_some(())
    })
    .await;
    assert_eq!(ask(&plane).await, (200, "one".to_owned()));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_bad_gateway_until_it_does() {
    let (one, _two) = pair().await;
    let names = NameServer::start(Err(NO_SUCH_NAME)).await;
    let plane = plane(&names, one.address.port()).await;
    assert_eq!(ask(&plane).await.0, 502);
    names.answers.send(Ok(vec![ONE])).unwrap();
    until("the name to be found", async || {
        (ask(&plane).await == (200, "one".to_owned())).then_some(())
    })
    .await;
}
