//! Clients that hold on to what they get: slow heads, slow bodies, answers nobody reads.
//!
//! While an attack lasts, other clients ask all the time, and every one of their requests is answered as expected; the
//! attacker's connections end, and the counter of the reason shows that it was for the attack. How long anything takes
//! is not asserted: the deadlines here only end tests that hang.

use std::{net::SocketAddr, time::Duration};

use breakwater_e2e::{
    Error, Result,
    breakwater::{DEADLINE, Site, Up},
    load::{Load, Target},
    origin::{self, Reply},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

const NO_MORE: [&str; 0] = [];

/// Connections of an attacker.
const ATTACKERS: usize = 100;

/// Bytes of the object that attackers do not read: more than the buffers of both ends hold.
const LARGE: usize = 16 << 20;

/// How long an attack may go on before the test fails. The limits it runs into are 10 to 60 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// Between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(500);

#[tokio::test]
async fn heads_that_never_end_are_ended_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start().await?;
    let head = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Slow: ";
    let answers = target.drip(head).await?;
    assert!(
        answers
            .iter()
            .all(|answer| answer.is_empty() || answer.starts_with("HTTP/1.1 408 ")),
        "{answers:?}"
    );
    target.refused("head_timeout").await?;
    target.end().await
}

#[tokio::test]
async fn bodies_that_drip_are_ended_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start().await?;
    let head = "POST /upload HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 100000\r\n\r\n";
    let answers = target.drip(head).await?;
    assert!(
        answers.iter().all(|answer| answer.starts_with("HTTP/1.1 408 ")),
        "{answers:?}"
    );
    target.refused("body_rate").await?;
    target.end().await
}

#[tokio::test]
async fn answers_that_nobody_reads_are_given_up_and_others_are_served() -> Result<()> {
    let mut target = Attacked::start().await?;
    // From now on it comes from the cache: the origin is not what is slow.
    target.up.wait_status("shop.test", "/large", "", 200).await?;
    let mut attack = JoinSet::new();
    for _ in 0..ATTACKERS {
        let front = target.up.front;
        attack.spawn(async move {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(4096)?;
            let mut stream = socket.connect(front).await?;
            stream
                .write_all(b"GET /large HTTP/1.1\r\nHost: shop.test\r\n\r\n")
                .await?;
            // Not a byte is read before the server has given up; then what the buffers hold comes, and no more.
            Ok::<_, std::io::Error>(stream)
        });
    }
    let mut streams = Vec::new();
    while let Some(opened) = attack.join_next().await {
        streams.push(opened.expect("it does not panic").map_err(io("attack"))?);
    }
    target.refused("send_timeout").await?;
    for stream in streams {
        let taken = read_to_end(stream).await?.len();
        assert!(taken < LARGE, "{taken} bytes are the whole answer");
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
    async fn start() -> Result<Self> {
        let origin = origin::start(|_, target| match target {
            "/large" => Reply::text("max-age=600", "x".repeat(LARGE)),
            // It reads on and answers nothing before the body has ended.
            "/upload" => Reply::Silence,
            _ => Reply::text("no-store", target),
        })
        .await?;
        let site = Site::new(&[("site.yaml", &manifest(origin))])?;
        let up = site.up(NO_MORE).await?;
        let mut others = Load::new();
        let target = Target {
            host: "shop.test".to_owned(),
            path: "/same".to_owned(),
            body: "/same".to_owned(),
        };
        others
            .connections(4, up.front, &[target], Duration::from_millis(10))
            .await?;
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
        let mut answers = Vec::new();
        while let Some(ended) = attack.join_next().await {
            answers.push(ended.expect("it does not panic")?);
            self.others.check()?;
        }
        Ok(answers)
    }

    /// Waits until every connection of the attacker is counted under `reason`.
    async fn refused(&mut self, reason: &str) -> Result<()> {
        let series = format!("breakwater_refused_total{{reason=\"{reason}\"}}");
        let waiting = breakwater_e2e::wait::until(&series, PATIENCE, async || {
            let metrics = self.up.metrics().await.map_err(|error| error.to_string())?;
            match metrics.value(&series) {
                Some(value) if value >= ATTACKERS as f64 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        waiting.await
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
    tokio::time::timeout(PATIENCE, both).await.map_err(|_| late())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
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
