//! A small HTTP/2 client of frames made by hand, in clear text and with prior knowledge (RFC 9113).
//!
//! Invariant: it sends what it is told to, so that a test can also send what no client should, and it understands just
//! enough of what comes back: frames, and of a head its status.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Error, Result, error::Context};

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 section 6).
pub const DATA: u8 = 0;
/// A header block, or its beginning.
pub const HEADERS: u8 = 1;
/// The end of a stream before its time.
pub const RST_STREAM: u8 = 3;
/// What the sender can take.
pub const SETTINGS: u8 = 4;
/// Asks for an answer.
pub const PING: u8 = 6;
/// The end of the connection.
pub const GOAWAY: u8 = 7;
/// So many bytes more may come.
pub const WINDOW_UPDATE: u8 = 8;
/// More of a header block.
pub const CONTINUATION: u8 = 9;

/// The flag END_STREAM.
pub const END: u8 = 1;
/// The flag ACK, of SETTINGS and PING.
pub const ACK: u8 = 1;
/// The flag END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// The setting of the window that each stream begins with.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

/// How long one response may take. Far above anything that is measured: it only ends tests that hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// The length of a frame's header.
const HEADER: usize = 9;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    /// The rest of it.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code, of RST_STREAM and GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        self.payload
            .get(at..)?
            .first_chunk()
            .map(|code| u32::from_be_bytes(*code))
    }

    /// The status of a response's HEADERS, if it is the first field, as it must be.
    fn status(&self) -> Option<u16> {
        const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        match *self.payload.first_chunk::<5>()? {
            // A field of the static table (RFC 7541 appendix A).
            [first @ 0x88..=0x8e, ..] => INDEXED.get(usize::from(first - 0x88)).copied(),
            // A literal with the name of the table's entry 8.
            [0x08 | 0x18 | 0x48, 3, digits @ ..] => std::str::from_utf8(&digits).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Takes one from the start of `bytes`, if all of it is there.
    fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let &[a, b, c, kind, flags, d, e, f, g] = bytes.first_chunk::<HEADER>()?;
        let end = HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
        if bytes.len() < end {
            return None;
        }
        let payload = bytes.drain(..end).skip(HEADER).collect();
        Some(Self {
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
            payload,
        })
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What a client begins with: the preface, and SETTINGS.
pub fn opening(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// A header block of literals that no table takes, without Huffman codes.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// The header block of a request without fields of its own.
pub fn request(method: &str, host: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":authority", host),
        (":path", path),
    ])
}

/// A string with its length, an integer with a prefix of seven bits (RFC 7541 section 5).
pub fn string(block: &mut Vec<u8>, text: &str) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend(text.as_bytes());
}

/// A connection.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    next: u32,
    /// The last stream that the server takes, once it has said so in good order.
    leaving: Option<u32>,
}

impl Connection {
    /// Connects, with these settings.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context(|| format!("set up {address}"))?;
        Self::over(stream, settings).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Begins on a stream that is connected, with these settings.
    ///
    /// # Errors
    /// When the server closed it.
    pub async fn over(stream: S, settings: &[(u16, u32)]) -> Result<Self> {
        let mut connection = Self {
            stream,
            buffer: Vec::new(),
            next: 1,
            leaving: None,
        };
        connection.write(&opening(settings)).await?;
        Ok(connection)
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// When the server closed the connection.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.stream.write_all(bytes).await;
        written.context(|| "send frames".to_owned())
    }

