//! JSON (RFC 8259), flattened in one pass without a tree.
//!
//! Names are libmodsecurity's: `json`, then `.key` for a member (`.empty-key` where the key is empty) and `.array_N` for
//! an element. Only scalars have a value; `null` has an empty one, numbers and booleans are as written. Equal names are
//! all kept. As libmodsecurity's parser (yajl) has it, strings are UTF-8 without raw control characters, and half of a
//! surrogate pair is `?`. Unlike there, one byte order mark before the document is passed over, as RFC 8259 section 8.1
//! allows: some clients send it, and what follows is read all the same.
//!
//! Invariants: memory is linear in the body, for the names' bytes are limited too (each is as long as its path is deep);
//! nesting takes a stack of its own, not the thread's. An empty body is no error, as there.

use super::{Arguments, BodyError, Limits};

/// Most bytes of names for each byte of body, and besides: rules look at names as they look at values, so that a body costs
/// as much as its names are long.
const NAME_BYTES: (usize, usize) = (4, 256 << 10);

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(super) fn parse(input: &[u8], limits: Limits) -> Arguments<'static> {
    let mut reader = Reader {
        rest: input.strip_prefix(BYTE_ORDER_MARK).unwrap_or(input),
        length: input.len(),
        limits,
        stack: Vec::new(),
        name: b"json".to_vec(),
        name_bytes: input.len().saturating_mul(NAME_BYTES.0).saturating_add(NAME_BYTES.1),
        arguments: Arguments::default(),
    };
    reader.skip_blanks();
    if !reader.rest.is_empty() {
        reader.arguments.error = reader.document().err();
    }
    reader.arguments
}

struct Reader<'i> {
    rest: &'i [u8],
    length: usize,
    limits: Limits,
    stack: Vec<Container>,
    /// The name of the value that is read next.
    name: Vec<u8>,
    /// How many bytes of names may still be kept.
    name_bytes: usize,
    arguments: Arguments<'static>,
}

struct Container {
    /// How much of the name is its own.
    name: usize,
    kind: Kind,
}

