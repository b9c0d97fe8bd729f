//! `POST /api/v1/pipelines`: a new pipeline, in its first version.

use http::{StatusCode, header};
use shared::check::pipeline::PipelineInput;
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Once, Request, Response};
use shared::id::{self, Prefix};
use shared::models::pipeline::{Pipeline, Used};
use shared::models::time::{JsonText, Time};
use shared::roles::Action;
use shared::store::idempotency::{Created, Record};
use shared::{Result, pipelines};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::CreatePipeline, read, handle)
}

struct Input {
    body: Body,
    once: Once,
}

fn read(request: &Request) -> Result<Input> {
    let (once, body) = Once::with_body(request)?;
    Ok(Input { body, once })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let once = input.once.record(&context)?;
    if let Some(before) = context.store.made_before(once.as_ref()).await? {
        return answer_before(&context, &input.body, before);
    }
    let pipeline = checked(&context, &input.body).await?;
    let used = context.store.shown(&pipeline).await?;
    let once = once.map(|once| once.showing(&used));
    match context.store.create_pipeline(&pipeline, once.as_ref()).await {
        Ok(Created::Now) => answer(pipeline, used),
        Ok(Created::Before(before)) => answer_before(&context, &input.body, before),
        Err(error) => Err(pipelines::refused(&context, &input.body, None, error).await),
    }
}

async fn checked(context: &Context, body: &Body) -> Result<Pipeline> {
    let (parsed, mut faults) = check::pipeline::create(body);
    let (tables, named) = pipelines::check(context, body, None).await?;
    faults.extend(named);
    let new = check::finish(parsed, faults)?;
    let now: Time = context.now().into();
    let pipeline = made(context, new, id::new(Prefix::Pipeline, now.0), now);
    Ok(Pipeline { tables: JsonText(tables), ..pipeline })
}

/// The pipeline that a body makes, without the ids of the tables that it writes.
fn made(context: &Context, new: PipelineInput, id: String, now: Time) -> Pipeline {
    let (nodes, edges) =
        pipelines::stored_graph(new.nodes.unwrap_or_default(), new.edges.unwrap_or_default(), &[], (&id, 1), now);
    Pipeline {
        id,
        tenant_id: context.tenant().to_owned(),
        name: new.name.trim().to_owned(),
        description: new.description,
        version: 1,
        schedule: new.schedule,
        timezone: new.timezone.unwrap_or_else(|| "UTC".to_owned()),
        enabled: new.enabled.unwrap_or(true),
        connector_id: new.connector_id,
        schema_id: new.schema_id,
        tables: JsonText::default(),
        execution_config: JsonText(new.execution_config.unwrap_or_default()),
        nodes: JsonText(nodes),
        edges: JsonText(edges),
        created_at: now,
        updated_at: now,
    }
}

/// The first answer again, whatever became of the pipeline since: the body is the same.
fn answer_before(context: &Context, body: &Body, before: Record) -> Result<Response> {
    let (parsed, faults) = check::pipeline::create(body);
    let first = made(context, check::finish(parsed, faults)?, before.made, before.made_at);
    answer(first, before.shown.map(|shown| shown.0).unwrap_or_default())
}

fn answer(pipeline: Pipeline, used: Used) -> Result<Response> {
    let (etag, location) = (pipeline.etag(), format!("/api/v1/pipelines/{}", pipeline.id));
    Response::resource(StatusCode::CREATED, &etag, &pipeline.first_view(used))?.with(header::LOCATION, &location)
}