    /// Sends `GET path` of `host` and returns its stream.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn ask(&mut self, host: &str, path: &str) -> Result<u32> {
        let stream = self.next;
        self.next += 2;
        self.write(&frame(HEADERS, END | END_HEADERS, stream, &request("GET", host, path)))
            .await?;
        Ok(stream)
    }

    /// `GET path` of `host`: the status and the body.
    ///
    /// # Errors
    /// When the connection or the stream ends first, or it takes longer than a minute.
    pub async fn get(&mut self, host: &str, path: &str) -> Result<(u16, String)> {
        let exchange = async {
            let stream = self.ask(host, path).await?;
            self.response(stream).await
        };
        tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| {
            Err(Error::Timeout {
                what: format!("a response to GET {path} over HTTP/2"),
                seconds: DEADLINE.as_secs_f64(),
                last: "no complete response".to_owned(),
            })
        })
    }

    async fn response(&mut self, stream: u32) -> Result<(u16, String)> {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let frame = self
                .next()
                .await?
                .ok_or_else(|| Error::Invalid("the connection ended before the response".to_owned()))?;
            match frame.kind {
                GOAWAY if self.leaving.is_some_and(|last| stream <= last) => continue,
                GOAWAY => return Err(Error::Invalid(format!("no response but {frame:?}"))),
                _ if frame.stream != stream => continue,
                HEADERS => {
                    status = frame
                        .status()
                        .ok_or_else(|| Error::Invalid(format!("no status: {frame:?}")))?;
                }
                DATA => body.extend(&frame.payload),
                WINDOW_UPDATE => continue,
                _ => return Err(Error::Invalid(format!("no response but {frame:?}"))),
            }
            if frame.flags & END != 0 {
                return Ok((status, String::from_utf8_lossy(&body).into_owned()));
            }
        }
    }

    /// The next frame; none at the end of the connection. SETTINGS are acknowledged, and the connection's window is
    /// opened by what came; a stream's is not.
    ///
    /// # Errors
    /// When the server resets the connection.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        let frame = loop {
            if let Some(frame) = Frame::take(&mut self.buffer) {
                break frame;
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.context(|| "read frames".to_owned())? == 0 {
                return Ok(None);
            }
        };
        match frame.kind {
            GOAWAY if frame.code() == Some(0) => {
                let last = frame.payload.first_chunk().map(|last| u32::from_be_bytes(*last));
                self.leaving = Some(last.unwrap_or_default() & 0x7fff_ffff);
            }
            SETTINGS if frame.flags & ACK == 0 => self.write(&self::frame(SETTINGS, ACK, 0, &[])).await?,
            DATA if !frame.payload.is_empty() => {
                let window = (frame.payload.len() as u32).to_be_bytes();
                self.write(&self::frame(WINDOW_UPDATE, 0, 0, &window)).await?;
            }
            _ => {}
        }
        Ok(Some(frame))
    }

    /// Whether the server has asked, in good order, to go elsewhere with what comes next.
    pub const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }
}

impl Connection {
    /// The frames that come until the end of the connection, be it a reset, while these bytes are sent again and again.
    pub async fn flood(self, mut more: impl FnMut() -> Vec<u8>) -> Vec<Frame> {
        let (mut reader, mut writer) = self.stream.into_split();
        let mut bytes = self.buffer;
        let write = async { while writer.write_all(&more()).await.is_ok() {} };
        {
            let read = async { while matches!(reader.read_buf(&mut bytes).await, Ok(1..)) {} };
            let mut read = std::pin::pin!(read);
            tokio::select! {
                () = &mut read => {}
                // What the server said before it closed may be there yet.
                () = write => read.await,
            }
        }
        std::iter::from_fn(|| Frame::take(&mut bytes)).collect()
    }

    /// The stream below, to do with it as one likes.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole() {
        let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 7, 0, 0, 0, 11]);
        let reset = frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]);
        let mut bytes = [&goaway[..], &reset[..12]].concat();
        assert_eq!(Frame::take(&mut bytes).and_then(|frame| frame.code()), Some(11));
        assert_eq!(Frame::take(&mut bytes), None);
        bytes.extend(&reset[12..]);
        let frame = Frame::take(&mut bytes).expect("it is whole");
        assert_eq!((frame.stream, frame.code(), bytes.len()), (3, Some(8), 0));
    }

    #[test]
    fn a_status_is_read_from_either_form() {
        let head = |payload: &[u8]| Frame {
            kind: HEADERS,
            flags: END_HEADERS,
            stream: 1,
            payload: payload.to_vec(),
        };
        assert_eq!(head(b"\x88\x00\x01a\x00").status(), Some(200));
        assert_eq!(head(b"\x8d\x00\x01a\x00").status(), Some(404));
        assert_eq!(head(b"\x08\x03431").status(), Some(431));
        assert_eq!(head(b"\x00\x01a\x01b").status(), None);
    }

    #[test]
    fn lengths_beyond_the_prefix_take_more_bytes() {
        let block = block(&[("a", &"x".repeat(300))]);
        assert_eq!(block[..5], [0, 1, b'a', 127, 173]);
        assert_eq!((block[5], block.len()), (1, 306));
    }
}
