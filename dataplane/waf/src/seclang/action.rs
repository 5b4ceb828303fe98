//! Actions: each name, what it takes and what it means. `setvar` and its like are in `set`, `ctl` in `ctl`.

mod ctl;
mod items;
mod set;

use std::ops::RangeInclusive;
use std::str::FromStr;

use self::items::{Item, Items};
use super::suggest::{did_you_mean, shown};
use super::words::Word;
use super::{Action, AllowScope, Disruptive, Errors, Expr, Located, Phase, Sanitise, Severity, SkipTo, Variable};
use crate::transform::Transformation;

pub(super) use self::ctl::ids;

/// The actions of a word, without those that are wrong, and whether the word was read to its end.
pub(super) fn actions(word: &Word<'_>, errors: &mut Errors) -> (Vec<Located<Action>>, bool) {
    let mut actions = Vec::new();
    let mut items = Items::new(&word.text);
    for item in &mut items {
        match item {
            Err(mistake) => errors.push(word.position(mistake.at), mistake.message),
            Ok(item) => {
                let position = word.position(item.at);
                match action(&item) {
                    Ok(value) => actions.push(Located { value, position }),
                    Err(message) => errors.push(position, message),
                }
            }
        }
        if errors.is_full() {
            break;
        }
    }
    let complete = !items.is_broken();
    (actions, complete)
}

fn action(item: &Item<'_>) -> Result<Action, String> {
    let lower = item.name.to_ascii_lowercase();
    Ok(match lower.as_str() {
        "id" => Action::Id(item.number(1..=u32::MAX)?),
        "phase" => Action::Phase(phase(item.text()?)?),
        "allow" => Action::Disruptive(Disruptive::Allow(allow(item.value.as_deref())?)),
        "block" => item.alone(Action::Disruptive(Disruptive::Block))?,
        "deny" => item.alone(Action::Disruptive(Disruptive::Deny))?,
        "drop" => item.alone(Action::Disruptive(Disruptive::Drop))?,
        "pass" => item.alone(Action::Disruptive(Disruptive::Pass))?,
        "redirect" => Action::Disruptive(Disruptive::Redirect(item.expr()?)),
        "status" => Action::Status(item.number(100..=599)?),
        "t" => transformation(item.text()?)?,
        "multimatch" => item.alone(Action::MultiMatch)?,
        "capture" => item.alone(Action::Capture)?,
        "chain" => item.alone(Action::Chain)?,
        "skip" => Action::Skip(SkipTo::Count(item.number(1..=u32::MAX)?)),
        "skipafter" => Action::Skip(SkipTo::After(item.text()?.to_owned())),
        "setvar" => Action::Setvar(set::setvar(item.text()?)?),
        "expirevar" => set::expirevar(item.text()?)?,
        "initcol" => set::initcol(item.text()?)?,
        "setsid" => Action::SetCollection(Variable::Session, item.expr()?),
        "setuid" => Action::SetCollection(Variable::User, item.expr()?),
        "setrsc" => Action::SetCollection(Variable::Resource, item.expr()?),
        "ctl" => Action::Ctl(ctl::ctl(item.text()?)?),
        "msg" => Action::Msg(item.expr()?),
        "logdata" => Action::Logdata(item.expr()?),
        "tag" => Action::Tag(item.expr()?),
        "rev" => Action::Rev(item.text()?.to_owned()),
        "ver" => Action::Ver(item.text()?.to_owned()),
        "maturity" => Action::Maturity(item.number(0..=u8::MAX)?),
        "accuracy" => Action::Accuracy(item.number(0..=u8::MAX)?),
        "severity" => Action::Severity(severity(item.text()?)?),
        "log" => item.alone(Action::Log)?,
        "nolog" => item.alone(Action::NoLog)?,
        "auditlog" => item.alone(Action::AuditLog)?,
        "noauditlog" => item.alone(Action::NoAuditLog)?,
        "sanitisearg" | "sanitizearg" => Action::Sanitise(Sanitise::Argument(item.text()?.to_owned())),
        "sanitiserequestheader" | "sanitizerequestheader" | "sanitiseresponseheader" | "sanitizeresponseheader" => {
            Action::Sanitise(Sanitise::Header(item.text()?.to_owned()))
        }
        "sanitisematched" | "sanitizematched" => item.alone(Action::Sanitise(Sanitise::Matched))?,
        // What may be shown of the ends (`:1/4`) would be shown wherever else the value stands.
        "sanitisematchedbytes" | "sanitizematchedbytes" => item.alone(Action::Sanitise(Sanitise::MatchedBytes))?,
        _ => return Err(unknown(item.name)),
    })
}

