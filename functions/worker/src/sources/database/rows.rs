//! Rows of a database on their way into record batches: columns of values, and which rows do not fit.

use super::Column;
use crate::engine::progress::RowId;
use crate::error::{Kind, RunError};
use crate::sources::chunk::Reject;
use crate::sources::decode::Wanted;
use crate::targets::row_text;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Array, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder, TimestampMicrosecondBuilder, UInt64Builder,
};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::arrow::error::ArrowError;
use std::sync::Arc;

/// Characters of a value that a rejected row keeps.
const VALUE_CHARS: usize = 200;

/// A value that its column's type does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    pub value: String,
    pub reason: String,
}

impl Misfit {
    /// A misfit; the value is cut.
    pub fn new(value: impl Into<String>, reason: impl Into<String>) -> Self {
        let mut value: String = value.into();
        if let Some((end, _)) = value.char_indices().nth(VALUE_CHARS) {
            value.truncate(end);
        }
        Self { value, reason: reason.into() }
    }
}

/// A column that is being made.
#[derive(Debug)]
pub enum Values {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt64(UInt64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    /// With its precision and scale.
    Decimal(Decimal128Builder, u8, i8),
    Date(Date32Builder),
    Micros(TimestampMicrosecondBuilder),
    Text(StringBuilder),
}

/// Does the same with the builder of every type.
macro_rules! each {
    ($values:expr, $builder:ident => $do:expr) => {
        match $values {
            Values::Boolean($builder) => $do,
            Values::Int16($builder) => $do,
            Values::Int32($builder) => $do,
            Values::Int64($builder) => $do,
            Values::UInt64($builder) => $do,
            Values::Float32($builder) => $do,
            Values::Float64($builder) => $do,
            Values::Decimal($builder, ..) => $do,
            Values::Date($builder) => $do,
            Values::Micros($builder) => $do,
            Values::Text($builder) => $do,
        }
    };
}

impl Values {
    fn new(data_type: &DataType, rows: usize) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            DataType::Int16 => Self::Int16(Int16Builder::with_capacity(rows)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(rows)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(rows)),
            DataType::UInt64 => Self::UInt64(UInt64Builder::with_capacity(rows)),
            DataType::Float32 => Self::Float32(Float32Builder::with_capacity(rows)),
            DataType::Float64 => Self::Float64(Float64Builder::with_capacity(rows)),
            DataType::Decimal128(precision, scale) => {
                let builder = Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone());
                Self::Decimal(builder, *precision, *scale)
            }
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(rows)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Self::Micros(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(data_type.clone()))
            }
            _ => Self::Text(StringBuilder::with_capacity(rows, rows * 16)),
        }
    }

    fn null(&mut self) {
        each!(self, builder => builder.append_null());
    }

    fn len(&self) -> usize {
        use datafusion::arrow::array::ArrayBuilder;
        each!(self, builder => builder.len())
    }

    fn finish(&mut self) -> ArrayRef {
        each!(self, builder => Arc::new(builder.finish()))
    }
}

/// The columns that were read of a rejected row, as JSON text; what did not fit as it came.
fn whole(columns: &[&Column], arrays: &[ArrayRef], reject: &Reject, first: u64) -> Option<String> {
    let fields = columns.iter().zip(arrays).map(|(column, array)| (column.name.as_str(), Arc::clone(array), true));
    let batch = RecordBatch::try_from_iter_with_nullable(fields).ok()?;
    let text = row_text(&batch, usize::try_from(reject.row.checked_sub(first)?).ok()?)?;
    let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).ok()?;
    row.insert(reject.column.clone(), reject.value.clone().into());
    Some(serde_json::Value::Object(row).to_string())
}

/// Rows of one piece, as far as they are read.
pub struct Rows<'a> {
    columns: Vec<&'a Column>,
    values: Vec<Values>,
    good: BooleanBufferBuilder,
    rejects: Vec<Reject>,
    /// The number of the first row.
    first: u64,
    /// Whether the row at hand fits so far.
    fits: bool,
    bytes: usize,
}

impl<'a> Rows<'a> {
    /// No rows yet of these columns; the first will have the number `first`.
    pub fn new(columns: Vec<&'a Column>, first: u64, capacity: usize) -> Self {
        let capacity = capacity.min(8192);
        Self {
            values: columns.iter().map(|c| Values::new(&c.data_type, capacity)).collect(),
            columns,
            good: BooleanBufferBuilder::new(capacity),
            rejects: Vec::new(),
            first,
            fits: true,
            bytes: 0,
        }
    }

    /// The rows so far, those that do not fit too.
    pub fn len(&self) -> usize {
        self.good.len()
    }

    /// The bytes of their values as they came.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the row that comes next.
    pub fn next(&self) -> u64 {
        self.first + self.good.len() as u64
    }

    /// Sets the value with the index `at` of the row at hand to what `decode` appends; where it says that the value does
    /// not fit, the row is rejected.
    pub fn set(&mut self, at: usize, bytes: usize, decode: impl FnOnce(&mut Values) -> Result<(), Misfit>) {
        self.bytes += bytes;
        let Some(values) = self.values.get_mut(at) else { return };
        let Err(misfit) = decode(values) else { return };
        values.null();
        if std::mem::replace(&mut self.fits, false)
            && let Some(column) = self.columns.get(at)
        {
            let row = self.first + self.good.len() as u64;
            let (column, value) = (column.name.clone(), Some(misfit.value));
            self.rejects.push(Reject { row, column, value, reason: misfit.reason, whole: None });
        }
    }

    /// Sets the value with the index `at` of the row at hand to null.
    pub fn null(&mut self, at: usize) {
        if let Some(values) = self.values.get_mut(at) {
            values.null();
        }
    }

    /// The row at hand is complete.
    pub fn end_row(&mut self) {
        self.good.append(self.fits);
        self.fits = true;
    }

    /// The rows that fit, as `wanted` wants them, and the others. `selected` are the indices of the columns in the source.
    ///
    /// # Errors
    /// `Kind::Internal` where the columns do not make a batch.
    pub fn finish(
        mut self,
        selected: &[usize],
        wanted: &Wanted,
        piece: usize,
    ) -> Result<(RecordBatch, Vec<Reject>), RunError> {
        let failed = |e: ArrowError| RunError::new(Kind::Internal, format!("a batch of a source cannot be made: {e}"));
        let rows = self.good.len();
        if let Some(short) = self.values.iter().position(|v| v.len() != rows) {
            let why = format!("the column number {short} of a source has another number of rows than the others");
            return Err(RunError::new(Kind::Internal, why));
        }
        let mut arrays: Vec<ArrayRef> = self.values.iter_mut().map(Values::finish).collect();
        for reject in &mut self.rejects {
            reject.whole = whole(&self.columns, &arrays, reject, self.first);
        }
        let ids = (0..rows as u64).map(|i| RowId::new(wanted.source, piece, self.first + i).0);
        arrays.push(Arc::new(Int64Array::from_iter_values(ids)));
        let mut kept = rows;
        if !self.rejects.is_empty() {
            let good = BooleanArray::new(self.good.finish(), None);
            kept = good.true_count();
            arrays =
                arrays.iter().map(|a| compute::filter(a, &good)).collect::<Result<_, ArrowError>>().map_err(failed)?;
        }
        // What is no column of the source is the row id, which comes last.
        let place = |column: &usize| selected.iter().position(|s| s == column).unwrap_or(selected.len());
        let columns = wanted.columns.iter().filter_map(|c| arrays.get(place(c)).cloned()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(kept));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&wanted.schema), columns, &options).map_err(failed)?;
        Ok((batch, self.rejects))
    }
}
