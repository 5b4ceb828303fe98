//! Folds tokens: what does not change the shape of a statement is left out, until at most five tokens stand for it.
//!
//! `1+1`, `1,2` and `a.b` are one value, `( (` is one parenthesis, `UNION` `ALL` is one word, comments do not count. The
//! first tokens are what decides, so reading ends when five of them cannot be folded any more.
//!
//! Invariants: at most [`ROOM`] tokens are held. Each round either folds a token away, or gives a token another kind that
//! no rule gives back, or goes on by one token: the number of rounds is linear in the number of tokens.

use super::scan::{Context, Scanner};
use super::token::{Kind, Token};
use super::words;
use crate::detect::bytes::begins_with;

/// How many tokens a pattern has at most.
const MOST: usize = 5;
/// One more is read to tell what the fifth is; the array is a power of two.
const ROOM: usize = 8;

/// What a reading of the input came to.
#[derive(Debug)]
pub(crate) struct Folded<'a> {
    scanner: Scanner<'a>,
    tokens: [Token<'a>; ROOM],
    /// How many places of `tokens` are taken.
    filled: usize,
    /// How many of these, from the first on, no rule looks at for now.
    settled: usize,
    /// Whether the scanner has no more.
    exhausted: bool,
    /// The comment that was read last, if nothing was read after it.
    comment: Option<Token<'a>>,
}

impl<'a> Folded<'a> {
    pub(crate) fn of(input: &'a [u8], context: Context) -> Self {
        let mut folded = Self {
            scanner: Scanner::new(input, context),
            tokens: [Token::NONE; ROOM],
            filled: 0,
            settled: 0,
            exhausted: false,
            comment: None,
        };
        folded.filled = folded.fold();
        folded.scanner.input.assert_linear();
        folded
    }

    /// What is left of the tokens.
    pub(crate) fn tokens(&self) -> &[Token<'a>] {
        self.tokens.get(..self.filled).unwrap_or_default()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Token<'a>> {
        self.tokens.get_mut(..self.filled)?.last_mut()
    }

    /// How many tokens were read.
    pub(super) fn read(&self) -> usize {
        self.scanner.yielded
    }

    /// Whether something was met that MySQL reads another way.
    pub(super) fn mysql_differs(&self) -> bool {
        self.scanner.mysql_differs
    }
}

/// What a rule did: it forgets the last `drop` tokens, and folding goes on at `resume`.
struct Fold {
    drop: usize,
    resume: Resume,
}

enum Resume {
    Here,
    OneBack,
    Start,
}

/// What a pair of tokens came to.
enum Pair {
    Folded(Fold),
    /// No rule of pairs is for it: a third token may help.
    Kept,
    /// Nobody writes this but to get past a filter.
    Evil,
}

