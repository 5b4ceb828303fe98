//! What becomes of each directive here: one table, which the parser reads, reviews quote and the documentation shows.
//!
//! Invariant: a name stands here once. What other engines have and nobody here has heard of is an error of the parser.

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what it says.
    Effective,
    /// A field of the policy says it. The directive may say the same.
    Policy(&'static str),
    /// It is read and has no effect, for this reason.
    Idle(&'static str),
    /// It may have this value, which is what is done here anyway; others are refused, for this reason.
    Only(&'static str, &'static str),
    /// It is refused, for this reason.
    Refused(&'static str),
}

/// What becomes of a directive, by its name in any case; none if there is no such directive.
#[must_use]
pub fn standing(name: &str) -> Option<(&'static str, Standing)> {
    directives().find(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// Every directive that is known, and what becomes of it.
pub fn directives() -> impl Iterator<Item = (&'static str, Standing)> {
    let effective = EFFECTIVE.iter().map(|name| (*name, Standing::Effective));
    let policy = POLICY.iter().map(|(name, field)| (*name, Standing::Policy(field)));
    let idle = IDLE.iter().map(|(name, why)| (*name, Standing::Idle(why)));
    let only = ONLY
        .iter()
        .map(|(name, value, why)| (*name, Standing::Only(value, why)));
    let refused = REFUSED.iter().map(|(name, why)| (*name, Standing::Refused(why)));
    effective.chain(policy).chain(idle).chain(only).chain(refused)
}

const EFFECTIVE: [&str; 18] = [
    "SecAction",
    "SecArgumentSeparator",
    "SecArgumentsLimit",
    "SecCollectionTimeout",
    "SecComponentSignature",
    "SecDefaultAction",
    "SecMarker",
    "SecRequestBodyJsonDepthLimit",
    "SecResponseBodyMimeType",
    "SecResponseBodyMimeTypesClear",
    "SecRule",
    "SecRuleRemoveById",
    "SecRuleRemoveByMsg",
    "SecRuleRemoveByTag",
    "SecRuleUpdateActionById",
    "SecRuleUpdateTargetById",
    "SecRuleUpdateTargetByMsg",
    "SecRuleUpdateTargetByTag",
];

/// With the field that decides.
const POLICY: [(&str, &str); 6] = [
    ("SecRequestBodyAccess", "spec.body.types[].inspect"),
    ("SecRequestBodyLimit", "spec.body.inspect"),
    ("SecRequestBodyLimitAction", "spec.body.onExceed"),
    ("SecResponseBodyAccess", "spec.body.response"),
    ("SecResponseBodyLimit", "spec.body.response.inspect"),
    ("SecRuleEngine", "spec.mode"),
];

const AUDIT_FORM: &str = "audit lines have one form, JSON, in the destinations of --audit-log";
const AUDIT_PLACE: &str = "--audit-log of the node says where audit lines go";
const CONNECTIONS: &str =
    "connections are limited by spec.limits[].connections, --max-connections-per-client and deadlines of the node";
const LINEAR: &str = "patterns are matched in linear time and need no limit";
const LOGGED: &str = "BREAKWATER_LOG of the node says what is logged besides audit lines";
const UPLOADS: &str = "uploaded files are judged in memory and not kept";
const CODE_PAGE: &str = "t:urlDecodeUni has code page 20127 built in and reads no other";

const IDLE: [(&str, &str); 44] = [
    (
        "SecAuditEngine",
        "a request has an audit line when a rule that is logged matched, which is RelevantOnly; ctl:auditEngine=Off leaves one out",
    ),
    ("SecAuditLog", AUDIT_PLACE),
    ("SecAuditLog2", AUDIT_PLACE),
    ("SecAuditLogDir", AUDIT_PLACE),
    ("SecAuditLogDirMode", AUDIT_PLACE),
    ("SecAuditLogFileMode", AUDIT_PLACE),
    ("SecAuditLogFormat", AUDIT_FORM),
    ("SecAuditLogParts", AUDIT_FORM),
    ("SecAuditLogPrefix", AUDIT_FORM),
    (
        "SecAuditLogRelevantStatus",
        "what has an audit line is a rule's match, whatever the status",
    ),
    ("SecAuditLogStorageDir", AUDIT_PLACE),
    ("SecAuditLogType", AUDIT_FORM),
    (
        "SecCacheTransformations",
        "a value in a form that several rules look at is always made once",
    ),
    (
        "SecChrootDir",
        "what the process sees is for the container or the service to say",
    ),
    ("SecConnEngine", CONNECTIONS),
    ("SecConnReadStateLimit", CONNECTIONS),
    ("SecConnWriteStateLimit", CONNECTIONS),
    (
        "SecDataDir",
        "what rules remember (initcol) is kept in memory, for each policy and node",
    ),
    ("SecDebugLog", LOGGED),
    ("SecDebugLogLevel", LOGGED),
    (
        "SecDisableBackendCompression",
        "where spec.body.response is given, origins are always asked for answers without coding",
    ),
    ("SecGeoLookupDb", "--geo-db of the node names the database"),
    ("SecGuardianLog", "no program is told of requests; read the audit log"),
    ("SecInterceptOnError", "a rule that compiles cannot fail when it runs"),
    ("SecPcreMatchLimit", LINEAR),
    ("SecPcreMatchLimitRecursion", LINEAR),
    ("SecReadStateLimit", CONNECTIONS),
    (
        "SecRequestBodyInMemoryLimit",
        "spec.body.inspect says how much of a body is held, all of it in memory",
    ),
    (
        "SecRequestBodyNoFilesLimit",
        "spec.body.inspect is for all bodies, with and without files; spec.body.types has others by type",
    ),
    ("SecRequestEncoding", "values are compared as they come, as bytes"),
    (
        "SecRulePerfTime",
        "the metric waf_inspection_seconds has the time that rules take",
    ),
    ("SecRxPreFilter", "patterns are always looked for together first"),
    ("SecSensorId", "whoever collects logs says which node they are from"),
    (
        "SecServerSignature",
        "the Server field is the origin's; spec.headers.response of an EdgeCache sets another",
    ),
    ("SecStatusEngine", "nothing is reported to anybody"),
    ("SecTmpDir", "rules write no temporary files"),
    ("SecTmpSaveUploadedFiles", UPLOADS),
    ("SecUnicodeCodePage", CODE_PAGE),
    ("SecUnicodeMapFile", CODE_PAGE),
    ("SecUploadDir", UPLOADS),
    (
        "SecUploadFileLimit",
        "SecArgumentsLimit bounds the parts of a multipart body, files among them",
    ),
    ("SecUploadFileMode", UPLOADS),
    ("SecUploadKeepFiles", UPLOADS),
    ("SecWriteStateLimit", CONNECTIONS),
];

const ONLY: [(&str, &str, &str); 11] = [
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
        "SecResponseBodyLimitAction",
        "ProcessPartial",
        "what of an answer is beyond spec.body.response.inspect passes unseen",
    ),
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

/// With what to do instead.
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
    use super::*;

    #[test]
    fn a_directive_stands_once_and_is_found_in_any_case() {
        let mut seen = Vec::new();
        for (name, is) in directives() {
            assert_eq!(standing(&name.to_uppercase()), Some((name, is)));
            assert!(!seen.contains(&name), "{name} stands twice");
            seen.push(name);
        }
        assert_eq!(standing("SecNothing"), None);
    }
}
