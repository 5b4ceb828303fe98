//! SecLang, the rule language of ModSecurity: text in, directives with positions out.
//!
//! The parser knows the language, not what a rule means: it resolves no macro, compiles no pattern and reads no data
//! file. What it does not know is an error with a position; nothing is skipped silently. Reading is linear in the text
//! and never panics; [`MAX_SOURCE`], [`MAX_LINE`], [`MAX_CHAIN`] and [`MAX_ERRORS`] bound it.
//!
//! Where ModSecurity 2, ModSecurity 3 and Coraza read the same text differently, what is taken is what none of them
//! reads otherwise without a word, and the rest is an error.
//!
//! Left to the engine: which rules run when, and what they do; ids that two rules have.

mod action;
mod ast;
mod chain;
mod directive;
mod expr;
mod lines;
mod names;
mod operator;
mod setting;
mod standing;
mod suggest;
mod target;
mod words;

use std::sync::Arc;

pub use ast::{
    Action, AllowScope, AuditEngine, BodyProcessor, Ctl, Directive, DirectiveKind, Disruptive, Engine, Expr, ExprPart,
    Key, LimitAction, Located, Operator, Phase, Position, Rule, RuleRange, Sanitise, Setting, Setvar, SetvarOp,
    Severity, SkipTo, Target, TargetUpdate,
};
pub use names::{OperatorKind, Variable};
pub use standing::{Standing, directives, standing};

use self::chain::Chain;
use self::directive::Read;
use self::lines::{Line, Lines};
use self::words::words;

/// The longest source, in bytes.
pub const MAX_SOURCE: usize = 16 << 20;
/// The longest directive, in bytes, with all the lines it goes on over.
pub const MAX_LINE: usize = 1 << 20;
/// The most rules in a chain.
pub const MAX_CHAIN: usize = 100;
/// The most mistakes that are told of one source.
pub const MAX_ERRORS: usize = 100;

/// Why a text is not SecLang, or not what this crate runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {message}")]
pub struct ParseError {
    /// Where.
    pub position: Position,
    /// What is wrong, and what to do.
    pub message: String,
}

/// Parses one source (a file, or an inline text) named `name`. `Include` is not followed here: the caller names sources
/// in their order.
///
/// ```
/// use breakwater_waf::seclang::{DirectiveKind, parse};
///
/// let directives = parse("my.conf", r#"SecRule ARGS:q "@contains <" "id:1,phase:2,deny,status:400""#).unwrap();
/// assert!(matches!(directives[0].value, DirectiveKind::Rule(_)));
///
/// let errors = parse("my.conf", "SecRuleEngin On").unwrap_err();
/// assert_eq!(
///     errors[0].to_string(),
///     "my.conf:1: there is no directive `SecRuleEngin`; did you mean SecRuleEngine?"
/// );
/// ```
///
/// # Errors
/// Every mistake in it, in order: after [`MAX_ERRORS`] one more says where reading stopped.
pub fn parse(name: &str, text: &str) -> Result<Vec<Directive>, Vec<ParseError>> {
    match read(name, text) {
        (directives, errors) if errors.is_empty() => Ok(directives),
        (_, errors) => Err(errors),
    }
}

/// As [`parse`], and the directives that are sound beside the mistakes: for who wants to tell what else is wrong.
#[must_use]
pub fn read(name: &str, text: &str) -> (Vec<Directive>, Vec<ParseError>) {
    let source = Arc::from(name);
    if text.len() > MAX_SOURCE {
        let position = Position { source, line: 1 };
        let message = format!("the source is longer than {MAX_SOURCE} bytes; cut it into several");
        return (Vec::new(), vec![ParseError { position, message }]);
    }
    let mut parser = Parser::default();
    let mut stopped = None;
    for line in Lines::new(&source, text) {
        if parser.errors.is_full() {
            stopped = Some(match line {
                Ok(line) => line.position(0),
                Err(error) => error.position,
            });
            break;
        }
        match line {
            Ok(line) => parser.line(&line),
            Err(error) => {
                parser.errors.push(error.position, error.message);
                parser.lose();
            }
        }
    }
    if stopped.is_none() {
        parser.chain.end(&mut parser.errors);
    }
    let mut errors = parser.errors.0;
    // That a chain ends in nothing is known only at the directive after it.
    errors.sort_by_key(|error| error.position.line);
    errors.extend(stopped.map(|position| ParseError {
        position,
        message: format!("what comes from here on was not read, after {MAX_ERRORS} mistakes; mend those first"),
    }));
    (parser.directives, errors)
}

#[derive(Default)]
struct Parser {
    directives: Vec<Directive>,
    chain: Chain,
    /// A rule of the chain that is being read has mistakes: it is no directive when it is whole.
    unsound: bool,
    errors: Errors,
}

