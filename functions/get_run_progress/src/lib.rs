//! `GET /api/v1/pipelines/{id}/runs/{runId}/progress`: how far a run is, by node, with its story.

use http::StatusCode;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::roles::Action;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetRunProgress, read, handle)
}

struct Input {
    pipeline: String,
    run: String,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { pipeline: request.param("id").to_owned(), run: request.param("runId").to_owned() })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let pipeline = context.store.pipeline(context.tenant(), &input.pipeline).await?;
    let run = context.store.run(context.tenant(), &pipeline.id, &input.run).await?;
    Response::hashed(StatusCode::OK, &run.progress_view(context.now().into()))
}
