use super::*;

/// A header of version 2: command, protocol, what follows the length.
fn v2(command: u8, protocol: u8, block: &[u8]) -> Vec<u8> {
    let mut header = V2_START.to_vec();
    header.extend([command, protocol]);
    header.extend((block.len() as u16).to_be_bytes());
    header.extend(block);
    header
}

const V4: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x9c, 0x40, 0x01, 0xbb];

fn source(bytes: &[u8]) -> Result<Option<String>, Error> {
    parse(bytes).map(|parsed| match parsed {
        Parsed::Partial => panic!("it is whole"),
        Parsed::Complete(header) => header.addresses.map(|a| a.source.to_string()),
    })
}

fn with_checksum(wrong: u32) -> Vec<u8> {
    let mut block = V4.to_vec();
    block.extend([0x05, 0, 2, b'i', b'd']);
    block.extend([CRC32C, 0, 4, 0, 0, 0, 0]);
    let mut header = v2(0x21, 0x11, &block);
    let mut crc = Crc32c::new();
    crc.update(&header);
    let at = header.len() - 4;
    header[at..].copy_from_slice(&(crc.finish() ^ wrong).to_be_bytes());
    header
}

#[test]
fn version_1_names_the_client_and_leaves_what_follows() {
    let bytes = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\nGET / HTTP/1.1\r\n";
    let Ok(Parsed::Complete(header)) = parse(bytes) else {
        panic!()
    };
    assert_eq!(&bytes[header.len..][..5], b"GET /");
    let addresses = header.addresses.unwrap();
    assert_eq!(addresses.source, "203.0.113.7:40000".parse().unwrap());
    assert_eq!(addresses.destination, "192.0.2.1:443".parse().unwrap());
    let six = source(b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n");
    assert_eq!(six, Ok(Some("[2001:db8::7]:1".to_owned())));
}

#[test]
fn a_proxy_that_knows_nothing_leaves_the_peer_as_it_is() {
    assert_eq!(source(b"PROXY UNKNOWN\r\n"), Ok(None));
    assert_eq!(source(b"PROXY UNKNOWN ff\xff x  y\r\n"), Ok(None));
    assert_eq!(source(&v2(0x20, 0x00, &[])), Ok(None), "LOCAL");
    assert_eq!(source(&v2(0x20, 0x11, &V4)), Ok(None), "LOCAL, addresses and all");
    assert_eq!(source(&v2(0x21, 0x00, &[])), Ok(None), "UNSPEC");
    assert_eq!(source(&v2(0x21, 0x31, &[0; V2_UNIX])), Ok(None), "Unix sockets");
}

#[test]
fn a_line_of_version_1_has_one_reading() {
    for (line, error) in [
        ("PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\n", Error::Addresses),
        ("PROXY TCP4 203.0.113.7  192.0.2.1 40000 443\r\n", Error::Addresses),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 40000 443 \r\n", Error::Addresses),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 40000\r\n", Error::Addresses),
        ("PROXY TCP4 203.0.113.007 192.0.2.1 40000 443\r\n", Error::Addresses),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 040000 443\r\n", Error::Addresses),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n", Error::Addresses),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 +1 443\r\n", Error::Addresses),
        ("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", Error::Addresses),
        ("PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n", Error::Addresses),
        ("PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n", Error::Protocol),
        ("PROXY UNKNOWNS\r\n", Error::Protocol),
        ("PROXY \r\n", Error::Protocol),
        ("proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n", Error::Missing),
        ("GET / HTTP/1.1\r\n", Error::Missing),
    ] {
        assert_eq!(source(line.as_bytes()), Err(error), "{line:?}");
    }
}

#[test]
fn version_2_names_the_client() {
    assert_eq!(source(&v2(0x21, 0x11, &V4)), Ok(Some("203.0.113.7:40000".to_owned())));
    let mut v6 = [0; 36];
    v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    v6[15] = 7;
    v6[33] = 80;
    assert_eq!(source(&v2(0x21, 0x21, &v6)), Ok(Some("[2001:db8::7]:80".to_owned())));
}

#[test]
fn version_2_is_refused_where_it_is_not_what_it_says() {
    for (header, error) in [
        (v2(0x11, 0x11, &V4), Error::Version),
        (v2(0x22, 0x11, &V4), Error::Version),
        (v2(0x21, 0x12, &V4), Error::Protocol),
        (v2(0x21, 0x41, &V4), Error::Protocol),
        (v2(0x21, 0x11, &V4[..11]), Error::Addresses),
        (v2(0x21, 0x21, &V4), Error::Addresses),
        (v2(0x21, 0x11, &[&V4[..], &[1, 0]].concat()), Error::Extensions),
        (v2(0x21, 0x11, &[&V4[..], &[1, 0, 2, 0]].concat()), Error::Extensions),
        (
            v2(0x21, 0x11, &[&V4[..], &[CRC32C, 0, 1, 0]].concat()),
            Error::Extensions,
        ),
        (v2(0x21, 0x11, &[&V4[..], &[0; TLVS_MAX + 1]].concat()), Error::TooLong),
        (v2(0x20, 0x11, &[0; V2_UNIX + TLVS_MAX + 1]), Error::TooLong),
    ] {
        assert_eq!(source(&header), Err(error), "{header:?}");
    }
}

#[test]
fn a_checksum_is_checked_when_there_is_one() {
    assert_eq!(source(&with_checksum(0)), Ok(Some("203.0.113.7:40000".to_owned())));
    assert_eq!(source(&with_checksum(1)), Err(Error::Checksum));
}

#[test]
fn every_beginning_of_a_header_is_partial() {
    for header in [
        b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n".to_vec(),
        v2(0x21, 0x11, &V4),
        with_checksum(0),
    ] {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Parsed::Partial), "{end} of {header:?}");
        }
    }
}

#[test]
fn a_line_that_never_ends_is_refused_at_the_protocols_limit() {
    let mut line = b"PROXY UNKNOWN ".to_vec();
    line.resize(V1_MAX - 1, b'x');
    assert_eq!(parse(&line), Ok(Parsed::Partial));
    line.push(b'x');
    assert_eq!(parse(&line), Err(Error::TooLong));
}
