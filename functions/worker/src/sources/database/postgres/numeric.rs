//! PostgreSQL's numeric as it comes over the wire: digits of base 10,000.

use datafusion::arrow::datatypes::i256;
use std::fmt::Write;

/// A numeric.
#[derive(Debug, PartialEq, Eq)]
pub enum Numeric {
    /// `NaN`, `Infinity` or `-Infinity`.
    Special(&'static str),
    Number {
        negative: bool,
        /// The power of 10,000 of the first digit.
        weight: i32,
        /// Decimal digits behind the point that are shown.
        scale: u16,
        digits: Vec<u16>,
    },
}

impl Numeric {
    /// Reads the binary form; none where it is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(2).map(|pair| match pair {
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        });
        let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
        match sign {
            0xc000 => return Some(Self::Special("NaN")),
            0xd000 => return Some(Self::Special("Infinity")),
            0xf000 => return Some(Self::Special("-Infinity")),
            _ => {}
        }
        let digits: Vec<u16> = words.collect();
        (digits.len() == usize::from(count)).then(|| Self::Number {
            negative: sign == 0x4000,
            weight: i32::from(weight.cast_signed()),
            scale,
            digits,
        })
    }

    /// The value times 10^`to`, where that is a whole number of at most `precision` digits.
    pub fn units(&self, precision: u8, to: i8) -> Option<i128> {
        let Self::Number { negative, weight, digits, .. } = self else { return None };
        // 19 groups are 76 digits, which is what the sum below holds; such a number is too long for any decimal.
        if digits.len() > 18 {
            return None;
        }
        let mut sum = i256::ZERO;
        for digit in digits {
            sum = sum.checked_mul(i256::from_i128(10_000))?.checked_add(i256::from_i128(i128::from(*digit)))?;
        }
        let exponent = (weight - i32::try_from(digits.len()).ok()? + 1) * 4 + i32::from(to);
        if sum == i256::ZERO {
            return Some(0);
        }
        let power = i256::from_i128(10).checked_pow(exponent.unsigned_abs().min(77))?;
        let units = if exponent >= 0 {
            sum.checked_mul(power)?
        } else {
            let whole = sum.checked_div(power)?;
            // Nothing is rounded away.
            if whole.checked_mul(power)? != sum {
                return None;
            }
            whole
        };
        let units = units.to_i128().filter(|u| *u < 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX))?;
        Some(if *negative { -units } else { units })
    }

    /// As the server writes it.
    pub fn text(&self) -> String {
        let (negative, weight, scale, digits) = match self {
            Self::Special(word) => return (*word).to_owned(),
            Self::Number { negative, weight, scale, digits } => (negative, *weight, *scale, digits),
        };
        let digit = |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
        let mut text = if *negative { "-".to_owned() } else { String::new() };
        if weight < 0 {
            text.push('0');
        }
        for at in 0..=weight {
            // Writing to a text does not fail.
            let _ = if at == 0 { write!(text, "{}", digit(at)) } else { write!(text, "{:04}", digit(at)) };
        }
        if scale > 0 {
            let mut fraction = String::new();
            let mut at = weight + 1;
            // Groups between the point and the first digit.
            let leading = (-1 - weight).max(0);
            fraction.push_str(&"0000".repeat(usize::try_from(leading).unwrap_or(0)));
            if weight < 0 {
                at = 0;
            }
            while fraction.len() < usize::from(scale) {
                let _ = write!(fraction, "{:04}", digit(at));
                at += 1;
            }
            fraction.truncate(usize::from(scale));
            text.push('.');
            text.push_str(&fraction);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(negative: bool, weight: i16, scale: u16, digits: &[u16]) -> Numeric {
        let mut bytes = Vec::new();
        let sign: u16 = if negative { 0x4000 } else { 0 };
        for word in [digits.len() as u16, weight.cast_unsigned(), sign, scale] {
            bytes.extend(word.to_be_bytes());
        }
        digits.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
        Numeric::read(&bytes).unwrap()
    }

    #[test]
    fn digits_of_ten_thousand_become_units_and_text() {
        let some = number(true, 1, 3, &[12, 3456, 7890]);
        assert_eq!((some.text().as_str(), some.units(10, 3)), ("-123456.789", Some(-123_456_789)));
        assert_eq!((some.units(10, 2), some.units(8, 3)), (None, None));
        let small = number(false, -2, 7, &[1230]);
        assert_eq!((small.text().as_str(), small.units(38, 10)), ("0.0000123", Some(123_000)));
        let large = number(false, 2, 0, &[5]);
        assert_eq!((large.text().as_str(), large.units(38, 0)), ("500000000", Some(500_000_000)));
        let zero = number(false, 0, 2, &[]);
        assert_eq!((zero.text().as_str(), zero.units(5, 2)), ("0.00", Some(0)));
    }

    #[test]
    fn the_longest_decimals_are_exact() {
        // 38 nines with one digit behind the point: the groups do not end where the digits do.
        let mut digits = vec![9_u16];
        digits.extend([9999; 9]);
        digits.push(9000);
        let most = number(false, 9, 1, &digits);
        assert_eq!(most.units(38, 1), Some(10_i128.pow(38) - 1));
        assert_eq!(most.units(38, 2), None);
        assert_eq!(most.text(), format!("{}.9", "9".repeat(37)));
        let nan = Numeric::read(&[0, 0, 0, 0, 0xc0, 0, 0, 0]).unwrap();
        assert_eq!((nan.text().as_str(), nan.units(38, 0)), ("NaN", None));
    }
}
