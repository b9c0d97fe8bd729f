//! A run of a pipeline: what is kept of it, and what callers see.

use super::receipt::{AttemptOutcome, RolledBack};
use super::time::{JsonText, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// Where a run stands. The last four are final and nothing leaves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Pending,
    Running,
    Completed,
    CompletedWithErrors,
    Failed,
    Cancelled,
}

impl RunStatus {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::Completed, Self::CompletedWithErrors, Self::Failed, Self::Cancelled];

    /// Its name in the API and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::CompletedWithErrors => "completed_with_errors",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
    /// The status of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }
    /// Whether nothing leaves it.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// What started a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Trigger {
    Manual,
    Schedule,
    Retry,
}

/// Why a run ended without success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunFailure {
    /// A stable upper-case word: `INVALID_PIPELINE`, `SOURCE_ERROR`, `SOURCE_UNAVAILABLE`, `TOO_MANY_ERRORS` (a limit on
    /// rejected rows), `DATA_ERROR` (values without a result, such as a sum that no bigint holds), `TARGET_ERROR` (also
    /// where `truncate` would replace a table with nothing), `TARGET_UNAVAILABLE`, `CANCELLED`, `SUPERSEDED`, `TIMEOUT`,
    /// `DELIVERED_TOO_OFTEN` (worker after worker took it and came to no end), `RESOURCES_EXHAUSTED` or `INTERNAL`.
    pub code: String,
    /// A sentence that says what, where, and what would be right.
    pub message: String,
    /// The id of the node at which it went wrong.
    pub node_id: Option<String>,
    /// Whether another attempt could help.
    pub retryable: bool,
}

/// How many workers may take a run and never say what became of it, before it is given up.
pub const MOST_LOST: u32 = 20;

/// The code of a run that was given up: no worker that took it came to its end, or none could take it.
pub const DELIVERED_TOO_OFTEN: &str = "DELIVERED_TOO_OFTEN";

/// How often a run may fail before one that may have committed, and whose targets do not answer, is ended without their
/// word: some thirty hours after its last attempt.
pub const MOST_FAILURES: u32 = 40;

/// Rows that a run counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rows {
    /// What the sources gave.
    #[serde(rename = "in")]
    pub rows_in: u64,
    /// What the targets took.
    #[serde(rename = "out")]
    pub rows_out: u64,
    /// The rejected ones.
    pub failed: u64,
    /// Those that a load mode left out.
    pub skipped: u64,
}

/// One attempt, from the moment in which a worker took the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    pub worker: String,
    pub started_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// None as long as its worker has not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AttemptOutcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JsonText<RunFailure>>,
}

/// A run as the table keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    pub id: String,
    pub tenant_id: String,
    pub pipeline_id: String,
    pub pipeline_version: u32,
    pub status: RunStatus,
    pub trigger: Trigger,
    pub triggered_by: String,
    /// The fencing token: how often a worker took the run.
    pub attempt: u32,
    /// Failures that workers reported; `maxAttempts` counts these.
    pub failures: u32,
    pub retry_of: Option<String>,
    /// The one retry that it has: a second one would not know of the first one's rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_by: Option<String>,
    /// Until when it cannot be retried, since it, or a run that it retries, is being rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoing_until: Option<Time>,
    pub scheduled_for: Option<Time>,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub parameters: JsonText<Map<String, Value>>,
    pub error: Option<JsonText<RunFailure>>,
    /// Set at the end, and provisionally when the run starts to commit.
    pub rows: Option<Rows>,
    /// Whether the run is `committing`: nobody cancels it, and who ends it looks at the target first.
    #[serde(default)]
    pub committing: bool,
    /// Whether somebody asked for it to be cancelled.
    #[serde(default)]
    pub cancel_requested: bool,
    /// Until when a worker holds it.
    pub lease_until: Option<Time>,
    /// What a database's table is called that its target does not name: the schema's name when the run, or one that it
    /// retries, came to its commit. Whoever comes later looks for the rows there, also where the schema has another name by
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_name: Option<String>,
    /// When the next attempt may begin, after one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// The worker that holds or held it.
    pub worker: Option<String>,
    /// All attempts so far; the last one is that of `worker`.
    #[serde(default)]
    pub attempts: Vec<Taken>,
    /// How often the tick has sent it again.
    #[serde(default)]
    pub resends: u32,
    /// The seconds after which a run fails.
    pub timeout_seconds: u32,
    /// How often a failing run is tried.
    pub max_attempts: u32,
    /// The attempt whose rejected rows are kept.
    pub errors_attempt: Option<u32>,
    /// What the worker last reported.
    pub progress: Option<JsonText<Progress>>,
    /// How its writes were undone.
    #[serde(default)]
    pub rolled_back: Option<JsonText<RolledBack>>,
}

