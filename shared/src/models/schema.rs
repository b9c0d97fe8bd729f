//! A schema: the definition of a target table.

use super::node::DataTypeName;
use super::time::{JsonText, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One column of a target table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    /// Case-sensitive, `[A-Za-z_][A-Za-z0-9_]*`.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"), length(max = 128))]
    pub name: String,
    #[schemars(length(max = 200))]
    pub display_name: Option<String>,
    pub data_type: DataTypeName,
    /// The most characters of a varchar; unbounded where it is left out.
    #[schemars(range(min = 1, max = 10_485_760))]
    pub length: Option<u32>,
    /// Digits of a decimal, 1 to 38; 38.
    #[schemars(range(min = 1, max = 38))]
    pub precision: Option<u8>,
    /// Digits after a decimal's point; 10 where the precision is left out too, else 0.
    #[schemars(range(min = 0, max = 38))]
    pub scale: Option<i8>,
    /// Whether the column may hold null; true (a primary key's may never).
    pub is_nullable: Option<bool>,
    /// `false`.
    pub is_primary_key: Option<bool>,
    /// `false`.
    pub is_unique: Option<bool>,
    /// What a row gets that lacks the column; of the field's type.
    pub default_value: Option<Value>,
    #[schemars(length(max = 2000))]
    pub description: Option<String>,
}

impl Field {
    /// A column of this type, of which nothing else is said.
    pub fn new(name: impl Into<String>, data_type: DataTypeName) -> Self {
        Self {
            name: name.into(),
            display_name: None,
            data_type,
            length: None,
            precision: None,
            scale: None,
            is_nullable: None,
            is_primary_key: None,
            is_unique: None,
            default_value: None,
            description: None,
        }
    }

    /// Whether null is allowed: never in a primary key.
    pub fn nullable(&self) -> bool {
        self.is_nullable.unwrap_or(true) && !self.is_primary_key.unwrap_or(false)
    }

    /// The same with the flags that it leaves out.
    fn shown(&self) -> Self {
        Self {
            is_nullable: Some(self.nullable()),
            is_primary_key: Some(self.is_primary_key.unwrap_or(false)),
            is_unique: Some(self.is_unique.unwrap_or(false)),
            ..self.clone()
        }
    }

    /// Precision and scale of a decimal.
    pub fn decimal(&self) -> (u8, i8) {
        decimal(self.precision, self.scale)
    }
}

/// Precision and scale where one or both may be left out.
pub fn decimal(precision: Option<u8>, scale: Option<i8>) -> (u8, i8) {
    (precision.unwrap_or(38), scale.unwrap_or(if precision.is_none() { 10 } else { 0 }))
}

/// A schema as the table keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema {
    pub id: String,
    pub tenant_id: String,
    pub name: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub fields: JsonText<Vec<Field>>,
    pub version: u32,
    /// Pipelines that use it.
    #[serde(default)]
    pub users: u32,
    pub created_at: Time,
    pub updated_at: Time,
}

/// A schema as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Schema")]
pub struct SchemaView {
    pub id: String,
    pub tenant_id: String,
    pub name: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub fields: Vec<Field>,
    pub version: u32,
    pub created_at: Time,
    pub updated_at: Time,
}

impl Schema {
    /// The strong `ETag`: the version.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// What callers see; the flags that a field leaves out are shown as they are meant.
    pub fn view(&self) -> SchemaView {
        SchemaView {
            id: self.id.clone(),
            tenant_id: self.tenant_id.clone(),
            name: self.name.clone(),
            display_name: self.display_name.clone(),
            description: self.description.clone(),
            fields: self.fields.0.iter().map(Field::shown).collect(),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}
