//! Trailer fields of a chunked body (RFC 9112 section 7.1.2), for those who pass them on.
//!
//! Invariant: they are read by the decoder's rules, stay apart from the head's fields, and are few. What may go on is
//! [`strip_trailers`](crate::hop::strip_trailers)'s to say.

use http::HeaderMap;

use super::Fields;

/// Most fields of a section; one with more is passed over.
const MAX_FIELDS: usize = 100;

/// The trailer section of one body, put together from what [`Decoded::trailers`](super::Decoded::trailers) shows.
#[derive(Debug, Clone, Default)]
pub struct Trailers(Vec<u8>);

impl Trailers {
    /// A piece of it. The decoder bounds their sum ([`MAX_TRAILERS`](super::body::MAX_TRAILERS)).
    pub fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    /// The fields, once the body is complete. None when there are none, or more than anybody needs.
    #[must_use]
    pub fn into_fields(self) -> Option<HeaderMap> {
        let fields = Fields::over(self.0.strip_suffix(b"\r\n")?);
        let count = fields.clone().count();
        (1..=MAX_FIELDS).contains(&count).then(|| fields.to_map().ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{BodyDecoder, Framing};

    /// The trailers of a body that is given in pieces of so many bytes.
    fn trailers(body: &str, step: usize) -> Option<HeaderMap> {
        let (mut decoder, mut trailers, mut rest) =
            (BodyDecoder::new(Framing::Chunked), Trailers::default(), body.as_bytes());
        while !rest.is_empty() {
            let window = &rest[..rest.len().min(step)];
            let decoded = decoder.decode(window).expect("a body");
            trailers.push(&window[decoded.trailers]);
            rest = &rest[decoded.consumed..];
        }
        assert!(decoder.is_done());
        trailers.into_fields()
    }

    #[test]
    fn trailers_are_the_same_however_the_body_is_cut() {
        let body = "5\r\nhello\r\n0\r\nGrpc-Status: 0\r\nx-sum:  a b \r\nX-Sum: c\r\n\r\n";
        for step in 1..=body.len() {
            let fields = trailers(body, step).expect("trailers");
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes()))
                .collect();
            let expected: [(&str, &[u8]); 3] = [("grpc-status", b"0"), ("x-sum", b"a b"), ("x-sum", b"c")];
            assert_eq!(fields, expected, "in pieces of {step}");
        }
    }

    #[test]
    fn a_body_without_trailers_has_none_and_one_with_too_many_neither() {
        assert!(trailers("0\r\n\r\n", 100).is_none());
        let of = |count| format!("0\r\n{}\r\n", "a: 1\r\n".repeat(count));
        assert_eq!(
            trailers(&of(MAX_FIELDS), 1000).map(|fields| fields.len()),
            Some(MAX_FIELDS)
        );
        assert!(trailers(&of(MAX_FIELDS + 1), 1000).is_none());
    }
}
