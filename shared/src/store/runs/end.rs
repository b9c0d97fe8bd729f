//! How a run ends, once and for all, and what its pipeline then shows.

use super::super::receipts::Kept;
use super::super::{Store, Transacted, away, key_item, keys, n, refused, s};
use super::hold::ended;
use super::{room, run_key};
use crate::error::{Error, Result};
use crate::models::run::{DELIVERED_TOO_OFTEN, Progress, Rows, Run, RunFailure, RunStatus};
use crate::models::time::Time;
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update};

const SHOW: &str = "SET lastRunId = :run, lastRunAt = :at, lastRunStatus = :status";
const SHOW_IF: &str = "attribute_exists(PK) AND (attribute_not_exists(lastRunId) OR lastRunId <= :run)";

/// Who ends a run, which says under what condition it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ender {
    /// The worker that holds it.
    Holder,
    /// Anybody, as long as no worker took it; where one did before, it may not have come to its commit.
    WhilePending,
    /// Anybody, as long as no worker holds it (its lease is over at this time) and it is not committing.
    Unheld(Time),
}

/// How a run ends.
#[derive(Debug, Clone)]
pub struct End {
    pub status: RunStatus,
    pub rows: Option<Rows>,
    pub error: Option<RunFailure>,
    pub progress: Option<Progress>,
    /// The attempt whose rejected rows are the run's. Where none is named it stays the one that it was, and where no row is
    /// said to be rejected there is none.
    pub errors_attempt: Option<u32>,
    /// What its receipt is made of, where a worker ends it.
    pub receipt: Option<Kept>,
}

impl End {
    /// The end of a run that did not succeed.
    pub fn failed(error: RunFailure) -> Self {
        Self { error: Some(error), ..Self::of(RunStatus::Failed) }
    }
    /// The end of a run that was cancelled.
    pub fn cancelled() -> Self {
        Self::of(RunStatus::Cancelled)
    }
    /// The end of a run with this status, of which nothing else is known.
    pub fn of(status: RunStatus) -> Self {
        Self { status, rows: None, error: None, progress: None, errors_attempt: None, receipt: None }
    }
}