impl Folded<'_> {
    /// Fills `tokens` and returns how many count.
    fn fold(&mut self) -> usize {
        // What may stand before a statement and says nothing: comments, parentheses, signs, casts.
        let Some(first) = self
            .scanner
            .find(|token| !matches!(token.kind, Kind::Comment | Kind::Open | Kind::SqlType) && !token.is_unary())
        else {
            return 0;
        };
        self.tokens[0] = first;
        self.filled = 1;
        loop {
            if self.filled >= MOST {
                self.fold_five();
            }
            if self.exhausted || self.settled >= MOST {
                break;
            }
            if !self.have(2) {
                self.settled = self.filled;
                continue;
            }
            match self.fold_pair() {
                Pair::Folded(fold) => {
                    self.apply(&fold);
                    continue;
                }
                Pair::Evil => return self.settled + 2,
                Pair::Kept => {}
            }
            if !self.have(3) {
                self.settled = self.filled;
                continue;
            }
            match self.fold_three() {
                Some(fold) => self.apply(&fold),
                None => self.settled += 1,
            }
        }
        if self.filled < MOST
            && let Some(comment) = self.comment
        {
            self.tokens[self.filled] = comment;
            self.filled += 1;
        }
        self.filled.min(MOST)
    }

    /// Reads until there are `count` tokens that are not settled; whether there are.
    fn have(&mut self, count: usize) -> bool {
        while !self.exhausted && self.filled <= MOST && self.filled < self.settled + count {
            match self.scanner.next() {
                Some(token) if token.kind == Kind::Comment => self.comment = Some(token),
                Some(token) => {
                    self.comment = None;
                    self.tokens[self.filled] = token;
                    self.filled += 1;
                }
                None => self.exhausted = true,
            }
        }
        self.filled >= self.settled + count
    }

    fn apply(&mut self, fold: &Fold) {
        self.filled = self.filled.saturating_sub(fold.drop);
        self.settled = match fold.resume {
            Resume::Here => self.settled,
            Resume::OneBack => self.settled.saturating_sub(1),
            Resume::Start => 0,
        };
    }

    /// Five tokens that are one value, such as `1+(2)`, make room for more.
    fn fold_five(&mut self) {
        use Kind::{Bareword, Close, Comma, Number, Open, Operator};
        let [a, b, c, d, e, sixth, ..] = self.tokens;
        let is_value = matches!(
            (a.kind, b.kind, c.kind, d.kind, e.kind),
            (Number, Operator | Comma, Open, Number, Close)
                | (Bareword, Operator, Open, Bareword | Number, Close)
                | (Number, Close, Comma, Open, Number)
                | (Bareword, Close, Operator, Open, Bareword)
        );
        if is_value {
            if self.filled > MOST {
                self.tokens[1] = sixth;
                self.filled = 2;
            } else {
                self.filled = 1;
            }
            self.settled = 0;
        }
    }

    fn fold_pair(&mut self) -> Pair {
        use Kind::{
            Backslash, Bareword, Close, CloseBrace, Collate, Function, Keyword, Logic, Number, Open, OpenBrace,
            Operator, Semicolon, SqlType, Text, TransactSql, Variable,
        };
        let folded = |drop, resume| Pair::Folded(Fold { drop, resume });
        let Some([first, second, ..]) = self.tokens.get_mut(self.settled..) else {
            return Pair::Kept;
        };
        match (first.kind, second.kind) {
            (Text, Text) | (Semicolon, Semicolon) => return folded(1, Resume::Here),
            (Operator | Logic, SqlType) => return folded(1, Resume::Start),
            (Operator | Logic, _) if second.is_unary() => return folded(1, Resume::Start),
            (Open, _) if second.is_unary() => return folded(1, Resume::OneBack),
            _ => {}
        }
        if let Some(phrase) = phrase(first, second) {
            *first = phrase;
            return folded(1, Resume::OneBack);
        }
        match (first.kind, second.kind) {
            // Behind a semicolon, IF is a statement of Transact-SQL and no function.
            (Semicolon, Function) if begins_with(second.text, b"IF") => {
                second.kind = TransactSql;
                folded(0, Resume::Here)
            }
            (Bareword | Variable, Open) if may_be_called(first) => {
                first.kind = Function;
                folded(0, Resume::Here)
            }
            // IN before a parenthesis compares; in `IN BOOLEAN MODE` it is a word like others.
            (Keyword, _) if first.is_word(b"IN") || first.is_word(b"NOT IN") => {
                first.kind = if second.kind == Open { Operator } else { Bareword };
                folded(0, Resume::Here)
            }
            (Operator, _) if first.is_word(b"LIKE") || first.is_word(b"NOT LIKE") => {
                if second.kind == Open {
                    first.kind = Function;
                }
                Pair::Kept
            }
            (SqlType, Bareword | Number | SqlType | Open | Function | Variable | Text) => {
                *first = *second;
                folded(1, Resume::Start)
            }
            // There are too many collations for a list, but all have an underscore.
            (Collate, Bareword) => {
                if second
                    .text
                    .split(|byte| *byte == 0)
                    .next()
                    .is_some_and(|text| text.contains(&b'_'))
                {
                    second.kind = SqlType;
                    self.settled = 0;
                }
                Pair::Kept
            }
            // To SQL Server `\%1` is `0 % 1`, and `\1` is `1`.
            (Backslash, _) if second.is_arithmetic() => {
                first.kind = Number;
                folded(0, Resume::Start)
            }
            (Backslash, _) => {
                *first = *second;
                folded(1, Resume::Start)
            }
            (Open, Open) | (Close, Close) => folded(1, Resume::Start),
            // MySQL takes {``.``.id} for a name.
            (OpenBrace, Bareword) if second.text.is_empty() => {
                second.kind = Kind::Evil;
                Pair::Evil
            }
            // `{name value}` is the value, as ODBC writes it.
            (OpenBrace, Bareword) => folded(2, Resume::Start),
            (_, CloseBrace) => folded(1, Resume::Start),
            _ => Pair::Kept,
        }
    }

    fn fold_three(&mut self) -> Option<Fold> {
        use Kind::{
            Bareword, Close, Comma, Dot, Expression, Function, Group, Keyword, Logic, Number, Open, Operator, SqlType,
            Text, Variable,
        };
        let drop = |drop| {
            Some(Fold {
                drop,
                resume: Resume::Start,
            })
        };
        let [first, second, third, ..] = self.tokens.get_mut(self.settled..)? else {
            return None;
        };
        let unary = second.is_unary();
        match (first.kind, second.kind, third.kind) {
            // A value, something between, and a value are a value.
            (Number, Operator, Number)
            | (Logic, _, Logic)
            | (Variable, Operator, Variable | Number | Bareword)
            | (Bareword | Number, Operator, Number | Bareword)
            | (Bareword | Number | Text | Variable, Comma, Number | Bareword | Text | Variable)
            | (Bareword, Dot, Bareword) => drop(2),
            (Operator, between, Operator) if between != Open => drop(2),
            (Bareword | Number | Variable | Text, Operator, SqlType) if second.text == b"::" => drop(2),
            // A sign before a value or a parenthesis.
            (Expression | Group | Comma, _, Open)
            | (Keyword | Expression | Group, _, Number | Bareword | Variable | Text | Function)
            | (Comma, _, Function)
                if unary =>
            {
                *second = *third;
                drop(1)
            }
            // The value itself goes too, so that the comma can be folded with what is before it: `1,-1`.
            (Comma, _, Number | Bareword | Variable | Text) if unary => {
                *second = *third;
                drop(3)
            }
            // SELECT .`name`
            (Expression, Dot, Bareword) => {
                *second = *third;
                drop(1)
            }
            // USER() has no arguments: with some, it is a word like others.
            (Function, Open, after) if after != Close && first.is_word(b"USER") => {
                first.kind = Bareword;
                None
            }
            _ => None,
        }
    }
}

/// The two tokens as one, if together they are a phrase.
fn phrase<'a>(first: &Token<'a>, second: &Token<'a>) -> Option<Token<'a>> {
    use Kind::{Bareword, Expression, Function, Keyword, Logic, Operator, SqlType, TransactSql, Union};
    let is_word = |kind| {
        matches!(
            kind,
            Keyword | Bareword | Operator | Union | Function | Expression | TransactSql | SqlType
        )
    };
    if !is_word(first.kind) || !(is_word(second.kind) || second.kind == Logic) {
        return None;
    }
    let (kind, text) = words::phrase_of(first.text, second.text)?;
    Some(Token { kind, text, ..*first })
}

/// Whether this is a name that servers have a function for, and people a column.
fn may_be_called(token: &Token<'_>) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"USER_ID",
        b"USER_NAME",
        b"DATABASE",
        b"PASSWORD",
        b"USER",
        b"CURRENT_USER",
        b"CURRENT_DATE",
        b"CURRENT_TIME",
        b"CURRENT_TIMESTAMP",
        b"LOCALTIME",
        b"LOCALTIMESTAMP",
    ];
    NAMES.iter().any(|name| token.is_word(name))
}
