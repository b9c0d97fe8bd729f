//! The life of a run, from the claim to its end.

use crate::engine::job::{Hooks, Settings};
use crate::engine::progress::Progress;
use crate::error::{Kind, RunError};
use crate::gate::Gate;
use crate::heartbeat::{self, Reason, Stop};
use crate::{claim, engine, job, leftovers, receipt, report, targets};
use rand::RngExt;
use shared::Result;
use shared::context::Services;
use shared::models::pipeline::Retry;
use shared::models::receipt::Target;
use shared::models::run::{MOST_LOST, Rows, Run, RunStatus};
use shared::models::time::{JsonText, Time};
use shared::protection::Protection;
use shared::queue::Task;
use shared::secrets::Opener;
use shared::store::receipts::Kept;
use shared::store::runs::{End, Ender};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long runs may take to stop and to take back what they staged, after the time of grace.
const GIVING_BACK: Duration = Duration::from_secs(5);

/// A process that executes runs.
pub struct Worker {
    pub services: Arc<Services>,
    pub opener: Opener,
    pub settings: Settings,
    /// Names this worker in runs and logs.
    pub name: String,
    /// Set when this worker shuts down.
    pub shutdown: CancellationToken,
    /// Set when the time of grace after that is over: what still runs stops and is given back.
    pub(crate) out_of_grace: CancellationToken,
    /// Keeps the task from being scaled in while it has work.
    pub protection: Protection,
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It was done.
    Delete,
    /// It comes back after so long.
    Hide(Duration),
    /// Another delivery has it.
    Leave,
}

impl Worker {
    /// Takes messages off the queue, `concurrent` at once, until the worker shuts down; then waits for what still
    /// runs, for `grace` at most. What is not finished then stops, takes back what it staged, and goes on elsewhere.
    pub async fn poll(self: Arc<Self>, concurrent: usize, grace: Duration) {
        let mut tasks = JoinSet::new();
        let mut protected = false;
        while !self.shutdown.is_cancelled() {
            while tasks.try_join_next().is_some() {}
            if tasks.is_empty() && protected {
                self.protection.set(false).await;
                protected = false;
            }
            if tasks.len() >= concurrent.max(1) {
                tokio::select! {
                    _ = tasks.join_next() => {}
                    () = self.shutdown.cancelled() => {}
                }
                continue;
            }
            let lease = self.services.store.lease();
            let received = tokio::select! {
                received = self.services.queue.receive(1, Duration::from_secs(20), lease) => received,
                () = self.shutdown.cancelled() => break,
            };
            match received {
                Ok(deliveries) => {
                    if !deliveries.is_empty() && !protected {
                        self.protection.set(true).await;
                        protected = true;
                    }
                    for delivery in deliveries {
                        let worker = Arc::clone(&self);
                        tasks.spawn(async move { worker.handle(delivery).await });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the queue does not answer; trying again in a second");
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                        () = self.shutdown.cancelled() => {}
                    }
                }
            }
        }
        let finish = async { while tasks.join_next().await.is_some() {} };
        tokio::pin!(finish);
        if tokio::time::timeout(grace, &mut finish).await.is_ok() {
            return;
        }
        self.out_of_grace.cancel();
        if tokio::time::timeout(GIVING_BACK, finish).await.is_err() {
            tracing::warn!("runs that did not stop in time are left to be delivered again");
        }
    }

    async fn handle(&self, delivery: shared::queue::Delivery) {
        let done = claim::handle(self, &delivery).await;
        let sent = match done {
            Done::Delete => self.services.queue.delete(&delivery.receipt).await,
            Done::Hide(time) => self.services.queue.hide(&delivery.receipt, time).await,
            Done::Leave => Ok(()),
        };
        if let Err(error) = sent {
            tracing::warn!(%error, "the queue did not take what became of a message; it comes back");
        }
    }
}

/// How an attempt ended.
struct Attempt {
    result: Result<engine::job::Outcome, RunError>,
    progress: Arc<Progress>,
    stop: Stop,
    spool: PathBuf,
    retry: Retry,
    /// The hash of what was run; none where that could not be read.
    definition: Option<String>,
    /// Whether it came to its commit.
    committing: Arc<AtomicBool>,
}

impl Attempt {
    /// What the run's receipt is made of, with what its tables took.
    fn kept(&self, targets: Vec<Target>) -> Option<Kept> {
        Some(Kept { definition_hash: self.definition.clone()?, targets: JsonText(targets) })
    }
}

