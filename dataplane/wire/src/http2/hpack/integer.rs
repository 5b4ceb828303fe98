//! Integers with a prefix (RFC 7541 section 5.1).

use super::HpackError;

/// Largest value that is accepted: nothing in a header block within our limits needs more.
const MAX: u32 = 1 << 24;

/// Reads an integer whose prefix is the low `bits` bits of the first byte of `input`, and advances it.
pub(super) fn read(input: &mut &[u8], bits: u8) -> Result<u32, HpackError> {
    let (&first, mut rest) = input.split_first().ok_or(HpackError::Truncated)?;
    let prefix = (1_u32 << bits) - 1;
    let mut value = u32::from(first) & prefix;
    if value == prefix {
        let mut shift = 0;
        loop {
            let (&byte, behind) = rest.split_first().ok_or(HpackError::Truncated)?;
            rest = behind;
            value += u32::from(byte & 0x7f) << shift;
            // Four bytes of seven bits: the sum stays far below 32 bits. Zeros behind them are refused as well.
            if value > MAX || (shift == 21 && byte & 0x80 != 0) {
                return Err(HpackError::Integer);
            }
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
    }
    *input = rest;
    Ok(value)
}

/// Writes `value` with a prefix of `bits` bits; `pattern` are the bits above it.
#[inline]
pub(in crate::http2) fn write(out: &mut Vec<u8>, pattern: u8, bits: u8, value: usize) {
    let prefix = (1_usize << bits) - 1;
    if value < prefix {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | prefix as u8);
    let mut rest = value - prefix;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
