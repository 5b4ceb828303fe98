//! A scripted origin: it answers every path with text that tells how often it was asked for it,
//! and those below `/same` with always the same text.
//!
//! It listens at an address of this machine that is no loopback address, because an API server
//! refuses those in an EndpointSlice; what is sent there never leaves the machine.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{Error, Result, error::Context};

/// An origin that runs until it is dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    asked: Asked,
    _task: JoinSet<()>,
}

type Asked = Arc<Mutex<HashMap<String, usize>>>;

impl Origin {
    /// Starts one.
    ///
    /// # Errors
    /// When this machine has no address but loopback ones.
    pub async fn start() -> Result<Self> {
        let host = machine_address()?;
        let listener = TcpListener::bind((host, 0))
            .await
            .context(|| format!("listen on {host}"))?;
        let address = listener
            .local_addr()
            .context(|| "ask for the origin's port".to_owned())?;
        let asked = Asked::default();
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::clone(&asked)));
        Ok(Self {
            address,
            asked,
            _task: task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked for `path`, queries aside.
    pub fn asked(&self, path: &str) -> usize {
        lock(&self.asked).get(path).copied().unwrap_or_default()
    }

    /// The manifests of a Service without selector, `NAME:PORT`, whose one endpoint is this origin.
    pub fn service(&self, name: &str, port: u16) -> String {
        let (address, target) = (self.address.ip(), self.address.port());
        let family = if self.address.is_ipv4() { "IPv4" } else { "IPv6" };
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{ports: [{{name: http, port: {port}}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: {family}\nports: [{{name: http, port: {target}, protocol: TCP}}]\n\
             endpoints: [{{addresses: [\"{address}\"], conditions: {{ready: true}}}}]\n"
        )
    }
}

/// The address this machine would send from; nothing is sent to find it.
fn machine_address() -> Result<IpAddr> {
    let source = |any: &str, far: &str| {
        let socket = UdpSocket::bind((any, 0))?;
        // TEST-NET-3 and 2001:db8::/32 are nobody's; connecting a datagram socket only looks up a route.
        socket.connect((far, 9))?;
        socket.local_addr().map(|address| address.ip())
    };
    source("0.0.0.0", "203.0.113.1")
        .or_else(|_| source("::", "2001:db8::1"))
        .ok()
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .ok_or_else(|| {
            Error::Missing(
                "  an address: an API server takes no loopback address as an endpoint; give this machine a route"
                    .to_owned(),
            )
        })
}

async fn accept(listener: TcpListener, asked: Asked) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, Arc::clone(&asked)));
        while connections.try_join_next().is_some() {}
    }
}

/// Answers request after request until the peer goes.
async fn answer(stream: TcpStream, asked: Asked) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut target = String::new();
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                first if target.is_empty() => {
                    first.split(' ').nth(1).unwrap_or("/").clone_into(&mut target);
                }
                _ => {}
            }
        }
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let body = {
            let mut asked = lock(&asked);
            let count = asked.entry(path.clone()).or_default();
            *count += 1;
            if path.starts_with("/same") {
                path
            } else {
                format!("{path} for the {count}. time")
            }
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).await?;
    }
}

fn lock(asked: &Asked) -> MutexGuard<'_, HashMap<String, usize>> {
    // Nothing panics with the lock held.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}