/// What a worker reports while it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What the sources will give, where it is known.
    pub total_rows: Option<u64>,
    pub processed_rows: u64,
    pub rows_in: u64,
    pub rows_out: u64,
    pub failed_rows: u64,
    pub skipped_rows: u64,
    pub partitions: u32,
    pub completed_partitions: u32,
    pub partition_details: Vec<PartitionDetail>,
    pub nodes: Vec<NodeProgress>,
    /// The first 20 rejected rows.
    pub validation_errors: Vec<RowError>,
    pub log: Vec<LogLine>,
}

/// One partition of the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionDetail {
    /// The file, or `part 3`.
    pub name: String,
    /// `pending`, `running` or `completed`.
    pub status: String,
    pub rows: u64,
}

/// The rows that one node saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeProgress {
    pub id: String,
    /// The label, or the client's id.
    pub name: String,
    pub node_type: super::node::NodeType,
    pub rows_in: u64,
    pub rows_out: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub deduplicated: u64,
    /// How many rows broke each rule of a validate node that only warns; rules that none broke are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<RuleWarnings>,
}

/// The rows that broke a rule and went on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleWarnings {
    /// The rule's id.
    pub rule: String,
    pub rows: u64,
}

/// One rejected row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowError {
    /// The row in its file, from 1 and without the header; none where the row has no identity any more.
    pub row: Option<u64>,
    pub column: String,
    /// The value, at most 200 characters.
    pub value: Option<String>,
    /// What is wrong with it; names the file where the run reads several.
    pub error: String,
    /// The id of the node that rejected it.
    #[serde(default)]
    pub node: String,
}

/// A line of a run's story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Such as `planning`, `reading`, `writing`, `committing`.
    pub stage: String,
    pub message: String,
    /// RFC 3339.
    pub timestamp: String,
}

/// A run as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Run")]
pub struct RunView {
    pub id: String,
    pub pipeline_id: String,
    pub pipeline_version: u32,
    pub status: RunStatus,
    pub trigger: Trigger,
    pub triggered_by: String,
    pub attempt: u32,
    pub retry_of: Option<String>,
    pub scheduled_for: Option<Time>,
    pub created_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub duration_ms: Option<i64>,
    pub rows_in: Option<u64>,
    pub rows_out: Option<u64>,
    pub failed_rows: u64,
    pub skipped_rows: u64,
    pub error: Option<RunFailure>,
    /// How its writes were undone; the status stays what it was.
    pub rolled_back: Option<RolledBack>,
}

/// A run's progress as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RunProgress")]
pub struct ProgressView {
    pub status: RunStatus,
    #[serde(flatten)]
    pub progress: Progress,
    /// Seconds that are left, by the rows so far, while it runs and the total is known.
    pub eta_seconds: Option<u64>,
    pub duration_ms: Option<i64>,
}

impl Run {
    /// How often a worker took the run and did not say what became of it, a worker that holds it now included. One that gave
    /// it back, as each does that is shut down, has said so.
    pub fn lost_attempts(&self) -> u32 {
        let lost = self.attempts.iter().filter(|attempt| attempt.outcome.is_none()).count();
        u32::try_from(lost).unwrap_or(u32::MAX)
    }

    /// Whether it is final and may have left staged files: some worker had it, and none came to its commit. What one that did
    /// come to it has staged was removed, or kept, when it was settled.
    pub fn may_have_left(&self) -> bool {
        self.attempt > 0 && !self.committing && matches!(self.status, RunStatus::Failed | RunStatus::Cancelled)
    }

    /// Whether it takes longer than it may, counted from its first attempt's start.
    pub fn is_late(&self, now: Time) -> bool {
        self.late_from().is_some_and(|late| late <= now)
    }

