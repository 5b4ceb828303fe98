//! Text with macros: `Matched Data: %{TX.0} found within %{MATCHED_VAR_NAME}`.

use super::suggest::{did_you_mean, shown};
use super::{Expr, ExprPart, Variable};

impl Expr {
    /// Reads a text. `%{NAME}` and `%{NAME.key}` are macros, in any case; the rest is text.
    ///
    /// # Errors
    /// A macro that is not closed or names no known variable: what is wrong, and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("%{") {
            if !before.is_empty() {
                parts.push(ExprPart::Text(before.to_owned()));
            }
            let Some((inside, after)) = from.split_once('}') else {
                return Err(format!(
                    "the macro {} is not closed: a }} is missing",
                    shown(&format!("%{{{from}"))
                ));
            };
            parts.push(reference(inside)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(ExprPart::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text, if there is no macro in it.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [ExprPart::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// What stands between the braces.
fn reference(inside: &str) -> Result<ExprPart, String> {
    let (name, key) = match inside.split_once(['.', ':']) {
        Some((name, key)) => (name, Some(key)),
        None => (inside, None),
    };
    let Some(variable) = Variable::from_name(name) else {
        let names = Variable::ALL.iter().map(|variable| variable.name());
        return Err(format!(
            "the macro {} names no variable{}",
            shown(&format!("%{{{inside}}}")),
            did_you_mean(name, names)
        ));
    };
    match key {
        Some(_) if !variable.is_collection() => Err(format!(
            "the macro {} asks for a part of {variable}, which has none; write %{{{variable}}}",
            shown(inside)
        )),
        Some("") => Err(format!(
            "the macro {} ends in a dot; write the name of the value after it",
            shown(inside)
        )),
        key => Ok(ExprPart::Macro(variable, key.map(str::to_owned))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ExprPart {
        ExprPart::Text(text.to_owned())
    }

    #[test]
    fn macros_are_found_in_any_case_and_the_rest_is_text() {
        assert_eq!(
            Expr::parse("a %{tx.0}%{Matched_Var} 100%").unwrap().0,
            [
                text("a "),
                ExprPart::Macro(Variable::Tx, Some("0".to_owned())),
                ExprPart::Macro(Variable::MatchedVar, None),
                text(" 100%"),
            ]
        );
        assert_eq!(Expr::parse("").unwrap().0, []);
        assert_eq!(Expr::parse("plain").unwrap().literal(), Some("plain"));
        assert_eq!(Expr::parse("%{TIME}").unwrap().literal(), None);
    }

    #[test]
    fn a_key_is_all_after_the_first_dot() {
        assert_eq!(
            Expr::parse("%{REQUEST_HEADERS.X-A.b}").unwrap().0,
            [ExprPart::Macro(Variable::RequestHeaders, Some("X-A.b".to_owned()))]
        );
    }

    #[test]
    fn a_macro_that_names_nothing_is_a_mistake() {
        for (text, part) in [
            ("%{MATCHED_VRA}", "did you mean MATCHED_VAR?"),
            ("%{TX.a", "is not closed"),
            ("%{}", "names no variable"),
            ("%{REMOTE_ADDR.x}", "write %{REMOTE_ADDR}"),
            ("%{TX.}", "ends in a dot"),
        ] {
            let message = Expr::parse(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
