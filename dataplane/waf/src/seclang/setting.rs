//! Directives that set one value, and those without effect.
//!
//! Left to [`standing`]: which there are, and what becomes of them.

use super::action::number;
use super::standing::{Standing, standing};
use super::suggest::shown;
use super::words::Word;
use super::{AuditEngine, Engine, LimitAction, Mistake, Setting};

/// The setting that a directive makes: none if it is no setting; a mistake stands in the word it names.
pub(super) fn setting(name: &str, words: &[Word<'_>]) -> Option<Result<Setting, (usize, Mistake)>> {
    let lower = name.to_ascii_lowercase();
    let one = |read: &dyn Fn(&str) -> Result<Setting, String>| match words {
        [word] => read(&word.text).map_err(|message| (0, Mistake::new(0, format!("{name}: {message}")))),
        [] => Err((0, Mistake::new(0, format!("{name} needs a value after it")))),
        [_, ..] => Err((
            1,
            Mistake::new(0, format!("{name} takes one value; remove what comes after it")),
        )),
    };
    Some(match lower.as_str() {
        "secruleengine" => one(&|text| engine(text).map(Setting::RuleEngine)),
        "secrequestbodyaccess" => one(&|text| on_off(text).map(Setting::RequestBodyAccess)),
        "secresponsebodyaccess" => one(&|text| on_off(text).map(Setting::ResponseBodyAccess)),
        "secrequestbodylimit" => one(&|text| number(text, &(0..=u64::MAX)).map(Setting::RequestBodyLimit)),
        "secrequestbodynofileslimit" => {
            one(&|text| number(text, &(0..=u64::MAX)).map(Setting::RequestBodyNoFilesLimit))
        }
        "secrequestbodylimitaction" => one(&|text| limit_action(text).map(Setting::RequestBodyLimitAction)),
        "secrequestbodyjsondepthlimit" => {
            one(&|text| number(text, &(0..=u32::MAX)).map(Setting::RequestBodyJsonDepthLimit))
        }
        "secresponsebodylimit" => one(&|text| number(text, &(0..=u64::MAX)).map(Setting::ResponseBodyLimit)),
        "secresponsebodymimetypesclear" => match words {
            [] => Ok(Setting::ResponseBodyMimeTypesClear),
            _ => Err((
                0,
                Mistake::new(0, format!("{name} takes no value; remove what comes after it")),
            )),
        },
        "secresponsebodymimetype" => {
            let types: Vec<String> = words
                .iter()
                .flat_map(|word| word.text.split_whitespace())
                .map(str::to_ascii_lowercase)
                .collect();
            match types.is_empty() {
                true => Err((
                    0,
                    Mistake::new(0, format!("{name} needs media types after it, such as text/html")),
                )),
                false => Ok(Setting::ResponseBodyMimeType(types)),
            }
        }
        "secargumentslimit" => one(&|text| number(text, &(0..=u32::MAX)).map(Setting::ArgumentsLimit)),
        "secargumentseparator" => one(&|text| match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(Setting::ArgumentSeparator(*byte)),
            _ => Err(format!("{} is not one ASCII character", shown(text))),
        }),
        "seccollectiontimeout" => one(&|text| number(text, &(0..=u32::MAX)).map(Setting::CollectionTimeout)),
        "secauditengine" => one(&|text| audit_engine(text).map(Setting::AuditEngine)),
        _ => match standing(name)? {
            (known, Standing::Idle(_)) => Ok(Setting::Idle(known)),
            (known, Standing::Only(only, why)) => one(&|text| match text.trim().eq_ignore_ascii_case(only) {
                true => Ok(Setting::AsHere(known)),
                false => Err(format!("only {only} is supported, not {}: {why}", shown(text))),
            }),
            (_, Standing::Effective | Standing::Policy(_) | Standing::Refused(_)) => return None,
        },
    })
}

/// Why a directive that other engines know is refused.
pub(super) fn refusal(name: &str) -> Option<String> {
    if name.starts_with('<') {
        return Some("sections are Apache's; name what they are for in a policy instead".to_owned());
    }
    match standing(name)? {
        (known, Standing::Refused(why)) => Some(format!("{known} is not supported: {why}")),
        _ => None,
    }
}

pub(super) fn engine(text: &str) -> Result<Engine, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" => Ok(Engine::On),
        "off" => Ok(Engine::Off),
        "detectiononly" => Ok(Engine::DetectionOnly),
        _ => Err(format!("{} is not On, Off or DetectionOnly", shown(text))),
    }
}