/// Lives a claimed run to its end, or to the end of this attempt.
pub(crate) async fn live(worker: &Worker, run: Run, task: Task, receipt: &str) -> Result<Done> {
    let now: Time = worker.services.clock.now().into();
    if run.committing && (task == Task::Settle || heartbeat::past_timeout(&run, now)) {
        return settle(worker, &run, &RunError::new(Kind::Timeout, timeout_text(&run))).await;
    }
    // The one that holds it now is counted too.
    let is_poison = run.lost_attempts() > MOST_LOST;
    if run.committing && is_poison {
        return settle(worker, &run, &RunError::new(Kind::Internal, run.given_too_often().message)).await;
    }
    if task == Task::Settle || is_poison {
        return end_without_rows(worker, &run, End::failed(run.given_too_often())).await;
    }
    if run.cancel_requested && !run.committing {
        return end_without_rows(worker, &run, End::cancelled()).await;
    }
    if heartbeat::past_timeout(&run, now) {
        let error = RunError::new(Kind::Timeout, timeout_text(&run));
        return end_without_rows(worker, &run, End::failed(report::failure(&error))).await;
    }
    let attempt = attempt(worker, &run, receipt).await;
    let done = conclude(worker, &run, &attempt).await;
    let _ = tokio::fs::remove_file(&attempt.spool).await;
    done
}

fn timeout_text(run: &Run) -> String {
    format!("the run took longer than its {} s (executionConfig.timeoutSeconds)", run.timeout_seconds)
}

async fn attempt(worker: &Worker, run: &Run, receipt: &str) -> Attempt {
    let spool = worker.settings.scratch.join(format!("{}-{}.rejected", run.id, run.attempt));
    let stop = Stop::default();
    let job = job::resolve(worker, run).await;
    let definition = job.as_ref().ok().map(|j| j.definition_hash.clone());
    let execution = job.as_ref().map(|j| j.execution.clone()).unwrap_or_default();
    let progress = Progress::new(execution.errors(), spool.clone(), worker.services.clock.clone());
    let retry = execution.retry.unwrap_or_default();
    let committing = Arc::new(AtomicBool::new(false));
    let result = match job {
        Err(error) => Err(error),
        Ok(job) => {
            progress.log("starting", format!("attempt {} on worker {}", run.attempt, worker.name));
            let gate = Gate {
                services: Arc::clone(&worker.services),
                run: run.clone(),
                progress: Arc::clone(&progress),
                entered: Arc::clone(&committing),
            };
            let hooks = Hooks { progress: Arc::clone(&progress), stop: stop.token.clone(), gate: Arc::new(gate) };
            execute(worker, run, receipt, job, hooks, &stop).await
        }
    };
    Attempt { result, progress, stop, spool, retry, definition, committing }
}

/// Executes beside a heartbeat; a panic of the engine is an error of the run.
async fn execute(
    worker: &Worker,
    run: &Run,
    receipt: &str,
    job: engine::job::Job,
    hooks: Hooks,
    stop: &Stop,
) -> Result<engine::job::Outcome, RunError> {
    let (services, progress) = (Arc::clone(&worker.services), Arc::clone(&hooks.progress));
    let mut beside = JoinSet::new();
    beside.spawn(heartbeat::beat(services, run.clone(), receipt.to_owned(), progress, stop.clone()));
    let (out_of_grace, stopping) = (worker.out_of_grace.clone(), stop.clone());
    beside.spawn(async move {
        out_of_grace.cancelled().await;
        stopping.now(Reason::Shutdown);
        std::future::pending::<()>().await;
    });
    let settings = worker.settings.clone();
    let engine = tokio::spawn(async move { engine::execute(job, &settings, hooks).await });
    let result = match engine.await {
        Ok(result) => result,
        Err(panicked) => {
            tracing::error!(run = run.id, error = %panicked, "the engine panicked");
            Err(RunError::new(Kind::Internal, "the engine ended unexpectedly; the worker's log says where"))
        }
    };
    beside.shutdown().await;
    result
}

