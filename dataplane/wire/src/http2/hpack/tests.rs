//! The examples of RFC 7541 appendix C.

use super::decode::{Decoder, Sink};
use super::{HpackError, encode, integer};
use crate::http2::field::Class;

#[derive(Default)]
struct List(Vec<(String, String)>);

impl Sink for List {
    fn field(&mut self, name: &[u8], value: &[u8], class: Class) {
        assert_eq!(class, Class::of(name, value));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.0.push((text(name), text(value)));
    }
}

fn decode(decoder: &mut Decoder, hex: &str) -> Result<String, HpackError> {
    let digits: Vec<_> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let text = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ascii"), 16).expect("hex");
    let block: Vec<u8> = digits.chunks(2).map(text).collect();
    let mut list = List::default();
    decoder.decode(&block, &mut Vec::new(), &mut list)?;
    Ok(list
        .0
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" "))
}

#[test]
fn requests_without_huffman_coding_decode_over_one_table() {
    let mut decoder = Decoder::default();
    let first = ":method=GET :scheme=http :path=/ :authority=www.example.com";
    let block = "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
    assert_eq!(decode(&mut decoder, block).as_deref(), Ok(first));
    let second = format!("{first} cache-control=no-cache");
    assert_eq!(
        decode(&mut decoder, "8286 84be 5808 6e6f 2d63 6163 6865").as_deref(),
        Ok(&second[..])
    );
    let third = ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value";
    let block = "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65";
    assert_eq!(decode(&mut decoder, block).as_deref(), Ok(third));
}

#[test]
fn requests_with_huffman_coding_decode_over_one_table() {
    let mut decoder = Decoder::default();
    let first = ":method=GET :scheme=http :path=/ :authority=www.example.com";
    let block = "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff";
    assert_eq!(decode(&mut decoder, block).as_deref(), Ok(first));
    let second = format!("{first} cache-control=no-cache");
    assert_eq!(
        decode(&mut decoder, "8286 84be 5886 a8eb 1064 9cbf").as_deref(),
        Ok(&second[..])
    );
    let third = ":method=GET :scheme=https :path=/index.html :authority=www.example.com custom-key=custom-value";
    let block = "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf";
    assert_eq!(decode(&mut decoder, block).as_deref(), Ok(third));
}

#[test]
fn integers_are_read_as_they_are_written() {
    for bits in 4..=7 {
        for value in [
            0,
            1,
            14,
            15,
            30,
            31,
            126,
            127,
            128,
            254,
            255,
            1337,
            16_384,
            2_097_151,
            1 << 24,
        ] {
            let mut out = Vec::new();
            integer::write(&mut out, 0, bits, value);
            let mut input = &out[..];
            assert_eq!(integer::read(&mut input, bits), Ok(value as u32));
            assert!(input.is_empty());
            let mut short = &out[..out.len() - 1];
            assert_eq!(integer::read(&mut short, bits), Err(HpackError::Truncated));
        }
    }
    let mut out = Vec::new();
    integer::write(&mut out, 0, 5, 1337);
    assert_eq!(out, [0x1f, 0x9a, 0x0a]);
}

#[test]
fn integers_that_are_too_large_or_too_long_are_refused() {
    for bytes in [
        &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f][..],
        &[0x1f, 0x80, 0x80, 0x80, 0x80, 0],
        &[0x1f, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let mut input = bytes;
        assert_eq!(integer::read(&mut input, 5), Err(HpackError::Integer));
    }
}

#[test]
fn what_is_encoded_decodes() {
    let mut block = Vec::new();
    encode::status(&mut block, *b"418");
    encode::field(&mut block, b"content-type", b"text/plain");
    encode::field(
        &mut block,
        b"x-a-name-that-is-longer-than-any-in-the-static-table",
        &[b'v'; 300],
    );
    encode::field(&mut block, b"set-cookie", b"a=b");
    let mut list = List::default();
    let decoded = Decoder::default().decode(&block, &mut Vec::new(), &mut list);
    assert_eq!(decoded, Ok(()));
    let names: Vec<_> = list.0.iter().map(|(name, _)| &name[..]).collect();
    let long = "x-a-name-that-is-longer-than-any-in-the-static-table";
    assert_eq!(names, [":status", "content-type", long, "set-cookie"]);
    assert_eq!(list.0[0].1, "418");
    assert_eq!(list.0[2].1.len(), 300);
}
