//! Clients that hold on to what they get: slow heads, slow bodies, answers nobody reads, idle connections by the
//! hundred; and those that make work with the frames of HTTP/2.
//!
//! While an attack lasts, other clients ask all the time, and every one of their requests is answered as expected; the
//! attacker's connections end, and the counter of the reason shows that it was for the attack. How long anything takes
//! is not asserted: the deadlines here only end tests that hang.

#[path = "attacks/http2.rs"]
mod http2;

use std::{net::SocketAddr, time::Duration};

use breakwater_e2e::{
    Error, Result,
    breakwater::{DEADLINE, Site, Up},
    http::Connection,
    load::{Load, Target},
    origin::{self, Reply},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

const NO_MORE: [&str; 0] = [];

/// Connections there is room for with [`FEW`].
const ROOM: usize = 64;

/// Arguments for fewer connections than an attacker opens. All of loopback is one client: it may have every place.
const FEW: [&str; 6] = [
    "--workers",
    "1",
    "--max-connections",
    "64",
    "--max-connections-per-client",
    "1000",
];

/// Connections of the others.
const OTHERS: usize = HTTP1_OTHERS + HTTP2_OTHERS;
const HTTP1_OTHERS: usize = 4;
const HTTP2_OTHERS: usize = 2;

/// Connections of an attacker.
const ATTACKERS: usize = 100;

/// Bytes of the object that attackers do not read: more than the buffers of both ends hold.
const LARGE: usize = 16 << 20;

/// How long an attack may go on before the test fails. The limits it runs into are 10 to 60 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// What comes from the origin each time.
const PROXIED: &str = "/proxied";

/// What is stored, and what the others ask for: it is served also by a worker that is late, be it for the attack or for
/// what else the machine does, while misses are refused then.
const STORED: &str = "/stored";

/// Between two requests of the others.
const PACE: Duration = Duration::from_millis(10);

/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(500);

#[tokio::test]
async fn heads_that_never_end_are_ended_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start(NO_MORE).await?;
    let head = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Slow: ";
    let answers = target.drip(head).await?;
    assert!(
        answers
            .iter()
            .all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 408 ")),
        "{answers:?}"
    );
    target.refused(&["head_timeout"], ATTACKERS).await?;
    target.end().await
}

#[tokio::test]
async fn bodies_that_drip_are_ended_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start(NO_MORE).await?;
    let head = "POST /upload HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n";
    let answers = target.drip(head).await?;
    assert!(
        answers.iter().all(|answer| answer.starts_with("HTTP/1.1 408 ")),
        "{answers:?}"
    );
    target.refused(&["body_rate"], ATTACKERS).await?;
    target.end().await
}

#[tokio::test]
async fn answers_that_nobody_reads_are_given_up_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start(NO_MORE).await?;
    // From now on it comes from the cache: the origin is not what is slow.
    target.up.wait_status("shop.test", "/large", "", 200).await?;
    let mut attack = JoinSet::new();
    for _ in 0..ATTACKERS {
        let front = target.up.front;
        attack.spawn(async move {
            let mut stream = connect_narrow(front).await?;
            let request = b"GET /large HTTP/1.1\r\nHost: shop.test\r\n\r\n";
            stream.write_all(request).await.map_err(io("ask"))?;
            // Not a byte is read before the server has given up; then what the buffers hold comes, and no more.
            Ok(stream)
        });
    }
    let streams = target.watch(attack).await?;
    target.refused(&["send_timeout"], ATTACKERS).await?;
    for stream in streams {
        let taken = read_to_end(stream).await?.len();
        assert!(taken < LARGE, "{taken} bytes are the whole answer");
    }
    target.end().await
}

#[tokio::test]
async fn idle_connections_make_room_for_those_that_ask() -> Result<()> {
    let target = Attacked::start(FEW).await?;
    let mut held = Vec::new();
    for place in 0..ATTACKERS {
        if place == ROOM - OTHERS {
            // Each place is taken. From here on the oldest goes, which is none of the others once they have asked again.
            target.others_ask().await?;
        }
        let mut connection = Connection::open(target.up.front).await?;
        let answer = connection.get("shop.test", STORED, "").await?;
        assert_eq!(answer.status, 200, "each is served before it is idle");
        held.push(connection);
    }
    target.evicted().await?;
    // The oldest went first.
    for connection in held.into_iter().take(ATTACKERS + OTHERS - ROOM) {
        let said = read_to_end(connection.into_stream()).await?;
        assert_eq!(said, b"", "nothing is said to an idle connection");
    }
    target.end().await
}

/// A server under attack, and the clients whose service must not suffer.
struct Attacked {
    up: Up,
    others: Load,
    _site: Site,
}

