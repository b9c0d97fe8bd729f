//! `PUT /api/v1/pipelines` and `PUT /api/v1/pipelines/{id}`: a new immutable version of a pipeline.

use http::StatusCode;
use shared::check::pipeline::PipelinePatch;
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Request, Response, check_if_match, target_id};
use shared::models::pipeline::Pipeline;
use shared::models::time::JsonText;
use shared::roles::Action;
use shared::{Fault, Result, pipelines};

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::UpdatePipeline, read, handle)
}

struct Input {
    id: Result<String>,
    body: Body,
    if_match: Option<String>,
}

fn read(request: &Request) -> Result<Input> {
    let body = request.json()?;
    Ok(Input { id: target_id(request, Some(&body)), if_match: request.if_match(), body })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let (patch, mut faults) = check::pipeline::update(&input.body);
    let id = input.id.unwrap_or_else(|error| {
        if let shared::Error::Invalid(missing) = error {
            faults.extend(missing);
        }
        String::new()
    });
    faults.extend(pipelines::missing_references(&context, &input.body).await?);
    let old = if id.is_empty() { None } else { Some(context.store.pipeline(context.tenant(), &id).await) };
    if let (Some(Ok(old)), Some(patch)) = (&old, &patch) {
        faults.extend(schema_faults(&context, old, patch).await?);
        faults.extend(connector_faults(&context, old, patch).await?);
    }
    let patch = check::finish(patch, faults)?;
    let old = old.unwrap_or_else(|| Err(shared::Error::not_found("pipeline", &id)))?;
    check_if_match(input.if_match.as_deref(), &old.etag())?;
    let tables = match &patch.graph {
        Some(graph) => pipelines::table_ids(&context, graph.nodes.iter().map(|n| (n.node_type, &n.config))).await?,
        None => old.tables.0.clone(),
    };
    let mut new = changed(&old, patch, context.now().into());
    new.tables = JsonText(tables);
    context.store.update_pipeline(&old, &new).await?;
    let etag = new.etag();
    Response::resource(StatusCode::OK, &etag, &context.store.pipeline_view(new).await?)
}

async fn schema_faults(context: &Context, old: &Pipeline, patch: &PipelinePatch) -> Result<Vec<Fault>> {
    let schema = patch.schema_id.as_deref().unwrap_or(&old.schema_id);
    match &patch.graph {
        Some(graph) => {
            pipelines::schema_faults(context, schema, graph.nodes.iter().map(|n| (n.node_type, &n.config))).await
        }
        None => pipelines::schema_faults(context, schema, old.nodes.0.iter().map(|n| (n.node_type, &n.config))).await,
    }
}

/// What is not changed was checked when it was saved.
async fn connector_faults(context: &Context, old: &Pipeline, patch: &PipelinePatch) -> Result<Vec<Fault>> {
    let own = patch.connector_id.as_deref().unwrap_or(&old.connector_id);
    match &patch.graph {
        Some(graph) => {
            pipelines::connector_faults(context, own, graph.nodes.iter().map(|n| (n.node_type, &n.config))).await
        }
        None if patch.connector_id.is_some() => {
            pipelines::connector_faults(context, own, old.nodes.0.iter().map(|n| (n.node_type, &n.config))).await
        }
        None => Ok(Vec::new()),
    }
}

fn changed(old: &Pipeline, patch: PipelinePatch, now: shared::models::time::Time) -> Pipeline {
    let mut new = old.clone();
    new.version += 1;
    new.updated_at = now;
    if let Some(name) = patch.name {
        new.name = name.trim().to_owned();
    }
    if let Some(id) = patch.connector_id {
        new.connector_id = id;
    }
    if let Some(id) = patch.schema_id {
        new.schema_id = id;
    }
    if let Some(description) = patch.description {
        new.description = description;
    }
    if let Some(schedule) = patch.schedule {
        new.schedule = schedule;
    }
    if let Some(timezone) = patch.timezone {
        new.timezone = timezone.unwrap_or_else(|| "UTC".to_owned());
    }
    if let Some(enabled) = patch.enabled {
        new.enabled = enabled.unwrap_or(true);
    }
    if let Some(config) = patch.execution_config {
        new.execution_config = JsonText(config.unwrap_or_default());
    }
    if let Some(graph) = patch.graph {
        let (nodes, edges) = pipelines::stored_graph(graph.nodes, graph.edges, &old.nodes.0, now);
        (new.nodes, new.edges) = (JsonText(nodes), JsonText(edges));
    }
    new
}
