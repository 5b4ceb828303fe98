//! Lists of prefixes: as people write them, and packed as they travel.
//!
//! A text has one address or prefix on each line; what follows `#` or `;` is a comment. Packed, a list is the smallest set
//! of prefixes that holds the same addresses, in order, each as its length and the distance from the one before it in
//! units of its own size: 3 bytes for one of a million scattered IPv4 addresses.
//!
//! Invariant: what was packed unpacks to the same addresses; any other bytes unpack to some list or to an error, never to
//! more prefixes than there are bytes.

mod reader;

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::ConfigError;

pub use reader::{MAX_LINE, Reader};

/// Longest text of one list: what a ConfigMap holds at most.
pub const MAX_TEXT: usize = 1 << 20;

/// Whether `text` may be a list: it begins with an address or prefix, or has nothing but comments.
#[must_use]
pub fn looks_like_a_list(text: &str) -> bool {
    entries(text).next().is_none_or(|(_, entry)| net(entry).is_some())
}

/// Reads a list. Host bits are ignored.
///
/// # Errors
/// Names the first line that is neither an address nor a prefix, or says that the text is longer than [`MAX_TEXT`].
pub fn parse(text: &str) -> Result<Vec<IpNet>, ConfigError> {
    if text.len() > MAX_TEXT {
        let message = format!("{} bytes are too many for one list: 1Mi at most", text.len());
        return Err(ConfigError::new("the list", message));
    }
    entries(text)
        .map(|(line, entry)| {
            net(entry).ok_or_else(|| {
                let shown = crate::audit::cut(entry, 64);
                ConfigError::new(format!("line {line}"), format!("`{shown}` is not an address or prefix"))
            })
        })
        .collect()
}

/// Lines, from 1, that hold something.
fn entries(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let entry = line.split(['#', ';']).next().unwrap_or_default().trim();
        (!entry.is_empty()).then_some((index + 1, entry))
    })
}

