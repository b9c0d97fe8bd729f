//! `POST /api/v1/pipelines/{id}/run`: a new run, pending, and a message to the workers.

use http::{StatusCode, header};
use serde_json::{Map, Value};
use shared::check;
use shared::context::Context;
use shared::error::both;
use shared::http::{Function, Once, Request, Response};
use shared::id::{self, Prefix};
use shared::models::run::{Run, Trigger};
use shared::models::time::JsonText;
use shared::roles::Action;
use shared::store::idempotency::Created;
use shared::{Result, launch};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::RunPipeline, read, handle)
}

struct Input {
    pipeline: String,
    parameters: Map<String, Value>,
    once: Once,
}

fn read(request: &Request) -> Result<Input> {
    let body = request.optional_json()?;
    let (parsed, faults) = check::run::create(&body);
    let (input, once) = both(check::finish(parsed, faults), Once::read(request))?;
    Ok(Input { pipeline: request.param("id").to_owned(), parameters: input.parameters.unwrap_or_default(), once })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let once = input.once.record(&context)?;
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    if let Some(before) = context.store.made_before(once.as_ref()).await? {
        return answer(&context.store.run(context.tenant(), &pipeline.id, &before.made).await?);
    }
    let now = context.now();
    let id = id::new(Prefix::Run, now);
    let mut run = launch::new_run(&pipeline, id, Trigger::Manual, &context.caller.subject, now.into());
    run.parameters = JsonText(input.parameters);
    let policy = pipeline.execution_config.0.concurrency_policy.unwrap_or_default();
    match launch::launch(&context, &run, policy, once.as_ref()).await? {
        Created::Now => answer(&run),
        Created::Before(before) => answer(&context.store.run(context.tenant(), &pipeline.id, &before.made).await?),
    }
}

fn answer(run: &Run) -> Result<Response> {
    let location = format!("/api/v1/pipelines/{}/runs/{}", run.pipeline_id, run.id);
    Response::hashed(StatusCode::CREATED, &run.first_view())?.with(header::LOCATION, &location)
}
