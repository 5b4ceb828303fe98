//! Header compression (RFC 7541): the decoder with its dynamic table, and an encoder that needs none.
//!
//! Invariant: a decoded block leaves the table as the peer believes it to be, whatever the fields mean and
//! whether anybody wants them. Which fields make a request is decided by [`super::request`].

pub(super) mod decode;
pub(super) mod encode;
pub(super) mod huffman;
pub(super) mod integer;
pub(super) mod static_table;
pub(super) mod table;

/// Why a header block cannot be decoded. Every one of these is a connection error COMPRESSION_ERROR, because
/// the dynamic table is in doubt afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HpackError {
    /// The block ends inside an integer or a string.
    Truncated,
    /// An integer that is longer than any that makes sense here.
    Integer,
    /// Index zero, or behind the end of the dynamic table.
    Index,
    /// A Huffman string with the EOS symbol, or padding that is too long or not all ones.
    Huffman,
    /// A table size update behind a field, a third one, or one above the limit of 4096.
    SizeUpdate,
}

#[cfg(test)]
mod tests;
