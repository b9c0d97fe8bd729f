//! `GET /api/v1/pipelines/{id}`: one pipeline; its `ETag` is its version.

use http::StatusCode;
use shared::Result;
use shared::context::Context;
use shared::http::{Function, Request, Response};
use shared::roles::Action;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::GetPipeline, read, handle)
}

fn read(request: &Request) -> Result<String> {
    Ok(request.param("id").to_owned())
}

async fn handle(context: Context, id: String) -> Result<Response> {
    let pipeline = context.store.pipeline(context.tenant(), &id).await?;
    let etag = pipeline.etag();
    Response::resource(StatusCode::OK, &etag, &context.store.pipeline_view(pipeline).await?)
}
