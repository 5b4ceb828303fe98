//! Settings beside the fields of a policy.

use super::Fields;
use crate::seclang::{AuditEngine, Engine, LimitAction, Setting, Standing, standing};

/// What a setting is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It has an effect, or says what holds anyway.
    Fine,
    /// It says other than the policy.
    Contradicts(String),
    /// It has no effect.
    Idle(String),
}

use Judgement::{Contradicts, Fine, Idle};

/// `SecRequestBodyLimit` of ModSecurity's recommended configuration.
const RECOMMENDED_REQUEST: u64 = 13_107_200;
/// Its `SecResponseBodyLimit`.
const RECOMMENDED_RESPONSE: u64 = 524_288;

/// Judges a setting of a policy, or of a file of which it is not known which policy takes it.
pub(super) fn judge(setting: &Setting, policy: Option<&Fields>) -> Judgement {
    match setting {
        Setting::RuleEngine(engine) => rule_engine(*engine, policy),
        Setting::RequestBodyAccess(true) => Fine,
        Setting::RequestBodyAccess(false) => Contradicts(
            "SecRequestBodyAccess Off: a policy's rules see bodies; write inspect: 0 for types in spec.body.types, \
             or ctl:requestBodyAccess=Off in a rule of phase 1"
                .to_owned(),
        ),
        Setting::RequestBodyLimit(bytes) => limit(
            "SecRequestBodyLimit",
            *bytes,
            RECOMMENDED_REQUEST,
            "spec.body.inspect",
            policy.map(|policy| policy.inspect),
        ),
        Setting::RequestBodyLimitAction(action) => on_exceed(*action, policy),
        Setting::ResponseBodyAccess(on) => response_access(*on, policy),
        Setting::ResponseBodyLimit(bytes) => match policy.map(|policy| policy.inspect_response) {
            Some(None) => Idle(
                "SecResponseBodyLimit has no effect: responses are not inspected; give spec.body.response".to_owned(),
            ),
            known => limit(
                "SecResponseBodyLimit",
                *bytes,
                RECOMMENDED_RESPONSE,
                "spec.body.response.inspect",
                known.flatten(),
            ),
        },
        Setting::AuditEngine(AuditEngine::RelevantOnly) | Setting::AsHere(_) => Fine,
        Setting::AuditEngine(_) => idle("SecAuditEngine"),
        Setting::RequestBodyNoFilesLimit(_) => idle("SecRequestBodyNoFilesLimit"),
        Setting::Idle(name) => idle(name),
        Setting::RequestBodyJsonDepthLimit(_)
        | Setting::ResponseBodyMimeType(_)
        | Setting::ResponseBodyMimeTypesClear
        | Setting::ArgumentsLimit(_)
        | Setting::ArgumentSeparator(_)
        | Setting::CollectionTimeout(_) => Fine,
    }
}

fn rule_engine(engine: Engine, policy: Option<&Fields>) -> Judgement {
    match (engine, policy.map(|policy| policy.enforces)) {
        (Engine::On, None | Some(true)) | (Engine::DetectionOnly, Some(false)) => Fine,
        (Engine::Off, _) => Contradicts(
            "SecRuleEngine Off: a policy turns its rules off by having none; leave spec.crs and spec.seclang out, \
             or write spec.mode: DetectOnly, or ctl:ruleEngine=Off in a rule for some requests"
                .to_owned(),
        ),
        (Engine::On, Some(false)) => Contradicts(
            "SecRuleEngine On: spec.mode is DetectOnly; write spec.mode: Enforce, or remove this line".to_owned(),
        ),
        (Engine::DetectionOnly, Some(true)) => Contradicts(
            "SecRuleEngine DetectionOnly: spec.mode is Enforce; write spec.mode: DetectOnly, or remove this line"
                .to_owned(),
        ),
        (Engine::DetectionOnly, None) => Idle(
            "SecRuleEngine DetectionOnly has no effect: spec.mode of the policy says it (DetectOnly), and where that is \
             Enforce this line is an error"
                .to_owned(),
        ),
    }
}

