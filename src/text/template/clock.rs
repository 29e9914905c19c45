//! `strftime_now`: the date and time, in UTC, so that a prompt does not depend on the host's time zone.

use super::budget::refused;
use minijinja::Error;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// The last second of the year 9999.
const END: u64 = 253_402_300_799;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A moment by the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    year: i64,
    /// From 1.
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    /// From Sunday, 0.
    weekday: u32,
    /// From 1.
    year_day: u32,
}

impl Moment {
    fn new(now: SystemTime) -> Self {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(END);
        let days = (seconds / 86_400) as i64;
        let (year, month, day) = date(days);
        let january = days_before(year);
        let second = (seconds % 86_400) as u32;
        Moment {
            year,
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            weekday: (days + 4).rem_euclid(7) as u32,
            year_day: (days - january + 1) as u32,
        }
    }
}

/// Days from 1970 to the start of a year.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 719_162
}

/// The date so many days after the start of 1970.
fn date(days: i64) -> (i64, u32, u32) {
    let mut year = 1970 + days.div_euclid(366);
    while days_before(year + 1) <= days {
        year += 1;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut rest = (days - days_before(year)) as u32;
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

/// Writes the moment by a format of C's `strftime`.
pub(super) fn format(out: &mut dyn Write, format: &str, now: SystemTime) -> Result<(), Error> {
    format_at(out, format, &Moment::new(now))
}

fn format_at(out: &mut dyn Write, format: &str, moment: &Moment) -> Result<(), Error> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.write_str(&rest[..at])?;
        let directive = &rest[at + 1..];
        let (padded, directive) = match directive.strip_prefix('-') {
            Some(directive) => (false, directive),
            None => (true, directive),
        };
        let Some(c) = directive.chars().next() else {
            return Err(refused("a date format ends with `%`"));
        };
        field(out, moment, c, padded)?;
        rest = &directive[c.len_utf8()..];
    }
    Ok(out.write_str(rest)?)
}

fn field(out: &mut dyn Write, moment: &Moment, directive: char, padded: bool) -> Result<(), Error> {
    let weekday = DAYS[moment.weekday as usize % 7];
    let month = MONTHS[(moment.month as usize + 11) % 12];
    let hour12 = (moment.hour + 11) % 12 + 1;
    let mut number = |value: u32, width: usize| {
        let width = if padded { width } else { 1 };
        write!(out, "{value:0width$}")
    };
    match directive {
        'd' => number(moment.day, 2),
        'm' => number(moment.month, 2),
        'y' => number((moment.year % 100) as u32, 2),
        'H' => number(moment.hour, 2),
        'I' => number(hour12, 2),
        'M' => number(moment.minute, 2),
        'S' => number(moment.second, 2),
        'j' => number(moment.year_day, 3),
        'w' => number(moment.weekday, 1),
        'Y' => write!(out, "{}", moment.year),
        'e' => write!(out, "{:>2}", moment.day),
        'A' => out.write_str(weekday),
        'a' => out.write_str(&weekday[..3]),
        'B' => out.write_str(month),
        'b' | 'h' => out.write_str(&month[..3]),
        'p' => out.write_str(if moment.hour < 12 { "AM" } else { "PM" }),
        'Z' | 'z' => Ok(()),
        '%' => out.write_char('%'),
        'F' => return format_at(out, "%Y-%m-%d", moment),
        'T' => return format_at(out, "%H:%M:%S", moment),
        'R' => return format_at(out, "%H:%M", moment),
        'D' => return format_at(out, "%m/%d/%y", moment),
        _ => return Err(refused("a date format has an unknown field")),
    }
    .map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64, pattern: &str) -> Result<String, Error> {
        let mut out = String::new();
        format(&mut out, pattern, UNIX_EPOCH + Duration::from_secs(seconds))?;
        Ok(out)
    }

    #[test]
    fn known_moments() {
        assert_eq!(at(0, "%d %b %Y %A %j").unwrap(), "01 Jan 1970 Thursday 001");
        assert_eq!(at(951_782_400, "%F %a %-d").unwrap(), "2000-02-29 Tue 29");
        assert_eq!(at(1_735_689_599, "%Y-%m-%d %H:%M:%S %I %p %j").unwrap(), "2024-12-31 23:59:59 11 PM 366");
        assert_eq!(at(1_735_689_600, "%B %-d, %Y%%").unwrap(), "January 1, 2025%");
        assert_eq!(at(4_102_444_800, "%D %T").unwrap(), "01/01/00 00:00:00");
    }

    #[test]
    fn hostile_formats() {
        assert!(at(0, "%").is_err());
        assert!(at(0, "%Q").is_err());
        assert!(at(0, &"%c".repeat(10)).is_err());
    }
}
