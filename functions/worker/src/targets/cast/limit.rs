//! Values that a field can have and the column behind it cannot, such as a database's.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, TimestampMicrosecondType,
};
use serde_json::Value;
use std::collections::HashMap;

/// The limits of columns by their names.
pub type Limits = HashMap<String, Limit>;

/// What a column cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Texts with the character of the number zero.
    NoZeros,
    /// JSON with that character, or with half of a character, written as an escape.
    SoundJson,
    /// Texts that a character set lacks a character of, or that have more bytes in it than there is room for.
    Encoded(Charset, Option<usize>),
    /// NaN and the infinite.
    Finite,
    /// Days or microseconds after 1970 from the first number to the second, which are named by the text.
    Between(i64, i64, &'static str),
}

/// A character set of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// All characters, in one to four bytes.
    Utf8,
    /// Those with up to three bytes in UTF-8.
    Utf8Short,
    /// Those with up to three bytes in UTF-8, in two bytes each.
    Two,
    /// Western Europe's, as Windows has them.
    Latin1,
    Ascii,
    /// One that is not known here: the database says what it lacks.
    Other,
}

impl Charset {
    /// The one that MySQL calls `name`.
    pub fn of(name: &str) -> Self {
        match name {
            "utf8mb4" => Self::Utf8,
            "utf8" | "utf8mb3" => Self::Utf8Short,
            "ucs2" => Self::Two,
            "latin1" => Self::Latin1,
            "ascii" => Self::Ascii,
            _ => Self::Other,
        }
    }

    fn has(self, character: char) -> bool {
        /// What stands in the place of the control characters from 0x80 to 0x9f.
        const WINDOWS: &str = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ\u{81}\u{8d}\u{8f}\u{90}\u{9d}";
        match self {
            Self::Utf8 | Self::Other => true,
            Self::Utf8Short | Self::Two => character <= '\u{ffff}',
            Self::Latin1 => {
                character.is_ascii() || ('\u{a0}'..='\u{ff}').contains(&character) || WINDOWS.contains(character)
            }
            Self::Ascii => character.is_ascii(),
        }
    }

    fn bytes(self, text: &str) -> usize {
        match self {
            Self::Utf8 | Self::Utf8Short => text.len(),
            Self::Two => text.chars().count() * 2,
            // No set has fewer bytes than characters.
            Self::Latin1 | Self::Ascii | Self::Other => text.chars().count(),
        }
    }

    fn holds(self, text: &str, most: Option<usize>) -> bool {
        let fits = most.is_none_or(|most| text.len() <= most && self != Self::Two || self.bytes(text) <= most);
        fits && (matches!(self, Self::Utf8 | Self::Other) || text.is_ascii() || text.chars().all(|c| self.has(c)))
    }
}

impl Limit {
    /// The rows whose value is beyond it.
    pub fn beyond(self, array: &ArrayRef) -> Vec<usize> {
        let texts = |refused: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let all = array.as_string::<i32>().iter().enumerate();
            all.filter_map(|(row, text)| text.is_some_and(refused).then_some(row)).collect()
        };
        match (self, array.data_type()) {
            (Self::NoZeros, DataType::Utf8) => texts(&|text| text.as_bytes().contains(&0)),
            (Self::Encoded(charset, bytes), DataType::Utf8) => texts(&|text| !charset.holds(text, bytes)),
            (Self::SoundJson, DataType::Utf8) => texts(&|text| !is_sound(text)),
            (Self::Finite, DataType::Float32) => refused(array.as_primitive::<Float32Type>(), |v| !v.is_finite()),
            (Self::Finite, DataType::Float64) => refused(array.as_primitive::<Float64Type>(), |v| !v.is_finite()),
            (Self::Between(low, high, _), DataType::Date32) => {
                refused(array.as_primitive::<Date32Type>(), |v| !(low..=high).contains(&i64::from(v)))
            }
            (Self::Between(low, high, _), DataType::Timestamp(..)) => {
                refused(array.as_primitive::<TimestampMicrosecondType>(), |v| !(low..=high).contains(&v))
            }
            _ => Vec::new(),
        }
    }

    /// Why a value beyond it is refused.
    pub fn why(self) -> String {
        match self {
            Self::NoZeros => "the database holds no text with the character of the number zero".to_owned(),
            Self::SoundJson => "the database holds no JSON with \\u0000 or with half of a surrogate pair".to_owned(),
            Self::Encoded(charset, bytes) => {
                let lacks = match charset {
                    Charset::Utf8 | Charset::Other => None,
                    Charset::Utf8Short | Charset::Two => Some("characters beyond U+FFFF, such as emoji"),
                    Charset::Latin1 => Some("characters beyond Western Europe's (latin1)"),
                    Charset::Ascii => Some("characters beyond ASCII"),
                };
                let lacks = lacks.map(|lacks| format!("no {lacks} (make its character set utf8mb4 to hold them)"));
                let most = bytes.map(|most| format!("{most} bytes at most"));
                let both = [lacks, most].into_iter().flatten().collect::<Vec<_>>().join(", and ");
                format!("the database's column holds {both}")
            }
            Self::Finite => "the database holds neither NaN nor infinity".to_owned(),
            Self::Between(_, _, span) => format!("the database's column holds {span} only"),
        }
    }
}

fn refused<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, refuse: impl Fn(T::Native) -> bool) -> Vec<usize> {
    array.iter().enumerate().filter_map(|(row, value)| value.is_some_and(&refuse).then_some(row)).collect()
}

fn is_sound(json: &str) -> bool {
    // Only an escape can hide what the text itself does not show.
    if !json.contains("\\u") {
        return true;
    }
    serde_json::from_str::<Value>(json).is_ok_and(|value| !has_zero(&value))
}

fn has_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(all) => all.iter().any(has_zero),
        Value::Object(all) => all.iter().any(|(key, value)| key.contains('\0') || has_zero(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float64Array, StringArray, TimestampMicrosecondArray};
    use std::sync::Arc;

    #[test]
    fn values_beyond_a_limit_are_told_and_null_is_none() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a\0b"), None]));
        assert_eq!(Limit::NoZeros.beyond(&texts), [1]);
        let json = [r#"{"a":"\u0000"}"#, r#"["\ud800"]"#, r#""\u00e9 \ud83d\ude00""#, "1"];
        let json: ArrayRef = Arc::new(StringArray::from(json.to_vec()));
        assert_eq!(Limit::SoundJson.beyond(&json), [0, 1]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["abc", "äö€", "日本", "😀"]));
        let beyond = |name: &str, most| Limit::Encoded(Charset::of(name), most).beyond(&texts);
        assert_eq!(beyond("utf8mb3", None), [3]);
        assert_eq!(beyond("latin1", None), [2, 3]);
        assert_eq!(beyond("latin1", Some(2)), [0, 1, 2, 3]);
        assert_eq!(beyond("ascii", None), [1, 2, 3]);
        assert_eq!(beyond("utf8mb4", Some(6)), [1]);
        assert_eq!(beyond("ucs2", Some(5)), [0, 1, 3]);
        assert!(beyond("sjis", None).is_empty());
        assert_eq!(
            Limit::Encoded(Charset::Ascii, Some(255)).why(),
            "the database's column holds no characters beyond ASCII (make its character set utf8mb4 to hold them), and 255 \
             bytes at most"
        );
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, f64::INFINITY]));
        assert_eq!(Limit::Finite.beyond(&floats), [1, 2]);
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(0), None, Some(9)]));
        assert_eq!(Limit::Between(0, 8, "until 8").beyond(&times), [2]);
    }
}
