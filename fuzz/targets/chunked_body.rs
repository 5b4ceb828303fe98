//! Chunked decoding, trailers included, does not depend on how the input is cut, and what it accepts can be encoded again.
#![no_main]

use breakwater_wire::http1::{BodyDecoder, BodyError, Framing, Trailers, encode};
use libfuzzer_sys::fuzz_target;

type Outcome = Result<(Vec<u8>, usize, bool, Vec<u8>), BodyError>;

fn decode(input: &[u8], mut step: impl FnMut() -> usize) -> Outcome {
    let (mut decoder, mut body, mut at) = (BodyDecoder::new(Framing::Chunked), Vec::new(), 0);
    let mut trailers = Vec::new();
    while at < input.len() && !decoder.is_done() {
        let window = &input[at..input.len().min(at.saturating_add(step().max(1)))];
        let decoded = decoder.decode(window)?;
        assert!(decoded.consumed > 0 && decoded.data.end <= decoded.consumed && decoded.consumed <= window.len());
        assert_eq!(decoded.done, decoder.is_done());
        body.extend_from_slice(&window[decoded.data]);
        trailers.extend_from_slice(&window[decoded.trailers]);
        at += decoded.consumed;
    }
    Ok((body, at, decoder.at_eof().is_ok(), trailers))
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, input)) = data.split_first() else {
        return;
    };
    let whole = decode(input, || usize::MAX);
    assert_eq!(decode(input, || 1), whole);
    let mut state = usize::from(seed);
    let random = decode(input, || {
        state = state.wrapping_mul(31).wrapping_add(7);
        state % 7
    });
    assert_eq!(random, whole);

    if let Ok((body, consumed, true, lines)) = whole {
        assert!(input[..consumed].ends_with(&lines) && lines.ends_with(b"\r\n"));
        let mut trailers = Trailers::default();
        trailers.push(&lines);
        assert!(trailers.into_fields().is_none_or(|fields| !fields.is_empty()));
        let mut written = Vec::new();
        encode::write_chunk_header(&mut written, body.len());
        if !body.is_empty() {
            written.extend_from_slice(&body);
            written.extend_from_slice(b"\r\n");
        }
        written.extend_from_slice(encode::LAST_CHUNK);
        let length = written.len();
        assert_eq!(decode(&written, || usize::MAX), Ok((body, length, true, b"\r\n".to_vec())));
    }
});
