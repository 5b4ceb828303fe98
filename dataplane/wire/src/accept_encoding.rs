//! Accept-Encoding (RFC 9110 section 12.5.3): which content coding a response should have.

use crate::http1::fields::{list_members, trim_ows};

/// Most codings that may be offered.
pub const MAX_OFFERED: usize = 8;

/// The weight of what is not named but acceptable: below everything that is.
const UNNAMED: u16 = 0;

/// Which of the `offered` codings a client wants most; none is identity. `lines` are all lines of the field.
///
/// The highest weight wins. Among equals an offered coding goes before identity, and an earlier one before a later one.
/// A client that sends no such field, or an empty one, gets identity: it may take anything, but it may also be too old
/// to know. Identity is also the answer to a client that accepts nothing we have, as the alternative is no answer.
/// A member with a malformed weight is passed over, `x-gzip` is `gzip`. Offers beyond [`MAX_OFFERED`] are not looked at.
#[must_use]
pub fn choose<'v>(lines: impl IntoIterator<Item = &'v [u8]>, offered: &[&str]) -> Option<usize> {
    let mut weights: [Option<u16>; MAX_OFFERED] = [None; MAX_OFFERED];
    let (mut identity, mut any) = (None, None);
    for member in lines.into_iter().flat_map(list_members) {
        let Some((coding, weight)) = weighted(member) else {
            continue;
        };
        let place = if coding == b"*" {
            Some(&mut any)
        } else if coding.eq_ignore_ascii_case(b"identity") {
            Some(&mut identity)
        } else {
            let coding = if coding.eq_ignore_ascii_case(b"x-gzip") {
                &b"gzip"[..]
            } else {
                coding
            };
            let at = offered
                .iter()
                .position(|name| name.as_bytes().eq_ignore_ascii_case(coding));
            at.and_then(|at| weights.get_mut(at))
        };
        if let Some(place) = place {
            *place = (*place).max(Some(weight));
        }
    }
    let mut best = (None, identity.or(any).unwrap_or(UNNAMED));
    for (at, weight) in weights.iter().enumerate().take(offered.len()) {
        let weight = weight.or(any).unwrap_or(0);
        if weight > best.1 || (weight == best.1 && weight > 0 && best.0.is_none()) {
            best = (Some(at), weight);
        }
    }
    best.0
}

/// A coding, in any case, and its weight in thousandths; none if it is malformed.
#[must_use]
pub fn weighted(member: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = member.split(|b| *b == b';').map(trim_ows);
    let coding = parts.next()?;
    let mut weight = 1000;
    for parameter in parts {
        if let [b'q' | b'Q', b'=', value @ ..] = parameter {
            weight = thousandths(value)?;
        }
    }
    Some((coding, weight))
}

/// `qvalue` (RFC 9110 section 12.4.2).
fn thousandths(value: &[u8]) -> Option<u16> {
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let fraction = (0..3).fold(0, |sum, at| {
        sum * 10 + digits.get(at).map_or(0, |digit| u16::from(digit - b'0'))
    });
    match whole {
        b'0' => Some(fraction),
        b'1' if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 3] = ["zstd", "br", "gzip"];

    fn chosen(lines: &[&str]) -> Option<&'static str> {
        choose(lines.iter().map(|line| line.as_bytes()), &OFFERED).map(|at| OFFERED[at])
    }

    #[test]
    fn the_first_offered_of_those_a_client_likes_best() {
        assert_eq!(chosen(&["gzip, deflate, br, zstd"]), Some("zstd"));
        assert_eq!(chosen(&["gzip, deflate, br"]), Some("br"));
        assert_eq!(chosen(&["gzip"]), Some("gzip"));
        assert_eq!(chosen(&["GZip"]), Some("gzip"));
        assert_eq!(chosen(&["x-gzip"]), Some("gzip"));
        assert_eq!(chosen(&["gzip", "br"]), Some("br"), "lines are one list");
    }

    #[test]
    fn weights_go_before_our_order() {
        assert_eq!(chosen(&["zstd;q=0.5, br;q=0.8, gzip ; Q=0.9"]), Some("gzip"));
        assert_eq!(chosen(&["zstd;q=0.501, br;q=0.50"]), Some("zstd"));
        assert_eq!(
            chosen(&["gzip;q=0.001"]),
            Some("gzip"),
            "what is named goes before what is not"
        );
    }

    #[test]
    fn zero_is_a_refusal() {
        assert_eq!(chosen(&["zstd;q=0, br;q=0.0, gzip;q=0.000"]), None);
        assert_eq!(chosen(&["zstd;q=0, *"]), Some("br"));
        assert_eq!(chosen(&["identity;q=0, gzip;q=0.1"]), Some("gzip"));
        assert_eq!(chosen(&["identity;q=0"]), None, "nothing else was accepted");
    }

    #[test]
    fn a_star_is_every_coding_that_is_not_named_and_identity_too() {
        assert_eq!(chosen(&["*"]), Some("zstd"));
        assert_eq!(chosen(&["*;q=0"]), None);
        assert_eq!(chosen(&["identity;q=1, *;q=0"]), None);
        assert_eq!(chosen(&["*;q=0.5, gzip;q=0.7"]), Some("gzip"));
        assert_eq!(
            chosen(&["zstd;q=0, br;q=0, *;q=0.5, gzip;q=0.3"]),
            None,
            "identity has 0.5"
        );
    }

    #[test]
    fn identity_wins_where_it_is_preferred() {
        assert_eq!(chosen(&["identity, gzip;q=0.5"]), None);
        assert_eq!(chosen(&["identity, gzip"]), Some("gzip"));
        assert_eq!(chosen(&["identity;q=0.5, gzip;q=0.5"]), Some("gzip"));
    }

    #[test]
    fn nothing_said_nothing_known_and_nothing_sensible_are_identity() {
        for lines in [
            &[][..],
            &[""],
            &["deflate"],
            &["compress, dcb"],
            &["gzip;q=2"],
            &["gzip;q=1.5"],
            &["gzip;q=0.0001"],
            &["gzip;q="],
            &["gzip;q=a"],
            &["gzip;q=-1"],
            &[", ;q=1,;"],
        ] {
            assert_eq!(chosen(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn other_parameters_do_not_matter() {
        assert_eq!(chosen(&["gzip;level=9;q=0.5"]), Some("gzip"));
    }

    #[test]
    fn offers_beyond_the_limit_are_not_looked_at() {
        let offered = ["a", "b", "c", "d", "e", "f", "g", "h", "gzip"];
        assert_eq!(choose([&b"gzip"[..]], &offered), None);
        assert_eq!(choose([&b"*"[..]], &offered), Some(0));
    }
}
