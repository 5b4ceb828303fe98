//! Operators: `!@rx ^x`. Without an `@` it is a pattern.

use super::suggest::{did_you_mean, shown};
use super::{Expr, Mistake, Operator, OperatorKind};

/// The operator of a rule. The argument loses the spaces before it and is kept as written otherwise.
pub(super) fn operator(text: &str) -> Result<Operator, Mistake> {
    let mut rest = text.trim_start();
    let negated = rest.starts_with('!');
    if negated {
        rest = rest.strip_prefix('!').unwrap_or(rest).trim_start();
    }
    let Some(named) = rest.strip_prefix('@') else {
        return Ok(Operator {
            negated,
            kind: OperatorKind::Rx,
            argument: rest.to_owned(),
        });
    };
    let (name, argument) = named.split_once(char::is_whitespace).unwrap_or((named, ""));
    let at = text.len() - named.len();
    let argument = argument.trim_start();
    let kind = kind(name).map_err(|message| Mistake::new(at, message))?;
    check(kind, argument).map_err(|message| Mistake::new(at, message))?;
    Ok(Operator {
        negated,
        kind,
        argument: argument.to_owned(),
    })
}

fn kind(name: &str) -> Result<OperatorKind, String> {
    if let Some(kind) = OperatorKind::from_name(name) {
        return Ok(kind);
    }
    match name.to_ascii_lowercase().as_str() {
        "" => return Err("the name of an operator is missing after the @; for a pattern write @rx".to_owned()),
        "pmf" => return Ok(OperatorKind::PmFromFile),
        "ipmatchf" => return Ok(OperatorKind::IpMatchFromFile),
        _ => {}
    }
    if let Some((name, why)) = REFUSED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Err(format!("the operator @{name} is not supported: {why}"));
    }
    let near = did_you_mean(name, OperatorKind::ALL.iter().map(|kind| kind.name()));
    let near = near.replace("mean ", "mean @");
    Err(format!("there is no operator {}{near}", shown(&format!("@{name}"))))
}

/// What can be known of an argument without running it.
fn check(kind: OperatorKind, argument: &str) -> Result<(), String> {
    use OperatorKind as Kind;
    match kind {
        Kind::DetectSqli
        | Kind::DetectXss
        | Kind::GeoLookup
        | Kind::NoMatch
        | Kind::UnconditionalMatch
        | Kind::ValidateUrlEncoding
        | Kind::ValidateUtf8Encoding => {
            if !argument.is_empty() {
                return Err(format!("@{kind} takes no argument; remove {}", shown(argument)));
            }
        }
        Kind::IpMatch
        | Kind::IpMatchFromFile
        | Kind::Pm
        | Kind::PmFromFile
        | Kind::Rbl
        | Kind::ValidateByteRange
        | Kind::VerifyCc
        | Kind::VerifyCpf
        | Kind::VerifySsn => {
            if argument.trim().is_empty() {
                return Err(format!("@{kind} needs an argument after it"));
            }
        }
        // In a pattern `%{` may be a percent sign and how often it comes.
        Kind::Rx | Kind::StrMatch => {}
        Kind::BeginsWith
        | Kind::Contains
        | Kind::ContainsWord
        | Kind::EndsWith
        | Kind::Eq
        | Kind::Ge
        | Kind::Gt
        | Kind::Le
        | Kind::Lt
        | Kind::StrEq
        | Kind::Within => {
            Expr::parse(argument)?;
        }
    }
    Ok(())
}

/// What other engines have and this one has not, and why.
const REFUSED: [(&str, &str); 14] = [
    ("fuzzyHash", "it needs a program of its own; remove the rule"),
    ("gsbLookup", "Google ended that service; remove the rule"),
    ("inspectFile", "no program is run for a request; remove the rule"),
    ("ipMatchFromDataset", "it is Coraza's own; use @ipMatchFromFile"),
    ("pmFromDataset", "it is Coraza's own; use @pmFromFile"),
    ("restPath", "it is Coraza's own; use @rx"),
    ("rsub", "bodies are not rewritten; remove the rule"),
    ("rxGlobal", "use @rx, which captures the first match"),
    ("strMatchFromFile", "use @pmFromFile"),
    (
        "validateDTD",
        "XML is not checked against a document type; remove the rule",
    ),
    ("validateHash", "links are not signed here; remove the rule"),
    ("validateSchema", "XML is not checked against a schema; remove the rule"),
    ("validateNid", "it is Coraza's own; use @rx"),
    ("verifySVNR", "use @rx"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (bool, OperatorKind, String) {
        let operator = operator(text).ok().unwrap();
        (operator.negated, operator.kind, operator.argument)
    }

    #[test]
    fn what_has_no_at_sign_is_a_pattern() {
        assert_eq!(read("^a b $"), (false, OperatorKind::Rx, "^a b $".to_owned()));
        assert_eq!(read("!^a"), (true, OperatorKind::Rx, "^a".to_owned()));
        assert_eq!(read(""), (false, OperatorKind::Rx, String::new()));
    }

    #[test]
    fn an_operator_is_found_in_any_case_and_its_argument_kept_as_written() {
        assert_eq!(read("@RX  a b "), (false, OperatorKind::Rx, "a b ".to_owned()));
        assert_eq!(
            read("! @streq %{tx.0}"),
            (true, OperatorKind::StrEq, "%{tx.0}".to_owned())
        );
        assert_eq!(
            read("@pmf x.data"),
            (false, OperatorKind::PmFromFile, "x.data".to_owned())
        );
        assert_eq!(read("@rx %{1,3}"), (false, OperatorKind::Rx, "%{1,3}".to_owned()));
        for kind in OperatorKind::ALL {
            assert_eq!(OperatorKind::from_name(&kind.name().to_uppercase()), Some(*kind));
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_by_name() {
        for (text, part) in [
            ("@inspectFile x", "@inspectFile is not supported"),
            ("@rsub s/a/b/", "@rsub is not supported"),
            ("@begisWith x", "did you mean @beginsWith?"),
            ("@", "for a pattern write @rx"),
            ("@detectSQLi x", "takes no argument"),
            ("@pm ", "needs an argument"),
            ("@within %{nothing}", "names no variable"),
        ] {
            let message = operator(text).err().unwrap().message;
            assert!(message.contains(part), "{message}");
        }
    }
}
