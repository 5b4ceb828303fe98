//! Small inputs as descriptions of large texts: what comes once, and what is repeated until the text is long enough.
//!
//! An input has up to five parts with bytes 0xFF between them: prefix, unit, middle, close, suffix. The text is the prefix,
//! the unit many times, the middle, the close as many times, the suffix: `[` and `]` nest. Three parts are prefix, unit and
//! suffix, two prefix and unit, one the unit.
//!
//! Within a unit, 0xFE is the number of the repetition in decimal (so that names differ), and 0xFD one of the middle's bytes, or
//! `a` or `b`, in an order without a pattern (so that automata grow).

/// Between the parts.
const SEPARATOR: u8 = 0xff;
/// The number of the repetition.
const NUMBER: u8 = 0xfe;
/// A byte of the middle.
const ANY: u8 = 0xfd;

/// A description.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'i> {
    prefix: &'i [u8],
    unit: &'i [u8],
    middle: &'i [u8],
    close: &'i [u8],
    suffix: &'i [u8],
}

impl<'i> Shape<'i> {
    /// Reads one; none where nothing is repeated.
    #[must_use]
    pub fn read(input: &'i [u8]) -> Option<Self> {
        let parts: Vec<&[u8]> = input.splitn(5, |byte| *byte == SEPARATOR).collect();
        let empty: &[u8] = &[];
        let (prefix, unit, middle, close, suffix) = match *parts.as_slice() {
            [unit] => (empty, unit, empty, empty, empty),
            [prefix, unit] => (prefix, unit, empty, empty, empty),
            [prefix, unit, suffix] => (prefix, unit, empty, empty, suffix),
            [prefix, unit, middle, close] => (prefix, unit, middle, close, empty),
            [prefix, unit, middle, close, suffix] => (prefix, unit, middle, close, suffix),
            _ => return None,
        };
        (!unit.is_empty()).then_some(Self {
            prefix,
            unit,
            middle,
            close,
            suffix,
        })
    }

    /// The text, of about `size` bytes.
    #[must_use]
    pub fn text(&self, size: usize) -> Vec<u8> {
        let mut random = 1;
        let once = self.middle.len() + self.suffix.len();
        let mut text = Vec::with_capacity(size + 4096);
        self.write(self.prefix, 0, &mut random, &mut text);
        let mut count = 0;
        while text.len() + once + count * self.close.len() < size {
            self.write(self.unit, count, &mut random, &mut text);
            count += 1;
        }
        text.extend_from_slice(self.middle);
        (0..count).for_each(|_| text.extend_from_slice(self.close));
        text.extend_from_slice(self.suffix);
        text
    }

    fn write(&self, part: &[u8], count: usize, random: &mut u32, text: &mut Vec<u8>) {
        let alphabet = if self.middle.is_empty() { b"ab" } else { self.middle };
        for byte in part {
            match *byte {
                NUMBER => text.extend_from_slice(count.to_string().as_bytes()),
                ANY => {
                    // Numerical Recipes' generator; its upper bits are the good ones.
                    *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let at = (*random >> 16) as usize % alphabet.len();
                    text.extend(alphabet.get(at));
                }
                byte => text.push(byte),
            }
        }
    }
}
