//! What texts are values, of which types.

use crate::sources::guess::Guess;
use crate::sources::parse::{boolean, date, decimal, double, integer, real, timestamp, why};
use chrono::{Datelike, NaiveDate, NaiveDateTime};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use proptest::prelude::*;

#[test]
fn integers_are_exact_up_to_their_bounds() {
    assert_eq!(integer("9223372036854775807"), Some(i64::MAX));
    assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
    assert_eq!(integer("9223372036854775808"), None);
    assert_eq!(integer(" +12 "), Some(12));
    assert_eq!(integer("12.00"), Some(12));
    for text in ["", "-", "12.", "12.5", "1e3", "0x1", "1 2", "١"] {
        assert_eq!(integer(text), None, "{text}");
    }
}

#[test]
fn decimals_are_parsed_exactly_and_never_rounded() {
    assert_eq!(decimal("0.1", 10, 2), Some(10));
    assert_eq!(decimal("-12.340", 10, 2), Some(-1234));
    assert_eq!(decimal("1e3", 10, 2), Some(100_000));
    assert_eq!(decimal("12345e-4", 10, 4), Some(12_345));
    assert_eq!(decimal(".5", 3, 1), Some(5));
    assert_eq!(decimal("0.000", 3, 1), Some(0));
    assert_eq!(decimal("12345678901234567890123456789012345678", 38, 0), Some(12345678901234567890123456789012345678));
    for text in ["1.234", "123456789", "", "-", ".", "1.2.3", "1e", "abc", "1e99", "1e-9"] {
        assert_eq!(decimal(text, 10, 2), None, "{text}");
    }
    assert!(why("1.234", &DataType::Decimal128(10, 2)).contains("10 digits with 2"));
}

#[test]
fn doubles_may_be_infinite_only_where_it_is_written() {
    assert_eq!(double("1e-7"), Some(1e-7));
    assert_eq!(double("inf"), Some(f64::INFINITY));
    assert!(double("NaN").is_some_and(f64::is_nan));
    assert_eq!(double("1e400"), None);
    assert_eq!(real("1e39"), None);
}

#[test]
fn booleans_have_several_words() {
    assert_eq!(
        [boolean("TRUE"), boolean("y"), boolean("0"), boolean("maybe")],
        [Some(true), Some(true), Some(false), None]
    );
}

#[test]
fn zones_are_heeded_and_missing_ones_mean_utc() {
    let noon = timestamp("2024-01-01T12:00:00Z");
    assert!(noon.is_some());
    for text in [
        "2024-01-01 12:00",
        "2024-01-01T14:00:00+02:00",
        "2024-01-01 06:30:00.000-0530",
        "2024-01-01 12:00:00 UTC",
        "2024-01-01 13:00:00+01",
    ] {
        assert_eq!(timestamp(text), noon, "{text}");
    }
    for text in [
        "2024-01-01T24:00:00",
        "2024-13-01",
        "2023-02-29",
        "2024-01-01T",
        "2024-01-01T12",
        "2024-01-01T12:00:00.",
        "2024-01-01x",
    ] {
        assert_eq!(timestamp(text), None, "{text}");
    }
    assert_eq!(date("2024-01-01 00:00:00"), date("2024-01-01"));
    assert_eq!(date("2024-01-01 00:00:01"), None);
}

#[test]
fn a_guess_holds_all_that_was_seen() {
    let guess = |texts: &[&str]| {
        let mut guess = Guess::default();
        texts.iter().for_each(|t| guess.see(t));
        guess.data_type()
    };
    assert_eq!(guess(&[]), DataType::Utf8);
    assert_eq!(guess(&["1", "9007199254740993"]), DataType::Int64);
    assert_eq!(guess(&["1", "1.5"]), DataType::Float64);
    assert_eq!(guess(&["9007199254740993", "1.5"]), DataType::Utf8);
    assert_eq!(guess(&["1.5e-3", "-.5"]), DataType::Float64);
    assert_eq!(guess(&["1", "true"]), DataType::Utf8);
    assert_eq!(guess(&["01"]), DataType::Utf8);
    assert_eq!(guess(&["+49170"]), DataType::Utf8);
    assert_eq!(guess(&["2024-01-01", "2024-01-01 10:00:00"]), DataType::Timestamp(TimeUnit::Microsecond, None));
    assert_eq!(guess(&["2024-01-01 10:00:00", "2024-01-01 10:00:00Z"]), DataType::Utf8);
    assert_eq!(guess(&["2024-1-1"]), DataType::Utf8);
}

#[test]
fn numbers_with_more_digits_than_a_double_are_guessed_as_decimals_that_hold_them() {
    let guess = |texts: &[&str]| {
        let mut guess = Guess::default();
        texts.iter().for_each(|t| guess.see(t));
        guess.data_type()
    };
    assert_eq!(guess(&["1", "0.12345678901234567"]), DataType::Float64);
    assert_eq!(guess(&["1", "-1.12345678901234567"]), DataType::Decimal128(38, 17));
    assert_eq!(guess(&["9007199254740993", "0.123456789012345678"]), DataType::Decimal128(38, 18));
    assert_eq!(guess(&["1.50000000000000000000000000"]), DataType::Float64);
    assert_eq!(guess(&["12345678901234567890.5", "0.1234567890123456789"]), DataType::Utf8);
    assert_eq!(guess(&["1.123456789012345678", "1e3"]), DataType::Utf8);
    assert_eq!(guess(&["1.123456789012345678e2"]), DataType::Utf8);
    assert_eq!(guess(&["1.123456789012345678", "x"]), DataType::Utf8);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn instants_are_those_of_chrono(days in 0_i64..3_652_059, micros in 0_i64..86_400_000_000) {
        let start = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
        let day = start + chrono::Duration::days(days);
        let at = NaiveDateTime::from(day) + chrono::Duration::microseconds(micros);
        prop_assume!(at.year() <= 9999);
        let text = at.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
        prop_assert_eq!(timestamp(&text), Some(at.and_utc().timestamp_micros()));
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        prop_assert_eq!(date(&text[..10]).map(i64::from), Some((day - epoch).num_days()));
    }

    #[test]
    fn what_is_no_value_never_panics(text in "\\PC{0,40}|[-+0-9.eE:TZ ]{0,30}") {
        let _ = (integer(&text), double(&text), decimal(&text, 38, 10), date(&text), timestamp(&text));
        let mut guess = Guess::default();
        guess.see(&text);
        guess.see_text(&text);
    }

    #[test]
    fn integers_survive(value: i64) {
        prop_assert_eq!(integer(&value.to_string()), Some(value));
        prop_assert_eq!(decimal(&value.to_string(), 38, 3), Some(i128::from(value) * 1000));
    }
}
