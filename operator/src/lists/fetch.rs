//! One fetch of a list: a connection of its own to an address that was judged, a GET, its redirects, its text.
//!
//! HTTP/1.1 by hand rather than by a client library, so that the connection goes to the very address that was judged.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName;

use breakwater_waf::address::list::{Reader, pack};

use super::address::is_refused;
use super::{MAX_ENTRIES, MAX_PACKED, MAX_TEXT, tls};

/// Longest wait for a connection, and for the handshake of TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest time of a whole fetch, its redirects included.
const TOTAL: Duration = Duration::from_secs(120);
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;
/// A list with more entries than this waits until no other one of this size is being read.
const LARGE: usize = 1 << 17;
/// Longest ETag or date that is kept.
const LONGEST_VALIDATOR: usize = 256;

/// What a server said of a list the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// Its ETag.
    pub etag: Option<String>,
    /// Its Last-Modified.
    pub last_modified: Option<String>,
}

/// What a fetch gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The list is the one that is known.
    Unchanged,
    /// A list.
    List {
        /// Packed.
        packed: Vec<u8>,
        /// How many entries its text has.
        entries: u64,
        /// What to ask with the next time.
        validators: Validators,
    },
}

/// Why a list cannot be fetched. Says nothing of what an answer holds, and no query.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL, or that of a redirect, cannot be used.
    #[error("{0} cannot be fetched: only http and https without user and password")]
    Url(String),
    /// A redirect from https to http.
    #[error("it is redirected from https to http")]
    Downgrade,
    /// Redirected too often.
    #[error("it is redirected more than {REDIRECTS} times")]
    Redirects,
    /// A redirect without a target.
    #[error("it is redirected nowhere")]
    NoLocation,
    /// A name that does not resolve.
    #[error("{host} cannot be resolved: {error}")]
    Resolve {
        /// Which.
        host: String,
        /// Why.
        error: io::Error,
    },
    /// All addresses of the host are refused.
    #[error("{0} is at an address from which nothing is fetched (loopback, link-local, metadata service, multicast)")]
    Refused(String),
    /// No connection.
    #[error("{host} cannot be connected to: {error}")]
    Connect {
        /// Where to.
        host: String,
        /// Why.
        error: io::Error,
    },
    /// No certificates to judge the server's by.
    #[error("{0}")]
    Authorities(String),
    /// The exchange failed.
    #[error("the exchange failed: {0}")]
    Http(#[from] hyper::Error),
    /// Not an answer with a list.
    #[error("the answer has status {}", .0.as_u16())]
    Status(StatusCode),
    /// A coding that is not known.
    #[error("the answer is compressed in a way that is not known: gzip is")]
    Coding,
    /// The text is not a list, or longer than one may be.
    #[error("the answer is no list: {0}")]
    List(String),
    /// The whole took too long.
    #[error("it took longer than {} s", TOTAL.as_secs())]
    Late,
}

/// Fetches lists. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    loopback: bool,
    large: Semaphore,
    max_text: u64,
    /// Whom to believe; none: the machine's authorities, read for each fetch, since they are renewed.
    roots: Option<Arc<RootCertStore>>,
}

impl Fetcher {
    /// `loopback`: this machine's own addresses are allowed.
    #[must_use]
    pub fn new(loopback: bool) -> Self {
        Self::with(loopback, MAX_TEXT, None)
    }

    pub(super) fn with(loopback: bool, max_text: u64, roots: Option<Arc<RootCertStore>>) -> Self {
        Self(Arc::new(Inner {
            loopback,
            large: Semaphore::new(1),
            max_text,
            roots,
        }))
    }

