//! Content-Disposition of a part. Faults have ModSecurity's numbers, and those that it does not have go on behind them.
//!
//! `filename*` is no part of a form (RFC 7578 section 4.2), but clients send it beside `filename` and origins read it: it
//! is decoded, once, and a value that is no `ext-value` of RFC 8187 is a fault. `name*` and the numbered parameters of RFC
//! 2231 are faults as any parameter that a form does not have.

use super::MultipartFlags;
use crate::transform::percent_decoded;

#[derive(Default)]
pub(super) struct Disposition {
    pub(super) name: Vec<u8>,
    pub(super) filename: Option<Vec<u8>>,
    /// `filename*`, decoded, in UTF-8.
    pub(super) extended: Option<Vec<u8>>,
    /// Why the rest could not be read.
    pub(super) fault: Option<i8>,
}

pub(super) fn read(value: &[u8], flags: &mut MultipartFlags) -> Disposition {
    let mut disposition = Disposition::default();
    disposition.fault = parameters(value, &mut disposition, flags).err();
    disposition
}

fn parameters(value: &[u8], disposition: &mut Disposition, flags: &mut MultipartFlags) -> Result<(), i8> {
    let mut rest = skip_blanks(value.strip_prefix(b"form-data").ok_or(-1)?);
    rest = match rest {
        [] => return Ok(()),
        [b';', tail @ ..] => tail,
        _ => return Err(-2),
    };
    while !rest.is_empty() {
        let (name, tail) = parameter_name(rest)?;
        let (text, quote, tail) = match (name, tail) {
            (b"filename*", _) => {
                let read = extended(tail);
                flags.invalid_part |= read.is_err();
                read?
            }
            (_, [quote @ (b'"' | b'\''), tail @ ..]) => {
                flags.invalid_quoting |= *quote == b'\'';
                quoted(*quote, tail)?
            }
            _ => {
                let (text, tail) = tail.split_at(tail.iter().take_while(|&&byte| is_token(byte)).count());
                (text.to_vec(), None, tail)
            }
        };
        // In double quotes a single one is an ordinary character.
        let odd = quote != Some(b'"') && text.contains(&b'\'');
        match name {
            b"name" => {
                flags.invalid_quoting |= odd;
                if !disposition.name.is_empty() {
                    return Err(-14);
                }
                disposition.name = text;
            }
            b"filename" => {
                flags.invalid_quoting |= odd;
                if disposition.filename.as_ref().is_some_and(|known| !known.is_empty()) {
                    return Err(-15);
                }
                disposition.filename = Some(text);
            }
            b"filename*" if disposition.extended.is_some() => return Err(-20),
            b"filename*" => disposition.extended = Some(text),
            _ => return Err(-11),
        }
        let tail_start = skip_blanks(tail);
        rest = match tail_start {
            [] => break,
            [b';', tail @ ..] => tail,
            _ => {
                let before = value
                    .len()
                    .checked_sub(tail_start.len() + 1)
                    .and_then(|at| value.get(at));
                flags.invalid_quoting |= matches!(before, Some(b'"' | b'\''));
                return Err(-12);
            }
        };
    }
    // To an origin that does not know it the part is a field, to another a file.
    if disposition.extended.is_some() && disposition.filename.as_ref().is_none_or(Vec::is_empty) {
        return Err(-21);
    }
    Ok(())
}

/// A name, and what follows its `=`.
fn parameter_name(rest: &[u8]) -> Result<(&[u8], &[u8]), i8> {
    let rest = skip_blanks(rest);
    if rest.is_empty() {
        return Err(-3);
    }
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'=' | b'\t' | b' '))
        .ok_or(-4)?;
    let (name, tail) = rest.split_at(end);
    match skip_blanks(tail) {
        [] => Err(-5),
        [b'=', tail @ ..] => match skip_blanks(tail) {
            [] => Err(-6),
            tail => Ok((name, tail)),
        },
        _ => Err(-13),
    }
}

/// A value, the quote around it, and what follows.
type Value<'v> = (Vec<u8>, Option<u8>, &'v [u8]);

/// A value whose opening quote was read. (Where there is no other, ModSecurity 3 reads on behind the value's end.)
fn quoted(quote: u8, mut rest: &[u8]) -> Result<Value<'_>, i8> {
    if rest.is_empty() {
        return Err(-7);
    }
    let mut text = Vec::new();
    loop {
        rest = match rest {
            [] => return Err(-10),
            [b'\\'] => return Err(-8),
            [b'\\', escaped, tail @ ..] if *escaped == quote || *escaped == b'\\' => {
                text.push(*escaped);
                tail
            }
            [byte, tail @ ..] if *byte == quote => return Ok((text, Some(quote), tail)),
            [byte, tail @ ..] => {
                text.push(*byte);
                tail
            }
        };
    }
}

/// `charset'language'text` of RFC 8187, the text decoded. It is no longer than its header, which is bounded.
fn extended(rest: &[u8]) -> Result<Value<'_>, i8> {
    let charset = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&+-^_`{}~".contains(byte);
    let (charset, rest) = rest.split_at(rest.iter().take_while(charset).count());
    let [b'\'', language @ ..] = rest else { return Err(-16) };
    if charset.is_empty() {
        return Err(-16);
    }
    let end = memchr::memchr(b'\'', language).ok_or(-17)?;
    let text = language.get(end + 1..).unwrap_or_default();
    let mut rest = text;
    loop {
        rest = match rest {
            [] | [b';', ..] => break,
            [b'%', a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => tail,
            [b'%', ..] => return Err(-18),
            [byte, tail @ ..] if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`~".contains(byte) => tail,
            _ => return Err(-19),
        };
    }
    let (value, _) = text.split_at(text.len() - rest.len());
    Ok((decoded(charset, value)?, None, rest))
}

/// The text in UTF-8. What a header cannot hold as it is, it may not hold encoded either, and no text at all would say that
/// the part is no file.
fn decoded(charset: &[u8], text: &[u8]) -> Result<Vec<u8>, i8> {
    let bytes = percent_decoded(text);
    let decoded = if charset.eq_ignore_ascii_case(b"utf-8") {
        std::str::from_utf8(&bytes).map_err(|_| -23)?.to_owned()
    } else if charset.eq_ignore_ascii_case(b"iso-8859-1") {
        bytes.iter().map(|&byte| char::from(byte)).collect()
    } else {
        return Err(-22);
    };
    if decoded.is_empty() || decoded.contains(['\0', '\r', '\n']) {
        return Err(-24);
    }
    Ok(decoded.into_bytes())
}

fn skip_blanks(rest: &[u8]) -> &[u8] {
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    rest.split_at(blanks).1
}

/// RFC 2045, section 5.1.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}