impl Item<'_> {
    /// The value, which must be there.
    fn text(&self) -> Result<&str, String> {
        match self.value.as_deref() {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(format!("the action {0} needs a value: {0}:…", self.name)),
        }
    }

    /// The action, which takes no value.
    fn alone(&self, action: Action) -> Result<Action, String> {
        match &self.value {
            None => Ok(action),
            Some(value) => Err(format!(
                "the action {} takes no value; remove {}",
                self.name,
                shown(&format!(":{value}"))
            )),
        }
    }

    fn number<N>(&self, range: RangeInclusive<N>) -> Result<N, String>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let text = self.text()?;
        number(text, &range).map_err(|message| format!("{}: {message}", self.name))
    }

    fn expr(&self) -> Result<Expr, String> {
        Expr::parse(self.text()?)
    }
}

/// A decimal number within a range.
pub(super) fn number<N>(text: &str, range: &RangeInclusive<N>) -> Result<N, String>
where
    N: FromStr + PartialOrd + std::fmt::Display,
{
    let digits = text.trim();
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(number) if plain && range.contains(&number) => Ok(number),
        _ => Err(format!(
            "{} is no number from {} to {}",
            shown(text),
            range.start(),
            range.end()
        )),
    }
}

fn phase(text: &str) -> Result<Phase, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" => Ok(Phase::RequestHeaders),
        "2" | "request" => Ok(Phase::RequestBody),
        "3" => Ok(Phase::ResponseHeaders),
        "4" | "response" => Ok(Phase::ResponseBody),
        "5" | "logging" => Ok(Phase::Logging),
        _ => Err(format!(
            "{} is no phase; write 1 to 5, request (2), response (4) or logging (5)",
            shown(text)
        )),
    }
}

fn allow(value: Option<&str>) -> Result<Option<AllowScope>, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("phase") => Ok(Some(AllowScope::Phase)),
        Some("request") => Ok(Some(AllowScope::Request)),
        Some(other) => Err(format!("allow takes phase, request or nothing, not {}", shown(other))),
    }
}

fn transformation(text: &str) -> Result<Action, String> {
    let name = text.trim();
    if name.eq_ignore_ascii_case("none") {
        return Ok(Action::TransformNone);
    }
    match Transformation::from_name(name) {
        Some(transformation) => Ok(Action::Transform(transformation)),
        None => {
            let names = Transformation::ALL.iter().map(|known| known.name());
            let near = did_you_mean(name, names.chain(["none"]));
            Err(format!("there is no transformation {}{near}", shown(name)))
        }
    }
}

fn severity(text: &str) -> Result<Severity, String> {
    match text.trim().to_ascii_uppercase().as_str() {
        "0" | "EMERGENCY" => Ok(Severity::Emergency),
        "1" | "ALERT" => Ok(Severity::Alert),
        "2" | "CRITICAL" => Ok(Severity::Critical),
        "3" | "ERROR" => Ok(Severity::Error),
        "4" | "WARNING" => Ok(Severity::Warning),
        "5" | "NOTICE" => Ok(Severity::Notice),
        "6" | "INFO" => Ok(Severity::Info),
        "7" | "DEBUG" => Ok(Severity::Debug),
        _ => Err(format!(
            "{} is no severity; write EMERGENCY, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG or 0 to 7",
            shown(text)
        )),
    }
}

fn unknown(name: &str) -> String {
    match REFUSED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((name, why)) => format!("the action {name} is not supported: {why}"),
        None => format!("there is no action {}{}", shown(name), did_you_mean(name, NAMES)),
    }
}