impl Parser {
    fn line(&mut self, line: &Line<'_>) {
        let (name, at, words) = match words(line) {
            Ok(read) => read,
            Err(mistake) => {
                self.errors.push(line.position(mistake.at), mistake.message);
                return self.lose();
            }
        };
        let position = line.position(at);
        let before = self.errors.0.len();
        match directive::read(name, &words, &position, &mut self.errors) {
            Read::Rule(value) => {
                let sound = self.errors.0.len() == before;
                let rule = Located { value, position };
                let whole = self.chain.rule(rule, sound, &mut self.errors);
                self.unsound |= self.errors.0.len() > before;
                if let Some(whole) = whole
                    && !std::mem::take(&mut self.unsound)
                {
                    self.directives.push(whole);
                }
            }
            Read::Nothing => self.lose(),
            Read::Other(value) => {
                if self.errors.0.len() == before {
                    self.directives.push(Located { value, position });
                }
                self.chain.end(&mut self.errors);
                self.unsound = false;
            }
        }
    }

    fn lose(&mut self) {
        self.chain.lose();
        self.unsound = false;
    }
}

/// What is wrong in a word or a line, and at which of its bytes.
#[derive(Debug)]
struct Mistake {
    at: usize,
    message: String,
}

impl Mistake {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}

/// The mistakes of a source, in order.
#[derive(Default)]
struct Errors(Vec<ParseError>);

impl Errors {
    fn push(&mut self, position: Position, message: String) {
        if !self.is_full() {
            self.0.push(ParseError { position, message });
        }
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAX_ERRORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn mistakes(text: &str) -> Vec<String> {
        let errors = parse("x", text).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_rule_that_is_not_understood_is_told_once_and_not_what_belongs_to_it() {
        let read = mistakes(
            "SecRule ARGS \"@rx x id:1\nSecRule ARGS x \"t:none\"\nSecRule ARGS x \"phase:2\"\nSecRule ARGS x id:2",
        );
        assert_eq!(read.len(), 1, "{read:?}");
        let read = mistakes(
            "SecRule ARGS x \"id:1,chain\"\nSecRul ARGS x chain\nSecRule ARGS x t:none\nSecRule ARGS x \"log\"",
        );
        assert_eq!(read.len(), 1, "{read:?}");
        let read = mistakes("SecRule ARGZ x \"id:1,chain\"\nSecRule ARGS x t:none\nSecRule ARGS x log");
        assert_eq!(read.len(), 2, "the third belongs to no chain: {read:?}");
    }

    #[test]
    fn a_chain_has_a_longest_length() {
        let chain = |links: usize| {
            let middle = "SecRule ARGS x chain\n".repeat(links - 1);
            format!("SecRule ARGS x \"id:1,chain\"\n{middle}SecRule ARGS x\nSecRuleEngine On\n")
        };
        assert_eq!(
            parse("x", &chain(MAX_CHAIN - 1)).map(|directives| directives.len()),
            Ok(2)
        );
        let read = mistakes(&chain(10_000));
        assert_eq!(
            read,
            [format!(
                "x:{}: a chain of more than 100 rules; make it shorter",
                MAX_CHAIN + 1
            )]
        );
    }

    #[test]
    fn a_hundred_mistakes_are_told_in_the_order_of_their_lines_and_then_where_reading_stopped() {
        let text = "SecRule ARGS x \"id:1,chain\"\nSecMarker x\nSecRuleEngine Of\n".repeat(200);
        let errors = parse("x", &text).unwrap_err();
        assert_eq!(errors.len(), MAX_ERRORS + 1);
        assert!(errors.is_sorted_by_key(|error| error.position.line));
        let last = errors.last().map(ToString::to_string).unwrap();
        assert!(
            last.starts_with("x:151: what comes from here on was not read"),
            "{last}"
        );
        let errors = mistakes(&"SecRuleEngine Of\n".repeat(MAX_ERRORS));
        assert!(errors.len() == MAX_ERRORS && errors.iter().all(|error| error.contains("`Of`")));
    }

    #[test]
    fn what_is_sound_is_read_beside_the_mistakes() {
        let (directives, errors) = read("x", "SecMarker a\nSecNonsense\nSecMarker b\n");
        assert_eq!((directives.len(), errors.len()), (2, 1));
    }

    #[test]
    fn a_source_has_a_longest_length() {
        let text = format!("SecRuleEngine On\n{}", "#\n".repeat(MAX_SOURCE / 2));
        assert_eq!(
            mistakes(&text),
            ["x:1: the source is longer than 16777216 bytes; cut it into several"]
        );
        assert_eq!(
            parse("x", "\u{feff}SecRuleEngine On\n#").map(|directives| directives.len()),
            Ok(1)
        );
    }

    #[test]
    fn whatever_is_done_to_rules_they_are_read_to_their_end() {
        let seed = include_str!("../tests/seclang/rule.conf").to_owned() + include_str!("../tests/seclang/chain.conf");
        let pieces = [
            "\\", "\"", "'", "\n", "|", ",", ":", "/", "%{", "}", "!", "&", "@", "=", "é", " ", "\0", "#",
        ];
        let mut random = Random::new(6);
        let (mut read, mut refused) = (0, 0);
        for _ in 0..500 {
            let mut chars: Vec<char> = seed.chars().collect();
            for _ in 0..=random.below(3) {
                let at = random.below(chars.len() as u64) as usize;
                let until = (at + random.below(4) as usize).min(chars.len());
                let piece = pieces[random.below(pieces.len() as u64) as usize];
                chars.splice(at..until, piece.chars());
            }
            match parse("x", &chars.into_iter().collect::<String>()) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        assert!(read > 20 && refused > 20, "{read} read, {refused} refused");
    }
}
