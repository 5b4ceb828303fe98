//! Error codes (RFC 9113 section 7), and our reasons for them: each with a code and a stable metric label.

use super::hpack::HpackError;

/// Why a stream or a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Nothing is wrong.
    NoError,
    /// The peer broke a rule of the protocol.
    ProtocolError,
    /// We failed.
    InternalError,
    /// More was sent than a window allows, or a window grew beyond 2^31-1.
    FlowControlError,
    /// SETTINGS were not acknowledged in time.
    SettingsTimeout,
    /// A frame for a stream that was closed.
    StreamClosed,
    /// A frame whose size is wrong.
    FrameSizeError,
    /// The stream was refused before anything was done for it: the request may be repeated.
    RefusedStream,
    /// The stream is no longer needed.
    Cancel,
    /// The header compression is in doubt.
    CompressionError,
    /// The connection that a CONNECT asked for failed.
    ConnectError,
    /// The peer generates excessive load.
    EnhanceYourCalm,
    /// TLS of the connection is not good enough.
    InadequateSecurity,
    /// HTTP/1.1 is needed instead.
    Http11Required,
    /// A code that no registered error has.
    Other(u32),
}

impl ErrorCode {
    const REGISTERED: [Self; 14] = [
        Self::NoError,
        Self::ProtocolError,
        Self::InternalError,
        Self::FlowControlError,
        Self::SettingsTimeout,
        Self::StreamClosed,
        Self::FrameSizeError,
        Self::RefusedStream,
        Self::Cancel,
        Self::CompressionError,
        Self::ConnectError,
        Self::EnhanceYourCalm,
        Self::InadequateSecurity,
        Self::Http11Required,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn value(self) -> u32 {
        match self {
            Self::Other(value) => value,
            known => Self::REGISTERED.iter().position(|&other| other == known).unwrap_or(2) as u32,
        }
    }
}

impl From<u32> for ErrorCode {
    fn from(value: u32) -> Self {
        let known = Self::REGISTERED.get(value as usize).copied();
        known.unwrap_or(Self::Other(value))
    }
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident[$count:literal] { $($(#[$doc:meta])* $kind:ident => $code:ident, $label:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* #[error($text)] $kind,)*
        }

        impl $name {
            /// Every reason, so that a metrics registry can be filled before the first error.
            pub const ALL: [Self; $count] = [$(Self::$kind),*];

            /// The code that the peer is told.
            #[must_use]
            pub fn code(self) -> ErrorCode {
                match self { $(Self::$kind => ErrorCode::$code,)* }
            }

            /// A stable, low-cardinality name for metrics and logs.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why a connection is closed. GOAWAY with [`ConnectionError::code`] is in the output already.
    ConnectionError[15] {
        /// The client does not begin with the connection preface and SETTINGS.
        Preface => ProtocolError, "http2-preface", "the connection does not begin as HTTP/2 does";
        /// A frame on a stream on which it cannot be, a header block that is interrupted, padding that is longer than its frame.
        Protocol => ProtocolError, "http2-protocol", "a frame breaks the rules of HTTP/2";
        /// A frame on a stream that was never opened.
        IdleStream => ProtocolError, "http2-idle-stream", "a frame for a stream that was never opened";
        /// A stream identifier that is even, or lower than one before it.
        StreamId => ProtocolError, "http2-stream-id", "a new stream whose identifier is not odd and higher than those before";
        /// HEADERS for a stream that both sides had closed.
        ClosedStream => StreamClosed, "http2-closed-stream", "header fields for a stream that is closed";
        /// A setting with a value that it cannot have.
        Setting => ProtocolError, "http2-setting", "a setting has a value that it cannot have";
        /// A frame that is larger than allowed, or whose length is not the one of its type.
        FrameSize => FrameSizeError, "http2-frame-size", "a frame has a wrong size";
        /// A window was overrun, or grew beyond 2^31-1.
        FlowControl => FlowControlError, "http2-flow-control", "a flow-control window was overrun or grew too large";
        /// A header block that cannot be decompressed.
        Compression => CompressionError, "http2-compression", "a header block cannot be decompressed";
        /// A header block beyond [`super::Limits::header_block`].
        HeaderBlock => EnhanceYourCalm, "http2-header-block", "a header block is too large";
        /// More CONTINUATION frames for a block than [`super::Limits::continuations`].
        Continuations => EnhanceYourCalm, "http2-continuations", "a header block comes in too many frames";
        /// More resets than [`super::Limits::resets`] allows.
        Resets => EnhanceYourCalm, "http2-resets", "too many requests were reset";
        /// More frames that carry nothing than [`super::Limits::overhead`] allows.
        Overhead => EnhanceYourCalm, "http2-overhead", "too many frames that carry nothing";
        /// More oddities than [`super::Limits::glitches`] allows.
        Glitches => EnhanceYourCalm, "http2-glitches", "too many oddities on one connection";
        /// The client makes us answer and does not read the answers: [`super::Limits::control_output`].
        ControlOutput => EnhanceYourCalm, "http2-control-output", "the client does not read what it asks for";
    }
}

reasons! {
    /// Why we reset a stream. RST_STREAM with [`StreamError::code`] is in the output already.
    StreamError[9] {
        /// A request head or trailers that break a rule of RFC 9113 section 8.
        Malformed => ProtocolError, "http2-malformed", "a message breaks the rules of HTTP/2";
        /// The body is longer or shorter than content-length says.
        ContentLength => ProtocolError, "http2-content-length", "the body is not as long as content-length says";
        /// A second header block that does not end the stream.
        Trailers => ProtocolError, "http2-trailers", "header fields behind the head that do not end the request";
        /// DATA or HEADERS on a stream whose request had ended.
        Closed => StreamClosed, "http2-stream-closed", "a frame behind the end of the request";
        /// More streams at once than [`super::Limits::streams`]. The client may repeat the request.
        Refused => RefusedStream, "http2-refused-stream", "too many streams at once";
        /// The stream's window was overrun, or grew beyond 2^31-1.
        FlowControl => FlowControlError, "http2-stream-flow-control", "a stream's flow-control window was overrun or grew too large";
        /// WINDOW_UPDATE by nothing.
        ZeroIncrement => ProtocolError, "http2-zero-increment", "a window was opened by nothing";
        /// A stream that depends on itself (RFC 7540 section 5.3.1).
        SelfDependency => ProtocolError, "http2-self-dependency", "a stream depends on itself";
        /// A PRIORITY frame that is not five bytes long.
        FrameSize => FrameSizeError, "http2-stream-frame-size", "a frame has a wrong size";
    }
}

impl From<HpackError> for ConnectionError {
    fn from(_: HpackError) -> Self {
        Self::Compression
    }
}

/// Why nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The stream is not open for sending: it was reset, or the response has ended. Drop what is left of it.
    #[error("the stream is closed")]
    Closed,
    /// The head is not an HTTP/1.1 response head, or it comes at the wrong time. A fault of ours.
    #[error("the response head cannot be sent")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_label() {
        let connection = ConnectionError::ALL.iter().map(|error| error.label());
        let stream = StreamError::ALL.iter().map(|error| error.label());
        let labels: HashSet<_> = connection.chain(stream).collect();
        assert_eq!(labels.len(), ConnectionError::ALL.len() + StreamError::ALL.len());
        assert!(labels.iter().all(|label| label.starts_with("http2-")));
    }

    #[test]
    fn codes_are_numbered_as_registered() {
        for value in 0..20 {
            assert_eq!(ErrorCode::from(value).value(), value);
        }
        assert_eq!(ErrorCode::EnhanceYourCalm.value(), 0xb);
        assert_eq!(ErrorCode::Http11Required.value(), 0xd);
        assert_eq!(ErrorCode::from(0xe), ErrorCode::Other(0xe));
    }
}
