//! When something is done again and again: the five fields of cron, in UTC.
//!
//! Both sides use it: the compile step refuses what cannot be read, nodes ask for the next time. POSIX crontab, with
//! the steps and names that every cron has: `*`, `a`, `a-b`, lists, `*/n`, `a-b/n`, `JAN`, `MON`, 7 for Sunday. When
//! both day fields are restricted a day that matches either counts; a field that begins with `*` is not restricted.
//! Seconds, `L`, `W`, `#`, `?` and `@daily` are not known. A crate would bring a calendar with it: days since 1970 and
//! weekdays are all that is needed here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// Days looked through for the next time: the 29th of February comes after eight years at the latest.
const HORIZON: u64 = 8 * 366;

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    /// Sets of numbers, a bit for each.
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// From Sunday, 0.
    weekdays: u64,
    either_day: bool,
}

impl Schedule {
    /// The first time after `unix`, both in seconds since 1970; none when no such day exists (the 30th of February).
    pub fn next_after(&self, unix: u64) -> Option<u64> {
        let first = (unix / MINUTE + 1) * MINUTE;
        let today = first / DAY;
        for day in today..=today + HORIZON {
            if !self.has_day(day) {
                continue;
            }
            let from = if day == today { first % DAY / MINUTE } else { 0 };
            let minutes = (from..DAY / MINUTE)
                .find(|minute| contains(self.hours, minute / 60) && contains(self.minutes, minute % 60));
            if let Some(minute) = minutes {
                return Some(day * DAY + minute * MINUTE);
            }
        }
        None
    }

    fn has_day(&self, day: u64) -> bool {
        let (month, of_month) = date(day);
        // 1970 began on a Thursday.
        let weekday = contains(self.weekdays, (day + 4) % 7);
        let of_month = contains(self.days, of_month);
        contains(self.months, month)
            && if self.either_day {
                of_month || weekday
            } else {
                of_month && weekday
            }
    }
}

const fn contains(set: u64, number: u64) -> bool {
    set >> number & 1 == 1
}

/// Month and day of month, both from 1, of a day counted from 1970-01-01 (proleptic Gregorian).
const fn date(day: u64) -> (u64, u64) {
    // Howard Hinnant's civil_from_days: years begin in March, so that the leap day is a year's last.
    let shifted = day + 719_468;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    (if month < 10 { month + 3 } else { month - 9 }, of_month)
}

/// One field.
struct Field {
    name: &'static str,
    first: u64,
    last: u64,
    /// Names of its numbers, from `first`.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field::new("minute", 0, 59, &[]),
    Field::new("hour", 0, 23, &[]),
    Field::new("day of month", 1, 31, &[]),
    Field::new("month", 1, 12, &MONTHS),
    Field::new("day of week", 0, 7, &WEEKDAYS),
];