impl Attacked {
    async fn start(arguments: impl IntoIterator<Item = &'static str>) -> Result<Self> {
        let origin = origin::start(|_, target| match target {
            "/large" => Reply::text("max-age=600", "x".repeat(LARGE)),
            STORED => Reply::text("max-age=600", STORED),
            // It reads on and answers nothing before the body has ended.
            "/upload" => Reply::Silence,
            _ => Reply::text("no-store", target),
        })
        .await?;
        let site = Site::new(&[("site.yaml", &manifest(origin))])?;
        let up = site.up(arguments).await?;
        let mut others = Load::new();
        let target = Target {
            host: "shop.test".to_owned(),
            path: STORED.to_owned(),
            body: STORED.to_owned(),
            open_ended: false,
        };
        let targets = [target];
        others.connections(HTTP1_OTHERS, up.front, &targets, PACE).await?;
        let [target] = &targets;
        others.http2_connections(HTTP2_OTHERS, up.front, target, PACE).await?;
        Ok(Self {
            up,
            others,
            _site: site,
        })
    }

    /// Opens the attacker's connections, each with this beginning and then a byte now and then, until the server ends
    /// them; what it answered.
    async fn drip(&mut self, head: &'static str) -> Result<Vec<String>> {
        let mut attack = JoinSet::new();
        for _ in 0..ATTACKERS {
            attack.spawn(drip(self.up.front, head));
        }
        self.watch(attack).await
    }

    /// Waits for the end of the attack, and sees that the others are served meanwhile.
    async fn watch<T: Send + 'static>(&mut self, mut attack: JoinSet<Result<T>>) -> Result<Vec<T>> {
        let mut outcomes = Vec::new();
        let ends = async {
            while let Some(ended) = attack.join_next().await {
                outcomes.push(ended.expect("it does not panic")?);
                self.others.check()?;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, ends).await.map_err(|_| late())??;
        Ok(outcomes)
    }

    /// Waits until the refusals for `reasons` are `least`.
    async fn refused(&self, reasons: &[&str], least: usize) -> Result<()> {
        let what = format!("{least} of {reasons:?}");
        let waiting = breakwater_e2e::wait::until(&what, PATIENCE, async || {
            let metrics = self.up.metrics().await.map_err(|error| error.to_string())?;
            let count = |reason| metrics.value(&format!("breakwater_refused_total{{reason=\"{reason}\"}}"));
            let count: f64 = reasons.iter().filter_map(count).sum();
            if count >= least as f64 {
                return Ok(());
            }
            let refused = |line: &&str| line.starts_with("breakwater_refused_total");
            let all: Vec<_> = metrics.0.lines().filter(refused).collect();
            Err(all.join("\n"))
        });
        waiting.await
    }

    /// Waits until as many connections were evicted as there are too many with [`FEW`], and returns the count.
    async fn evicted(&self) -> Result<f64> {
        let least = (ATTACKERS + OTHERS - ROOM) as f64;
        let series = "breakwater_connections_evicted_total";
        self.up.wait_metric(series, |evicted| evicted >= least).await
    }

    /// Waits until the others have asked some times more.
    async fn others_ask(&self) -> Result<()> {
        let enough = self.others.done().requests + 10 * OTHERS as u64;
        breakwater_e2e::wait::until("the others to ask", DEADLINE, async || {
            match self.others.done().requests {
                requests if requests >= enough => Ok(()),
                requests => Err(format!("{requests} requests of {enough}")),
            }
        })
        .await
    }

    /// The others were served all the while, and the server is well.
    async fn end(mut self) -> Result<()> {
        let done = self.others.stop().await?;
        assert!(done.requests > 0, "the others have asked");
        let metrics = self.up.metrics().await?;
        assert_eq!(metrics.value("breakwater_worker_restarts_total"), Some(0.0));
        assert_eq!(self.up.stop().await?.code(), Some(0));
        Ok(())
    }
}

async fn drip(front: SocketAddr, head: &str) -> Result<String> {
    let stream = TcpStream::connect(front).await.map_err(io("connect"))?;
    let (mut reader, mut writer) = stream.into_split();
    let write = async {
        let mut pace = tokio::time::interval(DRIP);
        if writer.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        loop {
            pace.tick().await;
            if writer.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    let mut answer = Vec::new();
    let read = async { while matches!(reader.read_buf(&mut answer).await, Ok(1..)) {} };
    let both = async {
        tokio::select! {
            () = read => {}
            // A reset is an end as well.
            () = write => {}
        }
    };
    both.await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A connection that takes little before it is read.
async fn connect_narrow(front: SocketAddr) -> Result<TcpStream> {
    let narrow = async {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        socket.connect(front).await
    };
    narrow.await.map_err(io("connect"))
}

/// What comes until the end of the connection, be it a reset.
async fn read_to_end(mut stream: TcpStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = async { while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {} };
    tokio::time::timeout(DEADLINE, read).await.map_err(|_| late())?;
    Ok(bytes)
}

fn late() -> Error {
    Error::Invalid("the server holds a connection of the attacker".to_owned())
}

fn io(action: &str) -> impl FnOnce(std::io::Error) -> Error {
    let action = action.to_owned();
    move |source| Error::Io { action, source }
}

fn manifest(origin: SocketAddr) -> String {
    format!(
        "apiVersion: breakwater.dev/v1alpha1\nkind: EdgeCache\nmetadata: {{name: shop}}\nspec:\n\
         \x20 hostnames: [shop.test]\n  origin: {{urls: [\"http://{origin}\"]}}\n"
    )
}