enum Kind {
    Object,
    /// The index of the element that is being read.
    Array(usize),
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), BodyError> {
        loop {
            self.skip_blanks();
            if self.value()? && self.first()? {
                continue;
            }
            if !self.next()? {
                break;
            }
        }
        self.skip_blanks();
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error("there is more behind its end"))
        }
    }

    /// Reads a scalar, or the beginning of a container: true.
    fn value(&mut self) -> Result<bool, BodyError> {
        let value = match self.rest {
            [b'{', ..] => return self.open(Kind::Object),
            [b'[', ..] => return self.open(Kind::Array(0)),
            [b'"', tail @ ..] => {
                self.rest = tail;
                self.string()?
            }
            [b't', b'r', b'u', b'e', tail @ ..] => {
                self.rest = tail;
                b"true".to_vec()
            }
            [b'f', b'a', b'l', b's', b'e', tail @ ..] => {
                self.rest = tail;
                b"false".to_vec()
            }
            [b'n', b'u', b'l', b'l', tail @ ..] => {
                self.rest = tail;
                Vec::new()
            }
            [b'-' | b'0'..=b'9', ..] => self.number()?,
            [] => return Err(self.error("it ends where a value must stand")),
            rest => {
                let literals: [&[u8]; 3] = [b"true", b"false", b"null"];
                let begun = literals.iter().any(|literal| literal.starts_with(rest));
                return Err(self.error("there must be a value").at_end(begun));
            }
        };
        if self.arguments.pairs.len() >= self.limits.items {
            self.arguments.truncated = true;
            return Err(BodyError::new(format!("more than {} values", self.limits.items)));
        }
        self.name_bytes = self
            .name_bytes
            .checked_sub(self.name.len())
            .ok_or_else(|| BodyError::new("the names of its values are too long together"))?;
        self.arguments.pairs.push((self.name.clone().into(), value.into()));
        Ok(false)
    }

    fn open(&mut self, kind: Kind) -> Result<bool, BodyError> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        if self.stack.len() >= self.limits.depth {
            return Err(BodyError::new(format!("nested deeper than {}", self.limits.depth)));
        }
        self.stack.push(Container {
            name: self.name.len(),
            kind,
        });
        Ok(true)
    }

    /// Names the first value of the container just opened; false if it is empty, and closed.
    fn first(&mut self) -> Result<bool, BodyError> {
        self.skip_blanks();
        let array = matches!(
            self.stack.last(),
            Some(Container {
                kind: Kind::Array(_),
                ..
            })
        );
        match self.rest {
            [b']', tail @ ..] if array => self.rest = tail,
            [b'}', tail @ ..] if !array => self.rest = tail,
            _ if array => {
                self.name_element(0);
                return Ok(true);
            }
            _ => {
                self.name_member()?;
                return Ok(true);
            }
        }
        self.close();
        Ok(false)
    }

    /// Goes on behind a value: names the next, and closes what ends. False at the end of the document.
    fn next(&mut self) -> Result<bool, BodyError> {
        loop {
            let Some(container) = self.stack.last_mut() else {
                return Ok(false);
            };
            self.name.truncate(container.name);
            let element = match &mut container.kind {
                Kind::Array(index) => {
                    *index += 1;
                    Some(*index)
                }
                Kind::Object => None,
            };
            self.skip_blanks();
            match (self.rest, element) {
                ([b',', tail @ ..], Some(index)) => {
                    self.rest = tail;
                    self.name_element(index);
                    return Ok(true);
                }
                ([b',', tail @ ..], None) => {
                    self.rest = tail;
                    self.skip_blanks();
                    self.name_member()?;
                    return Ok(true);
                }
                ([b']', tail @ ..], Some(_)) | ([b'}', tail @ ..], None) => {
                    self.rest = tail;
                    self.close();
                }
                ([], _) => return Err(self.error("it ends within an object or array")),
                (_, Some(_)) => return Err(self.error("there must be `,` or `]`")),
                (_, None) => return Err(self.error("there must be `,` or `}`")),
            }
        }
    }

    fn close(&mut self) {
        if let Some(container) = self.stack.pop() {
            self.name.truncate(container.name);
        }
    }

    fn name_element(&mut self, index: usize) {
        self.name.extend_from_slice(b".array_");
        self.name.extend_from_slice(index.to_string().as_bytes());
    }

    fn name_member(&mut self) -> Result<(), BodyError> {
        let [b'"', tail @ ..] = self.rest else {
            return Err(self.error("there must be a name in quotes"));
        };
        self.rest = tail;
        let key = self.string()?;
        self.name.push(b'.');
        self.name
            .extend_from_slice(if key.is_empty() { b"empty-key" } else { &key });
        self.skip_blanks();
        let [b':', tail @ ..] = self.rest else {
            return Err(self.error("there must be `:`"));
        };
        self.rest = tail;
        Ok(())
    }

    /// The string whose opening quote was read.
    fn string(&mut self) -> Result<Vec<u8>, BodyError> {
        let mut text = Vec::new();
        loop {
            let stop = memchr::memchr2(b'"', b'\\', self.rest).unwrap_or(self.rest.len());
            let (plain, rest) = self.rest.split_at(stop);
            if let Some(at) = plain.iter().position(|&byte| byte < 0x20) {
                self.rest = self.rest.get(at..).unwrap_or_default();
                return Err(self.error("a string must not hold a control character"));
            }
            if let Err(error) = std::str::from_utf8(plain) {
                self.rest = self.rest.get(error.valid_up_to()..).unwrap_or_default();
                let cut = rest.is_empty() && error.error_len().is_none();
                return Err(self.error("a string must be UTF-8").at_end(cut));
            }
            text.extend_from_slice(plain);
            self.rest = rest;
            match rest {
                [b'"', tail @ ..] => {
                    self.rest = tail;
                    return Ok(text);
                }
                [b'\\', tail @ ..] => {
                    let Some((character, tail)) = escape(tail) else {
                        return Err(self.error("this is no escape").at_end(is_begun_escape(tail)));
                    };
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    self.rest = tail;
                }
                _ => return Err(self.error("it ends within a string")),
            }
        }
    }

    fn number(&mut self) -> Result<Vec<u8>, BodyError> {
        let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let after = |at: usize| self.rest.get(at..).unwrap_or_default();
        let mut length = usize::from(self.rest.first() == Some(&b'-'));
        let whole = digits(after(length));
        let leading_zero = whole > 1 && after(length).first() == Some(&b'0');
        let mut valid = whole > 0 && !leading_zero;
        length += whole;
        if after(length).first() == Some(&b'.') {
            let fraction = digits(after(length + 1));
            valid &= fraction > 0;
            length += 1 + fraction;
        }
        if let [b'e' | b'E', tail @ ..] = after(length) {
            let sign = usize::from(matches!(tail.first(), Some(b'+' | b'-')));
            let exponent = digits(tail.get(sign..).unwrap_or_default());
            valid &= exponent > 0;
            length += 1 + sign + exponent;
        }
        if !valid {
            let cut = after(length).is_empty() && !leading_zero;
            return Err(self.error("this is no number").at_end(cut));
        }
        let (number, tail) = self.rest.split_at(length);
        self.rest = tail;
        Ok(number.to_vec())
    }

    fn skip_blanks(&mut self) {
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let blanks = self.rest.iter().take_while(is_blank).count();
        self.rest = self.rest.get(blanks..).unwrap_or_default();
    }

    fn error(&self, what: &str) -> BodyError {
        let message = format!("not JSON at byte {}: {what}", self.length - self.rest.len());
        BodyError::new(message).at_end(self.rest.is_empty())
    }
}

/// The character behind a backslash, and what follows.
fn escape(rest: &[u8]) -> Option<(char, &[u8])> {
    let (letter, tail) = rest.split_first()?;
    let character = match letter {
        b'"' | b'\\' | b'/' => char::from(*letter),
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (first, tail) = code_unit(tail)?;
            if (0xd800..0xdc00).contains(&first)
                && let [b'\\', b'u', second @ ..] = tail
                && let Some((second, tail)) = code_unit(second)
                && (0xdc00..0xe000).contains(&second)
            {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Some((char::from_u32(code)?, tail));
            }
            return Some((char::from_u32(first).unwrap_or('?'), tail));
        }
        _ => return None,
    };
    Some((character, tail))
}

/// Whether what follows a backslash may become an escape when there is more of it.
fn is_begun_escape(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b'u', digits @ ..] => digits.len() < 4 && digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

fn code_unit(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, tail) = rest.split_at_checked(4)?;
    let value = |sum: u32, digit: &u8| Some(sum << 4 | char::from(*digit).to_digit(16)?);
    Some((digits.iter().try_fold(0, value)?, tail))
}

#[cfg(test)]
mod tests;
