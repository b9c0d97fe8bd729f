//! The watermark of an incremental load: where it is stored, and which rows are past it.
//!
//! It is a property of the table (`flowgate.watermark.<column>` in the log's `metaData`), set by the commit that adds the
//! rows, so that rows and watermark cannot part. A `metaData` action is carried on by every checkpoint and outlives the
//! cleaning of the log, which `commitInfo` does not; every Delta reader and writer keeps properties that it does not
//! know, and no table feature is asked for, as domain metadata would do; and a `txn` action could hold numbers only.
//!
//! Rows below the watermark are left out before anything else is asked of them. A row that has just its value may be one
//! that is in the table already, or have come since: see [`Loaded`].

use super::columns::{arrow_type, type_name};
use super::commit::Property;
use super::hashes::Hashes;
use super::table::{Place, state};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar};
use datafusion::arrow::compute::kernels::cmp::{eq, gt_eq};
use datafusion::arrow::compute::{SortOptions, cast, filter_record_batch, sort_to_indices};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::{ident, lit};
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use deltalake::DeltaTable;
use deltalake::delta_datafusion::FileSelection;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use shared::check::targets::can_be_watermark;
use shared::models::schema::Field;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Bytes that a row with the watermark's value takes in memory.
const BYTES_PER_ROW: usize = 48;
/// The most bytes of a text that is stored as a watermark: it is in every version of the table from then on, and twice in the
/// run's receipt.
const LONGEST: usize = 1024;
/// Characters that are shown of one that is longer.
const SHOWN: usize = 50;

/// A value of a column, exactly: whole numbers as they are, decimals as their digits without the point, dates as days and
/// times as microseconds since 1970, texts as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The field's type, for people.
    pub r#type: String,
    pub value: String,
    /// The run that was the last to add rows: one that read the watermark before it may not commit after it, also where
    /// both come to the same value.
    pub run: String,
}

/// How a run moved the watermark, in its commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub column: String,
    pub before: Option<Watermark>,
    pub after: Option<Watermark>,
}

impl Watermark {
    /// The table's property for `column`.
    pub fn property(column: &str) -> String {
        format!("flowgate.watermark.{column}")
    }

    /// What the table has stored for `column`.
    ///
    /// # Errors
    /// `Kind::Target` where the property holds something else.
    pub fn stored(place: &Place, table: &DeltaTable, column: &str) -> Result<Option<Self>, RunError> {
        let property = Self::property(column);
        let Some(text) = state(table)?.metadata().configuration().get(&property) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|_| {
            RunError::new(
                Kind::Target,
                format!(
                    "the property {property:?} of the table of the schema {:?} holds {text:?}, which is no watermark: another \
                     tool has changed it",
                    place.schema
                ),
            )
        })
    }

    /// The property that stores it.
    ///
    /// # Errors
    /// `Kind::Internal` where it cannot be written.
    pub fn to_property(&self, column: &str) -> Result<Property, RunError> {
        let text = serde_json::to_string(self).map_err(|e| internal(&e))?;
        Ok((Self::property(column), Some(text)))
    }

    /// A value of `field` that `run` came to; none for null.
    pub fn of(value: &ScalarValue, field: &Field, run: &str) -> Option<Self> {
        let value = match value {
            ScalarValue::Int16(v) => v.as_ref()?.to_string(),
            ScalarValue::Int32(v) | ScalarValue::Date32(v) => v.as_ref()?.to_string(),
            ScalarValue::Int64(v) | ScalarValue::TimestampMicrosecond(v, _) => v.as_ref()?.to_string(),
            ScalarValue::Decimal128(v, _, _) => v.as_ref()?.to_string(),
            ScalarValue::Utf8(v) => v.as_ref()?.clone(),
            _ => return None,
        };
        Some(Self { r#type: type_name(field), value, run: run.to_owned() })
    }

    /// It as a value of `field`, which may have been widened since.
    ///
    /// # Errors
    /// `Kind::Target` where it is none of the field's type.
    pub fn scalar(&self, field: &Field) -> Result<ScalarValue, RunError> {
        let wrong = || {
            RunError::new(
                Kind::Target,
                format!(
                    "the watermark of {:?} is stored as {:?} of the type {}, but the field is {}",
                    field.name,
                    self.value,
                    self.r#type,
                    type_name(field)
                ),
            )
        };
        let text = self.value.as_str();
        Ok(match arrow_type(field) {
            DataType::Int16 => ScalarValue::Int16(Some(text.parse().map_err(|_| wrong())?)),
            DataType::Int32 => ScalarValue::Int32(Some(text.parse().map_err(|_| wrong())?)),
            DataType::Int64 => ScalarValue::Int64(Some(text.parse().map_err(|_| wrong())?)),
            DataType::Date32 => ScalarValue::Date32(Some(text.parse().map_err(|_| wrong())?)),
            DataType::Timestamp(_, zone) => {
                ScalarValue::TimestampMicrosecond(Some(text.parse().map_err(|_| wrong())?), zone)
            }
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(Some(text.parse().map_err(|_| wrong())?), precision, scale)
            }
            DataType::Utf8 => ScalarValue::Utf8(Some(text.to_owned())),
            _ => return Err(wrong()),
        })
    }
}