impl Store {
    /// Ends a run: it becomes final, is live no more, and its pipeline shows it as the last one. False where it
    /// was final before, or the one who ends it may not any more.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn end_run(&self, run: &Run, ender: Ender, end: &End, now: Time) -> Result<bool> {
        let mut show = self.shows(run).await?;
        loop {
            let mut writes = vec![
                self.final_write(run, ender, end, now)?,
                self.remove(&keys::live(&run.tenant_id, &run.pipeline_id, &run.id))?,
            ];
            if let Some(kept) = &end.receipt {
                writes.push(self.put_receipt(run, kept)?);
            }
            if show {
                writes.push(self.show_last_run(run, end.status, now)?);
            }
            match self.transact(writes).await? {
                Transacted::Done => {
                    tell(run, end);
                    return Ok(true);
                }
                Transacted::Refused(places) if places.contains(&0) => return Ok(false),
                // A newer run came in between, or the pipeline went away.
                Transacted::Refused(_) if show => show = false,
                Transacted::Refused(_) => return Ok(false),
            }
        }
    }

    fn final_write(&self, run: &Run, ender: Ender, end: &End, now: Time) -> Result<TransactWriteItem> {
        let mut sets = vec!["#status = :final".to_owned(), "finishedAt = :now".to_owned()];
        let mut update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":final", s(end.status.name()))
            .expression_attribute_values(":now", s(now.text()));
        if let Some(rows) = end.rows {
            sets.push("#rows = :rows".to_owned());
            let rows = serde_dynamo::to_attribute_value(rows).map_err(Error::internal)?;
            update = update.expression_attribute_names("#rows", "rows").expression_attribute_values(":rows", rows);
        }
        if let Some(error) = &end.error {
            sets.push("#error = :error".to_owned());
            update = update
                .expression_attribute_names("#error", "error")
                .expression_attribute_values(":error", room::failure(error)?);
        }
        if let Some(progress) = &end.progress {
            sets.push("progress = :progress".to_owned());
            update = update.expression_attribute_values(":progress", room::progress(progress)?);
        }
        if let Some(attempt) = end.errors_attempt {
            sets.push("errorsAttempt = :errors".to_owned());
            update = update.expression_attribute_values(":errors", n(attempt));
        }
        let mut removes = vec!["leaseUntil", "GSI1PK", "GSI1SK"];
        if end.errors_attempt.is_none() && end.rows.is_some_and(|rows| rows.failed == 0) {
            removes.push("errorsAttempt");
        }
        if end.error.is_none() {
            removes.push("#error");
            update = update.expression_attribute_names("#error", "error");
        }
        let condition = match ender {
            Ender::Holder => {
                if let Some((path, attempt)) = ended(run, end.status.into(), None, now)? {
                    sets.push(format!("{path} = :ended"));
                    update = update.expression_attribute_values(":ended", attempt);
                }
                update = update
                    .expression_attribute_values(":attempt", n(run.attempt))
                    .expression_attribute_values(":running", s(RunStatus::Running.name()));
                "attempt = :attempt AND #status = :running"
            }
            Ender::WhilePending => {
                update = update
                    .expression_attribute_values(":pending", s(RunStatus::Pending.name()))
                    .expression_attribute_values(":no", AttributeValue::Bool(false));
                "#status = :pending AND committing = :no"
            }
            Ender::Unheld(at) => {
                update = update
                    .expression_attribute_values(":pending", s(RunStatus::Pending.name()))
                    .expression_attribute_values(":running", s(RunStatus::Running.name()))
                    .expression_attribute_values(":no", AttributeValue::Bool(false))
                    .expression_attribute_values(":at", s(at.text()));
                "committing = :no AND (#status = :pending OR (#status = :running AND leaseUntil < :at))"
            }
        };
        let update = update
            .update_expression(format!("SET {} REMOVE {}", sets.join(", "), removes.join(", ")))
            .condition_expression(condition)
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Whether the pipeline shows this run, or an older one, as its last.
    async fn shows(&self, run: &Run) -> Result<bool> {
        let state: Option<crate::models::pipeline::PipelineState> =
            self.get(&keys::state(&run.tenant_id, &run.pipeline_id)).await?;
        Ok(state.is_some_and(|s| s.last_run_id.is_none_or(|last| last <= run.id)))
    }

    fn show_last_run(&self, run: &Run, status: RunStatus, now: Time) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::state(&run.tenant_id, &run.pipeline_id))))
            .update_expression(SHOW)
            .condition_expression(SHOW_IF)
            .expression_attribute_values(":run", s(&run.id))
            .expression_attribute_values(":at", s(run.started_at.unwrap_or(now).text()))
            .expression_attribute_values(":status", s(status.name()))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Shows a run that has just been taken as its pipeline's last one; a newer one stays.
    pub(super) async fn keep_last_run(&self, run: &Run) -> Result<()> {
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::state(&run.tenant_id, &run.pipeline_id))))
            .update_expression(SHOW)
            .condition_expression(SHOW_IF)
            .expression_attribute_values(":run", s(&run.id))
            .expression_attribute_values(":at", s(run.started_at.unwrap_or(run.created_at).text()))
            .expression_attribute_values(":status", s(run.status.name()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error) => Ok(()),
            Err(error) => Err(away(error)),
        }
    }
}

/// Tells the log of a run that was given up, whoever has ended it.
fn tell(run: &Run, end: &End) {
    if end.error.as_ref().is_some_and(|error| error.code == DELIVERED_TOO_OFTEN) {
        // An alarm counts these words: infra/alarms.yaml.
        tracing::error!(run = run.id, pipeline = run.pipeline_id, attempts = run.attempt, "the run is given up");
    }
}
