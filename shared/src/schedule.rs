//! When a pipeline fires: POSIX cron expressions, evaluated in a time zone, on top of the `cron` crate.
//!
//! The crate numbers weekdays 1 to 7 from Sunday, wants a field of seconds, demands that both day fields match, leaves out
//! local times that a spring change skips and gives those that an autumn change repeats twice. So nothing but plain numbers is
//! handed to it, one schedule for each day field that is restricted, and it is asked in local time, as if that were UTC; what a
//! local time means is decided here.

mod expression;
mod timetable;

pub use timetable::Timetable;

use chrono::offset::LocalResult;
use chrono::{DateTime, Datelike, Duration, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};
use expression::{Expression, Values};
use std::fmt::{self, Write};
use std::str::FromStr;

/// The last year in which anything fires: the `cron` crate and the tables of time zones end there.
const LAST_YEAR: i32 = 2100;

/// What is wrong with a cron expression, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (column {position})")]
pub struct ScheduleError {
    /// The column at which it is wrong, in characters, from 1.
    pub position: usize,
    /// A sentence for people; it names the field.
    pub message: String,
}

/// A POSIX five-field cron expression, or a nickname such as `@daily`, that fires at least once.
#[derive(Debug, Clone)]
pub struct Schedule {
    source: String,
    fields: Expression,
    /// It fires when one of these does; two where both day fields are restricted.
    either: Vec<cron::Schedule>,
}

impl Schedule {
    /// Reads an expression: lists, ranges, steps, names of months and weekdays in English, and nicknames.
    ///
    /// # Errors
    /// The first fault from the left: too few or too many fields, a value out of bounds, a reversed range, a step of zero, what
    /// POSIX does not know (`?`, `L`, `W`, `#`, seconds), and days that never come (`0 0 31 2 *`).
    pub fn parse(expression: &str) -> Result<Self, ScheduleError> {
        let fields = expression::parse(expression)?;
        let either = day_pairs(&fields)
            .map(|(days, weekdays)| {
                let text = crate_expression(&fields, days, weekdays);
                // Numbers only, all of them in bounds: the crate has nothing to refuse.
                cron::Schedule::from_str(&text)
                    .map_err(|e| ScheduleError { position: 1, message: format!("cannot be evaluated: {e}") })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { source: expression.trim().to_owned(), fields, either })
    }

    /// The expression as it was written, trimmed.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The first fire strictly after `after`, in UTC; None where there is none before the end of the year 2100.
    ///
    /// A local time that a clock change skips fires at the first instant after the gap, and several that the same change skips
    /// fire there once. A local time that a clock change repeats fires the first time only.
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        // Beyond the bounds there is nothing to find, and chrono's arithmetic could overflow.
        let after = after.max(DateTime::UNIX_EPOCH - Duration::days(2));
        if after.year() > LAST_YEAR {
            return None;
        }
        let mut local = zone.from_utc_datetime(&after.naive_utc()).naive_local().with_nanosecond(0)?;
        loop {
            local = self.next_local(local)?;
            // Not later only while the clock shows the hour that it repeats for the second time.
            match instant_of(local, zone) {
                Some(instant) if instant > after => return Some(instant),
                _ => {}
            }
        }
    }

    /// All fires strictly after `after`, in order, in UTC.
    pub fn fires(&self, after: DateTime<Utc>, zone: Tz) -> impl Iterator<Item = DateTime<Utc>> {
        std::iter::successors(self.next_after(after, zone), move |last| self.next_after(*last, zone))
    }

    /// The first local time after `local` that the expression names, whether or not a clock shows it.
    fn next_local(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        self.either.iter().filter_map(|s| s.after(&local.and_utc()).next()).min().map(|at| at.naive_utc())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(expression: &str) -> Result<Self, Self::Err> {
        Self::parse(expression)
    }
}

/// The pairs of day fields of which either may match, None for a field that is left free.
fn day_pairs(fields: &Expression) -> impl Iterator<Item = (Option<Values>, Option<Values>)> {
    let days = fields.days.restricted.then_some(fields.days);
    let weekdays = fields.weekdays.restricted.then_some(fields.weekdays);
    match (days, weekdays) {
        (Some(_), Some(_)) => vec![(days, None), (None, weekdays)],
        one => vec![one],
    }
    .into_iter()
}

/// The fields as the `cron` crate writes them: seconds first, Sunday is 1.
fn crate_expression(fields: &Expression, days: Option<Values>, weekdays: Option<Values>) -> String {
    let list = |values: Values, shift: u32| {
        let mut text = String::new();
        for value in values.iter() {
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}{}", value + shift);
        }
        text
    };
    let free = || "*".to_owned();
    format!(
        "0 {} {} {} {} {}",
        list(fields.minutes, 0),
        list(fields.hours, 0),
        days.map_or_else(free, |d| list(d, 0)),
        list(fields.months, 0),
        weekdays.map_or_else(free, |w| list(w, 1)),
    )
}

/// The instant at which a clock in `zone` first shows `local`, or the first after the gap that skips it.
fn instant_of(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.with_timezone(&Utc)),
        LocalResult::None => Some(GapInfo::new(&local, &zone)?.end?.with_timezone(&Utc)),
    }
}

/// The time zone of that IANA name.
///
/// # Errors
/// A sentence that names the nearest one.
pub fn parse_timezone(name: &str) -> Result<Tz, String> {
    if let Ok(zone) = Tz::from_str(name) {
        return Ok(zone);
    }
    if name.chars().count() > 64 {
        return Err("a time zone is an IANA name such as `Europe/Berlin`, of at most 64 characters".to_owned());
    }
    let city =
        |known: &&str| known.rsplit('/').next().is_some_and(|c| c.eq_ignore_ascii_case(&name.trim().replace(' ', "_")));
    let known = || TZ_VARIANTS.iter().map(|zone| zone.name());
    let hint = known().find(city).or_else(|| crate::error::nearest(name.trim(), known()));
    let hint = hint.map_or_else(
        || "an IANA name such as `Europe/Berlin` is needed".to_owned(),
        |n| format!("did you mean {n:?}?"),
    );
    Err(format!("the time zone {name:?} is not known; {hint}"))
}

#[cfg(test)]
mod tests;
