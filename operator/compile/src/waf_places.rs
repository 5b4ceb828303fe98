//! Lists of countries and autonomous systems: what is written, and what is odd about it.
//!
//! A code that no country has is a warning and no error: databases have some of their own (XK), and ISO assigns new ones.

use breakwater_crds as crds;
use breakwater_snapshot::unit::Places;
use breakwater_waf::geo::Country;

use crate::findings::Findings;

/// Codes that stand for countries, without a separator: ISO 3166-1 alpha-2 as assigned, and `XK`, which databases use for
/// Kosovo.
const ASSIGNED: &str = "ADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCNCOCRCUCVCWCXCYCZDEDJDKDMDODZECEEEGEHERESETFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHUIDIEILIMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENFNGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTCTDTFTGTHTJTKTLTMTNTOTRTTTVTWTZUAUGUMUSUYUZVAVCVEVGVIVNVUWFWSXKYEYTZAZMZW";

/// What people write in place of a country's code.
const MISTAKEN: [(&str, &str); 2] = [("UK", "GB"), ("EL", "GR")];

/// Reads `spec.countries`.
pub(crate) fn countries(spec: Option<&crds::Countries>, findings: &mut Findings) -> Places<String> {
    let Some(spec) = spec else { return Places::default() };
    let mut read = |name: &str, list: &[crds::CountryCode]| {
        let mut codes = Vec::with_capacity(list.len());
        for (i, code) in list.iter().enumerate() {
            let field = format!("spec.countries.{name}[{i}]");
            let read = code.as_str().parse::<Country>().map_err(|_| {
                format!("`{code}` is not a country: write its ISO 3166-1 alpha-2 code in upper case, such as DE, or XX for clients that the database does not know")
            });
            let Some(country) = findings.take(&field, read) else {
                continue;
            };
            if let Some(advice) = unassigned(country) {
                findings.warning(&field, format!("`{code}` is no country's code: {advice}"));
            }
            codes.push(country.to_string());
        }
        codes.sort();
        codes.dedup();
        codes
    };
    let (allow, deny) = (read("allow", &spec.allow), read("deny", &spec.deny));
    if spec.deny.is_empty() {
        warn_of_idle("spec.countries", spec.default, findings);
    }
    places("spec.countries", allow, deny, spec.default, findings)
}

/// Reads `spec.asns`.
pub(crate) fn asns(spec: Option<&crds::Asns>, findings: &mut Findings) -> Places<u32> {
    let Some(spec) = spec else { return Places::default() };
    let sorted = |list: &[u32]| {
        let mut list = list.to_vec();
        list.sort_unstable();
        list.dedup();
        list
    };
    let (allow, deny) = (sorted(&spec.allow), sorted(&spec.deny));
    if spec.deny.is_empty() {
        warn_of_idle("spec.asns", spec.default, findings);
    }
    places("spec.asns", allow, deny, spec.default, findings)
}

fn places<T: PartialEq + std::fmt::Display>(
    field: &str,
    allow: Vec<T>,
    deny: Vec<T>,
    default: crds::DefaultAction,
    findings: &mut Findings,
) -> Places<T> {
    for place in deny.iter().filter(|place| allow.contains(place)) {
        findings.warning(
            format!("{field}.deny"),
            format!("`{place}` is on both lists; allow is read first, so it passes"),
        );
    }
    Places {
        allow,
        deny,
        default_allow: default == crds::DefaultAction::Allow,
    }
}

/// Of lists without deny.
fn warn_of_idle(field: &str, default: crds::DefaultAction, findings: &mut Findings) {
    if default == crds::DefaultAction::Allow {
        findings.warning(
            field,
            "it refuses nobody: deny is empty and default is Allow; to let only the clients in allow in, write default: Deny",
        );
    }
}

fn unassigned(country: Country) -> Option<String> {
    let code = country.as_str();
    if let Some((_, right)) = MISTAKEN.iter().find(|(wrong, _)| *wrong == code) {
        return Some(format!("write {right}"));
    }
    let known = country == Country::UNKNOWN || ASSIGNED.as_bytes().chunks(2).any(|known| known == code.as_bytes());
    (!known).then(|| "no database is likely to have it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_country_once_in_order() {
        let codes: Vec<_> = ASSIGNED.as_bytes().chunks(2).collect();
        assert_eq!(codes.len(), 250);
        assert!(codes.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn codes_that_are_written_for_a_country_are_corrected() {
        let advice = |code: &str| unassigned(code.parse().unwrap());
        assert_eq!(advice("UK").as_deref(), Some("write GB"));
        assert!(advice("ZZ").is_some() && advice("QQ").is_some());
        assert!(["GB", "DE", "XK", "XX"].iter().all(|code| advice(code).is_none()));
    }
}
