//! Sources, read from real files.

mod avro;
mod buckets;
mod csv_properties;
mod files;
mod formats;
mod json;
mod parquet;
mod parse;
mod rest;
mod s3;
mod samples;
mod speed;
mod text;

use super::{Source, SourceRequest, open};
use crate::engine::job::{Connector, Lake, Settings};
use crate::engine::progress::{NodeCounters, Progress, ROW_COLUMN, RowError, RowId};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::prelude::{SessionConfig, SessionContext};
use serde_json::{Map, Value, json};
use shared::hosts::AllowedHost;
use shared::models::connector::ConnectorType;
use shared::models::node::{NodeType, SourceConfig};
use shared::models::pipeline::ErrorHandling;
use shared::models::schema::Field;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tempfile::TempDir;

/// A files root with some files.
pub(super) struct Root {
    pub dir: TempDir,
    pub kind: ConnectorType,
    pub config: Map<String, Value>,
    pub auth: Option<Map<String, Value>>,
    /// Hosts that the deployment allows.
    pub allowed: String,
    pub node: Value,
    pub expected: HashMap<String, Field>,
    pub parallelism: usize,
    pub batch_size: usize,
    pub most_rows: Option<usize>,
}

/// What a source gave.
#[derive(Debug)]
pub(super) struct Rows {
    pub columns: Vec<(String, DataType)>,
    /// In the order of the source; null is `None`.
    pub rows: Vec<Vec<Option<String>>>,
    /// File and row of each.
    pub ids: Vec<(usize, u64)>,
    pub rejects: Vec<RowError>,
    pub counted: (u64, u64, u64),
    pub progress: Arc<Progress>,
}

impl Root {
    /// A root in which the connector reads `path`.
    pub fn new(path: &str) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            kind: ConnectorType::LocalFs,
            auth: None,
            allowed: String::new(),
            config: json!({ "path": path }).as_object().unwrap().clone(),
            node: json!({}),
            expected: HashMap::new(),
            parallelism: 3,
            batch_size: 8192,
            most_rows: None,
        }
    }

    /// One file, read as csv unless its name says otherwise.
    pub fn with(name: &str, content: impl AsRef<[u8]>) -> Self {
        Self::new(name).file(name, content)
    }

    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub fn options(mut self, options: Value) -> Self {
        self.config.insert("options".to_owned(), options);
        self
    }

    pub fn node(mut self, node: Value) -> Self {
        self.node = node;
        self
    }

    pub fn expect(mut self, name: &str, field: Value) -> Self {
        let mut field = field;
        field["name"] = json!(name);
        self.expected.insert(name.to_owned(), serde_json::from_value(field).unwrap());
        self
    }

    pub fn settings(&self) -> Settings {
        let http_allowed_hosts = AllowedHost::list(&self.allowed).unwrap();
        Settings { http_allowed_hosts, ..settings(self.dir.path()) }
    }

    pub fn connector(&self) -> Connector {
        Connector {
            id: "connector_1".to_owned(),
            name: "sales".to_owned(),
            kind: self.kind,
            config: self.config.clone(),
            auth: self.auth.clone(),
        }
    }

    pub async fn open(&self, progress: &Arc<Progress>) -> Result<Source, RunError> {
        let config: SourceConfig = serde_json::from_value(self.node.clone()).unwrap();
        let connector = self.connector();
        let request = SourceRequest {
            node: "read",
            connector: &connector,
            config: &config,
            expected: &self.expected,
            past: None,
            parallelism: self.parallelism,
            batch_size: self.batch_size,
            batch_bytes: usize::MAX,
            most_rows: self.most_rows,
            partitioning: &shared::models::pipeline::Partitioning::None,
        };
        open(request, &self.settings(), progress).await
    }

    pub fn progress(&self) -> Arc<Progress> {
        let spool = self.dir.path().join(".state").join("spool");
        std::fs::create_dir_all(spool.parent().unwrap()).unwrap();
        Progress::new(ErrorHandling::default(), spool, shared::clock::Clock::default())
    }

    pub async fn try_read(&self) -> Result<Rows, RunError> {
        let progress = self.progress();
        let source = self.open(&progress).await?;
        let counters = NodeCounters::new("read", "read", NodeType::Source);
        let table = source.provider(Some(Arc::clone(&counters)), Arc::clone(&progress));
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
        let batches = context.read_table(table)?.collect().await?;
        let counted =
            (counters.rows_in.load(Relaxed), counters.rows_out.load(Relaxed), counters.rejected.load(Relaxed));
        let rejects = spooled(&progress);
        Ok(Rows::of(&source, &batches, rejects, counted, progress))
    }

    pub async fn read(&self) -> Rows {
        self.try_read().await.unwrap()
    }

    pub async fn fault(&self) -> String {
        let error = self.try_read().await.unwrap_err();
        assert_eq!(error.kind, Kind::Source, "{error}");
        assert_eq!(error.node.as_deref(), Some("read"));
        error.message
    }
}

fn spooled(progress: &Progress) -> Vec<RowError> {
    let Some(path) = progress.finish_errors().unwrap() else { return Vec::new() };
    let lines = std::fs::read_to_string(path).unwrap();
    let mut rejects: Vec<RowError> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    rejects.sort_by_key(|r| r.row);
    rejects
}

pub(super) fn settings(root: &Path) -> Settings {
    Settings {
        files_root: Some(root.to_owned()),
        http_allowed_hosts: Vec::new(),
        lake: Lake { url: format!("file://{}/lake", root.display()), options: HashMap::new() },
        memory_bytes: 1 << 30,
        scratch: root.join(".state"),
        cores: 2,
    }
}

impl Rows {
    fn of(
        source: &Source,
        batches: &[RecordBatch],
        rejects: Vec<RowError>,
        counted: (u64, u64, u64),
        progress: Arc<Progress>,
    ) -> Self {
        let schema = source.schema();
        let last = schema.fields().len() - 1;
        assert_eq!(schema.field(last).name(), ROW_COLUMN);
        let mut rows = Vec::new();
        for batch in batches {
            let ids = batch.column(last).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let text = |c: usize| {
                    let column = batch.column(c);
                    column.is_valid(row).then(|| array_value_to_string(column, row).unwrap())
                };
                let values: Vec<Option<String>> = (0..last).map(text).collect();
                rows.push((RowId(ids.value(row)), values));
            }
        }
        rows.sort_by_key(|(id, _)| *id);
        Self {
            columns: schema.fields().iter().take(last).map(|f| (f.name().clone(), f.data_type().clone())).collect(),
            ids: rows.iter().map(|(id, _)| (id.file(), id.row())).collect(),
            rows: rows.into_iter().map(|(_, values)| values).collect(),
            rejects,
            counted,
            progress,
        }
    }

    /// The rows as text, `-` for null.
    pub fn texts(&self) -> Vec<String> {
        let text = |v: &Option<String>| v.clone().unwrap_or_else(|| "-".to_owned());
        self.rows.iter().map(|r| r.iter().map(text).collect::<Vec<_>>().join("|")).collect()
    }

    pub fn types(&self) -> Vec<DataType> {
        self.columns.iter().map(|(_, t)| t.clone()).collect()
    }

    /// Row, column and reason of each reject.
    pub fn reasons(&self) -> Vec<(u64, &str, &str)> {
        self.rejects.iter().map(|r| (r.row.unwrap(), r.column.as_str(), r.error.as_str())).collect()
    }
}
