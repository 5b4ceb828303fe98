//! Where a client is: countries and autonomous systems, and allow and deny lists of them.
//!
//! Databases are the caller's, behind [`Locate`]; here are the codes and what lists say of them. Invariants: asking a list
//! allocates nothing, and every address has a place: one that no database knows is at [`Country::UNKNOWN`] and in
//! [`UNKNOWN_ASN`], which lists can name like any other.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::address::Fallback;

/// The autonomous system of an address that no database knows. Nobody's number is 0 (RFC 7607).
pub const UNKNOWN_ASN: u32 = 0;

/// The members of SecLang's `GEO`, as [`Locate::describe`] tells them: the ISO 3166-1 alpha-2 code, the name in English, and
/// the continent (`AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`).
pub const MEMBERS: [&str; 3] = [COUNTRY_CODE, COUNTRY_NAME, COUNTRY_CONTINENT];
/// See [`MEMBERS`].
pub const COUNTRY_CODE: &str = "COUNTRY_CODE";
/// See [`MEMBERS`].
pub const COUNTRY_NAME: &str = "COUNTRY_NAME";
/// See [`MEMBERS`].
pub const COUNTRY_CONTINENT: &str = "COUNTRY_CONTINENT";

/// A country by its ISO 3166-1 alpha-2 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// The country of an address that no database knows: `XX`, which ISO 3166-1 leaves to its users.
    pub const UNKNOWN: Self = Self(*b"XX");

    /// The code, upper case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX")
    }
}

/// A text that is no country's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a country is two letters, upper case: its ISO 3166-1 alpha-2 code, or XX for those that no database knows")]
pub struct NotACountry;

impl FromStr for Country {
    type Err = NotACountry;

    /// Two letters, upper case. Whether they are assigned to a country is not asked.
    fn from_str(text: &str) -> Result<Self, NotACountry> {
        match *text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([a, b])),
            _ => Err(NotACountry),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whoever knows where addresses are. Asked for each request of a policy with such lists: no implementation may wait or
/// allocate.
pub trait Locate: fmt::Debug + Send + Sync {
    /// The country of an address; none where it is not known.
    fn country(&self, address: IpAddr) -> Option<Country>;

    /// The autonomous system that announces an address; none where it is not known.
    fn asn(&self, address: IpAddr) -> Option<u32>;

    /// Tells what is known of the place of an address, each by one of [`MEMBERS`]; whether anything is.
    fn describe(&self, address: IpAddr, tell: &mut dyn FnMut(&'static str, &str)) -> bool;
}

/// An allow list and a deny list of places. `allow` is read first: what is on both passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists<T> {
    /// Sorted.
    allow: Vec<T>,
    /// Sorted.
    deny: Vec<T>,
    default: Fallback,
}

/// What [`Lists`] say of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It passes.
    Pass,
    /// It is on the deny list.
    Denied,
    /// It is on neither list and the default is [`Fallback::Deny`].
    DeniedByDefault,
}

impl<T: Ord> Lists<T> {
    /// Lists of these places; `default` is for those on neither.
    #[must_use]
    pub fn new(mut allow: Vec<T>, mut deny: Vec<T>, default: Fallback) -> Self {
        allow.sort_unstable();
        deny.sort_unstable();
        Self { allow, deny, default }
    }

    /// Whether every place passes: nobody need be asked where a client is.
    #[must_use]
    pub fn pass_all(&self) -> bool {
        self.deny.is_empty() && self.default == Fallback::Allow
    }

    /// What the lists say of `place`.
    #[must_use]
    pub fn decide(&self, place: &T) -> Decision {
        if self.allow.binary_search(place).is_ok() {
            return Decision::Pass;
        }
        match (self.deny.binary_search(place), self.default) {
            (Ok(_), _) => Decision::Denied,
            (Err(_), Fallback::Deny) => Decision::DeniedByDefault,
            (Err(_), Fallback::Allow) => Decision::Pass,
        }
    }
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            default: Fallback::Allow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn countries(codes: &[&str]) -> Vec<Country> {
        codes.iter().map(|code| code.parse().unwrap()).collect()
    }

    #[test]
    fn a_country_is_two_upper_case_letters() {
        for text in ["DE", "XX", "ZZ"] {
            assert_eq!(text.parse::<Country>().unwrap().to_string(), text);
        }
        for text in ["", "D", "de", "De", "DEU", "D1", "ÄE"] {
            assert!(text.parse::<Country>().is_err(), "{text}");
        }
    }

    #[test]
    fn allow_is_read_before_deny_and_deny_before_the_default() {
        let ask = |lists: &Lists<Country>, code: &str| lists.decide(&code.parse().unwrap());
        let lists = Lists::new(countries(&["SE", "DE"]), countries(&["FR", "DE"]), Fallback::Allow);
        assert_eq!(ask(&lists, "DE"), Decision::Pass);
        assert_eq!(ask(&lists, "FR"), Decision::Denied);
        assert_eq!(ask(&lists, "XX"), Decision::Pass);
        let lists = Lists::new(countries(&["SE", "DE"]), countries(&["FR"]), Fallback::Deny);
        assert_eq!(ask(&lists, "SE"), Decision::Pass);
        assert_eq!(ask(&lists, "FR"), Decision::Denied);
        assert_eq!(ask(&lists, "XX"), Decision::DeniedByDefault);
    }

    #[test]
    fn lists_that_refuse_nobody_need_not_know_where_a_client_is() {
        assert!(Lists::<u32>::default().pass_all());
        assert!(Lists::new(vec![64_496], vec![], Fallback::Allow).pass_all());
        assert!(!Lists::new(vec![], vec![64_496], Fallback::Allow).pass_all());
        assert!(!Lists::new(vec![64_496], vec![], Fallback::Deny).pass_all());
    }
}
