//! Numbers for `@eq`, `@ge`, `@gt`, `@le`, `@lt`, and the check digits of `@verifyCC`, `@verifySSN` and `@verifyCPF`.

/// The number that `text` begins with, after whitespace and a sign, in decimal; 0 where it begins with none.
///
/// What does not fit is the nearest that does. (ModSecurity 3 takes more than 31 bits for 0, which would let a large
/// number pass below a limit.)
#[must_use]
pub fn parse_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    let values = digits.iter().map_while(|&digit| value(digit)).map(i64::from);
    let number = values.fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(digit));
    if negative { -number } else { number }
}

/// Whether the digits of `candidate` end with the check digit of a payment card (Luhn, ISO/IEC 7812). What is no digit
/// is left out.
#[must_use]
pub fn is_card_number(candidate: &[u8]) -> bool {
    let mut sum = 0_u64;
    let mut count = 0_usize;
    for digit in candidate.iter().rev().filter_map(|&byte| value(byte)) {
        let weighted = match (count % 2, digit) {
            (0, digit) => digit,
            (_, 0..=4) => digit * 2,
            _ => digit * 2 - 9,
        };
        sum += u64::from(weighted);
        count += 1;
    }
    count > 0 && sum.is_multiple_of(10)
}

/// Whether `candidate` has the nine digits of a social security number of the United States: no field of zeros, no area
/// 666 or from 740 on, and not all digits alike or in sequence.
#[must_use]
pub fn is_ssn(candidate: &[u8]) -> bool {
    let Some(digits) = digits::<9>(candidate) else {
        return false;
    };
    let pairs = || {
        digits
            .windows(2)
            .map(|pair| (pair.first().copied(), pair.last().copied()))
    };
    let alike = pairs().all(|(first, second)| first == second);
    let sequence = pairs().all(|(first, second)| first.map(|digit| digit + 1) == second);
    let number = |digits: &[u8]| digits.iter().fold(0_u32, |sum, &digit| sum * 10 + u32::from(digit));
    let (area, rest) = digits.split_at(3);
    let (group, serial) = rest.split_at(2);
    let area = number(area);
    !alike && !sequence && (1..740).contains(&area) && area != 666 && number(group) != 0 && number(serial) != 0
}

/// Whether `candidate` has the eleven digits of a Brazilian taxpayer's number with both check digits right.
#[must_use]
pub fn is_cpf(candidate: &[u8]) -> bool {
    let Some(digits) = digits::<11>(candidate) else {
        return false;
    };
    let [first, ..] = digits;
    let counting = digits
        .iter()
        .enumerate()
        .all(|(at, &digit)| usize::from(digit) == at % 10);
    if digits.iter().all(|&digit| digit == first) || counting {
        return false;
    }
    let check = |count: usize| {
        let weights = (2..).take(count).collect::<Vec<u32>>();
        let sum: u32 = digits
            .iter()
            .zip(weights.iter().rev())
            .map(|(&digit, weight)| u32::from(digit) * weight)
            .sum();
        if sum % 11 < 2 { 0 } else { 11 - sum % 11 }
    };
    let [.., tenth, eleventh] = digits;
    check(9) == u32::from(tenth) && check(10) == u32::from(eleventh)
}

/// The digits of `candidate`, if there are `N`.
fn digits<const N: usize>(candidate: &[u8]) -> Option<[u8; N]> {
    let mut digits = [0; N];
    let mut found = candidate.iter().filter_map(|&byte| value(byte));
    for place in &mut digits {
        *place = found.next()?;
    }
    found.next().is_none().then_some(digits)
}

fn value(digit: u8) -> Option<u8> {
    digit.is_ascii_digit().then(|| digit - b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_a_text_begins_with() {
        let cases = [
            ("5", 5),
            (" \t-12abc", -12),
            ("+7.9", 7),
            ("", 0),
            ("abc", 0),
            ("--1", 0),
            ("0x10", 0),
            ("4294967296", 4_294_967_296),
            ("99999999999999999999", i64::MAX),
            ("-99999999999999999999", -i64::MAX),
        ];
        for (text, number) in cases {
            assert_eq!(parse_number(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn card_numbers_have_luhns_check_digit() {
        for good in ["4111 1111 1111 1111", "5484605089158216", "79927398713", "0"] {
            assert!(is_card_number(good.as_bytes()), "{good}");
        }
        for bad in ["4111 1111 1111 1112", "79927398710", "", "abc", "1"] {
            assert!(!is_card_number(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn social_security_numbers_have_three_fields_that_are_not_zero() {
        for good in ["123-11-5567", "739 01 0001"] {
            assert!(is_ssn(good.as_bytes()), "{good}");
        }
        for bad in [
            "123456789",
            "111111111",
            "666-11-5567",
            "740-11-5567",
            "000-11-5567",
            "123-00-5567",
            "123-11-0000",
            "12-11-5567",
            "1234-11-5567",
        ] {
            assert!(!is_ssn(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_brazilian_taxpayers_number_has_two_check_digits() {
        for good in ["529.982.247-25", "11144477735"] {
            assert!(is_cpf(good.as_bytes()), "{good}");
        }
        for bad in [
            "529.982.247-26",
            "52998224735",
            "111.111.111-11",
            "01234567890",
            "5299822472",
            "",
        ] {
            assert!(!is_cpf(bad.as_bytes()), "{bad}");
        }
    }
}
