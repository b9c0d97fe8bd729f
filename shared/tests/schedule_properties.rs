//! Thousands of schedules against `croner`, and against a walk over every minute where clocks change.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use shared::schedule::Schedule;
use std::collections::{BTreeSet, HashMap};

const ZONES: [Tz; 13] = [
    Tz::America__New_York,
    Tz::Europe__Berlin,
    Tz::Australia__Lord_Howe,
    Tz::America__Santiago,
    Tz::Africa__Casablanca,
    Tz::America__Havana,
    Tz::America__Sao_Paulo,
    Tz::America__St_Johns,
    Tz::Asia__Tehran,
    Tz::Asia__Kathmandu,
    Tz::Africa__Cairo,
    Tz::Pacific__Apia,
    Tz::Antarctica__Troll,
];

/// An element of a list: value, range, step over a range.
fn item(min: u32, max: u32, names: &'static [&'static str]) -> BoxedStrategy<String> {
    let name = move |v: u32, named: bool| match names.get((v - min) as usize) {
        Some(n) if named => (*n).to_owned(),
        _ => v.to_string(),
    };
    let ends = (min..=max, min..=max).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        4 => (min..=max, any::<bool>()).prop_map(move |(v, n)| name(v, n)),
        // `SUN-SUN` is Sunday here and every day in croner.
        2 => (ends.clone(), any::<bool>()).prop_map(move |((a, b), n)| format!("{}-{}", name(a, n && a < b), name(b, n && a < b))),
        1 => (ends, 1..=max).prop_map(|((a, b), s)| format!("{a}-{b}/{s}")),
    ]
    .boxed()
}

fn field(min: u32, max: u32, names: &'static [&'static str]) -> BoxedStrategy<String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => (1..=max).prop_map(|s| format!("*/{s}")),
        4 => prop::collection::vec(item(min, max, names), 1..4).prop_map(|items| items.join(",")),
    ]
    .boxed()
}

fn expression() -> impl Strategy<Value = String> {
    const MONTHS: [&str; 12] = ["JAN", "feb", "MAR", "apr", "May", "JUN", "jul", "AUG", "Sep", "OCT", "nov", "DEC"];
    const WEEKDAYS: [&str; 7] = ["SUN", "mon", "TUE", "wed", "Thu", "FRI", "sat"];
    let fields =
        (field(0, 59, &[]), field(0, 23, &[]), field(1, 31, &[]), field(1, 12, &MONTHS), field(0, 7, &WEEKDAYS));
    prop_oneof![
        40 => fields.prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}")),
        1 => select(vec!["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"]).prop_map(str::to_owned),
    ]
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    // 1975 to 2060, in milliseconds: clocks change by whole minutes then.
    (157_766_400_000_i64..2_840_140_800_000).prop_map(|ms| DateTime::from_timestamp_millis(ms).unwrap())
}

fn oracle(expression: &str) -> croner::Cron {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(expression).unwrap()
}

/// Runs `cases` cases, always the same ones.
fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        max_global_rejects: 100_000,
        ..Config::default()
    };
    let rng = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng).run(&strategy, test).unwrap();
}

/// The schedule, unless it never fires, which croner does not say at once.
fn parsed(expression: &str) -> Result<Schedule, TestCaseError> {
    match Schedule::parse(expression) {
        Ok(schedule) => Ok(schedule),
        Err(e) if e.message.contains("never fires") => Err(TestCaseError::reject("never fires")),
        Err(e) => Err(TestCaseError::fail(format!("{expression}: {e}"))),
    }
}

#[test]
fn fires_are_those_of_croner_in_utc() {
    check(6000, (expression(), instant()), |(expression, start)| {
        let schedule = parsed(&expression)?;
        let oracle = oracle(&expression);
        let mut expected = start;
        for actual in schedule.fires(start, Tz::UTC).take(5) {
            expected = oracle.find_next_occurrence(&expected, false).unwrap().with_nanosecond(0).unwrap();
            prop_assert_eq!(actual, expected, "{} after {}", expression, start);
        }
        Ok(())
    });
}

/// Whether the zone's offset changes within a day of `at`: `croner` has another policy there.
fn near_a_change(at: DateTime<Utc>, zone: Tz) -> bool {
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
    let day = Duration::hours(25);
    (0..=10).map(|i| offset(at - day + day * i / 5)).collect::<BTreeSet<_>>().len() > 1
}

/// Away from clock changes for all schedules. At clock changes `croner` leaves out skipped times of schedules with several
/// times a day and repeats their repeated ones, where our contract makes each local time fire once; see the minute walk.
#[test]
fn fires_are_those_of_croner_in_zones_away_from_clock_changes() {
    check(6000, (expression(), instant(), select(ZONES.to_vec())), |(expression, start, zone)| {
        let schedule = parsed(&expression)?;
        let oracle = oracle(&expression);
        for actual in schedule.fires(start, zone).take(5) {
            if near_a_change(actual, zone) {
                continue;
            }
            // The one before it may lie at a change: croner is asked from shortly before.
            let before = actual - Duration::hours(1);
            let from = schedule.fires(before, zone).next().unwrap() - Duration::seconds(1);
            let expected = oracle.find_next_occurrence(&from.with_timezone(&zone), false).unwrap().with_timezone(&Utc);
            prop_assert_eq!(
                schedule.next_after(from, zone),
                Some(expected),
                "{} in {} after {}",
                expression,
                zone,
                from
            );
            // And it finds nothing between the last and this one.
            let between = oracle.find_next_occurrence(&before.with_timezone(&zone), false).unwrap().with_timezone(&Utc);
            prop_assert_eq!(
                schedule.next_after(before, zone),
                Some(between),
                "{} in {} after {}",
                expression,
                zone,
                before
            );
        }
        Ok(())
    });
}

