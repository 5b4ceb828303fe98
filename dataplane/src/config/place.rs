//! Lists of where clients are, for nodes that can tell.

use breakwater_snapshot::unit;
use breakwater_waf::address::Fallback;
use breakwater_waf::geo::{Country, Lists};

use crate::geo::Known;

/// What is said where no database of countries is.
pub(super) const NO_COUNTRIES: &str = "this node has no database of countries: start it with --geo-db FILE";

/// What is said where no database of autonomous systems is.
const NO_ASNS: &str = "this node has no database of autonomous systems: start it with --asn-db FILE";

/// The lists of countries of a policy.
///
/// # Errors
/// What is wrong, for a person.
pub(super) fn countries(unit: unit::Places<String>, databases: Known) -> Result<Lists<Country>, String> {
    if !unit.pass_all() && !databases.countries {
        return Err(format!("spec.countries: {NO_COUNTRIES}"));
    }
    let read = |codes: Vec<String>| -> Result<Vec<Country>, String> {
        let read = |code: String| {
            code.parse()
                .map_err(|error| format!("spec.countries: `{code}`: {error}"))
        };
        codes.into_iter().map(read).collect()
    };
    let default = fallback(unit.default_allow);
    Ok(Lists::new(read(unit.allow)?, read(unit.deny)?, default))
}

/// The lists of autonomous systems of a policy.
///
/// # Errors
/// What is wrong, for a person.
pub(super) fn asns(unit: unit::Places<u32>, databases: Known) -> Result<Lists<u32>, String> {
    if !unit.pass_all() && !databases.asns {
        return Err(format!("spec.asns: {NO_ASNS}"));
    }
    Ok(Lists::new(unit.allow, unit.deny, fallback(unit.default_allow)))
}

/// What happens to clients on neither list.
pub(super) const fn fallback(allow: bool) -> Fallback {
    if allow { Fallback::Allow } else { Fallback::Deny }
}
