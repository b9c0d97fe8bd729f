//! Streams the rows of a plan into files of the table that no reader sees yet.

use super::cast::{Caster, Limits, Needed, Reject};
use super::files::{Folder, Written, run_errors};
use super::keep_last::KeepLast;
use super::unique::Uniques;
use super::values;
use super::watermark::Past;
use crate::engine::progress::{NodeCounters, Progress, ROW_COLUMN};
use crate::error::{Kind, RunError};
use crate::nodes::columns::one_zero_key;
use crate::nodes::ties::executed_rows_tie;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, SendableRecordBatchStream};
use futures::{Stream, StreamExt, stream};
use shared::models::schema::Field;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use tokio_util::sync::CancellationToken;

/// The most rows in a batch that is sorted.
pub const SORTED_ROWS: usize = 1024;

/// The rows of one partition, as the table takes them.
pub type RowStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, RunError>> + Send>>;

/// Where rows are staged.
pub trait Writes {
    /// Writes the rows of several partitions at once, whose columns are those of `schema`. The first that fails stops the
    /// others.
    ///
    /// # Errors
    /// The streams'; `Kind::Cancelled` on `stop`; `Kind::TargetUnavailable` where the rows are not taken.
    fn write_all(
        &mut self,
        schema: &SchemaRef,
        streams: Vec<RowStream>,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<Written, RunError>> + Send;
}

impl Writes for &Folder {
    async fn write_all(
        &mut self,
        schema: &SchemaRef,
        streams: Vec<RowStream>,
        stop: &CancellationToken,
    ) -> Result<Written, RunError> {
        self.writers(schema)?.write_all(streams, stop).await
    }
}

/// What staging a target needs to know.
pub struct Staging<'a, W> {
    pub into: W,
    /// The columns of the table.
    pub table: &'a SchemaRef,
    pub fields: &'a [Field],
    /// The keys of an upsert; empty for the other load modes.
    pub keys: &'a [String],
    /// What an incremental load leaves out.
    pub past: Option<Arc<Past>>,
    /// Whether the files also get [`ROW_COLUMN`], for a check that comes after.
    pub with_rows: bool,
    /// Values that a column cannot hold although its field can, by the column's name.
    pub limits: Limits,
    pub context: Arc<TaskContext>,
    pub reporter: Arc<Reporter>,
    pub stop: &'a CancellationToken,
}

/// What was staged.
#[derive(Debug, Default)]
pub struct Staged {
    pub written: Written,
    /// Rows that the load mode left out: another row of the same key replaced them, or they are not past the watermark.
    pub superseded: u64,
    /// Bytes that the keys of the rows take in memory, about.
    pub key_bytes: u64,
}

/// Tells the run what becomes of the rows.
#[derive(Debug)]
pub struct Reporter {
    pub counters: Arc<NodeCounters>,
    pub progress: Arc<Progress>,
}

impl Reporter {
    /// Reports rows of `batch` that are rejected.
    ///
    /// # Errors
    /// Where the pipeline takes no more of them.
    pub fn reject(&self, batch: &RecordBatch, rejects: Vec<Reject>) -> Result<(), RunError> {
        for reject in rejects {
            self.progress.reject_row(
                &self.counters,
                reject.row,
                &reject.column,
                reject.value.as_deref(),
                &reject.reason,
                || values::row_text(batch, reject.index),
            )?;
        }
        Ok(())
    }

    pub(super) fn cast(
        &self,
        caster: &Caster,
        past: Option<&Past>,
        batch: RecordBatch,
    ) -> Result<RecordBatch, RunError> {
        let came = batch.num_rows();
        self.counters.rows_in.fetch_add(came as u64, Relaxed);
        let batch = match (past, caster.watermark_values(&batch).map_err(internal)?) {
            (Some(past), Some(values)) => past.not_below(batch, &values).map_err(internal)?,
            _ => batch,
        };
        let (rows, rejects) = caster.cast(&batch)?;
        self.left_out(came - batch.num_rows());
        self.reject(&batch, rejects)?;
        let Some(past) = past else { return Ok(rows) };
        let cast = rows.num_rows();
        let rows = past.not_loaded(rows)?;
        self.left_out(cast - rows.num_rows());
        Ok(rows)
    }

