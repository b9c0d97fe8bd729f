//! Dates and times in a strftime form, such as `%d.%m.%Y`.

use chrono::NaiveTime;
use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse_and_remainder};

/// Microseconds since 1970 of a text in a form with a zone, without one, or without a time of day. `as_written` leaves
/// the zone out: a date is the one that the text says, whatever the day is in UTC.
pub fn micros(text: &str, form: &str, as_written: bool) -> Option<i64> {
    let parsed = parsed(text, form)?;
    if let Ok(at) = parsed.to_datetime() {
        return Some(if as_written { at.naive_local().and_utc() } else { at.to_utc() }.timestamp_micros());
    }
    if let Ok(at) = parsed.to_naive_datetime_with_offset(0) {
        return Some(at.and_utc().timestamp_micros());
    }
    let date = parsed.to_naive_date().ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

/// What a text says. It is read item by item, since chrono takes 24 for the year 24 where a whole year is asked for.
fn parsed(text: &str, form: &str) -> Option<Parsed> {
    let (mut parsed, mut rest) = (Parsed::new(), text);
    for item in StrftimeItems::new(form) {
        let year = matches!(item, Item::Numeric(Numeric::Year | Numeric::IsoYear, _) | Item::Fixed(Fixed::RFC3339));
        if year && !begins_with_year(rest) {
            return None;
        }
        rest = parse_and_remainder(&mut parsed, rest, std::iter::once(item)).ok()?;
    }
    rest.is_empty().then_some(parsed)
}

/// Whether a text begins with the four digits that a year has.
fn begins_with_year(text: &str) -> bool {
    let text = text.trim_start();
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    text.bytes().take_while(u8::is_ascii_digit).count() >= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, form: &str) -> Option<String> {
        let at = chrono::DateTime::from_timestamp_micros(micros(text, form, false)?)?;
        Some(at.naive_utc().to_string())
    }

    #[test]
    fn a_year_has_four_digits() {
        for (text, form) in [
            ("31.12.24", "%d.%m.%Y"),
            ("31.12.999", "%d.%m.%Y"),
            ("24-12-31", "%F"),
            ("24-W01-1", "%G-W%V-%u"),
            ("31-Dec-24", "%v"),
            ("Tue Dec 31 00:00:00 24", "%c"),
            ("24-12-31T00:00:00Z", "%+"),
        ] {
            assert_eq!(read(text, form), None, "{text} as {form}");
        }
    }

    #[test]
    fn all_years_are_read() {
        for (text, form) in [
            ("31.12.2024", "%d.%m.%Y"),
            ("31.12.24", "%d.%m.%y"),
            ("20241231", "%Y%m%d"),
            ("20 24 12 31", "%C %y %m %d"),
            ("2024-12-31", "%F"),
            ("2025-W01-2", "%G-W%V-%u"),
            ("31-Dec-2024", "%v"),
            ("Tue Dec 31 00:00:00 2024", "%c"),
            ("2024-12-31T01:00:00+01:00", "%+"),
            ("1735603200", "%s"),
        ] {
            assert_eq!(read(text, form).as_deref(), Some("2024-12-31 00:00:00"), "{text} as {form}");
        }
        assert_eq!(read("31.12.0024", "%d.%m.%Y").as_deref(), Some("0024-12-31 00:00:00"));
        assert_eq!(read("31.12.2024 ", "%d.%m.%Y"), None);
    }
}
