//! Structured-field dictionaries (RFC 9651 section 4.2), parsed strictly: one error voids the field.
//!
//! Bounded: more than [`MAX_MEMBERS`] members is an error. Parameters are checked and dropped.

/// Most members of a dictionary, items of an inner list, or parameters of an item.
pub const MAX_MEMBERS: usize = 64;

/// Most members of a list of strings.
pub const MAX_STRINGS: usize = 128;

/// The value of a dictionary member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer of at most 15 digits.
    Integer(i64),
    /// `?0`, `?1`, or a key alone.
    Boolean(bool),
    /// A quoted string, unescaped.
    String(String),
    /// An inner list of nothing but strings.
    Strings(Vec<String>),
    /// A decimal, token, byte sequence, date, display string or another inner list: valid, but of no use here.
    Other,
}

/// Parses a dictionary from all lines of a field. `None` if any of it is invalid. The last of equal keys wins.
#[must_use]
pub fn parse_dictionary<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Option<Vec<(String, Value)>> {
    let joined = lines.into_iter().collect::<Vec<_>>().join(&b", "[..]);
    let mut input = Input { bytes: &joined };
    let mut members: Vec<(String, Value)> = Vec::new();
    input.skip(b" ");
    while !input.bytes.is_empty() {
        let key = input.key()?;
        let value = if input.take(b'=') {
            input.item_or_inner_list()?
        } else {
            Value::Boolean(true)
        };
        input.parameters()?;
        members.retain(|(other, _)| *other != key);
        members.push((key, value));
        input.skip(b" \t");
        if input.bytes.is_empty() {
            return Some(members);
        }
        if !input.take(b',') || members.len() == MAX_MEMBERS {
            return None;
        }
        input.skip(b" \t");
        if input.bytes.is_empty() {
            return None;
        }
    }
    Some(members)
}

/// Parses a list of strings from all lines of a field. `None` if any of it is something else, or there are more than
/// [`MAX_STRINGS`].
#[must_use]
pub fn parse_strings<'v>(lines: impl IntoIterator<Item = &'v [u8]>) -> Option<Vec<String>> {
    let joined = lines.into_iter().collect::<Vec<_>>().join(&b", "[..]);
    let mut input = Input { bytes: &joined };
    let mut strings = Vec::new();
    input.skip(b" ");
    while !input.bytes.is_empty() {
        let Value::String(string) = input.item_or_inner_list()? else {
            return None;
        };
        input.parameters()?;
        strings.push(string);
        input.skip(b" \t");
        if input.bytes.is_empty() {
            return Some(strings);
        }
        if !input.take(b',') || strings.len() == MAX_STRINGS {
            return None;
        }
        input.skip(b" \t");
        if input.bytes.is_empty() {
            return None;
        }
    }
    Some(strings)
}

struct Input<'v> {
    bytes: &'v [u8],
}

