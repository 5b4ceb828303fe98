//! An HTTP/2 client of raw frames: it sends whatever it is told to, and understands what comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// END_STREAM, and ACK.
pub(crate) const END: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A response, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// 0 before the head.
    pub(crate) status: u16,
    /// The statuses of interim responses.
    pub(crate) interim: Vec<u16>,
    fields: Vec<(String, String)>,
    /// The fields behind the body.
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) ended: bool,
    /// The code of a RST_STREAM.
    pub(crate) reset: Option<u32>,
}

impl Answer {
    pub(crate) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.field("cache-status")
            .is_some_and(|status| status.starts_with("breakwater; hit"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub(crate) struct Http2<S = TcpStream> {
    pub(crate) stream: S,
    received: Vec<u8>,
    next: u32,
    /// What came on each stream.
    pub(crate) answers: BTreeMap<u32, Answer>,
    /// `last stream, code` of each GOAWAY.
    pub(crate) goaways: Vec<(u32, u32)>,
    /// Window updates that came, for each stream.
    pub(crate) windows: BTreeMap<u32, u32>,
    /// Acknowledged PINGs.
    pub(crate) pongs: usize,
    /// Give windows back as DATA comes.
    pub(crate) reads: bool,
}

impl Http2 {
    /// Connects with prior knowledge; `settings` are the client's.
    pub(crate) async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, settings).await
    }

    /// As [`Self::connect`], with little room for what was not read yet.
    pub(crate) async fn connect_narrow(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, settings).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http2<S> {
    /// Begins on a stream that is there.
    pub(crate) async fn over(stream: S, settings: &[(u16, u32)]) -> Self {
        let mut client = Self {
            stream,
            received: Vec::new(),
            next: 1,
            answers: BTreeMap::new(),
            goaways: Vec::new(),
            windows: BTreeMap::new(),
            pongs: 0,
            reads: true,
        };
        client.write(PREFACE).await;
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend_from_slice(&id.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        client.send(SETTINGS, 0, 0, &payload).await;
        client
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // The data plane may have closed: whoever waits for an answer sees it.
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload)).await;
    }

    /// A request to `shop.test` without body. Returns its stream.
    pub(crate) async fn get(&mut self, path: &str) -> u32 {
        self.request(&head("GET", "shop.test", path), true).await
    }

    /// A request with these fields, pseudo-header fields included.
    pub(crate) async fn request(&mut self, fields: &[(&str, &str)], end: bool) -> u32 {
        let stream = self.open();
        let flags = END_HEADERS | u8::from(end);
        self.send(HEADERS, flags, stream, &block(fields)).await;
        stream
    }

    /// The next stream of the client.
    pub(crate) fn open(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&mut self, fields: &[(&str, &str)]) -> Answer {
        let stream = self.request(fields, true).await;
        self.answer(stream).await
    }

    /// The answer on a stream, once it has ended, was reset, or the connection is gone.
    pub(crate) async fn answer(&mut self, stream: u32) -> Answer {
        self.until(|client| {
            client
                .answers
                .get(&stream)
                .is_some_and(|a| a.ended || a.reset.is_some())
        })
        .await;
        self.answers.get(&stream).cloned().unwrap_or_default()
    }

    /// Reads until `done`, or the end of the connection; false then.
    pub(crate) async fn until(&mut self, done: impl Fn(&Self) -> bool) -> bool {
        within("frames", async {
            while !done(self) {
                if !self.read_frame().await {
                    return false;
                }
            }
            true
        })
        .await
    }

    /// Reads until the data plane closes; the code of the last GOAWAY.
    pub(crate) async fn closed(&mut self) -> Option<u32> {
        self.until(|_| false).await;
        self.goaways.last().map(|(_, code)| *code)
    }

    /// Everything that was sent has been dealt with.
    pub(crate) async fn ping(&mut self) -> bool {
        let pongs = self.pongs;
        self.send(PING, 0, 0, b"8 bytes.").await;
        self.until(|client| client.pongs > pongs).await
    }

    async fn read_frame(&mut self) -> bool {
        while self.received.len() < 9 || self.received.len() < 9 + length(&self.received) {
            if !matches!(self.stream.read_buf(&mut self.received).await, Ok(n) if n > 0) {
                return false;
            }
        }
        let rest = self.received.split_off(9 + length(&self.received));
        let frame = std::mem::replace(&mut self.received, rest);
        let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
        let (kind, flags, stream) = (frame[3], frame[4], number(5));
        match kind {
            DATA => {
                let answer = self.answers.entry(stream).or_default();
                answer.body.extend_from_slice(&frame[9..]);
                answer.ended |= flags & END != 0;
                if self.reads && frame.len() > 9 {
                    let window = ((frame.len() - 9) as u32).to_be_bytes();
                    self.send(WINDOW_UPDATE, 0, 0, &window).await;
                    self.send(WINDOW_UPDATE, 0, stream, &window).await;
                }
            }
            HEADERS => {
                assert!(flags & END_HEADERS != 0, "heads of the tests fit one frame");
                let answer = self.answers.entry(stream).or_default();
                answer.ended |= flags & END != 0;
                let fields = fields(&frame[9..]);
                if fields[0].0 != ":status" {
                    answer.trailers = fields;
                    return true;
                }
                let status = fields[0].1.parse().unwrap();
                if status < 200 {
                    answer.interim.push(status);
                } else {
                    answer.status = status;
                    answer.fields = fields;
                }
            }
            RST_STREAM => self.answers.entry(stream).or_default().reset = Some(number(9)),
            SETTINGS if flags & END == 0 => self.send(SETTINGS, END, 0, &[]).await,
            PING => self.pongs += 1,
            GOAWAY => self.goaways.push((number(9), number(13))),
            WINDOW_UPDATE => *self.windows.entry(stream).or_default() += number(9),
            _ => {}
        }
        true
    }
}

fn length(frame: &[u8]) -> usize {
    frame[..3].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

/// The fields of an ordinary request.
pub(crate) fn head<'a>(method: &'a str, host: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", host),
        (":path", path),
    ]
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block of plain literals.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value.as_bytes());
    }
    block
}

