//! While a worker holds a run: its claim, its heartbeats, its commit's stage, and how it lets go.

use super::super::{Store, away, key_item, keys, n, read, refused, s};
use super::{attribute, room, run_key};
use crate::error::{Error, Result};
use crate::models::receipt::AttemptOutcome;
use crate::models::run::{Progress, Rows, Run, RunFailure, RunStatus, Taken};
use crate::models::time::{JsonText, Time};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use std::time::Duration;

/// Characters of an attempt's error that are kept.
const ERROR_CHARS: usize = 1000;
/// What holds of a run beside its attempt before it may start to commit.
const UNCANCELLED: &str = " AND cancelRequested = :no";

/// How a worker's claim ended.
#[derive(Debug)]
pub enum Claim {
    /// The worker holds the run; `attempt` is its fencing token.
    Taken(Box<Run>),
    /// The run is final.
    Final(Box<Run>),
    /// Another worker holds it until then; or the one before has failed, and the next may not begin earlier.
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

/// A new attempt.
fn taken(worker: &str, now: Time) -> Result<AttributeValue> {
    let taken = Taken { worker: worker.to_owned(), started_at: now, ended_at: None, outcome: None, error: None };
    serde_dynamo::to_attribute_value(taken).map_err(Error::internal)
}

/// What an update by the holder of a run sets, so that its attempt has an end: the path of the attempt, and the attempt.
pub(super) fn ended(
    run: &Run,
    outcome: AttemptOutcome,
    error: Option<&RunFailure>,
    now: Time,
) -> Result<Option<(String, AttributeValue)>> {
    let Some(taken) = run.attempts.last() else { return Ok(None) };
    // The whole message is that of the run; each attempt adds to the run's item.
    let error = error.cloned().map(|mut error| {
        error.message = error.message.chars().take(ERROR_CHARS).collect();
        JsonText(error)
    });
    let taken = Taken { ended_at: Some(now), outcome: Some(outcome), error, ..taken.clone() };
    let path = format!("attempts[{}]", run.attempts.len() - 1);
    Ok(Some((path, serde_dynamo::to_attribute_value(taken).map_err(Error::internal)?)))
}

/// What an update that moves a run to its commit sets of the tables' name.
fn keep_table_name(run: &Run, sets: &mut String, values: &mut Vec<(&str, AttributeValue)>) {
    if let Some(name) = &run.table_name {
        sets.push_str(", tableName = :table");
        values.push((":table", s(name)));
    }
}

impl Store {
    /// Takes a run that is pending, or whose worker's lease is over.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn claim(&self, tenant: &str, pipeline: &str, id: &str, worker: &str, now: Time) -> Result<Claim> {
        let key = keys::run(tenant, pipeline, id);
        let lease = Time(now.0 + self.lease());
        let due = self.overdue(tenant, pipeline, id, lease);
        let mut update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&key)))
            .update_expression(
                "SET #status = :running, attempt = attempt + :one, leaseUntil = :lease, worker = :worker, \
                 attempts = list_append(if_not_exists(attempts, :none), :taken), \
                 startedAt = if_not_exists(startedAt, :now), GSI1PK = :pk, GSI1SK = :sk",
            )
            .condition_expression(
                "(#status = :pending AND (attribute_not_exists(notBefore) OR notBefore <= :now)) \
                 OR (#status = :running AND leaseUntil < :now)",
            )
            .expression_attribute_names("#status", "status")
            .return_values(ReturnValue::AllNew);
        for (name, value) in [
            (":running", s(RunStatus::Running.name())),
            (":pending", s(RunStatus::Pending.name())),
            (":one", n(1)),
            (":lease", s(lease.text())),
            (":worker", s(worker)),
            (":now", s(now.text())),
            (":none", AttributeValue::L(Vec::new())),
            (":taken", AttributeValue::L(vec![taken(worker, now)?])),
            (":pk", attribute(&due, "GSI1PK")),
            (":sk", attribute(&due, "GSI1SK")),
        ] {
            update = update.expression_attribute_values(name, value);
        }
        match update.send().await {
            Ok(answer) => {
                let run: Run = read(answer.attributes.unwrap_or_default())?;
                if let Err(error) = self.keep_last_run(&run).await {
                    // It is only shown there, and shown again when the run ends.
                    tracing::warn!(run = run.id, %error, "the pipeline does not show the run as its last one yet");
                }
                Ok(Claim::Taken(Box::new(run)))
            }
            Err(error) if refused(&error) => Ok(match self.find_run(tenant, pipeline, id).await? {
                None => Claim::Gone,
                Some(run) if run.status.is_final() => Claim::Final(Box::new(run)),
                Some(run) => Claim::Held(run.lease_until.or(run.not_before).unwrap_or(now)),
            }),
            Err(error) => Err(away(error)),
        }
    }

    /// Extends the lease, reports progress, and learns of a cancellation.
    ///
    /// # Errors
    /// Where the table does not answer; the lease is then as it was.
    pub async fn heartbeat(&self, run: &Run, progress: &Progress, now: Time) -> Result<Beat> {
        let lease = Time(now.0 + self.lease());
        let due = self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, lease);
        let sets = "SET leaseUntil = :lease, progress = :progress, GSI1PK = :pk, GSI1SK = :sk";
        let values = [
            (":lease", s(lease.text())),
            (":progress", room::progress(progress)?),
            (":pk", attribute(&due, "GSI1PK")),
            (":sk", attribute(&due, "GSI1SK")),
        ];
        let held = self.as_holder(run, sets, "", &values).await?;
        Ok(held.map_or(Beat::Lost, |run| Beat::Held { cancel: run.cancel_requested }))
    }

    /// Moves a run to the stage `committing`, with the numbers that it will have come to, the name of its tables, where `run`
    /// has one, and the attempt whose rejected rows are kept, in the place of those of an attempt before; from then on
    /// nobody cancels it. False where it was cancelled or is not the worker's any more.
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
            (":progress", room::progress(progress)?),
        ];
        keep_table_name(run, &mut sets, &mut values);
        match errors {
            Some(attempt) => {
                sets += ", errorsAttempt = :errors";
                values.push((":errors", n(attempt)));
            }
            None => sets += " REMOVE errorsAttempt",
        }
        Ok(self.as_holder(run, &sets, UNCANCELLED, &values).await?.is_some())
    }

    /// The same for a run that finds all its rows in and has counted nothing: its commits say what they came to.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn pass_committing(&self, run: &Run, progress: &Progress) -> Result<bool> {
        let mut sets = "SET committing = :yes, progress = :progress".to_owned();
        let mut values = vec![
            (":yes", AttributeValue::Bool(true)),
            (":no", AttributeValue::Bool(false)),
            (":progress", room::progress(progress)?),
        ];
        keep_table_name(run, &mut sets, &mut values);
        Ok(self.as_holder(run, &sets, UNCANCELLED, &values).await?.is_some())
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

    /// Gives a run back after a failure that another attempt may mend, which nobody begins before `delay` is over; the tick
    /// sends it again after twice that if nobody did before, or ends it where its time is over by then. A run that was
    /// committing still is: a commit whose end nobody knows may come in later. False where it is not the worker's any more, or
    /// somebody asked for it to be cancelled.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn give_back(&self, run: &Run, error: &RunFailure, delay: Duration, now: Time) -> Result<bool> {
        let (not_before, again) = (Time(now.0 + delay), Time(now.0 + delay * 2));
        let due = self.overdue_or_over(run, (not_before, again));
        let mut sets =
            "SET #status = :pending, failures = failures + :one, #error = :error, notBefore = :notBefore, GSI1PK = :pk, \
             GSI1SK = :sk"
                .to_owned();
        let ended = ended(run, AttemptOutcome::Failed, Some(error), now)?;
        if let Some((path, _)) = &ended {
            sets += &format!(", {path} = :ended");
        }
        sets += " REMOVE leaseUntil";
        let mut update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .update_expression(sets)
            .condition_expression("attempt = :attempt AND #status = :running AND cancelRequested = :no")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":pending", s(RunStatus::Pending.name()))
            .expression_attribute_values(":running", s(RunStatus::Running.name()))
            .expression_attribute_values(":attempt", n(run.attempt))
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":no", AttributeValue::Bool(false))
            .expression_attribute_values(":error", room::failure(error)?)
            .expression_attribute_values(":notBefore", s(not_before.text()))
            .expression_attribute_values(":pk", attribute(&due, "GSI1PK"))
            .expression_attribute_values(":sk", attribute(&due, "GSI1SK"));
        if let Some((_, attempt)) = ended {
            update = update.expression_attribute_values(":ended", attempt);
        }
        match update.send().await {
            Ok(_) => Ok(true),
            // The request is sent again where its answer is lost, and then meets what it has done itself.
            Err(error) if refused(&error) => {
                Ok(self.find_run(&run.tenant_id, &run.pipeline_id, &run.id).await?.is_some_and(|now| {
                    (now.status, now.attempt) == (RunStatus::Pending, run.attempt) && now.failures == run.failures + 1
                }))
            }
            Err(error) => Err(away(error)),
        }
    }

    /// Asks the worker that holds a run to stop. The next tick looks after the run, unless the worker says before that it is
    /// held. False where it is committing, final, or pending.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn request_cancel(&self, run: &Run, now: Time) -> Result<bool> {
        let due = self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, now);
        let update = self
            .client()
            .update_item()
            .table_name(self.table())
            .set_key(Some(key_item(&run_key(run))))
            .update_expression("SET cancelRequested = :yes, GSI1PK = :pk, GSI1SK = :sk")
            .condition_expression("#status = :running AND committing = :no")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":running", s(RunStatus::Running.name()))
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":no", AttributeValue::Bool(false))
            .expression_attribute_values(":pk", attribute(&due, "GSI1PK"))
            .expression_attribute_values(":sk", attribute(&due, "GSI1SK"));
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused(&error) => Ok(false),
            Err(error) => Err(away(error)),
        }
    }

    /// Lets go of a run that this worker cannot end, so that the next one need not wait for the end of the lease. False
    /// where it is not the worker's any more.
    ///
    /// # Errors
    /// Where the table does not answer.
    pub async fn let_go(&self, run: &Run, now: Time) -> Result<bool> {
        let due = self.overdue(&run.tenant_id, &run.pipeline_id, &run.id, now);
        let mut sets = "SET leaseUntil = :lease, GSI1PK = :pk, GSI1SK = :sk".to_owned();
        let mut values =
            vec![(":lease", s(now.text())), (":pk", attribute(&due, "GSI1PK")), (":sk", attribute(&due, "GSI1SK"))];
        if let Some((path, attempt)) = ended(run, AttemptOutcome::GivenBack, None, now)? {
            sets += &format!(", {path} = :ended");
            values.push((":ended", attempt));
        }
        Ok(self.as_holder(run, &sets, "", &values).await?.is_some())
    }
}
