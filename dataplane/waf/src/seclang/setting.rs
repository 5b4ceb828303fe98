//! Directives that set one value, those that the host decides, and those that are refused.

use super::action::number;
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
        "secresponsebodylimitaction" => one(&|text| limit_action(text).map(Setting::ResponseBodyLimitAction)),
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
        _ => {
            if let Some(known) = HOST_DECIDES.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                return Some(Ok(Setting::HostDecides((*known).to_owned())));
            }
            let (known, only, why) = ONLY.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name))?;
            one(&|text| match text.trim().eq_ignore_ascii_case(only) {
                true => Ok(Setting::HostDecides((*known).to_owned())),
                false => Err(format!("only {only} is supported, not {}: {why}", shown(text))),
            })
        }
    })
}

/// Why a directive that other engines know is refused.
pub(super) fn refusal(name: &str) -> Option<String> {
    if name.starts_with('<') {
        return Some("sections are Apache's; name what they are for in a policy instead".to_owned());
    }
    REFUSED
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(known, why)| format!("{known} is not supported: {why}"))
}

/// Every name of a setting, for suggestions.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let only = ONLY.iter().map(|(name, ..)| *name);
    SETTINGS.iter().copied().chain(HOST_DECIDES).chain(only)
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

const SETTINGS: [&str; 15] = [
    "SecArgumentSeparator",
    "SecArgumentsLimit",
    "SecAuditEngine",
    "SecCollectionTimeout",
    "SecRequestBodyAccess",
    "SecRequestBodyJsonDepthLimit",
    "SecRequestBodyLimit",
    "SecRequestBodyLimitAction",
    "SecRequestBodyNoFilesLimit",
    "SecResponseBodyAccess",
    "SecResponseBodyLimit",
    "SecResponseBodyLimitAction",
    "SecResponseBodyMimeType",
    "SecResponseBodyMimeTypesClear",
    "SecRuleEngine",
];

/// Files, directories, threads, logs: the host's own configuration says them, and what a rule set says of them is without
/// effect.
const HOST_DECIDES: [&str; 42] = [
    "SecAuditLog",
    "SecAuditLog2",
    "SecAuditLogDir",
    "SecAuditLogDirMode",
    "SecAuditLogFileMode",
    "SecAuditLogFormat",
    "SecAuditLogParts",
    "SecAuditLogPrefix",
    "SecAuditLogRelevantStatus",
    "SecAuditLogStorageDir",
    "SecAuditLogType",
    "SecCacheTransformations",
    "SecChrootDir",
    "SecConnEngine",
    "SecConnReadStateLimit",
    "SecConnWriteStateLimit",
    "SecDataDir",
    "SecDebugLog",
    "SecDebugLogLevel",
    "SecDisableBackendCompression",
    "SecGeoLookupDb",
    "SecGuardianLog",
    "SecInterceptOnError",
    "SecPcreMatchLimit",
    "SecPcreMatchLimitRecursion",
    "SecReadStateLimit",
    "SecRequestBodyInMemoryLimit",
    "SecRequestEncoding",
    "SecRulePerfTime",
    "SecRxPreFilter",
    "SecSensorId",
    "SecServerSignature",
    "SecStatusEngine",
    "SecTmpDir",
    "SecTmpSaveUploadedFiles",
    "SecUnicodeCodePage",
    "SecUnicodeMapFile",
    "SecUploadDir",
    "SecUploadFileLimit",
    "SecUploadFileMode",
    "SecUploadKeepFiles",
    "SecWriteStateLimit",
];

/// Accepted with the one value that says what is done here anyway.
const ONLY: [(&str, &str, &str); 10] = [
    ("SecContentInjection", "Off", "bodies are not rewritten"),
    ("SecCookieFormat", "0", "version 1 cookies are history"),
    ("SecCookieV0Separator", ";", "no client separates cookies otherwise"),
    ("SecHashEngine", "Off", "links are not signed here"),
    (
        "SecIgnoreRuleCompilationErrors",
        "Off",
        "a rule that cannot run is an error",
    ),
    ("SecParseXmlIntoArgs", "Off", "use the targets XML:/* and XML://@*"),
    (
        "SecStreamInBodyInspection",
        "Off",
        "bodies are not rewritten; use REQUEST_BODY",
    ),
    (
        "SecStreamOutBodyInspection",
        "Off",
        "bodies are not rewritten; use RESPONSE_BODY",
    ),
    ("SecUploadApproveScript", "Off", "no program is run for a request"),
    ("SecXmlExternalEntity", "Off", "external entities are never read"),
];

