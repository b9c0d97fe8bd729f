//! The rows of a sample as a target would write them; nothing is written, and no table is looked at.

use super::cast::{Caster, Needed};
use super::columns;
use super::keep_last::{KeepLast, one_zero};
use super::keys::upsert_keys;
use super::stage::Reporter;
use super::unique::Uniques;
use crate::engine::job::Job;
use crate::engine::progress::{NodeCounters, Progress, ROW_COLUMN};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::execution::memory_pool::MemoryPool;
use shared::models::node::{LoadMode, TargetConfig};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What comes to a target in a sample.
pub struct Sample<'a> {
    pub schema: &'a SchemaRef,
    pub batches: &'a [RecordBatch],
}

/// The rows of `sample` cast to the target's fields, without those that it rejects, which are reported to `progress`,
/// and in an upsert without those that a later row of the same key replaces.
///
/// # Errors
/// As [`super::check`]; `Kind::Resources` where the pool is too small.
pub fn sample(
    job: &Job,
    config: &TargetConfig,
    sample: &Sample<'_>,
    reporting: (Arc<NodeCounters>, Arc<Progress>),
    pool: &Arc<dyn MemoryPool>,
) -> Result<RecordBatch, RunError> {
    let schema = job.schema_of(config)?;
    let fields = &schema.fields;
    let upsert = config.load_mode == Some(LoadMode::Upsert);
    let keys = if upsert { upsert_keys(schema, config)? } else { Vec::new() };
    let table = columns::of_fields(fields);
    let caster = Caster::new(sample.schema, &table, fields, Needed { keys: &keys, watermark: None })?;
    let (counters, progress) = reporting;
    let reporter = Reporter { counters, progress };
    let cast = sample
        .batches
        .iter()
        .map(|batch| reporter.cast(&caster, None, batch.clone()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = concat_batches(caster.schema(), &cast).map_err(internal)?;
    if upsert {
        let (kept, superseded) = last_of_each(&rows, &keys).map_err(internal)?;
        reporter.counters.deduplicated.fetch_add(superseded, Relaxed);
        rows = kept;
    }
    if let Some(uniques) = Uniques::new(fields, &table, &keys, pool) {
        let (kept, rejects) = uniques.check(rows.clone())?;
        reporter.reject(&rows, rejects)?;
        rows = kept;
    }
    reporter.counters.rows_out.fetch_add(rows.num_rows() as u64, Relaxed);
    rows.project(&(0..table.fields().len()).collect::<Vec<_>>()).map_err(internal)
}

/// The last row of each key, and how many others there were.
fn last_of_each(rows: &RecordBatch, keys: &[String]) -> Result<(RecordBatch, u64), ArrowError> {
    let columns = keys.iter().map(|key| rows.schema().index_of(key)).collect::<Result<Vec<_>, _>>()?;
    let order = columns.iter().map(|column| rows.column(*column)).chain(rows.column_by_name(ROW_COLUMN));
    let order = order.map(|values| Ok(SortColumn { values: one_zero(values)?, options: None }));
    let order: Vec<_> = order.collect::<Result<_, ArrowError>>()?;
    let sorted = take_record_batch(rows, &lexsort_to_indices(&order, None)?)?;
    let mut last = KeepLast::new(columns);
    let mut kept = last.push(&sorted)?;
    kept.extend(last.finish());
    Ok((concat_batches(&rows.schema(), &kept)?, last.superseded()))
}

fn internal(error: ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("the rows cannot be brought into the table's form: {error}"))
}
