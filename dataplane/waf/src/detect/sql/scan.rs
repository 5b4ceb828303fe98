//! Cuts SQL into tokens, as the servers together would read it: MySQL, PostgreSQL, Oracle, SQL Server.
//!
//! Invariant: each token costs at most a few looks at the bytes it takes in. What is searched for and not found (the end
//! of a comment, of a string) makes a token of all the rest, so no search is made twice. The one place where a word is
//! cut short, [`Scanner::word`], looks at the first 31 bytes before it looks for the word's end; libinjection looks for
//! the end first, which is quadratic in ``OR`x`OR`x`…``.
//!
//! Literals that begin with a letter or `$` are in [`literals`](super::literals).

use super::class::Class;
use super::token::{Kind, Token};
use super::words;
use crate::detect::bytes::Bytes;

/// Where the input is put into a statement, and who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// The quote the input is put behind, if it is put into a string.
    pub(crate) quote: Option<u8>,
    /// Read `#` as a comment, and `--` only with space behind it, as MySQL does and others do not.
    pub(crate) mysql: bool,
}

/// Yields the tokens of one reading of the input.
#[derive(Clone, Debug)]
pub(crate) struct Scanner<'a> {
    pub(super) input: Bytes<'a>,
    pub(super) at: usize,
    context: Context,
    /// How many tokens were yielded.
    pub(super) yielded: usize,
    /// Whether something was met that MySQL reads another way.
    pub(super) mysql_differs: bool,
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.input.get(self.at)?;
        let token = match self.context.quote.take() {
            Some(quote) => self.quoted(0, quote, 0),
            None => self.token(first)?,
        };
        self.yielded += 1;
        Some(token)
    }
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(input: &'a [u8], context: Context) -> Self {
        Self {
            input: Bytes::new(input),
            at: 0,
            context,
            yielded: 0,
            mysql_differs: false,
        }
    }

    /// The token that begins with `first`, which is at `at`, after the space there may be.
    fn token(&mut self, mut first: u8) -> Option<Token<'a>> {
        while matches!(first, 0..=b' ' | 0x7f | 0xa0) {
            self.at += 1;
            first = self.input.get(self.at)?;
        }
        Some(match first {
            b'\'' | b'"' => self.quoted(self.at + 1, first, first),
            b'`' => self.ticked(self.at + 1),
            b'0'..=b'9' | b'.' => self.number(first),
            b'(' => self.single(Kind::Open),
            b')' => self.single(Kind::Close),
            b'{' => self.single(Kind::OpenBrace),
            b'}' => self.single(Kind::CloseBrace),
            b',' => self.single(Kind::Comma),
            b';' => self.single(Kind::Semicolon),
            b'?' | b']' => self.single(Kind::Unknown),
            b'%' | b'+' | b'^' | b'~' => self.single(Kind::Operator),
            b'!' | b'&' | b'*' | b':' | b'<' | b'=' | b'>' | b'|' => self.operator(first),
            b'#' => self.hash(),
            b'-' => self.dash(),
            b'/' => self.slash(),
            b'\\' => self.backslash(),
            b'@' => self.variable(),
            b'[' => self.bracketed(),
            b'$' => self.dollar(),
            b'b' | b'B' => self.binary_literal(),
            b'e' | b'E' => self.escaped_literal(),
            b'n' | b'N' => self.national_literal(),
            b'q' | b'Q' => self.oracle_literal(self.at),
            b'u' | b'U' => self.unicode_literal(),
            b'x' | b'X' => self.hexadecimal_literal(),
            _ => self.word(),
        })
    }

    /// A token whose text is from `from` to `to`; the next one begins at `next`.
    #[inline]
    pub(super) fn take(&mut self, kind: Kind, from: usize, to: usize, next: usize) -> Token<'a> {
        self.at = next;
        Token::new(kind, self.input.slice(from, to.min(from + Token::MAX_TEXT)))
    }

    /// A token of all bytes up to `to`.
    #[inline]
    pub(super) fn take_to(&mut self, kind: Kind, to: usize) -> Token<'a> {
        self.take(kind, self.at, to, to)
    }

    #[inline]
    pub(super) fn single(&mut self, kind: Kind) -> Token<'a> {
        self.take_to(kind, self.at + 1)
    }

    fn operator(&mut self, first: u8) -> Token<'a> {
        let two = self.input.slice(self.at, self.at + 2);
        if two.len() == 2 {
            if self.input.slice(self.at, self.at + 3) == b"<=>" {
                return self.take_to(Kind::Operator, self.at + 3);
            }
            if let Some(kind) = words::kind_of(two) {
                return self.take_to(kind, self.at + 2);
            }
            if first == b':' {
                return self.single(Kind::Colon);
            }
        }
        self.single(Kind::Operator)
    }

    fn hash(&mut self) -> Token<'a> {
        self.mysql_differs = true;
        if self.context.mysql {
            self.comment_to_end_of_line()
        } else {
            self.single(Kind::Operator)
        }
    }

    /// `--` and space or the end is a comment to all; `--x` is one to all but MySQL, where it is minus minus x.
    fn dash(&mut self) -> Token<'a> {
        if !self.input.is(self.at + 1, b'-') {
            return self.single(Kind::Operator);
        }
        if self.input.get(self.at + 2).is_none_or(|third| Class::SPACE.has(third)) {
            return self.comment_to_end_of_line();
        }
        if self.context.mysql {
            return self.single(Kind::Operator);
        }
        self.mysql_differs = true;
        self.comment_to_end_of_line()
    }

    fn comment_to_end_of_line(&mut self) -> Token<'a> {
        match self.input.find(b'\n', self.at) {
            Some(end) => self.take(Kind::Comment, self.at, end, end + 1),
            None => self.take_to(Kind::Comment, self.input.len()),
        }
    }

    /// A comment is evil if it is code to MySQL (`/*! … */`) or if it is not over where it ends for some, because it
    /// has another one in it.
    fn slash(&mut self) -> Token<'a> {
        if !self.input.is(self.at + 1, b'*') {
            return self.single(Kind::Operator);
        }
        let inside = self.at + 2;
        let close = self.input.find_pair(b'*', b'/', inside, self.input.len());
        // The star of the end can be that of another beginning: `/*/*/`.
        let nested = close.is_some_and(|close| self.input.find_pair(b'/', b'*', inside, close + 1).is_some());
        let kind = if nested || self.input.is(inside, b'!') {
            Kind::Evil
        } else {
            Kind::Comment
        };
        self.take_to(kind, close.map_or(self.input.len(), |close| close + 2))
    }

    /// `\N` is NULL to MySQL.
    fn backslash(&mut self) -> Token<'a> {
        if self.input.is(self.at + 1, b'N') {
            self.take_to(Kind::Number, self.at + 2)
        } else {
            self.single(Kind::Backslash)
        }
    }

    /// A text from `from` to the next `quote` that is neither behind an odd number of backslashes nor doubled.
    ///
    /// The backslashes before a quote are counted back to the last quote at most, so all are counted once.
    pub(super) fn quoted(&mut self, from: usize, quote: u8, opened: u8) -> Token<'a> {
        let mut search = from;
        let (end, next, closed) = loop {
            let Some(end) = self.input.find(quote, search) else {
                break (self.input.len(), self.input.len(), 0);
            };
            let before = self.input.slice(from, end);
            let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes % 2 == 1 {
                search = end + 1;
            } else if self.input.is(end + 1, quote) {
                search = end + 2;
            } else {
                break (end, end + 1, quote);
            }
        };
        let token = self.take(Kind::Text, from, end, next);
        Token {
            opened,
            closed,
            ..token
        }
    }

    /// To MySQL, what is in backticks is a name, of a function if there is one of that name.
    pub(super) fn ticked(&mut self, from: usize) -> Token<'a> {
        let token = self.quoted(from, b'`', b'`');
        let kind = match words::kind_of(token.text) {
            Some(Kind::Function) => Kind::Function,
            _ => Kind::Bareword,
        };
        Token { kind, ..token }
    }

    /// A name in brackets, as in SQL Server.
    fn bracketed(&mut self) -> Token<'a> {
        let end = self.input.find(b']', self.at).map_or(self.input.len(), |end| end + 1);
        self.take_to(Kind::Bareword, end)
    }

    /// A word; only its beginning if that is one that means something, cut off by `.` or a backtick: `SELECT.1`.
    pub(super) fn word(&mut self) -> Token<'a> {
        let head = self.input.slice(self.at, self.at + Token::MAX_TEXT);
        for (length, byte) in head.iter().enumerate() {
            if matches!(byte, b'.' | b'`') {
                match words::kind_of(head.get(..length).unwrap_or_default()) {
                    None | Some(Kind::Bareword) => {}
                    Some(kind) => return self.take_to(kind, self.at + length),
                }
            } else if Class::ENDS_WORD.has(*byte) {
                break;
            }
        }
        let end = self.input.skip(self.at, |byte| !Class::ENDS_WORD.has(byte));
        // A longer word is none, and its beginning does not count.
        let known = words::kind_of(self.input.slice(self.at, end));
        self.take_to(known.unwrap_or(Kind::Bareword), end)
    }

    fn variable(&mut self) -> Token<'a> {
        let name = self.at + if self.input.is(self.at + 1, b'@') { 2 } else { 1 };
        let token = match self.input.get(name) {
            Some(b'`') => self.ticked(name + 1),
            Some(quote @ (b'\'' | b'"')) => self.quoted(name + 1, quote, quote),
            _ => {
                let end = self.input.skip(name, |byte| !Class::ENDS_VARIABLE.has(byte));
                self.take(Kind::Variable, name, end, end)
            }
        };
        Token {
            kind: Kind::Variable,
            ..token
        }
    }

    fn number(&mut self, first: u8) -> Token<'a> {
        let start = self.at;
        if first == b'0' {
            let class = match self.input.get(start + 1) {
                Some(b'x' | b'X') => Some(Class::HEXADECIMAL),
                Some(b'b' | b'B') => Some(Class::BINARY),
                _ => None,
            };
            if let Some(class) = class {
                let end = self.input.skip(start + 2, |byte| class.has(byte));
                let kind = if end == start + 2 { Kind::Bareword } else { Kind::Number };
                return self.take_to(kind, end);
            }
        }
        let digits = |from| self.input.skip(from, |byte| byte.is_ascii_digit());
        let mut end = digits(start);
        if self.input.is(end, b'.') {
            end = digits(end + 1);
            if end == start + 1 {
                return self.single(Kind::Dot);
            }
        }
        let mut kind = Kind::Number;
        if matches!(self.input.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.input.get(end + 1), Some(b'+' | b'-')));
            let exponent = end + 1 + sign;
            end = digits(exponent);
            if end == exponent {
                // `1.e` is no number: MySQL takes it for the name of a database.
                kind = Kind::Bareword;
            }
        }
        // Oracle's suffixes of floats and doubles; `1fUNION` is `1f UNION`.
        if matches!(self.input.get(end), Some(b'd' | b'D' | b'f' | b'F'))
            && self
                .input
                .get(end + 1)
                .is_none_or(|next| Class::SPACE.has(next) || matches!(next, b';' | b'u' | b'U'))
        {
            end += 1;
        }
        self.take_to(kind, end)
    }
}
