//! The fields of a schema as columns: of Arrow batches, and of the Delta table.

use crate::error::{Kind, RunError};
use crate::sources::parse;
use datafusion::arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{DataType as DeltaType, MetadataValue, PrimitiveType, StructField, StructType};
use shared::models::node::DataTypeName;
use shared::models::schema::Field;
use std::sync::Arc;

/// The Arrow type that holds a field's values.
pub fn arrow_type(field: &Field) -> DataType {
    parse::field_type(field)
}

/// The columns of a table that has just these fields.
pub fn of_fields(fields: &[Field]) -> SchemaRef {
    let column = |field: &Field| ArrowField::new(&field.name, arrow_type(field), field.nullable());
    Arc::new(Schema::new(fields.iter().map(column).collect::<Vec<_>>()))
}

/// A field's type as a schema writes it, such as `decimal(10,2)`.
pub fn type_name(field: &Field) -> String {
    match field.data_type {
        DataTypeName::Decimal => {
            let (precision, scale) = field.decimal();
            format!("decimal({precision},{scale})")
        }
        DataTypeName::Varchar => match field.length {
            Some(length) => format!("varchar({length})"),
            None => "varchar".to_owned(),
        },
        other => format!("{other:?}").to_lowercase(),
    }
}

/// The type that the Delta table has for a field.
fn delta_type(field: &Field) -> Result<DeltaType, RunError> {
    Ok(DeltaType::Primitive(match field.data_type {
        DataTypeName::Varchar | DataTypeName::Text | DataTypeName::Json | DataTypeName::Uuid => PrimitiveType::String,
        DataTypeName::Integer => PrimitiveType::Integer,
        DataTypeName::Bigint => PrimitiveType::Long,
        DataTypeName::Smallint => PrimitiveType::Short,
        DataTypeName::Decimal => {
            let (precision, scale) = field.decimal();
            let wrong = || {
                RunError::new(
                    Kind::Definition,
                    format!(
                        "the field {:?} is {}; a decimal has 1 to 38 digits, and no more of them after its point than in all",
                        field.name,
                        type_name(field)
                    ),
                )
            };
            PrimitiveType::decimal(precision, u8::try_from(scale).map_err(|_| wrong())?).map_err(|_| wrong())?
        }
        DataTypeName::Real => PrimitiveType::Float,
        DataTypeName::Double => PrimitiveType::Double,
        DataTypeName::Boolean => PrimitiveType::Boolean,
        DataTypeName::Date => PrimitiveType::Date,
        DataTypeName::Timestamp => PrimitiveType::TimestampNtz,
        DataTypeName::Timestamptz => PrimitiveType::Timestamp,
    }))
}

/// The columns of a new table.
///
/// # Errors
/// `Kind::Definition` where a type cannot be.
pub fn delta_columns(fields: &[Field]) -> Result<Vec<StructField>, RunError> {
    fields.iter().map(|field| delta_column(field, field.nullable())).collect()
}

fn delta_column(field: &Field, nullable: bool) -> Result<StructField, RunError> {
    let column = StructField::new(field.name.clone(), delta_type(field)?, nullable);
    Ok(match &field.description {
        Some(text) => column.with_metadata([("comment", MetadataValue::String(text.clone()))]),
        None => column,
    })
}

/// What becomes of a table's types and a schema's where they differ.
#[derive(Debug)]
pub struct Meeting {
    /// The fields, those that are narrower than their column with the type of the column: a run that began before its
    /// schema was widened writes what the table holds now.
    pub fields: Vec<Field>,
    /// The table's columns with the wider types of their fields, where there are such.
    pub widened: Option<StructType>,
}

/// Compares the types of a table's columns with those of the fields.
///
/// # Errors
/// `Kind::Target` where neither type holds all values of the other.
pub fn meet(table: &StructType, fields: &[Field], schema: &str) -> Result<Meeting, RunError> {
    let mut columns = Vec::new();
    let mut met = fields.to_vec();
    let mut is_widened = false;
    for column in table.fields() {
        let mut column = column.clone();
        if let Some(field) = met.iter_mut().find(|f| f.name == *column.name()) {
            let wanted = delta_type(field)?;
            if holds(column.data_type(), &wanted) {
                is_widened |= wanted != *column.data_type();
                column.data_type = wanted;
            } else if holds(&wanted, column.data_type()) {
                take_type(field, column.data_type());
            } else {
                return Err(other_type(&column, field, schema));
            }
        }
        columns.push(column);
    }
    let widened =
        if is_widened { Some(StructType::try_new(columns).map_err(|e| no_columns(schema, &e))?) } else { None };
    Ok(Meeting { fields: met, widened })
}

/// Whether each value of `narrow` is one of `wide`; the same type is.
fn holds(narrow: &DeltaType, wide: &DeltaType) -> bool {
    use PrimitiveType::{Decimal, Double, Float, Integer, Long, Short};
    match (narrow, wide) {
        (DeltaType::Primitive(narrow), DeltaType::Primitive(wide)) => match (narrow, wide) {
            (Decimal(n), Decimal(w)) => n.scale() == w.scale() && n.precision() <= w.precision(),
            (Short, Integer | Long) | (Integer, Long) | (Float, Double) => true,
            (narrow, wide) => narrow == wide,
        },
        (narrow, wide) => narrow == wide,
    }
}