    fn left_out(&self, rows: usize) {
        self.counters.filtered.fetch_add(rows as u64, Relaxed);
    }
}

impl<W: Writes> Staging<'_, W> {
    /// Casts the rows of `plan` and writes them, all partitions at once. For an upsert each key is written once, and
    /// sorted, so that later upserts find it in few files. Of rows with one value of a field that must be unique, the first
    /// is kept: of those of an append, the first that its source has.
    ///
    /// # Errors
    /// The plan's; `Kind::Data` where the pipeline takes no more rejects; `Kind::Target` where the watermark would be too long;
    /// `Kind::Cancelled` on `stop`.
    pub async fn run(mut self, plan: Arc<dyn ExecutionPlan>) -> Result<Staged, RunError> {
        let needed = Needed { keys: self.keys, watermark: self.past.as_ref().map(|past| past.field.name.as_str()) };
        let caster = Caster::new(&plan.schema(), self.table, self.fields, needed)?;
        let caster = Arc::new(caster.within(&self.limits));
        let pool = self.context.memory_pool();
        let uniques = Uniques::new(self.fields, self.table, self.keys, pool).map(Arc::new);
        let tally = Arc::new(Tally::default());
        let files = if self.with_rows { SchemaRef::clone(caster.schema()) } else { SchemaRef::clone(self.table) };
        let left_out = self.reporter.counters.filtered.load(Relaxed);
        let casts = CastPartition::all(&plan, &self.context, &caster, &self.reporter, self.past.as_ref());
        let rows = streaming(&caster, casts)?;
        let told_apart = caster.has_rows() && !executed_rows_tie(&plan);
        let order = order(&rows.schema(), self.keys, caster.has_rows(), told_apart)?;
        let by_key = !self.keys.is_empty();
        let in_order = by_key || uniques.is_some() && !comes_in_order(&plan);
        let partitions = self.context.session_config().target_partitions().max(1);
        let rows = if by_key { by_hash(rows, self.keys, partitions)? } else { rows };
        let rows = if in_order { sorted(rows, &order) } else { rows };
        // Which one of several equal values is the first is told by one stream only.
        let one = in_order && uniques.is_some();
        let sorted: Arc<dyn ExecutionPlan> =
            if one { Arc::new(SortPreservingMergeExec::new(order, rows)) } else { rows };
        let keys = self.keys.iter().map(|key| self.table.index_of(key)).collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(|_| no_key(self.keys))?;
        let context = if in_order { sorting(&self.context) } else { Arc::clone(&self.context) };
        let mut streams: Vec<RowStream> = Vec::new();
        for partition in 0..sorted.output_partitioning().partition_count() {
            let rows = run_errors(sorted.execute(partition, Arc::clone(&context))?);
            let pipe = Pipe {
                last: (!keys.is_empty()).then(|| KeepLast::new(keys.clone())),
                keys: keys.clone(),
                uniques: uniques.clone(),
                columns: (0..files.fields().len()).collect(),
                schema: SchemaRef::clone(&files),
                past: self.past.clone(),
                reporter: Arc::clone(&self.reporter),
                tally: Arc::clone(&tally),
            };
            streams.push(Box::pin(pipe.through(rows)));
        }
        let written = self.into.write_all(&files, streams, self.stop).await?;
        if let Some(past) = &self.past {
            past.check_length()?;
        }
        let (superseded, key_bytes) = (tally.superseded.load(Relaxed), tally.key_bytes.load(Relaxed));
        self.reporter.counters.deduplicated.fetch_add(superseded, Relaxed);
        let left_out = self.reporter.counters.filtered.load(Relaxed).saturating_sub(left_out);
        Ok(Staged { written, superseded: superseded + left_out, key_bytes })
    }
}

fn no_key(keys: &[String]) -> RunError {
    RunError::new(Kind::Definition, format!("the upsert key {} is not made of the schema's fields", keys.join(", ")))
}

