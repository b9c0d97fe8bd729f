//! What one step reports about its rows: counts, and rejects with their place in the source.

use crate::engine::progress::{NodeCounters, Progress, ROW_COLUMN, RowId};
use crate::error::RunError;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Where a step writes what became of its rows. A node with several consumers is executed once a consumer; only the
/// first one counts, the others' ledgers are silent.
#[derive(Debug, Clone)]
pub struct Ledger {
    counters: Option<Arc<NodeCounters>>,
    progress: Arc<Progress>,
    /// Whether rows in and out are counted here; a node of several steps counts them at its ends only.
    passing: bool,
}

impl Ledger {
    /// A ledger that counts at `counters`, or a silent one.
    pub fn new(counters: Option<Arc<NodeCounters>>, progress: Arc<Progress>) -> Self {
        Self { counters, progress, passing: true }
    }

    /// The same ledger for a step within a node: what it leaves out is counted, what passes is not.
    #[must_use]
    pub fn within(&self) -> Self {
        Self { passing: false, ..self.clone() }
    }
    /// A ledger that counts nothing.
    #[must_use]
    pub fn silent(&self) -> Self {
        Self { counters: None, ..self.clone() }
    }

    /// Whether anything is counted here.
    pub fn counts(&self) -> bool {
        self.counters.is_some()
    }

    /// Rows that came in.
    pub fn rows_in(&self, rows: usize) {
        if let Some(c) = self.counters.as_ref().filter(|_| self.passing) {
            c.rows_in.fetch_add(rows as u64, Relaxed);
        }
    }
    /// Rows that went out.
    pub fn rows_out(&self, rows: usize) {
        if let Some(c) = self.counters.as_ref().filter(|_| self.passing) {
            c.rows_out.fetch_add(rows as u64, Relaxed);
        }
    }
    /// Rows that the node left out because it was told to.
    pub fn filtered(&self, rows: usize) {
        if let Some(c) = &self.counters {
            c.filtered.fetch_add(rows as u64, Relaxed);
        }
    }
    /// Rows that were left out since another one has the same keys.
    pub fn deduplicated(&self, rows: usize) {
        if let Some(c) = &self.counters {
            c.deduplicated.fetch_add(rows as u64, Relaxed);
        }
    }

    /// Rows that went over the route `label` of a branch.
    pub fn routed(&self, label: &str, rows: usize) {
        if let Some(c) = &self.counters {
            c.routes.add(label, rows as u64);
        }
    }
    /// Rows that broke a rule that only warns.
    pub fn warned(&self, rule: &str, rows: usize) {
        if let Some(c) = self.counters.as_ref().filter(|_| rows > 0) {
            c.warnings.add(rule, rows as u64);
        }
    }

    /// The columns that a step reads which may reject rows: those that it looks at and where the rows came from; all of
    /// them (none are named) where rejected rows are kept whole.
    pub fn reads(&self, looks_at: impl IntoIterator<Item = String>) -> Option<Vec<String>> {
        if self.counts() && self.progress.keeps_rows() {
            return None;
        }
        Some(looks_at.into_iter().chain([ROW_COLUMN.to_owned()]).collect())
    }

    /// Where row `index` of `batch` came from, as people say it; none where it has no identity any more.
    pub fn place(&self, batch: &RecordBatch, index: usize) -> Option<String> {
        row_id(batch, index).map(|row| self.progress.place(row))
    }

    /// `error`, at the node whose ledger this is.
    pub fn at(&self, error: RunError) -> RunError {
        match &self.counters {
            Some(counters) => error.at(&counters.id),
            None => error,
        }
    }

    /// Rejects row `index` of `batch`.
    ///
    /// # Errors
    /// Where the pipeline ends at this reject.
    pub fn reject(
        &self,
        batch: &RecordBatch,
        index: usize,
        column: &str,
        value: Option<&str>,
        reason: &str,
    ) -> Result<(), RunError> {
        match &self.counters {
            Some(counters) => {
                let whole = || crate::targets::row_text(batch, index);
                self.progress.reject_row(counters, row_id(batch, index), column, value, reason, whole)
            }
            None => Ok(()),
        }
    }
}

/// Where row `index` of `batch` came from.
fn row_id(batch: &RecordBatch, index: usize) -> Option<RowId> {
    let rows = batch.column_by_name(ROW_COLUMN)?.as_primitive_opt::<Int64Type>()?;
    (index < rows.len() && rows.is_valid(index)).then(|| RowId(rows.value(index)))
}

/// The value at `index` as people read it; none for null.
pub fn text_at(array: &ArrayRef, index: usize) -> Option<String> {
    if index >= array.len() || array.is_null(index) {
        return None;
    }
    ArrayFormatter::try_new(array, &FormatOptions::default()).ok()?.value(index).try_to_string().ok()
}
