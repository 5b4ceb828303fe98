//! How listeners are written on the command line: an address, and who speaks the PROXY protocol there.

use std::net::SocketAddr;

use breakwater_dataplane::Listen;

const PROXY_PROTOCOL: &str = "proxy-protocol";

/// Reads `ADDRESS[,proxy-protocol=NETWORK]…`, in clear text.
///
/// # Errors
/// What is wrong, and how it is written.
pub(super) fn clear(text: &str) -> Result<Listen, String> {
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or_default();
    let address: SocketAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is no address with a port, such as 0.0.0.0:8080 or [::]:8080"))?;
    let mut listen = Listen::from(address);
    for part in parts {
        let Some((PROXY_PROTOCOL, network)) = part.split_once('=') else {
            return Err(format!(
                "`{part}` is no option; the one there is: {PROXY_PROTOCOL}=10.0.0.0/8"
            ));
        };
        let network = network
            .parse()
            .or_else(|_| network.parse().map(std::net::IpAddr::into))
            .map_err(|_| format!("`{network}` is no network, such as 10.0.0.0/8, and no address"))?;
        listen.proxy_protocol.push(network);
    }
    Ok(listen)
}

/// The same, with TLS.
///
/// # Errors
/// What is wrong, and how it is written.
pub(super) fn tls(text: &str) -> Result<Listen, String> {
    Ok(Listen {
        tls: true,
        ..clear(text)?
    })
}

/// Reads an address for other nodes.
///
/// # Errors
/// As [`clear`]; nodes send no PROXY header.
pub(super) fn peer(text: &str) -> Result<Listen, String> {
    let listen = clear(text)?;
    if !listen.proxy_protocol.is_empty() {
        return Err("nodes connect to each other without a PROXY header: leave the option out".to_owned());
    }
    Ok(Listen { peer: true, ..listen })
}

/// As a URL, for the line that says what is served.
pub(super) fn url(listen: &Listen) -> String {
    let scheme = match listen {
        Listen { peer: true, .. } => "peer",
        Listen { tls: true, .. } => "https",
        _ => "http",
    };
    format!("{scheme}://{}", listen.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_name_who_speaks_the_proxy_protocol() {
        let plain = clear("0.0.0.0:8080").unwrap();
        assert_eq!((plain.tls, plain.proxy_protocol.len()), (false, 0));
        let proxied = tls("[::]:8443,proxy-protocol=10.0.0.0/8,proxy-protocol=192.0.2.1").unwrap();
        assert_eq!(url(&proxied), "https://[::]:8443");
        let networks: Vec<_> = proxied.proxy_protocol.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32"]);
    }

    #[test]
    fn nodes_have_an_address_of_their_own_and_send_no_proxy_header() {
        assert_eq!(url(&peer("0.0.0.0:8602").unwrap()), "peer://0.0.0.0:8602");
        assert!(
            peer("0.0.0.0:8602,proxy-protocol=10.0.0.0/8")
                .unwrap_err()
                .contains("without a PROXY header")
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("8080", "`8080` is no address"),
            ("0.0.0.0:8080,tls", "`tls` is no option"),
            ("0.0.0.0:8080,proxy-protocol=lan", "`lan` is no network"),
            ("0.0.0.0:8080,proxy-protocol", "is no option"),
        ] {
            let error = clear(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
