//! Keeps the last row of each key, of rows that are sorted by key and then by where they came from.

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Float32Array, Float64Array, RecordBatch, Scalar};
use datafusion::arrow::compute::kernels::cmp::distinct;
use datafusion::arrow::compute::kernels::numeric::add;
use datafusion::arrow::compute::{filter_record_batch, or};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;

/// One stream's worth of state.
#[derive(Debug)]
pub struct KeepLast {
    keys: Vec<usize>,
    /// The last row so far: whether it stays is not known until the next one comes.
    held: Option<RecordBatch>,
    superseded: u64,
}

impl KeepLast {
    /// Tells rows apart by the columns with the indices `keys`; no row comes twice.
    pub fn new(keys: Vec<usize>) -> Self {
        Self { keys, held: None, superseded: 0 }
    }

    /// Rows left out so far.
    pub fn superseded(&self) -> u64 {
        self.superseded
    }

    /// The rows that are known to be the last of their keys now that `batch` has come, in order.
    ///
    /// # Errors
    /// Where Arrow cannot compare the keys.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<Vec<RecordBatch>, ArrowError> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let mut out = Vec::with_capacity(2);
        if let Some(held) = self.held.take() {
            let apart = self.differ(&held, &batch.slice(0, 1))?;
            if apart.value(0) {
                out.push(held);
            } else {
                self.superseded += 1;
            }
        }
        let last = rows - 1;
        if last > 0 {
            let head = batch.slice(0, last);
            let stays = self.differ(&head, &batch.slice(1, last))?;
            let kept = filter_record_batch(&head, &stays)?;
            self.superseded += (last - kept.num_rows()) as u64;
            if kept.num_rows() > 0 {
                out.push(kept);
            }
        }
        self.held = Some(batch.slice(last, 1));
        Ok(out)
    }

    /// The row that was still held.
    pub fn finish(&mut self) -> Option<RecordBatch> {
        self.held.take()
    }

    fn differ(&self, left: &RecordBatch, right: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let mut differ = BooleanArray::from(vec![false; left.num_rows()]);
        for key in &self.keys {
            let (left, right) = (one_zero(left.column(*key))?, one_zero(right.column(*key))?);
            differ = or(&differ, &distinct(&left, &right)?)?;
        }
        Ok(differ)
    }
}

/// Values of a key in which the two zeros of floating point are one.
///
/// # Errors
/// None that Arrow gives for such values.
pub fn one_zero(values: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match values.data_type() {
        DataType::Float32 => add(values, &Scalar::new(Float32Array::from(vec![0.0]))),
        DataType::Float64 => add(values, &Scalar::new(Float64Array::from(vec![0.0]))),
        _ => Ok(ArrayRef::clone(values)),
    }
}
