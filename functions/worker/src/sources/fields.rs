//! Takes JSON records apart into the texts of their values, without making a tree of them.

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// Null, or not there.
const NOTHING: (u32, u32) = (u32::MAX, 0);

/// Calls `each(key, raw value)` for every member of the JSON object in `text`.
///
/// # Errors
/// The key and what is wrong with it, as `each` says; an empty key and a reason where `text` is not a JSON object.
pub fn read<'a>(
    text: &'a str,
    each: impl FnMut(&str, &'a str) -> Result<(), (String, String)>,
) -> Result<(), (String, String)> {
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = Members { each, refused: &mut refused };
    let read = deserializer.deserialize_map(members).and_then(|()| deserializer.end());
    match (refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Ok(())) => Ok(()),
        (None, Err(e)) => Err((String::new(), format!("the record is not valid JSON: {e}"))),
    }
}

/// The raw value of a member of the JSON object in `text`: the last one of the name.
///
/// # Errors
/// Why `text` is not a JSON object.
pub fn member<'a>(text: &'a str, name: &str) -> Result<Option<&'a str>, String> {
    let mut found = None;
    let read = read(text, |key, raw| {
        if key == name {
            found = Some(raw);
        }
        Ok(())
    });
    read.map(|()| found).map_err(|(_, why)| why)
}

/// The raw values in a JSON list; none where `text` is none.
pub fn elements(text: &str) -> Vec<&str> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    elements.into_iter().map(RawValue::get).collect()
}

struct Members<'r, F> {
    each: F,
    refused: &'r mut Option<(String, String)>,
}

impl<'de, F: FnMut(&str, &'de str) -> Result<(), (String, String)>> Visitor<'de> for Members<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            if let Err(refused) = (self.each)(&key, value.get()) {
                *self.refused = Some(refused);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The index of each column by its name; fast where records have their keys in one order.
pub struct Names<'a> {
    ordered: Vec<&'a str>,
    index: HashMap<&'a str, usize>,
    next: usize,
}

impl<'a> Names<'a> {
    /// Of these names, in order.
    pub fn new(names: impl Iterator<Item = &'a str>) -> Self {
        let ordered: Vec<&str> = names.collect();
        let index = ordered.iter().enumerate().map(|(i, &name)| (name, i)).collect();
        Self { ordered, index, next: 0 }
    }

    /// The index of a name.
    pub fn index(&mut self, name: &str) -> Option<usize> {
        if self.next >= self.ordered.len() {
            self.next = 0;
        }
        let found =
            if self.ordered.get(self.next) == Some(&name) { self.next } else { self.index.get(name).copied()? };
        self.next = found + 1;
        Some(found)
    }
}

/// The texts of the values of many records.
pub struct Cells {
    width: usize,
    /// Where each value lies: in the records' bytes, or past their last possible end in `extra`.
    spans: Vec<(u32, u32)>,
    /// Texts that had to be written anew: strings with escapes, and nested values without white space.
    extra: String,
}

/// Offsets from here on are in `extra`; the records of a chunk end far before.
const EXTRA: usize = 1 << 31;

impl Cells {
    /// For so many records and columns; all null.
    pub fn new(records: usize, width: usize) -> Self {
        Self { width, spans: vec![NOTHING; records * width], extra: String::new() }
    }

    /// Sets a value to `raw`, which is a part of `text`, which lies at `start` in the records' bytes.
    ///
    /// # Errors
    /// Why the value cannot be read.
    pub fn set(&mut self, record: usize, column: usize, start: usize, text: &str, raw: &str) -> Result<(), String> {
        let at = start + (raw.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
        let span = match raw.as_bytes().first() {
            Some(b'n') => NOTHING,
            Some(b'"') if !raw.contains('\\') => (at as u32 + 1, (at + raw.len()) as u32 - 1),
            Some(b'"') => {
                let text: String =
                    serde_json::from_str(raw).map_err(|e| format!("the value is not a valid JSON string: {e}"))?;
                self.add(|extra| extra.push_str(&text))
            }
            Some(b'{' | b'[') => self.add(|extra| compact(raw, extra)),
            _ => (at as u32, (at + raw.len()) as u32),
        };
        if let Some(cell) = self.spans.get_mut(record * self.width + column) {
            *cell = span;
        }
        Ok(())
    }

    fn add(&mut self, write: impl FnOnce(&mut String)) -> (u32, u32) {
        let start = EXTRA + self.extra.len();
        write(&mut self.extra);
        (start as u32, (EXTRA + self.extra.len()) as u32)
    }

    /// Makes all values of a record null.
    pub fn clear(&mut self, record: usize) {
        let start = record * self.width;
        if let Some(cells) = self.spans.get_mut(start..start + self.width) {
            cells.fill(NOTHING);
        }
    }

    /// The text of a value; `bytes` are the records' bytes.
    pub fn get<'a>(&'a self, bytes: &'a [u8], record: usize, column: usize) -> Option<&'a str> {
        let span = *self.spans.get(record * self.width + column)?;
        if span == NOTHING {
            return None;
        }
        let (start, end) = (span.0 as usize, span.1 as usize);
        match start.checked_sub(EXTRA) {
            Some(start) => self.extra.get(start..end - EXTRA),
            None => std::str::from_utf8(bytes.get(start..end)?).ok(),
        }
    }
}

/// Writes JSON without the white space between its tokens; numbers and strings stay as they are.
pub fn compact(raw: &str, out: &mut String) {
    let (mut quoted, mut escaped) = (false, false);
    for c in raw.chars() {
        if quoted {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
        } else if c == '"' {
            quoted = true;
        } else if c.is_ascii_whitespace() {
            continue;
        }
        out.push(c);
    }
}
