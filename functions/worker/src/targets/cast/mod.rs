//! Casts batches to the columns of a table, and tells the rows that do not fit.

mod convert;
mod limit;
mod maps;
mod text;

pub use convert::{floats, json_texts};
pub use limit::{Charset, Limit, Limits};

use super::columns::{arrow_type, type_name};
use crate::engine::progress::{ROW_COLUMN, RowId};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch, StringArray, UInt32Array,
    new_null_array,
};
use datafusion::arrow::compute::{cast, filter, take};
use datafusion::arrow::datatypes::{
    DECIMAL256_MAX_PRECISION, DataType, Field as ArrowField, Int64Type, Schema, SchemaRef,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;
use serde_json::Value;
use shared::models::node::DataTypeName;
use shared::models::schema::Field;
use std::sync::Arc;

/// A row that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Where it came from, where that is known.
    pub row: Option<RowId>,
    pub column: String,
    /// The value as text; none for null.
    pub value: Option<String>,
    /// What is wrong with it.
    pub reason: String,
    /// Its place in the batch.
    pub index: usize,
}

/// Casts batches of one schema to the columns of a table.
#[derive(Debug)]
pub struct Caster {
    columns: Vec<Column>,
    /// The table's columns, then [`ROW_COLUMN`].
    schema: SchemaRef,
    row: Option<usize>,
    /// The index of the watermark's column.
    watermark: Option<usize>,
}

/// The columns that a load mode needs a value in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needed<'a> {
    /// The keys of an upsert.
    pub keys: &'a [String],
    /// The column of the watermark.
    pub watermark: Option<&'a str>,
}

impl Needed<'_> {
    fn why(&self, column: &str) -> Option<&'static str> {
        if self.watermark == Some(column) {
            return Some("null in the field that is the watermark, so that nobody can tell whether the row is new");
        }
        self.keys.iter().any(|key| key == column).then_some("null in a field that is a key of the upsert")
    }
}

#[derive(Debug)]
struct Column {
    name: String,
    data_type: DataType,
    /// None for a column of the table that the schema has lost.
    field: Option<Field>,
    source: Source,
    nullable: bool,
    /// Why it may not be null although the field may.
    key: Option<&'static str>,
    /// What it cannot hold although its field can.
    limit: Option<Limit>,
}

#[derive(Debug)]
enum Source {
    /// The column of the input with this index.
    Input(usize),
    /// One value for all rows; an array with one element.
    Constant(ArrayRef),
}

/// A column with the rows in which it has no value that it should have.
struct Cast {
    array: ArrayRef,
    bad: Vec<usize>,
    /// Rows whose value is beyond the column's limit.
    over: Vec<usize>,
}

impl Caster {
    /// Casts batches of `input` to the columns `table`, of which `fields` are the schema's; where a value is `needed`,
    /// null is refused.
    ///
    /// # Errors
    /// `Kind::Definition` for each field that must not be null and can get no value, or whose default value is none of its
    /// type, and where the watermark does not reach the target.
    pub fn new(input: &Schema, table: &Schema, fields: &[Field], needed: Needed<'_>) -> Result<Self, RunError> {
        let (mut columns, mut faults) = (Vec::with_capacity(table.fields().len()), Vec::new());
        if let Some(name) = needed.watermark.filter(|name| input.index_of(name).is_err()) {
            let why = format!("the watermarkColumn {name:?} does not reach the target: no column has its name");
            faults.push(RunError::new(Kind::Definition, why).within("/config/watermarkColumn"));
        }
        for column in table.fields() {
            let field = fields.iter().find(|f| f.name == *column.name());
            let key = needed.why(column.name());
            let nullable = key.is_none() && field.is_none_or(Field::nullable);
            let source = match (field, input.index_of(column.name())) {
                (Some(_), Ok(index)) => Source::Input(index),
                (Some(field), Err(_)) => match default_value(field, nullable) {
                    Ok(value) => Source::Constant(value),
                    Err(fault) => {
                        faults.push(fault);
                        continue;
                    }
                },
                (None, _) => Source::Constant(new_null_array(column.data_type(), 1)),
            };
            columns.push(Column {
                name: column.name().clone(),
                data_type: column.data_type().clone(),
                field: field.cloned(),
                source,
                nullable,
                key,
                limit: None,
            });
        }
        if let Some(fault) = RunError::all(faults) {
            return Err(fault);
        }
        let mut all: Vec<_> = table.fields().iter().cloned().collect();
        all.push(Arc::new(ArrowField::new(ROW_COLUMN, DataType::Int64, true)));
        let row = input.index_of(ROW_COLUMN).ok().filter(|i| *input.field(*i).data_type() == DataType::Int64);
        let watermark = needed.watermark.and_then(|name| columns.iter().position(|column| column.name == name));
        Ok(Self { columns, schema: Arc::new(Schema::new(all)), row, watermark })
    }

