//! The life of a run, from the claim to its end.

use crate::backoff::delay;
use crate::engine::job::{Hooks, Settings};
use crate::engine::progress::Progress;
use crate::error::{Kind, RunError};
use crate::gate::Gate;
use crate::heartbeat::{self, Reason, Stop};
use crate::settle::{self, settle};
use crate::stretch::{Pace, Stretch};
use crate::targets::unless;
use crate::{claim, counts, engine, job, leftovers, report};
use shared::Result;
use shared::context::Services;
use shared::models::pipeline::Retry;
use shared::models::receipt::Target;
use shared::models::run::{MOST_LOST, Rows, Run, RunFailure, RunStatus};
use shared::models::time::{JsonText, Time};
use shared::protection::Protection;
use shared::queue::Task;
use shared::secrets::Opener;
use shared::store::receipts::Kept;
use shared::store::runs::{End, Ender};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
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
    /// What it keeps to where that is used.
    pub pace: Pace,
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
        let keeper = self.protection.clone().keep(self.pace.again);
        let mut stretch = self.protection.is_used().then(|| Stretch::new(self.pace));
        while !self.shutdown.is_cancelled() {
            while tasks.try_join_next().is_some() {}
            if tasks.is_empty() {
                keeper.release();
            }
            let rest = stretch.as_mut().and_then(|stretch| stretch.rest(tasks.len(), Instant::now()));
            let full = (tasks.len() >= concurrent.max(1)).then_some(Duration::MAX);
            if let Some(longest) = rest.or(full) {
                self.wait(&mut tasks, longest).await;
                continue;
            }
            let lease = self.services.store.lease();
            let received = tokio::select! {
                received = self.services.queue.receive(1, Duration::from_secs(20), lease) => received,
                () = self.shutdown.cancelled() => break,
            };
            match received {
                Ok(deliveries) => {
                    for delivery in deliveries {
                        keeper.hold();
                        let taken = stretch.as_mut().map(|stretch| stretch.take(Instant::now()));
                        let worker = Arc::clone(&self);
                        tasks.spawn(async move {
                            worker.handle(delivery).await;
                            drop(taken);
                        });
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

    /// Waits until a task ends, this worker shuts down, or so long.
    async fn wait(&self, tasks: &mut JoinSet<()>, longest: Duration) {
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            () = tokio::time::sleep(longest) => {}
            () = self.shutdown.cancelled() => {}
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
    /// What goes on until all is written down: the run is held, and asked for by nobody else.
    beside: JoinSet<()>,
}

impl Attempt {
    /// What the run's receipt is made of, with what its tables took.
    fn kept(&self, targets: Vec<Target>) -> Option<Kept> {
        Some(Kept { definition_hash: self.definition.clone()?, targets: JsonText(targets) })
    }
}

/// Lives a claimed run to its end, or to the end of this attempt.
pub(crate) async fn live(worker: &Worker, run: Run, task: Task, receipt: &str) -> Result<Done> {
    if run.cancel_requested && !run.committing {
        return end_without_rows(worker, &run, End::cancelled()).await;
    }
    if let Some(why) = given_up(&run, task, worker.services.clock.now().into()) {
        if run.committing {
            let reported = last_reported(&run);
            let mut beside = beside(worker, &run, receipt, move || reported.clone(), &Stop::default());
            let done = settle(worker, &run, &why).await;
            beside.shutdown().await;
            return done;
        }
        return end_without_rows(worker, &run, End::failed(why)).await;
    }
    let mut attempt = attempt(worker, &run, receipt).await;
    let done = conclude(worker, &run, &mut attempt).await;
    attempt.beside.shutdown().await;
    let _ = tokio::fs::remove_file(&attempt.spool).await;
    done
}

/// Why a run is ended that this worker has just taken, without another attempt.
fn given_up(run: &Run, task: Task, now: Time) -> Option<RunFailure> {
    // It could not be settled so far, and is not executed once more for that.
    if let Some(error) = run.error.as_ref().filter(|_| run.committing && run.failures >= run.max_attempts) {
        return Some(error.0.clone());
    }
    if run.is_late(now) {
        return Some(run.timed_out());
    }
    // The attempt that holds it now is counted too.
    (task == Task::Settle || run.lost_attempts() > MOST_LOST).then(|| run.given_too_often())
}

/// What the attempts before have reported last.
fn last_reported(run: &Run) -> shared::models::run::Progress {
    run.progress.clone().map(|progress| progress.0).unwrap_or_default()
}

async fn attempt(worker: &Worker, run: &Run, receipt: &str) -> Attempt {
    let spool = worker.settings.scratch.join(format!("{}-{}.rejected", run.id, run.attempt));
    let stop = Stop::default();
    let begun: Arc<OnceLock<Arc<Progress>>> = Arc::default();
    let (reported, before) = (Arc::clone(&begun), last_reported(run));
    let reported = move || reported.get().map_or_else(|| before.clone(), |progress| report::progress(progress));
    // What a run needs may be long in coming, and it is held meanwhile.
    let beside = beside(worker, run, receipt, reported, &stop);
    let job = unless(&stop.token, job::resolve(worker, run)).await;
    let definition = job.as_ref().ok().map(|j| j.definition_hash.clone());
    let execution = job.as_ref().map(|j| j.execution.clone()).unwrap_or_default();
    let progress = Progress::new(execution.errors(), spool.clone(), worker.services.clock.clone());
    let _ = begun.set(Arc::clone(&progress));
    let retry = execution.retry.unwrap_or_default();
    let committing = Arc::new(AtomicBool::new(false));
    let result = match job {
        Err(error) => Err(error),
        Ok(job) => {
            progress.log("starting", format!("attempt {} on worker {}", run.attempt, worker.name));
            let gate = Gate {
                services: Arc::clone(&worker.services),
                run: Run { table_name: Some(job.table_name.clone()), ..run.clone() },
                progress: Arc::clone(&progress),
                entered: Arc::clone(&committing),
            };
            let hooks = Hooks { progress: Arc::clone(&progress), stop: stop.token.clone(), gate: Arc::new(gate) };
            execute(worker, run, job, hooks).await
        }
    };
    Attempt { result, progress, stop, spool, retry, definition, committing, beside }
}

/// The heartbeat, which tells what is `reported`, and an ear for the end of this worker.
fn beside(
    worker: &Worker,
    run: &Run,
    receipt: &str,
    reported: impl Fn() -> shared::models::run::Progress + Send + Sync + 'static,
    stop: &Stop,
) -> JoinSet<()> {
    let mut beside = JoinSet::new();
    let services = Arc::clone(&worker.services);
    beside.spawn(heartbeat::beat(services, run.clone(), receipt.to_owned(), reported, stop.clone()));
    let (out_of_grace, stopping) = (worker.out_of_grace.clone(), stop.clone());
    beside.spawn(async move {
        out_of_grace.cancelled().await;
        stopping.now(Reason::Shutdown);
        std::future::pending::<()>().await;
    });
    beside
}

/// Executes; a panic of the engine is an error of the run.
async fn execute(
    worker: &Worker,
    run: &Run,
    job: engine::job::Job,
    hooks: Hooks,
) -> Result<engine::job::Outcome, RunError> {
    let settings = worker.settings.clone();
    let engine = tokio::spawn(async move { engine::execute(job, &settings, hooks).await });
    match engine.await {
        Ok(result) => result,
        Err(panicked) => {
            tracing::error!(run = run.id, error = %panicked, "the engine panicked");
            Err(RunError::new(Kind::Internal, "the engine ended unexpectedly; the worker's log says where"))
        }
    }
}

/// Writes down what an attempt came to.
async fn conclude(worker: &Worker, run: &Run, attempt: &mut Attempt) -> Result<Done> {
    let error = match &attempt.result {
        Ok(outcome) => {
            let entered = attempt.committing.load(Relaxed);
            let counted = match run.committing {
                // An attempt before this one may have committed.
                true => counts::of_writers(&worker.services.store, run, &outcome.targets).await?,
                false => None,
            };
            let rows = settle::with_attempts_before(outcome, entered, counted);
            let errors_attempt = counted.and_then(|counted| counted.errors_attempt);
            let receipt = attempt.kept(outcome.targets.clone());
            // Where an attempt before this one has committed all, it is its progress that tells of the run.
            let progress = (entered || !run.committing).then(|| report::progress(&attempt.progress));
            return end(worker, run, End { errors_attempt, receipt, ..succeeded(rows, progress) }).await;
        }
        Err(error) => error.clone(),
    };
    let stopped = attempt.stop.reason();
    let held = held(worker, run).await?.filter(|_| stopped != Some(Reason::Lost));
    let Some(held) = held else {
        tracing::warn!(run = run.id, attempt = run.attempt, "the run is not this worker's any more");
        remove_late(worker, run).await;
        return Ok(Done::Leave);
    };
    match (stopped, error.kind) {
        (_, Kind::Superseded) if held.committing => {
            // A target says so, not the store: whoever settled the run there came no further.
            let why = "the run was given up by an attempt before this one and settled as not committed";
            settle(worker, run, &report::failure(&RunError::new(Kind::Internal, why))).await
        }
        (Some(Reason::Shutdown), Kind::Cancelled) => {
            // A heartbeat would take the run back.
            attempt.beside.shutdown().await;
            worker.services.store.let_go(run, worker.services.clock.now().into()).await?;
            tracing::info!(run = run.id, attempt = run.attempt, "the run is given back, for another worker to take");
            Ok(Done::Hide(Duration::from_secs(1)))
        }
        (Some(Reason::Timeout), Kind::Cancelled) => {
            let late = RunError::new(Kind::Timeout, run.timed_out().message);
            fail(worker, run, attempt, &late).await
        }
        // It is stopped by the heartbeat that learns of it, or by the gate, which may come first.
        (_, Kind::Cancelled | Kind::Superseded) if held.cancel_requested && !held.committing => {
            cancelled(worker, run, attempt).await
        }
        (_, Kind::Superseded) => Ok(Done::Leave),
        _ if error.kind.is_retryable() && run.failures + 1 < run.max_attempts => {
            try_again(worker, run, attempt, &error).await
        }
        _ => fail(worker, run, attempt, &error).await,
    }
}

/// The run as it is, if it is this attempt that holds it.
async fn held(worker: &Worker, run: &Run) -> Result<Option<Run>> {
    let current = worker.services.store.find_run(&run.tenant_id, &run.pipeline_id, &run.id).await?;
    Ok(current.filter(|now| now.attempt == run.attempt && now.status == RunStatus::Running))
}

async fn cancelled(worker: &Worker, run: &Run, attempt: &Attempt) -> Result<Done> {
    keep_reading(worker, run, attempt).await;
    let (progress, receipt) = (Some(report::progress(&attempt.progress)), attempt.kept(Vec::new()));
    end_without_rows(worker, run, End { progress, receipt, ..End::cancelled() }).await
}

/// Gives the run back, for another attempt after a while.
async fn try_again(worker: &Worker, run: &Run, attempt: &Attempt, error: &RunError) -> Result<Done> {
    let delay = delay(&attempt.retry, run.failures);
    tracing::warn!(run = run.id, %error, delay = delay.as_secs(), "the run failed and will be tried again");
    let now = worker.services.clock.now().into();
    if worker.services.store.give_back(run, &report::failure(error), delay, now).await? {
        return Ok(Done::Hide(delay));
    }
    match held(worker, run).await? {
        None => {
            remove_late(worker, run).await;
            Ok(Done::Leave)
        }
        Some(held) if held.cancel_requested && !held.committing => cancelled(worker, run, attempt).await,
        Some(_) => fail(worker, run, attempt, error).await,
    }
}

async fn fail(worker: &Worker, run: &Run, attempt: &Attempt, error: &RunError) -> Result<Done> {
    tracing::warn!(run = run.id, %error, "run failed");
    if held(worker, run).await?.is_some_and(|held| held.committing) {
        return settle(worker, run, &report::failure(error)).await;
    }
    let errors_attempt = keep_errors(worker, run, attempt).await;
    keep_reading(worker, run, attempt).await;
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

/// Keeps the rejected rows of an attempt that failed. It has failed whether they can be kept or not, and executing it once
/// more would not help.
async fn keep_errors(worker: &Worker, run: &Run, attempt: &Attempt) -> Option<u32> {
    let kept = match attempt.progress.finish_errors() {
        Ok(spool) => {
            report::keep_errors(&worker.services.store, run, spool.as_deref()).await.map_err(|e| e.to_string())
        }
        Err(error) => Err(error.message),
    };
    kept.unwrap_or_else(|error| {
        tracing::warn!(run = run.id, error, "the rejected rows of the run could not be kept");
        None
    })
}

/// Keeps what an attempt without rows has read; that it cannot be kept is no reason to execute it once more.
async fn keep_reading(worker: &Worker, run: &Run, attempt: &Attempt) {
    let reading = report::reading(&attempt.progress, run.attempt);
    if let Err(error) = worker.services.store.keep_reading(run, &reading).await {
        tracing::warn!(run = run.id, %error, "what the run has read could not be kept for its receipt");
    }
}

pub(crate) fn succeeded(rows: Rows, progress: Option<shared::models::run::Progress>) -> End {
    let status = if rows.failed > 0 { RunStatus::CompletedWithErrors } else { RunStatus::Completed };
    End { rows: Some(rows), progress, ..End::of(status) }
}

pub(crate) async fn end(worker: &Worker, run: &Run, end: End) -> Result<Done> {
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
        remove_late(worker, run).await;
    }
    Ok(ended)
}

/// Removes what this attempt has kept of a run that was removed with its pipeline before: nobody else finds it there.
async fn remove_late(worker: &Worker, run: &Run) {
    if let Err(error) = worker.services.store.remove_late(run).await {
        tracing::warn!(run = run.id, %error, "what was kept of a run whose pipeline was deleted may be left behind");
    }
}
