//! A schedule in its zone: its fires counted, and its newest ones found, without walking through all of them.

use super::{LAST_YEAR, Schedule, parse_timezone};
use crate::models::time::Time;
use chrono::{DateTime, Datelike, Duration, NaiveDateTime, NaiveTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

/// The smallest difference between two times.
const TICK: Duration = Duration::milliseconds(1);
/// Longer than any clock shows a local time again.
const REPEATS: Duration = Duration::hours(25);

/// A schedule in its zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    schedule: Schedule,
    zone: Tz,
}

impl Timetable {
    /// This schedule in this zone.
    pub fn new(schedule: Schedule, zone: Tz) -> Self {
        Self { schedule, zone }
    }

    /// Reads both.
    ///
    /// # Errors
    /// A sentence that says which of them is wrong, and where.
    pub fn parse(schedule: &str, timezone: &str) -> Result<Self, String> {
        let zone = parse_timezone(timezone)?;
        let schedule = Schedule::parse(schedule).map_err(|error| format!("the schedule {schedule:?}: {error}"))?;
        Ok(Self { schedule, zone })
    }

    /// The first fire after `after`; none where there is none any more.
    pub fn next_after(&self, after: Time) -> Option<Time> {
        self.schedule.next_after(after.0, self.zone).map(Time)
    }

    /// All fires after `after`, the oldest first.
    pub fn fires(&self, after: Time) -> impl Iterator<Item = Time> {
        self.schedule.fires(after.0, self.zone).map(Time)
    }

    /// How many fires are after `after` and not after `until`. Days on which no clock changes are not walked through.
    pub fn count(&self, after: Time, until: Time) -> u64 {
        let (mut from, end) = (bounded(after.0) + TICK, bounded(until.0) + TICK);
        let mut total = 0;
        while from < end {
            let to = (self.day_start(from) + Duration::days(1)).min(end);
            total += self.count_within(from, to);
            from = to;
        }
        total
    }

    /// The newest `most` fires after `after` and not after `until`, the oldest first. It goes back by days, and walks
    /// through no more of them than it needs.
    pub fn newest(&self, after: Time, until: Time, most: usize) -> Vec<Time> {
        let (first, end) = (bounded(after.0) + TICK, bounded(until.0) + TICK);
        let (mut from, mut found) = (end, 0);
        while found < most as u64 && from > first {
            let start = self.day_start(from - TICK).max(first);
            found += self.count_within(start, from);
            from = start;
        }
        let mut newest: Vec<Time> = self.fires(Time(from - TICK)).take_while(|at| at.0 < end).collect();
        newest.split_off(newest.len().saturating_sub(most))
    }

    /// How many fires there are from `from` on and before `to`, within one day.
    fn count_within(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
        let local = self.local(from);
        if to - from == Duration::days(1) && local.time() == NaiveTime::MIN && self.is_steady(from, to) {
            let date = local.date();
            let fields = &self.schedule.fields;
            let known = (1970..=LAST_YEAR).contains(&date.year());
            return if known && fields.names_day(date) { fields.times_a_day() } else { 0 };
        }
        self.fires(Time(from - TICK)).take_while(|at| at.0 < to).count() as u64
    }

    /// Whether clocks show each local time of `from..to` once, and showed none of them before.
    fn is_steady(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let offset = self.offset(from);
        let probes = [from - REPEATS, from - REPEATS / 2, from - TICK, from + (to - from) / 2, to - TICK];
        probes.into_iter().all(|at| self.offset(at) == offset)
    }

    /// When the day of `at` began, by the clock that is valid at `at`.
    fn day_start(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at - (self.local(at).time() - NaiveTime::MIN)
    }

    fn local(&self, at: DateTime<Utc>) -> NaiveDateTime {
        self.zone.from_utc_datetime(&at.naive_utc()).naive_local()
    }

    /// Seconds east of Greenwich.
    fn offset(&self, at: DateTime<Utc>) -> i32 {
        self.zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
    }
}

/// `at`, or the nearest time about which a schedule says anything; arithmetic with it does not overflow.
fn bounded(at: DateTime<Utc>) -> DateTime<Utc> {
    let earliest = DateTime::UNIX_EPOCH - Duration::days(2);
    let latest = DateTime::UNIX_EPOCH + Duration::days(i64::from(LAST_YEAR - 1969) * 366);
    at.clamp(earliest, latest)
}
