//! The Huffman code of header strings (RFC 7541 appendix B).
//!
//! The code is canonical: the lengths of the codes give the codes. Tables are built from the lengths at
//! compile time. Codes of up to nine bits, nearly every byte of a header, are found with one look-up; longer
//! ones by comparing with the last code of each length.

use super::HpackError;

/// Code length of each byte, and of EOS behind them.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];

const EOS: u16 = 256;
const QUICK_BITS: u32 = 9;
const MAX_BITS: usize = 30;

struct Tables {
    /// For the next nine bits: symbol and length, or length zero.
    quick: [(u8, u8); 1 << QUICK_BITS],
    /// For each length, the end of its codes, left-aligned in 32 bits (exclusive; fits because EOS is last).
    end: [u64; MAX_BITS + 1],
    /// For each length, what to add to a right-aligned code to get its place in `symbols`.
    offset: [i64; MAX_BITS + 1],
    /// All symbols in the order of their codes.
    symbols: [u16; 257],
}

static TABLES: Tables = build();

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated at compile time: a wrong index does not build"
)]
const fn build() -> Tables {
    let mut tables = Tables {
        quick: [(0, 0); 1 << QUICK_BITS],
        end: [0; MAX_BITS + 1],
        offset: [0; MAX_BITS + 1],
        symbols: [0; 257],
    };
    let mut code: u64 = 0;
    let mut place = 0;
    let mut length = 1;
    while length <= MAX_BITS {
        code <<= 1;
        tables.offset[length] = place as i64 - code as i64;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                tables.symbols[place] = symbol as u16;
                if length <= QUICK_BITS as usize {
                    let shift = QUICK_BITS as usize - length;
                    let mut low = 0;
                    while low < 1 << shift {
                        tables.quick[((code as usize) << shift) | low] = (symbol as u8, length as u8);
                        low += 1;
                    }
                }
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        tables.end[length] = code << (32 - length);
        length += 1;
    }
    tables
}

/// Decodes `input` behind what is in `out`.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    // The shortest code has five bits.
    out.reserve(input.len() * 8 / 5);
    let mut bytes = input.iter();
    // The next `count` bits are at the top of `window`; what is below them is zero.
    let mut window = 0_u64;
    let mut count = 0_u32;
    loop {
        while count <= 56 {
            let Some(&byte) = bytes.next() else { break };
            window |= u64::from(byte) << (56 - count);
            count += 8;
        }
        if count < MAX_BITS as u32 {
            break;
        }
        let (symbol, length) = symbol_at(window);
        let Ok(byte) = u8::try_from(symbol) else {
            return Err(HpackError::Huffman);
        };
        out.push(byte);
        window <<= length;
        count -= length;
    }
    // The end: ones behind the last bit make a code that is cut off longer than what is left.
    while count > 0 {
        let (symbol, length) = symbol_at(window | (u64::MAX >> count));
        if length > count {
            // Padding is the beginning of EOS, less than a byte of it.
            let padding = window >> (64 - count);
            return if count < 8 && padding == (1 << count) - 1 {
                Ok(())
            } else {
                Err(HpackError::Huffman)
            };
        }
        let Ok(byte) = u8::try_from(symbol) else {
            return Err(HpackError::Huffman);
        };
        out.push(byte);
        window <<= length;
        count -= length;
    }
    Ok(())
}

/// The symbol whose code begins at the top of `window`, and its length in bits.
#[inline]
fn symbol_at(window: u64) -> (u16, u32) {
    let quick = (window >> (64 - QUICK_BITS)) as usize;
    if let Some(&(symbol, length)) = TABLES.quick.get(quick)
        && length > 0
    {
        return (u16::from(symbol), u32::from(length));
    }
    let top = window >> 32;
    for length in QUICK_BITS as usize + 1..=MAX_BITS {
        if let (Some(&end), Some(&offset)) = (TABLES.end.get(length), TABLES.offset.get(length))
            && top < end
        {
            let code = (top >> (32 - length)) as i64;
            let symbol = TABLES.symbols.get((code + offset) as usize).copied();
            return (symbol.unwrap_or(EOS), length as u32);
        }
    }
    (EOS, MAX_BITS as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &[u8]) -> Vec<u8> {
        let mut codes = [(0_u64, 0_u32); 257];
        for length in 1..=MAX_BITS {
            for (place, &symbol) in TABLES.symbols.iter().enumerate() {
                if usize::from(LENGTHS[usize::from(symbol)]) == length {
                    codes[usize::from(symbol)] = ((place as i64 - TABLES.offset[length]) as u64, length as u32);
                }
            }
        }
        let (mut out, mut window, mut count) = (Vec::new(), 0_u64, 0);
        for &byte in text {
            let (code, length) = codes[usize::from(byte)];
            window = window << length | code;
            count += length;
            while count >= 8 {
                count -= 8;
                out.push((window >> count) as u8);
            }
        }
        if count > 0 {
            out.push((window << (8 - count)) as u8 | (0xff >> count));
        }
        out
    }

    fn decoded(input: &[u8]) -> Result<Vec<u8>, HpackError> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    #[test]
    fn the_strings_of_the_rfc_decode() {
        let input = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&input).as_deref(), Ok(&b"www.example.com"[..]));
        let input = [0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
        assert_eq!(decoded(&input).as_deref(), Ok(&b"no-cache"[..]));
        let input = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0, 0x82,
            0xa6, 0x2d, 0x1b, 0xff,
        ];
        assert_eq!(decoded(&input).as_deref(), Ok(&b"Mon, 21 Oct 2013 20:13:21 GMT"[..]));
    }

    #[test]
    fn every_byte_is_what_it_was_after_a_round_trip() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encode(&all)).as_deref(), Ok(&all[..]));
        for byte in 0..=255_u8 {
            for text in [vec![byte], vec![b'a', byte], vec![byte; 9]] {
                assert_eq!(decoded(&encode(&text)).as_deref(), Ok(&text[..]), "{byte}");
            }
        }
        assert_eq!(decoded(b"").as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        // `a` is 00011.
        assert_eq!(decoded(&[0b0001_1111]).as_deref(), Ok(&b"a"[..]));
        assert_eq!(decoded(&[0b0001_1110]), Err(HpackError::Huffman));
        assert_eq!(decoded(&[0b0001_1000]), Err(HpackError::Huffman));
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(HpackError::Huffman));
        assert_eq!(decoded(&[0xff]), Err(HpackError::Huffman));
    }

    #[test]
    fn eos_is_refused_wherever_it_comes() {
        assert_eq!(decoded(&[0xff; 4]), Err(HpackError::Huffman));
        assert_eq!(decoded(&[0xff; 12]), Err(HpackError::Huffman));
        assert_eq!(decoded(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(HpackError::Huffman));
    }
}
