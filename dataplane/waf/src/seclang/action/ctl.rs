//! `ctl`: what a rule changes for the rest of its transaction.

use super::number;
use crate::seclang::setting::{audit_engine, engine, on_off};
use crate::seclang::suggest::{did_you_mean, shown};
use crate::seclang::target::plain_target;
use crate::seclang::{BodyProcessor, Ctl, RuleRange, Target};

/// `name=value`
pub(super) fn ctl(text: &str) -> Result<Ctl, String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!(
            "ctl needs a name and a value, such as ctl:ruleEngine=Off, not {}",
            shown(text)
        ));
    };
    let (name, value) = (name.trim(), value.trim());
    if value.is_empty() {
        return Err(format!("ctl:{name} needs a value after the ="));
    }
    let lower = name.to_ascii_lowercase();
    let wrong = |message: String| format!("ctl:{name}: {message}");
    Ok(match lower.as_str() {
        "ruleengine" => Ctl::RuleEngine(engine(value).map_err(wrong)?),
        "auditengine" => Ctl::AuditEngine(audit_engine(value).map_err(wrong)?),
        "auditlogparts" => Ctl::AuditLogParts(value.to_owned()),
        "requestbodyaccess" => Ctl::RequestBodyAccess(on_off(value).map_err(wrong)?),
        "responsebodyaccess" => Ctl::ResponseBodyAccess(on_off(value).map_err(wrong)?),
        "forcerequestbodyvariable" => Ctl::ForceRequestBodyVariable(on_off(value).map_err(wrong)?),
        "requestbodyprocessor" => Ctl::RequestBodyProcessor(processor(value).map_err(wrong)?),
        "requestbodylimit" => Ctl::RequestBodyLimit(number(value, &(0..=u64::MAX)).map_err(wrong)?),
        "responsebodylimit" => Ctl::ResponseBodyLimit(number(value, &(0..=u64::MAX)).map_err(wrong)?),
        "ruleremovebyid" => Ctl::Remove(RuleRange::Ids(ids(value).map_err(wrong)?)),
        "ruleremovebytag" => Ctl::Remove(RuleRange::Tag(value.to_owned())),
        "ruleremovebymsg" => Ctl::Remove(RuleRange::Msg(value.to_owned())),
        "ruleremovetargetbyid" => {
            let (rules, target) = rules_and_target(name, value)?;
            Ctl::RemoveTarget(RuleRange::Ids(ids(rules).map_err(wrong)?), target)
        }
        "ruleremovetargetbytag" => {
            let (tag, target) = rules_and_target(name, value)?;
            Ctl::RemoveTarget(RuleRange::Tag(tag.to_owned()), target)
        }
        "ruleremovetargetbymsg" => {
            let (msg, target) = rules_and_target(name, value)?;
            Ctl::RemoveTarget(RuleRange::Msg(msg.to_owned()), target)
        }
        _ => return Err(unknown(name)),
    })
}

/// Ids and ranges of them, `942100,942200-942299`, separated by commas or spaces; at least one.
pub(in crate::seclang) fn ids(text: &str) -> Result<Vec<(u32, u32)>, String> {
    let ranges: Vec<(u32, u32)> = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = (number(first, &(0..=u32::MAX))?, number(last, &(0..=u32::MAX))?);
            if range.0 > range.1 {
                return Err(format!(
                    "the range {} ends before it begins; write the smaller id first",
                    shown(part)
                ));
            }
            Ok(range)
        })
        .collect::<Result<_, String>>()?;
    if ranges.is_empty() {
        return Err("the id of a rule is missing".to_owned());
    }
    Ok(ranges)
}

/// What is before and after the semicolon.
fn rules_and_target<'v>(name: &str, value: &'v str) -> Result<(&'v str, Target), String> {
    match value.split_once(';') {
        Some((rules, target)) if !rules.trim().is_empty() => {
            let target = plain_target(target.trim()).map_err(|mistake| format!("ctl:{name}: {}", mistake.message))?;
            Ok((rules.trim(), target))
        }
        _ => Err(format!(
            "ctl:{name} needs rules, a semicolon and a target, such as 942100;ARGS:q, not {}",
            shown(value)
        )),
    }
}

fn processor(text: &str) -> Result<BodyProcessor, String> {
    match text.to_ascii_uppercase().as_str() {
        "URLENCODED" => Ok(BodyProcessor::Urlencoded),
        "MULTIPART" => Ok(BodyProcessor::Multipart),
        "JSON" => Ok(BodyProcessor::Json),
        "XML" => Ok(BodyProcessor::Xml),
        _ => Err(format!(
            "{} is no body processor; write URLENCODED, MULTIPART, JSON or XML",
            shown(text)
        )),
    }
}

