//! `PUT /api/v1/pipelines` and `PUT /api/v1/pipelines/{id}`: a new immutable version of a pipeline.

use http::StatusCode;
use shared::check::pipeline::PipelinePatch;
use shared::check::{self, Body};
use shared::context::Context;
use shared::http::{Function, Request, Response, changed_id, check_if_match};
use shared::models::pipeline::Pipeline;
use shared::models::time::JsonText;
use shared::roles::Action;
use shared::store::keys::Kind;
use shared::store::resources::{CHANGES, changing};
use shared::{Error, Fault, Result, pipelines};

/// The function of these routes.
pub fn function() -> Function {
    Function::new(Action::UpdatePipeline, read, handle)
}

struct Input {
    id: Result<String, Fault>,
    body: Body,
    if_match: Option<String>,
}

fn read(request: &Request) -> Result<Input> {
    let body = request.json()?;
    Ok(Input { id: changed_id(request, &body), if_match: request.if_match(), body })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    for _ in 0..CHANGES {
        if let Some(new) = change(&context, &input).await? {
            let etag = new.etag();
            return Response::resource(StatusCode::OK, &etag, &context.store.pipeline_view(new).await?);
        }
    }
    Err(changing(Kind::Pipeline))
}

/// None where somebody else was faster.
async fn change(context: &Context, input: &Input) -> Result<Option<Pipeline>> {
    let (patch, mut faults) = check::pipeline::update(&input.body);
    let old = match &input.id {
        Ok(id) => pipelines::if_there(context.store.pipeline(context.tenant(), id).await)?,
        Err(fault) => {
            faults.push(fault.clone());
            None
        }
    };
    let (tables, named) = pipelines::check(context, &input.body, old.as_ref()).await?;
    faults.extend(named);
    let patch = check::finish(patch, faults)?;
    let id = input.id.as_deref().unwrap_or_default();
    let old = old.ok_or_else(|| Error::not_found(Kind::Pipeline.name(), id))?;
    check_if_match(input.if_match.as_deref(), &old.etag())?;
    let mut new = changed(&old, patch, context.now().into());
    new.tables = JsonText(tables);
    match context.store.update_pipeline(&old, &new).await {
        Ok(done) => Ok(done.then_some(new)),
        Err(error) => Err(pipelines::refused(context, &input.body, Some(&old), error).await),
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
        let version = (old.id.as_str(), new.version);
        let (nodes, edges) = pipelines::stored_graph(graph.nodes, graph.edges, &old.nodes.0, version, now);
        (new.nodes, new.edges) = (JsonText(nodes), JsonText(edges));
    }
    new
}
