//! The whole contract as an OpenAPI 3.1 document.

use serde_json::{Value, json};

/// The document.
pub fn document() -> Value {
    json!({})
}