fn unknown(name: &str) -> String {
    match REFUSED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((name, why)) => format!("ctl:{name} is not supported: {why}"),
        None => format!("there is no ctl:{}{}", shown(name), did_you_mean(name, NAMES)),
    }
}

/// What other engines have and this one has not, and why.
const REFUSED: [(&str, &str); 6] = [
    ("debugLogLevel", "how much is logged is for the host to say; remove it"),
    ("forceResponseBodyVariable", "use ctl:responseBodyAccess=On"),
    ("hashEnforcement", "links are not signed here; remove it"),
    ("hashEngine", "links are not signed here; remove it"),
    ("parseXmlIntoArgs", "use the targets XML:/* and XML://@*"),
    (
        "responseBodyProcessor",
        "response bodies are inspected as they are; remove it",
    ),
];

/// For suggestions.
const NAMES: [&str; 15] = [
    "auditEngine",
    "auditLogParts",
    "forceRequestBodyVariable",
    "requestBodyAccess",
    "requestBodyLimit",
    "requestBodyProcessor",
    "responseBodyAccess",
    "responseBodyLimit",
    "ruleEngine",
    "ruleRemoveById",
    "ruleRemoveByMsg",
    "ruleRemoveByTag",
    "ruleRemoveTargetById",
    "ruleRemoveTargetByMsg",
    "ruleRemoveTargetByTag",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seclang::{AuditEngine, Engine, Key, Variable};

    fn target(variable: Variable, key: Option<Key>) -> Target {
        Target {
            exclude: false,
            count: false,
            variable,
            key,
        }
    }

    #[test]
    fn names_and_values_are_read_in_any_case() {
        assert_eq!(
            ctl("RuleEngine=detectiononly").unwrap(),
            Ctl::RuleEngine(Engine::DetectionOnly)
        );
        assert_eq!(ctl("auditEngine=Off").unwrap(), Ctl::AuditEngine(AuditEngine::Off));
        assert_eq!(
            ctl("forceRequestBodyVariable=On").unwrap(),
            Ctl::ForceRequestBodyVariable(true)
        );
        assert_eq!(
            ctl("requestBodyProcessor=xml").unwrap(),
            Ctl::RequestBodyProcessor(BodyProcessor::Xml)
        );
        assert_eq!(ctl("requestBodyLimit=5").unwrap(), Ctl::RequestBodyLimit(5));
    }

    #[test]
    fn rules_are_taken_out_by_ids_ranges_tags_and_messages() {
        let ids = RuleRange::Ids(vec![(1, 999_999), (5, 5)]);
        assert_eq!(ctl("ruleRemoveById=1-999999,5").unwrap(), Ctl::Remove(ids));
        assert_eq!(
            ctl("ruleRemoveByTag=a/b").unwrap(),
            Ctl::Remove(RuleRange::Tag("a/b".to_owned()))
        );
        let q = target(Variable::Args, Some(Key::Name("a[0][b]".to_owned())));
        assert_eq!(
            ctl("ruleRemoveTargetById=942100;ARGS:a[0][b]").unwrap(),
            Ctl::RemoveTarget(RuleRange::Ids(vec![(942_100, 942_100)]), q)
        );
        let file = target(Variable::RequestFilename, None);
        assert_eq!(
            ctl("ruleRemoveTargetByTag=x;REQUEST_FILENAME").unwrap(),
            Ctl::RemoveTarget(RuleRange::Tag("x".to_owned()), file)
        );
    }

    #[test]
    fn what_is_wrong_is_said_by_name() {
        for (text, part) in [
            ("ruleEngine", "needs a name and a value"),
            ("ruleEngine=", "needs a value after the ="),
            ("ruleEngine=Maybe", "ctl:ruleEngine: `Maybe`"),
            ("ruleEngin=Off", "did you mean ruleEngine?"),
            ("hashEngine=On", "ctl:hashEngine is not supported"),
            ("ruleRemoveById=x", "is no number"),
            ("ruleRemoveById=5-1", "ends before it begins"),
            ("ruleRemoveById=,", "the id of a rule is missing"),
            ("ruleRemoveTargetById=5", "a semicolon and a target"),
            ("ruleRemoveTargetById=5;!ARGS", "neither ! nor &"),
            ("ruleRemoveTargetById=5;ARGS:a|ARGS:b", "more than one target"),
            ("requestBodyProcessor=CSV", "is no body processor"),
        ] {
            let message = ctl(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
