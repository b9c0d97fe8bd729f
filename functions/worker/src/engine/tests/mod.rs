//! Runs of whole graphs, from files to a table.

mod accounting;
mod branches;
mod checks;
mod expressions;
mod faults;
mod graphs;
mod join_keys;
mod limits;
mod lineage;
mod lookups;
mod ops;
mod parameters;
mod pivots;
mod previews;
mod queries;
mod rejected;
mod sums;
mod targets;
mod validation;

use super::execute;
use super::job::{CommitGate, Connector, Earlier, Hooks, Job, Lake, Outcome, Settings, TableSchema};
use super::progress::{Progress, RowError};
use crate::error::RunError;
use crate::targets::{PageRequest, read_page};
use serde_json::{Map, Value, json};
use shared::models::connector::ConnectorType;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A files root, a lake and a scratch folder of its own, and one job.
struct Bench {
    dir: TempDir,
    job: Value,
    memory: usize,
    gate: Arc<Gate>,
    stop: CancellationToken,
    earlier: Vec<Earlier>,
}

/// Opens unless it was told otherwise, and counts who came, and who had nothing to bring.
#[derive(Default)]
struct Gate {
    came: AtomicUsize,
    passed: AtomicUsize,
    refuses: Option<RunError>,
    /// What happens just before the first commit.
    meanwhile: Option<Box<dyn Fn() + Send + Sync>>,
}

#[async_trait::async_trait]
impl CommitGate for Gate {
    async fn enter(&self) -> Result<(), RunError> {
        self.came.fetch_add(1, Relaxed);
        if let Some(meanwhile) = &self.meanwhile {
            meanwhile();
        }
        self.refuses.clone().map_or(Ok(()), Err)
    }

    async fn pass(&self) -> Result<(), RunError> {
        self.passed.fetch_add(1, Relaxed);
        self.refuses.clone().map_or(Ok(()), Err)
    }
}

/// What came of a run.
struct Ran {
    result: Result<Outcome, RunError>,
    progress: Arc<Progress>,
    /// The table's rows after it, in any order.
    table: Vec<Value>,
}

/// Fields of a schema from pairs of name and type, such as `("id", "integer")`.
fn fields(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, data_type)| json!({"name": name, "dataType": data_type})).collect()
}

impl Bench {
    /// A job with these fields of the target, nodes and edges (`from`, `to`, label).
    fn new(fields: Value, nodes: Value, edges: &[(&str, &str, Option<&str>)]) -> Self {
        let edges: Vec<_> = edges
            .iter()
            .enumerate()
            .map(|(i, (source, target, label))| json!({"id": format!("e{i}"), "source": source, "target": target, "label": label}))
            .collect();
        Self {
            dir: TempDir::new().unwrap(),
            job: json!({"fields": fields, "nodes": nodes, "edges": edges, "run": "run_1", "parameters": {}, "execution": {}}),
            memory: 64 * 1024 * 1024,
            gate: Arc::default(),
            stop: CancellationToken::new(),
            earlier: Vec::new(),
        }
    }

