//! `setvar`, `expirevar`, `initcol`: actions that name a variable of a collection and give it a value.

use crate::seclang::suggest::{did_you_mean, shown};
use crate::seclang::{Action, Expr, Setvar, SetvarOp, Variable};

/// `tx.score=+%{tx.critical_anomaly_score}`, `!tx.score`, `tx.score`
pub(super) fn setvar(text: &str) -> Result<Setvar, String> {
    let (unset, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (path, value) = assignment(rest);
    let (collection, name) = variable(path, "setvar", |variable| {
        variable == Variable::Tx || variable.is_persistent()
    })?;
    let op = match value {
        Some(_) if unset => {
            return Err("setvar either removes (!) or sets (=) a variable; write one of them".to_owned());
        }
        None if unset => SetvarOp::Unset,
        None => SetvarOp::Set(Expr::parse("1")?),
        Some(value) => match value.split_at_checked(1) {
            Some(("+", amount)) => SetvarOp::Add(summand(amount)?),
            Some(("-", amount)) => SetvarOp::Subtract(summand(amount)?),
            _ => SetvarOp::Set(Expr::parse(value)?),
        },
    };
    Ok(Setvar { collection, name, op })
}

/// `ip.x=60`
pub(super) fn expirevar(text: &str) -> Result<Action, String> {
    let (path, value) = assignment(text);
    let (collection, name) = variable(path, "expirevar", |variable| {
        variable == Variable::Tx || variable.is_persistent()
    })?;
    match value.map(str::trim) {
        None | Some("") => Err("expirevar needs a number of seconds: expirevar:ip.x=60".to_owned()),
        Some(seconds) => Ok(Action::Expirevar(collection, name, summand(seconds)?)),
    }
}

/// `ip=%{REMOTE_ADDR}`
pub(super) fn initcol(text: &str) -> Result<Action, String> {
    let (name, Some(key)) = assignment(text) else {
        return Err("initcol needs a key: initcol:ip=%{REMOTE_ADDR}".to_owned());
    };
    let collection = collection(name.trim(), "initcol", Variable::is_persistent)?;
    if key.is_empty() {
        return Err(format!(
            "initcol needs a key after the =: initcol:{name}=%{{REMOTE_ADDR}}"
        ));
    }
    Ok(Action::Initcol(collection, Expr::parse(key)?))
}

/// What is before and after the first `=` that is in no macro.
fn assignment(text: &str) -> (&str, Option<&str>) {
    let mut within = false;
    let mut last = 0;
    let equals = text.bytes().position(|byte| {
        match byte {
            b'{' if last == b'%' => within = true,
            b'}' => within = false,
            _ => {}
        }
        last = byte;
        byte == b'=' && !within
    });
    match equals.and_then(|at| text.split_at_checked(at)) {
        Some((before, after)) => (before, after.strip_prefix('=')),
        None => (text, None),
    }
}

/// `collection.name`
fn variable(path: &str, action: &str, allowed: fn(Variable) -> bool) -> Result<(Variable, Expr), String> {
    match path.split_once('.') {
        Some((collection_name, name)) if !name.is_empty() => {
            let collection = collection(collection_name.trim(), action, allowed)?;
            Ok((collection, Expr::parse(name)?))
        }
        _ => Err(format!(
            "{action} needs a collection and a name, such as {action}:tx.name, not {}",
            shown(path)
        )),
    }
}

fn collection(name: &str, action: &str, allowed: fn(Variable) -> bool) -> Result<Variable, String> {
    let known = Variable::ALL.iter().copied().filter(|variable| allowed(*variable));
    if let Some(variable) = Variable::from_name(name).filter(|variable| allowed(*variable)) {
        return Ok(variable);
    }
    let near = did_you_mean(name, known.clone().map(Variable::name));
    let known: Vec<&str> = known.map(Variable::name).collect();
    Err(format!(
        "{action} knows {}, not {}{near}",
        known.join(", "),
        shown(name)
    ))
}

/// A number, or text with macros that may become one.
fn summand(text: &str) -> Result<Expr, String> {
    let expr = Expr::parse(text.trim())?;
    match expr.literal() {
        Some(number) if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("{} is no number; write digits or a macro", shown(text)))
        }
        _ => Ok(expr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seclang::ExprPart;

    fn expr(text: &str) -> Expr {
        Expr::parse(text).unwrap()
    }

    #[test]
    fn setvar_sets_adds_subtracts_and_removes() {
        for (text, op) in [
            ("tx.a=b=c", SetvarOp::Set(expr("b=c"))),
            ("TX.a=+5", SetvarOp::Add(expr("5"))),
            ("tx.a=-%{tx.b}", SetvarOp::Subtract(expr("%{tx.b}"))),
            ("tx.a=", SetvarOp::Set(expr(""))),
            ("tx.a", SetvarOp::Set(expr("1"))),
            ("!tx.a", SetvarOp::Unset),
        ] {
            let expected = Setvar {
                collection: Variable::Tx,
                name: expr("a"),
                op,
            };
            assert_eq!(setvar(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn a_name_holds_macros_and_what_they_hold_does_not_end_it() {
        let read = setvar("ip.x_%{ARGS.a=b}=%{tx.0}").unwrap();
        assert_eq!(read.collection, Variable::Ip);
        let part = ExprPart::Macro(Variable::Args, Some("a=b".to_owned()));
        assert_eq!(read.name.0, [ExprPart::Text("x_".to_owned()), part]);
    }

    #[test]
    fn collections_are_opened_by_a_key_and_variables_expire_after_seconds() {
        assert_eq!(
            initcol("ip=%{REMOTE_ADDR}").unwrap(),
            Action::Initcol(Variable::Ip, expr("%{REMOTE_ADDR}"))
        );
        let expected = Action::Expirevar(Variable::Ip, expr("x"), expr("60"));
        assert_eq!(expirevar("ip.x=60").unwrap(), expected);
    }

    #[test]
    fn what_names_no_variable_of_a_collection_is_a_mistake() {
        let wrong = [
            (setvar("a=b").unwrap_err(), "setvar needs a collection and a name"),
            (setvar("args.a=b").unwrap_err(), "setvar knows"),
            (setvar("!tx.a=b").unwrap_err(), "either removes"),
            (setvar("tx.a=+b").unwrap_err(), "is no number"),
            (initcol("tx=1").unwrap_err(), "initcol knows"),
            (initcol("ip").unwrap_err(), "initcol needs a key"),
            (expirevar("ip.x").unwrap_err(), "needs a number of seconds"),
        ];
        for (message, part) in wrong {
            assert!(message.contains(part), "{message}");
        }
    }
}
