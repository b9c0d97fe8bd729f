//! The target against a lake in a temporary folder.

mod casts;
mod evolution;
mod exact;
mod lost_answers;
mod modes;
mod oracle;
mod pages;
mod races;
mod retries;
mod rollback;
mod uploads;
mod watermark;
mod whole;

use super::{Committed, PageRequest, Target, open, read_page};
use crate::engine::job::{Earlier, Job, Lake, Settings, TableSchema};
use crate::engine::progress::{NodeCounters, Progress, ROW_COLUMN, RowError};
use crate::error::RunError;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use serde_json::{Map, Value, json};
use shared::clock::Clock;
use shared::models::node::{NodeType, TargetConfig};
use shared::models::pipeline::ErrorHandling;
use shared::models::schema::Field;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A lake, a schema, and a session.
struct World {
    folder: TempDir,
    settings: Settings,
    schema: TableSchema,
    session: SessionContext,
}

/// One attempt of a run at a target.
struct Attempt {
    target: Target,
    counters: Arc<NodeCounters>,
    progress: Arc<Progress>,
}

impl World {
    fn new(fields: Value) -> Self {
        let folder = TempDir::new().unwrap();
        let lake = folder.path().join("lake");
        let settings = Settings {
            files_root: None,
            http_allowed_hosts: Vec::new(),
            lake: Lake { url: format!("file://{}", lake.display()), options: HashMap::new() },
            memory_bytes: 256 << 20,
            scratch: folder.path().join("scratch"),
            cores: 2,
        };
        let fields: Vec<Field> = serde_json::from_value(fields).unwrap();
        let schema = TableSchema { id: "schema_1".to_owned(), name: "Customers".to_owned(), fields };
        let session = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        Self { folder, settings, schema, session }
    }

    /// `id` (primary key, bigint) and `name`.
    fn customers() -> Self {
        Self::new(json!([
            { "name": "id", "dataType": "bigint", "isPrimaryKey": true },
            { "name": "name", "dataType": "varchar", "length": 20 },
        ]))
    }

    fn job(&self, run_id: &str, earlier: &[Earlier]) -> Job {
        Job {
            tenant_id: "acme".to_owned(),
            run_id: run_id.to_owned(),
            attempt: 1,
            definition_hash: String::new(),
            earlier: earlier.to_vec(),
            nodes: Vec::new(),
            edges: Vec::new(),
            connector_id: "conn_1".to_owned(),
            connectors: HashMap::new(),
            schema: self.schema.clone(),
            tables: HashMap::new(),
            table_name: self.schema.name.clone(),
            parameters: Map::new(),
            execution: Default::default(),
        }
    }

    async fn open(&self, run_id: &str, config: Value, earlier: &[Earlier]) -> Result<Attempt, RunError> {
        self.open_for(&self.job(run_id, earlier), config).await
    }

    async fn open_for(&self, job: &Job, config: Value) -> Result<Attempt, RunError> {
        let config: TargetConfig = serde_json::from_value(config).unwrap();
        let target = open(job, "out", &config, &self.settings).await?;
        let counters = NodeCounters::new("out", "out", NodeType::Target);
        let spool = self.folder.path().join(format!("{}.jsonl", uuid::Uuid::new_v4()));
        let progress = Progress::new(ErrorHandling::default(), spool, Clock::default());
        Ok(Attempt { target, counters, progress })
    }

    async fn stage(&self, attempt: &mut Attempt, partitions: &[Vec<RecordBatch>]) -> Result<(), RunError> {
        let plan = plan(partitions);
        let stop = CancellationToken::new();
        let (counters, progress) = (Arc::clone(&attempt.counters), Arc::clone(&attempt.progress));
        attempt.target.stage(plan, self.session.task_ctx(), counters, progress, &stop).await
    }

    async fn commit(&self, attempt: &mut Attempt) -> Result<Committed, RunError> {
        attempt.target.commit(&self.session.state(), &CancellationToken::new()).await
    }

    /// Opens, stages and commits.
    async fn run(&self, run_id: &str, config: Value, batches: &[RecordBatch]) -> Result<Committed, RunError> {
        let mut attempt = self.open(run_id, config, &[]).await?;
        if !attempt.target.already_committed() {
            self.stage(&mut attempt, &[batches.to_vec()]).await?;
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
            let c = &attempt.counters;
            let gone = count(&c.filtered) + count(&c.rejected) + count(&c.deduplicated);
            assert_eq!(count(&c.rows_in), count(&c.rows_out) + gone);
        }
        self.commit(&mut attempt).await
    }

    async fn rows(&self) -> Vec<Map<String, Value>> {
        let request = PageRequest { limit: 1_000_000, bytes: usize::MAX, position: None, include_total: true };
        let page = read_page("acme", &self.schema, &self.settings, request).await.unwrap();
        assert_eq!(page.next, None);
        assert_eq!(page.total, Some(page.rows.len() as u64));
        page.rows
    }

    /// The rows as `id:name`, sorted.
    async fn people(&self) -> Vec<String> {
        let text = |v: Option<&Value>| v.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap();
        let mut all: Vec<String> =
            self.rows().await.iter().map(|r| format!("{}:{}", text(r.get("id")), text(r.get("name")))).collect();
        all.sort();
        all
    }

    fn table_folder(&self) -> PathBuf {
        self.folder.path().join("lake/acme/schema_1")
    }

    /// The table's Parquet files on disk, those of the log left out.
    fn files_on_disk(&self) -> usize {
        fn walk(folder: &std::path::Path, count: &mut usize) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    if path.file_name().is_some_and(|name| name != "_delta_log") {
                        walk(&path, count);
                    }
                } else {
                    *count += 1;
                }
            }
        }
        let mut count = 0;
        walk(&self.table_folder(), &mut count);
        count
    }

    fn versions(&self) -> usize {
        std::fs::read_dir(self.table_folder().join("_delta_log"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json"))
            .count()
    }
}

impl Attempt {
    fn errors(&self) -> Vec<RowError> {
        self.progress.first_errors()
    }
}

fn plan(partitions: &[Vec<RecordBatch>]) -> Arc<dyn ExecutionPlan> {
    let schema = partitions.iter().flatten().next().unwrap().schema();
    MemorySourceConfig::try_new_exec(partitions, schema, None).unwrap()
}

/// Rows with `id`, `name` and the row number from `first`.
fn people(first: i64, rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, name)| *name)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + rows.len() as i64));
    RecordBatch::try_from_iter([("id", ids), ("name", names), (ROW_COLUMN, numbers)]).unwrap()
}

fn append() -> Value {
    json!({})
}

fn truncate() -> Value {
    json!({ "loadMode": "truncate" })
}

fn upsert() -> Value {
    json!({ "loadMode": "upsert" })
}

/// Whoever runs a run spawns it.
#[allow(dead_code)]
fn futures_can_be_spawned(
    world: &'static World,
    attempt: &'static mut Attempt,
    session: &'static datafusion::execution::SessionState,
    stop: &'static CancellationToken,
) {
    fn is_send<T: Send>(_: T) {}
    is_send(super::settle("", &world.schema, "", &[], &world.settings));
    let page = PageRequest { limit: 1, bytes: 1, position: None, include_total: false };
    is_send(read_page("", &world.schema, &world.settings, page));
    is_send(attempt.target.commit(session, stop));
}