/// The field of a watermark.
///
/// # Errors
/// `Kind::Definition` where the schema has none of this name, or it has no order.
pub fn field<'f>(fields: &'f [Field], column: &str, schema: &str) -> Result<&'f Field, RunError> {
    match fields.iter().find(|field| field.name == column) {
        Some(field) if can_be_watermark(field.data_type) => Ok(field),
        Some(field) => Err(RunError::new(
            Kind::Definition,
            format!("the field {column:?} cannot be a watermark: it is {}", type_name(field)),
        )),
        None => Err(RunError::new(
            Kind::Definition,
            format!("the watermarkColumn {column:?} is not a field of the schema {schema:?}"),
        )),
    }
}

/// Which rows of a run are past the watermark; shared by all partitions.
#[derive(Debug)]
pub struct Past {
    pub field: Field,
    /// None on the first load.
    from: Option<ScalarValue>,
    loaded: Loaded,
    greatest: Mutex<Option<ScalarValue>>,
}

impl Past {
    /// Past `from`, with the rows that are there already.
    pub fn new(field: &Field, from: Option<ScalarValue>, loaded: Loaded) -> Self {
        Self { field: field.clone(), from, loaded, greatest: Mutex::new(None) }
    }

    /// The rows of a batch from the sources that are not below the watermark, by its column there as the field holds it.
    /// Nulls, and values that the field cannot hold, stay: they are rejected later.
    ///
    /// # Errors
    /// Where Arrow fails.
    pub fn not_below(&self, batch: RecordBatch, values: &ArrayRef) -> Result<RecordBatch, ArrowError> {
        let Some(from) = &self.from else { return Ok(batch) };
        let least = Scalar::new(from.to_array().map_err(|e| ArrowError::ExternalError(e.into()))?);
        let past = gt_eq(values, &least)?;
        let stays: BooleanArray = (0..past.len()).map(|i| Some(values.is_null(i) || past.value(i))).collect();
        if stays.true_count() == batch.num_rows() { Ok(batch) } else { filter_record_batch(&batch, &stays) }
    }

    /// The rows of a cast batch that are not in the table already.
    ///
    /// # Errors
    /// `Kind::Internal` where the rows cannot be compared.
    pub fn not_loaded(&self, batch: RecordBatch) -> Result<RecordBatch, RunError> {
        let Some(from) = &self.from else { return Ok(batch) };
        let Some(values) = batch.column_by_name(&self.field.name) else { return Ok(batch) };
        let value = Scalar::new(from.to_array()?);
        let ties = eq(values, &value).map_err(|e| internal(&e))?;
        if ties.true_count() == 0 {
            return Ok(batch);
        }
        let new = self.loaded.take(&batch, &ties)?;
        filter_record_batch(&batch, &new).map_err(|e| internal(&e))
    }

    /// Notes the watermark of rows that are written.
    ///
    /// # Errors
    /// `Kind::Internal` where the values cannot be compared.
    pub fn note(&self, batch: &RecordBatch) -> Result<(), RunError> {
        let Some(values) = batch.column_by_name(&self.field.name).filter(|values| !values.is_empty()) else {
            return Ok(());
        };
        let order = SortOptions { descending: true, nulls_first: false };
        let first = sort_to_indices(values, Some(order), Some(1)).map_err(|e| internal(&e))?;
        let Some(first) = first.values().first() else { return Ok(()) };
        let value = ScalarValue::try_from_array(values, *first as usize)?;
        let mut greatest = self.greatest.lock().unwrap_or_else(PoisonError::into_inner);
        if !value.is_null() && greatest.as_ref().is_none_or(|known| *known < value) {
            *greatest = Some(value);
        }
        Ok(())
    }

