//! Merges staged rows into a table by their keys: rewrites the files that hold one of the keys, without those rows.

use super::files::{Folder, run_errors};
use super::stage::SORTED_ROWS;
use super::table::{Place, state};
use crate::engine::join_keys::with_join_keys;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::functions_aggregate::expr_fn::{max, min};
use datafusion::logical_expr::{Expr, JoinType, ident, lit};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{DataFrame, ParquetReadOptions, SessionContext};
use datafusion::scalar::ScalarValue;
use deltalake::DeltaTable;
use deltalake::delta_datafusion::FileSelection;
use deltalake::kernel::{Action, Add};
use futures::StreamExt;
use object_store::path::Path;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The name of the column that says which file a row is in.
const FILE: &str = "__flowgate_file";
/// Bytes of files that are worth a partition of their own when they are rewritten.
const PARTITION_BYTES: i64 = 64 * 1024 * 1024;

/// The rows that are to be merged.
pub struct Incoming<'a> {
    pub place: &'a Place,
    pub folder: &'a Folder,
    pub keys: &'a [String],
    /// The staged files; each key is in them once.
    pub adds: &'a [Add],
    pub rows: u64,
    pub key_bytes: u64,
    /// Bytes that operators may take before they spill.
    pub memory: usize,
    pub session: &'a SessionState,
}

/// What is known about the table's files so far; kept when another commit came first, since most files stay.
#[derive(Debug, Default)]
pub struct Merge {
    /// Files that were looked into.
    checked: HashSet<String>,
    /// Those of them that hold a key.
    rewritten: HashSet<String>,
    /// What they were rewritten to.
    adds: Vec<Add>,
}

/// One file of the table.
struct Current {
    bytes: i64,
    remove: deltalake::kernel::Remove,
}

impl Merge {
    /// The files that the rows which stay were rewritten to; after the commit.
    pub fn take_adds(&mut self) -> Vec<Add> {
        std::mem::take(&mut self.adds)
    }

    /// The actions that make the table as it is loaded hold the incoming rows instead of those with the same keys.
    /// `schema` is that of new files.
    ///
    /// # Errors
    /// `Kind::Resources` where memory and disk are not enough; `Kind::TargetUnavailable` where files cannot be read.
    pub async fn actions(
        &mut self,
        incoming: &Incoming<'_>,
        table: &DeltaTable,
        schema: &SchemaRef,
    ) -> Result<Vec<Action>, RunError> {
        let current: HashMap<String, Current> = state(table)?
            .log_data()
            .iter()
            .map(|file| (file.path().to_string(), Current { bytes: file.size(), remove: file.remove_action(true) }))
            .collect();
        if !self.rewritten.iter().all(|path| current.contains_key(path)) {
            // Another commit has changed what was rewritten.
            incoming.folder.remove_files(&self.adds).await;
            *self = Self::default();
        }
        let unknown: BTreeSet<&String> = current.keys().filter(|path| !self.checked.contains(*path)).collect();
        if incoming.rows > 0 && !unknown.is_empty() {
            let scan = Scan::new(incoming, table, schema).await?;
            let touched = scan.touched(&unknown).await?;
            if !touched.is_empty() {
                let bytes = touched.iter().filter_map(|path| current.get(path)).map(|file| file.bytes).sum();
                self.adds.extend(scan.rewrite(&touched, bytes).await?);
            }
            self.rewritten.extend(touched);
            self.checked.extend(unknown.into_iter().cloned());
        }
        let removes =
            self.rewritten.iter().filter_map(|path| current.get(path)).map(|file| Action::Remove(file.remove.clone()));
        let adds = self.adds.iter().chain(incoming.adds).cloned().map(Action::Add);
        Ok(removes.chain(adds).collect())
    }
}

/// Queries over one version of the table and the staged rows.
struct Scan<'a> {
    incoming: &'a Incoming<'a>,
    table: &'a DeltaTable,
    schema: &'a SchemaRef,
    context: SessionContext,
    root: String,
}