pub(super) fn audit_engine(text: &str) -> Result<AuditEngine, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" => Ok(AuditEngine::On),
        "off" => Ok(AuditEngine::Off),
        "relevantonly" => Ok(AuditEngine::RelevantOnly),
        _ => Err(format!("{} is not On, Off or RelevantOnly", shown(text))),
    }
}

pub(super) fn on_off(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{} is not On or Off", shown(text))),
    }
}

fn limit_action(text: &str) -> Result<LimitAction, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "reject" => Ok(LimitAction::Reject),
        "processpartial" => Ok(LimitAction::ProcessPartial),
        _ => Err(format!("{} is not Reject or ProcessPartial", shown(text))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::lines::Lines;
    use super::super::standing::directives;
    use super::super::words::words;
    use super::*;

    fn read(text: &str) -> Result<Setting, String> {
        let source = Arc::from("x.conf");
        let line = Lines::new(&source, text).next().unwrap().ok().unwrap();
        let (name, _, words) = words(&line).ok().unwrap();
        setting(name, &words).unwrap().map_err(|(_, mistake)| mistake.message)
    }

    #[test]
    fn what_becomes_of_a_directive_is_what_its_standing_says() {
        for (name, is) in directives() {
            let refused = matches!(is, Standing::Refused(_));
            assert_eq!(refusal(&name.to_uppercase()).is_some(), refused, "{name}");
            let set = setting(name, &[]);
            match is {
                Standing::Refused(_) => assert!(set.is_none(), "{name}"),
                Standing::Policy(_) | Standing::Only(..) => assert!(matches!(set, Some(Err(_))), "{name}: {set:?}"),
                Standing::Idle(_) => assert!(set.is_some(), "{name}"),
                Standing::Effective => {}
            }
        }
    }

    #[test]
    fn values_are_read_in_any_case() {
        for (text, expected) in [
            ("SecRuleEngine on", Setting::RuleEngine(Engine::On)),
            ("SecRequestBodyAccess \"Off\"", Setting::RequestBodyAccess(false)),
            ("SecResponseBodyAccess On", Setting::ResponseBodyAccess(true)),
            ("SecRequestBodyNoFilesLimit 5", Setting::RequestBodyNoFilesLimit(5)),
            (
                "SecRequestBodyJsonDepthLimit 512",
                Setting::RequestBodyJsonDepthLimit(512),
            ),
            ("SecResponseBodyLimit 7", Setting::ResponseBodyLimit(7)),
            (
                "SecRequestBodyLimitAction reject",
                Setting::RequestBodyLimitAction(LimitAction::Reject),
            ),
            (
                "SecResponseBodyLimitAction processpartial",
                Setting::AsHere("SecResponseBodyLimitAction"),
            ),
            ("SecArgumentsLimit 1000", Setting::ArgumentsLimit(1000)),
            ("SecCollectionTimeout 60", Setting::CollectionTimeout(60)),
            (
                "SecAuditEngine RelevantOnly",
                Setting::AuditEngine(AuditEngine::RelevantOnly),
            ),
            ("SecCookieFormat 0", Setting::AsHere("SecCookieFormat")),
            ("SECTMPDIR x y", Setting::Idle("SecTmpDir")),
        ] {
            assert_eq!(read(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_wrong_or_missing_is_said_by_name() {
        for (text, part) in [
            ("SecRuleEngine", "SecRuleEngine needs a value"),
            ("SecRuleEngine Maybe", "is not On, Off or DetectionOnly"),
            ("SecRuleEngine On Off", "takes one value"),
            ("SecRequestBodyLimit 1M", "is no number"),
            ("SecRequestBodyLimitAction Drop", "is not Reject or ProcessPartial"),
            ("SecArgumentSeparator ab", "is not one ASCII character"),
            ("SecResponseBodyMimeType", "needs media types"),
            ("SecResponseBodyMimeTypesClear x", "takes no value"),
            ("SecHashEngine On", "only Off is supported"),
            ("SecResponseBodyLimitAction Reject", "only ProcessPartial is supported"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn sections_and_inclusions_are_refused_with_what_to_do() {
        assert!(refusal("<IfModule").is_some_and(|message| message.contains("sections are Apache's")));
        assert!(refusal("include").is_some_and(|message| message.contains("name the file")));
        assert_eq!(refusal("SecNothing"), None);
    }
}
