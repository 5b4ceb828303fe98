//! Digits of the escapes that several transformations share.

/// The value of a hexadecimal digit.
pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The byte that two hexadecimal digits write.
pub(crate) fn hex_pair(high: u8, low: u8) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

/// The value of up to `most` octal digits that `rest` begins with, and how many they are.
pub(super) fn octal(rest: &[u8], most: usize) -> (u16, usize) {
    let digits = rest.iter().take(most).take_while(|digit| matches!(digit, b'0'..=b'7'));
    digits.fold((0, 0), |(value, count), digit| {
        (value << 3 | u16::from(digit - b'0'), count + 1)
    })
}

/// A byte of full-width ASCII (U+FF01 to U+FF5E) as ASCII: `high` is the upper byte of the code.
pub(super) fn narrow(high: Option<u8>, low: u8) -> u8 {
    if high == Some(0xff) && (1..0x5f).contains(&low) {
        low + 0x20
    } else {
        low
    }
}
