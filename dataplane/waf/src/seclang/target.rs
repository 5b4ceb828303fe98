//! Targets: `ARGS|!ARGS:q|&REQUEST_HEADERS:Host|TX:/^MSC_/|XML:/*`.
//!
//! Separated by `|` or `,`. A selector between quotes or slashes may hold either.

use std::fmt;

use super::suggest::{did_you_mean, shown};
use super::words::{part, single_quoted};
use super::{Key, Mistake, Target, Variable};

impl Target {
    /// Whether it may have something in common with what `other` stands for, so that leaving it out hides that. Patterns
    /// may.
    pub(crate) fn hides(&self, other: &Self) -> bool {
        let same = match (&self.key, &other.key) {
            (Some(Key::Name(one)), Some(Key::Name(other))) => one.eq_ignore_ascii_case(other),
            _ => true,
        };
        self.variable == other.variable && same
    }

    /// Reads one target that is neither counted nor left out, such as `ARGS:q` or `REQUEST_COOKIES:/^_ga/`.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        plain_target(text).map_err(|mistake| mistake.message)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.exclude { "!" } else { "" })?;
        f.write_str(if self.count { "&" } else { "" })?;
        f.write_str(self.variable.name())?;
        match &self.key {
            None => Ok(()),
            Some(Key::Name(name)) => write!(f, ":{name}"),
            Some(Key::Regex(pattern)) => write!(f, ":/{pattern}/"),
        }
    }
}

/// The targets of a word; at least one.
pub(super) fn targets(text: &str) -> Result<Vec<Target>, Mistake> {
    let mut reader = Reader {
        text,
        at: 0,
        patterns: true,
    };
    let mut targets = Vec::new();
    loop {
        reader.skip_spaces();
        targets.push(reader.target()?);
        reader.skip_spaces();
        match reader.peek() {
            None => return Ok(targets),
            Some('|' | ',') => reader.at += 1,
            Some(_) => {
                let rest = part(text, reader.at, text.len());
                return Err(Mistake::new(
                    reader.at,
                    format!(
                        "a | is missing before {}; a selector with spaces needs quotes: ARGS:'a b'",
                        shown(rest)
                    ),
                ));
            }
        }
    }
}

