//! The start of a run: kept first, then sent; what is not sent the tick sends later.

use crate::context::{Context, Services};
use crate::error::{Error, Result};
use crate::models::pipeline::{ConcurrencyPolicy, Pipeline};
use crate::models::run::{Run, RunStatus, Trigger};
use crate::models::time::{JsonText, Time};
use crate::queue::{Message, Task};
use crate::store::idempotency::{Created, Idempotency};
use crate::store::runs::{End, Ender, RUN_ACTIVE};
use futures::{StreamExt, stream};
use serde_json::{Map, Value};
use std::time::Duration;

/// A pending run of a pipeline.
pub fn new_run(pipeline: &Pipeline, id: String, trigger: Trigger, by: &str, now: Time) -> Run {
    let execution = &pipeline.execution_config.0;
    Run {
        id,
        tenant_id: pipeline.tenant_id.clone(),
        pipeline_id: pipeline.id.clone(),
        pipeline_version: pipeline.version,
        status: RunStatus::Pending,
        trigger,
        triggered_by: by.to_owned(),
        attempt: 0,
        failures: 0,
        retry_of: None,
        retried_by: None,
        undoing_until: None,
        scheduled_for: None,
        created_at: now,
        started_at: None,
        finished_at: None,
        parameters: JsonText(Map::<String, Value>::new()),
        error: None,
        rows: None,
        committing: false,
        cancel_requested: false,
        lease_until: None,
        table_name: None,
        not_before: None,
        worker: None,
        attempts: Vec::new(),
        resends: 0,
        timeout_seconds: execution.timeout_seconds(),
        max_attempts: execution.max_attempts(),
        errors_attempt: None,
        progress: None,
        rolled_back: None,
    }
}

/// How often a run that replaces others is tried to be kept, where another one that does so was faster.
const TRIES: u32 = 8;

/// Keeps a run that a caller asked for and sends it, as the pipeline's concurrency policy allows.
///
/// # Errors
/// 409 where another run is live and the policy forbids two, 404 where the pipeline went away.
pub async fn launch(
    context: &Context,
    run: &Run,
    policy: ConcurrencyPolicy,
    once: Option<&Idempotency>,
) -> Result<Created> {
    for _ in 1..TRIES {
        match launch_now(context, run, policy, once).await {
            // Whoever comes last replaces the others.
            Err(Error::Conflict { code: RUN_ACTIVE, .. }) if policy == ConcurrencyPolicy::Replace => {}
            done => return done,
        }
    }
    launch_now(context, run, policy, once).await
}

async fn launch_now(
    context: &Context,
    run: &Run,
    policy: ConcurrencyPolicy,
    once: Option<&Idempotency>,
) -> Result<Created> {
    let alone = match policy {
        ConcurrencyPolicy::Allow => None,
        ConcurrencyPolicy::Forbid | ConcurrencyPolicy::Replace => {
            let state = context.store.pipeline_state(&run.tenant_id, &run.pipeline_id).await?;
            let live = context.store.live_runs(&run.tenant_id, &run.pipeline_id).await?;
            // One of them may be what the same request made a moment ago: it is the answer, and nothing in the way.
            if let Some(before) = context.store.made_before(once).await? {
                return Ok(Created::Before(before));
            }
            if policy == ConcurrencyPolicy::Replace {
                stop_all(context, &run.tenant_id, &run.pipeline_id, &live).await?;
            } else if let Some(other) = live.first() {
                return Err(Error::conflict(
                    RUN_ACTIVE,
                    format!("{other} is not finished, and the pipeline's concurrencyPolicy forbids two runs at once"),
                ));
            }
            Some(state.turn)
        }
    };
    let created = context.store.create_run(run, once, alone).await?;
    if matches!(created, Created::Now) {
        send(context, run).await;
    }
    Ok(created)
}

/// Sends a run to the workers. Where that fails the run is not lost: the tick sends runs again that nobody took.
pub async fn send(services: &Services, run: &Run) {
    if let Err(error) = services.queue.send(&message(run), Duration::ZERO).await {
        tracing::warn!(run = run.id, %error, "the run could not be sent; the next ticks will try again");
    }
}

/// What tells a worker to execute a run.
pub fn message(run: &Run) -> Message {
    Message {
        task: Task::Run,
        tenant_id: run.tenant_id.clone(),
        pipeline_id: run.pipeline_id.clone(),
        run_id: run.id.clone(),
    }
}

/// How the attempt to stop a run ended.
#[derive(Debug)]
pub enum Stopped {
    /// It was pending and is cancelled.
    Cancelled,
    /// Its worker will learn of it within a heartbeat; where there is none any more, the tick ends it.
    Asked,
    /// It is committing or final.
    TooLate(Box<Run>),
}

/// Cancels a run: at once while it is pending, through its worker while it runs.
///
/// # Errors
/// 404 where it is not there.
pub async fn stop(services: &Services, tenant: &str, pipeline: &str, id: &str) -> Result<Stopped> {
    // A run that moves on between the look and the write is looked at again; it can only move on a few times.
    for _ in 0..5 {
        let run = services.store.run(tenant, pipeline, id).await?;
        let now = services.clock.now().into();
        match run.status {
            RunStatus::Pending if !run.committing => {
                if services.store.end_run(&run, Ender::WhilePending, &End::cancelled(), now).await? {
                    return Ok(Stopped::Cancelled);
                }
            }
            RunStatus::Running if !run.committing => {
                if services.store.request_cancel(&run, now).await? {
                    return Ok(Stopped::Asked);
                }
            }
            _ => return Ok(Stopped::TooLate(Box::new(run))),
        }
    }
    Err(Error::conflict("BUSY", "the run changes too fast to be cancelled; try again"))
}

/// What became of runs that were to be stopped; those that were final are in neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoppedAll {
    /// They are cancelled, or will be within a heartbeat.
    pub cancelled: Vec<String>,
    /// They were committing, and end by themselves.
    pub committing: Vec<String>,
}

/// Runs that are stopped at once: a worker that is away for a night leaves hundreds to a schedule of each minute.
const AT_ONCE: usize = 16;

/// Cancels all of these runs; those that are committing or final stay as they are.
///
/// # Errors
/// Where the store does not answer.
pub async fn stop_all(services: &Services, tenant: &str, pipeline: &str, runs: &[String]) -> Result<StoppedAll> {
    let mut all = StoppedAll::default();
    let stopping = runs.iter().cloned().map(|id| async move {
        let stopped = stop(services, tenant, pipeline, &id).await;
        (id, stopped)
    });
    let mut stopping = stream::iter(stopping).buffered(AT_ONCE);
    while let Some((id, stopped)) = stopping.next().await {
        match stopped {
            Ok(Stopped::Cancelled | Stopped::Asked) => all.cancelled.push(id),
            Ok(Stopped::TooLate(run)) if !run.status.is_final() => all.committing.push(id),
            Ok(Stopped::TooLate(_)) | Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}