    /// Whether the watermark can be stored to which the rows come that were written.
    ///
    /// # Errors
    /// `Kind::Target` where it is too long.
    pub fn check_length(&self) -> Result<(), RunError> {
        let greatest = self.greatest.lock().unwrap_or_else(PoisonError::into_inner);
        match greatest.as_ref() {
            Some(ScalarValue::Utf8(Some(text))) if text.len() > LONGEST => Err(too_long(&self.field.name, text)),
            _ => Ok(()),
        }
    }

    /// The watermark once the rows that `run` has written are in; none where it has written none.
    pub fn after(&self, run: &str) -> Option<Watermark> {
        let greatest = self.greatest.lock().unwrap_or_else(PoisonError::into_inner);
        greatest.as_ref().and_then(|value| Watermark::of(value, &self.field, run))
    }
}

/// The rows of the table that have just the watermark's value: those of the run's rows with this value that are among
/// them are left out. Where the schema has a primary key it says which rows are the same; else all values do, and a row
/// that comes more often than it is there comes in as often as is missing.
#[derive(Debug, Default)]
pub struct Loaded {
    columns: Vec<String>,
    is_key: bool,
    hashes: Hashes,
    /// How often each row is there.
    rows: Mutex<HashMap<u128, u64>>,
    /// What they take of the run's memory.
    memory: Option<MemoryReservation>,
}

impl Loaded {
    /// Reads them. `columns` are those of the table's files, and files in `without` do not count.
    ///
    /// # Errors
    /// `Kind::Resources` where they do not fit into memory; `Kind::TargetUnavailable`.
    pub async fn read(
        place: &Place,
        table: &DeltaTable,
        columns: &SchemaRef,
        fields: &[Field],
        (column, value): (&str, &ScalarValue),
        without: &HashSet<String>,
        context: &TaskContext,
    ) -> Result<Self, RunError> {
        let current: Vec<String> = state(table)?.log_data().iter().map(|f| f.path().to_string()).collect();
        let files: Vec<&String> = current.iter().filter(|path| !without.contains(*path)).collect();
        let stored = state(table)?.schema();
        let (mut names, is_key) = Self::compared(fields);
        names.retain(|name| stored.field(name).is_some());
        let mut loaded = Self::none(names.clone(), is_key, context);
        if !files.is_empty() && !names.is_empty() && stored.field(column).is_some() {
            let session = SessionContext::new_with_config_rt(context.session_config().clone(), context.runtime_env());
            table.update_datafusion_session(&session.state()).map_err(|e| place.error("read", e))?;
            let selected = FileSelection::from_file_paths(files.iter().map(|path| path.as_str()));
            let provider = table.table_provider().with_file_selection(selected).build().await?;
            let found = session
                .read_table(std::sync::Arc::new(provider))?
                .filter(ident(column).eq(lit(value.clone())))?
                .select(names.iter().map(|name| ident(name.as_str())).collect::<Vec<_>>())?;
            let mut batches = found.execute_stream().await?;
            while let Some(batch) = batches.next().await {
                loaded.add(&batch?, columns, (&place.schema, column))?;
            }
        }
        Ok(loaded)
    }

    /// The fields that say which rows are the same, and whether they are a key.
    pub fn compared(fields: &[Field]) -> (Vec<String>, bool) {
        let key: Vec<&Field> = fields.iter().filter(|f| f.is_primary_key == Some(true)).collect();
        let is_key = !key.is_empty();
        let compared: Vec<&Field> = if is_key { key } else { fields.iter().collect() };
        (compared.into_iter().map(|f| f.name.clone()).collect(), is_key)
    }

    /// No rows yet, which will be told apart by `columns`.
    pub fn none(columns: Vec<String>, is_key: bool, context: &TaskContext) -> Self {
        let memory = MemoryConsumer::new("rows with the watermark's value").register(context.memory_pool());
        Self { columns, is_key, memory: Some(memory), ..Self::default() }
    }

    /// Adds rows that are in a table, with the types of `columns`. `shown` are the table's schema and the watermark's column,
    /// for messages.
    ///
    /// # Errors
    /// `Kind::Resources` where they do not fit into memory.
    pub fn add(&mut self, batch: &RecordBatch, columns: &SchemaRef, shown: (&str, &str)) -> Result<(), RunError> {
        let arrays = plain(batch, &self.columns, columns)?;
        if let Some(memory) = &self.memory {
            memory.try_grow(batch.num_rows() * BYTES_PER_ROW).map_err(|_| too_many(shown.0, shown.1))?;
        }
        let rows = self.rows.get_mut().unwrap_or_else(PoisonError::into_inner);
        for hash in self.hashes.rows(&arrays)? {
            *rows.entry(hash).or_insert(0) += 1;
        }
        Ok(())
    }

