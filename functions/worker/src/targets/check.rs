//! What can be said of a target before its table is touched: whether the columns that come to it make its rows.

use super::cast::{Caster, Needed};
use super::columns;
use super::keys::upsert_keys;
use crate::engine::check::Column;
use crate::engine::graph::GraphNode;
use crate::engine::job::Job;
use crate::engine::progress::ROW_COLUMN;
use crate::error::RunError;
use crate::nodes;
use datafusion::arrow::datatypes::{DataType, Schema};
use shared::models::node::{DataTypeName, LoadMode, TargetConfig};
use shared::models::schema::Field;

/// Whether rows with the columns `coming` can be written by a target node.
///
/// # Errors
/// `Kind::Definition` for the keys of an upsert that are no fields, for each field that must not be null and that
/// nothing fills, for each column no value of which its field takes, and where no column that comes is a field.
pub fn check(job: &Job, node: &GraphNode, config: &TargetConfig, coming: &Schema) -> Result<(), RunError> {
    let schema = job.schema_of(config)?;
    let mode = config.load_mode.unwrap_or_default();
    let mut faults = Vec::new();
    let keys = if mode == LoadMode::Upsert { upsert_keys(schema, config) } else { Ok(Vec::new()) };
    let keys = keys.map_err(|fault| faults.push(fault)).unwrap_or_default();
    let names: Vec<&str> = coming.fields().iter().map(|f| f.name().as_str()).filter(|n| *n != ROW_COLUMN).collect();
    if schema.fields.iter().all(|field| !names.contains(&field.name.as_str())) {
        let fields: Vec<_> = schema.fields.iter().map(|f| f.name.as_str()).collect();
        faults.push(node.fault(format!(
            "none of the columns that come in ({}) is a field of the schema ({}); columns meet fields by name",
            names.join(", "),
            fields.join(", ")
        )));
    } else {
        let watermark = config.watermark_column.as_deref().filter(|_| mode == LoadMode::IncrementalWatermark);
        let needed = Needed { keys: &keys, watermark };
        faults.extend(Caster::new(coming, &columns::of_fields(&schema.fields), &schema.fields, needed).err());
        let met = schema.fields.iter().filter_map(|field| Some((field, coming.field_with_name(&field.name).ok()?)));
        faults.extend(met.filter(|(field, column)| never(column.data_type(), field.data_type)).map(|(field, column)| {
            let (name, of) = (&field.name, nodes::columns::type_name(column.data_type()));
            let to = columns::type_name(field);
            node.fault(format!(
                "column {name:?} is of type {of}, no value of which is a {to} as the field {name:?} takes it; cast the column \
                 before, or give the field another type"
            ))
        }));
    }
    RunError::all(faults).map_or(Ok(()), Err)
}

/// Whether no value of a column can be one of a field.
fn never(column: &DataType, field: DataTypeName) -> bool {
    use DataTypeName::{Bigint, Boolean, Date, Decimal, Double, Integer, Real, Smallint, Timestamp, Timestamptz, Uuid};
    match column {
        DataType::Dictionary(_, value) => never(value, field),
        DataType::Boolean => matches!(field, Decimal | Real | Double | Date | Timestamp | Timestamptz | Uuid),
        of if of.is_integer() => matches!(field, Date | Timestamp | Timestamptz | Uuid),
        of if of.is_floating() => matches!(field, Boolean | Date | Timestamp | Timestamptz | Uuid),
        of if of.is_decimal() => matches!(field, Date | Timestamp | Timestamptz),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            matches!(field, Boolean | Smallint | Integer | Bigint | Decimal | Real | Double | Uuid)
        }
        of if of.is_nested() => !matches!(field, DataTypeName::Text | DataTypeName::Varchar | DataTypeName::Json),
        _ => false,
    }
}

/// The columns of the table that a target node writes, as its schema has them; none where the schema is gone.
pub fn fields(job: &Job, config: &TargetConfig) -> Vec<Column> {
    let column = |field: &Field| Column {
        name: field.name.clone(),
        r#type: columns::type_name(field),
        nullable: field.nullable(),
    };
    job.schema_of(config).map(|schema| schema.fields.iter().map(column).collect()).unwrap_or_default()
}
