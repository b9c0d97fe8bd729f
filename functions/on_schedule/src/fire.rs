//! One due pipeline: what becomes of its due times is decided, noted and done, each exactly once.

use crate::outbox::Outbox;
use shared::context::Services;
use shared::fires::{self, Decision};
use shared::models::fire::{Fire, FireStatus};
use shared::models::pipeline::{ConcurrencyPolicy, Pipeline, PipelineState};
use shared::models::run::{Run, Trigger};
use shared::models::time::Time;
use shared::store::fires::{Fired, Step};
use shared::{Error, Result, launch};

/// How often it is decided anew where something came in between.
const TRIES: u32 = 5;
/// The most runs of one transaction, which holds 100 writes: three a run (its entry, itself, the mark that it is live), the
/// entries of what was missed and skipped, and the next fire.
const RUNS_AT_ONCE: usize = 30;

/// Turns the due times of a pipeline up to `now` into runs and entries of its ledger, and moves its next fire.
pub async fn fire(services: &Services, outbox: &Outbox, tenant: &str, id: &str, now: Time) -> Result<()> {
    for _ in 0..TRIES {
        // The state comes first: whatever changes after it changes the state too, and then nothing is written.
        let state = services.store.pipeline_state(tenant, id).await?;
        if fire_from(services, outbox, (tenant, id), &state, now).await? {
            return Ok(());
        }
    }
    Err(Error::conflict("BUSY", "it is changed by others all the time"))
}

/// The same from a state that was read before; false where something came in between, and then nothing is changed.
///
/// # Errors
/// Where the table does not answer.
pub async fn fire_from(
    services: &Services,
    outbox: &Outbox,
    (tenant, id): (&str, &str),
    state: &PipelineState,
    now: Time,
) -> Result<bool> {
    let Some(first) = state.next_run_at.filter(|at| *at <= now) else { return Ok(true) };
    let pipeline = match services.store.pipeline(tenant, id).await {
        Ok(pipeline) => pipeline,
        Err(Error::NotFound { .. }) => return forget(services, tenant, id, state).await,
        Err(error) => return Err(error),
    };
    let timetable = match fires::timetable(&pipeline) {
        Ok(timetable) => timetable,
        Err((reason, why)) => {
            tracing::error!(pipeline = id, why, "a due time cannot be fired, and none will come after it");
            return put(services, outbox, &pipeline, state, &fires::give_up(first, reason, why, now), now).await;
        }
    };
    let policy = pipeline.execution_config.0.concurrency_policy.unwrap_or_default();
    let live = match policy {
        ConcurrencyPolicy::Allow => Vec::new(),
        _ => services.store.live_runs(tenant, id).await?,
    };
    let mut decision = fires::decide(&pipeline, &timetable, state, now, &live);
    if policy == ConcurrencyPolicy::Replace && decision.starts() && !live.is_empty() {
        // A tick that is late must not stop what another one has started for the same due time, nor what a changed
        // pipeline lets run.
        let again = services.store.pipeline_state(tenant, id).await?;
        let stands = |state: &PipelineState| (state.next_run_at, state.turn, state.pipeline_version);
        if stands(&again) != stands(state) {
            return Ok(false);
        }
        decision.tell_stopped(&launch::stop_all(services, tenant, id, &live).await?);
    }
    put(services, outbox, &pipeline, state, &decision, now).await
}

/// What is due although its pipeline is gone is due no more.
async fn forget(services: &Services, tenant: &str, id: &str, state: &PipelineState) -> Result<bool> {
    tracing::warn!(pipeline = id, "it is due, but its definition is gone: it is due no more");
    let step = Step { next: None, entries: &[], runs: &[], alone: false };
    Ok(services.store.fire(tenant, id, state, step).await? == Fired::Now)
}

/// Writes what was decided, the oldest first. The next fire moves step by step, so that what is cut off in between is due
/// again.
async fn put(
    services: &Services,
    outbox: &Outbox,
    pipeline: &Pipeline,
    state: &PipelineState,
    decision: &Decision,
    now: Time,
) -> Result<bool> {
    let policy = pipeline.execution_config.0.concurrency_policy.unwrap_or_default();
    let alone = policy != ConcurrencyPolicy::Allow && decision.starts();
    let mut state = state.clone();
    let mut left = decision.entries.as_slice();
    // Without an entry the next fire moves all the same.
    loop {
        let (entries, later) = left.split_at(left.len().min(RUNS_AT_ONCE));
        let next = later.first().map_or(decision.next, |later| Some(later.at));
        let runs: Vec<Run> = entries.iter().filter_map(|entry| run(pipeline, entry, now)).collect();
        let step = Step { next, entries, runs: &runs, alone };
        if services.store.fire(&pipeline.tenant_id, &pipeline.id, &state, step).await? == Fired::Before {
            return Ok(false);
        }
        state.next_run_at = next;
        report(&pipeline.id, entries);
        for run in &runs {
            outbox.put(launch::message(run));
        }
        left = later;
        if left.is_empty() {
            return Ok(true);
        }
    }
}

/// The run that an entry starts.
fn run(pipeline: &Pipeline, entry: &Fire, now: Time) -> Option<Run> {
    let id = entry.run_id.clone()?;
    let mut run = launch::new_run(pipeline, id, Trigger::Schedule, "schedule", now);
    run.scheduled_for = Some(entry.at);
    Some(run)
}

/// Due times without a run are told in the log too.
fn report(pipeline: &str, entries: &[Fire]) {
    for entry in entries.iter().filter(|e| matches!(e.status, FireStatus::Skipped | FireStatus::Missed)) {
        let why = entry.detail.as_deref().unwrap_or_default();
        tracing::info!(pipeline, at = entry.at.text(), count = entry.count, why, "due times without a run");
    }
}
