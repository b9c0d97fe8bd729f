//! By which fields an upsert finds a row.

use crate::engine::job::TableSchema;
use crate::error::{Kind, RunError};
use shared::error::nearest;
use shared::models::node::TargetConfig;

/// The fields that the target names, or the schema's primary key.
///
/// # Errors
/// `Kind::Definition` where there are none, and for each one that is no field.
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
        ))
        .within("/config/upsertKey"));
    }
    let unknown = keys.iter().enumerate().filter(|(_, key)| schema.fields.iter().all(|f| f.name != **key));
    let faults = unknown.map(|(index, key)| {
        let near = match nearest(key, schema.fields.iter().map(|f| f.name.as_str())) {
            Some(near) => format!("; did you mean {near:?}?"),
            None => String::new(),
        };
        wrong(format!("the upsertKey {key:?} is not a field of the schema {:?}{near}", schema.name))
            .within(format!("/config/upsertKey/{index}"))
    });
    match RunError::all(faults.collect()) {
        Some(fault) => Err(fault),
        None => Ok(keys),
    }
}