impl Input<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.next();
        }
        found
    }

    fn skip(&mut self, any_of: &[u8]) {
        while self.peek().is_some_and(|byte| any_of.contains(&byte)) {
            self.next();
        }
    }

    fn key(&mut self) -> Option<String> {
        if !self.peek().is_some_and(|b| b.is_ascii_lowercase() || b == b'*') {
            return None;
        }
        let mut key = String::new();
        while let Some(byte) = self
            .peek()
            .filter(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(b))
        {
            key.push(char::from(byte));
            self.next();
        }
        Some(key)
    }

    fn parameters(&mut self) -> Option<()> {
        for _ in 0..MAX_MEMBERS {
            if !self.take(b';') {
                return Some(());
            }
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        None
    }

    fn item_or_inner_list(&mut self) -> Option<Value> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        let mut strings = Some(Vec::new());
        for _ in 0..=MAX_MEMBERS {
            self.skip(b" ");
            if self.take(b')') {
                return Some(strings.map_or(Value::Other, Value::Strings));
            }
            match (self.bare_item()?, &mut strings) {
                (Value::String(item), Some(strings)) => strings.push(item),
                _ => strings = None,
            }
            self.parameters()?;
            if !matches!(self.peek()?, b' ' | b')') {
                return None;
            }
        }
        None
    }

    fn bare_item(&mut self) -> Option<Value> {
        match self.peek()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Value::String),
            b'?' => {
                self.next();
                match self.next()? {
                    b'0' => Some(Value::Boolean(false)),
                    b'1' => Some(Value::Boolean(true)),
                    _ => None,
                }
            }
            b':' => self.byte_sequence(),
            b'@' => {
                self.next();
                matches!(self.number()?, Value::Integer(_)).then_some(Value::Other)
            }
            b'%' => self.display_string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                while self
                    .peek()
                    .is_some_and(|b| crate::http1::fields::is_tchar(b) || b == b':' || b == b'/')
                {
                    self.next();
                }
                Some(Value::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let negative = self.take(b'-');
        let (mut whole, mut whole_digits, mut fraction_digits) = (0_i64, 0, None);
        loop {
            match self.peek() {
                Some(digit @ b'0'..=b'9') => {
                    self.next();
                    match &mut fraction_digits {
                        Some(count) => *count += 1,
                        None => {
                            whole_digits += 1;
                            whole = whole.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
                        }
                    }
                }
                Some(b'.') if fraction_digits.is_none() && (1..=12).contains(&whole_digits) => {
                    self.next();
                    fraction_digits = Some(0);
                }
                _ => break,
            }
        }
        match fraction_digits {
            None => (1..=15)
                .contains(&whole_digits)
                .then_some(Value::Integer(if negative { -whole } else { whole })),
            Some(count) => (1..=3).contains(&count).then_some(Value::Other),
        }
    }

    fn string(&mut self) -> Option<String> {
        self.next();
        let mut out = String::new();
        loop {
            match self.next()? {
                b'"' => return Some(out),
                b'\\' => match self.next()? {
                    escaped @ (b'"' | b'\\') => out.push(char::from(escaped)),
                    _ => return None,
                },
                plain @ 0x20..=0x7e => out.push(char::from(plain)),
                _ => return None,
            }
        }
    }

    fn byte_sequence(&mut self) -> Option<Value> {
        self.next();
        loop {
            match self.next()? {
                b':' => return Some(Value::Other),
                b'+' | b'/' | b'=' => {}
                byte if byte.is_ascii_alphanumeric() => {}
                _ => return None,
            }
        }
    }

    fn display_string(&mut self) -> Option<Value> {
        self.next();
        if !self.take(b'"') {
            return None;
        }
        loop {
            match self.next()? {
                b'"' => return Some(Value::Other),
                b'%' => {
                    for _ in 0..2 {
                        if !matches!(self.next()?, b'0'..=b'9' | b'a'..=b'f') {
                            return None;
                        }
                    }
                }
                0x20..=0x7e => {}
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Vec<(String, Value)>> {
        parse_dictionary([text.as_bytes()])
    }

    #[test]
    fn members_of_every_type_are_accepted() {
        let text = "a=1, b;x=\"y\", c=\"s\\\"\", d=?0, e=1.5, f=tok/en, g=:YQ==:, h=(1 \"a\";q=1), i=@12, *j=%\"a%c3\"";
        let members = parse(text).expect("valid");
        assert_eq!(members.len(), 10);
        assert_eq!(members.first(), Some(&("a".into(), Value::Integer(1))));
        assert_eq!(members.get(1), Some(&("b".into(), Value::Boolean(true))));
        assert_eq!(members.get(2), Some(&("c".into(), Value::String("s\"".into()))));
    }

    #[test]
    fn the_last_of_equal_keys_wins_across_lines() {
        let members = parse_dictionary([&b"a=1, b=2"[..], b"a=3"]).expect("valid");
        assert_eq!(
            members,
            [("b".into(), Value::Integer(2)), ("a".into(), Value::Integer(3))]
        );
    }

    #[test]
    fn one_error_voids_everything() {
        for bad in [
            "a=1,",
            "a = 1",
            "a= 1",
            "A=1",
            "a=1 b=2",
            "a=1,,b",
            "a=\"x",
            "a=\"\\n\"",
            "a=1.",
            "a=1.2345",
            "a=1234567890123456",
            "a=--1",
            "a=?2",
            "a=(1",
            "a=(1\"x\")",
            "=1",
            "a=",
            "a=1;",
            "a=\u{e9}",
            "a=:*:",
            "a=%x",
            "\ta=1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        let many: Vec<_> = (0..=MAX_MEMBERS).map(|n| format!("k{n}")).collect();
        assert_eq!(parse(&many.join(", ")), None);
        assert!(parse(&many[1..].join(", ")).is_some());
    }
}
