//! The actions of a word as pairs: `id:1,msg:'it\'s, so',chain`.

use std::borrow::Cow;

use crate::seclang::Mistake;
use crate::seclang::suggest::shown;
use crate::seclang::words::{part, single_quoted};

/// One action as written.
pub(super) struct Item<'w> {
    pub(super) name: &'w str,
    /// What is after the colon; without its quotes.
    pub(super) value: Option<Cow<'w, str>>,
    /// Where the name begins in the word.
    pub(super) at: usize,
}

/// Reads one item after the other; after a mistake there are no more, for where the next begins is not known.
pub(super) struct Items<'w> {
    text: &'w str,
    at: usize,
    broken: bool,
}

impl<'w> Items<'w> {
    pub(super) fn new(text: &'w str) -> Self {
        Self {
            text,
            at: 0,
            broken: false,
        }
    }

    /// Whether a mistake ended the list before its end.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    fn rest(&self) -> &'w str {
        part(self.text, self.at, self.text.len())
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn item(&mut self) -> Result<Item<'w>, Mistake> {
        let at = self.at;
        let rest = self.rest();
        let length = rest.find([':', ',']).unwrap_or(rest.len());
        let name = part(rest, 0, length).trim_end();
        if name.is_empty() {
            return Err(Mistake::new(at, "the name of an action is missing before the , or :"));
        }
        if name.contains(char::is_whitespace) {
            return Err(Mistake::new(
                at,
                format!("a comma is missing between the actions {}", shown(name)),
            ));
        }
        self.at += length;
        let value = if part(rest, length, rest.len()).starts_with(':') {
            self.at += 1;
            self.skip_spaces();
            Some(if self.rest().starts_with('\'') {
                self.quoted()?
            } else {
                self.plain()?
            })
        } else {
            None
        };
        self.skip_spaces();
        match self.rest().chars().next() {
            None => {}
            Some(',') => self.at += 1,
            Some(_) => {
                let message = "a comma is missing after the closing quote; a quote inside needs a backslash before it";
                return Err(Mistake::new(self.at, message));
            }
        }
        Ok(Item { name, value, at })
    }

    /// Up to the next comma.
    fn plain(&mut self) -> Result<Cow<'w, str>, Mistake> {
        let rest = self.rest();
        let length = rest.find(',').unwrap_or(rest.len());
        let value = part(rest, 0, length).trim_end();
        if value.contains(char::is_whitespace) {
            let message = format!(
                "spaces in {}: a comma is missing, or quotes ('…') around the value",
                shown(value)
            );
            return Err(Mistake::new(self.at, message));
        }
        if value.contains("='") {
            let message = format!(
                "a quote inside {}: put the quotes around the whole value, as in setvar:'tx.a=b'",
                shown(value)
            );
            return Err(Mistake::new(self.at, message));
        }
        self.at += length;
        Ok(Cow::Borrowed(value))
    }

    /// `'…'`
    fn quoted(&mut self) -> Result<Cow<'w, str>, Mistake> {
        let open = self.at;
        let Some((inside, end)) = single_quoted(part(self.text, open + 1, self.text.len())) else {
            return Err(Mistake::new(
                open,
                "the quote ' is not closed; a quote inside a value needs a backslash before it",
            ));
        };
        self.at = open + end + 2;
        Ok(inside)
    }
}

impl<'w> Iterator for Items<'w> {
    type Item = Result<Item<'w>, Mistake>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        self.skip_spaces();
        // A comma after the last action is ModSecurity's custom.
        if self.rest().is_empty() {
            return None;
        }
        let item = self.item();
        self.broken = item.is_err();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
        Items::new(text)
            .map(|item| match item {
                Ok(item) => Ok((item.name.to_owned(), item.value.map(Cow::into_owned))),
                Err(mistake) => Err(format!("{}: {}", mistake.at, mistake.message)),
            })
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, Option<String>) {
        (name.to_owned(), Some(value.to_owned()))
    }

    #[test]
    fn a_quoted_value_holds_commas_and_quotes_after_a_backslash() {
        assert_eq!(
            read(r"id:1, msg:'it\'s, \d \\', log , setvar:tx.a=b,").unwrap(),
            [
                pair("id", "1"),
                pair("msg", r"it's, \d \\"),
                ("log".to_owned(), None),
                pair("setvar", "tx.a=b")
            ]
        );
        assert_eq!(read(" ").unwrap(), []);
    }

    #[test]
    fn what_is_not_separated_is_a_mistake() {
        for (text, part) in [
            ("id:1,,deny", "5: the name of an action is missing"),
            ("id:1,deny log", "5: a comma is missing between the actions `deny log`"),
            ("phase:1 deny", "6: spaces in `1 deny`"),
            ("msg:'a'b", "7: a comma is missing after the closing quote"),
            ("msg:'a", "4: the quote ' is not closed"),
            (r"msg:'a\'", "4: the quote"),
            ("setvar:tx.a='b'", "7: a quote inside"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.starts_with(part), "{message}");
        }
    }
}
