//! What is counted while a run runs: rows by node, rejected rows, partitions, and the story in the log.

use super::dead_letters::{DeadLetter, DeadLetters};
use super::inputs::Inputs;
use super::spool::Spool;
use crate::error::{Kind, RunError};
use serde::{Deserialize, Serialize};
use shared::models::node::NodeType;
use shared::models::pipeline::{ErrorHandling, OnError};
use shared::models::time::Time;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The hidden column that carries where a row came from; see [`RowId`]. Type `Int64`, nullable.
pub const ROW_COLUMN: &str = "__flowgate_row";

/// Where a row came from, in 63 bits: 7 for the source, 20 for the file, 36 for the row within the file (from 1,
/// the header not counted). Ordering by it is the order of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowId(pub i64);

impl RowId {
    /// The most sources that can be told apart; what a lookup reads is one, too.
    pub const SOURCES: usize = 1 << 7;

    /// The id of `row` (from 1) in the file with this index of the source with this index.
    pub fn new(source: usize, file: usize, row: u64) -> Self {
        Self(((source as i64 & 0x7f) << 56) | ((file as i64 & 0xf_ffff) << 36) | (row as i64 & 0xf_ffff_ffff))
    }
    /// The index of the source.
    pub fn source(self) -> usize {
        (self.0 >> 56) as usize & 0x7f
    }
    /// The index of the file in its source.
    pub fn file(self) -> usize {
        (self.0 >> 36) as usize & 0xf_ffff
    }
    /// The row in its file, from 1.
    pub fn row(self) -> u64 {
        self.0 as u64 & 0xf_ffff_ffff
    }
}

/// The rows that one node saw. `in = out + filtered + rejected + deduplicated` where a node keeps row identity.
#[derive(Debug)]
pub struct NodeCounters {
    pub id: String,
    /// The label, or the client's id.
    pub name: String,
    pub node_type: NodeType,
    pub rows_in: AtomicU64,
    pub rows_out: AtomicU64,
    pub filtered: AtomicU64,
    pub rejected: AtomicU64,
    pub deduplicated: AtomicU64,
    /// Of a branch: the rows that went over each route, by its label.
    pub routes: Named,
    /// Of a validate node: the rows that broke each rule that only warns, by its id.
    pub warnings: Named,
}

/// Counts by name, in the order in which the names came up first.
#[derive(Debug, Default)]
pub struct Named(Mutex<Vec<(String, u64)>>);

impl Named {
    /// Adds `rows` to the count of `name`.
    pub fn add(&self, name: &str, rows: u64) {
        let mut counts = lock(&self.0);
        match counts.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += rows,
            None => counts.push((name.to_owned(), rows)),
        }
    }
    /// The count of `name`.
    pub fn of(&self, name: &str) -> u64 {
        lock(&self.0).iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count)
    }
    /// All counts so far.
    pub fn all(&self) -> Vec<(String, u64)> {
        lock(&self.0).clone()
    }
}

impl NodeCounters {
    /// A node that has seen nothing yet.
    pub fn new(id: impl Into<String>, name: impl Into<String>, node_type: NodeType) -> Arc<Self> {
        Arc::new(Self {
            id: id.into(),
            name: name.into(),
            node_type,
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            filtered: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            deduplicated: AtomicU64::new(0),
            routes: Named::default(),
            warnings: Named::default(),
        })
    }
}

/// One rejected row, as `GET …/errors` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowError {
    /// The row in its file, from 1 and without the header; none where the row has no identity any more.
    pub row: Option<u64>,
    pub column: String,
    /// The value, at most 200 characters.
    pub value: Option<String>,
    /// What is wrong with it and what would be right; names the file where the run reads several.
    pub error: String,
    /// The id of the node that rejected it.
    pub node: String,
}

/// A line of the run's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Such as `planning`, `reading`, `writing`, `committing`.
    pub stage: String,
    pub message: String,
    /// RFC 3339.
    pub timestamp: String,
}

/// One partition of the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionDetail {
    /// The file, or `part 3`.
    pub name: String,
    /// `pending`, `running` or `completed`.
    pub status: String,
    pub rows: u64,
}