impl<'a> Scan<'a> {
    async fn new(incoming: &'a Incoming<'a>, table: &'a DeltaTable, schema: &'a SchemaRef) -> Result<Self, RunError> {
        let context = tuned(incoming, None);
        table.update_datafusion_session(&context.state()).map_err(|e| incoming.place.error("read", e))?;
        let root = table.log_store().root_url().as_str().trim_end_matches('/').to_owned();
        Ok(Self { incoming, table, schema, context, root })
    }

    /// The files of `paths` that hold one of the incoming keys.
    async fn touched(&self, paths: &BTreeSet<&String>) -> Result<HashSet<String>, RunError> {
        let mut columns: Vec<Expr> = self.keys_as("l");
        columns.push(ident(FILE).alias("file"));
        let mut files = self.files(&self.context, paths.iter().map(|path| path.as_str())).await?;
        if let Some(range) = self.range().await? {
            files = files.filter(range)?;
        }
        let keys = self.keys(&self.context).await?;
        let (left, right) = (self.names("l"), self.names("r"));
        let mut rows = files
            .select(columns)?
            .join(keys, JoinType::LeftSemi, &strs(&left), &strs(&right), None)?
            .select(vec![ident("file")])?
            .execute_stream()
            .await?;
        let mut ids: HashSet<String> = HashSet::new();
        // An aggregate would ask for memory that the sorts of the join have taken.
        while let Some(batch) = rows.next().await {
            let files = cast(batch?.column(0), &DataType::Utf8).map_err(arrow)?;
            for id in files.as_string::<i32>().iter().flatten() {
                if !ids.contains(id) {
                    ids.insert(id.to_owned());
                }
            }
            if ids.len() == paths.len() {
                break;
            }
        }
        let touched = ids.iter().map(|id| self.path_of(id, paths)).collect::<Result<_, _>>()?;
        Ok(touched)
    }

    /// The path of the file that the scan calls `id`, an absolute URL.
    fn path_of(&self, id: &str, paths: &BTreeSet<&String>) -> Result<String, RunError> {
        let relative = id.strip_prefix(&self.root).unwrap_or(id).trim_start_matches('/').to_owned();
        if paths.contains(&relative) {
            return Ok(relative);
        }
        let decoded = percent_decoded(&relative);
        if paths.contains(&decoded) {
            return Ok(decoded);
        }
        // A guess here could lose rows or double them.
        Err(RunError::new(Kind::Internal, "a file of the table cannot be told by the name that its scan gives it"))
    }

    /// Writes the rows of `paths` that have none of the incoming keys.
    async fn rewrite(&self, paths: &HashSet<String>, bytes: i64) -> Result<Vec<Add>, RunError> {
        let wanted = usize::try_from(bytes / PARTITION_BYTES).unwrap_or(0) + 1;
        let context = tuned(self.incoming, Some(wanted));
        let files = self.files(&context, paths.iter().map(String::as_str)).await?;
        let known: HashSet<String> = files.schema().fields().iter().map(|f| f.name().clone()).collect();
        let present: Vec<&str> =
            self.schema.fields().iter().map(|f| f.name().as_str()).filter(|name| known.contains(*name)).collect();
        let columns: Vec<Expr> =
            present.iter().enumerate().map(|(i, name)| ident(*name).alias(format!("c{i}"))).collect();
        let right: Vec<String> = self
            .incoming
            .keys
            .iter()
            .map(|key| match present.iter().position(|name| name == key) {
                Some(i) => Ok(format!("c{i}")),
                None => Err(RunError::new(Kind::Internal, format!("the table has no column {key:?} to merge by"))),
            })
            .collect::<Result<_, _>>()?;
        let left = self.names("r");
        let plan = self
            .keys(&context)
            .await?
            .join(files.select(columns)?, JoinType::RightAnti, &strs(&left), &strs(&right), None)?
            .create_physical_plan()
            .await?;
        let sources: Vec<Option<usize>> =
            self.schema.fields().iter().map(|f| present.iter().position(|name| name == f.name())).collect();
        let task = context.task_ctx();
        let mut streams = Vec::new();
        for partition in 0..plan.output_partitioning().partition_count() {
            let (schema, sources) = (SchemaRef::clone(self.schema), sources.clone());
            let rows = run_errors(plan.execute(partition, Arc::clone(&task))?);
            streams.push(rows.map(move |batch| conform(&batch?, &schema, &sources).map_err(arrow)).boxed());
        }
        let written = self.incoming.folder.writers(self.schema)?.write_all(streams, &CancellationToken::new()).await?;
        Ok(written.adds)
    }

