//! By which fields an upsert finds a row.

use crate::engine::job::TableSchema;
use crate::error::{Kind, RunError};
use shared::models::node::TargetConfig;

/// The fields that the target names, or the schema's primary key.
///
/// # Errors
/// `Kind::Definition` where there are none, or one is no field of the schema.
pub fn upsert_keys(schema: &TableSchema, config: &TargetConfig) -> Result<Vec<String>, RunError> {
    let wrong = |why: String| RunError::new(Kind::Definition, why);
    let keys = match &config.upsert_key {
        Some(keys) => keys.clone(),
        None => schema.fields.iter().filter(|f| f.is_primary_key == Some(true)).map(|f| f.name.clone()).collect(),
    };
    if keys.is_empty() {
        return Err(wrong(format!(
            "the load mode upsert needs upsertKey, or a primary key in the schema {:?}",
            schema.name
        )));
    }
    for key in &keys {
        if schema.fields.iter().all(|f| f.name != *key) {
            return Err(wrong(format!("the upsertKey {key:?} is not a field of the schema {:?}", schema.name)));
        }
    }
    Ok(keys)
}