/// Gives a field the wider type of its column.
fn take_type(field: &mut Field, column: &DeltaType) {
    match column {
        DeltaType::Primitive(PrimitiveType::Integer) => field.data_type = DataTypeName::Integer,
        DeltaType::Primitive(PrimitiveType::Long) => field.data_type = DataTypeName::Bigint,
        DeltaType::Primitive(PrimitiveType::Double) => field.data_type = DataTypeName::Double,
        DeltaType::Primitive(PrimitiveType::Decimal(d)) => field.precision = Some(d.precision()),
        _ => {}
    }
}

fn other_type(column: &StructField, field: &Field, schema: &str) -> RunError {
    RunError::new(
        Kind::Target,
        format!(
            "the table of the schema {schema:?} has the column {:?} as {}, but the field is {}, and neither holds all values of \
             the other: give the new type to a new field, or make a new schema",
            column.name(),
            column.data_type(),
            type_name(field)
        ),
    )
}

fn no_columns(schema: &str, error: &dyn std::fmt::Display) -> RunError {
    RunError::new(Kind::Target, format!("the fields of the schema {schema:?} cannot be given to its table: {error}"))
}

/// The table's columns after `fields` have met them: new fields are added (nullable, since the rows that are there
/// have no value), fields that may be null from now on and columns that the schema has lost become nullable. `None`
/// where the table can stay as it is.
///
/// # Errors
/// `Kind::Target` where a column has another type than its field.
pub fn evolve(table: &StructType, fields: &[Field], schema: &str) -> Result<Option<StructType>, RunError> {
    let mut changed = false;
    let mut columns = Vec::new();
    for column in table.fields() {
        let field = fields.iter().find(|f| f.name == *column.name());
        if let Some(field) = field
            && delta_type(field)? != *column.data_type()
        {
            return Err(other_type(column, field, schema));
        }
        let nullable = column.is_nullable() || field.is_none_or(Field::nullable);
        let mut column = column.clone();
        changed |= nullable != column.nullable;
        column.nullable = nullable;
        columns.push(column);
    }
    for field in fields {
        if table.field(&field.name).is_none() {
            columns.push(delta_column(field, true)?);
            changed = true;
        }
    }
    if !changed {
        return Ok(None);
    }
    StructType::try_new(columns).map(Some).map_err(|e| no_columns(schema, &e))
}

/// Whether a table with these columns needs Delta's feature `timestampNtz`.
pub fn needs_timestamp_ntz(table: &StructType) -> bool {
    table.fields().any(|f| *f.data_type() == DeltaType::Primitive(PrimitiveType::TimestampNtz))
}

/// The columns of the files that a run writes: those of the table, in its order.
///
/// # Errors
/// `Kind::Target` where another tool has given the table a column type that Flowgate does not write, and no field.
pub fn file_schema(table: &StructType, fields: &[Field]) -> Result<SchemaRef, RunError> {
    let columns = table
        .fields()
        .map(|column| {
            let data_type = match fields.iter().find(|f| f.name == *column.name()) {
                Some(field) => arrow_type(field),
                None => foreign_type(column)?,
            };
            Ok(ArrowField::new(column.name().clone(), data_type, column.is_nullable()))
        })
        .collect::<Result<Vec<_>, RunError>>()?;
    Ok(Arc::new(Schema::new(columns)))
}

/// The Arrow type of a column that the schema does not have.
fn foreign_type(column: &StructField) -> Result<DataType, RunError> {
    Ok(match column.data_type() {
        DeltaType::Primitive(PrimitiveType::String) => DataType::Utf8,
        DeltaType::Primitive(PrimitiveType::Integer) => DataType::Int32,
        DeltaType::Primitive(PrimitiveType::Long) => DataType::Int64,
        DeltaType::Primitive(PrimitiveType::Short) => DataType::Int16,
        DeltaType::Primitive(PrimitiveType::Byte) => DataType::Int8,
        DeltaType::Primitive(PrimitiveType::Float) => DataType::Float32,
        DeltaType::Primitive(PrimitiveType::Double) => DataType::Float64,
        DeltaType::Primitive(PrimitiveType::Boolean) => DataType::Boolean,
        DeltaType::Primitive(PrimitiveType::Binary) => DataType::Binary,
        DeltaType::Primitive(PrimitiveType::Date) => DataType::Date32,
        DeltaType::Primitive(PrimitiveType::TimestampNtz) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DeltaType::Primitive(PrimitiveType::Timestamp) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DeltaType::Primitive(PrimitiveType::Decimal(d)) => {
            let scale = i8::try_from(d.scale()).unwrap_or(0);
            DataType::Decimal128(d.precision(), scale)
        }
        other => {
            return Err(RunError::new(
                Kind::Target,
                format!(
                    "the table has a column {:?} of the type {other}, which another tool made and which Flowgate cannot write",
                    column.name()
                ),
            ));
        }
    })
}
