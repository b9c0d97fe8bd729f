//! Runs in the table: every step of a run's life is one conditional write.

use super::idempotency::{Created, Idempotency};
use super::keys::{self, Key};
use super::resources::{Listed, Slice};
use super::{Item, Query, Store, Transacted, away, item, key_item, n, read, refused, s};
use crate::error::{Error, Result};
use crate::models::run::{Progress, Rows, Run, RunFailure, RunStatus};
use crate::models::time::{JsonText, Time};
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValue, TransactWriteItem, Update};
use chrono::Duration;

/// Seconds after which the tick looks after a run that no worker took; doubled with each time it was sent again.
pub const PENDING_SECONDS: i64 = 60;
/// Seconds that a worker holds a run without extending its lease.
pub const LEASE_SECONDS: i64 = 20;

/// How a worker's claim ended.
#[derive(Debug)]
pub enum Claim {
    /// The worker holds the run; `attempt` is its fencing token.
    Taken(Box<Run>),
    /// The run is final.
    Final,
    /// Another worker holds it until then.
    Held(Time),
    /// It was removed with its pipeline.
    Gone,
}

/// How a heartbeat ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease is extended.
    Held {
        /// Whether somebody asked for the run to be cancelled.
        cancel: bool,
    },
    /// Another worker has the run, or it is final or removed.
    Lost,
}

/// Who ends a run, which says under what condition it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ender {
    /// The worker that holds it.
    Holder,
    /// Anybody, as long as no worker took it.
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
    pub errors_attempt: Option<u32>,
}

impl End {
    /// The end of a run that did not succeed.
    pub fn failed(error: RunFailure) -> Self {
        Self { status: RunStatus::Failed, rows: None, error: Some(error), progress: None, errors_attempt: None }
    }
    /// The end of a run that was cancelled.
    pub fn cancelled() -> Self {
        Self { status: RunStatus::Cancelled, rows: None, error: None, progress: None, errors_attempt: None }
    }
}

fn run_key(run: &Run) -> Key {
    keys::run(&run.tenant_id, &run.pipeline_id, &run.id)
}

/// How long after the last time a run that no worker took is sent again.
pub fn resend_delay(resends: u32) -> Duration {
    Duration::seconds(PENDING_SECONDS << resends.min(6))
}

impl Store {
    /// Keeps a new run together with its pipeline being there. Where `alone` is the pipeline state's `turn`, two
    /// runs that both want to be alone meet, and the later one is refused.
    ///
    /// # Errors
    /// 404 where the pipeline went away, 409 where another run came first.
    pub async fn create_run(
        &self,
        run: &Run,
        idempotency: Option<&Idempotency>,
        alone: Option<u64>,
    ) -> Result<Created> {
        let mut writes = vec![self.pipeline_exists(&run.tenant_id, &run.pipeline_id)?];
        writes.extend(self.new_run(run)?);
        writes.extend(self.idempotency_of(idempotency, &run.id, 1)?);
        if let Some(turn) = alone {
            writes.push(self.take_turn(run, turn)?);
        }
        match self.transact(writes).await? {
            Transacted::Done => Ok(Created::Now),
            Transacted::Refused(places) => match self.refused_before(idempotency).await? {
                Some(before) => Ok(before),
                None if places.contains(&0) => Err(Error::not_found("pipeline", &run.pipeline_id)),
                None => Err(Error::conflict("RUN_ACTIVE", "another run of this pipeline was started in this moment")),
            },
        }
    }

