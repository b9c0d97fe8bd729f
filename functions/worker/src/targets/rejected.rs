//! The rows that runs rejected, as a table beside the target's: `<lake>/<tenant>/<schema id>_rejected`.
//!
//! It is a target of its own, appended to under the run's transaction, so that its rows are in once whatever is delivered
//! again. It is committed **before** the target's table: where that one has the run's rows, the rejected ones are kept for
//! certain, and a worker that finds the one without the other goes on: it replaces them, for it has read everything anew. A
//! retry replaces those of the run before, and a run that is settled without rows takes its own out again and brings those
//! back that it had replaced. What is rejected on its way to databases is kept beside the table of the pipeline's schema:
//! there it stays where any target has the run's rows whose rejected ones are kept with it.

use super::target::{Target, open};
use crate::engine::dead_letters::{self, DeadLetter};
use crate::engine::job::{Earlier, Job, Settings, TableSchema};
use crate::engine::progress::{NodeCounters, Progress};
use crate::error::RunError;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::stream;
use shared::models::node::{DataTypeName, NodeType, TargetConfig};
use shared::models::pipeline::{ErrorHandling, OnError};
use shared::models::receipt;
use shared::models::schema::Field;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Rows of a batch.
const ROWS: usize = 1024;
/// The columns of the table with their types.
const COLUMNS: [(&str, DataTypeName); 8] = [
    ("run_id", DataTypeName::Text),
    ("node", DataTypeName::Text),
    ("row", DataTypeName::Bigint),
    ("file", DataTypeName::Text),
    ("column", DataTypeName::Text),
    ("value", DataTypeName::Text),
    ("reason", DataTypeName::Text),
    ("data", DataTypeName::Text),
];

/// The table of the rows that were rejected on their way to that of `schema`.
pub fn schema(schema: &TableSchema) -> TableSchema {
    let field = |(name, data_type): &(&str, DataTypeName)| Field::new(*name, *data_type);
    TableSchema {
        id: format!("{}_rejected", schema.id),
        name: format!("{} (rejected rows)", schema.name),
        fields: COLUMNS.iter().map(field).collect(),
    }
}

/// Whether a schema of this id is that of rejected rows.
pub fn is_one(schema_id: &str) -> bool {
    schema_id.ends_with("_rejected")
}

/// Which rejected rows are kept beside which table.
pub struct Kept<'a> {
    pub job: &'a Job,
    /// The schema of the target.
    pub schema: &'a TableSchema,
    /// The nodes whose rejected rows are kept here.
    pub nodes: HashSet<String>,
    /// Whether all targets that share the table are written by this run; otherwise what an earlier run has kept stays.
    pub all: bool,
}