    /// The watermark's column of a batch of the input, as the field holds it; null where it cannot.
    ///
    /// # Errors
    /// Where Arrow fails.
    pub fn watermark_values(&self, batch: &RecordBatch) -> Result<Option<ArrayRef>, ArrowError> {
        let column = self.watermark.and_then(|index| self.columns.get(index));
        column.map(|column| column.cast(batch).map(|cast| cast.array)).transpose()
    }

    /// The same, with values refused that are beyond the limits of their columns.
    #[must_use]
    pub fn within(mut self, limits: &Limits) -> Self {
        for column in &mut self.columns {
            column.limit = limits.get(&column.name).copied();
        }
        self
    }

    /// Whether the rows know where they came from.
    pub fn has_rows(&self) -> bool {
        self.row.is_some()
    }

    /// The table's columns, then [`ROW_COLUMN`].
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows that fit, and those that do not.
    ///
    /// # Errors
    /// `Kind::Internal` where Arrow fails.
    pub fn cast(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<Reject>), RunError> {
        self.try_cast(batch)
            .map_err(|e| RunError::new(Kind::Internal, format!("the columns cannot be cast to the table's: {e}")))
    }

    fn try_cast(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<Reject>), ArrowError> {
        let rows = batch.num_rows();
        let ids: ArrayRef = match self.row {
            Some(index) => Arc::clone(batch.column(index)),
            None => new_null_array(&DataType::Int64, rows),
        };
        let mut arrays = Vec::with_capacity(self.columns.len() + 1);
        let mut rejects: Vec<(usize, Reject)> = Vec::new();
        let mut good = BooleanBufferBuilder::new(rows);
        good.append_n(rows, true);
        for column in &self.columns {
            let cast = column.cast(batch)?;
            for row in cast.bad {
                if good.get_bit(row) {
                    good.set_bit(row, false);
                    rejects.push((row, column.reject(batch, row, ids.as_primitive())?));
                }
            }
            for (row, limit) in cast.over.into_iter().zip(column.limit.iter().cycle()) {
                if good.get_bit(row) {
                    good.set_bit(row, false);
                    let reject = column.reject(batch, row, ids.as_primitive())?;
                    rejects.push((row, Reject { reason: limit.why(), ..reject }));
                }
            }
            arrays.push(cast.array);
        }
        arrays.push(ids);
        if !rejects.is_empty() {
            let good = BooleanArray::new(good.finish(), None);
            arrays = arrays.iter().map(|array| filter(array, &good)).collect::<Result<_, _>>()?;
            rejects.sort_by_key(|(row, _)| *row);
        }
        let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows - rejects.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        Ok((batch, rejects.into_iter().map(|(_, reject)| reject).collect()))
    }
}

impl Column {
    fn cast(&self, batch: &RecordBatch) -> Result<Cast, ArrowError> {
        let (array, before) = match (&self.source, &self.field) {
            (Source::Input(index), Some(field)) => {
                let input = convert::plain(batch.column(*index))?;
                (convert::convert(&input, field)?, Some(input))
            }
            (Source::Input(index), None) => (convert::safe(batch.column(*index), &self.data_type)?, None),
            (Source::Constant(one), _) => {
                let indices = UInt32Array::from(vec![0; batch.num_rows()]);
                (take(one, &indices, None)?, None)
            }
        };
        let mut bad = Vec::new();
        let nulls_before = before.as_ref().map_or(array.null_count(), Array::null_count);
        let is_null_before = |row| before.as_ref().is_none_or(|b| b.is_null(row));
        if array.null_count() > 0 && (!self.nullable || array.null_count() != nulls_before) {
            bad.extend((0..array.len()).filter(|row| array.is_null(*row) && !(self.nullable && is_null_before(*row))));
        }
        if let Some(length) = self.max_length() {
            bad.extend(too_long(array.as_string(), length));
        }
        let over = self.limit.map(|limit| limit.beyond(&array)).unwrap_or_default();
        Ok(Cast { array, bad, over })
    }

