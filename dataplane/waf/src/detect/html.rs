//! Cuts HTML into tokens, as browsers together would read it: the states of the standard, and what old ones did.
//!
//! Invariants: every state takes in at least one byte, yields a token, or ends, and what is searched for and not found
//! takes in all the rest: one pass, whatever the input. A NUL is skipped where old browsers skipped it and is space where
//! C's `strchr` made it space to libinjection.

use super::bytes::Bytes;

/// Where in a page the input is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Into text.
    Data,
    /// Into a value of an attribute without quotes, which a space ends.
    Unquoted,
    /// Into a value behind this quote.
    Quoted(u8),
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// The name of an opening tag; also of a closing one that has attributes.
    TagOpen,
    /// The `>` of a tag.
    TagEnd,
    /// The `/>` of a tag.
    TagSelfClose,
    /// The name of a closing tag.
    TagClose,
    AttributeName,
    AttributeValue,
    Comment,
    Doctype,
}

/// A piece of HTML.
pub(crate) type Token<'a> = (Kind, &'a [u8]);

/// What is expected at `at`. The names are those of the standard.
#[derive(Clone, Copy, Debug)]
enum State {
    Data,
    TagOpen,
    EndOfTag,
    SelfClosing,
    BeforeAttributeName,
    AfterAttributeName,
    BeforeAttributeValue,
    Quoted(u8),
    AfterQuoted,
    End,
}

/// Yields the tokens of an input.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'a> {
    input: Bytes<'a>,
    at: usize,
    state: State,
    /// Whether the tag that is read began with `</`.
    closing: bool,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let token = self.token();
        if token.is_none() {
            self.state = State::End;
            self.input.assert_linear();
        }
        token
    }
}

impl<'a> Tokens<'a> {
    pub(crate) fn new(input: &'a [u8], place: Place) -> Self {
        Self {
            input: Bytes::new(input),
            at: 0,
            state: match place {
                Place::Data => State::Data,
                Place::Unquoted => State::BeforeAttributeName,
                Place::Quoted(quote) => State::Quoted(quote),
            },
            closing: false,
        }
    }