    /// None before its first attempt: one that waits for a worker may wait as long as it takes.
    fn late_from(&self) -> Option<Time> {
        Some(Time(self.started_at?.0 + Duration::from_secs(self.timeout_seconds.into())))
    }

    /// From when on anybody may end it, as no worker has come that could: it was to be cancelled, or takes longer than it may,
    /// and nobody holds it, also by clocks that are so far `apart`. None where there is no such time, and where only a worker
    /// can end it, since it may have committed.
    pub fn over_from(&self, apart: Duration) -> Option<Time> {
        if self.status.is_final() || self.committing {
            return None;
        }
        let over = if self.cancel_requested { Some(self.created_at) } else { self.late_from() };
        over.map(|over| Time(over.max(self.lease_until.unwrap_or(over)).0 + apart))
    }

    /// Why it is ended that takes longer than it may.
    pub fn timed_out(&self) -> RunFailure {
        RunFailure {
            code: "TIMEOUT".to_owned(),
            message: format!(
                "the run took longer than its {} s (executionConfig.timeoutSeconds)",
                self.timeout_seconds
            ),
            node_id: None,
            retryable: false,
        }
    }

    /// Why it is given up whose workers never come to an end of it.
    pub fn given_too_often(&self) -> RunFailure {
        let last = self.error.as_ref().map(|error| format!("the last error was: {}", error.0.message));
        RunFailure {
            code: DELIVERED_TOO_OFTEN.to_owned(),
            message: format!(
                "the run was given to workers too often without an end ({} attempts); {}",
                self.attempt,
                last.unwrap_or_else(|| "no worker reported why".to_owned())
            ),
            node_id: None,
            retryable: false,
        }
    }

    /// What callers see. Row counts show once the run has ended.
    pub fn view(&self) -> RunView {
        let rows = self.rows.filter(|_| self.status.is_final());
        RunView {
            id: self.id.clone(),
            pipeline_id: self.pipeline_id.clone(),
            pipeline_version: self.pipeline_version,
            status: self.status,
            trigger: self.trigger,
            triggered_by: self.triggered_by.clone(),
            attempt: self.attempt,
            retry_of: self.retry_of.clone(),
            scheduled_for: self.scheduled_for,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            duration_ms: self.duration_ms(self.finished_at),
            rows_in: rows.map(|r| r.rows_in),
            rows_out: rows.map(|r| r.rows_out),
            failed_rows: rows.map_or(0, |r| r.failed),
            skipped_rows: rows.map_or(0, |r| r.skipped),
            error: self.error.clone().map(|e| e.0),
            rolled_back: self.rolled_back.clone().map(|how| how.0),
        }
    }

    /// What was answered when it was made: nothing had happened yet.
    pub fn first_view(&self) -> RunView {
        let mut first = self.clone();
        first.status = RunStatus::Pending;
        (first.attempt, first.started_at, first.finished_at, first.error, first.rows) = (0, None, None, None, None);
        first.rolled_back = None;
        first.view()
    }

    /// What callers see of its progress.
    pub fn progress_view(&self, now: Time) -> ProgressView {
        let mut progress = self.progress.clone().map(|p| p.0).unwrap_or_default();
        if let Some(rows) = self.rows.filter(|_| self.status.is_final()) {
            (progress.rows_in, progress.rows_out) = (rows.rows_in, rows.rows_out);
            (progress.failed_rows, progress.skipped_rows) = (rows.failed, rows.skipped);
            progress.processed_rows = rows.rows_in;
            // One that was stopped on its way has not read all that there was.
            if matches!(self.status, RunStatus::Completed | RunStatus::CompletedWithErrors) {
                progress.total_rows = Some(rows.rows_in);
            }
        }
        let duration_ms = self.duration_ms(self.finished_at.or(Some(now)));
        let eta_seconds = match (self.status, progress.total_rows, duration_ms) {
            (RunStatus::Running, Some(total), Some(ms)) if progress.processed_rows > 0 => {
                let left = total.saturating_sub(progress.processed_rows) as f64;
                Some((left * ms as f64 / progress.processed_rows as f64 / 1000.0).ceil() as u64)
            }
            _ => None,
        };
        ProgressView { status: self.status, progress, eta_seconds, duration_ms }
    }

    fn duration_ms(&self, end: Option<Time>) -> Option<i64> {
        Some(end?.since(self.started_at?).max(0))
    }
}
