//! `GET /api/v1/pipelines/{id}/versions`: the versions of a pipeline, newest first.

use shared::Result;
use shared::context::Context;
use shared::http::{Function, ListInput, Request, Response};
use shared::roles::Action;

/// The function of this route.
pub fn function() -> Function {
    Function::new(Action::ListPipelineVersions, read, handle)
}

struct Input {
    id: String,
    list: ListInput,
}

fn read(request: &Request) -> Result<Input> {
    Ok(Input { id: request.param("id").to_owned(), list: ListInput::read(request)? })
}

async fn handle(context: Context, input: Input) -> Result<Response> {
    let slice = input.list.slice(&context)?;
    context.store.pipeline(context.tenant(), &input.id).await?;
    let listed = context.store.pipeline_versions(context.tenant(), &input.id, &slice).await?;
    let views = context.store.version_views(context.tenant(), listed.items).await?;
    input.list.page(&context, &views, listed.next.as_ref(), listed.total)
}
