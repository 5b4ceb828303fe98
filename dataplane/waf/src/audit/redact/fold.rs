//! A text as names and values are sought in it: in lower case, with escapes undone, each byte with its place in the text.
//!
//! Undone are percent-encoding, also twice and as `%u0061`, `+` for a space, `\u0061` and numeric references of HTML:
//! a name or a value is found however its sender, a rule's transformation or a page wrote it. Linear in the text.

/// A text and where each of its bytes stands in what it was made of.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub(super) bytes: Vec<u8>,
    at: Vec<u32>,
    end: usize,
}

/// How often escapes are undone.
const ROUNDS: usize = 3;

impl Folded {
    pub(super) fn new(text: &[u8]) -> Self {
        let mut this = Self {
            bytes: text.to_ascii_lowercase(),
            at: (0..text.len() as u32).collect(),
            end: text.len(),
        };
        for _ in 0..ROUNDS {
            if !this.undo() {
                break;
            }
        }
        this
    }

    /// Where a byte stands; the end of the text behind the last.
    pub(super) fn place(&self, index: usize) -> usize {
        self.at.get(index).map_or(self.end, |at| *at as usize)
    }

    fn undo(&mut self) -> bool {
        if memchr::memchr3(b'%', b'\\', b'+', &self.bytes).is_none() && memchr::memchr(b'&', &self.bytes).is_none() {
            return false;
        }
        let (mut bytes, mut at) = (Vec::with_capacity(self.bytes.len()), Vec::with_capacity(self.at.len()));
        let mut rest = 0;
        while let Some(first) = self.bytes.get(rest) {
            let (byte, length) = unescaped(self.bytes.get(rest..).unwrap_or_default()).unwrap_or((*first, 1));
            bytes.push(byte.to_ascii_lowercase());
            at.push(self.at.get(rest).copied().unwrap_or_default());
            rest += length;
        }
        let changed = bytes != self.bytes;
        (self.bytes, self.at) = (bytes, at);
        changed
    }
}

/// The byte that an escape stands for, and how long the escape is.
fn unescaped(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [b'+', ..] => Some((b' ', 1)),
        [b'%' | b'\\', b'u', a, b, c, d, ..] => {
            let code = digits(&[*a, *b, *c, *d], 16)?;
            Some((u8::try_from(code).unwrap_or(0xff), 6))
        }
        [b'%', a, b, ..] => Some((u8::try_from(digits(&[*a, *b], 16)?).ok()?, 3)),
        [b'&', b'#', rest @ ..] => {
            let length = rest.iter().take(8).position(|byte| *byte == b';')?;
            let number = rest.get(..length)?;
            let code = match number {
                [b'x', hex @ ..] => digits(hex, 16)?,
                decimal => digits(decimal, 10)?,
            };
            Some((u8::try_from(code).unwrap_or(0xff), length + 3))
        }
        _ => None,
    }
}

fn digits(text: &[u8], radix: u32) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |number, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        number.checked_mul(radix)?.checked_add(digit)
    })
}