/// A word that is one target, and neither count nor exclusion: what `ctl` takes out.
pub(super) fn plain_target(text: &str) -> Result<Target, Mistake> {
    match targets(text)?.as_slice() {
        [target] if !target.exclude && !target.count => Ok(target.clone()),
        [_] => Err(Mistake::new(
            0,
            "neither ! nor & can stand before the target here; write its name alone",
        )),
        _ => Err(Mistake::new(0, "more than one target; write each on its own")),
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// Whether a slash that ends a pattern may still come: it is sought once, so that reading stays linear.
    patterns: bool,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        part(self.text, self.at, self.text.len()).chars().next()
    }

    fn skip_spaces(&mut self) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
    }

    fn target(&mut self) -> Result<Target, Mistake> {
        let start = self.at;
        let (mut exclude, mut count) = (false, false);
        loop {
            match self.peek() {
                Some('!') if !exclude => exclude = true,
                Some('&') if !count => count = true,
                _ => break,
            }
            self.at += 1;
        }
        if exclude && count {
            return Err(Mistake::new(
                start,
                "a target is either left out (!) or counted (&); remove one of them",
            ));
        }
        let variable = self.variable()?;
        let key = if self.peek() == Some(':') {
            if !variable.is_collection() {
                return Err(Mistake::new(
                    start,
                    format!("{variable} has no parts to select; write {variable} alone"),
                ));
            }
            self.at += 1;
            Some(self.key(variable)?)
        } else {
            None
        };
        Ok(Target {
            exclude,
            count,
            variable,
            key,
        })
    }

    fn variable(&mut self) -> Result<Variable, Mistake> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let name = part(self.text, start, self.at);
        if name.is_empty() {
            let rest = part(self.text, start, self.text.len());
            let message = match rest {
                "" => "a target is missing; write the name of a variable, such as ARGS".to_owned(),
                rest => format!(
                    "{} is no target; write the name of a variable, such as ARGS",
                    shown(rest)
                ),
            };
            return Err(Mistake::new(start, message));
        }
        Variable::from_name(name).ok_or_else(|| Mistake::new(start, unknown(name)))
    }

    fn key(&mut self, variable: Variable) -> Result<Key, Mistake> {
        let start = self.at;
        let key = match self.peek() {
            Some('\'') => self.quoted()?,
            Some('/') if variable != Variable::Xml => match self.pattern() {
                Some(pattern) => Key::Regex(pattern),
                None => self.plain(),
            },
            _ => self.plain(),
        };
        match &key {
            Key::Name(name) if name.is_empty() => Err(Mistake::new(
                start,
                format!("the selector is empty; write {variable} alone for all of its values"),
            )),
            Key::Name(path) if variable == Variable::Xml && !matches!(path.as_str(), "/*" | "//@*") => {
                Err(Mistake::new(
                    start,
                    format!(
                        "the XPath {} is not supported; use XML:/* for text or XML://@* for attributes",
                        shown(path)
                    ),
                ))
            }
            Key::Regex(_) if variable == Variable::Xml => {
                Err(Mistake::new(start, "XML takes an XPath: XML:/* or XML://@*"))
            }
            _ => Ok(key),
        }
    }

    /// To the next separator or space.
    fn plain(&mut self) -> Key {
        let rest = part(self.text, self.at, self.text.len());
        let length = rest
            .find(|c: char| matches!(c, '|' | ',') || c.is_whitespace())
            .unwrap_or(rest.len());
        let name = part(rest, 0, length).to_owned();
        self.at += length;
        Key::Name(name)
    }

    /// `'…'`
    fn quoted(&mut self) -> Result<Key, Mistake> {
        let open = self.at;
        let rest = part(self.text, open + 1, self.text.len());
        let Some((inside, end)) = single_quoted(rest) else {
            return Err(Mistake::new(
                open,
                "the quote around the selector is not closed; add a ' after it",
            ));
        };
        self.at = open + end + 2;
        let pattern = inside.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        Ok(match pattern {
            Some(pattern) => Key::Regex(pattern.to_owned()),
            None => Key::Name(inside.into_owned()),
        })
    }

    /// `/…/` up to the first slash, not after a backslash, that a separator or the end follows.
    fn pattern(&mut self) -> Option<String> {
        if !self.patterns {
            return None;
        }
        let rest = part(self.text, self.at + 1, self.text.len());
        let mut escaped = false;
        let mut bytes = rest.bytes().enumerate().peekable();
        while let Some((i, byte)) = bytes.next() {
            if byte == b'/' && !escaped {
                let ends = bytes
                    .peek()
                    .is_none_or(|(_, next)| matches!(next, b'|' | b',') || next.is_ascii_whitespace());
                if ends {
                    self.at += i + 2;
                    return Some(part(rest, 0, i).to_owned());
                }
            }
            escaped = byte == b'\\' && !escaped;
        }
        self.patterns = false;
        None
    }
}

fn unknown(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    for (names, why) in REFUSED {
        if names.contains(&upper.as_str()) {
            return format!("the variable {upper} is not supported: {why}");
        }
    }
    if upper.starts_with("PERF_") {
        return format!("the variable {upper} is not supported: the host measures time");
    }
    let names = Variable::ALL.iter().map(|variable| variable.name());
    format!("there is no variable {}{}", shown(name), did_you_mean(name, names))
}