fn net(entry: &str) -> Option<IpNet> {
    match entry.parse::<IpNet>() {
        Ok(net) => Some(net.trunc()),
        Err(_) => entry.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

/// Packs the addresses of `nets`.
#[must_use]
pub fn pack(nets: &[IpNet]) -> Vec<u8> {
    let mut nets = IpNet::aggregate(&nets.to_vec());
    nets.sort_unstable();
    let mut out = Vec::with_capacity(nets.len().saturating_mul(3).saturating_add(8));
    let v4 = nets.iter().filter(|net| matches!(net, IpNet::V4(_))).count();
    number(v4 as u128, &mut out);
    // The first address that may come next; none past the last of all.
    let mut next = Some(0u128);
    let mut family = 32u8;
    for net in nets {
        let (first, width) = bits(net);
        if width != family {
            (next, family) = (Some(0), width);
        }
        let host = u32::from(width - net.prefix_len());
        out.push(net.prefix_len());
        // Disjoint and ascending: the floor is never above the prefix.
        let floor = floor(next, host).unwrap_or_default();
        number(shifted(first, host).saturating_sub(floor), &mut out);
        next = after(first, host, width);
    }
    out
}

/// The prefixes of a packed list, ascending.
///
/// # Errors
/// When `bytes` are not a packed list.
pub fn unpack(mut bytes: &[u8]) -> Result<Vec<IpNet>, ConfigError> {
    let broken = || ConfigError::new("the list", "is not packed as lists are");
    let v4 = take_number(&mut bytes).ok_or_else(broken)?;
    let mut nets = Vec::new();
    let mut next = Some(0u128);
    while let Some((length, rest)) = bytes.split_first() {
        bytes = rest;
        let count = nets.len() as u128;
        let width = if count < v4 { 32 } else { 128 };
        if count == v4 {
            next = Some(0);
        }
        let net = one(*length, width, &mut next, &mut bytes).ok_or_else(broken)?;
        nets.push(net);
    }
    if (nets.len() as u128) < v4 {
        return Err(broken());
    }
    Ok(nets)
}

fn one(length: u8, width: u8, next: &mut Option<u128>, bytes: &mut &[u8]) -> Option<IpNet> {
    let host = u32::from(width.checked_sub(length)?);
    let index = floor(*next, host)?.checked_add(take_number(bytes)?)?;
    if length < 128 && index >> length != 0 {
        return None;
    }
    let first = if host == 128 { 0 } else { index << host };
    *next = after(first, host, width);
    match width {
        32 => Ipv4Net::new(u32::try_from(first).ok()?.into(), length)
            .ok()
            .map(IpNet::from),
        _ => Ipv6Net::new(first.into(), length).ok().map(IpNet::from),
    }
}

/// The first address, and how many bits addresses of its family have.
fn bits(net: IpNet) -> (u128, u8) {
    match net {
        IpNet::V4(net) => (net.network().to_bits().into(), 32),
        IpNet::V6(net) => (net.network().to_bits(), 128),
    }
}

/// The least index, in units of 2^host, of a prefix that begins at `next` or later.
fn floor(next: Option<u128>, host: u32) -> Option<u128> {
    let next = next?;
    match next.checked_sub(1) {
        None => Some(0),
        Some(last) => shifted(last, host).checked_add(1),
    }
}

fn shifted(address: u128, host: u32) -> u128 {
    address.checked_shr(host).unwrap_or(0)
}

/// The address behind a prefix; none behind the last.
fn after(first: u128, host: u32, width: u8) -> Option<u128> {
    let next = first.checked_add(1u128.checked_shl(host)?)?;
    (width == 128 || next >> 32 == 0).then_some(next)
}

/// Seven bits a byte, the low ones first; the high bit says that more follow.
fn number(mut value: u128, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u128> {
    let mut value = 0u128;
    for place in 0..19u32 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u128::from(byte & 0x7f);
        let shifted = part << (7 * place);
        if shifted >> (7 * place) != part {
            return None;
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{address::AddressSet, testing::Random};

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn a_list_has_comments_empty_lines_addresses_and_prefixes() {
        let text = "# known offenders\n\n203.0.113.0/24 # all of it\r\n198.51.100.7\n  2001:db8::1/32 ; SBL1\n";
        let expected = nets(&["203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"]);
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("# nobody today\n").unwrap(), []);
    }

    #[test]
    fn a_line_that_is_no_prefix_is_named() {
        let error = parse("# x\n10.0.0.0/8\n10.0.0.0/33\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3: `10.0.0.0/33` is not an address or prefix");
        let long = parse(&"#".repeat(MAX_TEXT + 1)).unwrap_err().to_string();
        assert!(long.contains("too many"), "{long}");
    }

    #[test]
    fn a_text_looks_like_a_list_by_its_first_entry() {
        for (text, expected) in [
            ("", true),
            ("# x\n\n", true),
            ("10.0.0.1\nnonsense", true),
            ("\n::1", true),
            ("key: value", false),
            ("SecRule ARGS \"@rx x\" \"id:1\"", false),
        ] {
            assert_eq!(looks_like_a_list(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_was_packed_unpacks_to_the_smallest_list_of_the_same_addresses() {
        for (list, smallest) in [
            (vec![], vec![]),
            (vec!["0.0.0.0/0", "::/0"], vec!["0.0.0.0/0", "::/0"]),
            (vec!["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7/32"], vec!["10.0.0.0/23"]),
            (
                vec!["255.255.255.255/32", "0.0.0.0/32"],
                vec!["0.0.0.0/32", "255.255.255.255/32"],
            ),
            (
                vec!["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "::/128"],
                vec!["::/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
            ),
            (
                vec!["2001:db8::/32", "192.0.2.1/32"],
                vec!["192.0.2.1/32", "2001:db8::/32"],
            ),
        ] {
            assert_eq!(unpack(&pack(&nets(&list))).unwrap(), nets(&smallest), "{list:?}");
        }
    }

    #[test]
    fn random_lists_hold_the_same_addresses_packed() {
        let mut random = Random::new(11);
        for round in 0..200 {
            let list: Vec<IpNet> = (0..random.below(50))
                .map(|_| match random.below(2) {
                    0 => Ipv4Net::new((random.next() as u32).into(), random.below(33) as u8)
                        .unwrap()
                        .into(),
                    _ => {
                        let address = u128::from(random.next()) << 64 | u128::from(random.next());
                        Ipv6Net::new(address.into(), random.below(129) as u8).unwrap().into()
                    }
                })
                .collect();
            let mut smallest = IpNet::aggregate(&list);
            smallest.sort_unstable();
            assert_eq!(unpack(&pack(&list)).unwrap(), smallest, "round {round}");
        }
    }

    #[test]
    fn bytes_that_are_no_packed_list_are_an_error_or_a_small_list() {
        for bytes in [
            &b""[..],
            &[1],
            &[0x80],
            &[1, 33, 0],
            &[1, 8, 0x80, 0x02],
            &[0, 129, 0],
            &[2, 0, 0, 32, 0],
            &[0, 0, 0, 0, 0],
        ] {
            assert!(unpack(bytes).is_err(), "{bytes:?}");
        }
        let mut random = Random::new(3);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8 & 0xbf).collect();
            if let Ok(list) = unpack(&bytes) {
                assert!(list.len() <= bytes.len() && list.is_sorted());
            }
        }
    }

    #[test]
    fn a_million_scattered_addresses_take_little_and_are_all_found() {
        // An odd multiplier visits each value once, so no two are the same and few are neighbours.
        let address = |i: u32| i.wrapping_mul(2_654_435_761);
        let list: Vec<IpNet> = (0..1_000_000)
            .map(|i| Ipv4Net::from(std::net::Ipv4Addr::from(address(i))).into())
            .collect();
        let packed = pack(&list);
        assert!(packed.len() <= 3_200_000, "{}", packed.len());
        let set: AddressSet = unpack(&packed).unwrap().into_iter().collect();
        // A start and a length for each prefix and for each gap, and the index of the upper 16 bits.
        assert!(set.bytes() <= 10_300_000, "{}", set.bytes());
        // Within one value of the upper 16 bits: two edges for each of some fifteen addresses.
        assert!(set.most_steps() <= 7, "{}", set.most_steps());
        for i in 0..1_000_000 {
            assert!(set.contains(IpAddr::V4(address(i).into())).is_some(), "{i}");
        }
        let others = (1_000_000..2_000_000).filter(|i| set.contains(IpAddr::V4(address(*i).into())).is_some());
        assert_eq!(others.count(), 0);
    }
}