fn on_exceed(action: LimitAction, policy: Option<&Fields>) -> Judgement {
    match (action, policy.map(|policy| policy.reject_larger)) {
        (LimitAction::Reject, Some(true)) | (LimitAction::ProcessPartial, None | Some(false)) => Fine,
        (LimitAction::ProcessPartial, Some(true)) => Contradicts(
            "SecRequestBodyLimitAction ProcessPartial: spec.body.onExceed is Reject; write it there, or remove this line"
                .to_owned(),
        ),
        // Of ModSecurity's recommended configuration.
        (LimitAction::Reject, None | Some(false)) => Idle(
            "SecRequestBodyLimitAction Reject has no effect: write spec.body.onExceed: Reject".to_owned(),
        ),
    }
}

fn response_access(on: bool, policy: Option<&Fields>) -> Judgement {
    match (on, policy.map(|policy| policy.inspect_response.is_some())) {
        (true, Some(true)) | (false, None | Some(false)) => Fine,
        (false, Some(true)) => Contradicts(
            "SecResponseBodyAccess Off: spec.body.response is given; remove that, or this line, \
             or write ctl:responseBodyAccess=Off in a rule of phase 3"
                .to_owned(),
        ),
        // Of ModSecurity's recommended configuration.
        (true, None | Some(false)) => Idle(
            "SecResponseBodyAccess On has no effect: spec.body.response says whether responses are inspected"
                .to_owned(),
        ),
    }
}

/// A limit of bytes; `known`: what the field says, where it is known.
fn limit(name: &str, bytes: u64, recommended: u64, field: &str, known: Option<u64>) -> Judgement {
    match known {
        Some(known) if known == bytes => Fine,
        Some(known) if bytes != recommended => Contradicts(format!(
            "{name} {bytes}: {field} is {known}; write {bytes} there, or remove this line"
        )),
        _ => Idle(format!("{name} {bytes} has no effect: {field} of the policy says it")),
    }
}

