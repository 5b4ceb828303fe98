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
pub(crate) use url::percent_decoded;

/// A transformation, by its SecLang name after `t:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are SecLang's own")]
#[non_exhaustive]
pub enum Transformation {
    Base64Decode,
    Base64DecodeExt,
    Base64Encode,
    CmdLine,
    CompressWhitespace,
    CssDecode,
    EscapeSeqDecode,
    HexDecode,
    HexEncode,
    HtmlEntityDecode,
    JsDecode,
    Length,
    Lowercase,
    Md5,
    NormalizePath,
    NormalizePathWin,
    ParityEven7bit,
    ParityOdd7bit,
    ParityZero7bit,
    RemoveComments,
    RemoveCommentsChar,
    RemoveNulls,
    RemoveWhitespace,
    ReplaceComments,
    ReplaceNulls,
    Sha1,
    SqlHexDecode,
    Trim,
    TrimLeft,
    TrimRight,
    Uppercase,
    UrlDecode,
    UrlDecodeUni,
    UrlEncode,
    Utf8ToUnicode,
}

impl Transformation {
    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::Base64Decode,
        Self::Base64DecodeExt,
        Self::Base64Encode,
        Self::CmdLine,
        Self::CompressWhitespace,
        Self::CssDecode,
        Self::EscapeSeqDecode,
        Self::HexDecode,
        Self::HexEncode,
        Self::HtmlEntityDecode,
        Self::JsDecode,
        Self::Length,
        Self::Lowercase,
        Self::Md5,
        Self::NormalizePath,
        Self::NormalizePathWin,
        Self::ParityEven7bit,
        Self::ParityOdd7bit,
        Self::ParityZero7bit,
        Self::RemoveComments,
        Self::RemoveCommentsChar,
        Self::RemoveNulls,
        Self::RemoveWhitespace,
        Self::ReplaceComments,
        Self::ReplaceNulls,
        Self::Sha1,
        Self::SqlHexDecode,
        Self::Trim,
        Self::TrimLeft,
        Self::TrimRight,
        Self::Uppercase,
        Self::UrlDecode,
        Self::UrlDecodeUni,
        Self::UrlEncode,
        Self::Utf8ToUnicode,
    ];

    /// By its name after `t:`, without regard to case. British spellings are known; `none` is not a transformation.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let canonical = if name.eq_ignore_ascii_case("normalisePath") {
            "normalizePath"
        } else if name.eq_ignore_ascii_case("normalisePathWin") {
            "normalizePathWin"
        } else {
            name
        };
        Self::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(canonical))
    }

    /// Its name after `t:`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base64Decode => "base64Decode",
            Self::Base64DecodeExt => "base64DecodeExt",
            Self::Base64Encode => "base64Encode",
            Self::CmdLine => "cmdLine",
            Self::CompressWhitespace => "compressWhitespace",
            Self::CssDecode => "cssDecode",
            Self::EscapeSeqDecode => "escapeSeqDecode",
            Self::HexDecode => "hexDecode",
            Self::HexEncode => "hexEncode",
            Self::HtmlEntityDecode => "htmlEntityDecode",
            Self::JsDecode => "jsDecode",
            Self::Length => "length",
            Self::Lowercase => "lowercase",
            Self::Md5 => "md5",
            Self::NormalizePath => "normalizePath",
            Self::NormalizePathWin => "normalizePathWin",
            Self::ParityEven7bit => "parityEven7bit",
            Self::ParityOdd7bit => "parityOdd7bit",
            Self::ParityZero7bit => "parityZero7bit",
            Self::RemoveComments => "removeComments",
            Self::RemoveCommentsChar => "removeCommentsChar",
            Self::RemoveNulls => "removeNulls",
            Self::RemoveWhitespace => "removeWhitespace",
            Self::ReplaceComments => "replaceComments",
            Self::ReplaceNulls => "replaceNulls",
            Self::Sha1 => "sha1",
            Self::SqlHexDecode => "sqlHexDecode",
            Self::Trim => "trim",
            Self::TrimLeft => "trimLeft",
            Self::TrimRight => "trimRight",
            Self::Uppercase => "uppercase",
            Self::UrlDecode => "urlDecode",
            Self::UrlDecodeUni => "urlDecodeUni",
            Self::UrlEncode => "urlEncode",
            Self::Utf8ToUnicode => "utf8toUnicode",
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

#[cfg(test)]
mod tests;
