//! Canonical JSON (RFC 8785) and its SHA-256, so that anybody who has the same values comes to the same hash.
//!
//! Keys are sorted by their UTF-16 code units, nothing stands between tokens, texts are escaped no more than they must be,
//! and numbers are written as JavaScript writes them. Whole numbers that are kept as such stay exact beyond 2^53.

use serde_json::{Number, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The canonical text of `value`.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// `sha256:` and the hash of the canonical text in hexadecimal digits.
pub fn hash(value: &Value) -> String {
    hash_of(text(value).as_bytes())
}

/// `sha256:` and the hash of `bytes` in hexadecimal digits.
pub fn hash_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write_number(number: &Number, out: &mut String) {
    match number.as_f64().filter(|_| number.is_f64()) {
        None => out.push_str(&number.to_string()),
        // Minus zero too.
        Some(0.0) => out.push('0'),
        Some(float) if (1e-6..1e21).contains(&float.abs()) => drop(write!(out, "{float}")),
        Some(float) => {
            let text = format!("{float:e}");
            // JavaScript writes the sign of a positive exponent.
            let text = if text.contains("e-") { text } else { text.replacen('e', "e+", 1) };
            out.push_str(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_nothing_stands_between_tokens() {
        let value = json!({"b": [1, true, null], "a": {"y": "ü", "x": "a\"\\\n\u{1}/"}});
        assert_eq!(text(&value), "{\"a\":{\"x\":\"a\\\"\\\\\\n\\u0001/\",\"y\":\"ü\"},\"b\":[1,true,null]}");
        // By UTF-16 code units, as RFC 8785 has it: a surrogate comes before U+FB33.
        let value = json!({"\u{fb33}": 1, "\u{1f600}": 2, "\u{20ac}": 3});
        assert_eq!(text(&value), "{\"\u{20ac}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        let value = json!([100.0, -0.0, 1.5, 1e21, 1e-7, 1.25e-9, 1e20, 0.000001, -4.5e300, 9_007_199_254_740_993_i64]);
        assert_eq!(
            text(&value),
            "[100,0,1.5,1e+21,1e-7,1.25e-9,100000000000000000000,0.000001,-4.5e+300,9007199254740993]"
        );
    }

    #[test]
    fn a_hash_is_that_of_the_text() {
        // printf '{}' | sha256sum
        assert_eq!(hash(&json!({})), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
        assert_eq!(hash(&json!({"a": 1, "b": 2})), hash(&serde_json::from_str("{\"b\": 2, \"a\": 1.0}").unwrap()));
    }
}
