//! Forms of dates and times, such as `%d.%m.%Y`.

use chrono::format::{Fixed, Item, Numeric, StrftimeItems};

/// Whether `form` can be understood.
pub fn is_form(form: &str) -> bool {
    StrftimeItems::new(form).all(|item| !matches!(item, Item::Error))
}

/// Why a text in this form does not say its instant, where its zone or its hour is no more than hinted at.
pub fn leaves_open(form: &str) -> Option<&'static str> {
    // The item of this offset is none of those that have names.
    let (mut zone_name, mut offset, mut of_twelve, mut hour) = (false, form.contains("%#z"), false, false);
    for item in StrftimeItems::new(form) {
        match item {
            Item::Fixed(Fixed::TimezoneName) => zone_name = true,
            Item::Fixed(
                Fixed::TimezoneOffset
                | Fixed::TimezoneOffsetZ
                | Fixed::TimezoneOffsetColon
                | Fixed::TimezoneOffsetColonZ
                | Fixed::TimezoneOffsetDoubleColon
                | Fixed::TimezoneOffsetTripleColon,
            ) => offset = true,
            Item::Numeric(Numeric::Timestamp, _) | Item::Fixed(Fixed::RFC2822 | Fixed::RFC3339) => return None,
            Item::Numeric(Numeric::Hour12, _) => of_twelve = true,
            Item::Numeric(Numeric::Hour, _) | Item::Fixed(Fixed::LowerAmPm | Fixed::UpperAmPm) => hour = true,
            _ => {}
        }
    }
    if zone_name && !offset {
        return Some("the name of a zone (%Z) does not tell how far it is from UTC; %z reads an offset such as +0200");
    }
    if of_twelve && !hour {
        return Some("an hour of twelve (%I) needs %p for AM and PM; %H reads one of 24");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_which_zone_and_which_half_of_the_day() {
        assert!(is_form("%d.%m.%Y %H:%M:%S") && !is_form("%Q"));
        for form in ["%F %T", "%F %I:%M %p", "%F %r", "%F %T %z", "%F %T %#z %Z", "%F %T %z %Z", "%s", "%+"] {
            assert_eq!(leaves_open(form), None, "{form}");
        }
        assert!(leaves_open("%F %T %Z").is_some_and(|why| why.contains("%z")));
        for form in ["%F %I:%M", "%F %I:%M %z"] {
            assert!(leaves_open(form).is_some_and(|why| why.contains("%p")), "{form}");
        }
    }
}