impl Field {
    const fn new(name: &'static str, first: u64, last: u64, names: &'static [&'static str]) -> Self {
        Self {
            name,
            first,
            last,
            names,
        }
    }

    fn set(&self, text: &str) -> Result<u64, ScheduleError> {
        text.split(',').try_fold(0, |set, part| Ok(set | self.part(part)?))
    }

    fn part(&self, part: &str) -> Result<u64, ScheduleError> {
        let wrong = || ScheduleError::Field {
            name: self.name,
            part: part.to_owned(),
            first: self.first,
            last: self.last,
        };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|step| *step > 0).ok_or_else(wrong)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (self.number(from).ok_or_else(wrong)?, self.number(to).ok_or_else(wrong)?),
            None if range == "*" => (self.first, self.last),
            None => {
                let from = self.number(range).ok_or_else(wrong)?;
                // A step goes to the end, as in every cron that takes it.
                (from, if step.is_some() { self.last } else { from })
            }
        };
        if from > to {
            return Err(wrong());
        }
        let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
        Ok((from..=to).step_by(step).fold(0, |set, n| set | 1 << n))
    }

    fn number(&self, text: &str) -> Option<u64> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let number = match named {
            Some(place) => self.first + place as u64,
            None => number(text)?,
        };
        (self.first..=self.last).contains(&number).then_some(number)
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(ScheduleError::Count(parts.len()));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let weekdays = weekdays.set(weekday)?;
        let schedule = Self {
            text: parts.join(" "),
            minutes: minutes.set(minute)?,
            hours: hours.set(hour)?,
            days: days.set(day)?,
            months: months.set(month)?,
            // 7 is Sunday too.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // Which year it is does not matter: the horizon has every date.
        schedule.next_after(0).map(|_| schedule).ok_or(ScheduleError::Never)
    }
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error(
        "a schedule has five fields, not {0}: minute, hour, day of month, month, day of week, such as `0 * * * *` for every hour"
    )]
    Count(usize),
    /// A field that cannot be read.
    #[error("`{part}` is no {name}: write {first} to {last}, a range a-b, a step */n, a list a,b or *")]
    Field {
        /// The field.
        name: &'static str,
        /// What stands there.
        part: String,
        /// The smallest number.
        first: u64,
        /// The largest number.
        last: u64,
    },
    /// A date that no year has.
    #[error("no year has such a day: nothing would ever be done")]
    Never,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970 of a time of 2026 and later, by counting days.
    fn at(year: u64, month: u64, day: u64, hour: u64, minute: u64) -> u64 {
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days: u64 = (1970..year).map(|year| 365 + u64::from(leap(year))).sum();
        let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let before: u64 = lengths.iter().take(month as usize - 1).sum();
        (days + before + day - 1) * DAY + hour * 3600 + minute * 60
    }

    #[track_caller]
    fn next(schedule: &str, from: u64, expected: u64) {
        let schedule: Schedule = schedule.parse().unwrap();
        assert_eq!(schedule.next_after(from), Some(expected), "{schedule}");
    }

    #[test]
    fn the_next_time_is_the_first_that_fits() {
        // 2026-01-31 is a Saturday.
        let now = at(2026, 1, 31, 23, 30) + 17;
        for (schedule, expected) in [
            ("* * * * *", at(2026, 1, 31, 23, 31)),
            ("0 * * * *", at(2026, 2, 1, 0, 0)),
            ("*/20 * * * *", at(2026, 1, 31, 23, 40)),
            ("5/20 * * * *", at(2026, 1, 31, 23, 45)),
            ("10-40/10 23 * * *", at(2026, 1, 31, 23, 40)),
            ("0,29,59 * * * *", at(2026, 1, 31, 23, 59)),
            ("15 6 * * *", at(2026, 2, 1, 6, 15)),
            ("0 0 31 * *", at(2026, 3, 31, 0, 0)),
            ("0 0 29 2 *", at(2028, 2, 29, 0, 0)),
            ("0 0 * * MON", at(2026, 2, 2, 0, 0)),
            ("0 0 * * 0", at(2026, 2, 1, 0, 0)),
            ("0 0 * * 7", at(2026, 2, 1, 0, 0)),
            ("0 0 * * 5-7", at(2026, 2, 1, 0, 0)),
            ("0 9 * Feb-apr tue,Thu", at(2026, 2, 3, 9, 0)),
            ("0 0 1 1 *", at(2027, 1, 1, 0, 0)),
        ] {
            next(schedule, now, expected);
        }
    }

    #[test]
    fn a_time_that_fits_is_followed_by_another() {
        let hour = at(2026, 5, 1, 12, 0);
        next("0 * * * *", hour, hour + 3600);
        next("0 * * * *", hour - 1, hour);
    }

    #[test]
    fn of_two_restricted_day_fields_either_counts_and_of_one_that_begins_with_a_star_both() {
        let now = at(2026, 1, 31, 23, 30);
        next("0 0 15 * MON", now, at(2026, 2, 2, 0, 0));
        next("0 0 3 * FRI", now, at(2026, 2, 3, 0, 0));
        // Odd days that are Mondays.
        next("0 0 */2 * MON", now, at(2026, 2, 9, 0, 0));
    }

    #[test]
    fn the_century_without_a_leap_day_is_passed_over() {
        next("0 0 29 2 *", at(2096, 3, 1, 0, 0), at(2104, 2, 29, 0, 0));
    }

    #[test]
    fn what_is_no_schedule_is_refused_by_the_field() {
        for (text, error) in [
            ("", "a schedule has five fields, not 0"),
            ("@hourly", "a schedule has five fields, not 1"),
            ("0 0 * * * *", "a schedule has five fields, not 6"),
            ("60 * * * *", "`60` is no minute: write 0 to 59"),
            ("* 24 * * *", "`24` is no hour"),
            ("* * 0 * *", "`0` is no day of month: write 1 to 31"),
            ("* * * 13 *", "`13` is no month"),
            ("* * * * 8", "`8` is no day of week"),
            ("*/0 * * * *", "`*/0` is no minute"),
            ("5-1 * * * *", "`5-1` is no minute"),
            ("1,,2 * * * *", "`` is no minute"),
            ("+1 * * * *", "`+1` is no minute"),
            ("* * L * *", "`L` is no day of month"),
            ("* * * foo *", "`foo` is no month"),
            ("0 0 30 2 *", "no year has such a day"),
            ("0 0 31 4,6,9,11 *", "no year has such a day"),
        ] {
            let found = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(found.starts_with(error), "{text}: {found}");
        }
    }

    #[test]
    fn a_schedule_survives_json() {
        let schedule: Schedule = " 0  */6 * * mon-fri ".parse().unwrap();
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(json, "\"0 */6 * * mon-fri\"");
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }
}
