//! Which addresses a list is fetched from.
//!
//! Who may write a WafPolicy should not reach, through the operator, what only the operator's node may: its own ports and
//! the metadata service of its cloud. Addresses are judged after the name was resolved, and the connection goes to the
//! address that was judged, so a name that resolves to something else a moment later gains nothing. Private addresses and
//! those of the cluster are allowed: lists are served there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether nothing may be fetched from `address`. `loopback`: this machine's own addresses are allowed.
#[must_use]
pub fn is_refused(address: IpAddr, loopback: bool) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_refused_v4(v4, loopback),
        IpAddr::V6(v6) => is_refused_v6(v6, loopback),
    }
}

fn is_refused_v4(address: Ipv4Addr, loopback: bool) -> bool {
    let metadata = [
        // Alibaba's metadata service, and the host of Azure's machines.
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(168, 63, 129, 16),
    ];
    (address.is_loopback() && !loopback)
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        // 0.0.0.0/8: "this host on this network".
        || address.octets()[0] == 0
        || metadata.contains(&address)
}

fn is_refused_v6(address: Ipv6Addr, loopback: bool) -> bool {
    let metadata = [
        // Of Amazon's machines, and of Google's.
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    let [a, b, c, ..] = address.segments();
    let low = |bits: u128| Ipv4Addr::from(u32::try_from(bits & 0xffff_ffff).unwrap_or_default());
    // Ways to write an IPv4 address: NAT64 (64:ff9b::/96), 6to4 (2002::/16), IPv4-compatible (::/96).
    let within = match (a, b) {
        (0x64, 0xff9b) => Some(low(address.to_bits())),
        (0x2002, _) => Some(Ipv4Addr::from(u32::from(b) << 16 | u32::from(c))),
        _ if address.to_bits() >> 32 == 0 && !address.is_loopback() => Some(low(address.to_bits())),
        _ => None,
    };
    (address.is_loopback() && !loopback)
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || metadata.contains(&address)
        || within.is_some_and(|v4| is_refused_v4(v4, loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_this_machine_may_ask_is_refused_in_every_spelling() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::a9fe:a9fe",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(is_refused(address.parse().unwrap(), false), "{address}");
        }
    }

    #[test]
    fn private_addresses_and_public_ones_are_allowed_and_loopback_where_it_is_asked_for() {
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "203.0.113.1",
            "fd00::1",
            "2001:db8::1",
        ] {
            assert!(!is_refused(address.parse().unwrap(), false), "{address}");
        }
        for (address, refused) in [
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.1.1", true),
            ("0.0.0.0", true),
        ] {
            assert_eq!(is_refused(address.parse().unwrap(), true), refused, "{address}");
        }
    }
}