    /// The rows of the table's files with these paths, and [`FILE`].
    async fn files(&self, context: &SessionContext, paths: impl Iterator<Item = &str>) -> Result<DataFrame, RunError> {
        let provider = self
            .table
            .table_provider()
            .with_file_selection(FileSelection::from_file_paths(paths))
            .with_file_column(FILE)
            .build()
            .await?;
        Ok(context.read_table(Arc::new(provider))?)
    }

    /// The incoming keys, as columns `r0`, `r1`, ….
    async fn keys(&self, context: &SessionContext) -> Result<DataFrame, RunError> {
        let store = self.table.log_store();
        let paths: Vec<String> =
            self.incoming.adds.iter().map(|add| store.to_uri(&Path::from(add.path.as_str()))).collect();
        let rows = context.read_parquet(paths, ParquetReadOptions::default()).await?;
        Ok(rows.select(self.keys_as("r"))?)
    }

    /// Between the least and the greatest of the incoming first keys, where they have an order that statistics keep.
    async fn range(&self) -> Result<Option<Expr>, RunError> {
        let Some(first) = self.incoming.keys.first() else { return Ok(None) };
        let bounds = self
            .keys(&self.context)
            .await?
            .aggregate(Vec::new(), vec![min(ident("r0")).alias("low"), max(ident("r0")).alias("high")])?
            .collect()
            .await?;
        let Some(batch) = bounds.first().filter(|batch| batch.num_rows() == 1) else { return Ok(None) };
        if batch.column(0).data_type().is_floating() {
            return Ok(None);
        }
        let low = ScalarValue::try_from_array(batch.column(0), 0)?;
        let high = ScalarValue::try_from_array(batch.column(1), 0)?;
        if low.is_null() || high.is_null() {
            return Ok(None);
        }
        Ok(Some(ident(first).between(lit(low), lit(high))))
    }

    fn keys_as(&self, prefix: &str) -> Vec<Expr> {
        self.incoming.keys.iter().enumerate().map(|(i, key)| ident(key).alias(format!("{prefix}{i}"))).collect()
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        (0..self.incoming.keys.len()).map(|i| format!("{prefix}{i}")).collect()
    }
}

/// The session with joins that fit: by hash tables where the keys are few, else by sorting, which spills.
pub fn tuned(incoming: &Incoming<'_>, partitions: Option<usize>) -> SessionContext {
    let state = incoming.session.clone();
    let mut config = state.config().clone();
    let table = incoming.key_bytes.saturating_mul(2).saturating_add(incoming.rows.saturating_mul(32));
    let small = table < (incoming.memory / 4) as u64;
    if !small {
        // Several sorts share the memory, and each must hold some batches at least.
        let rows = config.batch_size().min(SORTED_ROWS);
        config = config.with_batch_size(rows);
    }
    let options = config.options_mut();
    options.optimizer.prefer_hash_join = small;
    if small {
        // One hash table for all partitions, so that the rows that stay keep their order and each file its range.
        options.optimizer.hash_join_single_partition_threshold = usize::MAX;
        options.optimizer.hash_join_single_partition_threshold_rows = usize::MAX;
    }
    options.execution.collect_statistics = true;
    // A join that sorts is only planned for several partitions.
    let least = if small { 1 } else { 2 };
    let most = partitions.unwrap_or(usize::MAX);
    options.execution.target_partitions = options.execution.target_partitions.min(most).max(least);
    let rules = with_join_keys(state.physical_optimizers());
    let state = SessionStateBuilder::new_from_existing(state).with_config(config).with_physical_optimizer_rules(rules);
    SessionContext::new_with_state(state.build())
}

/// A batch of the table's rows in the form of new files; columns that the table did not have are null.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef, sources: &[Option<usize>]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .zip(sources)
        .map(|(field, source)| match source {
            Some(index) => cast(batch.column(*index), field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<_, _>>()?;
    RecordBatch::try_new(SchemaRef::clone(schema), columns)
}

fn strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn arrow(error: ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("the table's rows cannot be brought into the form of new files: {error}"))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
