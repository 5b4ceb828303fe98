//! What one HTTP/2 connection may use.

/// Bounds of one connection. Budgets (`glitches`, `resets`, `overhead`) are levels: what is charged is
/// forgiven again as time passes, and for the last two as useful work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams open at once. Default 100; at most 1000. Beyond it: RST_STREAM(REFUSED_STREAM).
    pub streams: u32,
    /// Bytes of a request body that may come before they are released, for each stream. Default 64 KiB.
    pub stream_window: u32,
    /// The same for all streams of the connection together. Default 256 KiB; values below 65,535, which the
    /// protocol begins with, count as that.
    pub connection_window: u32,
    /// How wide the window of a stream may become whose body is consumed as fast as it comes. Default 1 MiB.
    pub widest_stream_window: u32,
    /// By how much the connection's window may become wider for such streams, all together. Default 1 MiB.
    pub wider_connection: u32,
    /// Size of a header list as RFC 9113 section 6.5.2 counts it (32 bytes more for each field). Default 32 KiB.
    /// Beyond it: 431.
    pub header_list: u32,
    /// Fields of a list; the crumbs of a cookie count as one. Default 100. Beyond it: 431.
    pub fields: u16,
    /// Longest method, path and version, as the request line of HTTP/1.1. Default 8 KiB. Beyond it: 414.
    pub request_line: u32,
    /// Bytes of a compressed header block over all its frames. Default 32 KiB. Beyond it the connection ends.
    pub header_block: u32,
    /// CONTINUATION frames of one block. Default 16. Beyond it the connection ends.
    pub continuations: u8,
    /// Oddities: whatever a correct client has no reason to do. Default 100; one is forgiven each second.
    pub glitches: u16,
    /// Streams that were reset by the client before their response ended, refused, or reset by us for an
    /// error. Default 200; one is forgiven for each response that ends and each second.
    pub resets: u16,
    /// Frames that carry nothing by themselves: SETTINGS, PING, PRIORITY, PRIORITY_UPDATE, WINDOW_UPDATE,
    /// frames of unknown types. Default 1000; one is forgiven for each KiB that is sent or received, ten for
    /// each request and ten each second.
    pub overhead: u16,
    /// Bytes of acknowledgements and resets that the client has caused and not yet read. Default 16 KiB.
    pub control_output: u32,
}

impl Limits {
    /// The defaults named above.
    pub const DEFAULT: Self = Self {
        streams: 100,
        stream_window: 64 * 1024,
        connection_window: 256 * 1024,
        widest_stream_window: 1024 * 1024,
        wider_connection: 1024 * 1024,
        header_list: 32 * 1024,
        fields: 100,
        request_line: 8 * 1024,
        header_block: 32 * 1024,
        continuations: 16,
        glitches: 100,
        resets: 200,
        overhead: 1000,
        control_output: 16 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