    /// A chain source → `steps` → target over one file `in.csv`.
    fn chain(fields: Value, file: &str, steps: &[Value]) -> Self {
        let mut nodes = vec![json!({"id": "source", "nodeType": "source", "config": {"path": "in.csv"}})];
        for (i, step) in steps.iter().enumerate() {
            let mut node = step.clone();
            node["id"] = json!(format!("step{}", i + 1));
            nodes.push(node);
        }
        nodes.push(json!({"id": "target", "nodeType": "target", "config": {}}));
        let ids: Vec<String> = nodes.iter().map(|n| n["id"].as_str().unwrap().to_owned()).collect();
        let edges: Vec<_> = ids.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str(), None)).collect();
        Self::new(fields, json!(nodes), &edges).file("in.csv", file)
    }

    fn file(self, name: &str, content: &str) -> Self {
        let path = self.dir.path().join("files").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    fn parameters(mut self, parameters: Value) -> Self {
        self.job["parameters"] = parameters;
        self
    }

    fn execution(mut self, execution: Value) -> Self {
        self.job["execution"] = execution;
        self
    }

    fn settings(&self) -> Settings {
        let folder = |name: &str| self.dir.path().join(name);
        Settings {
            files_root: Some(folder("files")),
            http_allowed_hosts: Vec::new(),
            lake: Lake { url: format!("file://{}", folder("lake").display()), options: HashMap::new() },
            memory_bytes: self.memory,
            scratch: folder("scratch"),
            cores: 2,
        }
    }

    fn job(&self) -> Job {
        let read = |key: &str| self.job[key].clone();
        let connector = Connector {
            id: "conn_1".to_owned(),
            name: "Files".to_owned(),
            kind: ConnectorType::LocalFs,
            config: json!({"path": "."}).as_object().cloned().unwrap(),
            auth: None,
        };
        Job {
            tenant_id: "acme".to_owned(),
            run_id: read("run").as_str().unwrap().to_owned(),
            attempt: self.job["attempt"].as_u64().map_or(1, |n| u32::try_from(n).unwrap()),
            definition_hash: String::new(),
            earlier: self.earlier.clone(),
            nodes: serde_json::from_value(read("nodes")).unwrap(),
            edges: serde_json::from_value(read("edges")).unwrap(),
            connector_id: "conn_1".to_owned(),
            connectors: HashMap::from([("conn_1".to_owned(), connector)]),
            schema: TableSchema {
                id: "schema_1".to_owned(),
                name: "results".to_owned(),
                fields: serde_json::from_value(read("fields")).unwrap(),
            },
            tables: read("tables")
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, fields)| (name.clone(), named(name, fields.clone())))
                .collect(),
            table_name: "results".to_owned(),
            parameters: read("parameters").as_object().cloned().unwrap_or_default(),
            execution: serde_json::from_value(read("execution")).unwrap(),
        }
    }

    async fn run(&self) -> Ran {
        let job = self.job();
        let settings = self.settings();
        std::fs::create_dir_all(self.dir.path().join("lake")).unwrap();
        std::fs::create_dir_all(self.dir.path().join("files")).unwrap();
        std::fs::create_dir_all(&settings.scratch).unwrap();
        let progress = Progress::new(
            job.execution.errors(),
            self.dir.path().join("errors.jsonl"),
            shared::clock::Clock::default(),
        );
        let hooks = Hooks { progress: progress.clone(), stop: self.stop.clone(), gate: self.gate.clone() };
        let schema = job.schema.clone();
        let result = execute(job, &settings, hooks).await;
        let page = PageRequest { limit: 500, bytes: usize::MAX, position: None, include_total: false };
        let table = match read_page("acme", &schema, &settings, page).await {
            Ok(page) => page.rows.into_iter().map(Value::Object).collect(),
            Err(_) => Vec::new(),
        };
        Ran { result, progress, table }
    }

    /// Runs and answers the rows of the table, ordered by their text.
    async fn rows(&self) -> Vec<Value> {
        let ran = self.run().await;
        if let Err(error) = &ran.result {
            panic!("{error}");
        }
        ran.rows()
    }

    /// The rows of the table of a schema, ordered by their text.
    async fn read(&self, schema: &TableSchema) -> Vec<Value> {
        let page = PageRequest { limit: 500, bytes: usize::MAX, position: None, include_total: false };
        let page = read_page("acme", schema, &self.settings(), page).await.unwrap();
        let mut rows: Vec<Value> = page.rows.into_iter().map(Value::Object).collect();
        rows.sort_by_key(Value::to_string);
        rows
    }

    /// Runs and answers what it failed with.
    async fn fault(&self) -> RunError {
        let ran = self.run().await;
        assert_eq!(ran.table, Vec::<Value>::new(), "a failed run leaves nothing");
        ran.result.expect_err("the run should fail")
    }
}

impl Ran {
    fn rows(&self) -> Vec<Value> {
        let mut rows = self.table.clone();
        rows.sort_by_key(Value::to_string);
        rows
    }

    fn outcome(&self) -> &Outcome {
        match &self.result {
            Ok(outcome) => outcome,
            Err(error) => panic!("{error}"),
        }
    }

    /// In, out, filtered, rejected and deduplicated of a node.
    fn counts(&self, node: &str) -> [u64; 5] {
        let nodes = self.progress.nodes();
        let c = nodes.iter().find(|c| c.id == node).expect("a node of this id");
        [&c.rows_in, &c.rows_out, &c.filtered, &c.rejected, &c.deduplicated]
            .map(|count: &AtomicU64| count.load(Relaxed))
    }

    fn errors(&self) -> Vec<RowError> {
        let mut errors = self.progress.first_errors();
        errors.sort_by_key(|e| (e.node.clone(), e.row));
        errors
    }
}

/// The schema with this name and fields.
fn named(name: &str, fields: Value) -> TableSchema {
    TableSchema { id: format!("schema_{name}"), name: name.to_owned(), fields: serde_json::from_value(fields).unwrap() }
}

/// An object of a JSON value.
fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
