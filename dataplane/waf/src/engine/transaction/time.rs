//! The clock's variables, in UTC.

use super::{Transaction, Val};
use crate::seclang::Variable;

impl Transaction {
    /// A variable that is worked out when a rule asks for it.
    pub(super) fn compute(&mut self, variable: Variable) -> Val {
        let seconds = self.state.now_ms / 1000;
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let day = (seconds / 86400) as i64;
        let (year, month, date) = civil(day);
        let val = match variable {
            Variable::Time => {
                let text = format!("{hour:02}:{minute:02}:{second:02}");
                Val::Id(self.values.push(text.as_bytes()))
            }
            Variable::TimeEpoch => Val::Int(seconds as i64),
            Variable::TimeHour => Val::Int(hour as i64),
            Variable::TimeMin => Val::Int(minute as i64),
            Variable::TimeSec => Val::Int(second as i64),
            Variable::TimeDay => Val::Int(date),
            Variable::TimeMon => Val::Int(month),
            Variable::TimeYear => Val::Int(year),
            // The first of January 1970 was a Thursday.
            Variable::TimeWday => Val::Int((day + 4).rem_euclid(7)),
            Variable::HighestSeverity => Val::Int(self.matched.highest.map_or(255, |severity| severity as i64)),
            Variable::FullRequest | Variable::FullRequestLength => self.full_request(variable),
            Variable::Sessionid => self.opened_key(Variable::Session),
            Variable::Userid => self.opened_key(Variable::User),
            _ => return Val::Unset,
        };
        if !matches!(
            variable,
            Variable::HighestSeverity | Variable::Sessionid | Variable::Userid
        ) {
            self.set_val(variable, val);
        }
        val
    }

    fn opened_key(&mut self, collection: Variable) -> Val {
        match self.state.opened.iter().find(|(opened, _)| *opened == collection) {
            Some((_, key)) => Val::Id(self.values.push(key)),
            None => Val::Unset,
        }
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(20_785), (2026, 11, 28));
        assert_eq!(civil(11_016), (2000, 2, 29));
    }
}