/// One time a day: `croner` then has our policy also at clock changes, as long as the gap leaves the day as it is.
#[test]
fn daily_fires_are_those_of_croner_at_clock_changes_too() {
    let zones =
        select(vec![Tz::America__New_York, Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::Africa__Casablanca]);
    let fields = (0..60u32, 0..5u32, field(1, 31, &[]), field(0, 7, &[]));
    check(2000, (fields, instant(), zones), |((minute, hour, day, weekday), start, zone)| {
        let expression = format!("{minute} {hour} {day} * {weekday}");
        let schedule = parsed(&expression)?;
        let oracle = oracle(&expression);
        let mut expected = start.with_timezone(&zone);
        for actual in schedule.fires(start, zone).take(40) {
            expected = oracle.find_next_occurrence(&expected, false).unwrap();
            let expected = expected.with_timezone(&Utc).with_nanosecond(0).unwrap();
            prop_assert_eq!(actual, expected, "{} in {} after {}", expression, zone, start);
        }
        Ok(())
    });
}

/// The contract by brute force: every local minute that the expression names fires at the first minute at which the zone's
/// clocks show it, or, where they never do, at the first minute at which they show a later one.
fn walked(expression: &str, zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> BTreeSet<DateTime<Utc>> {
    let oracle = oracle(expression);
    let start = from - Duration::hours(26);
    let shown: Vec<(DateTime<Utc>, NaiveDateTime)> = (0..(to - start).num_minutes() + 26 * 60)
        .map(|m| start + Duration::minutes(m))
        .map(|at| (at, zone.from_utc_datetime(&at.naive_utc()).naive_local()))
        .collect();
    let mut first = HashMap::new();
    for (at, local) in &shown {
        first.entry(*local).or_insert(*at);
    }
    let (earliest, latest) = (shown[0].1, shown[shown.len() - 1].1);
    (0..(latest - earliest).num_minutes())
        .map(|m| earliest + Duration::minutes(m))
        .filter(|local| oracle.is_time_matching(&local.and_utc()).unwrap())
        .filter_map(|local| {
            let later = || shown.iter().find(|(_, clock)| *clock > local).map(|(at, _)| *at);
            first.get(&local).copied().or_else(later)
        })
        .filter(|at| *at > from && *at <= to)
        .collect()
}

/// The instants from 1975 to 2060 after which a zone's clocks show another offset, to the hour.
fn changes(zone: Tz) -> Vec<DateTime<Utc>> {
    let start = DateTime::from_timestamp(157_766_400, 0).unwrap();
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
    let mut found = Vec::new();
    for day in 0..31_000 {
        let at = start + Duration::days(day);
        if offset(at) != offset(at + Duration::days(1)) {
            let hour = (0..24).find(|h| offset(at + Duration::hours(*h)) != offset(at + Duration::hours(h + 1)));
            found.push(at + Duration::hours(hour.unwrap_or(0)));
        }
    }
    found
}

#[test]
fn fires_at_clock_changes_are_those_of_a_walk_over_every_minute() {
    let all: Vec<_> = ZONES.iter().flat_map(|zone| changes(*zone).into_iter().map(|at| (*zone, at))).collect();
    assert!(all.len() > 1000, "{} clock changes", all.len());
    // Busy ones, so that something falls into the gap.
    let dense = (
        field(0, 59, &[]),
        prop_oneof![Just("*".to_owned()), Just("0-4".to_owned()), field(0, 23, &[])],
        field(0, 7, &[]),
    )
        .prop_map(|(minute, hour, weekday)| format!("{minute} {hour} * * {weekday}"));
    let expressions = prop_oneof![3 => dense, 1 => expression()];
    check(800, (expressions, select(all), 0..240i64), |(expression, (zone, change), lead)| {
        let schedule = parsed(&expression)?;
        let from = change - Duration::minutes(lead);
        let to = change + Duration::hours(6);
        let expected = walked(&expression, zone, from, to);
        let actual: BTreeSet<_> = schedule.fires(from, zone).take_while(|at| *at <= to).collect();
        prop_assert_eq!(&actual, &expected, "{} in {} around {}", expression, zone, change);
        // From every minute between, also from within the repeated hour.
        for minute in (0..(to - from).num_minutes()).step_by(7) {
            let after = from + Duration::minutes(minute);
            let next = expected.range(after + Duration::milliseconds(1)..).next().copied();
            prop_assert_eq!(
                schedule.next_after(after, zone).filter(|at| *at <= to),
                next,
                "{} in {} after {}",
                expression,
                zone,
                after
            );
        }
        Ok(())
    });
}

#[test]
fn any_text_is_read_or_refused_with_a_column_inside_it() {
    let noise = prop_oneof![
        proptest::string::string_regex("[-0-9*/,A-Za-z?#@ ~\u{e4}]{0,40}").unwrap(),
        expression().prop_flat_map(|e| (Just(e.clone()), 0..=e.len(), any::<char>())).prop_map(|(mut e, at, c)| {
            e.insert(at, c);
            e
        }),
    ];
    check(5000, noise, |text| {
        if let Err(e) = Schedule::parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&e.position), "{:?}: {}", text, e);
            prop_assert!(!e.message.is_empty());
        }
        Ok(())
    });
}