/// Writes down what an attempt came to.
async fn conclude(worker: &Worker, run: &Run, attempt: &Attempt) -> Result<Done> {
    let error = match &attempt.result {
        // An attempt before this one committed; it left what it came to.
        Ok(outcome) if !attempt.committing.load(Relaxed) && run.committing && run.rows.is_some() => {
            let receipt = attempt.kept(outcome.targets.clone());
            return end(worker, run, End { receipt, ..succeeded(run.rows.unwrap_or_default(), None) }).await;
        }
        Ok(outcome) => {
            let rows = Rows {
                rows_in: outcome.rows_in,
                rows_out: outcome.rows_out,
                failed: outcome.failed_rows,
                skipped: outcome.skipped_rows,
            };
            let receipt = attempt.kept(outcome.targets.clone());
            let progress = Some(report::progress(&attempt.progress));
            return end(worker, run, End { receipt, ..succeeded(rows, progress) }).await;
        }
        Err(error) => error,
    };
    match (attempt.stop.reason(), error.kind) {
        (None, Kind::Superseded) if is_committing(worker, run).await? => {
            // A target says so, not the store: whoever settled the run there came no further.
            let why = "the run was given up by an attempt before this one and settled as not committed";
            return settle(worker, run, &RunError::new(Kind::Internal, why)).await;
        }
        (Some(Reason::Lost), _) | (None, Kind::Superseded) => {
            tracing::warn!(run = run.id, attempt = run.attempt, "the run is not this worker's any more");
            return Ok(Done::Leave);
        }
        (Some(Reason::Shutdown), Kind::Cancelled) => {
            worker.services.store.let_go(run, worker.services.clock.now().into()).await?;
            tracing::info!(run = run.id, attempt = run.attempt, "the run is given back, for another worker to take");
            return Ok(Done::Hide(Duration::from_secs(1)));
        }
        (Some(Reason::Timeout), Kind::Cancelled) => {
            return fail(worker, run, attempt, &RunError::new(Kind::Timeout, timeout_text(run))).await;
        }
        (_, Kind::Cancelled | Kind::Superseded) if !is_committing(worker, run).await? => {
            worker.services.store.keep_reading(run, &report::reading(&attempt.progress, run.attempt)).await?;
            let (progress, receipt) = (Some(report::progress(&attempt.progress)), attempt.kept(Vec::new()));
            let end_now = End { progress, receipt, ..End::cancelled() };
            return end_without_rows(worker, run, end_now).await;
        }
        _ => {}
    }
    if error.kind.is_retryable() && run.failures + 1 < run.max_attempts {
        let delay = delay(&attempt.retry, run.failures);
        let again = Time(worker.services.clock.now() + chrono::Duration::from_std(delay).unwrap_or_default() * 2);
        tracing::warn!(run = run.id, %error, delay = delay.as_secs(), "the run failed and will be tried again");
        let now = worker.services.clock.now().into();
        if worker.services.store.give_back(run, &report::failure(error), again, now).await? {
            return Ok(Done::Hide(delay));
        }
    }
    fail(worker, run, attempt, error).await
}

/// Seconds until the next attempt: doubled with each failure, of which a random half is left out.
fn delay(retry: &Retry, failures: u32) -> Duration {
    let first = f64::from(retry.initial_delay_seconds.unwrap_or(5));
    let most = f64::from(retry.max_delay_seconds.unwrap_or(300));
    let full = (first * 2_f64.powi(i32::try_from(failures.min(20)).unwrap_or(20))).min(most);
    Duration::from_secs_f64(full * rand::rng().random_range(0.5..=1.0))
}

async fn fail(worker: &Worker, run: &Run, attempt: &Attempt, error: &RunError) -> Result<Done> {
    tracing::warn!(run = run.id, %error, "run failed");
    if is_committing(worker, run).await? {
        return settle(worker, run, error).await;
    }
    let spool = attempt.progress.finish_errors().unwrap_or_default();
    let errors_attempt = report::keep_errors(&worker.services.store, run, spool.as_deref()).await?;
    worker.services.store.keep_reading(run, &report::reading(&attempt.progress, run.attempt)).await?;
    let mut rows = report::rows(&attempt.progress, 0);
    rows.rows_out = 0;
    let failed = End {
        rows: Some(rows),
        progress: Some(report::progress(&attempt.progress)),
        errors_attempt,
        receipt: attempt.kept(Vec::new()),
        ..End::failed(report::failure(error))
    };
    end_without_rows(worker, run, failed).await
}

