//! What expressions mean, case by case; `tests/schedule_properties.rs` compares thousands with another implementation.

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn fires(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(expression).unwrap();
    let zone = parse_timezone(zone).unwrap();
    schedule.fires(at(after), zone).take(count).map(|t| t.format("%Y-%m-%dT%H:%MZ").to_string()).collect()
}

fn fault(expression: &str) -> (usize, String) {
    let error = Schedule::parse(expression).unwrap_err();
    (error.position, error.message)
}

#[test]
fn sunday_is_zero_and_seven_and_monday_is_one() {
    let sundays = ["2026-01-04T12:00Z", "2026-01-11T12:00Z"];
    for expression in ["0 12 * * 0", "0 12 * * 7", "0 12 * * sun", "0 12 * * 7,0", "0 12 * * SUN-SUN"] {
        assert_eq!(fires(expression, "UTC", "2026-01-01T00:00:00Z", 2), sundays, "{expression}");
    }
    assert_eq!(fires("0 12 * * 1", "UTC", "2026-01-01T00:00:00Z", 1), ["2026-01-05T12:00Z"]);
    assert_eq!(
        fires("0 12 * * 5-7", "UTC", "2026-01-01T00:00:00Z", 4),
        fires("0 12 * * FRI-SUN", "UTC", "2026-01-01T00:00:00Z", 4)
    );
}

#[test]
fn either_day_field_may_match_when_both_are_restricted() {
    let expected =
        ["2026-02-06T00:00Z", "2026-02-13T00:00Z", "2026-02-20T00:00Z", "2026-02-27T00:00Z", "2026-03-06T00:00Z"];
    assert_eq!(fires("0 0 13 * FRI", "UTC", "2026-02-01T00:00:00Z", 5), expected);
    assert_eq!(fires("0 0 10 * FRI", "UTC", "2026-02-07T00:00:00Z", 2), ["2026-02-10T00:00Z", "2026-02-13T00:00Z"]);
}

#[test]
fn a_step_over_every_day_restricts_the_day_field() {
    // The 2nd is a Friday, the 5th a Monday, odd days are in `*/2`.
    let expected = ["2026-01-03T00:00Z", "2026-01-05T00:00Z", "2026-01-07T00:00Z"];
    assert_eq!(fires("0 0 */2 * MON", "UTC", "2026-01-01T00:00:00Z", 3), expected);
    assert_eq!(fires("0 0 2 * */1", "UTC", "2026-01-01T00:00:00Z", 2), ["2026-01-02T00:00Z", "2026-01-03T00:00Z"]);
    assert_eq!(fires("0 0 2 * *", "UTC", "2026-01-01T00:00:00Z", 2), ["2026-01-02T00:00Z", "2026-02-02T00:00Z"]);
}

#[test]
fn nicknames_mean_what_crontab_says() {
    for (nickname, expected) in [
        ("@hourly", "2026-05-06T08:00Z"),
        ("@daily", "2026-05-07T00:00Z"),
        ("@midnight", "2026-05-07T00:00Z"),
        ("@Weekly", "2026-05-10T00:00Z"),
        ("@monthly", "2026-06-01T00:00Z"),
        ("@yearly", "2027-01-01T00:00Z"),
        (" @annually ", "2027-01-01T00:00Z"),
    ] {
        assert_eq!(fires(nickname, "UTC", "2026-05-06T07:08:09Z", 1), [expected], "{nickname}");
    }
}

#[test]
fn a_fire_is_strictly_after_the_instant() {
    assert_eq!(fires("0 9 * * *", "UTC", "2026-01-01T09:00:00Z", 1), ["2026-01-02T09:00Z"]);
    assert_eq!(fires("0 9 * * *", "UTC", "2026-01-01T08:59:59.999Z", 1), ["2026-01-01T09:00Z"]);
    assert_eq!(fires("0 9 * * *", "UTC", "2026-01-01T09:00:00.001Z", 1), ["2026-01-02T09:00Z"]);
}