    /// For each row of `batch` whether it is new; those that are no `ties` are.
    fn take(&self, batch: &RecordBatch, ties: &BooleanArray) -> Result<BooleanArray, RunError> {
        let arrays = plain(batch, &self.columns, &batch.schema())?;
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if arrays.is_empty() || rows.is_empty() {
            return Ok(BooleanArray::from(vec![true; batch.num_rows()]));
        }
        let hashes = self.hashes.rows(&arrays)?;
        let is_new = hashes.iter().enumerate().map(|(row, hash)| {
            if !(ties.is_valid(row) && ties.value(row)) {
                return Some(true);
            }
            match rows.get_mut(hash) {
                Some(left) if *left > 0 => {
                    // A key stands for its row as often as it comes.
                    *left -= u64::from(!self.is_key);
                    Some(false)
                }
                _ => Some(true),
            }
        });
        Ok(is_new.collect())
    }
}

/// The columns with these names in the types that files have.
fn plain(batch: &RecordBatch, names: &[String], files: &SchemaRef) -> Result<Vec<ArrayRef>, RunError> {
    let array = |name: &String| -> Result<ArrayRef, RunError> {
        let missing = || RunError::new(Kind::Internal, format!("the column {name:?} is not there to be compared"));
        let wanted = files.field_with_name(name).map_err(|_| missing())?.data_type();
        cast(batch.column_by_name(name).ok_or_else(missing)?, wanted).map_err(|e| internal(&e))
    };
    names.iter().map(array).collect()
}

fn too_many(schema: &str, column: &str) -> RunError {
    RunError::new(
        Kind::Resources,
        format!(
            "the table of the schema {schema:?} has so many rows with the watermark's own value in {column:?} that the worker's \
             memory cannot keep them apart from those that come; use a finer watermarkColumn, or give the worker more memory"
        ),
    )
}

fn too_long(column: &str, value: &str) -> RunError {
    let beginning: String = value.chars().take(SHOWN).collect();
    RunError::new(
        Kind::Target,
        format!(
            "the greatest value of the watermarkColumn {column:?} has {} bytes (it begins with {beginning:?}), and a watermark has \
             {LONGEST} at most; nothing was written; use a column with shorter values, such as a number or a time",
            value.len()
        ),
    )
}

fn internal(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(Kind::Internal, format!("the rows cannot be told from those before the watermark: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_watermark_comes_back_as_it_was() {
        for (field, value) in [
            (json!({"dataType": "smallint"}), ScalarValue::Int16(Some(-5))),
            (json!({"dataType": "bigint"}), ScalarValue::Int64(Some(i64::MAX))),
            (json!({"dataType": "date"}), ScalarValue::Date32(Some(-719_162))),
            (json!({"dataType": "timestamp"}), ScalarValue::TimestampMicrosecond(Some(i64::MIN), None)),
            (json!({"dataType": "timestamptz"}), ScalarValue::TimestampMicrosecond(Some(1), Some("UTC".into()))),
            (
                json!({"dataType": "decimal", "precision": 38, "scale": 2}),
                ScalarValue::Decimal128(Some(10_i128.pow(38) - 1), 38, 2),
            ),
            (json!({"dataType": "varchar"}), ScalarValue::Utf8(Some(" \"é\" ".to_owned()))),
        ] {
            let mut field = field;
            field["name"] = json!("at");
            let field: Field = serde_json::from_value(field).unwrap();
            let stored = Watermark::of(&value, &field, "run_1").unwrap();
            let (_, text) = stored.to_property("at").unwrap();
            let read: Watermark = serde_json::from_str(&text.unwrap()).unwrap();
            assert_eq!(read.scalar(&field).unwrap(), value);
        }
    }

    #[test]
    fn a_watermark_survives_the_widening_of_its_field() {
        let field = |value| serde_json::from_value::<Field>(value).unwrap();
        let narrow = field(json!({"name": "n", "dataType": "smallint"}));
        let narrow = Watermark::of(&ScalarValue::Int16(Some(7)), &narrow, "run_1");
        let wide = field(json!({"name": "n", "dataType": "bigint"}));
        assert_eq!(narrow.unwrap().scalar(&wide).unwrap(), ScalarValue::Int64(Some(7)));
        let text = Watermark { r#type: "text".to_owned(), value: "x".to_owned(), run: "run_1".to_owned() };
        assert_eq!(text.scalar(&wide).unwrap_err().kind, Kind::Target);
    }
}
