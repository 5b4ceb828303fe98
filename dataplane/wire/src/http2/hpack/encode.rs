//! Fields into a header block, with the static table and plain literals.
//!
//! Nothing is put into the peer's dynamic table and nothing is Huffman coded: a connection then remembers
//! nothing about what it sent, and a head costs little more than a copy of its bytes.

use super::{integer, static_table};

/// A dynamic table size update to zero (RFC 7541 section 6.3).
pub(in crate::http2) const NO_TABLE: u8 = 0x20;

/// Writes `:status`. `digits` are the three digits of it.
pub(in crate::http2) fn status(out: &mut Vec<u8>, digits: [u8; 3]) {
    let index = match &digits {
        b"200" => 8,
        b"204" => 9,
        b"206" => 10,
        b"304" => 11,
        b"400" => 12,
        b"404" => 13,
        b"500" => 14,
        _ => {
            out.extend_from_slice(&[8, 3]);
            out.extend_from_slice(&digits);
            return;
        }
    };
    out.push(0x80 | index);
}

/// Writes a field that is not indexed; a `Set-Cookie` is marked never to be. `name` is a token in lower case.
pub(in crate::http2) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    self::name(out, name);
    integer::write(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

/// Begins such a field: its value is what has to follow.
#[inline]
pub(in crate::http2) fn name(out: &mut Vec<u8>, name: &[u8]) {
    match static_table::index_of(name) {
        0 => {
            out.push(0);
            integer::write(out, 0, 7, name.len());
            out.extend_from_slice(name);
        }
        55 => integer::write(out, 0x10, 4, 55),
        index => integer::write(out, 0, 4, usize::from(index)),
    }
}
