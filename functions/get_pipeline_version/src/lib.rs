//! `GET /api/v1/pipelines/{id}/versions/{version}`: a pipeline as it was.

use http::StatusCode;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::roles::Action;
use shared::{Error, Result};

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetPipelineVersion, read, handle)
}

struct Input {
    id: String,
    version: String,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { id: request.param("id").to_owned(), version: request.param("version").to_owned() })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    context.store.pipeline(context.tenant(), &input.id).await?;
    let missing = || Error::not_found("version", &input.version);
    let number: u32 = input.version.parse().map_err(|_| missing())?;
    let found = context.store.pipeline_version(context.tenant(), &input.id, number).await?;
    let version = found.ok_or_else(missing)?;
    let etag = version.etag();
    let views = context.store.version_views(context.tenant(), vec![version]).await?;
    Response::resource(StatusCode::OK, &etag, &views.first())
}
