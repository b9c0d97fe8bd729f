//! A run in its middle, for as long as a test wants it there: a part is staged, and the rest of the source does not come.

use crate::s3::S3;
use crate::{Api, DEADLINE};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BUCKET: &str = "sources";
/// Rows of the source that ends.
const QUICK_ROWS: usize = 1000;
/// Rows of the source that does not: some 9 MB, which are read in blocks of 8.
const SLOW_ROWS: usize = 100_000;

/// A run that has staged files in its table's folder and cannot end before [`S3::release`].
pub struct Stalled {
    pub s3: S3,
    pub schema: String,
    pub pipeline: String,
    pub run: String,
    table: PathBuf,
}

impl Stalled {
    /// The rows that its run writes in the end.
    pub const ROWS: usize = QUICK_ROWS + SLOW_ROWS;

    /// Starts a run and waits until it has staged a file. `folder` is for the source's server, `lake` the folder in
    /// which the tenant's tables lie, and `execution` the pipeline's executionConfig.
    pub async fn start(api: &Api, folder: &Path, lake: &Path, mut execution: Value) -> Self {
        let s3 = S3::start(&folder.join("stalled")).await;
        s3.put(BUCKET, "quick.csv", rows(0, QUICK_ROWS));
        s3.put(BUCKET, "slow.csv", rows(QUICK_ROWS, SLOW_ROWS));
        s3.hold("slow.csv");
        let connector = api.create("/connectors", &s3.connector("stalled", BUCKET, "")).await;
        let fields = json!([{"name": "n", "dataType": "bigint"}, {"name": "text", "dataType": "text"}]);
        let schema = api.create("/schemas", &json!({"name": "stalled", "fields": fields})).await;
        // What is sorted comes as one stream, so that one writer comes to its end while the other one waits.
        execution["parallelism"] = json!(2);
        let nodes = json!([
            {"id": "quick", "nodeType": "source", "config": {"path": "quick.csv"}},
            {"id": "slow", "nodeType": "source", "config": {"path": "slow.csv"}},
            {"id": "one", "nodeType": "sort", "config": {"by": [{"field": "n"}]}},
            {"id": "two", "nodeType": "sort", "config": {"by": [{"field": "n"}]}},
            {"id": "both", "nodeType": "union", "config": {}},
            {"id": "t", "nodeType": "target", "config": {}},
        ]);
        let edges = json!([
            {"source": "quick", "target": "one"}, {"source": "slow", "target": "two"}, {"source": "one", "target": "both"},
            {"source": "two", "target": "both"}, {"source": "both", "target": "t"},
        ]);
        let body = json!({
            "name": "stalled", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges,
            "executionConfig": execution,
        });
        let pipeline = api.create("/pipelines", &body).await;
        let run = api.run(&pipeline, json!({})).await;
        let stalled = Self { s3, table: lake.join(&schema), schema, pipeline, run };
        let staged = || stalled.files().iter().any(|file| file.extension().is_some_and(|e| e == "parquet"));
        let deadline = Instant::now() + DEADLINE;
        while !staged() {
            let run = api.get(&stalled.path()).await.expect(200).json();
            let lives = matches!(run["status"].as_str(), Some("pending" | "running"));
            assert!(lives && Instant::now() < deadline, "nothing is staged: {run}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stalled
    }

    /// The run's path in the API.
    pub fn path(&self) -> String {
        format!("/pipelines/{}/runs/{}", self.pipeline, self.run)
    }

    /// The files of the table beside its log.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.table.clone()];
        while let Some(folder) = folders.pop() {
            // What is being removed may be gone by now.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.ends_with("_delta_log") => {}
                    path if path.is_dir() => folders.push(path),
                    path => found.push(path),
                }
            }
        }
        found
    }

    /// Fails where the run has left a file, or a row.
    pub async fn assert_nothing_is_left(&self, api: &Api) {
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "files that no commit took");
        assert_eq!(api.rows(&self.schema).await, Vec::<Value>::new(), "rows of a run that did not commit");
    }
}

fn rows(first: usize, count: usize) -> String {
    let mut text = "n,text\n".to_owned();
    for n in first..first + count {
        writeln!(text, "{n},{:x<90}", "a text that makes the row longer ").unwrap();
    }
    text
}
