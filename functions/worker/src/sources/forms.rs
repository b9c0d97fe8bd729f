//! Dates and times in a strftime form, such as `%d.%m.%Y`.

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse_and_remainder};

/// Microseconds since 1970 of a text in a form with a zone, without one, or without a time of day. None where the text says
/// a part of the time from which the instant does not follow, such as the name of a zone.
pub fn micros(text: &str, form: &str) -> Option<i64> {
    let (mut parsed, names_zone) = parsed(text, form)?;
    fill_in(&mut parsed)?;
    let at = match (parsed.offset(), parsed.timestamp()) {
        (None, None) if names_zone => return None,
        (None, None) => parsed.to_naive_datetime_with_offset(0).ok()?.and_utc(),
        _ => parsed.to_datetime().ok()?.to_utc(),
    };
    Some(at.timestamp_micros())
}

/// Days since 1970 of a text in a form: the date is the one that the text says, whatever the day is in UTC.
pub fn days(text: &str, form: &str) -> Option<i32> {
    let (parsed, _) = parsed(text, form)?;
    let date = match parsed.to_naive_date() {
        Ok(date) => date,
        // It may say seconds since 1970.
        Err(_) => parsed.to_datetime().ok()?.date_naive(),
    };
    Some(date.to_epoch_days())
}

/// The time of day that a text leaves out: midnight, or the beginning of the hour where it says no more than that.
fn fill_in(parsed: &mut Parsed) -> Option<()> {
    let says_more = parsed.minute().is_some() || parsed.second().is_some() || parsed.nanosecond().is_some();
    if says_more || parsed.timestamp().is_some() {
        return Some(());
    }
    if parsed.hour_div_12().is_none() && parsed.hour_mod_12().is_none() {
        parsed.set_hour(0).ok()?;
    }
    parsed.set_minute(0).ok()
}

/// What a text says, and whether its form has the name of a zone, which is read and says nothing. It is read item by item,
/// since chrono takes 24 for the year 24 where a whole year is asked for.
fn parsed(text: &str, form: &str) -> Option<(Parsed, bool)> {
    let (mut parsed, mut rest, mut names_zone) = (Parsed::new(), text, false);
    for item in StrftimeItems::new(form) {
        names_zone |= matches!(item, Item::Fixed(Fixed::TimezoneName));
        let year = matches!(item, Item::Numeric(Numeric::Year | Numeric::IsoYear, _) | Item::Fixed(Fixed::RFC3339));
        if year && !begins_with_year(rest) {
            return None;
        }
        rest = parse_and_remainder(&mut parsed, rest, std::iter::once(item)).ok()?;
    }
    rest.is_empty().then_some((parsed, names_zone))
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
        let at = chrono::DateTime::from_timestamp_micros(micros(text, form)?)?;
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

    #[test]
    fn a_time_of_day_is_read_as_far_as_it_is_told() {
        for (text, form, expected) in [
            ("2024053114", "%Y%m%d%H", Some("2024-05-31 14:00:00")),
            ("2024-05-31 14 +0200", "%Y-%m-%d %H %z", Some("2024-05-31 12:00:00")),
            ("2024-05-31 +0200", "%Y-%m-%d %z", Some("2024-05-30 22:00:00")),
            ("31.12.2024 10 PM", "%d.%m.%Y %I %p", Some("2024-12-31 22:00:00")),
            ("31.12.2024 12:30 am", "%d.%m.%Y %I:%M %P", Some("2024-12-31 00:30:00")),
            ("31.12.2024 10:30", "%d.%m.%Y %I:%M", None),
            ("31.12.2024 PM", "%d.%m.%Y %p", None),
            ("31.12.2024 30", "%d.%m.%Y %M", None),
            ("31.12.2024 14 30", "%d.%m.%Y %H %S", None),
            ("31.12.2024 14:30 +9900", "%d.%m.%Y %H:%M %z", None),
        ] {
            assert_eq!(read(text, form).as_deref(), expected, "{text} as {form}");
        }
    }

    #[test]
    fn the_name_of_a_zone_says_nothing_and_a_date_needs_none() {
        assert_eq!(read("2024-07-01 12:00:00 EST", "%F %T %Z"), None);
        assert_eq!(read("2024-07-01 12:00:00 -0500 EST", "%F %T %z %Z").as_deref(), Some("2024-07-01 17:00:00"));
        for (text, form) in [
            ("2024-07-01 23:00:00 EST", "%F %T %Z"),
            ("2024-07-01 00:30 +0200", "%F %H:%M %z"),
            ("2024-07-01 10:30", "%F %I:%M"),
            ("1719792000", "%s"),
        ] {
            assert_eq!(days(text, form), Some(19_905), "{text} as {form}");
        }
        assert_eq!(days("2024-07", "%Y-%m"), None);
    }
}