/// Everything that is counted while a run runs. Cheap to update from many threads.
#[derive(Debug)]
pub struct Progress {
    clock: shared::clock::Clock,
    errors: ErrorHandling,
    nodes: Mutex<Vec<Arc<NodeCounters>>>,
    /// Rows that the sources will give, where it is known or can be estimated; 0 where not.
    pub total_rows: AtomicU64,
    /// What was opened to be read.
    pub inputs: Inputs,
    log: Mutex<Vec<LogLine>>,
    partitions: Mutex<Vec<PartitionDetail>>,
    /// File names by source index, to say where a row came from.
    files: Mutex<Vec<Vec<Arc<str>>>>,
    rejected: AtomicU64,
    /// In the order of their rows.
    first: Mutex<Vec<Spooled>>,
    spool: Spool,
    dead: DeadLetters,
}

/// A rejected row with where it came from, by which they are put in order; one that does not know it is behind all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spooled {
    pub from: Option<i64>,
    #[serde(flatten)]
    pub error: RowError,
}

impl Spooled {
    /// By which rejected rows are sorted.
    pub fn place(&self) -> i64 {
        self.from.unwrap_or(i64::MAX)
    }
}

/// The first rejected rows that the progress shows.
const SHOWN: usize = 20;
/// Characters of a value that are kept.
const VALUE_CHARS: usize = 200;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Nothing counted yet; rejected rows are kept in `spool_path`, which is made when the first one comes.
    pub fn new(errors: ErrorHandling, spool_path: PathBuf, clock: shared::clock::Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            errors,
            nodes: Mutex::default(),
            total_rows: AtomicU64::new(0),
            inputs: Inputs::default(),
            log: Mutex::default(),
            partitions: Mutex::default(),
            files: Mutex::default(),
            rejected: AtomicU64::new(0),
            first: Mutex::default(),
            dead: DeadLetters::new(spool_path.with_extension("rows")),
            spool: Spool::new(spool_path),
        })
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.clock.now().into()
    }

    /// Counts for a node from now on.
    pub fn add_node(&self, counters: Arc<NodeCounters>) {
        lock(&self.nodes).push(counters);
    }
    /// The nodes so far, in the order in which they were added.
    pub fn nodes(&self) -> Vec<Arc<NodeCounters>> {
        lock(&self.nodes).clone()
    }

    /// Adds a sentence to the run's story.
    pub fn log(&self, stage: &str, message: impl Into<String>) {
        let timestamp = shared::clock::rfc3339(self.clock.now());
        lock(&self.log).push(LogLine { stage: stage.to_owned(), message: message.into(), timestamp });
    }
    /// The story so far.
    pub fn log_lines(&self) -> Vec<LogLine> {
        lock(&self.log).clone()
    }

    /// Registers a source's files; answers the source's index for [`RowId::new`].
    pub fn add_source(&self, files: Vec<Arc<str>>) -> usize {
        let mut all = lock(&self.files);
        all.push(files);
        all.len() - 1
    }

    /// Registers partitions of the work; answers the index of the first.
    pub fn add_partitions(&self, names: impl IntoIterator<Item = String>) -> usize {
        let mut all = lock(&self.partitions);
        let first = all.len();
        all.extend(names.into_iter().map(|name| PartitionDetail { name, status: "pending".to_owned(), rows: 0 }));
        first
    }
    /// Adds `rows` to a partition, which is then `running`, or `completed` where `done`.
    pub fn partition(&self, index: usize, rows: u64, done: bool) {
        if let Some(p) = lock(&self.partitions).get_mut(index) {
            p.rows += rows;
            p.status = if done { "completed" } else { "running" }.to_owned();
        }
    }
    /// The partitions so far.
    pub fn partition_details(&self) -> Vec<PartitionDetail> {
        lock(&self.partitions).clone()
    }

    /// Reports one rejected row: counts it at its node and keeps it for `GET …/errors`. A `value` is cut to 200
    /// characters.
    ///
    /// # Errors
    /// `Kind::Data` where the pipeline ends at the first rejected row or this one is more than `maxErrors`;
    /// `Kind::Resources` where the disk is full.
    pub fn reject(
        &self,
        node: &NodeCounters,
        row: Option<RowId>,
        column: &str,
        value: Option<&str>,
        reason: &str,
    ) -> Result<(), RunError> {
        self.reject_row(node, row, column, value, reason, || None)
    }

    /// The same, with the row as JSON text where that is known: it is kept where the pipeline keeps rejected rows.
    ///
    /// # Errors
    /// As [`Progress::reject`].
    pub fn reject_row(
        &self,
        node: &NodeCounters,
        row: Option<RowId>,
        column: &str,
        value: Option<&str>,
        reason: &str,
        whole: impl FnOnce() -> Option<String>,
    ) -> Result<(), RunError> {
        if self.keeps_rows() {
            self.dead.keep(&DeadLetter {
                node: node.id.clone(),
                row: row.map(RowId::row),
                file: row.and_then(|r| self.file_of(r)).map(|file| file.to_string()),
                column: column.to_owned(),
                value: value.map(str::to_owned),
                reason: reason.to_owned(),
                data: whole().or_else(|| value.map(|value| serde_json::json!({ column: value }).to_string())),
            })?;
        }
        node.rejected.fetch_add(1, Relaxed);
        let error = RowError {
            row: row.map(RowId::row),
            column: column.to_owned(),
            value: value.map(|v| v.chars().take(VALUE_CHARS).collect()),
            error: match row.and_then(|r| self.file_name(r)) {
                Some(file) => format!("{reason} (in {file})"),
                None => reason.to_owned(),
            },
            node: node.id.clone(),
        };
        let count = self.rejected.fetch_add(1, Relaxed) + 1;
        if self.errors.on_error == OnError::Fail || self.errors.max_errors.is_some_and(|max| count > max) {
            let place = error.row.map(|r| format!("row {r}, ")).unwrap_or_default();
            let limit = match self.errors.on_error {
                OnError::Fail => "the pipeline fails at the first rejected row (errorHandling.onError)".to_owned(),
                OnError::Skip | OnError::DeadLetter => {
                    format!("more than maxErrors = {} rows are rejected", self.errors.max_errors.unwrap_or(0))
                }
            };
            self.keep(row, &error)?;
            return Err(RunError::new(
                Kind::Data,
                format!(
                    "{limit}: node {:?}, {place}column {column:?}, value {:?}: {}",
                    node.name, error.value, error.error
                ),
            )
            .at(&node.id));
        }
        self.keep(row, &error)
    }

    /// Where a row came from, as people say it: `row 7 in orders.csv`.
    pub fn place(&self, row: RowId) -> String {
        match self.file_name(row) {
            Some(file) => format!("row {} in {file}", row.row()),
            None => format!("row {}", row.row()),
        }
    }

    /// Whether rejected rows are also kept whole, beside the target's table.
    pub fn keeps_rows(&self) -> bool {
        self.errors.on_error == OnError::DeadLetter
    }

    /// Ends the file of rows that were rejected and answers its path; none where there are none.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn finish_rows(&self) -> Result<Option<PathBuf>, RunError> {
        self.dead.finish()
    }

    /// The name of the row's file where its number alone would not tell which row it is.
    fn file_name(&self, row: RowId) -> Option<Arc<str>> {
        let several = {
            let files = lock(&self.files);
            files.len() > 1 || files.get(row.source())?.len() > 1
        };
        if several { self.file_of(row) } else { None }
    }

    fn file_of(&self, row: RowId) -> Option<Arc<str>> {
        lock(&self.files).get(row.source())?.get(row.file()).cloned()
    }

    fn keep(&self, row: Option<RowId>, error: &RowError) -> Result<(), RunError> {
        let spooled = Spooled { from: row.map(|row| row.0), error: error.clone() };
        {
            let mut first = lock(&self.first);
            let at = first.partition_point(|known| known.place() <= spooled.place());
            if at < SHOWN {
                first.insert(at, spooled.clone());
                first.truncate(SHOWN);
            }
        }
        self.spool.add(&spooled)
    }

    /// Rejected rows so far.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Relaxed)
    }
    /// The first rejected rows of those so far, 20 at most, in the order of their sources and rows.
    pub fn first_errors(&self) -> Vec<RowError> {
        lock(&self.first).iter().map(|spooled| spooled.error.clone()).collect()
    }

    /// Ends the spool and answers its path, however often it is asked for; none where nothing was rejected.
    ///
    /// # Errors
    /// `Kind::Resources` where the disk is full.
    pub fn finish_errors(&self) -> Result<Option<PathBuf>, RunError> {
        self.spool.finish()
    }
}
