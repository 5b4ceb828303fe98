//! HTTP-date (RFC 9110 section 5.6.7): exactly its three forms, and nothing like them.
//!
//! Names and `GMT` are compared without regard to case. The day name must be one, but need not be the right
//! one. Rendering is [`crate::http1::encode::imf_fixdate`].

const DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// Parses a date to unix seconds; dates before 1970 give 0. `now` (unix seconds) settles the century of a
/// two-digit year: more than 50 years ahead is in the past.
#[must_use]
pub fn parse(value: &[u8], now: u64) -> Option<u64> {
    imf_fixdate(value)
        .or_else(|| rfc850(value, now))
        .or_else(|| asctime(value))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(value: &[u8]) -> Option<u64> {
    let (day_name, rest) = value.split_at_checked(3)?;
    short_day(day_name)?;
    let rest = rest.strip_prefix(b", ")?;
    let [d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4, b' ', rest @ ..] = rest else {
        return None;
    };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    let time = rest.split_at_checked(8)?;
    zone(time.1)?;
    seconds(year, month(&[*m1, *m2, *m3])?, number(&[*d1, *d2])?, clock(time.0)?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(value: &[u8], now: u64) -> Option<u64> {
    let comma = value.iter().position(|&b| b == b',')?;
    let (day_name, rest) = value.split_at_checked(comma)?;
    DAYS.iter().find(|day| day.as_bytes().eq_ignore_ascii_case(day_name))?;
    let rest = rest.strip_prefix(b", ")?;
    let [d1, d2, b'-', m1, m2, m3, b'-', y1, y2, b' ', rest @ ..] = rest else {
        return None;
    };
    let (month, day) = (month(&[*m1, *m2, *m3])?, number(&[*d1, *d2])?);
    let time = rest.split_at_checked(8)?;
    zone(time.1)?;
    let clock = clock(time.0)?;
    let this_year = year_of(now);
    let mut year = this_year - this_year % 100 + number(&[*y1, *y2])?;
    if year > this_year + 50 {
        year -= 100;
    }
    seconds(year, month, day, clock)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(value: &[u8]) -> Option<u64> {
    let [w1, w2, w3, b' ', m1, m2, m3, b' ', d1, d2, b' ', rest @ ..] = value else {
        return None;
    };
    short_day(&[*w1, *w2, *w3])?;
    let day = if *d1 == b' ' {
        number(&[*d2])?
    } else {
        number(&[*d1, *d2])?
    };
    let (time, year) = rest.split_at_checked(8)?;
    let year = year.strip_prefix(b" ").filter(|year| year.len() == 4)?;
    seconds(number(year)?, month(&[*m1, *m2, *m3])?, day, clock(time)?)
}

fn short_day(name: &[u8]) -> Option<()> {
    DAYS.iter()
        .any(|day| {
            day.as_bytes()
                .get(..3)
                .is_some_and(|day| day.eq_ignore_ascii_case(name))
        })
        .then_some(())
}

fn month(name: &[u8]) -> Option<u64> {
    MONTHS
        .iter()
        .zip(1..)
        .find(|(month, _)| month.as_bytes().eq_ignore_ascii_case(name))
        .map(|(_, number)| number)
}

fn zone(text: &[u8]) -> Option<()> {
    text.eq_ignore_ascii_case(b" GMT").then_some(())
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// `08:49:37` in seconds; 60 is a leap second.
fn clock(text: &[u8]) -> Option<u64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else {
        return None;
    };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn seconds(year: u64, month: u64, day: u64, clock: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_in_month = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day == 0 || day > days_in_month {
        return None;
    }
    if year < 1970 {
        return Some(0);
    }
    // Days since 0000-03-01, so that the leap day is the last of its year.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400 + clock)
}

fn year_of(unix_seconds: u64) -> u64 {
    let days = unix_seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // The computed year starts in March; January and February belong to the next one.
    era * 400 + year_of_era + u64::from(day_of_year >= 306)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::encode::imf_fixdate as render;

    const NOW: u64 = 1_800_000_000;

    fn at(text: &str) -> Option<u64> {
        parse(text.as_bytes(), NOW)
    }

    #[test]
    fn the_three_forms_are_the_same_instant() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 NOV 1994 08:49:37 gmt",
        ] {
            assert_eq!(at(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn what_resembles_a_date_is_none() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 31 Feb 2024 08:49:37 GMT",
            "Sun, 00 Jan 2024 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Xxx, 06 Nov 1994 08:49:37 GMT",
            "0",
            "",
            "-1",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn a_two_digit_year_more_than_fifty_years_ahead_is_in_the_past() {
        // NOW is in 2027.
        assert_eq!(
            at("Friday, 01-Jan-77 00:00:00 GMT"),
            at("Fri, 01 Jan 2077 00:00:00 GMT")
        );
        assert_eq!(
            at("Friday, 01-Jan-78 00:00:00 GMT"),
            at("Fri, 01 Jan 1978 00:00:00 GMT")
        );
    }

    #[test]
    fn rendered_dates_parse_to_the_same_second() {
        for time in [
            0,
            1,
            951_782_399,
            951_782_400,
            951_868_799,
            1_709_164_800,
            NOW,
            4_102_444_800,
            253_402_300_799,
        ] {
            assert_eq!(parse(&render(time), NOW), Some(time));
        }
        assert_eq!(at("Wed, 31 Dec 1969 23:59:59 GMT"), Some(0));
    }
}