/// What other engines have and this one has not, and why.
const REFUSED: [(&[&str], &str); 6] = [
    (
        &["FILES_TMPNAMES"],
        "uploads are not written to disk; use FILES_TMP_CONTENT for what is in them",
    ),
    (
        &["STREAM_INPUT_BODY", "STREAM_OUTPUT_BODY"],
        "bodies are not rewritten; use REQUEST_BODY or RESPONSE_BODY",
    ),
    (
        &[
            "SCRIPT_BASENAME",
            "SCRIPT_FILENAME",
            "SCRIPT_GID",
            "SCRIPT_GROUPNAME",
            "SCRIPT_MODE",
            "SCRIPT_UID",
            "SCRIPT_USERNAME",
        ],
        "there is no script file behind a proxy; use REQUEST_FILENAME",
    ),
    (
        &[
            "MSC_PCRE_ERROR",
            "MSC_PCRE_LIMITS_EXCEEDED",
            "RX_ERROR",
            "RX_ERROR_RULE_ID",
        ],
        "patterns here always end in linear time and cannot fail; remove the target",
    ),
    (
        &[
            "SDBM_DELETE_ERROR",
            "URI_PARSE_ERROR",
            "WEBAPPID",
            "WEBSERVER_ERROR_LOG",
        ],
        "it belongs to Apache; remove the target",
    ),
    (
        &["USERAGENT_IP"],
        "use REMOTE_ADDR, which is the client behind trusted proxies",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(Variable, Option<Key>)> {
        let targets = targets(text).ok().unwrap();
        targets
            .into_iter()
            .map(|target| (target.variable, target.key))
            .collect()
    }

    fn name(text: &str) -> Option<Key> {
        Some(Key::Name(text.to_owned()))
    }

    fn regex(text: &str) -> Option<Key> {
        Some(Key::Regex(text.to_owned()))
    }

    #[test]
    fn targets_are_separated_by_bars_or_commas() {
        let read = targets("ARGS | !args:q,&TX:x").ok().unwrap();
        let flags: Vec<_> = read.iter().map(|target| (target.exclude, target.count)).collect();
        assert_eq!(flags, [(false, false), (true, false), (false, true)]);
        assert_eq!(read[1].variable, Variable::Args);
        assert_eq!(read[2].key, name("x"));
    }

    #[test]
    fn a_pattern_ends_with_the_slash_that_a_separator_follows() {
        assert_eq!(
            read(r"TX:/a|b\/|c/d/|ARGS:/^[\w]+\[[\w\-]*?\]$/,FILES"),
            [
                (Variable::Tx, regex(r"a|b\/|c/d")),
                (Variable::Args, regex(r"^[\w]+\[[\w\-]*?\]$")),
                (Variable::Files, None),
            ]
        );
        assert_eq!(
            read("ARGS:/a|FILES"),
            [(Variable::Args, name("/a")), (Variable::Files, None)]
        );
    }

    #[test]
    fn quotes_hold_names_and_patterns_with_separators() {
        assert_eq!(read(r"ARGS:'a|b, c'"), [(Variable::Args, name("a|b, c"))]);
        assert_eq!(read(r"&TX:'/a\\\/|it\'s/'"), [(Variable::Tx, regex(r"a\\\/|it's"))]);
    }

    #[test]
    fn of_xpath_there_is_all_text_and_all_attributes() {
        assert_eq!(
            read("XML:/*|XML://@*"),
            [(Variable::Xml, name("/*")), (Variable::Xml, name("//@*"))]
        );
        assert!(targets("XML:/a/b").err().unwrap().message.contains("use XML:/*"));
    }

    #[test]
    fn one_target_is_read_on_its_own() {
        let target = Target::parse("ARGS:/^a|b/").unwrap();
        assert_eq!((target.variable, target.key), (Variable::Args, regex("^a|b")));
        assert!(Target::parse("!ARGS").unwrap_err().contains("neither ! nor &"));
        assert!(Target::parse("ARGS|TX").unwrap_err().contains("more than one target"));
    }

    #[test]
    fn what_is_no_target_is_a_mistake_at_its_place() {
        for (text, at, part) in [
            ("", 0, "a target is missing"),
            ("ARGS|", 5, "a target is missing"),
            ("ARGS||TX", 5, "is no target"),
            ("ARGS|ARGZ", 5, "did you mean ARGS?"),
            ("ARGS:", 5, "the selector is empty"),
            ("ARGS:a b", 7, "a | is missing before `b`"),
            ("ARGS:'a", 5, "is not closed"),
            ("!&ARGS", 0, "either left out (!) or counted (&)"),
            ("REQUEST_URI:x", 0, "has no parts"),
            ("FILES_TMPNAMES", 0, "use FILES_TMP_CONTENT"),
            ("PERF_ALL", 0, "the host measures time"),
        ] {
            let mistake = targets(text).err().unwrap();
            assert!(
                mistake.at == at && mistake.message.contains(part),
                "{text}: {mistake:?}"
            );
        }
    }
}
