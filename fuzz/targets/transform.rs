//! A transformation's outcome is borrowed exactly where it changes nothing, is at most four times as long (or a digest),
//! and those that only take away have nothing left to take. The first byte chooses.
#![no_main]

use std::borrow::Cow;

use breakwater_waf::transform::Transformation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, input)) = data.split_first() else {
        return;
    };
    let transformation = Transformation::ALL[usize::from(choice) % Transformation::ALL.len()];
    let output = transformation.apply(input);
    assert!(
        output.len() <= input.len().saturating_mul(4).max(20),
        "{transformation:?}"
    );
    let trims = matches!(
        transformation,
        Transformation::Trim | Transformation::TrimLeft | Transformation::TrimRight
    );
    let borrowed = matches!(output, Cow::Borrowed(_));
    assert!(
        if trims {
            borrowed
        } else {
            borrowed == (*output == *input)
        },
        "{transformation:?}"
    );
    let settles = trims
        || matches!(
            transformation,
            Transformation::CmdLine
                | Transformation::CompressWhitespace
                | Transformation::Lowercase
                | Transformation::ParityZero7bit
                | Transformation::RemoveNulls
                | Transformation::RemoveWhitespace
                | Transformation::ReplaceComments
                | Transformation::ReplaceNulls
                | Transformation::Uppercase
        );
    if settles {
        assert_eq!(transformation.apply(&output), output, "{transformation:?}");
    }
    if transformation == Transformation::UrlEncode {
        assert_eq!(*Transformation::UrlDecode.apply(&output), *input);
    }
    if matches!(transformation, Transformation::Base64Encode) {
        assert_eq!(*Transformation::Base64Decode.apply(&output), *input);
    }
    if matches!(transformation, Transformation::HexEncode) {
        assert_eq!(*Transformation::HexDecode.apply(&output), *input);
    }
});
