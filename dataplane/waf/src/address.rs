//! Sets of addresses by prefix, and the allow and deny lists made of them.
//!
//! Prefixes become disjoint ranges when the set is built, so a lookup is one binary search over a flat array whatever
//! the nesting: no allocation, and time that grows with the logarithm of the set. IPv4-mapped IPv6 addresses and
//! prefixes (`::ffff:0:0/96` and longer) are IPv4; `::/0` is every IPv6 address and no IPv4 address.

pub mod list;
mod ranges;

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use self::ranges::Ranges;

/// A set of address prefixes that finds the longest one that holds an address.
///
/// Takes at most 10 bytes for each IPv4 prefix and 34 for each IPv6 prefix.
#[derive(Clone, Debug, Default)]
pub struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl AddressSet {
    /// The longest prefix of the set that holds `address`, host bits cleared.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> Option<IpNet> {
        // `new` cannot fail on a length that came from a net of the same family; a failure would read as "not held".
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let length = self.v4.find(v4.to_bits())?;
                Ipv4Net::new(v4, length).ok().map(|net| net.trunc().into())
            }
            IpAddr::V6(v6) => {
                let length = self.v6.find(v6.to_bits())?;
                Ipv6Net::new(v6, length).ok().map(|net| net.trunc().into())
            }
        }
    }

    /// Bytes it takes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }

    /// Most steps of a binary search in it.
    #[must_use]
    pub fn most_steps(&self) -> u32 {
        self.v4.most_steps().max(self.v6.most_steps())
    }

    /// Whether the set holds no address at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<IpNet> for AddressSet {
    /// Host bits are ignored: `10.0.0.1/8` is `10.0.0.0/8`.
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.prefix_len())),
                IpNet::V6(net) => match net.network().to_ipv4_mapped() {
                    Some(mapped) if net.prefix_len() >= 96 => v4.push((mapped.to_bits(), net.prefix_len() - 96)),
                    _ => v6.push((net.network().to_bits(), net.prefix_len())),
                },
            }
        }
        Self {
            v4: Ranges::new(v4),
            v6: Ranges::new(v6),
        }
    }
}

/// What happens to an address on neither list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// It passes.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

/// An allow list and a deny list. `allow` is read first: an address on both passes.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Addresses that pass, whatever `deny` and `default` say.
    pub allow: AddressSet,
    /// Addresses that are refused.
    pub deny: AddressSet,
    /// What happens to the rest.
    pub default: Fallback,
}

/// What [`Lists`] say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is on the allow list.
    Allowed,
    /// It is on neither list and passes.
    Pass,
    /// It is refused by this prefix of the deny list.
    Denied(IpNet),
    /// It is on neither list and the default is [`Fallback::Deny`].
    DeniedByDefault,
}

