//! Messages over a stream on which the handshake is complete.

use breakwater_wire::websocket::Opcode;
use breakwater_wire::websocket::frame::{Sender, close_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Error, MAX_MESSAGE};

/// What is sent and received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Anything.
    Binary(Vec<u8>),
    /// Asks for a pong.
    Ping(Vec<u8>),
    /// Answers a ping.
    Pong(Vec<u8>),
    /// The closing handshake.
    Close(Option<u16>, String),
}

/// One end of a WebSocket.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    role: Sender,
    /// Read but not yet understood: what came with the handshake.
    early: Vec<u8>,
    masks: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// An end of this stream; `early` was read from it after the handshake.
    pub fn new(stream: S, role: Sender, early: Vec<u8>) -> Self {
        Self {
            stream,
            role,
            early,
            masks: 0,
        }
    }

    /// The stream, for sending what no end should.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends a message as one frame.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send(&mut self, message: &Message) -> Result<(), Error> {
        let (opcode, payload) = match message {
            Message::Text(text) => (Opcode::Text, text.as_bytes()),
            Message::Binary(bytes) => (Opcode::Binary, bytes.as_slice()),
            Message::Ping(bytes) => (Opcode::Ping, bytes.as_slice()),
            Message::Pong(bytes) => (Opcode::Pong, bytes.as_slice()),
            Message::Close(code, reason) => return self.close(*code, reason).await,
        };
        self.send_frame(true, opcode, payload).await
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send_text(&mut self, text: &str) -> Result<(), Error> {
        self.send_frame(true, Opcode::Text, text.as_bytes()).await
    }

    /// Sends one frame, as it is.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send_frame(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) -> Result<(), Error> {
        let mask = self.mask();
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        bytes.push(if fin { 0x80 } else { 0 } | opcode.bits());
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..=125 => bytes.push(masked | short as u8),
            medium @ 126..=0xFFFF => {
                bytes.push(masked | 126);
                bytes.extend((medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(masked | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        let key = mask.unwrap_or_default();
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        self.write(&bytes).await
    }

    /// Sends a close frame.
    ///
    /// # Errors
    /// The socket's.
    pub async fn close(&mut self, code: Option<u16>, reason: &str) -> Result<(), Error> {
        match code {
            Some(code) => {
                let frame = close_frame(code, reason, self.mask());
                self.write(frame.as_bytes()).await
            }
            None => self.send_frame(true, Opcode::Close, &[]).await,
        }
    }

    /// The next message, control frames among them; a control frame within a message comes when that is complete.
    ///
    /// # Errors
    /// [`Error::Eof`] at the end of the stream, the socket's, and those of the peer's frames.
    pub async fn next(&mut self) -> Result<Message, Error> {
        let mut first = None;
        let mut message = Vec::new();
        loop {
            let (fin, opcode, payload) = self.frame().await?;
            if opcode.is_control() {
                return control(opcode, payload);
            }
            if first.is_some() == (opcode != Opcode::Continuation) {
                return Err(Error::Frame("fragments out of order"));
            }
            let kind = *first.get_or_insert(opcode);
            if message.len() + payload.len() > MAX_MESSAGE {
                return Err(Error::Frame("message too long"));
            }
            message.extend(payload);
            if fin && kind == Opcode::Text {
                return text(message).map(Message::Text);
            }
            if fin {
                return Ok(Message::Binary(message));
            }
        }
    }

    async fn frame(&mut self) -> Result<(bool, Opcode, Vec<u8>), Error> {
        let [first, second] = match self.array().await {
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Error::Eof),
            head => head?,
        };
        let opcode = Opcode::from_bits(first & 0x0F).ok_or(Error::Frame("reserved opcode"))?;
        if (second & 0x80 != 0) == (self.role == Sender::Client) {
            return Err(Error::Frame("mask on the wrong side"));
        }
        let length = match second & 0x7F {
            126 => u64::from(u16::from_be_bytes(self.array().await?)),
            127 => u64::from_be_bytes(self.array().await?),
            short => u64::from(short),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_MESSAGE);
        let length = length.ok_or(Error::Frame("frame too long"))?;
        let key: [u8; 4] = if second & 0x80 != 0 {
            self.array().await?
        } else {
            [0; 4]
        };
        let mut payload = vec![0; length];
        self.fill(&mut payload).await?;
        for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
        Ok((first & 0x80 != 0, opcode, payload))
    }

    async fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes).await?;
        Ok(bytes)
    }

    async fn fill(&mut self, target: &mut [u8]) -> Result<(), Error> {
        let early = self.early.len().min(target.len());
        let (head, tail) = target.split_at_mut(early);
        for (byte, source) in head.iter_mut().zip(self.early.drain(..early)) {
            *byte = source;
        }
        self.stream.read_exact(tail).await?;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    fn mask(&mut self) -> Option<[u8; 4]> {
        self.masks = self.masks.wrapping_add(0x9E37_79B9);
        (self.role == Sender::Client).then_some(self.masks.to_be_bytes())
    }
}

fn control(opcode: Opcode, payload: Vec<u8>) -> Result<Message, Error> {
    match (opcode, payload.as_slice()) {
        (Opcode::Ping, _) => Ok(Message::Ping(payload)),
        (Opcode::Pong, _) => Ok(Message::Pong(payload)),
        (_, []) => Ok(Message::Close(None, String::new())),
        (_, [high, low, reason @ ..]) => Ok(Message::Close(
            Some(u16::from_be_bytes([*high, *low])),
            text(reason.to_vec())?,
        )),
        _ => Err(Error::Frame("close frame of one byte")),
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::Frame("text is not UTF-8"))
}