fn string(block: &mut Vec<u8>, text: &[u8]) {
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
    block.extend_from_slice(text);
}

/// Names of the static table (RFC 7541 appendix A) from 1 on, and the values of `:status`.
const NAMES: &str = ":authority :method :method :path :path :scheme :scheme :status :status :status :status :status \
    :status :status accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin \
    age allow authorization cache-control content-disposition content-encoding content-language content-length \
    content-location content-range content-type cookie date etag expect expires from host if-match if-modified-since \
    if-none-match if-range if-unmodified-since last-modified link location max-forwards proxy-authenticate \
    proxy-authorization range referer refresh retry-after server set-cookie strict-transport-security \
    transfer-encoding user-agent vary via www-authenticate";
const STATUSES: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];

/// The fields of a block without Huffman codes and without a dynamic table, which is all the data plane sends.
fn fields(mut block: &[u8]) -> Vec<(String, String)> {
    let names: Vec<_> = NAMES.split_whitespace().collect();
    let mut fields = Vec::new();
    while let Some(first) = block.first() {
        if first & 0x80 != 0 {
            let index = integer(&mut block, 0x7f);
            fields.push((names[index - 1].to_owned(), STATUSES[index - 8].to_owned()));
        } else if first & 0x20 != 0 {
            integer(&mut block, 0x1f);
        } else {
            let index = integer(&mut block, 0x0f);
            let name = match index {
                0 => text(&mut block),
                _ => names[index - 1].to_owned(),
            };
            fields.push((name, text(&mut block)));
        }
    }
    fields
}

fn integer(block: &mut &[u8], mask: u8) -> usize {
    let mut value = usize::from(block[0] & mask);
    *block = &block[1..];
    if value == usize::from(mask) {
        let mut shift = 0;
        loop {
            let byte = block[0];
            *block = &block[1..];
            value += usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                break;
            }
        }
    }
    value
}

fn text(block: &mut &[u8]) -> String {
    assert!(block[0] & 0x80 == 0, "no Huffman codes are sent");
    let length = integer(block, 0x7f);
    let text = String::from_utf8(block[..length].to_vec()).unwrap();
    *block = &block[length..];
    text
}
