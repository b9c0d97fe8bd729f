//! When schedules are due, by a walk over the clock, and random schedules from a seed.

use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use shared::models::time::Time;

/// Zones with every kind of clock change: by an hour, by half of one, at midnight, twice around Ramadan, a day left out.
pub const ZONES: [Tz; 7] = [
    Tz::UTC,
    Tz::America__New_York,
    Tz::Europe__Berlin,
    Tz::Australia__Lord_Howe,
    Tz::America__Santiago,
    Tz::Africa__Casablanca,
    Tz::Pacific__Apia,
];

/// The seed of the first case.
pub fn first_seed() -> u64 {
    std::env::var("FLOWGATE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Random numbers from a seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.unsigned_abs()).cast_signed()
    }
    pub fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as i64)).unwrap()]
    }
}

/// A schedule that fires every few minutes, hours or days.
pub fn expression(random: &mut Random) -> String {
    let minutes = ["*", "*/7", "0", "30", "0,15,45", "59", "3-40/9"];
    let hours = ["*", "*", "0-4", "2", "0", "1,2,3,23", "*/5"];
    let days = ["*", "*", "*", "*", "1-20", "*/2"];
    let weekdays = ["*", "*", "*", "*", "SUN", "0,6", "1-5"];
    let [minute, hour, day, weekday] = [&minutes[..], &hours, &days, &weekdays].map(|all| random.of(all));
    format!("{minute} {hour} {day} * {weekday}")
}

fn local(zone: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    zone.from_utc_datetime(&at.naive_utc()).naive_local()
}

/// The due times after `from` and not after `to`, for clocks that change at multiples of `step` minutes: whenever a clock
/// shows a time that it has not shown before, what lies between the latest one and this is due.
pub fn walk(expression: &str, zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>, step: i64) -> Vec<Time> {
    let cron = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(expression);
    let cron = cron.unwrap();
    let names = |local: NaiveDateTime| cron.is_time_matching(&local.and_utc()).unwrap();
    let (step_ms, step) = (step * 60_000, Duration::minutes(step));
    let begin = from.timestamp_millis() - 48 * 3_600_000;
    let mut at = DateTime::from_timestamp_millis(begin - begin.rem_euclid(step_ms)).unwrap();
    let mut shown = local(zone, at);
    let mut due = Vec::new();
    while at <= to {
        let clock = local(zone, at);
        let mut is_due = false;
        while shown < clock {
            shown += step;
            is_due |= names(shown);
        }
        if is_due && at > from {
            due.push(Time::from(at));
        }
        at += step;
    }
    due
}

/// A time near a change of the zone's clocks, from 1976 to 2060.
pub fn around_a_change(zone: Tz, random: &mut Random) -> DateTime<Utc> {
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
    let start = DateTime::from_timestamp(189_302_400 + 60 * random.below(60 * 24 * 365 * 80), 0).unwrap();
    let days = (0..400).map(|day| start + Duration::days(day));
    days.into_iter().find(|at| offset(*at) != offset(*at + Duration::days(1))).unwrap_or(start)
}