/// Counted by all partitions.
#[derive(Debug, Default)]
struct Tally {
    superseded: AtomicU64,
    key_bytes: AtomicU64,
}

/// What happens to the cast rows of one partition on their way to the files.
struct Pipe {
    last: Option<KeepLast>,
    keys: Vec<usize>,
    uniques: Option<Arc<Uniques>>,
    columns: Vec<usize>,
    schema: SchemaRef,
    past: Option<Arc<Past>>,
    reporter: Arc<Reporter>,
    tally: Arc<Tally>,
}

impl Pipe {
    fn through<S>(
        mut self,
        rows: S,
    ) -> impl futures::Stream<Item = Result<RecordBatch, RunError>> + Send + Unpin + 'static
    where
        S: futures::Stream<Item = Result<RecordBatch, RunError>> + Send + Unpin + 'static,
    {
        // After the last batch comes one `None`, at which what is held back goes out.
        rows.map(Some)
            .chain(stream::once(async { None }).boxed())
            .map(move |batch| {
                let out = match batch {
                    Some(Ok(batch)) => self.push(batch),
                    Some(Err(error)) => Err(error),
                    None => self.finish(),
                };
                stream::iter(match out {
                    Ok(batches) => batches.into_iter().map(Ok).collect::<Vec<_>>(),
                    Err(error) => vec![Err(error)],
                })
            })
            .flatten()
    }

    fn push(&mut self, batch: RecordBatch) -> Result<Vec<RecordBatch>, RunError> {
        let batches = match &mut self.last {
            Some(last) => last.push(&batch).map_err(internal)?,
            None => vec![batch],
        };
        batches.into_iter().map(|batch| self.end(batch)).collect()
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, RunError> {
        let Some(last) = &mut self.last else { return Ok(Vec::new()) };
        let held = last.finish();
        self.tally.superseded.fetch_add(last.superseded(), Relaxed);
        held.into_iter().map(|batch| self.end(batch)).collect()
    }

    fn end(&self, batch: RecordBatch) -> Result<RecordBatch, RunError> {
        let batch = match &self.uniques {
            Some(uniques) => {
                let (kept, rejects) = uniques.check(batch.clone())?;
                self.reporter.reject(&batch, rejects)?;
                kept
            }
            None => batch,
        };
        if let Some(past) = &self.past {
            past.note(&batch)?;
        }
        let key_bytes: usize =
            self.keys.iter().map(|key| batch.column(*key).to_data().get_slice_memory_size().unwrap_or(0)).sum();
        self.tally.key_bytes.fetch_add(key_bytes as u64, Relaxed);
        self.reporter.counters.rows_out.fetch_add(batch.num_rows() as u64, Relaxed);
        let table = batch.project(&self.columns).map_err(internal)?;
        // The columns are the table's; what is nullable about them is said by the table's own schema.
        table.with_schema(SchemaRef::clone(&self.schema)).map_err(internal)
    }
}

fn internal(error: datafusion::arrow::error::ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("the rows cannot be brought into the table's form: {error}"))
}

/// One partition of the plan, cast.
#[derive(Debug)]
struct CastPartition {
    plan: Arc<dyn ExecutionPlan>,
    /// The plan's own; the operators above it may have another.
    context: Arc<TaskContext>,
    partition: usize,
    caster: Arc<Caster>,
    reporter: Arc<Reporter>,
    past: Option<Arc<Past>>,
}

impl CastPartition {
    fn all(
        plan: &Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
        caster: &Arc<Caster>,
        reporter: &Arc<Reporter>,
        past: Option<&Arc<Past>>,
    ) -> Vec<Arc<dyn PartitionStream>> {
        (0..plan.output_partitioning().partition_count())
            .map(|partition| {
                Arc::new(Self {
                    plan: Arc::clone(plan),
                    context: Arc::clone(context),
                    partition,
                    caster: Arc::clone(caster),
                    reporter: Arc::clone(reporter),
                    past: past.cloned(),
                }) as Arc<dyn PartitionStream>
            })
            .collect()
    }
}