    fn token(&mut self) -> Option<Token<'a>> {
        loop {
            match self.state {
                State::Data => match self.input.find(b'<', self.at) {
                    Some(open) => {
                        let text = self.take(Kind::Text, open, open + 1, State::TagOpen);
                        if !text.1.is_empty() {
                            return Some(text);
                        }
                    }
                    None => return Some(self.take_rest(Kind::Text)).filter(|(_, text)| !text.is_empty()),
                },
                State::TagOpen => match self.input.get(self.at)? {
                    b'!' => {
                        self.at += 1;
                        return Some(self.markup_declaration());
                    }
                    b'/' => {
                        self.at += 1;
                        self.closing = true;
                        match self.input.get(self.at)? {
                            b'>' => self.state = State::Data,
                            b'a'..=b'z' | b'A'..=b'Z' => return Some(self.tag_name()),
                            _ => {
                                self.closing = false;
                                return Some(self.through_greater_than(Kind::Comment));
                            }
                        }
                    }
                    b'?' => {
                        self.at += 1;
                        return Some(self.through_greater_than(Kind::Comment));
                    }
                    // Internet Explorer and Safari had comments of this form.
                    b'%' => {
                        self.at += 1;
                        let close = self.input.find_pair(b'%', b'>', self.at, self.input.len());
                        return Some(self.take_through(Kind::Comment, close, 2));
                    }
                    b'a'..=b'z' | b'A'..=b'Z' | 0 => return Some(self.tag_name()),
                    _ => {
                        self.state = State::Data;
                        return Some((Kind::Text, self.input.slice(self.at - 1, self.at)));
                    }
                },
                State::EndOfTag => {
                    self.closing = false;
                    return Some(self.end_of_tag());
                }
                State::SelfClosing => {
                    if self.input.get(self.at)? == b'>' {
                        let from = self.at - 1;
                        self.at += 1;
                        self.state = State::Data;
                        return Some((Kind::TagSelfClose, self.input.slice(from, self.at)));
                    }
                    self.state = State::BeforeAttributeName;
                }
                State::BeforeAttributeName => match self.next_but_space()? {
                    b'/' => {
                        self.at += 1;
                        self.state = State::SelfClosing;
                    }
                    b'>' => return Some(self.end_of_tag()),
                    _ => return Some(self.attribute_name()),
                },
                State::AfterAttributeName => match self.next_but_space()? {
                    b'/' => {
                        self.at += 1;
                        self.state = State::SelfClosing;
                    }
                    b'=' => {
                        self.at += 1;
                        self.state = State::BeforeAttributeValue;
                    }
                    b'>' => self.state = State::EndOfTag,
                    _ => return Some(self.attribute_name()),
                },
                State::BeforeAttributeValue => match self.next_but_space()? {
                    quote @ (b'"' | b'\'' | b'`') => {
                        self.at += 1;
                        self.state = State::Quoted(quote);
                    }
                    _ => return Some(self.unquoted_value()),
                },
                State::Quoted(quote) => {
                    return Some(match self.input.find(quote, self.at) {
                        Some(end) => self.take(Kind::AttributeValue, end, end + 1, State::AfterQuoted),
                        None => self.take_rest(Kind::AttributeValue),
                    });
                }
                State::AfterQuoted => match self.input.get(self.at)? {
                    b'/' => {
                        self.at += 1;
                        self.state = State::SelfClosing;
                    }
                    _ => self.state = State::BeforeAttributeName,
                },
                State::End => return None,
            }
        }
    }

    /// A token up to `to`; what follows begins at `next`.
    fn take(&mut self, kind: Kind, to: usize, next: usize, state: State) -> Token<'a> {
        let text = self.input.slice(self.at, to);
        self.at = next;
        self.state = state;
        (kind, text)
    }

    fn take_rest(&mut self, kind: Kind) -> Token<'a> {
        self.take(kind, self.input.len(), self.input.len(), State::End)
    }

    /// A token up to `end` or to the end of the input, and text behind it, after `length` bytes.
    fn take_through(&mut self, kind: Kind, end: Option<usize>, length: usize) -> Token<'a> {
        match end {
            Some(end) => self.take(kind, end, end + length, State::Data),
            None => self.take_rest(kind),
        }
    }

    fn through_greater_than(&mut self, kind: Kind) -> Token<'a> {
        let end = self.input.find(b'>', self.at);
        self.take_through(kind, end, 1)
    }

    /// The `>` at `at`.
    fn end_of_tag(&mut self) -> Token<'a> {
        self.take(Kind::TagEnd, self.at + 1, self.at + 1, State::Data)
    }

    fn next_but_space(&mut self) -> Option<u8> {
        self.at = self.input.skip(self.at, is_space);
        self.input.get(self.at)
    }

    fn tag_name(&mut self) -> Token<'a> {
        let is_part = |byte| byte == 0 || !(is_space(byte) || matches!(byte, b'/' | b'>'));
        let end = self.input.skip(self.at, is_part);
        match self.input.get(end) {
            None => self.take_rest(Kind::TagOpen),
            Some(b'/') => self.take(Kind::TagOpen, end, end + 1, State::SelfClosing),
            Some(b'>') if self.closing => {
                self.closing = false;
                self.take(Kind::TagClose, end, end + 1, State::Data)
            }
            Some(b'>') => self.take(Kind::TagOpen, end, end, State::EndOfTag),
            Some(_) => self.take(Kind::TagOpen, end, end + 1, State::BeforeAttributeName),
        }
    }

    /// The byte at `at` is part of the name, whatever it is.
    fn attribute_name(&mut self) -> Token<'a> {
        let is_part = |byte| !(is_space(byte) || matches!(byte, b'/' | b'=' | b'>'));
        let end = self.input.skip(self.at + 1, is_part);
        let (next, state) = match self.input.get(end) {
            None => return self.take_rest(Kind::AttributeName),
            Some(b'/') => (end + 1, State::SelfClosing),
            Some(b'=') => (end + 1, State::BeforeAttributeValue),
            Some(b'>') => (end, State::EndOfTag),
            Some(_) => (end + 1, State::AfterAttributeName),
        };
        self.take(Kind::AttributeName, end, next, state)
    }

    fn unquoted_value(&mut self) -> Token<'a> {
        let end = self.input.skip(self.at, |byte| !(is_space(byte) || byte == b'>'));
        match self.input.get(end) {
            None => self.take_rest(Kind::AttributeValue),
            Some(b'>') => self.take(Kind::AttributeValue, end, end, State::EndOfTag),
            Some(_) => self.take(Kind::AttributeValue, end, end + 1, State::BeforeAttributeName),
        }
    }

    /// What is behind `<!`.
    fn markup_declaration(&mut self) -> Token<'a> {
        let start = self.input.slice(self.at, self.at + 7);
        if start.eq_ignore_ascii_case(b"DOCTYPE") {
            self.through_greater_than(Kind::Doctype)
        } else if start == b"[CDATA[" {
            self.at += 7;
            let end = self.input.find_bytes(b"]]>", self.at);
            self.take_through(Kind::Text, end, 3)
        } else if start.starts_with(b"--") {
            self.at += 2;
            self.comment()
        } else {
            self.through_greater_than(Kind::Comment)
        }
    }

    /// A comment ends with `-->` or `-!>`, with NULs after the first dash for all that old browsers cared.
    fn comment(&mut self) -> Token<'a> {
        let mut search = self.at;
        while let Some(dash) = self.input.find(b'-', search) {
            // The next dash is behind these NULs, so they are skipped once.
            let mark = self.input.skip(dash + 1, |byte| byte == 0);
            if matches!(self.input.get(mark), Some(b'-' | b'!')) && self.input.is(mark + 1, b'>') {
                return self.take(Kind::Comment, dash, mark + 2, State::Data);
            }
            search = dash + 1;
        }
        self.take_rest(Kind::Comment)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}
