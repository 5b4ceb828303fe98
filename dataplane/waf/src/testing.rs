//! What the tests share: a small seeded generator, so that a failure can be run again, a connection, and someone
//! who knows where addresses are.

use std::net::IpAddr;

use crate::engine::Connection;
use crate::geo::{Country, Locate};

/// SplitMix64: every seed is good and the sequence is the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Knows where three networks are: 192.0.2.0/24 in Sweden and AS64496, 203.0.113.0/24 in France, 2001:db8::/32 in AS64497.
#[derive(Debug)]
pub(crate) struct Atlas;

impl Locate for Atlas {
    fn country(&self, address: IpAddr) -> Option<Country> {
        let text = address.to_string();
        let code = match text.as_str() {
            text if text.starts_with("192.0.2.") => "SE",
            text if text.starts_with("203.0.113.") => "FR",
            _ => return None,
        };
        code.parse().ok()
    }

    fn asn(&self, address: IpAddr) -> Option<u32> {
        let text = address.to_string();
        match text.as_str() {
            text if text.starts_with("192.0.2.") => Some(64_496),
            text if text.starts_with("2001:db8:") => Some(64_497),
            _ => None,
        }
    }

    fn describe(&self, address: IpAddr, tell: &mut dyn FnMut(&'static str, &str)) -> bool {
        let Some(country) = self.country(address) else {
            return false;
        };
        tell("COUNTRY_CODE", country.as_str());
        tell("COUNTRY_CONTINENT", "EU");
        true
    }
}

/// A connection over which a client asks.
pub(crate) fn connection() -> Connection<'static> {
    Connection {
        client: "203.0.113.9".parse().unwrap(),
        client_port: 4000,
        server: "203.0.113.1".parse().unwrap(),
        server_port: 443,
        unique_id: "id",
        now_ms: 1_000_000,
    }
}
