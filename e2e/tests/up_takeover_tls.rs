//! Takeover with TLS and HTTP/2 clients under load, and what the service manager is told meanwhile.

use std::{os::unix::net::UnixDatagram, sync::Arc};

use breakwater_e2e::{
    Error, Result,
    breakwater::{self, DEADLINE, Site},
    http,
    load::{Connect, Load, Ready, tcp},
    takeover::{self, PACE, start, targets},
    wait,
};
use rustix::process::Signal;
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider, pki_types::ServerName};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::{TlsConnector, client::TlsStream};

const TAKEOVERS: usize = 3;

/// Connections of each kind: HTTP/1.1 over TLS, HTTP/2 over TLS, HTTP/2 in clear text.
const CONNECTIONS: usize = 16;

/// What every process of these sites has.
const TLS: [&str; 2] = ["--listen-tls", "127.0.0.1:0"];

/// One load at a time: a debug build on a busy machine has no reason to shed load, which it would do with 503.
static ALONE: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takeovers_under_tls_and_http_2_fail_no_request() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (site, certificate) = site().await?;
    let mut up = start(&site, 0, &[&TLS[..], &["--workers", "2"]].concat(), None).await?;
    let (front, secure) = (up.front, up.front_tls.expect("it listens with TLS"));
    let [stored, passed] = targets();
    let mut load = Load::new();
    let targets = [stored.clone(), passed.clone()];
    let tls = |protocol| tls(&Ready::new(&[secure]), &certificate, protocol);
    load.balanced_over(CONNECTIONS, &tls(b"http/1.1"), &targets, PACE)
        .await?;
    load.balanced_http2_over(CONNECTIONS, &tls(b"h2"), &passed, PACE)
        .await?;
    load.balanced_http2_over(CONNECTIONS, &tcp(&Ready::new(&[front])), &stored, PACE)
        .await?;

    for number in 1..=TAKEOVERS {
        let before = load.done();
        let next = start(
            &site,
            number,
            &[&TLS[..], &["--takeover", "--workers", "2"]].concat(),
            None,
        )
        .await?;
        assert_eq!((next.front, next.front_tls), (front, Some(secure)), "the same sockets");
        // Everybody was told to come again, and did.
        wait::until("all connections to move", DEADLINE, async || {
            let moved = load.done().reconnected - before.reconnected;
            if moved < 3 * CONNECTIONS as u64 && load.check().is_ok() {
                return Err(format!("{moved} moved"));
            }
            Ok(())
        })
        .await?;
        let said = |error| {
            Error::Invalid(format!(
                "{error}; said:\n{:?}\n{:?}",
                up.process.output(),
                next.process.output()
            ))
        };
        let after = load.check().map_err(said)?;
        assert!(after.requests > before.requests, "{after:?}");
        let status = up.process.wait_end(DEADLINE * 2).await?;
        assert_eq!(status.code(), Some(0), "{}", up.process.output()?);
        up = next;
    }
    let done = load.stop().await?;
    eprintln!("{TAKEOVERS} takeovers with TLS and HTTP/2: {done:?}, 0 failed");
    assert_eq!(up.stop().await?.code(), Some(0), "{}", up.process.output()?);
    Ok(())
}

#[tokio::test]
async fn the_service_manager_hears_of_readiness_reloads_takeovers_and_the_end() -> Result<()> {
    let _alone = ALONE.lock().await;
    let (site, _) = site().await?;
    let manager = Manager::listen(&site)?;
    let mut up = start(&site, 0, &TLS, Some(&manager.path)).await?;
    assert_eq!(manager.next().await?, "READY=1");

    up.process.signal(Signal::HUP)?;
    let reloading = manager.next().await?;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.next().await?, "READY=1");

    let mut next = start(&site, 1, &[&TLS[..], &["--takeover"]].concat(), Some(&manager.path)).await?;
    assert_eq!(manager.next().await?, format!("MAINPID={}\nREADY=1", next.process.id()));
    // The service does not stop: nothing more is heard of the old process.
    assert_eq!(up.process.wait_end(DEADLINE * 2).await?.code(), Some(0));
    assert_eq!(http::get(next.admin, "localhost", "/readyz", "").await?.status, 200);
    assert_eq!(next.stop().await?.code(), Some(0));
    assert_eq!(manager.next().await?, "STOPPING=1");
    manager.nothing_more()
}

/// The socket of a service manager.
struct Manager {
    socket: tokio::net::UnixDatagram,
    path: std::path::PathBuf,
}

impl Manager {
    fn listen(site: &Site) -> Result<Self> {
        let path = site.path("notify");
        let bound = UnixDatagram::bind(&path).and_then(|socket| {
            socket.set_nonblocking(true)?;
            tokio::net::UnixDatagram::from_std(socket)
        });
        let socket = bound.map_err(|error| Error::Invalid(format!("the manager's socket: {error}")))?;
        Ok(Self { socket, path })
    }

    async fn next(&self) -> Result<String> {
        let mut buffer = [0; 1024];
        let received = tokio::time::timeout(DEADLINE, self.socket.recv(&mut buffer)).await;
        let length = received
            .map_err(|_| Error::Invalid("the manager heard nothing".to_owned()))?
            .map_err(|error| Error::Invalid(format!("the manager's socket: {error}")))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn nothing_more(&self) -> Result<()> {
        let mut buffer = [0; 1024];
        match self.socket.try_recv(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            other => Err(Error::Invalid(format!("{other:?}: {buffer:?}"))),
        }
    }
}

/// A site over TLS with a route that is stored and one that is not, and its certificate.
async fn site() -> Result<(Site, rcgen::Certificate)> {
    let origin = takeover::origin().await?;
    let signed = rcgen::generate_simple_self_signed(["site.test".to_owned()]).expect("a certificate");
    let indented = |pem: String| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let site = Site::new(&[(
        "site.yaml",
        &breakwater::tls_site(
            origin,
            &format!(
                "stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
                indented(signed.cert.pem()),
                indented(signed.signing_key.serialize_pem())
            ),
        ),
    )])?;
    Ok((site, signed.cert))
}

/// Connects with TLS, by the protocol of this name.
fn tls(ready: &Ready, certificate: &rcgen::Certificate, protocol: &[u8]) -> Connect<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("it can be believed");
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let (ready, protocol) = (ready.clone(), protocol.to_vec());
    Arc::new(move |number| {
        let (connector, server, protocol) = (connector.clone(), ready.pick(number), protocol.clone());
        Box::pin(async move {
            let failed = |error: std::io::Error| Error::Invalid(format!("a TLS handshake: {error}"));
            let stream = TcpStream::connect(server?).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let name = ServerName::try_from("site.test").expect("it is a name");
            let stream = connector.connect(name, stream).await.map_err(failed)?;
            match stream.get_ref().1.alpn_protocol() {
                Some(agreed) if agreed == protocol => Ok(stream),
                other => Err(Error::Invalid(format!("{other:?} was agreed on"))),
            }
        })
    })
}
