//! Maps as JSON whose keys are no texts: Arrow writes those with texts only.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use serde_json::Value;

/// Writes them, wherever they are in a value; a key is the text of what it is in JSON.
#[derive(Debug)]
pub(super) struct Maps;

impl EncoderFactory for Maps {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let Some(map) = array.as_map_opt() else { return Ok(None) };
        if matches!(map.key_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            return Ok(None);
        }
        let entries = Entries {
            offsets: map.offsets(),
            keys: make_encoder(field, map.keys(), options)?,
            values: make_encoder(field, map.values(), options)?,
            key: Vec::new(),
        };
        Ok(Some(NullableEncoder::new(Box::new(entries), map.nulls().cloned())))
    }
}

struct Entries<'a> {
    /// Where the entries of each map begin.
    offsets: &'a OffsetBuffer<i32>,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
    /// The key at hand, as JSON.
    key: Vec<u8>,
}

impl Encoder for Entries<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let offset = |at: usize| self.offsets.get(at).map_or(0, |&offset| offset as usize);
        out.push(b'{');
        for (count, entry) in (offset(row)..offset(row + 1)).enumerate() {
            if count > 0 {
                out.push(b',');
            }
            self.key.clear();
            put(&mut self.keys, entry, &mut self.key);
            if self.key.starts_with(b"\"") {
                out.extend_from_slice(&self.key);
            } else {
                let text = Value::from(String::from_utf8_lossy(&self.key)).to_string();
                out.extend_from_slice(text.as_bytes());
            }
            out.push(b':');
            put(&mut self.values, entry, out);
        }
        out.push(b'}');
    }
}

fn put(values: &mut NullableEncoder<'_>, at: usize, out: &mut Vec<u8>) {
    if values.is_null(at) {
        out.extend_from_slice(b"null");
    } else {
        values.encode(at, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::json_texts;
    use super::*;
    use datafusion::arrow::array::{
        ArrayRef, BinaryBuilder, Date32Builder, Int32Builder, ListArray, ListBuilder, MapBuilder, StringBuilder,
    };
    use datafusion::arrow::datatypes::Field;
    use std::sync::Arc;

    fn texts(array: ArrayRef) -> Vec<Option<String>> {
        json_texts(&array).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    #[test]
    fn keys_that_are_no_texts_become_texts() {
        let mut builder = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        builder.keys().append_value(1);
        builder.values().append_value("a\nb");
        builder.keys().append_value(-2);
        builder.values().append_null();
        builder.append(true).unwrap();
        builder.append(false).unwrap();
        builder.append(true).unwrap();
        builder.keys().append_value(3);
        builder.values().append_value("x");
        builder.append(true).unwrap();
        let maps: ArrayRef = Arc::new(builder.finish());
        let written = [Some(r#"{"1":"a\nb","-2":null}"#), None, Some("{}"), Some(r#"{"3":"x"}"#)];
        assert_eq!(texts(Arc::clone(&maps)), written.map(|text| text.map(str::to_owned)));
        assert_eq!(texts(maps.slice(3, 1)), [Some(r#"{"3":"x"}"#.to_owned())]);
        let item = Arc::new(Field::new("item", maps.data_type().clone(), true));
        let lists: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1, 3]), maps, None));
        let written = [r#"[{"1":"a\nb","-2":null}]"#, r#"[null,{},{"3":"x"}]"#];
        assert_eq!(texts(lists), written.map(|text| Some(text.to_owned())));
    }

    #[test]
    fn keys_of_any_type_are_written() {
        let mut builder = MapBuilder::new(None, ListBuilder::new(StringBuilder::new()), Int32Builder::new());
        builder.keys().append_value([Some("a"), None]);
        builder.values().append_value(1);
        builder.append(true).unwrap();
        assert_eq!(texts(Arc::new(builder.finish())), [Some(r#"{"[\"a\",null]":1}"#.to_owned())]);
        let mut builder = MapBuilder::new(None, BinaryBuilder::new(), Int32Builder::new());
        builder.keys().append_value(b"\xff\x01");
        builder.values().append_value(1);
        builder.append(true).unwrap();
        assert_eq!(texts(Arc::new(builder.finish())), [Some(r#"{"ff01":1}"#.to_owned())]);
        let mut builder = MapBuilder::new(None, Date32Builder::new(), Int32Builder::new());
        builder.keys().append_value(0);
        builder.values().append_value(1);
        builder.append(true).unwrap();
        assert_eq!(texts(Arc::new(builder.finish())), [Some(r#"{"1970-01-01":1}"#.to_owned())]);
    }
}
