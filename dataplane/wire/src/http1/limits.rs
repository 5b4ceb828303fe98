//! How large a message head may be.

/// Room for fields on the stack while a head is parsed; [`Limits::fields`] cannot exceed it.
pub(crate) const MAX_FIELDS: usize = 256;

/// Bounds of one message head. All sizes are bytes as received, line ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line or status line. Default 8 KiB. Beyond it: 414.
    pub request_line: usize,
    /// Longest head, from the first byte of its first line to the empty line. Default 32 KiB. Beyond it: 431.
    pub head: usize,
    /// Most field lines. Default 100; values above 256 count as 256. Beyond it: 431.
    pub fields: usize,
}

impl Limits {
    /// 8 KiB of request line, 32 KiB of head, 100 fields.
    pub const DEFAULT: Self = Self {
        request_line: 8 * 1024,
        head: 32 * 1024,
        fields: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
