//! GEO: what is known of the place of the address that a rule asked about last.

use std::net::IpAddr;
use std::sync::Arc;

use super::Transaction;
use super::lists::List;

impl Transaction {
    /// Fills GEO with what is known of an address, and empties it first; whether anything is known.
    ///
    /// What is put there counts as what rules put into variables. Where there is no room left, nothing is known.
    pub(super) fn locate(&mut self, address: Option<IpAddr>) -> bool {
        self.lists.clear(List::Geo);
        let (Some(address), Some(locations)) = (address, self.locations.as_ref().map(Arc::clone)) else {
            return false;
        };
        let (lists, values, room) = (&mut self.lists, &mut self.values, &mut self.state.room);
        locations.describe(address, &mut |name, value| {
            // What is made in a full buffer is forgotten with its rule.
            let left = room.checked_sub(name.len() + value.len()).filter(|_| !values.full());
            if let Some(left) = left {
                *room = left;
                let (name, value) = (values.push(name.as_bytes()), values.push(value.as_bytes()));
                lists.push(List::Geo, name, value);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Bound, Connection, Overlay, RuleSet};
    use crate::seclang::parse;
    use crate::testing::Atlas;

    /// The rules that match a request of a client.
    fn matching(text: &str, client: &str, atlas: Option<Atlas>) -> Vec<u32> {
        let directives = parse("test.conf", text).unwrap();
        let rules = Arc::new(RuleSet::compile(&directives, &|_, _| Err("no files".to_owned())).unwrap());
        let bound = Arc::new(Bound::new(&rules, &Overlay::default()));
        let connection = Connection {
            client: client.parse().unwrap(),
            client_port: 0,
            server: client.parse().unwrap(),
            server_port: 0,
            unique_id: "id",
            now_ms: 0,
        };
        let mut transaction = Transaction::bound(&bound, &connection, true);
        if let Some(atlas) = atlas {
            transaction = transaction.with_locations(Arc::new(atlas));
        }
        transaction.request_line(b"GET", b"/?a=192.0.2.1&a=203.0.113.1", b"HTTP/1.1");
        transaction.run_request_headers();
        transaction.finish().matches.iter().map(|found| found.id).collect()
    }

    const CHAIN: &str = r#"SecRule REMOTE_ADDR "@geoLookup" "id:1,phase:1,pass,chain"
        SecRule GEO:COUNTRY_CODE "@streq SE" "t:none"
        SecRule &GEO "@eq 2" "id:2,phase:1,pass"
        SecRule GEO:COUNTRY_CONTINENT "@within EU %{GEO.COUNTRY_CODE}" "id:3,phase:1,pass"
        SecRule REMOTE_ADDR "!@geoLookup" "id:4,phase:1,pass""#;

    #[test]
    fn a_lookup_fills_geo_for_the_rules_behind_it() {
        assert_eq!(matching(CHAIN, "192.0.2.1", Some(Atlas)), [1, 2, 3]);
        assert_eq!(matching(CHAIN, "203.0.113.1", Some(Atlas)), [2, 3]);
        assert_eq!(matching(CHAIN, "198.51.100.1", Some(Atlas)), [4]);
    }

    #[test]
    fn geo_is_about_the_address_that_was_looked_up_last() {
        let text = r#"SecRule ARGS:a "@geoLookup" "id:1,phase:1,pass,nolog"
            SecRule GEO:COUNTRY_CODE "@streq FR" "id:2,phase:1,pass"
            SecRule REQUEST_METHOD "!@geoLookup" "id:3,phase:1,pass"
            SecRule &GEO "@eq 0" "id:4,phase:1,pass""#;
        assert_eq!(matching(text, "192.0.2.1", Some(Atlas)), [2, 3, 4]);
    }

    #[test]
    fn without_someone_who_knows_no_lookup_matches_even_if_negated() {
        assert_eq!(matching(CHAIN, "192.0.2.1", None), [0_u32; 0]);
    }

    #[test]
    fn a_member_that_geo_does_not_have_is_a_mistake() {
        let directives = parse("test.conf", "SecRule GEO:CITY \"@rx .\" \"id:1,phase:1,deny\"").unwrap();
        let mistakes = RuleSet::compile(&directives, &|_, _| Err("no files".to_owned())).unwrap_err();
        assert!(
            mistakes[0].to_string().contains("GEO:CITY is not known here"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn rules_that_look_up_places_are_named() {
        let directives = parse("test.conf", CHAIN).unwrap();
        let rules = RuleSet::compile(&directives, &|_, _| Err("no files".to_owned())).unwrap();
        let named: Vec<String> = rules.lookups().iter().map(ToString::to_string).collect();
        assert_eq!(
            named,
            [
                "test.conf:1: rule 1 asks where an address is (@geoLookup)",
                "test.conf:5: rule 4 asks where an address is (@geoLookup)",
            ]
        );
    }
}
