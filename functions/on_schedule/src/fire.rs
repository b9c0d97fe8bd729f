//! One due pipeline: its fires become runs, each exactly once.

use shared::context::Services;
use shared::models::pipeline::{CatchUp, ConcurrencyPolicy, Pipeline, PipelineState};
use shared::models::run::{Run, Trigger};
use shared::models::time::Time;
use shared::schedule::{Schedule, parse_timezone};
use shared::store::tick::Fired;
use shared::{Error, Result, id, launch};

/// A fire that is not older than this many seconds when the tick comes was not missed.
const ON_TIME_SECONDS: i64 = 90;
/// The most missed fires that are made up for.
const MOST: usize = 100;

/// Turns the fires of a pipeline that are due by `now` into runs, and moves its next fire.
pub async fn fire(services: &Services, tenant: &str, id: &str, now: Time) -> Result<()> {
    let pipeline = match services.store.pipeline(tenant, id).await {
        Ok(pipeline) => pipeline,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let state = services.store.pipeline_state(tenant, id).await?;
    let Some(first) = state.next_run_at.filter(|at| *at <= now) else { return Ok(()) };
    let next = pipeline.next_fire(now);
    let mut due = due_fires(&pipeline, first, now);
    let policy = pipeline.execution_config.0.concurrency_policy.unwrap_or_default();
    if !due.is_empty() && policy != ConcurrencyPolicy::Allow {
        let live = services.store.live_runs(tenant, id).await?;
        match policy {
            ConcurrencyPolicy::Forbid if !live.is_empty() => {
                tracing::info!(pipeline = id, live = live.join(","), "a fire is skipped: a run is not finished yet");
                due.clear();
            }
            ConcurrencyPolicy::Replace => launch::stop_all(services, tenant, id, &live).await?,
            _ => {}
        }
        // Of several fires that are made up for, only one can be alone.
        due = due.split_off(due.len().saturating_sub(1));
    }
    put(services, &pipeline, &state, next, &due, now).await
}

async fn put(
    services: &Services,
    pipeline: &Pipeline,
    state: &PipelineState,
    next: Option<Time>,
    due: &[Time],
    now: Time,
) -> Result<()> {
    let runs: Vec<Run> = due.iter().map(|at| run(pipeline, *at, now)).collect();
    // A transaction holds 100 writes: two a run and one for the next fire. Older fires go first, and the next fire
    // moves step by step, so that whatever is cut off in between is due again.
    let mut state = state.clone();
    let chunks: Vec<&[Run]> = if runs.is_empty() { vec![&[]] } else { runs.chunks(40).collect() };
    for (i, chunk) in chunks.iter().enumerate() {
        let step = match chunks.get(i + 1).and_then(|c| c.first()) {
            Some(run) => run.scheduled_for,
            None => next,
        };
        match services.store.fire(&pipeline.tenant_id, &pipeline.id, &state, step, chunk).await? {
            Fired::Before => return Ok(()),
            Fired::Now => state.next_run_at = step,
        }
        for run in *chunk {
            launch::send(services, run).await;
        }
    }
    Ok(())
}

fn run(pipeline: &Pipeline, at: Time, now: Time) -> Run {
    let id = id::scheduled_run(&pipeline.tenant_id, &pipeline.id, at.0);
    let mut run = launch::new_run(pipeline, id, Trigger::Schedule, "schedule", now);
    run.scheduled_for = Some(at);
    run
}

/// The fires from `first` to `now` that become runs, the oldest first.
fn due_fires(pipeline: &Pipeline, first: Time, now: Time) -> Vec<Time> {
    let mut all = vec![first];
    let zone = parse_timezone(&pipeline.timezone).ok();
    let schedule = pipeline.schedule.as_deref().and_then(|s| Schedule::parse(s).ok());
    if let (Some(schedule), Some(zone)) = (schedule, zone) {
        for at in schedule.fires(first.0, zone).map(Time).take_while(|at| *at <= now) {
            all.push(at);
            if all.len() > MOST {
                all.remove(0);
            }
        }
    }
    let on_time = |at: &Time| now.since(*at) <= ON_TIME_SECONDS * 1000;
    match pipeline.execution_config.0.catch_up.unwrap_or_default() {
        CatchUp::All => all,
        CatchUp::Latest => all.split_off(all.len() - 1),
        CatchUp::None => all.into_iter().filter(on_time).collect(),
    }
}