#[test]
fn local_times_that_a_spring_change_skips_fire_once_after_the_gap() {
    // Berlin skips 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]
    );
    let around = ["2026-03-29T00:40Z", "2026-03-29T00:50Z", "2026-03-29T01:00Z", "2026-03-29T01:10Z"];
    assert_eq!(fires("*/10 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", 4), around);
    // The skipped times fire at the end of the gap also where the expression does not name that time.
    assert_eq!(
        fires("5-55/10 * * * *", "Europe/Berlin", "2026-03-29T00:50:00Z", 3),
        ["2026-03-29T00:55Z", "2026-03-29T01:00Z", "2026-03-29T01:05Z"]
    );
}

#[test]
fn a_gap_at_midnight_or_of_a_whole_day_fires_at_its_end() {
    // Santiago skips 00:00 to 01:00 on 6 September 2026, Apia all of 30 December 2011.
    assert_eq!(
        fires("0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", 2),
        ["2026-09-06T04:00Z", "2026-09-07T03:00Z"]
    );
    assert_eq!(fires("0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 1), ["2011-12-30T10:00Z"]);
}

#[test]
fn local_times_that_an_autumn_change_repeats_fire_the_first_time_only() {
    // New York repeats 01:00 to 02:00 on 1 November 2026: first from 05:00 UTC, again from 06:00.
    assert_eq!(
        fires("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
        ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]
    );
    assert_eq!(
        fires("*/30 * * * *", "America/New_York", "2026-11-01T05:00:00Z", 2),
        ["2026-11-01T05:30Z", "2026-11-01T07:00Z"]
    );
    assert_eq!(fires("* * * * *", "America/New_York", "2026-11-01T06:00:00Z", 1), ["2026-11-01T07:00Z"]);
    // Lord Howe changes by half an hour.
    assert_eq!(
        fires("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2),
        ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]
    );
}

#[test]
fn leap_days_and_the_last_years_are_found_and_then_there_is_none() {
    assert_eq!(fires("0 0 29 2 *", "UTC", "2096-02-28T23:59:59Z", 9), ["2096-02-29T00:00Z"]);
    assert_eq!(fires("0 0 1 1 *", "UTC", "2099-01-02T00:00:00Z", 9), ["2100-01-01T00:00Z"]);
    let daily = Schedule::parse("@daily").unwrap();
    for zone in [Tz::UTC, Tz::Pacific__Apia, Tz::America__Los_Angeles] {
        assert_eq!(daily.next_after(DateTime::<Utc>::MAX_UTC, zone), None);
        assert!(daily.next_after(DateTime::<Utc>::MIN_UTC, zone).is_some_and(|t| t.year() <= 1970));
    }
}

#[test]
fn clock_changes_are_still_known_late_in_the_century() {
    assert_eq!(
        fires("0 12 1 1,7 *", "Europe/Berlin", "2090-01-01T00:00:00Z", 2),
        ["2090-01-01T11:00Z", "2090-07-01T10:00Z"]
    );
}

#[test]
fn a_fault_names_the_field_and_the_column() {
    assert_eq!(fault("60 * * * *"), (1, "minute field: 60 is out of bounds; 0 to 59 are allowed".to_owned()));
    assert_eq!(fault("0  24 * * *"), (4, "hour field: 24 is out of bounds; 0 to 23 are allowed".to_owned()));
    assert_eq!(fault("0 0 1,32 * *").0, 7);
    assert_eq!(fault("0 0 * 13 *"), (7, "month field: 13 is out of bounds; 1 to 12 are allowed".to_owned()));
    assert_eq!(fault("0 0 * * 8"), (9, "day of week field: 8 is out of bounds; 0 to 7 are allowed".to_owned()));
    assert_eq!(fault("0 0 0 * *").0, 5);
    assert_eq!(fault("\u{e4}\u{f6}\u{fc} 24 * * *").0, 1);
    assert_eq!(
        fault("0 5-1 * * *"),
        (3, "hour field: the range \"5-1\" is reversed; write `5-23,0-1` if it should wrap around".to_owned())
    );
    assert_eq!(
        fault("0 0 * * 5-0").1,
        "day of week field: the range \"5-0\" is reversed; write `5-7`: Sunday is 0 and 7"
    );
    assert_eq!(
        fault("*/0 * * * *"),
        (3, "minute field: a step of 0 would never move on; 1 or more is needed".to_owned())
    );
    assert_eq!(
        fault("*/90 * * * *"),
        (3, "minute field: a step of 90 is more than the 60 minutes there are".to_owned())
    );
    assert_eq!(fault("99999999999999999999 * * * *").0, 1);
}

#[test]
fn what_never_fires_is_a_fault() {
    assert_eq!(
        fault("0 0 31 2 *"),
        (5, "day of month field: this never fires: FEB has no day 31, its last is 29".to_owned())
    );
    assert_eq!(fault("0 0 31 4,6,9,11 *").0, 5);
    assert_eq!(fault("0 0 30-31 FEB *").0, 5);
    for fires in ["0 0 29 2 *", "0 0 31 2 MON", "0 0 31 2,3 *", "0 0 29-31 2 *", "0 0 30 4 *"] {
        assert!(Schedule::parse(fires).is_ok(), "{fires}");
    }
}

#[test]
fn what_other_crons_know_is_refused_by_name() {
    for (expression, column, said) in [
        ("0 0 ? * MON", 5, "`?` is not part of POSIX cron; write `*`"),
        ("0 0 L * *", 5, "L, W and H of other crons"),
        ("0 0 15W * *", 5, "L, W and H"),
        ("0 0 LW * *", 5, "L, W and H"),
        ("0 0 * * 5L", 9, "L, W and H"),
        ("0 0 * * 5#2", 10, "`#` is not part of POSIX cron"),
        ("H * * * *", 1, "L, W and H"),
        (
            "0 0 2 * * *",
            11,
            "6 fields, but there are five (minute, hour, day of month, month, day of week): seconds and years are not read",
        ),
        ("0 0 2 * * * 2027", 11, "7 fields"),
        ("0 2 * *", 8, "4 of five fields"),
        ("", 1, "empty"),
        (" ", 1, "empty"),
        ("@reboot", 1, "@reboot has no meaning here"),
        ("@every 5m", 1, "`*/5 * * * *`"),
        ("@dayly", 1, "did you mean @daily?"),
        ("@daily *", 8, "stands alone"),
        ("0 0 * * Monday", 9, "did you mean MON?"),
        ("0 0 * Jn *", 7, "did you mean JAN?"),
        ("MON * * * *", 1, "\"MON\" is not a number"),
        ("5/10 * * * *", 1, "write `5-59/10` for every 10 minutes from 5 on"),
        ("0 0 1, * *", 7, "a value is missing beside the comma"),
        ("1- * * * *", 1, "lacks an end"),
        ("-1 * * * *", 1, "lacks an end"),
        ("1-2-3 * * * *", 3, "\"2-3\" is not a number"),
        ("*/ * * * *", 3, "a number is missing after `/`"),
        ("*/2/3 * * * *", 3, "the step \"2/3\" is not a number"),
        ("** * * * *", 1, "`*` stands alone"),
        ("+5 * * * *", 1, "is not a number"),
        ("1.5 * * * *", 1, "is not a number"),
    ] {
        let (position, message) = fault(expression);
        assert_eq!(position, column, "{expression}: {message}");
        assert!(message.contains(said), "{expression}: {message}");
    }
    assert!(fault(&"1,".repeat(5000)).1.contains("at most 600"));
}

#[test]
fn every_value_of_every_field_written_out_can_be_read() {
    let all = |from: u32, to: u32| (from..=to).map(|v| v.to_string()).collect::<Vec<_>>().join(",");
    let text = format!("{} {} {} {} {}", all(0, 59), all(0, 23), all(1, 31), all(1, 12), all(0, 7));
    assert!(Schedule::parse(&text).is_ok(), "{} characters", text.len());
}

#[test]
fn a_time_zone_is_an_iana_name() {
    assert_eq!(parse_timezone("Europe/Berlin").unwrap(), Tz::Europe__Berlin);
    for (name, said) in [
        ("Europe/Berlinn", "did you mean \"Europe/Berlin\"?"),
        ("europe/berlin", "did you mean \"Europe/Berlin\"?"),
        ("berlin", "did you mean \"Europe/Berlin\"?"),
        ("new york", "did you mean \"America/New_York\"?"),
        ("", "such as `Europe/Berlin`"),
        ("+02:00", "is not known"),
    ] {
        let message = parse_timezone(name).unwrap_err();
        assert!(message.contains(said), "{name}: {message}");
    }
    assert!(parse_timezone(&"x".repeat(100_000)).unwrap_err().len() < 200);
}
