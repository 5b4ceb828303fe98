//! Groups of the Core Rule Set: which ids they have, and which a policy leaves out.
//!
//! The numbers are those of the rule set's own files, the same in its versions 3 and 4. Rules of its set-up, of its own
//! exceptions and of the evaluation of scores are in no group.

use breakwater_crds::{CrsGroup, CrsGroups};
use breakwater_snapshot::unit::RuleGroup;

use crate::findings::Findings;

/// A group, its name, the ids of its rules, and whether it looks at responses.
type Group = (CrsGroup, &'static str, &'static [(u32, u32)], bool);

/// All groups, in the order of their ids.
const GROUPS: [Group; 14] = [
    (CrsGroup::Methods, "Methods", &[(911_000, 911_999)], false),
    (CrsGroup::Scanners, "Scanners", &[(913_000, 913_999)], false),
    (CrsGroup::Protocol, "Protocol", &[(920_000, 922_999)], false),
    (CrsGroup::Lfi, "LFI", &[(930_000, 930_999)], false),
    (CrsGroup::Rfi, "RFI", &[(931_000, 931_999)], false),
    (CrsGroup::Rce, "RCE", &[(932_000, 932_999)], false),
    (CrsGroup::Php, "PHP", &[(933_000, 933_999)], false),
    (CrsGroup::Generic, "Generic", &[(934_000, 934_999)], false),
    (CrsGroup::Xss, "XSS", &[(941_000, 941_999)], false),
    (CrsGroup::Sqli, "SQLi", &[(942_000, 942_999)], false),
    (
        CrsGroup::SessionFixation,
        "SessionFixation",
        &[(943_000, 943_999)],
        false,
    ),
    (CrsGroup::Java, "Java", &[(944_000, 944_999)], false),
    (
        CrsGroup::DataLeakage,
        "DataLeakage",
        &[(950_000, 954_999), (956_000, 956_999)],
        true,
    ),
    (CrsGroup::WebShells, "WebShells", &[(955_000, 955_999)], true),
];

/// What rule sets have, or may come to have, beside these: looks at reputation (910) and rates (912) of version 3, among
/// others.
const OTHERS: [(u32, u32); 7] = [
    (910_000, 910_999),
    (912_000, 912_999),
    (914_000, 919_999),
    (923_000, 929_999),
    (935_000, 940_999),
    (945_000, 948_999),
    (957_000, 958_999),
];

/// The ids of the rules of a group.
pub(crate) fn ids(group: CrsGroup) -> &'static [(u32, u32)] {
    GROUPS
        .iter()
        .find(|(known, ..)| *known == group)
        .map_or(&[], |(_, _, ids, _)| *ids)
}

/// Reads `spec.crs.groups`: the groups that do not run. `responses`: whether any response is inspected.
pub(crate) fn disabled(spec: &CrsGroups, responses: bool, findings: &mut Findings) -> Vec<RuleGroup> {
    const FIELD: &str = "spec.crs.groups";
    if spec.enabled.is_empty() == spec.disabled.is_empty() {
        findings.error(
            FIELD,
            "name exactly one of enabled (these groups alone) and disabled (all but these)",
        );
        return Vec::new();
    }
    let runs = |group: CrsGroup| match spec.disabled.is_empty() {
        true => spec.enabled.contains(&group),
        false => !spec.disabled.contains(&group),
    };
    if !GROUPS.iter().any(|(group, ..)| runs(*group)) {
        findings.warning(
            FIELD,
            "every group is disabled, so that no rule of the Core Rule Set finds anything",
        );
    }
    let blind = |(group, _, _, response): &&Group| *response && !responses && spec.enabled.contains(group);
    if let Some((_, name, ..)) = GROUPS.iter().find(blind) {
        findings.warning(
            FIELD,
            format!("{name} looks at responses, which are not inspected: give spec.body.response"),
        );
    }
    let off = GROUPS.iter().filter(|(group, ..)| !runs(*group));
    let off = off.map(|(_, name, ids, _)| (*name, ids.to_vec()));
    let others = (!spec.enabled.is_empty()).then(|| ("others", OTHERS.to_vec()));
    off.chain(others)
        .map(|(name, ids)| RuleGroup {
            name: name.to_owned(),
            ids,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_called_as_the_schema_calls_them_and_share_no_rule() {
        let mut last = 909_999;
        for (group, name, ids, _) in GROUPS {
            assert_eq!(serde_json::to_value(group).unwrap(), name);
            assert_eq!(super::ids(group), ids);
        }
        let mut all: Vec<_> = GROUPS.iter().flat_map(|(_, _, ids, _)| *ids).chain(&OTHERS).collect();
        all.sort();
        for (from, to) in all {
            // Between them are the scores of requests alone.
            assert!(*from == last + 1 || *from == last + 1001, "{from}");
            last = *to;
        }
        assert_eq!(last, 958_999);
    }
}