    /// Fetches the list at `url`.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn fetch(&self, url: &str, known: &Validators) -> Result<Fetched, FetchError> {
        timeout(TOTAL, self.follow(url, known))
            .await
            .unwrap_or(Err(FetchError::Late))
    }

    async fn follow(&self, url: &str, known: &Validators) -> Result<Fetched, FetchError> {
        let shown = breakwater_compile::url_list::shown(url);
        let mut url = Url::parse(url).map_err(|_| FetchError::Url(shown.to_owned()))?;
        for _ in 0..=REDIRECTS {
            let (answer, _connection) = self.ask(&url, known).await?;
            match answer.status() {
                StatusCode::OK => return self.read(answer).await,
                StatusCode::NOT_MODIFIED if *known != Validators::default() => return Ok(Fetched::Unchanged),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = text(answer.headers(), &header::LOCATION).ok_or(FetchError::NoLocation)?;
                    let next = url.join(location).map_err(|_| FetchError::NoLocation)?;
                    if url.scheme() == "https" && next.scheme() == "http" {
                        return Err(FetchError::Downgrade);
                    }
                    url = next;
                }
                status => return Err(FetchError::Status(status)),
            }
        }
        Err(FetchError::Redirects)
    }

    /// Sends one request; the connection ends with what is returned beside the answer.
    async fn ask(&self, url: &Url, known: &Validators) -> Result<(Response<Incoming>, Connection), FetchError> {
        let unusable = || FetchError::Url(format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()));
        let host = url.host_str().ok_or_else(unusable)?;
        let port = url.port_or_known_default().ok_or_else(unusable)?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(unusable());
        }
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut request = Request::get(target)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("breakwater/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "text/plain, */*;q=0.5")
            .header(header::ACCEPT_ENCODING, "gzip");
        if let Some(etag) = &known.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(date) = &known.last_modified {
            request = request.header(header::IF_MODIFIED_SINCE, date);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| unusable())?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = self.connect(bare, port).await?;
        if url.scheme() == "http" {
            return exchange(stream, request).await;
        }
        let roots = self.0.roots.clone().map_or_else(tls::system, Ok);
        let connector = roots.and_then(tls::connector).map_err(FetchError::Authorities)?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| unusable())?;
        let failed = |error| FetchError::Connect {
            host: bare.to_owned(),
            error,
        };
        let shaken = timeout(CONNECT, connector.connect(name, stream)).await;
        let stream = shaken.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        exchange(stream.map_err(failed)?, request).await
    }

    /// Connects to an address of `host` that is allowed.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, FetchError> {
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let failed = |error| FetchError::Resolve {
                    host: host.to_owned(),
                    error,
                };
                let resolved = timeout(CONNECT, tokio::net::lookup_host((host, port))).await;
                let resolved = resolved.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
                resolved.map_err(failed)?.collect()
            }
        };
        let mut error = None;
        let allowed = |address: &&SocketAddr| !is_refused(address.ip(), self.0.loopback);
        for address in addresses.iter().filter(allowed).take(ADDRESSES) {
            let connected = timeout(CONNECT, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(stream),
                Err(failed) => error = Some(failed),
            }
        }
        let host = host.to_owned();
        Err(match error {
            Some(error) => FetchError::Connect { host, error },
            None => FetchError::Refused(host),
        })
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Fetched, FetchError> {
        let validators = Validators {
            etag: validator(answer.headers(), &header::ETAG),
            last_modified: validator(answer.headers(), &header::LAST_MODIFIED),
        };
        let reader = Text(Reader::new(self.0.max_text, MAX_ENTRIES));
        let mut decoder = match text(answer.headers(), &header::CONTENT_ENCODING) {
            None | Some("" | "identity") => Decoder::Plain(reader),
            Some("gzip" | "x-gzip") => Decoder::Gzip(Box::new(MultiGzDecoder::new(reader))),
            Some(_) => return Err(FetchError::Coding),
        };
        let no_list = |error: io::Error| FetchError::List(error.to_string());
        let mut body = answer.into_body();
        let mut large: Option<SemaphorePermit<'_>> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            decoder.write_all(&data).map_err(no_list)?;
            if large.is_none() && decoder.len() > LARGE {
                large = self.0.large.acquire().await.ok();
            }
        }
        let Text(reader) = decoder.finish().map_err(no_list)?;
        let nets = reader.finish().map_err(|error| FetchError::List(error.to_string()))?;
        let entries = nets.len() as u64;
        let packed = tokio::task::spawn_blocking(move || pack(&nets)).await;
        let packed = packed.map_err(|error| FetchError::List(error.to_string()))?;
        if packed.len() > MAX_PACKED {
            let text = format!("it takes {} bytes packed: {MAX_PACKED} at most", packed.len());
            return Err(FetchError::List(text));
        }
        Ok(Fetched::List {
            packed,
            entries,
            validators,
        })
    }
}

/// The task that drives a connection; ends with this.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(Response<Incoming>, Connection), FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(connection).abort_handle());
    Ok((sender.send_request(request).await?, connection))
}

fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

fn validator(fields: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = text(fields, name)?;
    (value.len() <= LONGEST_VALIDATOR).then(|| value.to_owned())
}

/// The reader as something to write to.
struct Text(Reader);

impl io::Write for Text {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0.push(piece).map_err(io::Error::other)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Decoder {
    Plain(Text),
    Gzip(Box<MultiGzDecoder<Text>>),
}

impl Decoder {
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(text) => text.write_all(piece),
            Self::Gzip(decoder) => decoder.write_all(piece),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Plain(text) => text.0.len(),
            Self::Gzip(decoder) => decoder.get_ref().0.len(),
        }
    }

    fn finish(self) -> io::Result<Text> {
        match self {
            Self::Plain(text) => Ok(text),
            Self::Gzip(decoder) => decoder.finish(),
        }
    }
}