/// Whether this attempt holds the run, and it or one before it may have committed.
async fn is_committing(worker: &Worker, run: &Run) -> Result<bool> {
    let current = worker.services.store.find_run(&run.tenant_id, &run.pipeline_id, &run.id).await?;
    Ok(current.is_some_and(|now| now.committing && now.attempt == run.attempt && now.status == RunStatus::Running))
}

fn succeeded(rows: Rows, progress: Option<shared::models::run::Progress>) -> End {
    let status = if rows.failed > 0 { RunStatus::CompletedWithErrors } else { RunStatus::Completed };
    End { rows: Some(rows), progress, ..End::of(status) }
}

/// Ends a run that may have committed: what the target says decides between completed and failed.
async fn settle(worker: &Worker, run: &Run, error: &RunError) -> Result<Done> {
    let store = &worker.services.store;
    let current = store.run(&run.tenant_id, &run.pipeline_id, &run.id).await?;
    let version = store.pipeline_version(&run.tenant_id, &run.pipeline_id, run.pipeline_version).await?;
    let Some(version) = version else { return Ok(Done::Delete) };
    let tables = job::written(worker, &version).await.map_err(shared::Error::internal)?;
    let earlier = job::earlier(worker, run).await.map_err(shared::Error::internal)?;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    // Every table is asked: what is settled at one must not be left open at the next.
    for (_, schema) in &tables {
        let settled = targets::settle(&run.tenant_id, schema, &run.id, &earlier, &worker.settings).await;
        let into = if settled.map_err(shared::Error::internal)? { &mut there } else { &mut missing };
        into.push(schema.name.clone());
    }
    for (_, connector, config) in &job::databases(worker, &version).await.map_err(shared::Error::internal)? {
        let schema = job::table_schema(worker, &run.tenant_id, &version.schema_id).await;
        let schema = schema.map_err(shared::Error::internal)?;
        let settled = targets::database::settle(connector, config, &schema, &run.id, &earlier).await;
        let into = if settled.map_err(shared::Error::internal)? { &mut there } else { &mut missing };
        into.push(format!("{} in {}", config.table.as_ref().unwrap_or(&schema.name), connector.name));
    }
    tracing::warn!(run = run.id, ?there, ?missing, "the run was settled at its targets");
    let finish = match (missing.is_empty(), current.rows) {
        (true, rows) => succeeded(rows.unwrap_or_default(), None),
        (false, rows) => {
            let rows = rows.map(|r| Rows { rows_out: 0, ..r });
            End { rows, ..End::failed(report::failure(&partly(error, &there, &missing))) }
        }
    };
    let receipt = Some(receipt::kept(&version, receipt::written(worker, run, &version).await?));
    end(worker, run, End { receipt, ..finish }).await
}

/// The error of a run whose rows are in some of its tables.
fn partly<T: std::fmt::Debug>(error: &RunError, there: &[T], missing: &[T]) -> RunError {
    if there.is_empty() {
        return error.clone();
    }
    let names = |tables: &[T]| tables.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let message = format!(
        "{}; the rows of the run are in the table of {} and not in that of {}: a retry of this run brings them into the latter \
         alone",
        error.message,
        names(there),
        names(missing)
    );
    RunError { message, ..error.clone() }
}

async fn end(worker: &Worker, run: &Run, end: End) -> Result<Done> {
    has_ended(worker, run, &end).await?;
    Ok(Done::Delete)
}

/// Ends a run of which no attempt has come to its commit, and removes what they staged.
async fn end_without_rows(worker: &Worker, run: &Run, end: End) -> Result<Done> {
    Ok(if has_ended(worker, run, &end).await? { leftovers::remove(worker, run).await } else { Done::Delete })
}

/// Whether it was this worker that has ended the run.
async fn has_ended(worker: &Worker, run: &Run, end: &End) -> Result<bool> {
    let now: Time = worker.services.clock.now().into();
    let status = end.status.name();
    let ended = worker.services.store.end_run(run, Ender::Holder, end, now).await?;
    if ended {
        tracing::info!(run = run.id, status, "run ended");
    } else {
        tracing::warn!(run = run.id, status, "the run was ended by someone else before");
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_in_some_of_its_tables_says_in_which() {
        let error = RunError::new(Kind::TargetUnavailable, "the lake does not answer");
        assert_eq!(partly(&error, &[], &["a"]).message, error.message);
        let told = partly(&error, &["people"], &["orders", "names"]).message;
        assert!(told.contains("in the table of \"people\" and not in that of \"orders\", \"names\""), "{told}");
    }
}
