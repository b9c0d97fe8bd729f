//! What the target asks of texts beyond the rules of [`crate::sources::parse`]: JSON and UUIDs, and why a text is no
//! value of a field.

use super::super::columns::{arrow_type, type_name};
use crate::sources::parse;
use shared::models::node::DataTypeName;
use shared::models::schema::Field;

/// A UUID in any of its usual forms.
pub fn uuid(text: &str) -> Option<uuid::Uuid> {
    uuid::Uuid::parse_str(text.trim_ascii()).ok()
}

/// Whether it is one JSON text.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Why `text` is not a value of `field`: `"abc" is not an integer`.
pub fn why(text: &str, field: &Field) -> String {
    match field.data_type {
        DataTypeName::Json => format!("{} is not JSON", parse::quoted(text)),
        DataTypeName::Uuid => format!("{} is not a UUID", parse::quoted(text)),
        DataTypeName::Varchar | DataTypeName::Text => {
            format!("{} cannot be written as {}", parse::quoted(text), type_name(field))
        }
        _ => parse::why(text, &arrow_type(field)),
    }
}
