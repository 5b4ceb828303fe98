//! Transformations: what a rule does to a value before it tests it (`t:` in SecLang).
//!
//! Each does what ModSecurity 3 does, byte for byte, but where that is plainly a slip of its C (a value cut at a NUL, an
//! invalid character that empties a whole value): the module of each such case says so.
//!
//! Invariants: time and memory are linear in the value, whatever it holds; a value that comes out as it went in is
//! borrowed, after one pass over it.
//!
//! Left to the engine: chains of transformations, and that a chain is not run twice over one value.

mod base64;
mod blanks;
mod comments;
mod digits;
mod encodings;
mod escapes;
mod html;
mod path;
mod url;
mod utf8;

use std::borrow::Cow;

pub(crate) use blanks::is_space;
pub(crate) use digits::hex_pair;
pub(crate) use url::percent_decoded;

use crate::named::named;

named! {
    /// A transformation, by its SecLang name after `t:`. British spellings are known; `none` is not a transformation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    #[allow(missing_docs, reason = "the names are SecLang's own")]
    #[non_exhaustive]
    pub enum Transformation {
        Base64Decode = "base64Decode",
        Base64DecodeExt = "base64DecodeExt",
        Base64Encode = "base64Encode",
        CmdLine = "cmdLine",
        CompressWhitespace = "compressWhitespace",
        CssDecode = "cssDecode",
        EscapeSeqDecode = "escapeSeqDecode",
        HexDecode = "hexDecode",
        HexEncode = "hexEncode",
        HtmlEntityDecode = "htmlEntityDecode",
        JsDecode = "jsDecode",
        Length = "length",
        Lowercase = "lowercase",
        Md5 = "md5",
        NormalizePath = "normalizePath" | "normalisePath",
        NormalizePathWin = "normalizePathWin" | "normalisePathWin",
        ParityEven7bit = "parityEven7bit",
        ParityOdd7bit = "parityOdd7bit",
        ParityZero7bit = "parityZero7bit",
        RemoveComments = "removeComments",
        RemoveCommentsChar = "removeCommentsChar",
        RemoveNulls = "removeNulls",
        RemoveWhitespace = "removeWhitespace",
        ReplaceComments = "replaceComments",
        ReplaceNulls = "replaceNulls",
        Sha1 = "sha1",
        SqlHexDecode = "sqlHexDecode",
        Trim = "trim",
        TrimLeft = "trimLeft",
        TrimRight = "trimRight",
        Uppercase = "uppercase",
        UrlDecode = "urlDecode",
        UrlDecodeUni = "urlDecodeUni",
        UrlEncode = "urlEncode",
        Utf8ToUnicode = "utf8toUnicode",
    }
}

impl Transformation {
    /// How many times as long as a value what is made of it may be; a digest is counted as long as its value.
    pub(crate) const fn growth(self) -> usize {
        match self {
            Self::Base64Encode | Self::HexEncode => 2,
            Self::UrlEncode => 3,
            Self::Utf8ToUnicode => 4,
            _ => 1,
        }
    }

    /// The value after the transformation; borrowed where that changes nothing. Linear in time and memory.
    #[must_use]
    pub fn apply(self, input: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Base64Decode => base64::decode(input),
            Self::Base64DecodeExt => base64::decode_ext(input),
            Self::Base64Encode => base64::encode(input),
            Self::CmdLine => blanks::cmd_line(input),
            Self::CompressWhitespace => blanks::compress(input),
            Self::CssDecode => escapes::css(input),
            Self::EscapeSeqDecode => escapes::ansi_c(input),
            Self::HexDecode => encodings::hex_decode(input),
            Self::HexEncode => encodings::hex_encode(input),
            Self::HtmlEntityDecode => html::decode(input),
            Self::JsDecode => escapes::js(input),
            Self::Length => encodings::length(input),
            Self::Lowercase => encodings::lowercase(input),
            Self::Md5 => encodings::md5(input),
            Self::NormalizePath => path::normalize(input, false),
            Self::NormalizePathWin => path::normalize(input, true),
            Self::ParityEven7bit => encodings::parity(input, encodings::even),
            Self::ParityOdd7bit => encodings::parity(input, encodings::odd),
            Self::ParityZero7bit => encodings::parity(input, encodings::zero),
            Self::RemoveComments => comments::remove(input),
            Self::RemoveCommentsChar => comments::remove_marks(input),
            Self::RemoveNulls => blanks::remove_nulls(input),
            Self::RemoveWhitespace => blanks::remove(input),
            Self::ReplaceComments => comments::replace(input),
            Self::ReplaceNulls => blanks::replace_nulls(input),
            Self::Sha1 => encodings::sha1(input),
            Self::SqlHexDecode => encodings::sql_hex_decode(input),
            Self::Trim => Cow::Borrowed(blanks::trim_left(blanks::trim_right(input))),
            Self::TrimLeft => Cow::Borrowed(blanks::trim_left(input)),
            Self::TrimRight => Cow::Borrowed(blanks::trim_right(input)),
            Self::Uppercase => encodings::uppercase(input),
            Self::UrlDecode => url::decode(input),
            Self::UrlDecodeUni => url::decode_uni(input),
            Self::UrlEncode => url::encode(input),
            Self::Utf8ToUnicode => utf8::to_unicode(input),
        }
    }
}

/// `output`, or `input` where they are the same.
fn settle(input: &[u8], output: Vec<u8>) -> Cow<'_, [u8]> {
    if output == input {
        Cow::Borrowed(input)
    } else {
        Cow::Owned(output)
    }
}

/// Whether a test holds for any byte. A block at a time without a branch, which a compiler makes vectors of: most values
/// are looked at to the end and found to stay as they are.
fn any(input: &[u8], test: impl Fn(u8) -> bool) -> bool {
    let (blocks, rest) = input.as_chunks::<32>();
    let in_block = |block: &[u8]| block.iter().fold(false, |any, &byte| any | test(byte));
    blocks.iter().any(|block| in_block(block)) || in_block(rest)
}

/// Whether a test holds for any two bytes that stand together. As [`any`].
fn any_pair(input: &[u8], test: impl Fn(u8, u8) -> bool) -> bool {
    let (first, _) = input.split_at(input.len().saturating_sub(1));
    let second = input.get(1..).unwrap_or_default();
    let mut blocks = first.chunks(32).zip(second.chunks(32));
    blocks.any(|(first, second)| first.iter().zip(second).fold(false, |any, (&a, &b)| any | test(a, b)))
}

#[cfg(test)]
mod tests;
