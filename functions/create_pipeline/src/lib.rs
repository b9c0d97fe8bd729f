//! `POST /api/v1/pipelines`: a new pipeline, in its first version.

use http::{StatusCode, header};
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Once, Request, Response};
use shared::id::{self, Prefix};
use shared::models::pipeline::Pipeline;
use shared::models::time::{JsonText, Time};
use shared::roles::Action;
use shared::store::idempotency::Created;
use shared::{Error, Result, pipelines};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::CreatePipeline, read, handle)
}

struct Input {
    body: Body,
    once: Once,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { body: request.json()?, once: Once::read(request)? })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let once = input.once.record(&context)?;
    if let Some(before) = context.store.made_before(once.as_ref()).await? {
        return answer_before(&context, &before.made).await;
    }
    let pipeline = checked(&context, &input.body).await?;
    match context.store.create_pipeline(&pipeline, once.as_ref()).await? {
        Created::Now => answer(&context, pipeline).await,
        Created::Before(before) => answer_before(&context, &before.made).await,
    }
}

async fn checked(context: &Context, body: &Body) -> Result<Pipeline> {
    let (parsed, mut faults) = check::pipeline::create(body);
    faults.extend(pipelines::missing_references(context, body).await?);
    if let Some(new) = &parsed {
        let nodes = new.nodes.iter().flatten().map(|n| (n.node_type, &n.config));
        faults.extend(pipelines::schema_faults(context, &new.schema_id, nodes).await?);
        let nodes = new.nodes.iter().flatten().map(|n| (n.node_type, &n.config));
        faults.extend(pipelines::connector_faults(context, &new.connector_id, nodes).await?);
    }
    let new = check::finish(parsed, faults)?;
    let now: Time = context.now().into();
    let tables = pipelines::table_ids(context, new.nodes.iter().flatten().map(|n| (n.node_type, &n.config))).await?;
    let (nodes, edges) =
        pipelines::stored_graph(new.nodes.unwrap_or_default(), new.edges.unwrap_or_default(), &[], now);
    Ok(Pipeline {
        id: id::new(Prefix::Pipeline, now.0),
        tenant_id: context.tenant().to_owned(),
        name: new.name.trim().to_owned(),
        description: new.description,
        version: 1,
        schedule: new.schedule,
        timezone: new.timezone.unwrap_or_else(|| "UTC".to_owned()),
        enabled: new.enabled.unwrap_or(true),
        connector_id: new.connector_id,
        schema_id: new.schema_id,
        tables: JsonText(tables),
        execution_config: JsonText(new.execution_config.unwrap_or_default()),
        nodes: JsonText(nodes),
        edges: JsonText(edges),
        created_at: now,
        updated_at: now,
    })
}

async fn answer_before(context: &Context, id: &str) -> Result<Response> {
    let first = context.store.pipeline_version(context.tenant(), id, 1).await?;
    answer(context, first.ok_or_else(|| Error::not_found("pipeline", id))?).await
}

async fn answer(context: &Context, pipeline: Pipeline) -> Result<Response> {
    let (etag, location) = (pipeline.etag(), format!("/api/v1/pipelines/{}", pipeline.id));
    let next = pipeline.next_fire(pipeline.created_at);
    let mut view = context.store.pipeline_view(pipeline).await?;
    // Nothing has happened to it yet, also where this answer is given again later.
    (view.next_run_at, view.last_run_at, view.last_run_status) = (next, None, None);
    Response::resource(StatusCode::CREATED, &etag, &view)?.with(header::LOCATION, &location)
}
