//! Keeps values of an upsert unique in the whole table: a row that would have a value of another row, which the upsert does
//! not replace, is rejected.
//!
//! The rows are staged with where they came from, joined with the table by their values (joins that spill), and written
//! anew without those that are rejected and without where they came from. A row that is rejected no longer replaces the
//! one of its key in the table, whose values then count as well: so it is looked again until nothing is found.

use super::cast::{Reject, row_ids};
use super::files::{Folder, Written, run_errors};
use super::merge::{Incoming, conform, tuned};
use super::stage::Reporter;
use super::table::{Place, state};
use super::unique::Rule;
use super::widen;
use crate::engine::progress::{ROW_COLUMN, RowId};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, JoinType, ident};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::prelude::{DataFrame, ParquetReadOptions, SessionContext};
use deltalake::DeltaTable;
use deltalake::delta_datafusion::FileSelection;
use deltalake::kernel::Add;
use futures::StreamExt;
use object_store::path::Path;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio_util::sync::CancellationToken;

/// How often it is looked again.
const PASSES: usize = 100;

/// What the check needs to know.
pub struct Whole<'a> {
    pub place: &'a Place,
    pub folder: &'a Folder,
    pub table: &'a DeltaTable,
    /// The keys of the upsert.
    pub keys: &'a [String],
    pub rules: &'a [Rule],
    /// Bytes that the keys of the rows take in memory, about.
    pub key_bytes: u64,
    /// Bytes that operators may take before they spill.
    pub memory: usize,
    pub context: &'a TaskContext,
}

