//! Unix time as RFC 3339 in UTC with milliseconds.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

const DAY_MS: u64 = 86_400_000;

/// 9999-12-31T23:59:59.999Z: the last instant RFC 3339 can write.
const LAST_MS: u64 = 253_402_300_799_999;

/// A point in time that writes itself as `2026-01-02T03:04:05.678Z`. Years after 9999 are written as the end of 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rfc3339 {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.unix_ms.min(LAST_MS);
        let (year, month, day) = civil(ms / DAY_MS);
        let second = ms % DAY_MS / 1000;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1000
        )
    }
}

impl FromStr for Rfc3339 {
    type Err = ();

    /// Reads what [`fmt::Display`] writes, with any number of digits of a second's fraction, or none.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (whole, fraction) = match text.strip_suffix('Z').ok_or(())?.split_once('.') {
            Some((whole, fraction)) => (whole, fraction),
            None => (text.strip_suffix('Z').ok_or(())?, "0"),
        };
        let (date, time) = whole.split_once('T').ok_or(())?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        let mut ms = 0;
        for (digit, weight) in fraction.bytes().zip([100, 10, 1]) {
            ms += u64::from(digit - b'0') * weight;
        }
        let day = days(year, month, day).ok_or(())?;
        // A leap second is the one before it.
        if hour > 23 || minute > 59 || second > 60 {
            return Err(());
        }
        let second = second.min(59);
        Ok(Self {
            unix_ms: day * DAY_MS + (hour * 3600 + minute * 60 + second) * 1000 + ms,
        })
    }
}

/// Three numbers of so many digits.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Result<[u64; 3], ()> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits).ok_or(())?;
        if !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        *number = part.parse().map_err(|_| ())?;
    }
    match parts.next() {
        None => Ok(numbers),
        Some(_) => Err(()),
    }
}

/// The inverse of [`civil`], of dates that are.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (year, of_year) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let (era, within) = (year / 400, year % 400);
    let days = era * 146_097 + within * 365 + within / 4 - within / 100 + (153 * of_year + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    // February has no 30th.
    (civil(days).2 == day).then_some(days)
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that a leap day is the last of
/// its year and the months' lengths follow one linear formula.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_400_YEARS: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_ms: u64) -> String {
        Rfc3339 { unix_ms }.to_string()
    }

    #[test]
    fn known_instants_are_written_as_rfc_3339() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(1_000_000_000_001), "2001-09-09T01:46:40.001Z");
        assert_eq!(text(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        assert_eq!(text(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn what_is_written_is_read_again() {
        for unix_ms in [0, 951_782_400_000, 1_000_000_000_001, 1_767_225_599_999, LAST_MS] {
            assert_eq!(text(unix_ms).parse(), Ok(Rfc3339 { unix_ms }));
        }
        let read = |text: &str| text.parse::<Rfc3339>().map(|time| time.unix_ms);
        assert_eq!(read("1970-01-02T00:00:01Z"), Ok(86_401_000));
        assert_eq!(read("1970-01-01T00:00:00.1239Z"), Ok(123));
        assert_eq!(read("2016-12-31T23:59:60Z"), read("2016-12-31T23:59:59Z"));
    }

    #[test]
    fn what_is_no_instant_is_not_read() {
        for text in [
            "",
            "Z",
            "2026-02-30T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+01:00",
            "2026-1-1T00:00:00Z",
            "2026-01-01T00:00:00:00Z",
            "+026-01-01T00:00:00Z",
            "1969-12-31T00:00:00Z",
        ] {
            assert!(text.parse::<Rfc3339>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_to_the_end_follows_the_day_before() {
        let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..=LAST_MS / DAY_MS {
            assert_eq!(civil(days), (year, month, day));
            assert_eq!(super::days(year, month, day), Some(days));
            let length = match month {
                2 => 28 + u64::from(leap(year)),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, last) if last == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
        }
        assert_eq!((year, month, day), (10_000, 1, 1));
    }
}
