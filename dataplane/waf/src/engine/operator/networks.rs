//! `@ipMatch`: networks.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks, separated by commas or white space: `10.0.0.0/8,::1`.
///
/// # Errors
/// Which is none.
pub(crate) fn networks<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Box<[IpNet]>, String> {
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty() && !part.starts_with('#'))
        .map(|part| {
            part.parse::<IpNet>()
                .or_else(|_| part.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| format!("`{part}` is not an address or a network"))
        })
        .collect()
}

/// Whether an address in text form is in one of the networks.
pub(crate) fn within(value: &[u8], networks: &[IpNet]) -> bool {
    let Some(address) = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.trim().parse::<IpAddr>().ok())
    else {
        return false;
    };
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_looked_up_in_networks() {
        let nets = networks("127.0.0.1,::1, 10.0.0.0/8".split(',')).unwrap();
        assert!(within(b"127.0.0.1", &nets));
        assert!(within(b"10.200.0.1", &nets));
        assert!(!within(b"127.0.0.2", &nets));
        assert!(!within(b"x", &nets));
        assert!(networks(std::iter::once("x")).is_err());
    }
}