impl PartitionStream for CastPartition {
    fn schema(&self) -> &SchemaRef {
        self.caster.schema()
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = SchemaRef::clone(self.caster.schema());
        let (caster, reporter, past) = (Arc::clone(&self.caster), Arc::clone(&self.reporter), self.past.clone());
        match self.plan.execute(self.partition, Arc::clone(&self.context)) {
            Ok(rows) => {
                let cast = rows.map(move |batch| Ok(reporter.cast(&caster, past.as_deref(), batch?)?));
                Box::pin(RecordBatchStreamAdapter::new(schema, cast))
            }
            Err(error) => Box::pin(RecordBatchStreamAdapter::new(schema, stream::once(async { Err(error) }))),
        }
    }
}

/// The same memory and disk with smaller batches: several sorts share the memory, and each must hold some batches.
fn sorting(context: &TaskContext) -> Arc<TaskContext> {
    let config = context.session_config().clone();
    let rows = config.batch_size().min(SORTED_ROWS);
    let config = config.with_batch_size(rows);
    Arc::new(TaskContext::default().with_session_config(config).with_runtime(context.runtime_env()))
}

fn streaming(caster: &Caster, partitions: Vec<Arc<dyn PartitionStream>>) -> Result<Arc<dyn ExecutionPlan>, RunError> {
    let schema = SchemaRef::clone(caster.schema());
    Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, None)?))
}

/// By key and then as the source has them; by all values where that does not tell all rows apart, so that the same rows
/// always end the same.
fn order(schema: &SchemaRef, keys: &[String], has_rows: bool, told_apart: bool) -> Result<LexOrdering, RunError> {
    let mut sort = keys.iter().map(|key| key_column(key, schema, keys)).collect::<Result<Vec<_>, _>>()?;
    if has_rows {
        sort.push(column(ROW_COLUMN, schema, keys)?);
    }
    if !told_apart {
        let all = schema.fields().iter().map(|field| field.name().as_str());
        for name in all.filter(|name| *name != ROW_COLUMN && keys.iter().all(|key| key != name)) {
            sort.push(column(name, schema, keys)?);
        }
    }
    LexOrdering::new(sort.into_iter().map(PhysicalSortExpr::new_default)).ok_or_else(|| no_key(keys))
}

fn column(name: &str, schema: &SchemaRef, keys: &[String]) -> Result<Arc<dyn PhysicalExpr>, RunError> {
    Ok(Arc::new(Column::new_with_schema(name, schema).map_err(|_| no_key(keys))?))
}

/// A column of the key, in which the two zeros of floating point are one.
fn key_column(name: &str, schema: &SchemaRef, keys: &[String]) -> Result<Arc<dyn PhysicalExpr>, RunError> {
    Ok(one_zero_key(column(name, schema, keys)?, schema)?)
}

/// All rows of a key in one partition.
fn by_hash(
    input: Arc<dyn ExecutionPlan>,
    keys: &[String],
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>, RunError> {
    let schema = input.schema();
    let hashed = keys.iter().map(|key| key_column(key, &schema, keys)).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(RepartitionExec::try_new(input, Partitioning::Hash(hashed, partitions))?))
}

/// Each partition in an order; spills to disk.
fn sorted(input: Arc<dyn ExecutionPlan>, order: &LexOrdering) -> Arc<dyn ExecutionPlan> {
    Arc::new(SortExec::new(order.clone(), input).with_preserve_partitioning(true))
}

/// Whether the rows come one after the other as a source has them, or as they were sorted.
fn comes_in_order(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.output_partitioning().partition_count() == 1
        && ["SortExec", "SortPreservingMergeExec"].contains(&plan.name())
    {
        return true;
    }
    // Ours say less of themselves where a sort must not be moved below them.
    let hands_on = plan.name() == "TapExec" || plan.name().ends_with("Rows");
    let keeps = hands_on || plan.maintains_input_order().into_iter().all(|keeps| keeps);
    plan.output_partitioning().partition_count() == 1
        && keeps
        && plan.children().len() < 2
        && plan.children().into_iter().all(comes_in_order)
}
