//! Groups of the OWASP Core Rule Set by what they look for, as its files have them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which groups of the Core Rule Set run: all but some, or some alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.enabled) != has(self.disabled)",
    "message": "name exactly one of enabled (these groups alone) and disabled (all but these)",
}]))]
pub struct CrsGroups {
    /// These groups run, and no other. A group that a later version of the rule set brings does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 14), extend("x-kubernetes-list-type" = "set"))]
    pub enabled: Vec<CrsGroup>,
    /// All groups run but these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 14), extend("x-kubernetes-list-type" = "set"))]
    pub disabled: Vec<CrsGroup>,
}

/// A group of the Core Rule Set, named for what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum CrsGroup {
    /// Request methods that are not allowed: rules 911000 to 911999.
    Methods,
    /// Clients that are security scanners: 913000 to 913999.
    Scanners,
    /// Violations of HTTP, request smuggling, response splitting, malformed multipart bodies: 920000 to 922999.
    Protocol,
    /// Local file inclusion, path traversal: 930000 to 930999.
    #[serde(rename = "LFI")]
    Lfi,
    /// Remote file inclusion: 931000 to 931999.
    #[serde(rename = "RFI")]
    Rfi,
    /// Commands of the operating system: 932000 to 932999.
    #[serde(rename = "RCE")]
    Rce,
    /// Injection of PHP: 933000 to 933999.
    #[serde(rename = "PHP")]
    Php,
    /// Node.js, Ruby, Perl, templates, server-side request forgery: 934000 to 934999.
    Generic,
    /// Cross-site scripting: 941000 to 941999.
    #[serde(rename = "XSS")]
    Xss,
    /// SQL injection: 942000 to 942999.
    #[serde(rename = "SQLi")]
    Sqli,
    /// Session fixation: 943000 to 943999.
    SessionFixation,
    /// Attacks on Java: 944000 to 944999.
    Java,
    /// Responses that tell too much (errors of databases, stack traces): 950000 to 954999 and 956000 to 956999.
    DataLeakage,
    /// Responses of web shells: 955000 to 955999.
    WebShells,
}
