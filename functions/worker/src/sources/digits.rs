//! The digits of a number as it is written, from which it is told what holds it without loss.

/// Significant digits that every double holds as they are written.
const DOUBLE_DIGITS: usize = 17;

/// Whether a number has more digits than a double holds.
pub(super) fn is_longer_than_a_double(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    if mantissa.len() <= DOUBLE_DIGITS {
        return false;
    }
    let digits = mantissa.bytes().filter(u8::is_ascii_digit);
    let (mut count, mut zeros) = (0, 0);
    for digit in digits.skip_while(|digit| *digit == b'0') {
        // Zeros at the end tell nothing.
        zeros = if digit == b'0' { zeros + 1 } else { 0 };
        count += 1;
    }
    count - zeros > DOUBLE_DIGITS
}

/// Digits of a whole number that every double holds.
const WHOLE_DIGITS: usize = 15;

/// Whether a double holds no number that is written like this one: it has too many digits, or is a whole number between two
/// doubles.
pub(super) fn is_lost_in_a_double(text: &str) -> bool {
    is_longer_than_a_double(text) || is_between_doubles(text)
}

fn is_between_doubles(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.len() <= WHOLE_DIGITS || !is_digits(digits) {
        return false;
    }
    // One that it is shown as is the usual way to write it, such as 10^23, which no double is.
    let is_shown = digits.parse::<f64>().is_ok_and(|value| value.to_string() == digits);
    let is_held = digits.parse::<u128>().is_ok_and(|whole| whole as f64 as u128 == whole);
    !is_shown && !is_held
}

/// How many digits a number without an exponent has before its point, leading zeros aside, and behind it.
pub(super) fn digits(text: &str) -> Option<(u8, u8)> {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if !all(whole) || !all(fraction) {
        return None;
    }
    let count = |digits: &str| u8::try_from(digits.len()).ok();
    Some((count(whole.trim_start_matches('0'))?, count(fraction.trim_end_matches('0'))?))
}

pub(super) fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    matches!(digits, [b'0', b'0'..=b'9', ..])
}

pub(super) fn is_digits(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_between_two_doubles_are_lost() {
        for text in ["9007199254740993", "-9007199254740993", "12345678901234567", "123456789012345678"] {
            assert!(is_lost_in_a_double(text), "{text}");
        }
        for text in [
            "9007199254740991",
            "+9007199254740994",
            "-9007199254740992",
            "72057594037927936",
            "1000000000000000000000",
            "0.1234567890123456",
        ] {
            assert!(!is_lost_in_a_double(text), "{text}");
        }
    }
}
