//! The receipt of a run: what it read, what it wrote and who did it, for those who ask later; and how it was undone.

use super::connector::ConnectorType;
use super::node::LoadMode;
use super::run::{NodeProgress, RunFailure, RunStatus, Trigger};
use super::time::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What this version of receipts is called.
pub const FORMAT: &str = "flowgate-receipt/1";

/// The receipt of a run that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// `flowgate-receipt/1`.
    pub format: String,
    /// `sha256:…` of the receipt without this field, as canonical JSON (RFC 8785).
    pub digest: String,
    pub run_id: String,
    pub tenant_id: String,
    pub pipeline_id: String,
    pub pipeline_version: u32,
    pub status: RunStatus,
    pub trigger: Trigger,
    pub triggered_by: String,
    pub retry_of: Option<String>,
    pub scheduled_for: Option<Time>,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub error: Option<RunFailure>,
    pub definition: Definition,
    /// The names of the parameters that the run was given; their values may be secret.
    pub parameters: Vec<String>,
    pub rows_in: Option<u64>,
    pub rows_out: Option<u64>,
    pub failed_rows: u64,
    pub skipped_rows: u64,
    /// Rows by node, of each attempt that wrote; of the last one that read where none did.
    pub nodes: Vec<NodeRows>,
    /// All attempts, in their order.
    pub attempts: Vec<Attempt>,
    /// What was read, by the attempts that `nodes` shows.
    pub inputs: Vec<Input>,
    /// What was written; empty where nothing was.
    pub targets: Vec<Target>,
    /// Set once the run's writes were undone.
    pub rolled_back: Option<RolledBack>,
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptDefinition")]
pub struct Definition {
    /// `sha256:…` of `content` as canonical JSON (RFC 8785).
    pub hash: String,
    /// The pipeline's version: `id`, `version`, `name`, `description`, `schedule`, `timezone`, `enabled`, `connectorId`,
    /// `schemaId`, `executionConfig`, `nodes` and `edges`, as `GET …/versions/{version}` answers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
}

/// The rows that one node saw in one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptNode")]
pub struct NodeRows {
    pub attempt: u32,
    #[serde(flatten)]
    pub node: NodeProgress,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    Completed,
    CompletedWithErrors,
    Failed,
    Cancelled,
    /// Its worker was shut down and let go of the run.
    GivenBack,
    /// Nobody heard of its worker again.
    Lost,
}

impl From<RunStatus> for AttemptOutcome {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Completed => Self::Completed,
            RunStatus::CompletedWithErrors => Self::CompletedWithErrors,
            RunStatus::Failed => Self::Failed,
            RunStatus::Cancelled => Self::Cancelled,
            RunStatus::Pending | RunStatus::Running => Self::Lost,
        }
    }
}

/// One worker's attempt at a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReceiptAttempt")]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    pub worker: Option<String>,
    pub started_at: Option<Time>,
    /// None where it was lost.
    pub ended_at: Option<Time>,
    pub outcome: AttemptOutcome,
    /// Why it failed, where another attempt followed; that of the last one is the run's.
    pub error: Option<RunFailure>,
}

/// What one source node, or one lookup, has read. One of `files`, `database` and `api` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReceiptInput")]
pub struct Input {
    pub node_id: String,
    /// The index of the op of a lookup among its node's ops, from 0.
    pub op: Option<u32>,
    pub attempt: u32,
    pub connector_id: String,
    pub connector_type: ConnectorType,
    pub opened_at: Time,
    /// The rows that came; none for a lookup.
    pub rows: Option<u64>,
    pub files: Option<InputFiles>,
    pub database: Option<InputTable>,
    pub api: Option<InputApi>,
}

/// The files of a source, as they were when it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptInputFiles")]
pub struct InputFiles {
    pub count: u64,
    pub bytes: u64,
    /// `sha256:…` over all files, sorted by path, a line each that ends with a line feed: path, size, ETag, version and time
    /// of modification (as below), parted by tabs; what is not known is empty.
    pub hash: String,
    /// The first of them: 1,000 at most, fewer where their paths are long.
    pub list: Vec<InputFile>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReceiptInputFile")]
pub struct InputFile {
    /// From the root of the place: the files root, or the bucket.
    pub path: String,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Where the bucket keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<Time>,
}

/// What was read of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptInputTable")]
pub struct InputTable {
    pub table: Option<String>,
    /// As the pipeline or the connector has it, without the values of parameters; 2,000 characters at most.
    pub query: Option<String>,
    /// Pieces that were read over connections of their own.
    pub pieces: u64,
    /// The server's name of the state that all pieces saw, where there was one.
    pub snapshot: Option<String>,
}

/// What was read of an API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptInputApi")]
pub struct InputApi {
    /// Without what follows a question mark, which may be secret.
    pub url: String,
    pub pages: u64,
}

/// What kind of table a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// The table of a schema.
    Delta,
    /// The rejected rows beside one.
    Rejected,
    Database,
}

