//! One piece of SQL: its kind and what it says.
//!
//! Invariant: a token's text is at most [`Token::MAX_TEXT`] bytes long, whatever stands in the input: all that is asked
//! of a text is whether it is some word, and no word is longer.

/// What a piece of SQL is. The value is the letter that stands for it in fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Keyword = b'k',
    Union = b'U',
    Group = b'B',
    Expression = b'E',
    SqlType = b't',
    Function = b'f',
    Bareword = b'n',
    Number = b'1',
    Variable = b'v',
    Text = b's',
    Operator = b'o',
    Logic = b'&',
    Comment = b'c',
    Collate = b'A',
    Open = b'(',
    Close = b')',
    OpenBrace = b'{',
    CloseBrace = b'}',
    Dot = b'.',
    Comma = b',',
    Colon = b':',
    Semicolon = b';',
    TransactSql = b'T',
    Unknown = b'?',
    /// What cannot be read the same way by all servers, and what nobody writes by accident.
    Evil = b'X',
    Backslash = b'\\',
}

impl Kind {
    /// The letter of this kind in fingerprints.
    pub(crate) fn letter(self) -> u8 {
        self as u8
    }

    /// The kind of a word in the list of words, where only these are.
    pub(super) fn of_word(letter: u8) -> Option<Self> {
        Some(match letter {
            b'k' => Self::Keyword,
            b'U' => Self::Union,
            b'B' => Self::Group,
            b'E' => Self::Expression,
            b't' => Self::SqlType,
            b'f' => Self::Function,
            b'n' => Self::Bareword,
            b'1' => Self::Number,
            b'v' => Self::Variable,
            b'o' => Self::Operator,
            b'&' => Self::Logic,
            b'A' => Self::Collate,
            b'T' => Self::TransactSql,
            _ => return None,
        })
    }
}

/// A piece of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    /// Its beginning, without quotes. Words that were merged are one text, in upper case.
    pub(crate) text: &'a [u8],
    /// What a text was opened with: a quote, or a letter for the longer forms; 0 if nothing in the input opened it.
    pub(crate) opened: u8,
    /// The same for its end.
    pub(crate) closed: u8,
}

impl<'a> Token<'a> {
    pub(crate) const MAX_TEXT: usize = 31;

    /// A place that no token has been put into.
    pub(super) const NONE: Self = Self::new(Kind::Unknown, b"");

    pub(super) const fn new(kind: Kind, text: &'a [u8]) -> Self {
        Self {
            kind,
            text,
            opened: 0,
            closed: 0,
        }
    }

    /// Whether the text is `word`, in any case.
    pub(super) fn is_word(&self, word: &[u8]) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// Whether this can stand before a value and leaves it a value: `-1`, `!1`, `NOT 1`.
    pub(super) fn is_unary(&self) -> bool {
        self.kind == Kind::Operator && (matches!(self.text, b"+" | b"-" | b"!" | b"~" | b"!!") || self.is_word(b"NOT"))
    }

    /// Whether this calculates.
    pub(super) fn is_arithmetic(&self) -> bool {
        self.kind == Kind::Operator && matches!(self.text, b"*" | b"/" | b"-" | b"+" | b"%")
    }
}