/// What other engines have and this one has not, and what to do instead.
const REFUSED: [(&str, &str); 20] = [
    (
        "Include",
        "name the file beside this one, in the order in which they are to be read",
    ),
    (
        "IncludeOptional",
        "name the file beside this one, in the order in which they are to be read",
    ),
    (
        "SecDataset",
        "put its lines in a file and use @pmFromFile or @ipMatchFromFile",
    ),
    ("SecEncryptionEngine", "links are not signed here; remove it"),
    ("SecGsbLookupDb", "Google ended that service; remove it"),
    ("SecHashKey", "links are not signed here; remove it"),
    ("SecHashMethodPm", "links are not signed here; remove it"),
    ("SecHashMethodRx", "links are not signed here; remove it"),
    ("SecHashParam", "links are not signed here; remove it"),
    ("SecHttpBlKey", "@rbl asks lists without a key only; remove it"),
    (
        "SecRemoteRules",
        "rules are not fetched; name a file or a ConfigMap that holds them",
    ),
    (
        "SecRemoteRulesFailAction",
        "rules are not fetched; name a file or a ConfigMap that holds them",
    ),
    (
        "SecRemoteTimeout",
        "rules are not fetched; name a file or a ConfigMap that holds them",
    ),
    ("SecRuleInheritance", "each policy names the rules it uses; remove it"),
    ("SecRuleScript", "no program is run for a request; write a SecRule"),
    (
        "SecRuleUpdateOperatorById",
        "take the rule out with SecRuleRemoveById and write your own",
    ),
    ("SecUpdateTargetById", "write SecRuleUpdateTargetById"),
    (
        "SecWebAppId",
        "collections belong to the policy that uses them; remove it",
    ),
    ("modsecurity", "that is nginx's; name the rules in a policy"),
    ("modsecurity_rules_file", "that is nginx's; name the file in a policy"),
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::lines::Lines;
    use super::super::words::words;
    use super::*;

    fn read(text: &str) -> Result<Setting, String> {
        let source = Arc::from("x.conf");
        let line = Lines::new(&source, text).next().unwrap().ok().unwrap();
        let (name, _, words) = words(&line).ok().unwrap();
        setting(name, &words).unwrap().map_err(|(_, mistake)| mistake.message)
    }

    #[test]
    fn every_name_is_a_setting_and_none_of_them_is_refused() {
        let mut seen = Vec::new();
        for name in names() {
            assert!(setting(name, &[]).is_some(), "{name}");
            assert_eq!(refusal(name), None);
            assert!(!seen.contains(&name), "{name} stands twice");
            seen.push(name);
        }
        assert_eq!(seen.len(), SETTINGS.len() + HOST_DECIDES.len() + ONLY.len());
        for (name, _) in REFUSED {
            assert!(setting(name, &[]).is_none(), "{name}");
            assert!(refusal(&name.to_uppercase()).is_some());
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
                "SecResponseBodyLimitAction reject",
                Setting::ResponseBodyLimitAction(LimitAction::Reject),
            ),
            ("SecArgumentsLimit 1000", Setting::ArgumentsLimit(1000)),
            ("SecCollectionTimeout 60", Setting::CollectionTimeout(60)),
            (
                "SecAuditEngine RelevantOnly",
                Setting::AuditEngine(AuditEngine::RelevantOnly),
            ),
            ("SecCookieFormat 0", Setting::HostDecides("SecCookieFormat".to_owned())),
            ("SECTMPDIR x y", Setting::HostDecides("SecTmpDir".to_owned())),
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
