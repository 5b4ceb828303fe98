//! Literals that begin with a letter or with `$`: binary, hexadecimal, national, Unicode, Oracle's and PostgreSQL's.
//!
//! What only begins like one is a word, or a lone `$`.

use super::class::Class;
use super::scan::Scanner;
use super::token::{Kind, Token};

impl<'a> Scanner<'a> {
    /// `b'0101'`.
    pub(super) fn binary_literal(&mut self) -> Token<'a> {
        self.digits_in_quotes(Class::BINARY)
    }

    /// `x'beef'`.
    pub(super) fn hexadecimal_literal(&mut self) -> Token<'a> {
        self.digits_in_quotes(Class::HEXADECIMAL)
    }

    fn digits_in_quotes(&mut self, class: Class) -> Token<'a> {
        if self.is_quote_before_end(self.at + 1) {
            let end = self.input.skip(self.at + 2, |byte| class.has(byte));
            if self.input.is(end, b'\'') {
                return self.take_to(Kind::Number, end + 1);
            }
        }
        self.word()
    }

    /// PostgreSQL's `E'…'`.
    pub(super) fn escaped_literal(&mut self) -> Token<'a> {
        if self.is_quote_before_end(self.at + 1) {
            self.quoted(self.at + 2, b'\'', b'\'')
        } else {
            self.word()
        }
    }

    /// MySQL's `N'…'` and Oracle's `NQ'(…)'`.
    pub(super) fn national_literal(&mut self) -> Token<'a> {
        if self.is_quote_before_end(self.at + 1) {
            self.escaped_literal()
        } else {
            self.oracle_literal(self.at + 1)
        }
    }

    /// PostgreSQL's `U&'…'`.
    pub(super) fn unicode_literal(&mut self) -> Token<'a> {
        if self.input.slice(self.at + 1, self.at + 3) != b"&'" {
            return self.word();
        }
        let token = self.quoted(self.at + 3, b'\'', b'u');
        let closed = if token.closed == 0 { 0 } else { b'u' };
        Token { closed, ..token }
    }

    /// Oracle's `Q'(…)'`, with the Q at `start`: any delimiter, which brackets close by their other half.
    pub(super) fn oracle_literal(&mut self, start: usize) -> Token<'a> {
        let is_one = matches!(self.input.get(start), Some(b'q' | b'Q')) && self.input.is(start + 1, b'\'');
        // A control character, a space or half of a character is no delimiter.
        let (true, Some(delimiter @ 0x21..=0x7f)) = (is_one, self.input.get(start + 2)) else {
            return self.word();
        };
        let delimiter = match delimiter {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            other => other,
        };
        let inside = start + 3;
        let end = self.input.find_pair(delimiter, b'\'', inside, self.input.len());
        self.enclosed(inside, end, 2, b'q')
    }

    /// `$1,000.00` is a number, `$$…$$` and `$tag$…$tag$` are PostgreSQL's texts.
    pub(super) fn dollar(&mut self) -> Token<'a> {
        let after = self.at + 1;
        let amount = self.input.skip(after, |byte| Class::MONEY.has(byte));
        if amount == after + 1 && self.input.is(after, b'.') {
            return self.word();
        }
        if amount > after {
            return self.take_to(Kind::Number, amount);
        }
        if self.input.is(after, b'$') {
            let inside = after + 1;
            let end = self.input.find_pair(b'$', b'$', inside, self.input.len());
            return self.enclosed(inside, end, 2, b'$');
        }
        let tag = self.input.skip(after, |byte| Class::LETTER.has(byte));
        if tag == after || !self.input.is(tag, b'$') {
            return self.single(Kind::Bareword);
        }
        let inside = tag + 1;
        let delimiter = self.input.slice(self.at, inside);
        let end = self.input.find_bytes(delimiter, inside);
        self.enclosed(inside, end, delimiter.len(), b'$')
    }

    /// A text from `from` to `end`, where its delimiter begins, or to the end of the input.
    fn enclosed(&mut self, from: usize, end: Option<usize>, delimiter: usize, mark: u8) -> Token<'a> {
        let length = self.input.len();
        let token = match end {
            Some(end) => self.take(Kind::Text, from, end, end + delimiter),
            None => self.take(Kind::Text, from, length, length),
        };
        Token {
            opened: mark,
            closed: if end.is_some() { mark } else { 0 },
            ..token
        }
    }

    /// Whether there is a quote at `at` and something behind it.
    fn is_quote_before_end(&self, at: usize) -> bool {
        self.input.is(at, b'\'') && at + 1 < self.input.len()
    }
}