impl Whole<'_> {
    /// Rejects the rows of `staged`, which have [`ROW_COLUMN`], that break a rule; the others are in files with the
    /// columns `schema`.
    ///
    /// # Errors
    /// `Kind::Data` where the pipeline takes no more rejects; `Kind::Resources`; `Kind::TargetUnavailable`.
    pub async fn enforce(
        &self,
        staged: Written,
        schema: &SchemaRef,
        reporter: &Reporter,
        stop: &CancellationToken,
    ) -> Result<Written, RunError> {
        let with_rows = with_rows(schema);
        let mut left = staged;
        for pass in 0.. {
            let before = left.rows;
            for rule in self.rules {
                left = self.reject(left, rule, &with_rows, reporter, stop).await?;
            }
            if left.rows == before {
                break;
            }
            if pass == PASSES {
                return Err(RunError::new(
                    Kind::Data,
                    format!(
                        "the rows of the run want unique values of each other in chains of more than {PASSES} rows, so that \
                         nobody can tell which of them are to be rejected; bring them in several runs"
                    ),
                ));
            }
        }
        let mut written = Written { rows: left.rows, ..Written::default() };
        for add in &left.adds {
            let bytes = u64::try_from(add.size).unwrap_or(0);
            let path = Path::from(add.path.as_str());
            let adds = widen::rewrite(self.place, self.table, self.folder, &path, bytes, (schema, stop)).await?;
            written.adds.extend(adds);
        }
        self.folder.remove_files(&left.adds).await;
        Ok(written)
    }

    /// Whether the rules hold in the files of the table that are not `known`, too.
    ///
    /// # Errors
    /// `Kind::TargetUnavailable` where they do not: the rows must be read and checked again.
    pub async fn still_holds(&self, staged: &Written, known: &HashSet<String>) -> Result<(), RunError> {
        let current: Vec<String> = state(self.table)?.log_data().iter().map(|f| f.path().to_string()).collect();
        let new: Vec<String> = current.into_iter().filter(|path| !known.contains(path)).collect();
        if new.is_empty() || staged.rows == 0 {
            return Ok(());
        }
        let session = self.session(staged)?;
        for rule in self.rules {
            let Some(broken) = self.broken(&session, &staged.adds, rule, Some(&new)).await? else { continue };
            if broken.limit(0, Some(1))?.collect().await?.iter().any(|batch| batch.num_rows() > 0) {
                return Err(RunError::new(
                    Kind::TargetUnavailable,
                    format!(
                        "another run has written values of {:?} into the table of the schema {:?} that must be unique and that \
                         this run writes, too; its rows must be checked again",
                        rule.names.join(", "),
                        self.place.schema
                    ),
                ));
            }
        }
        Ok(())
    }

    /// What is left of the rows when those are rejected that break `rule`.
    async fn reject(
        &self,
        staged: Written,
        rule: &Rule,
        schema: &SchemaRef,
        reporter: &Reporter,
        stop: &CancellationToken,
    ) -> Result<Written, RunError> {
        if staged.rows == 0 {
            return Ok(staged);
        }
        let session = self.session(&staged)?;
        let Some(broken) = self.broken(&session, &staged.adds, rule, None).await? else { return Ok(staged) };
        let (own, theirs) = (self.names("x"), self.names("s"));
        let bad = self.rows(&session, &staged.adds, schema).await?.join(
            broken,
            JoinType::LeftSemi,
            &strs(&own),
            &strs(&theirs),
            None,
        )?;
        let bad = self.write(bad, schema, stop).await?;
        if bad.rows == 0 {
            return Ok(staged);
        }
        self.report(&session, &bad, rule, schema, reporter).await?;
        let keys = self.rows(&session, &bad.adds, schema).await?.select(self.renamed("x", "s"))?;
        let rest = self.rows(&session, &staged.adds, schema).await?.join(
            keys,
            JoinType::LeftAnti,
            &strs(&own),
            &strs(&theirs),
            None,
        )?;
        let left = self.write(rest, schema, stop).await?;
        self.folder.remove_files(&bad.adds).await;
        self.folder.remove_files(&staged.adds).await;
        Ok(left)
    }

    /// The keys `s0`, `s1`, … of rows in `adds` with a value that a row of the table has which they do not replace; in the
    /// `files` of the table, or in all. None where the table has no such column yet.
    async fn broken(
        &self,
        session: &SessionContext,
        adds: &[Add],
        rule: &Rule,
        files: Option<&[String]>,
    ) -> Result<Option<DataFrame>, RunError> {
        let stored = state(self.table)?.schema();
        if self.keys.iter().chain(&rule.names).any(|name| stored.field(name).is_none()) {
            return Ok(None);
        }
        if state(self.table)?.log_data().iter().next().is_none() {
            return Ok(None);
        }
        let aliased = |names: &[String], prefix: &str| -> Vec<Expr> {
            names.iter().enumerate().map(|(i, name)| ident(name.as_str()).alias(format!("{prefix}{i}"))).collect()
        };
        let values = |prefix: &str| (0..rule.names.len()).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
        let staged = self.staged(session, adds).await?;
        let own = staged.clone().select([aliased(self.keys, "s"), aliased(&rule.names, "v")].concat())?;
        let theirs = self.stored(session, files).await?;
        let theirs = theirs.select([aliased(self.keys, "t"), aliased(&rule.names, "w")].concat())?;
        let replaced = staged.select(aliased(self.keys, "r"))?;
        let met = own.join(theirs, JoinType::Inner, &strs(&values("v")), &strs(&values("w")), None)?;
        let kept = met.join(replaced, JoinType::LeftAnti, &strs(&self.names("t")), &strs(&self.names("r")), None)?;
        Ok(Some(kept.select(self.names("s").iter().map(|name| ident(name.as_str())).collect::<Vec<_>>())?))
    }

    /// Reports the rows in `bad`.
    async fn report(
        &self,
        session: &SessionContext,
        bad: &Written,
        rule: &Rule,
        schema: &SchemaRef,
        reporter: &Reporter,
    ) -> Result<(), RunError> {
        let order = sources(schema);
        let mut batches = self.rows(session, &bad.adds, schema).await?.execute_stream().await?;
        while let Some(batch) = batches.next().await {
            let batch = conform(&batch?, schema, &order).map_err(|e| internal(&e))?;
            let rejects = (0..batch.num_rows()).map(|row| reject(&batch, row, rule)).collect::<Result<Vec<_>, _>>()?;
            reporter.counters.rows_out.fetch_sub(batch.num_rows() as u64, Relaxed);
            reporter.reject(&batch, rejects)?;
        }
        Ok(())
    }

    async fn write(&self, rows: DataFrame, schema: &SchemaRef, stop: &CancellationToken) -> Result<Written, RunError> {
        let plan = rows.clone().create_physical_plan().await?;
        let task = Arc::new(rows.task_ctx());
        let order = sources(schema);
        let mut streams = Vec::new();
        for partition in 0..plan.output_partitioning().partition_count() {
            let (schema, order) = (SchemaRef::clone(schema), order.clone());
            let batches = run_errors(plan.execute(partition, Arc::clone(&task))?);
            streams.push(batches.map(move |b| conform(&b?, &schema, &order).map_err(|e| internal(&e))).boxed());
        }
        self.folder.writers(schema)?.write_all(streams, stop).await
    }

    /// Staged rows as they are.
    async fn staged(&self, session: &SessionContext, adds: &[Add]) -> Result<DataFrame, RunError> {
        let store = self.table.log_store();
        let paths: Vec<String> = adds.iter().map(|add| store.to_uri(&Path::from(add.path.as_str()))).collect();
        Ok(session.read_parquet(paths, ParquetReadOptions::default()).await?)
    }

    /// Staged rows as `c0`, `c1`, … in the order of `schema`, and their keys once more as `x0`, `x1`, ….
    async fn rows(&self, session: &SessionContext, adds: &[Add], schema: &SchemaRef) -> Result<DataFrame, RunError> {
        let mut columns: Vec<Expr> = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, field)| ident(field.name().as_str()).alias(format!("c{i}")))
            .collect();
        columns.extend(self.keys.iter().enumerate().map(|(i, key)| ident(key.as_str()).alias(format!("x{i}"))));
        Ok(self.staged(session, adds).await?.select(columns)?)
    }

    async fn stored(&self, session: &SessionContext, files: Option<&[String]>) -> Result<DataFrame, RunError> {
        let provider = self.table.table_provider();
        let provider = match files {
            Some(files) => {
                provider.with_file_selection(FileSelection::from_file_paths(files.iter().map(String::as_str)))
            }
            None => provider,
        };
        Ok(session.read_table(Arc::new(provider.build().await?))?)
    }

    fn session(&self, staged: &Written) -> Result<SessionContext, RunError> {
        let state: SessionState = SessionStateBuilder::new()
            .with_config(self.context.session_config().clone())
            .with_runtime_env(self.context.runtime_env())
            .with_default_features()
            .build();
        let incoming = Incoming {
            place: self.place,
            folder: self.folder,
            keys: self.keys,
            adds: &staged.adds,
            rows: staged.rows,
            // Values are joined as well as keys.
            key_bytes: self.key_bytes.saturating_mul(2),
            memory: self.memory,
            session: &state,
        };
        let session = tuned(&incoming, None);
        self.table.update_datafusion_session(&session.state()).map_err(|e| self.place.error("read", e))?;
        Ok(session)
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        (0..self.keys.len()).map(|i| format!("{prefix}{i}")).collect()
    }

    fn renamed(&self, from: &str, to: &str) -> Vec<Expr> {
        (0..self.keys.len()).map(|i| ident(format!("{from}{i}")).alias(format!("{to}{i}"))).collect()
    }
}

/// The table's columns and where a row came from.
fn with_rows(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW_COLUMN, DataType::Int64, true)));
    Arc::new(Schema::new(fields))
}

fn sources(schema: &SchemaRef) -> Vec<Option<usize>> {
    (0..schema.fields().len()).map(Some).collect()
}

fn reject(batch: &RecordBatch, row: usize, rule: &Rule) -> Result<Reject, RunError> {
    let names = rule.names.join(", ");
    let values = rule
        .names
        .iter()
        .filter_map(|name| batch.column_by_name(name))
        .map(|column| array_value_to_string(column, row))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| internal(&e))?
        .join(", ");
    Ok(Reject {
        row: row_ids(batch).filter(|ids| ids.is_valid(row)).map(|ids| RowId(ids.value(row))),
        reason: format!("{values:?} is not unique in {names:?}: a row of the table with another key has it"),
        column: names,
        value: Some(values),
        index: row,
    })
}

fn strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn internal(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(Kind::Internal, format!("the rows cannot be checked against the whole table: {error}"))
}