/// Stages the rejected rows in the file at `rows` for a commit; none where there is nothing to be changed.
///
/// # Errors
/// `Kind::TargetUnavailable`, `Kind::Resources`, `Kind::Superseded`.
pub async fn stage(
    kept: Kept<'_>,
    rows: Option<&Path>,
    context: Arc<TaskContext>,
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Option<Target>, RunError> {
    let any = match rows {
        Some(rows) => first(rows, &kept.nodes)?,
        None => false,
    };
    let own = schema(kept.schema);
    if !any && super::table::Place::new(&kept.job.tenant_id, &own, settings)?.load(None).await?.is_none() {
        return Ok(None);
    }
    let earlier = kept.job.earlier.iter().map(|run| Earlier { replace: kept.all, ..run.clone() }).collect();
    let job = Job { schema: own, tables: HashMap::new(), earlier, ..kept.job.clone() };
    let mut target = open(&job, "rejected", &TargetConfig::default(), settings).await?;
    if target.already_committed() {
        // The table that they stand beside has no rows of the run, or the run would not read for it again: an attempt before
        // this one has come so far and no further, and what it rejected this one may have taken.
        if !kept.all || !target.replace_own().await? {
            return Ok(Some(target));
        }
    }
    if !any {
        // An empty commit keeps out what an attempt before this one has staged, and removes it.
        let changes = target.replaces().await? || (job.attempt > 1 && target.is_staged_before().await);
        return Ok(if changes { Some(target) } else { None });
    }
    let spool = settings.scratch.join(format!("{}.rejected-rows", uuid::Uuid::new_v4().simple()));
    let progress = Progress::new(ErrorHandling::default(), spool, Default::default());
    let counters = NodeCounters::new("rejected", "rejected", NodeType::Target);
    let plan = plan(&job.run_id, rows.map(Path::to_owned).unwrap_or_default(), kept.nodes)?;
    target.stage(plan, context, counters, progress, stop).await?;
    Ok(Some(target))
}

/// What the tables beside those of `schemas` have of the run, or of an earlier one that it leaves to stand: for the receipt
/// of a run that finds its rows in all of its targets, and so stages nothing. They stay as they are from now on, and what
/// attempts before had staged there is removed.
///
/// # Errors
/// `Kind::TargetUnavailable` where the lake does not answer.
pub async fn recorded(
    job: &Job,
    schemas: &[TableSchema],
    settings: &Settings,
) -> Result<Vec<receipt::Target>, RunError> {
    let mut found = Vec::new();
    if job.execution.errors().on_error != OnError::DeadLetter {
        return Ok(found);
    }
    let mut seen = HashSet::new();
    let each: Vec<&TableSchema> = schemas.iter().filter(|schema| seen.insert(schema.id.as_str())).collect();
    for of in each {
        if job.attempt > 1 {
            let place = super::table::Place::new(&job.tenant_id, &schema(of), settings)?;
            if let Some(table) = place.load(None).await? {
                super::settle::close(&place, table, &job.run_id, job.attempt).await?;
            }
        }
        let target = super::receipt::recorded(&job.tenant_id, &schema(of), &job.run_id, &job.earlier, settings).await?;
        found.extend(target);
    }
    Ok(found)
}

/// Whether there is a row of one of these nodes.
fn first(rows: &Path, nodes: &HashSet<String>) -> Result<bool, RunError> {
    for row in dead_letters::read(rows)? {
        if nodes.contains(&row?.node) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[derive(Debug)]
struct Spooled {
    run_id: String,
    path: PathBuf,
    nodes: HashSet<String>,
    schema: SchemaRef,
}

fn plan(run_id: &str, path: PathBuf, nodes: HashSet<String>) -> Result<Arc<dyn ExecutionPlan>, RunError> {
    let fields = COLUMNS.iter().map(|(name, data_type)| {
        let data_type = if *data_type == DataTypeName::Bigint { DataType::Int64 } else { DataType::Utf8 };
        ArrowField::new(*name, data_type, true)
    });
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let spooled = Spooled { run_id: run_id.to_owned(), path, nodes, schema: Arc::clone(&schema) };
    let partitions: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(spooled)];
    Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, None)?))
}

impl PartitionStream for Spooled {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, run_id, nodes) = (Arc::clone(&self.schema), self.run_id.clone(), self.nodes.clone());
        let mut rows = dead_letters::read(&self.path)
            .map(|rows| rows.filter(move |row| !row.as_ref().is_ok_and(|row| !nodes.contains(&row.node))));
        let target = Arc::clone(&schema);
        let batches = std::iter::from_fn(move || {
            let rows = match &mut rows {
                Ok(rows) => rows.by_ref().take(ROWS).collect::<Result<Vec<_>, _>>(),
                Err(error) => Err(error.clone()),
            };
            match rows {
                Ok(rows) if rows.is_empty() => None,
                Ok(rows) => Some(batch(&target, &run_id, &rows)),
                Err(error) => Some(Err(error.into())),
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches)))
    }
}

fn batch(schema: &SchemaRef, run_id: &str, rows: &[DeadLetter]) -> datafusion::error::Result<RecordBatch> {
    let texts = |text: &dyn Fn(&DeadLetter) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(text).collect::<StringArray>())
    };
    let numbers: Int64Array = rows.iter().map(|row| row.row.and_then(|row| i64::try_from(row).ok())).collect();
    let columns: Vec<ArrayRef> = vec![
        texts(&|_| Some(run_id.to_owned())),
        texts(&|row| Some(row.node.clone())),
        Arc::new(numbers),
        texts(&|row| row.file.clone()),
        texts(&|row| Some(row.column.clone())),
        texts(&|row| row.value.clone()),
        texts(&|row| Some(row.reason.clone())),
        texts(&|row| row.data.clone()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