    /// The most characters that it takes.
    fn max_length(&self) -> Option<usize> {
        let field = self.field.as_ref().filter(|f| f.data_type == DataTypeName::Varchar)?;
        field.length.and_then(|length| usize::try_from(length).ok())
    }

    fn reject(&self, batch: &RecordBatch, row: usize, ids: &Int64Array) -> Result<Reject, ArrowError> {
        let value = match &self.source {
            Source::Input(index) => {
                let input = batch.column(*index);
                let null = input.logical_nulls().is_some_and(|nulls| nulls.is_null(row));
                if null { None } else { Some(shown(input, row)?) }
            }
            Source::Constant(_) => None,
        };
        let reason = match &value {
            None if self.key.is_some() => self.key.unwrap_or_default().to_owned(),
            None => "null in a field that is not nullable".to_owned(),
            Some(text) => self.reason(text),
        };
        let id = ids.is_valid(row).then(|| RowId(ids.value(row)));
        Ok(Reject { row: id, column: self.name.clone(), value, reason, index: row })
    }

    fn reason(&self, text: &str) -> String {
        let Some(field) = &self.field else {
            return "a value that the table cannot hold".to_owned();
        };
        let characters = text.chars().count();
        match self.max_length() {
            Some(length) if characters > length => {
                return format!("{characters} characters where the field {:?} takes {length}", field.name);
            }
            _ => {}
        }
        text::why(text, field)
    }
}

/// The rows whose text has more than `length` characters.
fn too_long(texts: &StringArray, length: usize) -> impl Iterator<Item = usize> + '_ {
    texts.iter().enumerate().filter_map(move |(row, text)| {
        // A character is one byte at least, so most texts need no counting.
        text.is_some_and(|t| t.len() > length && t.chars().count() > length).then_some(row)
    })
}

/// A value for people, with all its digits: a decimal may have one more than its type.
fn shown(array: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let DataType::Decimal128(_, scale) = array.data_type() else { return array_value_to_string(array, row) };
    let wide = cast(&array.slice(row, 1), &DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale))?;
    array_value_to_string(&wide, 0)
}

/// The value of a field whose column is missing, as an array with one element.
fn default_value(field: &Field, nullable: bool) -> Result<ArrayRef, RunError> {
    let wrong = |why: String| RunError::new(Kind::Definition, format!("the field {:?} {why}", field.name));
    let value: Option<String> = match &field.default_value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if field.data_type == DataTypeName::Json && !text::is_json(text) => {
            Some(Value::String(text.clone()).to_string())
        }
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let Some(value) = value else {
        if nullable {
            return Ok(new_null_array(&arrow_type(field), 1));
        }
        return Err(wrong(
            "must not be null, has no default value, and no column of that name reaches the target".to_owned(),
        ));
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec![value.clone()]));
    let cast =
        convert::convert(&text, field).map_err(|e| wrong(format!("has a default value that cannot be cast: {e}")))?;
    let long = field.length.is_some_and(|length| value.chars().count() > length as usize);
    if cast.is_null(0) || (field.data_type == DataTypeName::Varchar && long) {
        return Err(wrong(format!("has the default value {value:?}, which is no {}", type_name(field))));
    }
    Ok(cast)
}

/// The row ids of a batch that [`Caster::cast`] made.
pub fn row_ids(batch: &RecordBatch) -> Option<&Int64Array> {
    batch.column_by_name(ROW_COLUMN).and_then(|ids| ids.as_primitive_opt::<Int64Type>())
}
