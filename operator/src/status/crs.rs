//! Which version of the Core Rule Set nodes have, as the status of a WafPolicy says it.
//!
//! Pure. Bounded: the first four versions are named.

use std::collections::BTreeMap;

/// Versions that are named.
const MOST: usize = 4;

/// How its own rules call the rule set, before the number.
const NAME: &str = "OWASP_CRS/";

/// Nodes by version, as they say it: `OWASP_CRS/4.28.0`.
pub type Versions = BTreeMap<String, usize>;

/// For a column: `4.28.0`, or several if nodes differ. None where no node has any.
pub(super) fn summary(versions: &Versions) -> Option<String> {
    let mut named: Vec<&str> = versions.keys().take(MOST).map(|version| short(version)).collect();
    if versions.len() > MOST {
        named.push("…");
    }
    (!named.is_empty()).then(|| named.join(", "))
}

/// For a condition, where nodes differ: how many have which.
pub(super) fn differences(versions: &Versions) -> Option<String> {
    if versions.len() < 2 {
        return None;
    }
    let nodes = |count: usize| match count {
        1 => "1 node has".to_owned(),
        count => format!("{count} nodes have"),
    };
    let each = versions
        .iter()
        .take(MOST)
        .map(|(version, count)| format!("{} {}", nodes(*count), short(version)));
    let others: usize = versions.values().skip(MOST).sum();
    let others = (others > 0).then(|| format!("{} another", nodes(others)));
    let text: Vec<String> = each.chain(others).collect();
    Some(format!("versions of the Core Rule Set differ: {}", text.join(", ")))
}

fn short(version: &str) -> &str {
    version.strip_prefix(NAME).unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(counts: &[(&str, usize)]) -> Versions {
        let counts = counts.iter();
        counts
            .map(|(version, count)| (format!("{NAME}{version}"), *count))
            .collect()
    }

    #[test]
    fn one_version_is_named_and_nothing_differs() {
        let same = versions(&[("4.28.0", 3)]);
        assert_eq!(summary(&same).as_deref(), Some("4.28.0"));
        assert_eq!(differences(&same), None);
        assert_eq!(summary(&Versions::new()), None);
    }

    #[test]
    fn nodes_that_differ_are_counted_by_version() {
        let mixed = versions(&[("3.3.7", 1), ("4.28.0", 11)]);
        assert_eq!(summary(&mixed).as_deref(), Some("3.3.7, 4.28.0"));
        assert_eq!(
            differences(&mixed).as_deref(),
            Some("versions of the Core Rule Set differ: 1 node has 3.3.7, 11 nodes have 4.28.0")
        );
    }

    #[test]
    fn of_many_versions_the_first_are_named() {
        let many = versions(&[("1", 1), ("2", 1), ("3", 1), ("4", 1), ("5", 1), ("6", 2)]);
        assert_eq!(summary(&many).as_deref(), Some("1, 2, 3, 4, …"));
        let told = differences(&many).unwrap();
        assert!(told.ends_with("1 node has 4, 3 nodes have another"), "{told}");
    }
}