    /// The run itself (only where it is not there yet) and the mark that it is live.
    pub(super) fn new_run(&self, run: &Run) -> Result<[TransactWriteItem; 2]> {
        let mut fields = item(&run_key(run), run)?;
        let look = Time(run.created_at.0 + resend_delay(0));
        fields.extend(self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, look));
        let put = Put::builder()
            .table_name(self.table())
            .set_item(Some(fields))
            .condition_expression("attribute_not_exists(PK)")
            .build()
            .map_err(Error::internal)?;
        Ok([
            TransactWriteItem::builder().put(put).build(),
            self.put_mark(&keys::live(&run.tenant_id, &run.pipeline_id, &run.id))?,
        ])
    }

    fn take_turn(&self, run: &Run, turn: u64) -> Result<TransactWriteItem> {
        let update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&keys::state(&run.tenant_id, &run.pipeline_id))))
            .update_expression("SET turn = :next")
            .condition_expression("attribute_not_exists(turn) OR turn = :turn")
            .expression_attribute_values(":turn", n(turn))
            .expression_attribute_values(":next", n(turn + 1))
            .build()
            .map_err(Error::internal)?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// A run.
    ///
    /// # Errors
    /// 404 where it is not there.
    pub async fn run(&self, tenant: &str, pipeline: &str, id: &str) -> Result<Run> {
        self.find_run(tenant, pipeline, id).await?.ok_or_else(|| Error::not_found("run", id))
    }

    /// A run, where it is there.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn find_run(&self, tenant: &str, pipeline: &str, id: &str) -> Result<Option<Run>> {
        if [pipeline, id].iter().any(|id| id.is_empty() || id.len() > 100 || id.contains('#')) {
            return Ok(None);
        }
        self.get(&keys::run(tenant, pipeline, id)).await
    }

    /// A pipeline's runs, newest first, of one status where it is given.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn runs(
        &self,
        tenant: &str,
        pipeline: &str,
        status: Option<RunStatus>,
        slice: &Slice,
    ) -> Result<Listed<Run>> {
        self.newest(&keys::under_pipeline(tenant, pipeline), keys::RUNS, status, slice).await
    }

    /// The ids of a pipeline's runs that are not final.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn live_runs(&self, tenant: &str, pipeline: &str) -> Result<Vec<String>> {
        let partition = keys::under_pipeline(tenant, pipeline);
        let page = self.query(Query::new(&partition, keys::LIVE, 1000)).await?;
        Ok(page
            .items
            .iter()
            .filter_map(|i| Some(i.get("SK")?.as_s().ok()?.strip_prefix(keys::LIVE)?.to_owned()))
            .collect())
    }

    /// Takes a run that is pending, or whose worker's lease is over.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn claim(&self, tenant: &str, pipeline: &str, id: &str, worker: &str, now: Time) -> Result<Claim> {
        let key = keys::run(tenant, pipeline, id);
        let lease = Time(now.0 + Duration::seconds(LEASE_SECONDS));
        let due = self.overdue(tenant, pipeline, id, lease);
        let mut update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&key)))
            .update_expression(
                "SET #status = :running, attempt = attempt + :one, leaseUntil = :lease, worker = :worker, \
                 startedAt = if_not_exists(startedAt, :now), GSI1PK = :pk, GSI1SK = :sk",
            )
            .condition_expression("#status = :pending OR (#status = :running AND leaseUntil < :now)")
            .expression_attribute_names("#status", "status")
            .return_values(ReturnValue::AllNew);
        for (name, value) in [
            (":running", s(RunStatus::Running.name())),
            (":pending", s(RunStatus::Pending.name())),
            (":one", n(1)),
            (":lease", s(lease.text())),
            (":worker", s(worker)),
            (":now", s(now.text())),
            (":pk", attribute(&due, "GSI1PK")),
            (":sk", attribute(&due, "GSI1SK")),
        ] {
            update = update.expression_attribute_values(name, value);
        }
        match update.send().await {
            Ok(answer) => {
                let run: Run = read(answer.attributes.unwrap_or_default())?;
                self.keep_last_run(&run).await?;
                Ok(Claim::Taken(Box::new(run)))
            }
            Err(error) if refused(&error) => Ok(match self.find_run(tenant, pipeline, id).await? {
                None => Claim::Gone,
                Some(run) if run.status.is_final() => Claim::Final,
                Some(run) => Claim::Held(run.lease_until.unwrap_or(now)),
            }),
            Err(error) => Err(away(error)),
        }
    }

    /// Extends the lease, reports progress, and learns of a cancellation.
    ///
    /// # Errors
    /// Where the table does not answer; the lease is then as it was.
    pub async fn heartbeat(&self, run: &Run, progress: &Progress, now: Time) -> Result<Beat> {
        let lease = Time(now.0 + Duration::seconds(LEASE_SECONDS));
        let due = self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, lease);
        let sets = "SET leaseUntil = :lease, progress = :progress, GSI1PK = :pk, GSI1SK = :sk";
        let values = [
            (":lease", s(lease.text())),
            (":progress", json(progress)?),
            (":pk", attribute(&due, "GSI1PK")),
            (":sk", attribute(&due, "GSI1SK")),
        ];
        let held = self.as_holder(run, sets, "", &values).await?;
        Ok(held.map_or(Beat::Lost, |run| Beat::Held { cancel: run.cancel_requested }))
    }

    /// Moves a run to the stage `committing`, with the numbers that it will have come to; from then on nobody
    /// cancels it. False where it was cancelled or is not the worker's any more.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn enter_committing(
        &self,
        run: &Run,
        rows: Rows,
        progress: &Progress,
        errors: Option<u32>,
    ) -> Result<bool> {
        let mut sets = "SET committing = :yes, #rows = :rows, progress = :progress".to_owned();
        let mut values = vec![
            (":yes", AttributeValue::Bool(true)),
            (":no", AttributeValue::Bool(false)),
            (":rows", serde_dynamo::to_attribute_value(rows).map_err(Error::internal)?),
            (":progress", json(progress)?),
        ];
        if let Some(attempt) = errors {
            sets += ", errorsAttempt = :errors";
            values.push((":errors", n(attempt)));
        }
        let uncancelled = " AND cancelRequested = :no";
        Ok(self.as_holder(run, &sets, uncancelled, &values).await?.is_some())
    }

    /// An update by the worker that holds the run; none where it does not hold it any more.
    async fn as_holder(
        &self,
        run: &Run,
        sets: &str,
        condition: &str,
        values: &[(&str, AttributeValue)],
    ) -> Result<Option<Run>> {
        let mut update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .update_expression(sets)
            .condition_expression(format!("attempt = :attempt AND #status = :running{condition}"))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":attempt", n(run.attempt))
            .expression_attribute_values(":running", s(RunStatus::Running.name()))
            .return_values(ReturnValue::AllNew);
        if sets.contains("#rows") {
            update = update.expression_attribute_names("#rows", "rows");
        }
        for (name, value) in values {
            update = update.expression_attribute_values(*name, value.clone());
        }
        match update.send().await {
            Ok(answer) => answer.attributes.map(read).transpose(),
            Err(error) if refused(&error) => Ok(None),
            Err(error) => Err(away(error)),
        }
    }

    /// Gives a run back after a failure that another attempt may mend; the tick sends it again at `again` if
    /// nobody did before. False where it is not the worker's any more.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn give_back(&self, run: &Run, error: &RunFailure, again: Time) -> Result<bool> {
        let due = self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, again);
        let sets = "SET #status = :pending, failures = failures + :one, #error = :error, committing = :no, \
                    GSI1PK = :pk, GSI1SK = :sk REMOVE leaseUntil, #rows";
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .update_expression(sets)
            .condition_expression("attempt = :attempt AND #status = :running AND cancelRequested = :no")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#error", "error")
            .expression_attribute_names("#rows", "rows")
            .expression_attribute_values(":pending", s(RunStatus::Pending.name()))
            .expression_attribute_values(":running", s(RunStatus::Running.name()))
            .expression_attribute_values(":attempt", n(run.attempt))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":no", AttributeValue::Bool(false))
            .expression_attribute_values(":error", json(error)?)
            .expression_attribute_values(":pk", attribute(&due, "GSI1PK"))
            .expression_attribute_values(":sk", attribute(&due, "GSI1SK"));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused(&error) => Ok(false),
            Err(error) => Err(away(error)),
        }
    }

    /// Asks the worker that holds a run to stop. False where it is committing, final, or pending.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn request_cancel(&self, run: &Run) -> Result<bool> {
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .update_expression("SET cancelRequested = :yes")
            .condition_expression("#status = :running AND committing = :no")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":running", s(RunStatus::Running.name()))
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":no", AttributeValue::Bool(false));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused(&error) => Ok(false),
            Err(error) => Err(away(error)),
        }
    }

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
            if show {
                writes.push(self.show_last_run(run, end.status, now)?);
            }
            match self.transact(writes).await? {
                Transacted::Done => return Ok(true),
                Transacted::Refused(places) if places.contains(&0) => return Ok(false),
                // A newer run came in between, or the pipeline went away.
                Transacted::Refused(_) if show => show = false,
                Transacted::Refused(_) => return Ok(false),
            }
        }
    }

    fn final_write(&self, run: &Run, ender: Ender, end: &End, now: Time) -> Result<TransactWriteItem> {
        let mut sets = vec!["#status = :final", "finishedAt = :now"];
        let mut update = Update::builder()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":final", s(end.status.name()))
            .expression_attribute_values(":now", s(now.text()));
        if let Some(rows) = end.rows {
            sets.push("#rows = :rows");
            let rows = serde_dynamo::to_attribute_value(rows).map_err(Error::internal)?;
            update = update.expression_attribute_names("#rows", "rows").expression_attribute_values(":rows", rows);
        }
        if let Some(error) = &end.error {
            sets.push("#error = :error");
            update = update
                .expression_attribute_names("#error", "error")
                .expression_attribute_values(":error", json(error)?);
        }
        if let Some(progress) = &end.progress {
            sets.push("progress = :progress");
            update = update.expression_attribute_values(":progress", json(progress)?);
        }
        if let Some(attempt) = end.errors_attempt {
            sets.push("errorsAttempt = :errors");
            update = update.expression_attribute_values(":errors", n(attempt));
        }
        let mut removes = vec!["leaseUntil", "GSI1PK", "GSI1SK"];
        if end.error.is_none() {
            removes.push("#error");
            update = update.expression_attribute_names("#error", "error");
        }
        let condition = match ender {
            Ender::Holder => {
                update = update
                    .expression_attribute_values(":attempt", n(run.attempt))
                    .expression_attribute_values(":running", s(RunStatus::Running.name()));
                "attempt = :attempt AND #status = :running"
            }
            Ender::WhilePending => {
                update = update.expression_attribute_values(":pending", s(RunStatus::Pending.name()));
                "#status = :pending"
            }
            Ender::Unheld(at) => {
                update = update
                    .expression_attribute_values(":pending", s(RunStatus::Pending.name()))
                    .expression_attribute_values(":running", s(RunStatus::Running.name()))
                    .expression_attribute_values(":no", AttributeValue::Bool(false))
                    .expression_attribute_values(":at", s(at.text()));
                "#status = :pending OR (#status = :running AND leaseUntil < :at AND committing = :no)"
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
    async fn keep_last_run(&self, run: &Run) -> Result<()> {
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

const SHOW: &str = "SET lastRunId = :run, lastRunAt = :at, lastRunStatus = :status";
const SHOW_IF: &str = "attribute_exists(PK) AND (attribute_not_exists(lastRunId) OR lastRunId <= :run)";

pub(super) fn attribute(item: &Item, name: &str) -> AttributeValue {
    item.get(name).cloned().unwrap_or(AttributeValue::Null(true))
}

fn json<T: serde::Serialize>(value: &T) -> Result<AttributeValue> {
    serde_dynamo::to_attribute_value(JsonText(value)).map_err(Error::internal)
}