/// What other engines have and this one has not, and why.
const REFUSED: [(&str, &str); 9] = [
    ("append", "bodies are not rewritten; remove it"),
    ("deprecatevar", "use expirevar"),
    ("exec", "no program is run for a request; remove it"),
    ("noredirect", "remove it"),
    (
        "pause",
        "holding a request back costs us more than its sender; use deny or drop",
    ),
    ("prepend", "bodies are not rewritten; remove it"),
    (
        "proxy",
        "where a request goes is for the route to say; use deny or redirect",
    ),
    (
        "setenv",
        "no program of the host reads it; use setvar:tx.… for other rules, or remove it",
    ),
    (
        "xmlns",
        "of XPath only /* and //@* are known, which need no name space; remove it",
    ),
];

/// For suggestions.
const NAMES: [&str; 39] = [
    "accuracy",
    "allow",
    "auditlog",
    "block",
    "capture",
    "chain",
    "ctl",
    "deny",
    "drop",
    "expirevar",
    "id",
    "initcol",
    "log",
    "logdata",
    "maturity",
    "msg",
    "multiMatch",
    "noauditlog",
    "nolog",
    "pass",
    "phase",
    "redirect",
    "rev",
    "sanitiseArg",
    "sanitiseMatched",
    "sanitiseMatchedBytes",
    "sanitiseRequestHeader",
    "sanitiseResponseHeader",
    "setrsc",
    "setsid",
    "setuid",
    "setvar",
    "severity",
    "skip",
    "skipAfter",
    "status",
    "t",
    "tag",
    "ver",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Action, String> {
        let item = Items::new(text).next().unwrap().ok().unwrap();
        action(&item)
    }

    #[test]
    fn every_name_that_is_suggested_is_an_action() {
        for name in NAMES {
            let taken = read(name).err().is_none_or(|message| message.contains("needs a value"));
            assert!(taken, "{name}");
        }
    }

    #[test]
    fn numbers_and_names_mean_the_same() {
        for (number, name) in [
            ("severity:2", "severity:'Critical'"),
            ("severity:7", "severity:DEBUG"),
            ("phase:2", "phase:request"),
            ("phase:4", "phase:'response'"),
            ("phase:5", "phase:LOGGING"),
            ("id:7", "ID:'7'"),
        ] {
            assert_eq!(read(number).unwrap(), read(name).unwrap());
        }
        assert_ne!(read("phase:1").unwrap(), read("phase:3").unwrap());
    }

    #[test]
    fn transformations_are_found_by_name_in_any_case() {
        let expected = Action::Transform(Transformation::UrlDecodeUni);
        assert_eq!(read("t:URLDecodeUni").unwrap(), expected);
        assert_eq!(read("t:'none'").unwrap(), Action::TransformNone);
    }

    #[test]
    fn what_is_left_out_of_the_audit_log_is_named_in_both_spellings() {
        let password = Action::Sanitise(Sanitise::Argument("password".to_owned()));
        assert_eq!(read("sanitiseArg:password").unwrap(), password);
        assert_eq!(read("sanitizeArg:password").unwrap(), password);
        let header = Action::Sanitise(Sanitise::Header("Authorization".to_owned()));
        assert_eq!(read("sanitiseRequestHeader:Authorization").unwrap(), header);
        let matched = Action::Sanitise(Sanitise::Matched);
        assert_eq!(read("sanitiseMatched").unwrap(), matched);
    }

    #[test]
    fn what_is_wrong_is_said_by_name() {
        for (text, part) in [
            ("id:0", "id: `0` is no number from 1"),
            ("id:+1", "is no number"),
            ("id:4294967296", "is no number"),
            ("status:99", "from 100 to 599"),
            ("deny:403", "takes no value; remove `:403`"),
            ("msg", "msg needs a value"),
            ("msg:''", "msg needs a value"),
            ("allow:all", "allow takes phase, request or nothing"),
            ("phase:6", "is no phase"),
            ("severity:8", "is no severity"),
            ("exec:/x", "exec is not supported"),
            ("setenv:a=b", "setenv is not supported: no program of the host reads it"),
            ("sanitiseMatchedBytes:1/4", "takes no value; remove `:1/4`"),
            ("t:lowercas", "did you mean lowercase?"),
            ("setvra:tx.a", "did you mean setvar?"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
