//! A socket to a server, in clear text or over TLS.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Room made for bytes that come while others are sent.
const EARLY: usize = 8 * 1024;

/// An open connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Clear text.
    Plain(TcpStream),
    /// TLS, after its handshake. Boxed: its state is many times that of a socket.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What came of an attempt to send.
pub(super) enum Sent {
    /// So many bytes were taken.
    Bytes(usize),
    /// The server said something, or closed: reading shows it.
    Answered,
}

impl Stream {
    /// Whether there is nothing to read: neither bytes nobody asked for, nor the end.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let nothing = stream.try_read(&mut [0]);
                nothing.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            // Session tickets are taken in on the way.
            Self::Tls(stream) => {
                let mut byte = [0];
                let mut context = Context::from_waker(Waker::noop());
                Pin::new(stream)
                    .poll_read(&mut context, &mut ReadBuf::new(&mut byte))
                    .is_pending()
            }
        }
    }

    /// Waits until there is something to read, or the end. What TLS had to read for that is put into `received`.
    pub(super) async fn readable(&mut self, received: &mut BytesMut) -> io::Result<()> {
        if !received.is_empty() {
            return Ok(());
        }
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Tls(stream) => {
                received.reserve(EARLY);
                stream.read_buf(received).await.map(drop)
            }
        }
    }

    /// Sends what can be sent, unless the server speaks first. With no bytes: sees that all are on their way.
    pub(super) async fn send(&mut self, bytes: &[u8], received: &mut BytesMut) -> io::Result<Sent> {
        match self {
            Self::Plain(_) if bytes.is_empty() => Ok(Sent::Bytes(0)),
            Self::Plain(stream) => loop {
                let ready = stream.ready(Interest::READABLE | Interest::WRITABLE).await?;
                if ready.is_writable() {
                    match stream.try_write(bytes) {
                        Ok(written) => return Ok(Sent::Bytes(written)),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        // An answer may have come before the server closed.
                        Err(_) => return Ok(Sent::Answered),
                    }
                } else if ready.is_readable() {
                    return Ok(Sent::Answered);
                }
            },
            Self::Tls(stream) => {
                received.reserve(EARLY);
                poll_fn(|cx| {
                    let sent = match bytes {
                        [] => Pin::new(&mut **stream).poll_flush(cx).map_ok(|()| 0),
                        bytes => Pin::new(&mut **stream).poll_write(cx, bytes),
                    };
                    match sent {
                        Poll::Ready(Ok(written)) => Poll::Ready(Ok(Sent::Bytes(written))),
                        Poll::Ready(Err(_)) => Poll::Ready(Ok(Sent::Answered)),
                        Poll::Pending => {
                            // Reading has no state of its own: it may begin anew with each poll.
                            pin!(stream.read_buf(received)).poll(cx).map(|_| Ok(Sent::Answered))
                        }
                    }
                })
                .await
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