/// What one table took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReceiptTarget")]
pub struct Target {
    /// The target node; none for the table of rejected rows.
    pub node_id: Option<String>,
    pub kind: TargetKind,
    /// The schema's name, or that of the database's table.
    pub table: String,
    /// The run whose commit has the rows: this one, or one that it retries.
    pub written_by: String,
    /// The attempt that committed, where it is known.
    pub attempt: Option<u32>,
    pub load_mode: Option<LoadMode>,
    pub rows: u64,
    pub skipped_rows: u64,
    /// None for a database, and where the table's log no longer reached back to the commit, or the receipt would have been too
    /// large to be kept.
    pub delta: Option<DeltaWrite>,
    pub database: Option<DatabaseWrite>,
}

/// A commit to a Delta table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReceiptDeltaWrite")]
pub struct DeltaWrite {
    pub schema_id: String,
    /// The table's folder below the root of the lake.
    pub location: String,
    /// The table's version when the run opened it.
    pub version_before: Option<u64>,
    /// The version that the commit made.
    pub version_after: u64,
    pub transaction: DeltaTransaction,
    pub files_added: u64,
    pub files_removed: u64,
    pub bytes_added: u64,
    /// Rows in the added files, with those that an upsert took over from files that it replaced.
    pub records_added: u64,
    pub watermark: Option<WatermarkMove>,
    /// `sha256:…` of the bytes of the commit's entry in `_delta_log`.
    pub entry_hash: String,
}

/// The `txn` action of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReceiptTransaction")]
pub struct DeltaTransaction {
    pub app_id: String,
    pub version: i64,
}

/// How an incremental load moved its watermark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ReceiptWatermark")]
pub struct WatermarkMove {
    pub column: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// True where the receipt would have been too large to be kept: of longer values, the first 100 characters are there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
}

/// Characters of a watermark's value that are there where it is shortened.
pub const VALUE_CHARS: usize = 100;

/// A transaction of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReceiptDatabaseWrite")]
pub struct DatabaseWrite {
    pub connector_id: String,
    /// The table that has the run's row, which came in with its rows.
    pub ledger: String,
    /// `run_id` and `target_table` of that row.
    pub run_id: String,
    pub target_table: String,
}

/// How a run's writes were undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolledBack {
    pub at: Time,
    pub by: String,
    /// The version of the first table that is without them; 0 where there is none, since the run had only left the rows of
    /// one that it retries to stand.
    pub version: u64,
    pub tables: Vec<RolledBackTable>,
}

/// One table that is without a run's rows again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledBackTable {
    pub schema_id: String,
    pub kind: TargetKind,
    /// The version that the rollback's commit made.
    pub version: u64,
}

/// What a rollback did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    pub run_id: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    pub tables: Vec<RollbackTable>,
    /// None after a dry run.
    pub rolled_back: Option<RolledBack>,
}

/// What a rollback did, or would do, to one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackTable {
    pub schema_id: String,
    pub kind: TargetKind,
    /// The schema's name.
    pub table: String,
    /// The version that the run's commit made.
    pub undoes: u64,
    /// The version that the rollback's commit made; in a dry run that which it would make.
    pub version: u64,
    pub files_removed: u64,
    pub files_restored: u64,
    pub rows_removed: u64,
    pub rows_restored: u64,
    /// The watermark that is put back, from `before` the rollback to `after` it.
    pub watermark: Option<WatermarkMove>,
    /// Whether an earlier rollback that did not come to its end had done this table already.
    pub already: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_nobody_ended_is_lost() {
        assert_eq!(AttemptOutcome::from(RunStatus::Running), AttemptOutcome::Lost);
        assert_eq!(serde_json::to_value(AttemptOutcome::GivenBack).unwrap(), "given_back");
    }
}