impl Lists {
    /// What the lists say of `address`.
    #[must_use]
    pub fn decide(&self, address: IpAddr) -> Decision {
        if self.allow.contains(address).is_some() {
            return Decision::Allowed;
        }
        match (self.deny.contains(address), self.default) {
            (Some(net), _) => Decision::Denied(net),
            (None, Fallback::Deny) => Decision::DeniedByDefault,
            (None, Fallback::Allow) => Decision::Pass,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn set(nets: &[&str]) -> AddressSet {
        nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect()
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    fn found(set: &AddressSet, address: &str) -> Option<String> {
        set.contains(ip(address)).map(|net| net.to_string())
    }

    #[test]
    fn an_empty_set_holds_nothing() {
        assert!(AddressSet::default().is_empty());
        assert_eq!(found(&AddressSet::default(), "0.0.0.0"), None);
        assert_eq!(found(&AddressSet::default(), "::"), None);
    }

    #[test]
    fn the_longest_prefix_is_found_at_every_depth_and_on_every_edge() {
        let set = set(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "11.0.0.0/8"]);
        let cases = [
            ("9.255.255.255", None),
            ("10.0.0.0", Some("10.0.0.0/8")),
            ("10.1.0.0", Some("10.1.0.0/16")),
            ("10.1.1.255", Some("10.1.0.0/16")),
            ("10.1.2.0", Some("10.1.2.0/24")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.4", Some("10.1.2.0/24")),
            ("10.1.3.0", Some("10.1.0.0/16")),
            ("10.2.0.0", Some("10.0.0.0/8")),
            ("10.255.255.255", Some("10.0.0.0/8")),
            ("11.0.0.0", Some("11.0.0.0/8")),
            ("12.0.0.0", None),
        ];
        for (address, expected) in cases {
            assert_eq!(found(&set, address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn the_whole_of_a_family_is_a_prefix_too() {
        let v4 = set(&["0.0.0.0/0"]);
        assert_eq!(found(&v4, "255.255.255.255").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(found(&v4, "2001:db8::1"), None);
        let v6 = set(&["::/0"]);
        assert_eq!(
            found(&v6, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").as_deref(),
            Some("::/0")
        );
        assert_eq!(found(&v6, "192.0.2.1"), None);
    }

    #[test]
    fn mapped_addresses_and_mapped_prefixes_are_ipv4() {
        assert_eq!(
            found(&set(&["192.0.2.0/24"]), "::ffff:192.0.2.9").as_deref(),
            Some("192.0.2.0/24")
        );
        assert_eq!(
            found(&set(&["::ffff:192.0.2.0/120"]), "192.0.2.9").as_deref(),
            Some("192.0.2.0/24")
        );
        assert_eq!(found(&set(&["::/0"]), "::ffff:192.0.2.9"), None);
    }

    #[test]
    fn host_bits_are_ignored_and_duplicates_are_harmless() {
        let set = set(&["10.9.9.9/8", "10.0.0.0/8", "2001:db8::1/32"]);
        assert_eq!(found(&set, "10.1.1.1").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(found(&set, "2001:db8:ffff::").as_deref(), Some("2001:db8::/32"));
    }

    /// The definition, read literally.
    fn brute(nets: &[IpNet], address: IpAddr) -> Option<IpNet> {
        nets.iter()
            .map(IpNet::trunc)
            .filter(|net| net.contains(&address))
            .max_by_key(IpNet::prefix_len)
    }

    #[test]
    fn random_sets_agree_with_a_linear_search() {
        let mut random = Random::new(7);
        for round in 0..200 {
            // Few distinct leading bits, so that prefixes nest, touch and repeat.
            let nets: Vec<IpNet> = (0..random.below(60))
                .map(|_| {
                    if random.below(2) == 0 {
                        let length = random.below(33) as u8;
                        let address = (random.next() as u32) & 0xc300_0303;
                        Ipv4Net::new(address.into(), length).unwrap().into()
                    } else {
                        let length = random.below(129) as u8;
                        let address = (u128::from(random.next()) << 64 | u128::from(random.next()))
                            & (0x2001_0003 << 96 | 0x8003);
                        Ipv6Net::new((address | 0x2000 << 112).into(), length).unwrap().into()
                    }
                })
                .collect();
            let set: AddressSet = nets.iter().copied().collect();
            let mut probes: Vec<IpAddr> = nets.iter().flat_map(|net| [net.network(), net.broadcast()]).collect();
            for _ in 0..50 {
                probes.push(IpAddr::V4(((random.next() as u32) & 0xc300_0303).into()));
                probes.push(IpAddr::V6((u128::from(random.next()) << 64 | 0x2001 << 112).into()));
            }
            let neighbours: Vec<IpAddr> = probes
                .iter()
                .flat_map(|probe| match probe {
                    IpAddr::V4(v4) => [
                        IpAddr::V4(v4.to_bits().wrapping_sub(1).into()),
                        IpAddr::V4(v4.to_bits().wrapping_add(1).into()),
                    ],
                    IpAddr::V6(v6) => [
                        IpAddr::V6(v6.to_bits().wrapping_sub(1).into()),
                        IpAddr::V6(v6.to_bits().wrapping_add(1).into()),
                    ],
                })
                .collect();
            for probe in probes.into_iter().chain(neighbours) {
                // The linear search knows nothing of mapped addresses; those have a test of their own.
                if probe.to_canonical() == probe {
                    assert_eq!(
                        set.contains(probe),
                        brute(&nets, probe),
                        "round {round}, {probe} in {nets:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_large_set_finds_every_member_and_nothing_between() {
        let nets = (0..200_000u32).map(|i| IpNet::from(Ipv4Net::new((i << 9).into(), 24).unwrap()));
        let set: AddressSet = nets.collect();
        for i in (0..200_000u32).step_by(97) {
            assert!(set.contains(IpAddr::V4((i << 9 | 7).into())).is_some(), "{i}");
            assert!(set.contains(IpAddr::V4((i << 9 | 0x100).into())).is_none(), "{i}");
        }
    }

    #[test]
    fn allow_is_read_before_deny_and_deny_before_the_default() {
        let mut lists = Lists {
            allow: set(&["10.1.0.0/16"]),
            deny: set(&["10.0.0.0/8"]),
            default: Fallback::Allow,
        };
        assert_eq!(lists.decide(ip("10.1.0.1")), Decision::Allowed);
        assert_eq!(
            lists.decide(ip("10.2.0.1")),
            Decision::Denied("10.0.0.0/8".parse().unwrap())
        );
        assert_eq!(lists.decide(ip("192.0.2.1")), Decision::Pass);
        lists.default = Fallback::Deny;
        assert_eq!(lists.decide(ip("10.1.0.1")), Decision::Allowed);
        assert_eq!(lists.decide(ip("192.0.2.1")), Decision::DeniedByDefault);
        // A longer prefix on the deny list does not win over a shorter one on the allow list.
        let nested = Lists {
            allow: set(&["10.0.0.0/8"]),
            deny: set(&["10.1.0.0/16"]),
            default: Fallback::Allow,
        };
        assert_eq!(nested.decide(ip("10.1.0.1")), Decision::Allowed);
    }
}