/// What is read and has no effect, and why.
fn idle(name: &str) -> Judgement {
    match standing(name) {
        Some((name, Standing::Idle(why))) => Idle(format!("{name} has no effect: {why}")),
        _ => Idle(format!("{name} has no effect")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Own;
    use crate::bundle::Source;
    use crate::review::{Review, review};

    const DEFAULTS: Fields = Fields {
        enforces: true,
        inspect: 128 << 10,
        reject_larger: false,
        inspect_response: None,
    };

    fn reviewed(text: &str, policy: Option<&Fields>) -> Review {
        let own = Own::parse(&[Source { name: "own", text }]).unwrap();
        review(own.rules(), policy)
    }

    /// `error`, `warning` or nothing, and what is said.
    fn said(text: &str, policy: Option<&Fields>) -> (&'static str, String) {
        let Review { errors, warnings } = reviewed(text, policy);
        match (errors.first(), warnings.first()) {
            (Some(error), None) => ("error", error.to_string()),
            (None, Some(warning)) => ("warning", warning.to_string()),
            (None, None) => ("", String::new()),
            _ => ("both", String::new()),
        }
    }

    #[test]
    fn a_setting_that_contradicts_the_policy_is_a_mistake_with_the_field_to_use_instead() {
        let detects = Fields {
            enforces: false,
            ..DEFAULTS
        };
        let strict = Fields {
            reject_larger: true,
            inspect_response: Some(1 << 20),
            ..DEFAULTS
        };
        for (text, policy, field) in [
            ("SecRuleEngine Off", &DEFAULTS, "spec.mode: DetectOnly"),
            ("SecRuleEngine Off", &detects, "spec.crs and spec.seclang"),
            ("SecRuleEngine DetectionOnly", &DEFAULTS, "spec.mode: DetectOnly"),
            ("SecRuleEngine On", &detects, "spec.mode: Enforce"),
            ("SecRequestBodyAccess Off", &DEFAULTS, "spec.body.types"),
            ("SecRequestBodyLimit 1000", &DEFAULTS, "spec.body.inspect is 131072"),
            (
                "SecRequestBodyLimitAction ProcessPartial",
                &strict,
                "spec.body.onExceed",
            ),
            ("SecResponseBodyAccess Off", &strict, "spec.body.response"),
            (
                "SecResponseBodyLimit 1000",
                &strict,
                "spec.body.response.inspect is 1048576",
            ),
        ] {
            let (severity, message) = said(&format!("\n{text}"), Some(policy));
            assert_eq!(severity, "error", "{text}: {message}");
            assert!(message.starts_with("own:2: ") && message.contains(field), "{message}");
        }
    }

    #[test]
    fn a_setting_that_says_what_the_policy_says_is_fine() {
        let other = Fields {
            enforces: false,
            inspect: 1000,
            reject_larger: true,
            inspect_response: Some(2000),
        };
        for (text, policy) in [
            ("SecRuleEngine On", &DEFAULTS),
            ("SecRuleEngine DetectionOnly", &other),
            ("SecRequestBodyAccess On", &DEFAULTS),
            ("SecRequestBodyLimit 131072", &DEFAULTS),
            ("SecRequestBodyLimit 1000", &other),
            ("SecRequestBodyLimitAction ProcessPartial", &DEFAULTS),
            ("SecRequestBodyLimitAction Reject", &other),
            ("SecResponseBodyAccess Off", &DEFAULTS),
            ("SecResponseBodyAccess On", &other),
            ("SecResponseBodyLimit 2000", &other),
            ("SecResponseBodyLimitAction ProcessPartial", &other),
            ("SecAuditEngine RelevantOnly", &DEFAULTS),
            ("SecCookieFormat 0", &DEFAULTS),
            ("SecArgumentsLimit 100", &DEFAULTS),
        ] {
            assert_eq!(said(text, Some(policy)), ("", String::new()), "{text}");
        }
    }

    #[test]
    fn the_recommended_configuration_has_remarks_and_no_mistakes_but_for_the_mode() {
        // ModSecurity's modsecurity.conf-recommended, without its rules.
        let recommended = "SecRuleEngine DetectionOnly\nSecRequestBodyAccess On\nSecRequestBodyLimit 13107200\n\
            SecRequestBodyNoFilesLimit 131072\nSecRequestBodyLimitAction Reject\nSecRequestBodyJsonDepthLimit 512\n\
            SecArgumentsLimit 1000\nSecPcreMatchLimit 1000\nSecPcreMatchLimitRecursion 1000\nSecResponseBodyAccess On\n\
            SecResponseBodyMimeType text/plain text/html text/xml\nSecResponseBodyLimit 524288\n\
            SecResponseBodyLimitAction ProcessPartial\nSecTmpDir /tmp/\nSecDataDir /tmp/\nSecAuditEngine RelevantOnly\n\
            SecAuditLogRelevantStatus \"^(?:5|4(?!04))\"\nSecAuditLogParts ABIJDEFHZ\nSecAuditLogType Serial\n\
            SecAuditLog /var/log/modsec_audit.log\nSecArgumentSeparator &\nSecCookieFormat 0\n\
            SecUnicodeMapFile unicode.mapping 20127\nSecStatusEngine On\n";
        let detects = Fields {
            enforces: false,
            ..DEFAULTS
        };
        let told = reviewed(recommended, Some(&detects));
        assert!(told.errors.is_empty(), "{:?}", told.errors);
        let lines: Vec<u32> = told.warnings.iter().map(|warning| warning.position.line).collect();
        assert_eq!(lines, [3, 4, 5, 8, 9, 10, 12, 14, 15, 17, 18, 19, 20, 23, 24]);
        let told = reviewed(recommended, Some(&DEFAULTS));
        assert_eq!(told.errors.len(), 1, "{:?}", told.errors);
        assert_eq!(told.errors[0].position.line, 1);
    }

    #[test]
    fn without_a_policy_only_what_no_policy_agrees_with_is_a_mistake() {
        for (text, severity) in [
            ("SecRuleEngine On", ""),
            ("SecRuleEngine DetectionOnly", "warning"),
            ("SecRuleEngine Off", "error"),
            ("SecRequestBodyAccess Off", "error"),
            ("SecRequestBodyLimit 1000", "warning"),
            ("SecRequestBodyLimitAction Reject", "warning"),
            ("SecResponseBodyAccess On", "warning"),
            ("SecResponseBodyAccess Off", ""),
            ("SecResponseBodyLimit 1000", "warning"),
        ] {
            assert_eq!(said(text, None).0, severity, "{text}");
        }
    }

    #[test]
    fn what_has_no_effect_is_said_with_the_reason_and_when_there_is_much_how_much() {
        let (severity, message) = said("SecDataDir /x", Some(&DEFAULTS));
        assert_eq!(severity, "warning");
        assert!(
            message.contains("SecDataDir has no effect: what rules remember"),
            "{message}"
        );
        assert!(said("SecAuditEngine Off", None).1.contains("ctl:auditEngine=Off"));
        let told = reviewed(&"SecTmpDir x\n".repeat(250), None);
        assert_eq!(told.warnings.len(), 101);
        assert!(told.warnings[100].message.starts_with("150 more are not listed"));
    }
}
