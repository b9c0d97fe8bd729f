//! Strict JSON: a key that is there twice is a fault, and so are too deep nesting, the character U+0000, and a number that is
//! not kept as it is written.

use super::numbers::{self, Numbers};
use super::{pointer, verdict};
use crate::{Error, Fault};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::{Cell, RefCell};
use std::fmt;

/// Deepest nesting of objects and arrays.
const MAX_DEPTH: usize = 64;
/// Bytes of pointers of the faults that are told; a long key is in the pointers of all that is below it.
const POINTERS: usize = 1 << 20;

/// A request's body: an object, with the faults of its JSON that no later check can see.
#[derive(Debug, Clone)]
pub struct Body {
    value: Value,
    faults: Vec<Fault>,
}

impl Body {
    /// A body made by hand, without faults of its own.
    pub fn new(value: Value) -> Self {
        Self { value, faults: Vec::new() }
    }

    /// The same with faults of what came with it, such as a header.
    #[must_use]
    pub fn with(mut self, faults: Vec<Fault>) -> Self {
        self.faults.extend(faults);
        self
    }

    /// The object as it was sent.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Keys that are there twice, characters and numbers that cannot be stored, and what came with it.
    pub(super) fn faults(&self) -> Vec<Fault> {
        self.faults.clone()
    }
}

/// Reads a body that has to be there.
///
/// # Errors
/// [`Error::Malformed`] with line and column where it is no JSON, [`Error::Invalid`] where it is no object.
/// Keys that are there twice are kept in the [`Body`], so that they are reported beside all other faults.
pub fn json(bytes: &[u8]) -> Result<Body, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::Malformed("the body is empty; a JSON object is expected".into()));
    }
    let reading = Reading { faults: RefCell::default(), room: Cell::new(POINTERS), numbers: Numbers::of(bytes) };
    let mut input = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { reading: &reading, pointer: String::new(), depth: 0 }
        .deserialize(&mut input)
        .and_then(|value| input.end().map(|()| value))
        .map_err(|e| Error::Malformed(format!("the body is no JSON: {e}")))?;
    if !value.is_object() {
        let found = verdict::kind_of(&value);
        return Err(Error::fault("", "type", format!("the body must be a JSON object, found {found}")));
    }
    Ok(Body { value, faults: reading.faults.into_inner() })
}

/// Reads a body that may be left out.
///
/// # Errors
/// Those of [`json`].
pub fn optional_json(bytes: &[u8]) -> Result<Body, Error> {
    if bytes.iter().all(u8::is_ascii_whitespace) { Ok(Body::new(Value::Object(Map::new()))) } else { json(bytes) }
}

/// What is noticed while a body is read.
struct Reading<'b> {
    faults: RefCell<Vec<Fault>>,
    /// Bytes of pointers that there is room for.
    room: Cell<usize>,
    /// The numbers that are not read yet.
    numbers: Numbers<'b>,
}

impl Reading<'_> {
    fn fault(&self, pointer: &str, code: &str, detail: impl Into<String>) {
        let mut faults = self.faults.borrow_mut();
        // The first one in any case: without it the body would be taken for a good one.
        if faults.is_empty() || self.room.get() >= pointer.len() {
            self.room.set(self.room.get().saturating_sub(pointer.len()));
            faults.push(Fault::new(pointer, code, detail));
        }
    }

    fn text(&self, pointer: &str, text: &str) {
        if text.contains('\0') {
            self.fault(pointer, "characters", "must not contain the character U+0000");
        }
    }
}

struct Seed<'r> {
    reading: &'r Reading<'r>,
    pointer: String,
    depth: usize,
}

impl<'r> Seed<'r> {
    fn below<E: serde::de::Error>(&self, pointer: String) -> Result<Seed<'r>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Seed { reading: self.reading, pointer, depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        self.reading.numbers.take();
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        self.reading.numbers.take();
        Ok(v.into())
    }
    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        let number = serde_json::Number::from_f64(v).ok_or_else(|| E::custom("number out of range"))?;
        // It is not shown: it may be a part of a secret.
        if !numbers::is_exact(self.reading.numbers.take(), v) {
            let detail =
                "the number has more digits than would be kept of it; give fewer, or a string where one is taken";
            self.reading.fault(&self.pointer, "precision", detail);
        }
        Ok(Value::Number(number))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        self.reading.text(&self.pointer, v);
        Ok(Value::String(v.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.below(pointer::at(&self.pointer, items.len()))?)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let pointer = pointer::push(&self.pointer, &key);
            self.reading.text(&pointer, &key);
            let value = access.next_value_seed(self.below(pointer.clone())?)?;
            if object.contains_key(&key) {
                let detail = format!("the key {} is there twice in this object", verdict::quote(&key));
                self.reading.fault(&pointer, "duplicate", detail);
            } else {
                object.insert(key, value);
            }
        }
        Ok(Value::Object(object))
    }
}
