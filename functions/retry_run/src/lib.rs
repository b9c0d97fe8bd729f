//! `POST /api/v1/pipelines/{id}/runs/{runId}/retry`: a new run of the same pipeline version.

use http::{StatusCode, header};
use shared::context::Context;
use shared::error::both;
use shared::http::{Function, Once, Request, Response};
use shared::id::{self, Prefix};
use shared::models::run::{Run, RunStatus, Trigger};
use shared::roles::Action;
use shared::store::idempotency::Created;
use shared::store::runs::already_retried;
use shared::{Error, Result, launch};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::RetryRun, read, handle)
}

struct Input {
    pipeline: String,
    run: String,
    once: Once,
}

fn read(request: &Request) -> Result<Input> {
    let ((), once) = both(request.no_input(), Once::read(request))?;
    Ok(Input { pipeline: request.param("id").to_owned(), run: request.param("runId").to_owned(), once })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let (tenant, once) = (context.tenant(), input.once.record(&context)?);
    let pipeline = context.store.pipeline(tenant, &input.pipeline).await?;
    let old = context.store.run(tenant, &pipeline.id, &input.run).await?;
    if let Some(before) = context.store.made_before(once.as_ref()).await? {
        return answer(&context.store.run(tenant, &pipeline.id, &before.made).await?);
    }
    if let Some(newest) = context.store.newest_retry(&old).await? {
        return Err(already_retried(&old, &newest));
    }
    let retryable = matches!(old.status, RunStatus::Failed | RunStatus::Cancelled | RunStatus::CompletedWithErrors);
    // What was rolled back may be brought again.
    if !retryable && old.rolled_back.is_none() {
        return Err(Error::conflict(
            "RUN_NOT_RETRYABLE",
            format!(
                "the run is {}; only one that is failed, cancelled, completed_with_errors or rolled back can be retried",
                old.status.name()
            ),
        ));
    }
    let version = context.store.pipeline_version(tenant, &pipeline.id, old.pipeline_version).await?;
    let version = version.ok_or_else(|| Error::not_found("version", old.pipeline_version.to_string()))?;
    let now = context.now();
    let id = id::new(Prefix::Run, now);
    let mut run = launch::new_run(&version, id, Trigger::Retry, &context.caller.subject, now.into());
    run.retry_of = Some(old.id);
    run.parameters = old.parameters;
    run.table_name = old.table_name;
    let policy = pipeline.execution_config.0.concurrency_policy.unwrap_or_default();
    match launch::launch(&context, &run, policy, once.as_ref()).await? {
        Created::Now => answer(&run),
        Created::Before(before) => answer(&context.store.run(tenant, &pipeline.id, &before.made).await?),
    }
}

fn answer(run: &Run) -> Result<Response> {
    let location = format!("/api/v1/pipelines/{}/runs/{}", run.pipeline_id, run.id);
    Response::hashed(StatusCode::CREATED, &run.first_view())?.with(header::LOCATION, &location)
}
